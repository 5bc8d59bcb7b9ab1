# SPDX-License-Identifier: Apache-2.0
"""Predicted maps and classes beside the true ones, confusion matrices, and how protocols that train went."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ssl4eo.errors import SourceInvalid
from ssl4eo.report.style import BLUE, CLASS_COLORS, MUTED, ORANGE, new_figure
from ssl4eo.report.tiles import Row, Tile, tiles_figure

UNJUDGED = 255
GRAY = "#b0b7bf"
"""Of pixels that count nowhere."""
_MOST_LETTERS = 20
"""Of the name of a class below a picture."""
_ARRAYS = ("images", "truths", "predicted", "ids", "classes")


@dataclass(frozen=True)
class Examples:
    """What `evaluation/examples.py` wrote."""

    images: NDArray[np.uint8]
    """(N, D, S, S, 3)."""
    truths: NDArray[np.integer[Any]]
    """(N, y, x) maps, or (N,) a class each."""
    predicted: NDArray[np.integer[Any]]
    """As the truths."""
    ids: tuple[str, ...]
    classes: tuple[str, ...]


def read_examples(path: Path) -> Examples:
    """Read a file of examples without pickle.

    Raises:
        SourceInvalid: not such a file, or its arrays do not fit together.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            values: dict[str, Any] = {name: data[name] for name in _ARRAYS}
    except (KeyError, OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise SourceInvalid(f"{path} is no file of examples ({error})", expected=", ".join(_ARRAYS)) from error
    images, truths, predicted = values["images"], values["truths"], values["predicted"]
    if images.ndim != 5 or truths.shape != predicted.shape or truths.ndim not in (1, 3) or len(truths) != len(images):
        raise SourceInvalid(
            f"{path} has images {images.shape}, true and predicted {truths.shape} and {predicted.shape}",
            expected="(N, D, S, S, 3) and twice (N, y, x) or (N,)",
            path=str(path),
        )
    count = len(values["classes"])
    if truths.ndim == 1 and not (_are_classes(truths, count) and _are_classes(predicted, count)):
        raise SourceInvalid(
            f"{path} has true or predicted classes that are not of its {count}", expected="whole numbers from 0"
        )
    ids, classes = (tuple(map(str, values[name])) for name in ("ids", "classes"))
    return Examples(images, truths, predicted, ids, classes)


def _are_classes(values: NDArray[Any], count: int) -> bool:
    return np.issubdtype(values.dtype, np.integer) and bool(((values >= 0) & (values < count)).all())


def answers_figure(examples: Examples, *, synthetic: bool) -> Figure:
    """Draw items with a class each: those taken for another one above, those that were recognized below."""
    is_right = examples.truths == examples.predicted
    count = max(int(is_right.sum()), int((~is_right).sum()), 1)
    rows = [
        Row(title, [_answer(examples, int(n)) for n in np.flatnonzero(chosen)])
        for title, chosen in (("wrong", ~is_right), ("right", is_right))
        if chosen.any()
    ]
    return tiles_figure(rows, [""] * count, synthetic=synthetic)


def _answer(examples: Examples, n: int) -> Tile:
    true, found = (_cut(examples.classes[int(k[n])]) for k in (examples.truths, examples.predicted))
    words = true if true == found else f"{true}\ntaken for {found}"
    return Tile(examples.images[n, 0], words)


def _cut(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 3]}..."


def examples_figure(examples: Examples) -> Figure:
    """Draw a row for each item: dates, true map, predicted map."""
    count, dates = examples.images.shape[:2]
    titles = ["image"] if dates == 1 else ["before", "after"]
    titles += ["true", "predicted"]
    figure = _fitted(1.55 * len(titles), 1.5 * count + 0.6)
    grid = figure.subplots(count, len(titles), squeeze=False)
    for n in range(count):
        maps = (examples.truths[n], np.where(examples.truths[n] == UNJUDGED, UNJUDGED, examples.predicted[n]))
        pictures = [*examples.images[n], *(_colored(m) for m in maps)]
        for column, (axes, picture) in enumerate(zip(grid[n], pictures, strict=True)):
            axes.imshow(picture, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
            if n == 0:
                axes.set_title(titles[column], fontsize=8)
        grid[n][0].set_ylabel(examples.ids[n], fontsize=5)
    handles = [Patch(color=_color(k), label=name) for k, name in enumerate(examples.classes)]
    handles.append(Patch(color=GRAY, label="not judged"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=6)
    return figure


def _fitted(width: float, height: float) -> Figure:
    """Make an empty figure [inch] whose margins are as wide as its words need."""
    figure = new_figure(width, height)
    figure.set_layout_engine("constrained")
    return figure


def _color(number: int) -> str:
    return "#1f2933" if number == 0 else CLASS_COLORS[(number - 1) % len(CLASS_COLORS)]


def _colored(values: NDArray[np.uint8]) -> NDArray[np.float64]:
    table = np.array([to_rgb(GRAY)] * 256)
    table[:UNJUDGED] = [to_rgb(_color(k)) for k in range(UNJUDGED)]
    return table[values]


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Draw shares of each true class, row by row, with the percents where there is room."""
    counts = np.array(confusion, dtype=np.float64)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    side = 1.9 + 0.32 * len(classes)
    figure = _fitted(side + 0.8, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap=ListedColormap(_blues()), vmin=0, vmax=1)
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=60, ha="right", fontsize=6)
    axes.set_yticks(places, classes, fontsize=6)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.grid(visible=False)
    for row in places:
        for column in places:
            if shares[row, column] >= 0.005:
                ink = "white" if shares[row, column] > 0.5 else MUTED
                words = f"{100 * shares[row, column]:.0f}"
                axes.text(column, row, words, ha="center", va="center", fontsize=5.5, color=ink)
    return figure


def _blues() -> NDArray[np.float64]:
    start, end = np.array(to_rgb("#ffffff")), np.array(to_rgb(BLUE))
    return start + (end - start) * np.linspace(0, 1, 64)[:, None]


def training_figure(curves: Mapping[str, Sequence[Mapping[str, float]]], measure: str) -> Figure:
    """Draw the measure on validation by epoch, a line for each network."""
    figure = _fitted(6.4, 3.0)
    axes = figure.subplots()
    for number, (name, rows) in enumerate(curves.items()):
        color = (BLUE, ORANGE, *CLASS_COLORS[2:])[number % len(CLASS_COLORS)]
        epochs = [row["epoch"] for row in rows]
        axes.plot(epochs, [100 * row["validation"] for row in rows], color=color, marker=".", label=name)
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"{measure.replace('_', ' ')} on validation [%]")
    axes.legend(fontsize=7)
    return figure
