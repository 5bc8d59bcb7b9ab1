# SPDX-License-Identifier: Apache-2.0
"""From values to brightness: what becomes black and what becomes white.

`fixed` takes physical ranges, so that any two pictures can be compared. `shared` takes percentiles of all seasons of a
location, so that a brighter season is brighter; cloud and snow do not count. `own` takes them of each image alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import unknown_name
from ssl4eo.pictures.composites import Composite
from ssl4eo.pictures.values import channels, is_bright, kind_of
from ssl4eo.sensors import modality

if TYPE_CHECKING:
    from ssl4eo.sample import Image

STRETCHES: Mapping[str, str] = {
    "shared": "percentiles 1 and 99 of all seasons together, cloud and snow left out",
    "fixed": "fixed physical ranges, the same for every place",
    "own": "percentiles 1 and 99 of each image alone",
}
PERCENTILES = (1.0, 99.0)
GAMMA = 0.75
"""Exponent of reflectance after the stretch: land is dark beside cloud."""
_LEAST_CLEAR = 0.1

Limits = NDArray[np.float32]
"""(channel, 2): the values that become 0 and 1."""

_REFLECTANCE: Mapping[str, tuple[float, float]] = {
    "near infrared": (0.0, 0.5),
    "narrow near infrared": (0.0, 0.5),
    "red edge 1": (0.0, 0.4),
    "red edge 2": (0.0, 0.5),
    "red edge 3": (0.0, 0.5),
    "short-wave infrared 1": (0.0, 0.45),
    "short-wave infrared 2": (0.0, 0.4),
    "water vapour": (0.0, 0.4),
    "cirrus": (0.0, 0.02),
}
_VISIBLE = (0.0, 0.3)
"""Of reflectance where the table above says nothing."""
_FIXED: Mapping[str, tuple[float, float]] = {"K": (260.0, 320.0), "display": (0.0, 1.0)}
_DECIBELS: Mapping[str, tuple[float, float]] = {"VV": (-25.0, 0.0), "VH": (-32.0, -5.0)}
_RATIO = (0.0, 15.0)
"""VV - VH [dB]."""
INDEX = (-0.2, 1.0)
"""NDVI: water and snow are below, a closed canopy nears 1."""


def fixed_limits(modality_name: str, composite: Composite) -> Limits:
    """Give the physical ranges of a composite."""
    if composite.index:
        return np.array([INDEX], np.float32)
    return np.array([_range(modality_name, channel) for channel in composite.channels], np.float32)


def _range(modality_name: str, channel: tuple[str, ...]) -> tuple[float, float]:
    if len(channel) == 2:
        return _RATIO
    (band,) = channel
    kind = kind_of(modality_name, band)
    if kind == "dB":
        return _DECIBELS[band]
    return _FIXED.get(kind) or _REFLECTANCE.get(modality(modality_name).channels[band].title, _VISIBLE)


def percentile_limits(
    values: NDArray[np.float32],
    *,
    joint: bool,
    percentiles: tuple[float, float] = PERCENTILES,
    bright: NDArray[np.bool_] | None = None,
) -> Limits:
    """Find the two percentiles of (season, channel, y, x), over all channels if `joint`, else of each.

    Pixels with NaN do not count, nor those of `bright` (season, y, x) unless too few others are left.
    """
    counted = np.isfinite(values).all(axis=1)  # (season, y, x)
    if bright is not None and (counted & ~bright).sum() >= _LEAST_CLEAR * counted.sum():
        counted &= ~bright
    chosen = np.moveaxis(values, 1, 0)[:, counted]  # (channel, pixel)
    if not chosen.size:
        return np.tile(np.array([0.0, 1.0], np.float32), (len(chosen), 1))
    if joint:
        return np.tile(np.percentile(chosen, percentiles), (len(chosen), 1)).astype(np.float32)
    return np.percentile(chosen, percentiles, axis=1).T.astype(np.float32)


def stretched(values: NDArray[np.float32], limits: Limits) -> NDArray[np.float32]:
    """Scale (..., channel, y, x) to 0 to 1; NaN becomes 0, a channel whose limits are equal 0.5."""
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    flat = high - low < 1e-6 * np.maximum(1.0, np.abs(high))
    out = np.where(flat, 0.5, np.clip((values - low) / np.where(flat, 1, high - low), 0, 1))
    return np.where(np.isfinite(values), out, 0).astype(np.float32)


def is_measured(modality_name: str, composite: Composite, stretch: str) -> bool:
    """Say whether limits come from the images: an index has a range of its own, and display values are stretched."""
    is_display = all(kind_of(modality_name, band) == "display" for band in composite.bands)
    return not (stretch == "fixed" or composite.index or (stretch == "shared" and is_display))


def note_of(composite: Composite) -> str:
    """Say how an index is drawn whatever stretch is chosen, and what its colors mean; nothing of other composites."""
    if not composite.index:
        return ""
    low, high = INDEX
    return (
        f"Always drawn from {low:g} to {high:g}, whatever the brightness: brown is water, snow and bare ground "
        "(below 0.2), pale is sparse vegetation, green is dense vegetation (above 0.6)."
    )


def limits_of(images: Sequence[Image], composite: Composite, stretch: str) -> Limits:
    """Give the limits that all of these images share.

    Args:
        images: of one modality; one for `own`, the seasons of a location for `shared`.
        composite: what is drawn.
        stretch: one of STRETCHES.

    Raises:
        UnknownName: no such stretch.
    """
    if stretch not in STRETCHES:
        raise unknown_name("stretch", stretch, STRETCHES)
    name = images[0].modality
    if not is_measured(name, composite, stretch):
        return fixed_limits(name, composite)
    values = np.stack([channels(image, composite) for image in images])
    bright = np.stack([is_bright(image) for image in images])
    return percentile_limits(values, joint=composite.joint, bright=bright)
