# SPDX-License-Identifier: Apache-2.0
"""From what a network is fed, any number of scaled bands, to pictures for eyes: one for each group of bands.

The scaling of the network is taken back first, since bands that were standardized one by one have no color. The
stretch is of each sample: from low to high percentiles of its own pixels, one for all of its views, so that a view
that was made darker is darker. What is far brighter than the rest, such as a cloud, turns white and does not darken it.
Letters: C bands, H and W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import InputContract, scaling_affine
from ssl4eo.contract.single import Affine

PERCENTILES = (0.5, 99.5)
"""That become black and white, at most."""
REACH = 4.0
"""White is no farther above the median than this many distances from the lower to the upper quartile."""
HIDDEN = 190
"""Gray of pixels that are not there."""


@dataclass(frozen=True)
class Composite:
    """Which bands become red, green and blue."""

    name: str
    channels: tuple[int, int, int]
    """Positions in the contract; for radar the last one is subtracted from the first to make blue."""
    joint: bool = True
    """One stretch for the three together, so that hues stay."""
    is_radar: bool = False


_OPTICAL = (
    ("true color", ("B04", "B03", "B02"), True),
    ("near infrared", ("B08", "B04", "B03"), False),
    ("near infrared", ("B05", "B04", "B03"), False),
    ("short-wave infrared", ("B12", "B11", "B8A"), False),
    ("short-wave infrared", ("B12", "B8A", "B04"), False),
    ("red edge", ("B07", "B06", "B05"), False),
    ("60 m: B10, B09, B01", ("B10", "B09", "B01"), False),
)
"""Name, red, green, blue, and whether they share a stretch; of one name the first whose bands are there."""


def composites(contract: InputContract) -> tuple[Composite, ...]:
    """List the pictures that these bands make, at least one: true color first, else radar, else the first bands."""
    bands = contract.bands
    found: dict[str, Composite] = {}
    for name, wanted, joint in _OPTICAL:
        if name not in found and set(wanted) <= set(bands):
            red, green, blue = (bands.index(band) for band in wanted)
            found[name] = Composite(name, (red, green, blue), joint)
    if {"VV", "VH"} <= set(bands):
        vv, vh = bands.index("VV"), bands.index("VH")
        found["radar: VV, VH, VV - VH"] = Composite("radar: VV, VH, VV - VH", (vv, vh, vh), joint=False, is_radar=True)
    if not found:
        first = tuple(min(n, len(bands) - 1) for n in range(3)) if len(bands) > 2 else (0, 0, 0)
        name = ", ".join(dict.fromkeys(bands[n] for n in first))
        found[name] = Composite(name, (first[0], first[1], first[2]), joint=False)
    return tuple(found.values())


def as_measured(contract: InputContract, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take the scaling of the network back from an image (C, H, W): DN, dB, 8 bits; what was clipped stays clipped."""
    affines = [scaling_affine(part) for part in contract.parts]
    gain, bias = (np.array([v for a in affines for v in values(a)]) for values in (_gain, _bias))
    return ((image - bias[:, None, None]) / gain[:, None, None]).astype(np.float32)


def _gain(affine: Affine) -> tuple[float, ...]:
    return affine.gain


def _bias(affine: Affine) -> tuple[float, ...]:
    return affine.bias


@dataclass(frozen=True)
class Stretch:
    """What becomes black and white of each of the three channels."""

    low: NDArray[np.float32]
    """(3,)."""
    high: NDArray[np.float32]
    """(3,)."""


def channels_of(composite: Composite, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take the three channels (3, H, W) of an image (C, H, W)."""
    values = image[list(composite.channels)]
    if composite.is_radar:
        values[2] = values[0] - values[1]
    return values


def stretch_of(composite: Composite, images: list[NDArray[np.float32]]) -> Stretch:
    """Find one stretch for images (C, H, W) of any sizes; pixels of which all three channels are 0 do not count."""
    flat = np.concatenate([channels_of(composite, image).reshape(3, -1) for image in images], axis=1)
    shown = flat[:, np.isfinite(flat).all(axis=0) & (flat != 0).any(axis=0)]
    if not shown.size:
        return Stretch(np.zeros(3, np.float32), np.ones(3, np.float32))
    edges = (*PERCENTILES, 25, 50, 75)
    if composite.joint:
        low, high, lower, median, upper = (np.full(3, edge) for edge in np.percentile(shown, edges))
    else:
        low, high, lower, median, upper = np.percentile(shown, edges, axis=1)
    reach = median + REACH * (upper - lower)
    high = np.where(upper > lower, np.minimum(high, reach), high)
    flat_ones = high - low < 1e-6  # a channel of one value is gray
    return Stretch(
        np.where(flat_ones, low - 0.5, low).astype(np.float32), np.where(flat_ones, low + 0.5, high).astype(np.float32)
    )


def picture(composite: Composite, image: NDArray[np.float32], stretch: Stretch) -> NDArray[np.uint8]:
    """Make the picture (H, W, 3) of an image (C, H, W); pixels that are not finite are gray."""
    values = channels_of(composite, image)
    shown = (values - stretch.low[:, None, None]) / (stretch.high - stretch.low)[:, None, None]
    shown = np.where(np.isfinite(shown), np.clip(shown, 0, 1), HIDDEN / 255)
    return np.ascontiguousarray((255 * shown + 0.5).astype(np.uint8).transpose(1, 2, 0))
