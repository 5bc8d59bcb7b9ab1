# SPDX-License-Identifier: Apache-2.0
"""Features in two dimensions, untrained beside pre-trained, colored by class.

Rows are scaled to unit length (the k-NN protocol compares angles), reduced by PCA to at most 50
dimensions, then by t-SNE (van der Maaten and Hinton, 2008) with a fixed seed; at most 2,000 points.
Distances between groups, and sizes of groups, mean nothing in such a picture: the caption says so.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ssl4eo.errors import SourceInvalid
from ssl4eo.report.style import CLASS_COLORS, CLASS_MARKERS, empty, new_figure, note, styled

MAX_POINTS = 2000
_MIN_POINTS = 8
_COLLAPSED = 1e-10


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one checkpoint on one task."""

    values: NDArray[np.float32]
    """(N, D)."""
    labels: NDArray[np.int64]
    """(N,), index into `classes`."""
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Cloud:
    """One panel: points in the plane, or the reason why there are none."""

    title: str
    features: Features | None
    points: NDArray[np.float32] | None
    """(M, 2), of the features kept by `subset`."""
    labels: NDArray[np.int64] | None
    reason: str = ""


def read_features(path: Path) -> Features:
    """Read a features file without pickle.

    Raises:
        SourceInvalid: not such a file, or its arrays do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            missing = [name for name in ("features", "labels", "classes") if name not in data]
            if missing:
                raise SourceInvalid(
                    f"{path} has no array {' '.join(missing)}", expected="features, labels, classes", path=str(path)
                )
            values, labels, classes = data["features"], data["labels"], data["classes"]
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise SourceInvalid(
            f"{path} is not a features file ({error})", expected="an .npz without pickled objects", path=str(path)
        ) from error
    fits = values.ndim == 2 and labels.shape == values.shape[:1] and classes.ndim == 1
    if not fits or not np.issubdtype(labels.dtype, np.integer):
        raise SourceInvalid(
            f"{path} has features {values.shape}, labels {labels.dtype} {labels.shape}, classes {classes.shape}",
            expected="(N, D), whole numbers (N,), (K,)",
            path=str(path),
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < classes.size):
        raise SourceInvalid(
            f"{path} has labels {labels.min()} to {labels.max()} for {classes.size} classes",
            expected="an index into classes",
            path=str(path),
        )
    return Features(values.astype(np.float32), labels.astype(np.int64), tuple(str(name) for name in classes))


def subset(count: int) -> NDArray[np.intp]:
    """Choose which of `count` points are drawn: all, or 2,000 by a fixed seed, in order."""
    if count <= MAX_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MAX_POINTS, replace=False))


def project(values: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Map features (N, D) to the plane (N, 2) by PCA and t-SNE; None if they are all the same.

    N must be at least 8; the perplexity is min(30, N / 4).
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit = values / np.maximum(norms, 1e-12)
    if float(unit.var(axis=0).sum()) < _COLLAPSED:
        return None
    components = min(50, *unit.shape)
    reduced = PCA(components, svd_solver="full").fit_transform(unit)
    if components < 2:
        return np.concatenate([reduced, np.zeros_like(reduced)], axis=1).astype(np.float32)
    perplexity = min(30.0, len(values) / 4)
    tsne = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=0)
    return tsne.fit_transform(reduced).astype(np.float32)


def cloud(title: str, features: Features | None, reason: str = "") -> Cloud:
    """Project one set of features, or keep the reason why there is nothing to show."""
    if features is None:
        return Cloud(title, None, None, None, reason or "not recorded")
    if not np.isfinite(features.values).all():
        return Cloud(title, features, None, None, "features are not finite")
    if len(features.values) < _MIN_POINTS:
        return Cloud(title, features, None, None, f"{len(features.values)} points are too few")
    chosen = subset(len(features.values))
    points = project(features.values[chosen])
    if points is None:
        return Cloud(title, features, None, None, "all features are the same: collapsed")
    return Cloud(title, features, points, features.labels[chosen])


def projection_figure(clouds: Sequence[Cloud], *, synthetic: bool) -> Figure:
    """Draw the panels side by side with one legend; classes keep their color in all panels."""
    names = list(dict.fromkeys(name for c in clouds if c.features is not None for name in c.features.classes))
    legend_rows = -(-len(names) // 5)
    with styled():
        figure = new_figure(11.0, 5.3 + 0.24 * legend_rows)
        bottom = (0.42 + 0.24 * legend_rows) / figure.get_figheight()
        grid = figure.add_gridspec(1, len(clouds), wspace=0.05, left=0.02, right=0.98, top=0.93, bottom=bottom)
        for i, item in enumerate(clouds):
            _panel(figure.add_subplot(grid[0, i]), item, names)
        handles = [_handle(i) for i in range(len(names))]
        legend = figure.legend(
            handles, names, loc="lower center", ncols=min(5, len(names) or 1), fontsize=9,
            bbox_to_anchor=(0.5, 0.22 / figure.get_figheight()), handletextpad=0.3, columnspacing=1.6,
        )  # fmt: skip
        for entry in legend.get_texts():
            entry.set_parse_math(False)
        if synthetic:
            note(figure, "synthetic data")
    return figure


def _panel(axes: Axes, item: Cloud, names: Sequence[str]) -> None:
    axes.set_title(item.title, parse_math=False)
    if item.points is None or item.labels is None or item.features is None:
        empty(axes, item.reason)
        return
    size = float(np.clip(6000 / len(item.points), 9, 46))
    order = np.random.default_rng(0).permutation(len(item.points))  # no class is drawn over all others
    for rank, chunk in enumerate(np.array_split(order, 8)):
        for k, name in enumerate(item.features.classes):
            color, marker = class_mark(names.index(name))
            members = chunk[item.labels[chunk] == k]
            axes.scatter(
                item.points[members, 0], item.points[members, 1], s=size, color=color, marker=marker,
                alpha=0.9, linewidths=0.4, edgecolors=darker(color), zorder=2 + rank,
            )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_facecolor("#fafbfc")
    axes.spines["bottom"].set_visible(False)
    axes.margins(0.04)


def class_mark(index: int) -> tuple[str, str]:
    """Give the color and the marker of a class by its position."""
    return CLASS_COLORS[index % len(CLASS_COLORS)], CLASS_MARKERS[index // len(CLASS_COLORS) % len(CLASS_MARKERS)]


def darker(color: str) -> tuple[float, float, float]:
    """Darken a color by a third, for edges that keep yellow visible on white."""
    red, green, blue = to_rgb(color)
    return red * 0.67, green * 0.67, blue * 0.67


def _handle(index: int) -> Line2D:
    color, marker = class_mark(index)
    return Line2D(
        [], [], color=color, marker=marker, linestyle="none", markersize=7, markeredgecolor=darker(color), mew=0.4
    )
