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


def resize_taps(lines: Sequence[Line], size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give pixels and weights, both (A, S, K), that resample each of A lines to `size` pixels.

    A triangle filter whose support widens when shrinking (antialiased, as PIL and torch with
    antialias=True do); when enlarging it is ordinary bilinear interpolation with half-pixel centres.
    Pixels outside the crop but inside the patch take part; at the patch edge the filter is cut and
    its weights are made to sum to 1 again. Pixels beyond the edge have weight 0.
    """
    num_in = np.array([line.num_in for line in lines])[:, None, None]
    start = np.array([line.start for line in lines], np.float64)[:, None, None]
    length = np.array([line.num_in if line.length is None else line.length for line in lines], np.float64)
    scale = length[:, None, None] / size
    support = np.maximum(scale, 1.0)
    centre = start + (np.arange(size)[:, None] + 0.5) * scale  # (A, S, 1), in input pixels from the outer edge
    # Only the few pixels under each triangle are looked at: K of them, from the first whose centre can lie inside.
    num_taps = math.ceil(2 * float(support.max())) + 1
    taps = np.floor(centre - support).astype(np.int64) + np.arange(num_taps)
    weight = np.maximum(0.0, 1.0 - np.abs(taps + 0.5 - centre) / support)
    weight[(taps < 0) | (taps >= num_in)] = 0.0
    return taps, weight / weight.sum(axis=2, keepdims=True)


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


class _Around(NamedTuple):
    """What lies around each block of an axis: the blur of its outputs reaches outputs of its neighbours."""

    outputs: NDArray[np.intp]
    """(block, BLOCK + 2 R): output pixels that are resized, held at both ends."""
    weights: Matrix | None
    """(block, BLOCK, BLOCK + 2 R): their blur, 0 for those held; None without one."""


@functools.lru_cache(maxsize=512)
def _around(size: int, sigma: float) -> _Around:
    num_blocks = -(-size // BLOCK)
    first = np.arange(num_blocks)[:, None] * BLOCK
    if sigma <= 0:
        return _Around(np.minimum(first + np.arange(BLOCK), size - 1), None)
    blur = blur_matrix(size, sigma)
    y, x = blur.nonzero()
    reach = int(np.abs(y - x).max())
    near = first + np.arange(-reach, BLOCK + reach)
    outputs, inside = near.clip(0, size - 1), (near >= 0) & (near < size)
    made = np.minimum(first + np.arange(BLOCK), size - 1)
    weights = blur[made[:, :, None], outputs[:, None, :]] * inside[:, None, :]
    return _Around(outputs, weights.astype(np.float32))


def make_axes(lines: Sequence[Line], size: int, *, sigma: float = 0.0) -> list[Axis]:
    """Compose crop, resize, blur and flip of some axes of one view.

    Args:
        lines: what each takes of its input.
        size: S, pixels wanted.
        sigma: of the blur [output px].
    """
    taps, weight = resize_taps(lines, size)
    around = _around(size, sigma)
    for number, line in enumerate(lines):
        if line.flip:  # the blur is its own mirror image
            taps[number], weight[number] = taps[number, ::-1].copy(), weight[number, ::-1].copy()
    places, values = taps[:, around.outputs], weight[:, around.outputs]  # (A, block, BLOCK + 2 R, K)
    ends = places[:, :, [0, -1]]  # the first and the last output of a block
    first, end = ends[..., 0].min(axis=2), ends[..., -1].max(axis=2) + 1
    return [
        _compose(around, places[number], values[number], first[number], end[number], size, line.num_in)
        for number, line in enumerate(lines)
    ]


def _compose(
    around: _Around,
    places: NDArray[np.int64],
    values: NDArray[np.float64],
    first: NDArray[np.int64],
    end: NDArray[np.int64],
    size: int,
    num_in: int,
) -> Axis:
    """Write all blocks of an axis at once, each from its `first` input pixel to its `end`."""
    width = int((end - first).max())
    matrices = np.zeros((*around.outputs.shape, width), np.float32)
    columns = places - first[:, None, None]
    columns += np.arange(0, matrices.size, width).reshape(*around.outputs.shape, 1)
    matrices.reshape(-1)[columns] = values
    if around.weights is not None:
        matrices = around.weights @ matrices
    return tuple(
        _block(matrix, number * BLOCK, size, int(first[number]), int(end[number]), num_in)
        for number, matrix in enumerate(matrices)
    )


def _block(matrix: Matrix, made: int, size: int, first: int, end: int, num_in: int) -> Block:
    """Cut what lies beyond the axis: it has no weight."""
    stop, used = min(made + BLOCK, size), slice(max(first, 0), min(end, num_in))
    return Block(slice(made, stop), used, matrix[: stop - made, used.start - first : used.stop - first])


def resample(pixels: NDArray[np.generic], rows: Axis, columns: Axis) -> Generator[tuple[slice, NDArray[np.float32]]]:
    """Apply an axis to y and one to x: (band, Ny, Nx) -> stripes of (band, Sy, Sx).

    Only the input rows and columns that carry weight are touched. Bands lie between the axes, so that one product
    serves all of them, along either axis; rows go first. A stripe is yielded while it lies in the processor's cache.

    Yields:
        Output rows, and their pixels (row, band, Sx), float32. The memory of them is used again for the next stripe.
    """
    y, x = _used(rows), _used(columns)
    part = np.ascontiguousarray(pixels[:, y, x].transpose(1, 0, 2), dtype=np.float32)  # (h, C, w)
    height, num_bands, width = part.shape
    between = np.empty((BLOCK, num_bands * width), np.float32)
    out = np.empty((BLOCK, num_bands, _size(columns)), np.float32)
    for made, used, weights in rows:
        stripe = out[: len(weights)]
        lines = np.matmul(weights, part.reshape(height, -1)[_shift(used, y)], out=between[: len(weights)])
        lines = lines.reshape(-1, width)  # (row C, w)
        flat = stripe.reshape(len(lines), -1)
        for made_x, used_x, weights_x in columns:
            np.matmul(lines[:, _shift(used_x, x)], weights_x.T, out=flat[:, made_x])
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
