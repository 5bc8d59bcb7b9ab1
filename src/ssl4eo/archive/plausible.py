# SPDX-License-Identifier: Apache-2.0
"""Do the figures of an archive look like what it says it holds? Warnings with evidence, never errors.

Wrong scale is the first complaint of this field, and no checksum finds it: an offset of +1000 that nobody told,
8-bit values or reflectance in a file of digital numbers, linear power where decibels are expected.
Looks only at statistics; an unusual place can be doubted wrongly, and the evidence lets a person decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from ssl4eo import sensors
from ssl4eo.archive.reader import Archive
from ssl4eo.archive.statistics import BandStatistics, Statistics
from ssl4eo.contract.scales import DECIBELS, LARGEST_DN, times_published
from ssl4eo.errors import ContractMismatch
from ssl4eo.form import Form
from ssl4eo.sensors import OFFSET_DN

REFERENCE = "published_50k"
"""Published statistics that offsets are judged by."""
_DARKEST_WITH_OFFSET = 900
"""Less than the offset by the noise of dark water [DN]."""
_BRIGHTEST_LINEAR = 10
"""Backscatter that 99 of 100 pixels stay below in linear power."""
_BRIGHT_BINS = slice(120, 127)
"""Bins of 8-bit values 240 to 253: bright, but not yet the last."""
_ENOUGH = 100
"""Pixels in a bin whose number says something."""

_HOLES = (
    "images with such pixels are marked as not valid; training refuses those of nothing else, and "
    "`ssl4eo info ARCHIVE --ids observed` lists the locations without them, for `ssl4eo pretrain --ids`"
)


_FILL = "a fill value that was taken for a measurement? Pack anew with what has no data as 0"


@dataclass(frozen=True)
class Doubt:
    """A reason to look at the values of a modality."""

    modality: str
    kind: str
    """offset, scale, eight_bits, reflectance, percent, wrapped, linear, beyond, nodata, positive, constant or empty."""
    evidence: str
    remedy: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.modality}: {self.evidence}: {self.remedy}"


def doubts_of(archive: Archive) -> list[Doubt]:
    """Judge all modalities of an archive by the statistics that it carries; none where it carries none."""
    found: list[Doubt] = []
    for name in archive.modalities:
        figures = archive.statistics(name)
        if figures is not None:
            found += doubts(archive.form(name), figures, recorded_offset(archive, name))
    return found


def recorded_offset(archive: Archive, modality: str) -> int | None:
    """Give the offset that an archive tells [DN], None where it differs from image to image."""
    try:
        return archive.contract(modality).offset
    except ContractMismatch:
        return None


def doubts(form: Form, figures: Statistics, offset: int | None) -> list[Doubt]:
    """Judge the figures of one modality.

    Args:
        form: what the values are told to be.
        figures: of all their pixels.
        offset: that they are told to contain [DN]; None where it differs from image to image.
    """
    measured = {name: band for name, band in figures.bands.items() if band.count}
    unit = sensors.modality(form.modality).unit
    found = list(_degenerate(form, figures))
    alive = {name: band for name, band in measured.items() if band.minimum < band.maximum}
    if not alive:
        return found
    if form.scaling != "none":
        return found + list(_wrapped(form, alive))
    if unit == "DN":
        return found + list(_digital_numbers(form, alive, offset))
    return found + (list(_decibels(form, measured)) if unit == "dB" else [])


def _degenerate(form: Form, figures: Statistics) -> Iterator[Doubt]:
    empty = [name for name, band in figures.bands.items() if not band.count]
    if empty:
        evidence = f"{' '.join(empty)} without a single finite value"
        yield Doubt(form.modality, "empty", evidence, "the source was not read as it should be, or is empty")
    constant = {n: b.minimum for n, b in figures.bands.items() if b.count and b.minimum == b.maximum}
    if constant:
        evidence = ", ".join(f"{name} is {value:g} everywhere" for name, value in constant.items())
        remedy = "leave the band out, or look whether it was read as it should be"
        if form.scaling.startswith("uint8_10k") and set(constant) == {"B10"}:
            remedy = "expected of this 8-bit form, whose step is 39 DN: B10 teaches nothing"
        yield Doubt(form.modality, "constant", evidence, remedy)


def _digital_numbers(form: Form, bands: Mapping[str, BandStatistics], offset: int | None) -> Iterator[Doubt]:
    brightest = max(band.maximum for band in bands.values())
    rows = (
        (2, "reflectance", "multiply reflectance by 10,000 before packing"),
        (100, "percent", "multiply percent by 100 before packing"),
        (255, "eight_bits", "pack the 16-bit product; 8-bit files are of type uint8 and packed with --rule"),
    )
    for limit, kind, remedy in rows:
        if brightest <= limit:
            evidence = f"the largest of all {form.dtype} values is {brightest:g}, digital numbers reach 10,000 and more"
            yield Doubt(form.modality, kind, evidence, remedy)
            return
    beyond = [name for name, band in bands.items() if band.maximum > LARGEST_DN + (offset or OFFSET_DN)]
    if beyond:
        evidence = f"{' '.join(beyond)} up to {brightest:g} DN, more than any product holds"
        yield Doubt(form.modality, "beyond", evidence, _FILL)
    if offset is not None:
        yield from _scale(form, bands, offset)
    if offset == 0:
        yield from _offset(form, bands)


def _scale(form: Form, bands: Mapping[str, BandStatistics], offset: int) -> Iterator[Doubt]:
    """Doubt values that are brighter, or darker, in all bands than any landscape."""
    means = {name: band.mean / (1 - band.nodata) - offset for name, band in bands.items()}
    times = times_published(form.modality, means)
    if times is not None:
        evidence = f"means of all bands are {times[0]:.2g} to {times[1]:.2g} times the published ones"
        yield Doubt(form.modality, "scale", evidence, "digital numbers are reflectance times 10,000: look at the scale")


def _offset(form: Form, bands: Mapping[str, BandStatistics]) -> Iterator[Doubt]:
    """Doubt values that are told to be without the offset, but never come below it."""
    dark = {name: _observed(band, 0.01) for name, band in bands.items()}
    known = sensors.modality(form.modality).statistics.get(REFERENCE)
    if known is None or min(dark.values()) < _DARKEST_WITH_OFFSET:
        return
    shift = median(band.mean - known.mean[name] for name, band in bands.items())
    evidence = f"no band has a 1st percentile below {min(dark.values()):g} DN, means are {shift:+.0f} DN off"
    if "B10" in bands:
        evidence += f", B10 has a median of {_observed(bands['B10'], 0.5):g} DN"
    elif not OFFSET_DN / 2 <= shift <= OFFSET_DN * 3 / 2:
        return  # a desert is bright in all bands, too
    remedy = f"if these are products of baseline 04.00 or later, pack them anew with --offset {OFFSET_DN}"
    yield Doubt(form.modality, "offset", evidence, remedy)


def _observed(band: BandStatistics, level: float) -> float:
    """Give the value at a level of the pixels that are not 0, or the next one above that is known."""
    wanted = band.nodata + level * (1 - band.nodata)
    above = [value for known, value in band.quantiles.items() if float(known) >= wanted]
    return min(above, default=band.maximum)


def _wrapped(form: Form, bands: Mapping[str, BandStatistics]) -> Iterator[Doubt]:
    """Doubt an 8-bit form that is told to clip: all that is brighter must then be in the last bin."""
    if form.scaling != "uint8_10k":
        return
    suspects: list[str] = []
    judged = 0
    for name, band in bands.items():
        bright = band.histogram[_BRIGHT_BINS]
        # a tail that halves over these 7 bins at most has 8 times the last of them above it
        is_long = min(bright) >= _ENOUGH and bright[-1] >= bright[0] / 2
        judged += is_long
        if is_long and band.histogram[-1] < 2 * bright[-1]:
            suspects.append(name)
    if suspects and 2 * len(suspects) >= judged:
        evidence = f"{' '.join(suspects)}: many values of 240 to 253 but few of 255, where brighter ones would be"
        remedy = "if the values wrapped around, tell the form uint8_10k_wrapped"
        yield Doubt(form.modality, "wrapped", evidence, remedy)


def _decibels(form: Form, bands: Mapping[str, BandStatistics]) -> Iterator[Doubt]:
    holes = {name: band.nodata for name, band in bands.items() if band.nodata > 0}
    darkest = min(band.minimum for band in bands.values())
    if darkest >= 0 and max(band.quantiles["0.99"] for band in bands.values()) < _BRIGHTEST_LINEAR:
        evidence = f"no value is below {darkest:g}, where land has decibels of -5 to -30"
        yield Doubt(form.modality, "linear", evidence, "convert linear power by 10 log10(x) before packing")
        return
    brightest = max(band.maximum for band in bands.values())
    if darkest < DECIBELS[0] or brightest > DECIBELS[1]:
        evidence = f"values reach from {darkest:g} to {brightest:g}, decibels from -50 to 30"
        yield Doubt(form.modality, "beyond", evidence, _FILL)
    positive = [f"{name} {band.mean:+.1f}" for name, band in bands.items() if band.mean > 0]
    if positive:
        evidence = f"means of {', '.join(positive)} dB, where published ones are -12.5 and -20.2"
        yield Doubt(form.modality, "positive", evidence, "look at unit and calibration of the source")
    if holes:
        evidence = ", ".join(f"{share:.2%} of {name}" for name, share in holes.items()) + " is 0 dB, the fill value"
        yield Doubt(form.modality, "nodata", evidence, _HOLES)
