# SPDX-License-Identifier: Apache-2.0
"""What a network would be fed, looked at before a run begins: a wrong scale costs hours, and no loss shows it.

A few images are rendered without any change and scaled as the run would. An archive's own figures are judged, too:
who packed it was warned, who trains on it may be somebody else.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.plausible import doubts_of
from ssl4eo.contract import UNBOUNDED, InputContract, Remap, narrowed, plan_remap
from ssl4eo.contract.scales import times_published
from ssl4eo.errors import ContractMismatch, ShardCorrupt
from ssl4eo.loading.pixels import ArchivePixels, PixelSource
from ssl4eo.views.compose import PLAIN, Renderer

log = logging.getLogger(__name__)

MOST_LOOKED_AT = 16
"""Images, evenly over the items."""
SIZE = 64
"""Pixels of a side that they are rendered to."""
CLIPPED = 0.5
"""Share of a band's values at an end of its range that is told."""


def look_at_inputs(source: PixelSource, contract: InputContract, *, skip_damaged: bool = False) -> None:
    """Warn of values that are not what the contract says, and refuse those that leave nothing to see.

    Args:
        source: what a run would train on.
        contract: what its network is fed.
        skip_damaged: look at the other images where some cannot be read.

    Raises:
        ContractMismatch: bands that the source lacks, or all values become one and the same.
        ShardCorrupt: an image cannot be read, or none can.
    """
    is_archive = isinstance(source, ArchivePixels)
    if is_archive:
        for doubt in doubts_of(source.archive):
            if doubt.modality in contract.modality.split("+"):
                log.warning("%s: %s", source.archive.path, doubt)
    seen = narrowed(source.contract, contract)
    remap = plan_remap(seen, contract)
    stored = _images(source, seen, skip_damaged=skip_damaged)
    images = remap(stored)
    _require_contrast(images, remap)
    if not is_archive:
        _tell_scale(seen, stored)
    if not any(part.is_quantized for part in seen.parts):  # the darkest step of 8 bits is wide
        _tell_clipped(images, np.asarray(stored.any(axis=1)), remap)


def require_bands(found: InputContract, contract: InputContract) -> None:
    """Refuse a source that lacks bands of the input, with those that a run could have.

    Raises:
        ContractMismatch: the one cannot be made into the other.
    """
    try:
        plan_remap(found, contract)
    except ContractMismatch as error:
        held = [band for band in contract.bands if band in found.bands]
        if not held or len(held) == contract.num_bands:
            raise
        remedy = f"pre-train on what there is, --bands {' '.join(held)}, or read the missing bands too"
        raise ContractMismatch(error.found, expected=error.expected, remedy=remedy) from error


def _images(source: PixelSource, contract: InputContract, *, skip_damaged: bool) -> NDArray[np.generic]:
    """Render some items, seasons in turn: (N, C, S, S) as stored."""
    render = Renderer(contract, source.form)
    items = np.unique(np.linspace(0, len(source) - 1, MOST_LOOKED_AT).round().astype(int)).tolist()
    places = [(item, number % source.num_seasons) for number, item in enumerate(items)]
    rendered: list[NDArray[np.generic]] = []
    damage: list[ShardCorrupt] = []
    for place in places:
        try:
            rendered.append(render(source.pixels(*place, resolutions=render.resolutions), SIZE, PLAIN))
        except ShardCorrupt as error:
            if not skip_damaged:
                raise
            damage.append(error)
    if not rendered:
        raise ShardCorrupt(
            f"none of the {len(damage)} images looked at can be read: {damage[0].found}",
            expected="data of which nearly all can be read",
            remedy=damage[0].remedy,
        ) from damage[0]
    return np.stack(rendered)


def _require_contrast(images: NDArray[np.float32], remap: Remap) -> None:
    if all(float(np.ptp(images[:, channel])) == 0 for channel in _measured(remap)):
        values = ", ".join(f"{value:g}" for value in np.unique(images[:, _measured(remap)])[:3])
        raise ContractMismatch(
            f"all {len(images)} images looked at are {values} everywhere, once {remap.source} is scaled to "
            f"{remap.target}",
            expected="values that differ",
            remedy="the values are not what they are told to be: look at unit, offset and scale with `ssl4eo stats`",
        )


def _tell_scale(contract: InputContract, images: NDArray[np.generic]) -> None:
    """Tell of digital numbers (N, C, S, S) on another scale; of an archive the figures of all its pixels tell it."""
    first = 0
    for part in contract.parts:
        pixels = images[:, first : first + part.num_bands].astype(np.float64)
        first += part.num_bands
        observed = pixels.any(axis=1)
        if part.unit != "DN" or part.scaling != "none" or not observed.any():
            continue
        means = {band: float(pixels[:, n][observed].mean()) - part.offset for n, band in enumerate(part.bands)}
        times = times_published(part.modality, means)
        if times is not None:
            log.warning(
                "%s: means of all bands are %.2g to %.2g times the published ones, in %d images looked at: digital "
                "numbers are reflectance times 10,000, look at the scale",
                part.modality,
                *times,
                len(images),
            )


def _tell_clipped(images: NDArray[np.float32], observed: NDArray[np.bool_], remap: Remap) -> None:
    """Tell of clipped bands (N, C, S, S) where something was observed (N, S, S)."""
    found = {"least": list[str](), "largest": list[str]()}
    for channel in _measured(remap):
        for end, value in zip(found, remap.affine.clip[channel], strict=True):
            if remap.affine.clip[channel] != UNBOUNDED and (images[:, channel][observed] == value).mean() > CLIPPED:
                found[end].append(remap.target.bands[channel])
    for end, bands in found.items():
        if bands:
            log.warning(
                "more than half of the values of %s are clipped to the %s that the network is fed, in %d images looked "
                "at: look at unit, offset and scale with `ssl4eo stats`",
                " ".join(bands),
                end,
                len(images),
            )


def _measured(remap: Remap) -> list[int]:
    """Give the channels that the source has: others are filled, and the same everywhere."""
    return [channel for channel, found in enumerate(remap.index) if found is not None]
