# SPDX-License-Identifier: Apache-2.0
"""From stored numbers to ours: the +1000 DN, linear power to decibels, and Landsat's 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.sensors import SURFACE_STRETCH


def convert(rule: str, stored: NDArray[Any], valid: NDArray[np.bool_], *, subtract: int) -> NDArray[Any]:
    """Give the values of a band by one of the rules in `profile.VALUES`; see the functions below.

    Args:
        rule: dn, power, decibels or landsat_sr.
        stored: (y, x), as delivered.
        valid: (y, x), False where nothing was observed.
        subtract: offset that is taken away [DN]; of dn only.
    """
    if rule == "power":
        return decibels(stored, valid)
    if rule == "decibels":
        return np.where(valid, stored, np.nan).astype(np.float32)
    if rule == "landsat_sr":
        return stretch_surface(stored, valid)
    return harmonize(stored, valid, subtract=subtract)


def harmonize(stored: NDArray[Any], valid: NDArray[np.bool_], *, subtract: int) -> NDArray[np.uint16]:
    """Give digital numbers less the offset, not below 0, as Earth Engine's HARMONIZED collections have them.

    Args:
        stored: as delivered [DN].
        valid: False where nothing was observed; these become 0.
        subtract: 1000 to take the offset away, 0 to keep what there is [DN].
    """
    values = np.clip(np.rint(stored.astype(np.float64)) - subtract, 0, 65535)
    return np.where(valid, values, 0).astype(np.uint16)


def decibels(power: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give 10 log10 of linear power; NaN where nothing was observed, or the power is not above 0.

    >>> decibels(np.array([1.0, 0.01, 0.0, -32768.0]), np.array([True, True, True, False]))
    array([  0., -20.,  nan,  nan], dtype=float32)
    """
    told = valid & (power > 0)
    exact = np.where(told, power, 1).astype(np.float64)
    return np.where(told, 10 * np.log10(exact), np.nan).astype(np.float32)


def stretch_surface(stored: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Give Collection 2 surface reflectance in 8 bits as SSL4EO-L has it: 0 to 255 stand for SURFACE_STRETCH."""
    low, high, _ = SURFACE_STRETCH
    scaled = np.clip((stored.astype(np.float64) - low) * (255 / (high - low)), 0, 255)
    return np.where(valid, np.floor(scaled + 0.5), 0).astype(np.uint8)
