# SPDX-License-Identifier: Apache-2.0
"""Do values look like what their contract says? Warnings with evidence for a handful of images, never errors.

The archive's own check (archive/plausible.py) has statistics of all its pixels; here are only the least and largest
value of each band of one batch, so only what is far off is told.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ssl4eo.contract.single import Contract
from ssl4eo.sensors import OFFSET_DN

log = logging.getLogger(__name__)

LARGEST_REFLECTANCE = 2.0
"""More than this is no reflectance: snow and clouds stay below."""
DARK_WITH_OFFSET = OFFSET_DN - 100
"""Values of a product with the offset stay above this, but for noise [DN]."""
_told: set[tuple[str, str]] = set()


def value_doubts(contract: Contract, least: Sequence[float], largest: Sequence[float]) -> dict[str, str]:
    """Judge the values of a batch, kind of doubt by sentence; empty if nothing is strange.

    Args:
        contract: what the values are told to be.
        least: of each band, zeros apart, which mean no data.
        largest: of each band.
    """
    doubts: dict[str, str] = {}
    constant = [b for b, low, high in zip(contract.bands, least, largest, strict=True) if low == high and b != "B10"]
    if constant:
        doubts["constant"] = f"{' '.join(constant)} constant over all images: was it read as it should be?"
    top, bottom = max(largest), min(least)
    if contract.scaling == "none" and contract.unit == "DN":
        doubts |= _digital_numbers(contract, least, top, bottom)
    elif contract.scaling == "none" and contract.unit == "dB" and bottom >= 0:
        doubts["linear"] = f"no value is below {bottom:g}, decibels of land are -5 to -30: convert by 10 log10(x)"
    elif contract.scaling == "none" and contract.unit == "uint8" and top <= 1:
        doubts["scaled"] = f"the largest value is {top:g}, of 255: hand over the values before scaling"
    elif contract.scaling == "reflectance" and top > LARGEST_REFLECTANCE:
        doubts["unscaled"] = f"the largest value is {top:g}, scaled reflectance ends at 1: say stored(...) for DN"
    return doubts


def _digital_numbers(contract: Contract, least: Sequence[float], top: float, bottom: float) -> dict[str, str]:
    if 0 < top < LARGEST_REFLECTANCE:
        return {"reflectance": f"the largest value is {top:g}, DN reach 10,000: multiply reflectance by 10,000"}
    if 0 < top <= 255:
        return {"eight_bits": f"the largest value is {top:g}, DN reach 10,000: these look like 8-bit values"}
    if contract.offset == 0 and top > OFFSET_DN and min(least) >= DARK_WITH_OFFSET:
        return {
            "offset": f"no band comes below {bottom:g} DN: products of baseline 04.00 and later contain +{OFFSET_DN}; "
            f"if these are, say offset={OFFSET_DN}"
        }
    if contract.offset and bottom < contract.offset - 2 * (OFFSET_DN - DARK_WITH_OFFSET):
        return {
            "no_offset": f"values come down to {bottom:g} DN, with an offset of {contract.offset} they should not: "
            "is it taken away already?"
        }
    return {}


def tell_doubts(contract: Contract, least: Sequence[float], largest: Sequence[float]) -> None:
    """Log each kind of doubt about a contract once in a process."""
    for kind, sentence in value_doubts(contract, least, largest).items():
        if (kind, str(contract)) not in _told:
            _told.add((kind, str(contract)))
            log.warning("values that are told to be %s: %s", contract, sentence)
