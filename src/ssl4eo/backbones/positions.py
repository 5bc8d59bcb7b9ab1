# SPDX-License-Identifier: Apache-2.0
"""Fixed position embeddings of a square grid of patches."""

from __future__ import annotations

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
