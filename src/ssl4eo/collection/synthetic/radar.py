# SPDX-License-Identifier: Apache-2.0
"""Sentinel-1 as it might have seen the ground: backscatter of VV and VH [dB] with speckle and terrain.

Speckle is gamma noise of LOOKS looks, drawn by looking 16 random bits up in a table of quantiles in dB,
so that no logarithm is taken at run time. Slopes that face the sensor are brighter; there is no layover.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.synthetic.chance import Plane, Stream
from ssl4eo.collection.synthetic.ground import Ground
from ssl4eo.collection.synthetic.materials import CROPS, MATERIALS, STAGES, Palette

LOOKS = 4
"""Looks of the speckle: on even ground mean**2 / variance of the power is this."""
_STEPS = 4096


@functools.cache
def _speckle_table() -> Plane:
    """Quantiles of gamma noise of mean 1 [dB], at the middle of each of 4096 equal parts."""
    return np.array([round(_quantile((i + 0.5) / _STEPS), 4) for i in range(_STEPS)], np.float32)


def _quantile(part: float) -> float:
    low, high = 0.0, 30.0
    for _ in range(40):
        x = (low + high) / 2
        below = 1 - math.exp(-x) * (1 + x + x * x / 2 + x * x * x / 6)  # Erlang distribution, 4 looks
        low, high = (x, high) if below < part else (low, x)
    return 10 * math.log10((low + high) / 2 / LOOKS)


def speckle(chance: Stream, size: int) -> Plane:
    """Draw speckle [dB] of mean power 1, (size, size)."""
    return _speckle_table().take((chance.bits(size, size) >> 4).astype(np.intp))


def backscatter(chance: Stream, ground: Ground, colors: Palette, *, from_east: bool) -> dict[int, NDArray[np.float32]]:
    """Draw one acquisition: float32 (2, y, x) of VV and VH [dB] at 10 m.

    Args:
        chance: stream of the acquisition: moisture and wind differ between dates.
        ground: what is there.
        colors: the optical palette of the date, for how green the crops are.
        from_east: the satellite looks west (descending) or east (ascending).
    """
    table = _table(chance, colors)
    facing = ground.toward_east * np.float32(-13 if from_east else 13)
    terrain = np.clip(facing + ground.toward_south * np.float32(2), -7, 7) + ground.glint
    bands = [table[k].take(ground.material) + terrain + speckle(chance, ground.size) for k in range(2)]
    return {10: np.stack(bands)}


def _table(chance: Stream, colors: Palette) -> NDArray[np.float32]:
    moist = chance.number(-1.2, 1.5)
    wind = chance.number(-4, 4)
    rows: list[tuple[float, float]] = []
    for i in range(len(CROPS) * STAGES):
        green, own = colors.green[i], chance.number(-1.0, 1.0)
        rows.append((-13.9 + moist + own + 3.2 * green, -23.2 + moist + own + 5.8 * green))
    for i, material in enumerate(MATERIALS, start=len(CROPS) * STAGES):
        shift = wind if material.cover == 0 else 0.4 * moist + 1.2 * (colors.green[i] - 0.5) * (material.cover == 2)
        rows.append((material.vv + shift, material.vh + shift * 0.8))
    return np.array(rows, np.float32).T.copy()  # (2, material)
