# SPDX-License-Identifier: Apache-2.0
"""The ground under a patch: sizes of the native grids and bilinear change of grid.

All grids of a patch share their outer edge, so pixel centres differ by half a pixel:
coordinate x of one grid is (x + 0.5) * scale - 0.5 of another. Axes are (band, y, x), y runs north to south.
Pure NumPy; the training path has its own, batched, resampler in views/resample.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import SampleInvalid

BASE_RESOLUTION = 10
"""Resolution of Sentinel's finest grid [m]; crops and sizes are told in its pixels."""
SNAP = 60
"""Edges of collected patches are multiples of this [m]: the coarsest pixels of Sentinel-2."""
UTM_SOUTH, UTM_NORTH = -80.0, 84.0
"""Latitudes between which UTM is defined [deg]."""
UTM_LEAST_SCALE = 0.9996
"""Grid meters of UTM per meter on the ground, on the central meridian; more everywhere else."""


def size_at(resolution: int, base_size: int, base: int = BASE_RESOLUTION) -> int:
    """Number of pixels on one axis of a grid of `resolution` [m] over `base_size` pixels of `base` [m].

    >>> [size_at(r, 264) for r in (10, 20, 60)]
    [264, 132, 44]

    Raises:
        SampleInvalid: the grid does not fit the patch exactly.
    """
    if (base_size * base) % resolution:
        raise SampleInvalid(
            f"a patch of {base_size} px at {base} m is not a whole number of {resolution} m pixels",
            expected=f"a multiple of {resolution // base} px",
            remedy="cut patches so that the coarsest band stays whole",
        )
    return base_size * base // resolution


def resize_bilinear(image: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resample (band, y, x) to `size` = (height, width), half-pixel centres, edges repeated, no antialias.

    Equals OpenCV's INTER_LINEAR before rounding; the reference upsamples the same way.
    """
    out = image.astype(np.float32)
    for axis, target in ((1, size[0]), (2, size[1])):
        source = out.shape[axis]
        if source == target:
            continue
        position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.floor(position).astype(np.intp)
        high = np.minimum(low + 1, source - 1)
        weight = (position - low).astype(np.float32)
        weight = weight[:, None] if axis == 1 else weight
        out = out.take(low, axis) * (1 - weight) + out.take(high, axis) * weight
    return out
