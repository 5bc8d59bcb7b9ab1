# SPDX-License-Identifier: Apache-2.0
"""Crop, resize, flip and blur as one linear map per axis.

Bilinear resampling, mirroring and a Gaussian blur are linear and separable, so a whole view of a
band is `rows @ pixels @ columns.T` with two small matrices, made once per view and shared by all
bands of a resolution group. A group is read at its native resolution and sampled once: nothing is
brought to a 264-px grid first, and the blur costs no pass over the pixels.

Order: crop -> resize -> blur -> flip. Blur before the photometric changes, where the published
order has it after: it commutes with scaling and band means exactly, and differs from blur after
the contrast change only through the mean at the patch edge.
Letters: S output size, N input size [px] of an axis; one matrix is (S, N).
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

Matrix = NDArray[np.float32]

NEGLIGIBLE = 1e-7
"""Gaussian weights below this share of the peak are zero: float32 cannot see them, and as denormal numbers they make
the products several times slower."""


def resize_matrix(num_in: int, size: int, *, start: float = 0.0, length: float | None = None) -> Matrix:
    """Weights (S, N) that resample [start, start + length) of an axis to `size` pixels.

    A triangle filter whose support widens when shrinking (antialiased, as PIL and torch with
    antialias=True do); when enlarging it is ordinary bilinear interpolation with half-pixel centres.
    Pixels outside the crop but inside the patch take part; at the patch edge the filter is cut and
    its weights are made to sum to 1 again.

    Args:
        num_in: N, pixels of the axis.
        size: S, pixels wanted.
        start: of the crop, in input pixels from the outer edge; may be fractional.
        length: of the crop in input pixels, None for all.
    """
    length = float(num_in) if length is None else length
    scale = length / size
    support = max(scale, 1.0)
    centre = start + (np.arange(size) + 0.5) * scale  # in input pixels from the outer edge
    distance = np.abs(np.arange(num_in) + 0.5 - centre[:, None])  # (S, N)
    weight = np.maximum(0.0, 1.0 - distance / support)
    return (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)


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


def axis_matrix(
    num_in: int, size: int, *, start: float = 0.0, length: float | None = None, sigma: float = 0.0, flip: bool = False
) -> Matrix:
    """Compose crop, resize, blur and flip of one axis into one matrix (S, N)."""
    matrix = resize_matrix(num_in, size, start=start, length=length)
    if sigma > 0:
        matrix = blur_matrix(size, sigma) @ matrix
    return np.ascontiguousarray(matrix[::-1]) if flip else matrix


def resample(pixels: NDArray[np.generic], rows: Matrix, columns: Matrix) -> NDArray[np.float32]:
    """Apply an axis matrix to y and one to x: (band, Ny, Nx) -> float32 (band, Sy, Sx).

    Only the input rows and columns that carry weight are touched.
    """
    y, x = _extent(rows), _extent(columns)
    part = pixels[:, y, x].astype(np.float32)  # (C, h, w)
    return np.matmul(np.matmul(rows[:, y], part), columns[:, x].T)


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
    used = np.flatnonzero(matrix.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1)
