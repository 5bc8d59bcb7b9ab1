# SPDX-License-Identifier: Apache-2.0
"""Crop, resize, flip and blur as one linear map per axis.

Bilinear resampling, mirroring and a Gaussian blur are linear and separable, so a whole view of a
band is `rows @ pixels @ columns.T` with two small banded matrices, made once per view and shared by all
bands of a resolution group. A group is read at its native resolution and sampled once: nothing is
brought to a 264-px grid first, and the blur costs no pass over the pixels.

Order: crop -> resize -> blur -> flip. Blur before the photometric changes, where the published
order has it after: it commutes with scaling and band means exactly, and differs from blur after
the contrast change only through the mean at the patch edge.
Letters: S output size, N input size [px] of an axis; one matrix is (S, N).
"""

from __future__ import annotations

import functools
import math
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

BLOCK = 56
"""Output pixels of an axis that are computed in one product; of 8 to 112 the quickest for views of 224 px."""

Matrix = NDArray[np.float32]

NEGLIGIBLE = 1e-7
"""Gaussian weights below this share of the peak are zero: float32 cannot see them, and as denormal numbers they make
the products several times slower."""


class Block(NamedTuple):
    """Some pixels of an axis' output, and the only input that they are made of."""

    made: slice
    used: slice
    weights: Matrix
    """(made, used); rows sum to 1."""


Axis = tuple[Block, ...]
"""The linear map of one axis, in blocks: an axis matrix is a band along a diagonal, whole it would be mostly zeros."""


def resize_taps(
    num_in: int, size: int, *, start: float, length: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give pixels and weights, both (S, K), that resample [start, start + length) of an axis to `size` pixels.

    A triangle filter whose support widens when shrinking (antialiased, as PIL and torch with
    antialias=True do); when enlarging it is ordinary bilinear interpolation with half-pixel centres.
    Pixels outside the crop but inside the patch take part; at the patch edge the filter is cut and
    its weights are made to sum to 1 again. Pixels beyond the edge have weight 0.

    Args:
        num_in: N, pixels of the axis.
        size: S, pixels wanted.
        start: of the crop, in input pixels from the outer edge; may be fractional.
        length: of the crop in input pixels.
    """
    scale = length / size
    support = max(scale, 1.0)
    centre = start + (np.arange(size) + 0.5) * scale  # in input pixels from the outer edge
    # Only the few pixels under each triangle are looked at: K of them, from the first whose centre can lie inside.
    first = np.floor(centre - support).astype(np.int64)
    taps = first[:, None] + np.arange(math.ceil(2 * support) + 1)  # (S, K)
    weight = np.maximum(0.0, 1.0 - np.abs(taps + 0.5 - centre[:, None]) / support)
    weight *= (taps >= 0) & (taps < num_in)
    return taps, weight / weight.sum(axis=1, keepdims=True)


def _resize(num_in: int, taps: NDArray[np.int64], weight: NDArray[np.float64], made: slice) -> Block:
    """Write the taps of some outputs as a matrix."""
    taps = taps[made]
    low, high = int(taps[0, 0]), int(taps[-1, -1]) + 1
    matrix = np.zeros((len(taps), high - low), np.float32)
    matrix[np.arange(len(taps))[:, None], taps - low] = weight[made]
    used = slice(max(low, 0), min(high, num_in))
    return Block(made, used, matrix[:, used.start - low : used.stop - low])


@functools.lru_cache(maxsize=512)
def blur_matrix(size: int, sigma: float) -> Matrix:
    """Weights (S, S) of a Gaussian blur with standard deviation `sigma` [output px], edges mirrored.

    Rows sum to 1; sigma 0 is the identity. The result is shared: do not write to it.
    """
    if sigma <= 0:
        return np.eye(size, dtype=np.float32)
    i = np.arange(size)
    # The signal continued by mirroring has each pixel j again at -1 - j and at 2S - 1 - j.
    images = np.stack([i, -1 - i, 2 * size - 1 - i])  # (3, S)
    weight = np.exp(-0.5 * ((i[:, None, None] - images) / sigma) ** 2).sum(axis=1)  # (S, S)
    weight[weight < NEGLIGIBLE] = 0.0
    matrix = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
    matrix.setflags(write=False)
    return matrix


def make_axis(
    num_in: int, size: int, *, start: float = 0.0, length: float | None = None, sigma: float = 0.0, flip: bool = False
) -> Axis:
    """Compose crop, resize, blur and flip of one axis.

    Args:
        num_in: N, pixels of the axis.
        size: S, pixels wanted.
        start: of the crop, in input pixels from the outer edge; may be fractional.
        length: of the crop in input pixels, None for all.
        sigma: of the blur [output px].
        flip: turn the axis round.
    """
    taps = resize_taps(num_in, size, start=start, length=float(num_in) if length is None else length)
    blocks: list[Block] = []
    for first in range(0, size, BLOCK):
        made = slice(first, min(first + BLOCK, size))
        if sigma > 0:
            blur = blur_matrix(size, sigma)[made]
            between = _extent(blur)
            resized = _resize(num_in, *taps, between)
            block = Block(made, resized.used, blur[:, between] @ resized.weights)
        else:
            block = _resize(num_in, *taps, made)
        if flip:
            block = Block(slice(size - made.stop, size - made.start), block.used, block.weights[::-1].copy())
        blocks.append(block)
    return tuple(blocks)


def resample(pixels: NDArray[np.generic], rows: Axis, columns: Axis) -> NDArray[np.float32]:
    """Apply an axis to y and one to x: (band, Ny, Nx) -> float32 (Sy, band, Sx).

    Only the input rows and columns that carry weight are touched. Bands lie between the axes, so that one product
    serves all of them, along either axis; rows go first.
    """
    y, x = _used(rows), _used(columns)
    part = np.ascontiguousarray(pixels[:, y, x].transpose(1, 0, 2), dtype=np.float32)  # (h, C, w)
    height, num_bands, width = part.shape
    between = np.empty((_size(rows), num_bands * width), np.float32)
    for made, used, weights in rows:
        np.matmul(weights, part.reshape(height, -1)[_shift(used, y)], out=between[made])
    between = between.reshape(-1, width)  # (Sy C, w)
    out = np.empty((len(between), _size(columns)), np.float32)
    for made, used, weights in columns:
        np.matmul(between[:, _shift(used, x)], weights.T, out=out[:, made])
    return out.reshape(_size(rows), num_bands, -1)


def _used(axis: Axis) -> slice:
    return slice(min(block.used.start for block in axis), max(block.used.stop for block in axis))


def _size(axis: Axis) -> int:
    return max(block.made.stop for block in axis)


def _shift(used: slice, by: slice) -> slice:
    return slice(used.start - by.start, used.stop - by.start)


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep NumPy's BLAS to one thread for the length of a block in which views are made.

    Its threads would spin against those of the training step: on two cores that took training from 120 to 8 images a
    second. The libraries of the process are looked up once.
    """
    return _thread_pools().limit(limits=1, user_api="blas")


@functools.cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def _extent(matrix: Matrix) -> slice:
    """Give the columns that carry weight: the band never turns back, so that its first and last row tell."""
    used = (matrix[0] + matrix[-1]).nonzero()[0]
    return slice(int(used[0]), int(used[-1]) + 1)
