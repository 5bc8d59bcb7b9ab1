# SPDX-License-Identifier: Apache-2.0
"""Do values look like what their contract says? Warnings with evidence for a handful of images, never errors.

The archive's own check (archive/plausible.py) has statistics of all its pixels; here are only the least, largest and
mean value of each band of one batch, so only what is far off is told: another scale (scales.py), a forgotten offset,
bands and images without content.
"""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from ssl4eo.contract.scales import LARGEST_BYTE, NOISE_DN, Band, Doubt, names, scale_doubt, unscaled, value_range
from ssl4eo.contract.single import Contract
from ssl4eo.sensors import OFFSET_DN, modality

log = logging.getLogger(__name__)

DARK_WITH_OFFSET = OFFSET_DN - NOISE_DN // 2
"""Values of a product with the offset stay above this, but for noise [DN]."""
CLOUD_DN = 2 * OFFSET_DN
"""Means this far above the published ones are clouds or snow: nothing dark shows whether there is an offset [DN]."""
FLAT_BYTES = 32
"""Range of all bands in 8 bits, below which there is so little to see that one band may have a single value."""
MOST_TOLD = 10
"""Times that one kind of doubt is told of one contract in a process."""

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")
"""A number of a sentence; names of bands and rules are none."""
_told: set[tuple[str, str, str]] = set()
"""(kind, contract, sentence without exact numbers) of what was told since the last batch without that kind."""
_times: Counter[tuple[str, str]] = Counter()
"""How often by kind and contract."""


def value_doubts(
    contract: Contract, least: Sequence[float], largest: Sequence[float], mean: Sequence[float] | None = None
) -> dict[str, str]:
    """Judge the values of a batch, kind of doubt by sentence; empty if nothing is strange.

    Args:
        contract: what the values are told to be.
        least: of each band, zeros apart, which mean no data.
        largest: of each band.
        mean: of each band, zeros apart; None where it is not known: then a cloud can look like an offset.
    """
    means = [None] * contract.num_bands if mean is None else mean
    bands = [Band(*row) for row in zip(contract.bands, least, largest, means, strict=True)]
    alive = [b for b in bands if b.least or b.largest]
    if not alive:
        return {"empty": "nothing but zeros, which mean no data"}
    doubts: dict[str, str] = {}
    constant = [b for b in bands if b.least == b.largest and not _may_be_constant(contract, b, alive)]
    if constant:
        doubts["constant"] = f"{names(constant)} constant over all images: was it read as it should be?"
    found = scale_doubt(contract, alive) or _offset(contract, alive)
    return doubts | (dict([found]) if found is not None else {})


def _may_be_constant(contract: Contract, band: Band, bands: Sequence[Band]) -> bool:
    """Say whether a band without contrast can be right: no cirrus, cloud at the upper clip, haze or water in 8 bits."""
    if contract.is_quantized:
        bottom, top = value_range(bands)
        return band.name in {"B01", "B09", "B10"} or band.least == LARGEST_BYTE or top - bottom < FLAT_BYTES
    is_clipped = contract.scaling.partition(":")[0] in {"reflectance", "sigma2"}
    return band.name == "B10" or (is_clipped and band.least == 1)


def _offset(contract: Contract, bands: Sequence[Band]) -> Doubt | None:
    """Doubt what the contract says of the offset; scaled values are judged as the digital numbers they stand for."""
    is_scaled = contract.scaling.partition(":")[0] in {"reflectance", "zscore"}
    if contract.unit != "DN" or not (is_scaled or contract.scaling == "none"):
        return None  # 8 bits are too coarse, and a clipped form has lost what is dark
    if is_scaled:
        bands = [unscaled(contract, band) for band in bands]
    bottom, top = value_range(bands)
    if contract.offset == 0 and top > OFFSET_DN and bottom >= DARK_WITH_OFFSET and not _is_cloud(contract, bands):
        remedy = "take it away before scaling" if is_scaled else f"say offset={OFFSET_DN}"
        return "offset", (
            f"no band comes below {bottom:g} DN: products of baseline 04.00 and later contain +{OFFSET_DN}; "
            f"if these are, {remedy}"
        )
    if contract.offset and not is_scaled and bottom < contract.offset - NOISE_DN:
        return "no_offset", (
            f"values come down to {bottom:g} DN, with an offset of {contract.offset} they should not: "
            "is it taken away already?"
        )
    return None


def _is_cloud(contract: Contract, bands: Sequence[Band]) -> bool:
    """Say whether there is nothing dark that could show an offset; B10 is dark even over many a cloud."""
    known = modality(contract.modality).statistics.get("published_50k")
    if known is None or any(b.name == "B10" for b in bands):
        return False
    shifts = [b.mean - known.mean[b.name] for b in bands if b.mean is not None]
    return bool(shifts) and median(shifts) > CLOUD_DN


def tell_doubts(
    contract: Contract,
    least: Sequence[float],
    largest: Sequence[float],
    mean: Sequence[float] | None = None,
    *,
    more: Mapping[str, str] | None = None,
) -> None:
    """Log the doubts about a batch, each trouble once.

    One trouble is a kind of doubt about a contract, with the bands that it names and the size of its numbers in powers
    of ten: further batches of the same source stay silent, a source with other bands or on another scale is told.
    A batch without the doubt ends the trouble, so what comes back after it is told again; MOST_TOLD times in all.

    Args:
        contract: as of `value_doubts`.
        least: as of `value_doubts`.
        largest: as of `value_doubts`.
        mean: as of `value_doubts`.
        more: doubts that the caller has, sentence by kind.
    """
    doubts = value_doubts(contract, least, largest, mean) | dict(more or {})
    name = str(contract)
    _told.difference_update([key for key in _told if key[1] == name and key[0] not in doubts])
    for kind, sentence in doubts.items():
        key = (kind, name, _NUMBER.sub(_size, sentence))
        if key in _told or _times[kind, name] >= MOST_TOLD:
            continue
        _told.add(key)
        _times[kind, name] += 1
        last = " (told for the last time)" if _times[kind, name] == MOST_TOLD else ""
        log.warning("values that are told to be %s: %s%s", contract, sentence, last)


def _size(number: re.Match[str]) -> str:
    value = float(number[0].replace(",", ""))
    return f"{math.copysign(1, value):+g}e{round(math.log10(abs(value)))}" if value else "0"


def blank_images(numbers: Sequence[int], count: int) -> str:
    """Say which images of a batch have no data at all.

    >>> blank_images([1, 4], 8)
    'image 1, 4 of 8 has nothing but zeros, which mean no data: leave it out, its features mean nothing'
    """
    listed = ", ".join(map(str, numbers[:5])) + " ..." * (len(numbers) > 5)
    return (
        f"image {listed} of {count} has nothing but zeros, which mean no data: leave it out, its features mean nothing"
    )
