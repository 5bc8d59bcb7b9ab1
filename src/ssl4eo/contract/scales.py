# SPDX-License-Identifier: Apache-2.0
"""On which scale are values, by the least and largest of each band? The first thing that speaks against the contract.

Scales that are mistaken for each other: digital numbers, reflectance, 8 bits, decibels, linear power, standardized
values. Limits lie where no product has values, so what is correct is not doubted; see the measurements in
tests/contract/test_doubts.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ssl4eo.contract.single import Contract, scaling_affine
from ssl4eo.sensors import OFFSET_DN, modality

LARGEST_REFLECTANCE = 2.0
"""More than this is no reflectance: snow and clouds stay below."""
NOISE_DN = 200
"""Hardly a value lies further below zero light [DN]."""
LARGEST_BYTE, LARGEST_WORD = 255.0, 65_535.0
"""Of 8 and 16 bits without sign."""
LARGEST_DN = 32_767.0
"""More is in no product: collections keep Sentinel-2 in int16 without loss [DN]."""
DECIBELS = (-100.0, 60.0)
"""Floor of the noise and brightest corner reflector, with room [dB]."""
DARK_DECIBELS = -8.0
"""Speckle brings every image below this, and hardly a standardized one [dB]."""
BRIGHTER, DARKER = 2.5, 0.25
"""Times the published means that the means of all bands together are not: snow and deserts are dark in some bands,
thick clouds reach 1.7, shadow and water 0.3 (real images of tests/contract/test_doubts_real.py)."""
STANDARDIZED = 50.0
"""Standard deviations that hardly a value is away from the mean."""
_TO_ONE = (-0.1, 1.1)
"""Values that are scaled to 0..1, with the overshoot of a bicubic resize."""
_FRACTIONS: Mapping[str, tuple[float, float]] = {
    "reflectance": (_TO_ONE[0], LARGEST_REFLECTANCE),
    "uint8": _TO_ONE,
    "sigma2": _TO_ONE,
}
"""Least and largest value by scaling."""
_LAND = "decibels of land are -5 to -30"
_DEVIATIONS = "they look standardized, (x - mean) / std: say the scaling zscore, or hand over"

Doubt = tuple[str, str]
"""Kind and sentence."""


class Band(NamedTuple):
    """What is known of the values of one band."""

    name: str
    least: float
    """Zeros apart, which mean no data."""
    largest: float
    mean: float | None
    """Zeros apart."""


def value_range(bands: Sequence[Band]) -> tuple[float, float]:
    """Give the least and the largest value of all bands."""
    return min(b.least for b in bands), max(b.largest for b in bands)


def names(bands: Sequence[Band]) -> str:
    """List bands."""
    return " ".join(b.name for b in bands)


def times_published(modality_name: str, means: Mapping[str, float]) -> tuple[float, float] | None:
    """Say how many times the published means those of all bands are, the least and the most, if that is no landscape.

    Args:
        modality_name: of digital numbers.
        means: of its bands, what is not observed and the offset taken away [DN].

    Returns:
        None where it can be one, and where too few bands are there to tell: it takes short-wave infrared.
    """
    known = modality(modality_name).statistics.get("published_50k")
    if known is None or not {"B04", "B11", "B12"} <= means.keys():
        return None
    times = [mean / known.mean[name] for name, mean in means.items() if name != "B10"]
    least, most = min(times), max(times)
    return (least, most) if least > BRIGHTER or most < DARKER else None


def unscaled(contract: Contract, band: Band) -> Band:
    """Give a band in the unit of its contract, of values that are scaled as it says."""
    affine, channel = scaling_affine(contract), contract.bands.index(band.name)
    gain, bias = affine.gain[channel], affine.bias[channel]
    mean = None if band.mean is None else (band.mean - bias) / gain
    return Band(band.name, (band.least - bias) / gain, (band.largest - bias) / gain, mean)


def scale_doubt(contract: Contract, bands: Sequence[Band]) -> Doubt | None:
    """Tell the first thing that speaks against the scale, None if nothing does.

    Args:
        contract: what the values are told to be.
        bands: one or more of its bands, none of them all zeros.
    """
    rule = contract.scaling.partition(":")[0]
    if contract.is_quantized or (rule == "none" and contract.unit == "uint8"):
        doubts = _bytes(contract, bands)
    elif rule == "none":
        doubts = _decibels(bands) if contract.unit == "dB" else _digital_numbers(contract, bands)
    elif rule == "zscore":
        doubts = _deviations(contract, bands)
    else:
        doubts = _fractions(contract, bands, _FRACTIONS[rule])
    return next(doubts, None)


def _digital_numbers(contract: Contract, bands: Sequence[Band]) -> Iterator[Doubt]:
    if value_range(bands)[1] > LARGEST_DN + contract.offset:
        yield _beyond(bands, "DN")
    bands = [b for b in bands if b.name != "B10"]  # without cirrus a whole scene of it is 0 to 30 DN
    if not bands:
        return
    bottom, top = value_range(bands)
    found = f"values lie between {bottom:g} and {top:g}"
    if bottom < -NOISE_DN or top <= 0:
        remedy = "look at the sign, whether an offset is taken away twice, and fill what has no data with zeros"
        yield "negative", f"{found}, digital numbers are 0 or more: {remedy}"
    if -STANDARDIZED <= bottom < 0 and top <= STANDARDIZED:
        yield "standardized", f"{found}: {_DEVIATIONS} digital numbers"
    if top < LARGEST_REFLECTANCE:
        yield "reflectance", f"the largest value is {top:g}, DN reach 10,000: multiply reflectance by 10,000"
    if bottom >= 0 and top <= LARGEST_BYTE:
        yield "eight_bits", f"the largest value is {top:g}, DN reach 10,000: these look like 8-bit values"
    odd = [b for b in bands if b.largest < LARGEST_REFLECTANCE and b.least < b.largest]
    if odd:
        found = f"{names(odd)} only up to {value_range(odd)[1]:g}, others up to {top:g}"
        yield "mixed", f"{found}: bands of two scales; multiply reflectance by 10,000"


def _decibels(bands: Sequence[Band]) -> Iterator[Doubt]:
    positive = [b for b in bands if b.least >= 0]
    if positive:
        yield _no_decibels(positive)
    bottom, top = value_range(bands)
    if bottom < DECIBELS[0] or top > DECIBELS[1]:
        remedy = "look at the unit, and fill what has no data with zeros"
        yield "beyond", f"values reach from {bottom:g} to {top:g}, decibels from -50 to 30: {remedy}"
    near = [b for b in bands if b.least > DARK_DECIBELS]
    if near:
        found = f"no value of {names(near)} is below {value_range(near)[0]:g}, {_LAND}"
        yield "standardized", f"{found}: {_DEVIATIONS} decibels"


def _no_decibels(bands: Sequence[Band]) -> Doubt:
    """Say what radar is that is never negative."""
    bottom, top = value_range(bands)
    found = f"no value of {names(bands)} is below {bottom:g}, {_LAND}"
    if top > LARGEST_WORD:
        return _beyond(bands, "decibels")
    if top <= 1:
        clipped = "if these are the published form clipped to 0..1, say the scaling sigma2"
        return "linear", f"{found}: convert linear power by 10 log10(x); {clipped}"
    if bottom < 1:
        return "linear", f"{found}: convert linear power by 10 log10(x)"
    if top <= LARGEST_BYTE:
        return "eight_bits", f"{found}, none above {top:g}: if these are 8-bit values, say the scaling uint8_sigma2"
    return "amplitude", f"{found}, they reach {top:g}: amplitudes are to be calibrated and converted by 20 log10(x)"


def _bytes(contract: Contract, bands: Sequence[Band]) -> Iterator[Doubt]:
    bottom, top = value_range(bands)
    if bottom < 0:
        yield _below_zero(contract, bands, "8-bit values")
    if top > LARGEST_WORD:
        yield _beyond(bands, "8 bits")
    if top > LARGEST_BYTE:
        remedy = 'for DN say stored("S2L1C", bands=...)' if contract.modality == "S2RGB" else _say_stored(contract)
        yield "unscaled", f"the largest value is {top:g}, 8-bit values end at 255: {remedy}"
    if top <= 1:
        yield "scaled", f"the largest value is {top:g}, of 255: hand over the values before scaling"


def _fractions(contract: Contract, bands: Sequence[Band], limits: tuple[float, float]) -> Iterator[Doubt]:
    bottom, top = value_range(bands)
    if bottom < limits[0]:
        yield _below_zero(contract, bands, f"values scaled by {contract.scaling}")
    if top > LARGEST_WORD:
        yield _beyond(bands, f"values scaled by {contract.scaling}")
    if top > limits[1]:
        found = f"the largest value of {names([b for b in bands if b.largest > limits[1]])} is {top:g}"
        other = ", or the scaling that they have" if top <= LARGEST_BYTE else ""
        yield "unscaled", f"{found}, those scaled by {contract.scaling} end at 1: {_say_stored(contract)}{other}"


def _deviations(contract: Contract, bands: Sequence[Band]) -> Iterator[Doubt]:
    """Undo the scaling and ask whether the unit has such values, with room for its noise."""
    low, high = {"dB": DECIBELS, "uint8": (-LARGEST_BYTE, 2 * LARGEST_BYTE)}.get(
        contract.unit, (-2.0 * OFFSET_DN, LARGEST_DN + contract.offset)
    )
    for band in bands:
        there = unscaled(contract, band)
        for value, meant in ((band.least, there.least), (band.largest, there.largest)):
            if not low <= meant <= high:
                found = f"{band.name} of {value:g} standard deviations would be {meant:g} {contract.unit}"
                yield "unscaled", f"{found}: {_say_stored(contract)}, or look at the scale"
    bottom, top = value_range(bands)
    if bottom >= 0 and top <= 1:
        found = f"values lie between {bottom:g} and {top:g}, standardized ones around zero"
        yield "scaled", f"{found}: say the scaling that they have"


def _below_zero(contract: Contract, bands: Sequence[Band], told: str) -> Doubt:
    """Say what values are that should not be negative."""
    bottom, top = value_range(bands)
    found = f"values come down to {bottom:g}, {told} are 0 or more"
    if contract.unit == "dB" and DECIBELS[0] <= bottom <= DARK_DECIBELS:
        return "unscaled", f"{found}, {_LAND}: {_say_stored(contract)}"
    if bottom >= -STANDARDIZED and top <= STANDARDIZED:
        return "standardized", f"{found}: {_DEVIATIONS} those"
    return "negative", f"{found}: look at the sign, and fill what has no data with zeros"


def _beyond(bands: Sequence[Band], told: str) -> Doubt:
    found = f"the largest value is {value_range(bands)[1]:g}, above what any product holds as {told}"
    return "beyond", f"{found}: look at scale and fill value"


def _say_stored(contract: Contract) -> str:
    return f'say stored("{contract.modality}") for values as stored'
