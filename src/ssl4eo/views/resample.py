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
"""Output pixels of an axis that are computed in one product: fewer make many calls, more multiply with zeros."""
STRIPE = 56
"""The same of y, where a product's pixels are written to the view while they lie in the cache."""

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
    block: int = BLOCK
    """Output pixels that are computed in one product."""


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
    weight = taps + (0.5 - centre)
    np.abs(weight, out=weight)
    weight /= -support
    weight += 1.0
    np.maximum(weight, 0.0, out=weight)
    weight *= (taps >= 0) & (taps < num_in)
    weight /= weight.sum(axis=2, keepdims=True)
    return taps, weight


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
    """(n, block + 2 R): output pixels that are resized, held at both ends."""
    row: NDArray[np.intp]
    """(n, block + 2 R, 1): 0, 1, 2 and so on."""
    weights: Matrix | None
    """(n, block, block + 2 R): their blur, 0 for those held; None without one."""


@functools.lru_cache(maxsize=512)
def _around(size: int, block: int, sigma: float) -> _Around:
    first = np.arange(0, size, block)[:, None]
    made = np.minimum(first + np.arange(block), size - 1)
    if sigma <= 0:
        return _Around(made, _numbered(made), None)
    blur = blur_matrix(size, sigma)
    y, x = blur.nonzero()
    reach = int(np.abs(y - x).max())
    near = first + np.arange(-reach, block + reach)
    outputs, inside = near.clip(0, size - 1), (near >= 0) & (near < size)
    return _Around(outputs, _numbered(outputs), blur[made[:, :, None], outputs[:, None, :]] * inside[:, None, :])


def _numbered(outputs: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.arange(outputs.size).reshape(*outputs.shape, 1)


def make_axes(lines: Sequence[Line], size: int, *, sigma: float = 0.0) -> list[Axis]:
    """Compose crop, resize, blur and flip of some axes of one view.

    Args:
        lines: what each takes of its input.
        size: S, pixels wanted.
        sigma: of the blur [output px].
    """
    taps, weight = resize_taps(lines, size)
    return [
        _compose(line, taps[number], weight[number], _around(size, line.block, sigma))
        for number, line in enumerate(lines)
    ]


def _compose(line: Line, taps: NDArray[np.int64], weight: NDArray[np.float64], around: _Around) -> Axis:
    """Write all blocks of an axis at once, each from the first input pixel that it is made of."""
    size = len(taps)
    if line.flip:  # the blur is its own mirror image
        taps, weight = taps[::-1], weight[::-1]
    places = taps[around.outputs]  # (n, block + 2 R, K)
    left, right = (-1, 0) if line.flip else (0, -1)
    first, end = places[:, left, 0].copy(), places[:, right, -1] + 1
    width = int((end - first).max())
    matrices: Matrix = np.zeros((*around.outputs.shape, width), np.float32)
    # Addressed as one row of numbers: that is several times quicker than by three indices.
    places += around.row * width - first[:, None, None]
    matrices.reshape(-1)[places] = weight[around.outputs]
    if around.weights is not None:
        matrices = np.matmul(around.weights, matrices)
    return tuple(
        _block(matrix, slice(made, min(made + line.block, size)), low, high, line.num_in)
        for matrix, made, low, high in zip(
            matrices, range(0, size, line.block), first.tolist(), end.tolist(), strict=True
        )
    )


def _block(matrix: Matrix, made: slice, first: int, end: int, num_in: int) -> Block:
    """Cut what lies beyond the axis: it has no weight."""
    used = slice(max(first, 0), min(end, num_in))
    return Block(made, used, matrix[: made.stop - made.start, used.start - first : used.stop - first])


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
