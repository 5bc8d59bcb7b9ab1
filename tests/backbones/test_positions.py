# SPDX-License-Identifier: Apache-2.0
"""Fixed position embeddings against an oracle written value by value."""

from __future__ import annotations

import math

import pytest
import torch

from ssl4eo.backbones.positions import sincos_positions


def oracle(dim, grid, *, columns_first):
    """Fill the table entry by entry, in Python floats."""
    table, quarter = [[0.0] * dim], dim // 4
    for row in range(grid):
        for column in range(grid):
            axes = (column, row) if columns_first else (row, column)
            entry = []
            for axis in axes:
                angles = [axis / 10_000 ** (i / quarter) for i in range(quarter)]
                entry += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            table.append(entry)
    return torch.tensor(table, dtype=torch.float64)


@pytest.mark.parametrize(("dim", "grid"), [(4, 1), (8, 3), (192, 8), (384, 14), (1280, 16)])
@pytest.mark.parametrize("columns_first", [True, False])
def test_table_equals_the_oracle(dim, grid, columns_first):
    """Sine, cosine of one axis, then of the other; the class token has zeros."""
    table = sincos_positions(dim, grid, columns_first=columns_first)

    assert table.dtype == torch.float32
    torch.testing.assert_close(table.double(), oracle(dim, grid, columns_first=columns_first), rtol=0, atol=1e-7)


def test_small_table_by_hand():
    """Four dims, the patch in row 0 and column 1: MAE tells the column first, MoCo v3 the row."""
    one = [math.sin(1), math.cos(1)]

    mae, moco = (sincos_positions(4, 2, columns_first=c)[2] for c in (True, False))

    torch.testing.assert_close(mae, torch.tensor([*one, 0.0, 1.0]))
    torch.testing.assert_close(moco, torch.tensor([0.0, 1.0, *one]))


def test_the_two_orders_are_transposes_of_each_other():
    """Exchanging the axes of the grid turns MAE's table into MoCo v3's, exactly."""
    mae, moco = (sincos_positions(384, 14, columns_first=c)[1:].reshape(14, 14, 384) for c in (True, False))

    assert torch.equal(mae.transpose(0, 1), moco)
    assert not torch.equal(mae, moco)


def test_no_two_patches_share_a_position():
    """Each row of the table is its own."""
    table = sincos_positions(192, 16, columns_first=True)

    assert torch.unique(table, dim=0).shape == table.shape


def test_dims_that_are_no_multiple_of_four_are_an_invariant():
    """A quarter each for sine and cosine of two axes."""
    with pytest.raises(AssertionError, match="multiple of 4"):
        sincos_positions(6, 2, columns_first=True)
