# SPDX-License-Identifier: Apache-2.0
"""The filters of a first layer as a picture: a row for each band, a column for each filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssl4eo.report.style import MUTED, new_figure, png, styled

MOST_FILTERS = 24
"""Columns: the strongest filters, by the norm of their weights."""


def draw_filters(weights: NDArray[Any], bands: Sequence[str], *, title: str) -> bytes:
    """Draw `filters_figure` of all filters of a layer (filters, bands, height, width) as a PNG file."""
    return png(filters_figure(weights, bands, title=title))


def filters_figure(
    weights: NDArray[Any], bands: Sequence[str], *, title: str, norms: NDArray[Any] | None = None
) -> Figure:
    """Draw the strongest filters, each on one scale over all its bands: blue negative, white zero, red positive.

    The bar at the right of a row is the norm of all weights of the band, the largest being 1: a band that the network
    does not look at has none.

    Args:
        weights: (filters, bands, height, width).
        bands: names of the rows; numbers stand for names that are not known.
        title: above the picture; how many weights are not finite is added to it. They are drawn as zero.
        norms: (bands,) norms of the bands, where `weights` are not all filters of the layer.
    """
    is_finite = np.isfinite(weights)
    if not is_finite.all():
        title += f" ({np.sum(~is_finite)} are not finite)"
    weights = np.where(is_finite, weights, 0).astype(np.float64)  # squares of large ones are no float32
    chosen = np.argsort(-np.sqrt((weights**2).sum(axis=(1, 2, 3))))[:MOST_FILTERS]
    shown = weights[chosen] / np.maximum(np.abs(weights[chosen]).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    names = list(bands) if len(bands) == weights.shape[1] else [str(n) for n in range(weights.shape[1])]
    share = np.sqrt((weights**2).sum(axis=(0, 2, 3))) if norms is None else norms
    share = share / max(share.max(), 1e-12)
    count, rows, height, _ = shown.shape
    figure = new_figure(0.34 * count + 2.0, 0.34 * rows + 0.8)
    with styled():
        left, right = figure.subplots(1, 2, width_ratios=[count, 3.5])
        left.imshow(_mosaic(shown), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
        left.set_yticks([row * (height + 1) + (height - 1) / 2 for row in range(rows)], names)
        left.set_xticks([])
        right.barh(range(rows), share, height=0.5, color=MUTED)
        right.set(xlim=(0, 1), ylim=(rows - 0.5, -0.5), yticks=[])
        right.set_xlabel("norm of the band")
        for axes in (left, right):
            axes.grid(visible=False)
            axes.spines["bottom"].set_visible(False)
        left.set_title(title, parse_math=False)  # a $ in the name of a file is a $
        figure.tight_layout()
    return figure


def _mosaic(filters: NDArray[Any]) -> NDArray[Any]:
    """Lay filters (column, row, y, x) side by side with a white line between them."""
    count, rows, height, width = filters.shape
    canvas = np.full((rows * (height + 1) - 1, count * (width + 1) - 1), np.nan)
    for column in range(count):
        for row in range(rows):
            top, left = row * (height + 1), column * (width + 1)
            canvas[top : top + height, left : left + width] = filters[column, row]
    return canvas
