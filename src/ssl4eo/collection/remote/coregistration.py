# SPDX-License-Identifier: Apache-2.0
"""Does radar lie where the optical image lies? Measured for each location, and kept beside it.

Radar and optics agree in where things change, not in how: compared are the magnitudes of the gradients, radar speckle
smoothed before, by normalized cross-correlation over shifts of up to 8 pixels of the finest grid. Where nothing has an
edge (sea, snow, sand) the correlation is low and the shift means nothing: both are figures to look at, no test.
In a small patch some shift always correlates, so none is given below MIN_SIZE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ssl4eo.sample import Image

MAX_SHIFT = 8
"""Looked at in each direction [px of the finest grid]."""
MIN_SIZE = 96
"""Width of the smallest patch that is looked at [px]: its core is then 23 times the area of the shifts."""
_SMOOTH = 2.0
"""Standard deviation of the smoothing of both [px]."""


def coregistration(images: Mapping[str, Sequence[Image]]) -> dict[str, float]:
    """Give the best shift of Sentinel-1 against Sentinel-2 and the correlation there.

    Returns:
        `s1_s2_correlation` [-1 to 1], `s1_s2_shift_east` and `s1_s2_shift_south` [m], medians over the dates; nothing
        where one of the two is absent, or the patch is smaller than MIN_SIZE. Radar is any modality with VV.
    """
    optical: Sequence[Image] = next((images[name] for name in ("S2L1C", "S2L2A") if name in images), ())
    radars: Sequence[Image] = next((row for row in images.values() if "VV" in row[0].form.bands), ())
    if not optical or min(optical[0].shape) < MIN_SIZE or "B04" not in optical[0].form.bands:
        return {}
    pairs = zip(radars, optical, strict=False)  # none where one is absent
    found = [_shift(_edges(radar.band("VV")), _edges(other.band("B04"))) for radar, other in pairs]
    if not found:
        return {}
    peak, east, south = (float(np.round(np.median(values), 4)) for values in zip(*found, strict=True))
    base = next(iter(optical)).form.base
    return {"s1_s2_correlation": peak, "s1_s2_shift_east": east * base, "s1_s2_shift_south": south * base}


def _edges(values: NDArray[np.generic]) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter  # here, as below: SciPy takes seconds to load, for some collections only

    smooth = gaussian_filter(np.nan_to_num(values.astype(np.float64)), _SMOOTH)
    rows, columns = np.gradient(smooth)
    return np.hypot(rows, columns)


def _shift(radar: NDArray[np.float64], optical: NDArray[np.float64]) -> tuple[float, float, float]:
    """Give (correlation, east, south) of the place in the radar image [px] where the optical image fits best."""
    from scipy.signal import fftconvolve

    side = MAX_SHIFT
    core = optical[side:-side, side:-side]
    core = core - core.mean()
    moving = radar - radar.mean()
    both = fftconvolve(moving, core[::-1, ::-1], mode="valid")  # (2 side + 1, 2 side + 1)
    count = core.size
    total, squares = _sums(moving, core.shape), _sums(moving**2, core.shape)
    spread = np.sqrt(np.maximum(squares - total**2 / count, 0.0) * (core**2).sum())
    is_flat = spread <= 1e-9 * count
    values = np.divide(both, spread, out=np.zeros_like(both), where=~is_flat)
    south, east = np.unravel_index(int(values.argmax()), values.shape)
    if is_flat.all():
        return 0.0, 0.0, 0.0
    return float(values.max()), float(east - side), float(south - side)


def _sums(values: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Add up every window of a shape: (h, w) gives (h - rows + 1, w - columns + 1)."""
    whole = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = shape
    return whole[rows:, columns:] - whole[:-rows, columns:] - whole[rows:, :-columns] + whole[:-rows, :-columns]
