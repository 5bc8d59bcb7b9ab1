# SPDX-License-Identifier: Apache-2.0
"""Rows of small pictures: the frame of every figure that shows pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssl4eo.report.style import INK, MUTED, RULE, new_figure, note, styled


@dataclass(frozen=True)
class Tile:
    """One picture."""

    image: NDArray[np.uint8]
    """(y, x, 3)."""
    words: str = ""
    """Below it."""


@dataclass(frozen=True)
class Row:
    """Some pictures side by side."""

    title: str
    tiles: Sequence[Tile]
    detail: str = ""
    """Below the title, in small letters."""


_GAP, _TOP, _BOTTOM, _WORDS = 0.06, 0.34, 0.22, 0.19
"""[inch]: between pictures, above all, below all, a line of words below a picture."""
_WIDEST = 11.0
"""Of a figure [inch]."""
_LARGEST = 1.55
"""Side of a picture [inch]."""
_MOST_LETTERS = 24
"""Of a title beside a row; the rest is cut."""


def tiles_figure(rows: Sequence[Row], columns: Sequence[str], *, synthetic: bool, largest: float = _LARGEST) -> Figure:
    """Draw rows of square pictures with a title beside each row and above each column.

    Pictures are drawn as they are, pixel by pixel, whatever their size: small ones get large pixels.
    """
    left = 0.2 + 0.072 * max(len(part) for row in rows for part in (_cut(row.title), _cut(row.detail)))
    side = min(largest, (_WIDEST - left) / len(columns) - _GAP)
    lines = max((tile.words.count("\n") + bool(tile.words) for row in rows for tile in row.tiles), default=0)
    under = 0.05 + _WORDS * lines if lines else 0.0
    width = left + len(columns) * (side + _GAP)
    top = _TOP if any(columns) else _GAP
    height = top + len(rows) * (side + under + _GAP) + _BOTTOM
    with styled():
        figure = new_figure(width, height)
        for place, title in enumerate(columns):
            x = (left + place * (side + _GAP) + side / 2) / width
            figure.text(x, 1 - 0.24 / height, title, ha="center", fontsize=8, fontweight="bold", parse_math=False)
        for number, row in enumerate(rows):
            y = height - top - number * (side + under + _GAP) - side
            middle = (y + side / 2) / height
            words: Any = {"ha": "right", "parse_math": False}
            x = (left - 0.09) / width
            figure.text(x, middle, _cut(row.title), va="bottom", fontsize=8, color=INK, fontweight="bold", **words)
            figure.text(x, middle - 0.02 / height, _cut(row.detail), va="top", fontsize=7, color=MUTED, **words)
            for place, tile in enumerate(row.tiles):
                x = left + place * (side + _GAP)
                axes = figure.add_axes((x / width, y / height, side / width, side / height))
                axes.imshow(tile.image, interpolation="nearest", aspect="auto")
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set(visible=True, color=RULE, linewidth=0.6)
                if tile.words:
                    middle = (x + side / 2) / width
                    figure.text(
                        middle, (y - 0.04) / height, tile.words, ha="center", va="top", fontsize=7.2, color=MUTED,
                        parse_math=False,
                    )  # fmt: skip
        if synthetic:
            note(figure, "synthetic data")
    return figure


def _cut(text: str) -> str:
    """Keep the end of a long name, which tells files of one folder apart."""
    return text if len(text) <= _MOST_LETTERS else "..." + text[3 - _MOST_LETTERS :]
