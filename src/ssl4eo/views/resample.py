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
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

BLOCK = 28
"""Output pixels of an axis that are computed in one product, at the least: fewer make many calls, more multiply with
zeros. See `Line.block`."""

Matrix = NDArray[np.float32]

NEGLIGIBLE = 1e-7
"""Gaussian weights below this share of the peak are zero: float32 cannot see them, and as denormal numbers they make
the products several times slower."""

WIDEST = 2
"""Sigma in sizes of the image from which on a blur is the mean: at the least the weights differ from 1 / S by the share
2 exp(-(pi sigma / S)^2 / 2) = 5.4e-9, less than NEGLIGIBLE."""


class Block(NamedTuple):
    """Some pixels of an axis' output, and the only input that they are made of."""

    made: slice
    used: slice
    weights: Matrix
    """(made, used); rows sum to 1."""


Axis = tuple[Block, ...]
"""The linear map of one axis, in blocks: an axis matrix is a band along a diagonal, whole it would be mostly zeros."""


class Line(NamedTuple):
    """What an axis takes of its input."""

    num_in: int
    """N, pixels of the axis."""
    start: float = 0.0
    """Of the crop, in input pixels from the outer edge; may be fractional."""
    length: float | None = None
    """Of the crop in input pixels, None for all."""
    flip: bool = False
    """Turn the axis round."""
    striped: bool = False
    """Make smaller blocks, to be written to the view while they lie in the cache: for y."""

    def block(self, size: int) -> int:
        """Give the output pixels, of `size`, that are computed in one product: more where the axis is enlarged."""
        enlarged = size / (self.length or self.num_in)
        longest = BLOCK * (4 if enlarged >= 4 else 2 if enlarged >= 2 else 1)
        return max(longest // 2, BLOCK) if self.striped else longest


def resize_taps(lines: Sequence[Line], size: int) -> tuple[NDArray[np.int64], Matrix]:
    """Give pixels and weights, both (A, K, S), that resample each of A lines to `size` pixels.

    A triangle filter whose support widens when shrinking (antialiased, as PIL and torch with
    antialias=True do); when enlarging it is ordinary bilinear interpolation with half-pixel centres.
    Pixels outside the crop but inside the patch take part; at the patch edge the filter is cut and
    its weights are made to sum to 1 again. Pixels beyond the edge have weight 0.
    """
    num_in = np.array([[[line.num_in]] for line in lines])
    start = np.array([[[line.start]] for line in lines], np.float64)
    length = np.array([[[line.num_in if line.length is None else line.length]] for line in lines], np.float64)
    scale = length / size
    support = np.maximum(scale, 1.0)
    centre = start + (np.arange(size) + 0.5) * scale  # (A, 1, S), in input pixels from the outer edge
    # Only the few pixels under each triangle are looked at: K of them, from the first whose centre can lie inside.
    num_taps = math.ceil(2 * float(support.max())) + 1
    first, number = np.floor(centre - support), np.arange(num_taps)[:, None]
    taps = first.astype(np.int64) + number
    weight = (first + (0.5 - centre)).astype(np.float32) + number.astype(np.float32)  # from the centre; small by now
    np.abs(weight, out=weight)
    weight /= -support.astype(np.float32)
    weight += 1.0
    np.maximum(weight, 0.0, out=weight)
    if (taps[:, :1, :1] < 0).any() or (taps[:, -1:, -1:] >= num_in).any():
        weight *= (taps >= 0) & (taps < num_in)
    weight /= weight.sum(axis=1, keepdims=True)
    return taps, weight


@functools.lru_cache(maxsize=512)
def blur_matrix(size: int, sigma: float) -> Matrix:
    """Weights (S, S) of a Gaussian blur with standard deviation `sigma` [output px], edges mirrored.

    Rows and columns sum to 1; sigma 0 is the identity. The result is shared: do not write to it.
    """
    if sigma <= 0:
        return np.eye(size, dtype=np.float32)
    mean = np.full((size, size), 1 / size, np.float32)
    matrix = mean if sigma > WIDEST * size else _mirrored_gaussian(size, sigma)
    matrix.setflags(write=False)
    return matrix


def _mirrored_gaussian(size: int, sigma: float) -> Matrix:
    """Sum a Gaussian over the images of each pixel: work grows with S^2 and with sigma / S."""
    i = np.arange(size)
    # The signal continued by mirroring has the period 2S: pixel j lies at j and -1 - j, and again every 2S. What lies
    # less than 8 sigma away counts; for narrow blurs these are j itself and its mirror images at both edges.
    turns = int((8 * sigma + size) / (2 * size))
    images = [i + 2 * size * turn for turn in range(-turns, turns + 1)]
    images += [2 * size * turn - 1 - i for turn in range(-turns, turns + 2)]
    weight = np.zeros((size, size))
    for image in images:
        weight += np.exp(-0.5 * ((i[:, None] - image) / sigma) ** 2)
    weight[weight < NEGLIGIBLE] = 0.0
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


@functools.lru_cache(maxsize=512)
def _pieces(size: int, block: int, sigma: float) -> list[tuple[slice, slice, Matrix | None]]:
    """Give the outputs of each block, those that their blur reaches, and the blur of these (block, near)."""
    outputs = [slice(at, min(at + block, size)) for at in range(0, size, block)]
    if sigma <= 0:
        return [(made, made, None) for made in outputs]
    blur = blur_matrix(size, sigma)
    y, x = blur.nonzero()
    reach = int(np.abs(y - x).max())
    near = [slice(max(made.start - reach, 0), min(made.stop + reach, size)) for made in outputs]
    return [(made, around, blur[made, around]) for made, around in zip(outputs, near, strict=True)]


def make_axes(lines: Sequence[Line], size: int, *, sigma: float = 0.0) -> list[Axis]:
    """Compose crop, resize, blur and flip of some axes of one view.

    Args:
        lines: what each takes of its input.
        size: S, pixels wanted.
        sigma: of the blur [output px].
    """
    taps, weight = resize_taps(lines, size)
    # All lines are written at once into one row of numbers: many small steps cost more than the numbers.
    first = taps[:, 0, 0]
    width = taps[:, -1, -1] + 1 - first
    begin = np.cumsum(size * width) - size * width
    rows = np.arange(size)
    row = np.stack([rows[::-1] if line.flip else rows for line in lines])  # the blur is its own mirror image
    place = row * width[:, None] + (begin - first)[:, None]
    numbers: Matrix = np.zeros(int(begin[-1] + size * width[-1]), np.float32)
    numbers[taps + place[:, None]] = weight
    return [
        _cut(numbers[at : at + size * wide].reshape(size, wide), line, reach, sigma)
        for line, reach, at, wide in zip(lines, taps[:, [0, -1]], begin.tolist(), width.tolist(), strict=True)
    ]


def _cut(matrix: Matrix, line: Line, reach: NDArray[np.int64], sigma: float) -> Axis:
    """Cut the blocks from a matrix (S, width) and blur them.

    Args:
        matrix: of the line, without what lies left and right of all its taps.
        line: what it takes of its input.
        reach: (2, S) first and last tap of each pixel before flipping.
        sigma: of the blur.
    """
    low, high = (reach[:, ::-1] if line.flip else reach).tolist()
    start = min(low[0], low[-1])
    blocks: list[Block] = []
    for made, near, blur in _pieces(len(matrix), line.block(len(matrix)), sigma):
        left, right = (near.stop - 1, near.start) if line.flip else (near.start, near.stop - 1)
        first, end = max(low[left], 0), min(high[right] + 1, line.num_in)  # what lies beyond has no weight
        weights = matrix[near, first - start : end - start]
        blocks.append(Block(made, slice(first, end), weights if blur is None else blur @ weights))
    return tuple(blocks)


def resample(pixels: NDArray[np.generic], rows: Axis, columns: Axis) -> Generator[tuple[slice, NDArray[np.float32]]]:
    """Apply an axis to y and one to x: (band, Ny, Nx) -> stripes of (band, Sy, Sx).

    Only the input rows and columns that carry weight are touched. Bands lie between the axes, so that one product
    serves all of them, along either axis; columns go first. A stripe is yielded while it lies in the processor's cache.

    Yields:
        Output rows, and their pixels (row, band, Sx), float32. The memory of them is used again for the next stripe.
    """
    y, x = _used(rows), _used(columns)
    part = np.ascontiguousarray(pixels[:, y, x].transpose(1, 0, 2), dtype=np.float32)  # (h, C, w)
    height, num_bands, width = part.shape
    between = np.empty((height * num_bands, _size(columns)), np.float32)
    for made, used, weights in columns:
        np.matmul(part.reshape(-1, width)[:, _shift(used, x)], weights.T, out=between[:, made])
    between = between.reshape(height, -1)
    out = np.empty((max(len(weights) for *_, weights in rows), num_bands, _size(columns)), np.float32)
    for made, used, weights in rows:
        stripe = out[: len(weights)]
        np.matmul(weights, between[_shift(used, y)], out=stripe.reshape(len(weights), -1))
        yield made, stripe


def _used(axis: Axis) -> slice:
    return slice(min(block.used.start for block in axis), max(block.used.stop for block in axis))


def _size(axis: Axis) -> int:
    return axis[-1].made.stop


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
