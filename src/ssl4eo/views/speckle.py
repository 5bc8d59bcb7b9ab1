# SPDX-License-Identifier: Apache-2.0
"""Speckle: the grain of radar images, added where power is known, in dB.

Speckle multiplies power; in dB it adds. It is added on the worker to the values as stored, before scaling and
clipping, with numbers of the view's own generator, so that it is the same on any number of workers and on every
device: a device's generator would draw others. Price: a gamma variable for each radar pixel of a view on the worker.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssl4eo import eightbit
from ssl4eo.contract import Contract, InputContract


def units_per_decibel(contract: InputContract) -> tuple[float, ...]:
    """Give for each band how much a value as stored grows with 1 dB; 0 for bands that are not radar power."""
    return tuple(unit for part in contract.parts for unit in _units_of(part))


def _units_of(contract: Contract) -> tuple[float, ...]:
    if contract.unit != "dB":
        return (0.0,) * contract.num_bands
    if contract.is_quantized:
        gain, _ = eightbit.meaning(contract.scaling, contract.modality, contract.bands)
        return tuple(1 / g for g in gain)
    return (1.0,) * contract.num_bands


def draw_speckle(
    rng: np.random.Generator, *, size: int, strength: float, units: tuple[float, ...]
) -> NDArray[np.float32]:
    """Draw what is added to a view (C, S, S) in stored units.

    10 log10(g) in dB, g gamma distributed with mean 1 and L = 1 / strength^2 looks, independent from pixel to pixel
    and band to band.
    Source: Goodman 1976 (fully developed speckle); Lee et al. 1994 (multi-look intensity is gamma distributed).

    Args:
        rng: of the view.
        size: S [px].
        strength: standard deviation of g, 1e-6 to 1: looks of much less overflow float32.
        units: for each band the stored units of 1 dB, 0 for bands that stay as they are.
    """
    looks = strength**-2
    noise = np.zeros((len(units), size, size), np.float32)
    for band, unit in enumerate(units):
        if unit:
            power = rng.standard_gamma(looks, (size, size), dtype=np.float32) / np.float32(looks)
            noise[band] = np.float32(10 * unit) * np.log10(np.maximum(power, np.finfo(np.float32).tiny))
    return noise
