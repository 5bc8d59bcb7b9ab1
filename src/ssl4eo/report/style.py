# SPDX-License-Identifier: Apache-2.0
"""How figures look, and how they become PNG and SVG bytes: the same figure gives the same bytes.

Colors are Okabe and Ito's (2008), told apart with every common color blindness; figures always
have a white ground, so that they read the same on a light and a dark page.
Uses matplotlib's objects only: no pyplot, no global state, so that reports can be made in threads.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 160
"""Pixels per inch of every figure: about two device pixels for each of the page's."""

BLUE = "#0072b2"
ORANGE = "#d55e00"
GREEN = "#009e73"
PURPLE = "#cc79a7"
INK = "#1f2933"
MUTED = "#6b7785"
RULE = "#dfe4ea"

CLASS_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#1f2933")
"""Okabe and Ito's eight."""
CLASS_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
"""A new shape when the colors are used up: 64 classes can be told apart."""

_RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",  # letters stay letters: they can be searched, read aloud and changed
    "svg.hashsalt": "ssl4eo",  # else ids are drawn anew each time
}


@dataclass(frozen=True)
class Picture:
    """One figure of a report: bytes, and what to say about it."""

    name: str
    """File stem under figures/."""
    png: bytes
    svg: bytes
    alt: str
    """What a person who cannot see it should know."""
    caption: str
    synthetic: bool
    """True if any pixel or point in it comes from synthetic data."""


def picture(name: str, figure: Figure, alt: str, caption: str, *, synthetic: bool) -> Picture:
    """Draw a figure in both forms."""
    return Picture(name, png(figure), svg(figure, alt), alt, caption, synthetic=synthetic)


def new_figure(width: float, height: float) -> Figure:
    """Make an empty white figure [inch] with an Agg canvas."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def styled() -> Any:
    """Give the context in which axes must be made and drawn."""
    return rc_context(_RC)


def note(figure: Figure, text: str) -> None:
    """Write a small remark at the lower right corner of a figure."""
    figure.text(0.995, 0.008, text, ha="right", va="bottom", fontsize=7, color=MUTED)


def empty(axes: Axes, text: str) -> None:
    """Turn axes into a quiet remark that something was not recorded."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_facecolor("#f6f8fa")
    axes.spines["bottom"].set_visible(False)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED)


def png(figure: Figure) -> bytes:
    """Draw a figure: the same figure gives the same bytes."""
    stream = io.BytesIO()
    with styled():
        figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


def svg(figure: Figure, alt: str = "") -> bytes:
    """Draw a figure as SVG, letters as text, images inside, without the time or the version that made it."""
    stream = io.BytesIO()
    with styled():
        figure.savefig(stream, format="svg", dpi=DPI, metadata={"Creator": None, "Date": None, "Title": alt or None})
    return stream.getvalue()
