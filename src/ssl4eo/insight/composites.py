# SPDX-License-Identifier: Apache-2.0
"""From what a network is fed, any number of scaled bands, to pictures for eyes: one for each group of bands.

Groups are the composites of `ssl4eo.pictures`, under the same names, and what they leave over.
The scaling of the network is taken back first, since bands that were standardized one by one have no color. The
stretch is of each sample: from low to high percentiles of its own pixels, one for all of its views, so that a view
that was made darker is darker. What is far brighter than the rest, such as a cloud, turns white and does not darken it.
Letters: C bands, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import InputContract, scaling_affine
from ssl4eo.contract.single import Affine
from ssl4eo.pictures.composites import composites_of
from ssl4eo.sensors import modality

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


def composites(contract: InputContract) -> tuple[Composite, ...]:
    """List the pictures that these bands make, at least one, so that each band is in one of them.

    Those of `ssl4eo.pictures` first, true color before all; the bands that they leave over in threes, finer ones first.
    """
    bands = contract.bands
    found = [
        Composite(row.name, _three([bands.index(channel[0]) for channel in row.channels]), row.joint,
                  is_radar=len(row.channels[-1]) > 1)
        for part in contract.parts
        for row in composites_of(part.modality, part.bands).values()
        if len(row.channels) == 3
    ]  # fmt: skip
    shown = {channel for kind in found for channel in kind.channels}
    rest = [n for n in _finer_first(contract) if n not in shown]
    for start in range(0, len(rest), 3):
        group = rest[start : start + 3]
        found.append(Composite(", ".join(bands[n] for n in group), _three(group), joint=False))
    return tuple(sorted(found, key=lambda kind: not kind.joint))


def _finer_first(contract: InputContract) -> list[int]:
    """Give the positions of all bands by resolution."""
    sizes = [modality(part.modality).resolution(band) for part in contract.parts for band in part.bands]
    return sorted(range(len(sizes)), key=lambda n: sizes[n])


def _three(channels: Sequence[int]) -> tuple[int, int, int]:
    """Repeat the last of fewer than three: of one alone that is gray."""
    red, green, blue = [*channels, *[channels[-1]] * (3 - len(channels))]
    return red, green, blue


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
