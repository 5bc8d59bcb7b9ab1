# SPDX-License-Identifier: Apache-2.0
"""Stored values as what they stand for, whatever the archive keeps: reflectance, dB, K, or what was made for display.

Offsets and 8-bit rules are undone as the image's contract says; nothing is estimated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssl4eo import eightbit
from ssl4eo.contract.single import REFLECTANCE_DN
from ssl4eo.grid import resize_bilinear
from ssl4eo.pictures.composites import Composite
from ssl4eo.sensors import modality

if TYPE_CHECKING:
    from ssl4eo.sample import Image

BRIGHT = 0.2
"""Blue above this is cloud or snow [reflectance], for stretches only: it is no cloud mask."""
SURFACE_GAIN, SURFACE_BIAS = 2.75e-5, -0.2
"""Reflectance from the numbers of Landsat Collection 2 surface products (USGS)."""


def kind_of(modality_name: str, band: str) -> str:
    """Say what `physical` gives: `reflectance`, `dB`, `K`, or `display` for values stretched beyond return.

    >>> kind_of("S2L1C", "B04"), kind_of("S2RGB", "B04"), kind_of("L8TOA", "B10"), kind_of("L8SR", "SR_B4")
    ('reflectance', 'display', 'K', 'reflectance')
    """
    known = modality(modality_name)
    if known.unit == "uint8":
        unit = known.stretch[band][2] if band in known.stretch else "display"
        return "reflectance" if unit == "DN" else unit
    return "dB" if known.unit == "dB" else "reflectance"


def physical(image: Image, band: str) -> NDArray[np.float32]:
    """Give one band (y, x) on its own grid in the unit that `kind_of` tells; float32, nodata included.

    Raises:
        SampleInvalid: the image has no such band.
    """
    stored, (gain, bias) = image.band(band), _meaning(image, band)
    if (gain, bias) == (1, 0):
        return stored.astype(np.float32)
    return (stored.astype(np.float64) * gain + bias).astype(np.float32)


def _meaning(image: Image, band: str) -> tuple[float, float]:
    """Give gain and bias that make what `physical` tells of a stored value."""
    known, scaling = modality(image.modality), image.form.scaling
    if known.unit == "uint8":
        if band not in known.stretch:
            return 1 / 255, 0.0
        low, high, unit = known.stretch[band]
        gain, bias = (high - low) / 255, low
        return (gain * SURFACE_GAIN, bias * SURFACE_GAIN + SURFACE_BIAS) if unit == "DN" else (gain, bias)
    gain, bias = 1.0, 0.0
    if eightbit.is_rule(scaling):
        (gain,), (bias,) = eightbit.meaning(scaling, image.modality, [band])
    return (gain, bias) if known.unit == "dB" else (gain / REFLECTANCE_DN, (bias - image.offset) / REFLECTANCE_DN)


def steps_of(image: Image, band: str) -> tuple[float, float] | None:
    """Give step and origin of the values that `physical` can tell of a band; None where they are stored as floats."""
    return None if image.band(band).dtype.kind == "f" else _meaning(image, band)


def no_data(image: Image) -> NDArray[np.bool_]:
    """Mark pixels that were not observed, (y, x) on the finest grid: NaN in a band, or the fill value 0 in all of them.

    8-bit Sentinel-1 has no fill value: its 0 stands for weak backscatter.
    """
    form = image.form
    empty = np.ones(image.shape, np.bool_)
    broken = np.zeros(image.shape, np.bool_)
    is_radar = modality(image.modality).unit == "dB"
    if is_radar and eightbit.is_rule(form.scaling):
        return broken
    for resolution, _ in form.groups:
        pixels, step = image.pixels[resolution], resolution // form.base
        if pixels.dtype.kind == "f":
            broken |= _spread(~np.isfinite(pixels.sum(axis=0, dtype=np.float64)), step)
        empty &= _spread((pixels == 0).all(axis=0), step)
    return empty | broken


def _spread(mask: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    return mask if step == 1 else mask.repeat(step, 0).repeat(step, 1)


def channels(image: Image, composite: Composite) -> NDArray[np.float32]:
    """Give the channels of a composite, not stretched: float32 (channel, y, x) on the finest grid, NaN for nodata.

    Coarser bands are resampled bilinearly.

    Raises:
        SampleInvalid: the image lacks a band.
    """
    planes = [_plane(image, channel) for channel in composite.channels]
    if composite.index:
        near, far = planes
        planes = [((near - far) / np.maximum(near + far, 1e-4)).astype(np.float32)]
    values = np.stack(planes)
    values[:, no_data(image)] = np.nan
    return values


def _plane(image: Image, bands: tuple[str, ...]) -> NDArray[np.float32]:
    first, *others = (_on_base(image, band) for band in bands)
    return first - others[0] if others else first


def _on_base(image: Image, band: str) -> NDArray[np.float32]:
    values = physical(image, band)
    return values if values.shape == image.shape else resize_bilinear(values[None], image.shape)[0]


def is_bright(image: Image) -> NDArray[np.bool_]:
    """Mark what looks like cloud or snow (y, x); nothing where there is no blue band of reflectance."""
    known = modality(image.modality)
    blue = next((b for b in image.form.bands if known.channels[b].title == "blue"), None)
    if blue is None or kind_of(image.modality, blue) != "reflectance":
        return np.zeros(image.shape, dtype=np.bool_)
    return _on_base(image, blue) > np.float32(BRIGHT)
