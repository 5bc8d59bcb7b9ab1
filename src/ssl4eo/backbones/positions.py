# SPDX-License-Identifier: Apache-2.0
"""Position embeddings of a square grid of patches: fixed ones, and tables of relative ones for another grid."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor


def sincos_positions(dim: int, grid: int, *, columns_first: bool) -> Tensor:
    """Give the table (1 + grid * grid, dim) of two-dimensional sine-cosine embeddings, float32.

    A quarter of the dims each for sine and cosine of one axis, then of the other, at frequencies 10000^(-i / (dim/4));
    tokens go row by row; the class token comes first and has zeros.

    Args:
        dim: length of a token, a multiple of 4.
        grid: patches along each axis.
        columns_first: the first half of the dims tells the column (He et al. 2022, MAE), else the row
            (Chen et al. 2021, MoCo v3). One is the other with the axes of the image exchanged.
    """
    assert dim % 4 == 0, f"dim {dim} is a multiple of 4"
    frequency = 10_000.0 ** (-torch.arange(dim // 4, dtype=torch.float64, device="cpu") / (dim // 4))
    place = torch.arange(grid, dtype=torch.float64, device="cpu")
    row, column = place.repeat_interleave(grid), place.repeat(grid)  # (L,)
    first, second = (column, row) if columns_first else (row, column)
    parts = [f(axis[:, None] * frequency) for axis in (first, second) for f in (torch.sin, torch.cos)]
    table = torch.cat(parts, dim=1)  # (L, D)
    return torch.cat([torch.zeros(1, dim, dtype=torch.float64, device="cpu"), table]).float()


MOST_RELATIVE_PATCHES = 64
"""Patches along each side with relative positions: the index of 64 x 64 patches has (64^2 + 1)^2 entries, 134 MB."""
WIDEST_RATIO = 1.5
"""Of the geometric grid of `resize_relative`: where BEiT's search for it ends. Beyond it the spline swings to many
times the values that it goes through."""
NUM_OF_CLASS_TOKEN = 3
"""Last entries of a table of relative positions: class token to patch, patch to class token, class token to itself."""


def most_patches(grid: int) -> int:
    """Give the largest side [patches] that the table of a grid x grid can be interpolated for.

    >>> most_patches(14), most_patches(4), most_patches(1)
    (64, 5, 1)
    """
    if grid == 2:  # one distance only: no progression, and nothing to swing
        return MOST_RELATIVE_PATCHES
    return min(MOST_RELATIVE_PATCHES, max(grid, 1 + int(_reach(WIDEST_RATIO, grid - 1))))


def resize_relative(table: Tensor, grid: int) -> Tensor:
    """Interpolate a table of relative position biases for another grid.

    Near offsets stay near: the old offsets are put at distances that grow as a geometric progression up to the largest
    new one, and a cubic spline is read at whole numbers. Offset 0, the outermost offsets and the entries of the class
    token keep their values.
    Source: the published fine-tuning of BEiT (Bao et al. 2021), whose `interp2d` SciPy no longer has; its spline is
    that of RectBivariateSpline.

    Args:
        table: ((2 g - 1)^2 + 3, heads), offsets row by row from -(g - 1), of a grid of g x g patches.
        grid: patches along each side of the new grid, from 2 to `most_patches` of the old one.
    """
    from scipy.interpolate import RectBivariateSpline  # here: few networks need it

    old = round((table.shape[0] - NUM_OF_CLASS_TOKEN) ** 0.5)
    assert old * old + NUM_OF_CLASS_TOKEN == table.shape[0], f"{table.shape[0]} entries are of a square grid"
    if grid == 2:  # centre and outermost offsets: nothing lies in between
        kept = table[:-NUM_OF_CLASS_TOKEN].reshape(old, old, -1)[:: old // 2, :: old // 2]
        return torch.cat([kept.reshape(9, -1), table[-NUM_OF_CLASS_TOKEN:]])
    places, wanted = _geometric(old // 2, grid - 1), np.arange(-(grid - 1), grid, dtype=np.float64)
    offsets = table[:-NUM_OF_CLASS_TOKEN].T.reshape(-1, old, old).double().cpu().numpy()  # (heads, rows, columns)
    order = min(3, old - 1)
    read = [RectBivariateSpline(places, places, head, kx=order, ky=order, s=0)(wanted, wanted) for head in offsets]
    new = torch.from_numpy(np.stack([rows.reshape(-1) for rows in read], axis=1))
    return torch.cat([new.to(table), table[-NUM_OF_CLASS_TOKEN:]])


def _geometric(count: int, furthest: int) -> np.ndarray:
    """Place -count .. count at 0, +-1, +-(1 + q), +-(1 + q + q^2), ... so that the last is at `furthest`."""
    q = 1.0 if count in (furthest, 1) else _root(lambda q: _reach(q, count) - furthest, furthest)
    far = np.cumsum(q ** np.arange(count)) if count > 1 else np.array([float(furthest)])
    return np.concatenate([-far[::-1], [0.0], far])


def _reach(q: float, count: int) -> float:
    """Add up the first terms of the progression, 1 + q + q^2 + ..."""
    return float(sum(q**i for i in range(count)))


def _root(function: Callable[[float], float], most: float) -> float:
    from scipy.optimize import brentq

    return cast("float", brentq(function, 0.0, most))
