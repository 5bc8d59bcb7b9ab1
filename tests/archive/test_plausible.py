# SPDX-License-Identifier: Apache-2.0
"""Values of another kind than they are told to be are doubted, with evidence; honest ones are not."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from archive_forms import KINDS, write_kind

from ssl4eo.archive import statistics
from ssl4eo.archive.plausible import doubts, doubts_of, recorded_offset
from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.statistics import Statistics, count, empty_tally
from ssl4eo.form import Form
from ssl4eo.sensors import modality
from ssl4eo.sensors import statistics as published

L1C, L2A, S1 = (Form.native(name) for name in ("S2L1C", "S2L2A", "S1GRD"))
CLIPPED = Form.gridded("S2L1C", scaling="uint8_10k")


def _figures(form: Form, values: dict[str, np.ndarray]) -> Statistics:
    bands = {}
    for band, row in values.items():
        tally = empty_tally(1, np.dtype(form.dtype))
        count(tally, row[None].astype(form.dtype))
        bands[band] = statistics._summary(tally, 0, np.dtype(form.dtype))
    return Statistics(bands)


def _digital(name: str, offset: float = 0, number: int = 20_000) -> dict[str, np.ndarray]:
    """Draw values with the published moments, skewed as reflectance is."""
    rng = np.random.default_rng(0)
    table = published(name, "published_50k")
    values = {}
    for band in modality(name).bands:
        mean, std = table.mean[band], table.std[band]
        values[band] = rng.gamma((mean / std) ** 2, std**2 / mean, number).clip(1, 30_000) + offset
    return values


def _decibels() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    table = published("S1GRD", "published_50k")
    return {band: rng.normal(table.mean[band], table.std[band], 20_000) for band in ("VV", "VH")}


def _kinds(form: Form, values: dict[str, np.ndarray], offset: int | None = 0) -> list[str]:
    found = doubts(form, _figures(form, values), offset)
    assert all(doubt.evidence and doubt.remedy and str(doubt).startswith(form.modality) for doubt in found)
    return [doubt.kind for doubt in found]


def test_what_is_published_is_not_doubted() -> None:
    """Digital numbers and decibels with the published moments."""
    assert _kinds(L1C, _digital("S2L1C")) == []
    assert _kinds(L2A, _digital("S2L2A")) == []
    assert _kinds(S1, _decibels()) == []


@pytest.mark.parametrize(("form", "name"), [(L1C, "S2L1C"), (L2A, "S2L2A")])
def test_an_offset_that_is_not_told_is_doubted(form: Form, name: str) -> None:
    """Values of v1.1 told to be without offset; told, or told to differ, they are fine."""
    values = _digital(name, 1000)

    (doubt,) = doubts(form, _figures(form, values), 0)

    assert doubt.kind == "offset"
    assert "means are +1" in doubt.evidence or "means are +9" in doubt.evidence
    assert "1000" in doubt.remedy
    assert ("B10 has a median of 10" in doubt.evidence) == (name == "S2L1C")
    assert _kinds(form, values, 1000) == _kinds(form, values, None) == []


def test_an_offset_shows_through_nodata() -> None:
    """A tenth of the pixels are 0: the darkest observed value counts."""
    values = _digital("S2L1C", 1000)
    for row in values.values():
        row[:2000] = 0

    assert _kinds(L1C, values) == ["offset"]


def test_a_bright_place_is_not_an_offset() -> None:
    """A desert of 3,000 to 5,000 DN in all bands, and snow over a dark cirrus band."""
    rng = np.random.default_rng(0)
    desert = {band: rng.uniform(3500, 6000, 5000) for band in L2A.bands}
    snow = {band: rng.uniform(2000, 9000, 5000) for band in L1C.bands} | {"B10": rng.uniform(5, 40, 5000)}

    assert _kinds(L2A, desert) == []
    assert _kinds(L1C, snow) == []


@pytest.mark.parametrize(("top", "kind"), [(2, "reflectance"), (100, "percent"), (255, "eight_bits")])
def test_values_of_another_scale_are_doubted(top: int, kind: str) -> None:
    """Reflectance, percent and bytes in a file of digital numbers; one doubt each, not three."""
    values = {band: np.arange(5000) % (top + 1) for band in L1C.bands}

    assert _kinds(L1C, values) == [kind]


@pytest.mark.parametrize(("form", "name"), [(L1C, "S2L1C"), (L2A, "S2L2A")])
@pytest.mark.parametrize(("times", "offset"), [(4, 0), (4, 1000), (0.1, 0)])
def test_digital_numbers_on_another_scale_are_doubted(form: Form, name: str, times: float, offset: int) -> None:
    """Brighter or darker in all bands than any landscape, nodata and the offset apart; B10 has no say."""
    values = {band: (row * times).clip(1, 60_000) + offset for band, row in _digital(name).items()}
    for row in values.values():
        row[:9000] = 0

    told = [doubt for doubt in doubts(form, _figures(form, values), offset) if doubt.kind == "scale"]

    assert len(told) == 1
    least, most = (float(n) for n in re.findall(r"are ([\d.]+) to ([\d.]+) times", told[0].evidence)[0])
    assert least * 0.8 <= times <= most * 1.2


def test_bands_without_short_wave_infrared_tell_no_scale() -> None:
    """Snow is as bright in visible light as digital numbers that are too large."""
    form = dataclasses.replace(L1C, groups=((10, ("B02", "B03", "B04", "B08")),))
    values = {band: row * 4 for band, row in _digital("S2L1C").items() if band in form.bands}

    assert "scale" not in _kinds(form, values)


def _wrap(form_of: str) -> dict[str, np.ndarray]:
    """Make 8-bit values of a distribution with a long bright tail."""
    rng = np.random.default_rng(0)
    values = {}
    for band in CLIPPED.bands:
        scaled = np.trunc(rng.gamma(1.5, 4000, 400_000) / 10_000 * 255)
        values[band] = scaled % 256 if form_of == "wrapped" else scaled.clip(0, 255)
    return values


def test_wrapped_bytes_that_are_told_to_be_clipped_are_doubted() -> None:
    """Where values clip, the last bin is full; where they wrap, it is like its neighbors."""
    told = Form.gridded("S2L1C", scaling="uint8_10k_wrapped")

    assert _kinds(CLIPPED, _wrap("wrapped")) == ["wrapped"]
    assert _kinds(CLIPPED, _wrap("clipped")) == []
    assert _kinds(told, _wrap("wrapped")) == []


def test_linear_power_is_doubted_where_decibels_are_told() -> None:
    """10^(dB / 10) is never negative."""
    values = {band: 10 ** (row / 10) for band, row in _decibels().items()}

    assert _kinds(S1, values) == ["linear"]


def test_fill_values_of_radar_are_doubted() -> None:
    """A single pixel of 0 dB is told with its share."""
    values = _decibels()
    values["VH"][:200] = 0

    (doubt,) = doubts(S1, _figures(S1, values), 0)

    assert doubt.kind == "nodata"
    assert "--ids observed" in doubt.remedy
    assert "1.00% of VH is 0 dB" in doubt.evidence


def test_positive_decibels_are_doubted() -> None:
    """A mean above 0 dB is not of this planet's land."""
    assert _kinds(S1, {band: row + 40 for band, row in _decibels().items()}) == ["positive"]


def test_constant_and_empty_bands_are_doubted() -> None:
    """By name; the others are still judged."""
    values = _digital("S2L1C", 1000)
    values["B09"][:] = 1200
    empty = _decibels() | {"VH": np.full(50, np.nan)}

    found = doubts(L1C, _figures(L1C, values), 0)

    assert [doubt.kind for doubt in found] == ["constant", "offset"]
    assert "B09 is 1200 everywhere" in found[0].evidence
    assert _kinds(S1, empty) == ["empty"]
    assert _kinds(L1C, {band: np.zeros(9) for band in L1C.bands}) == ["constant"]


def test_a_cirrus_band_of_zeros_is_expected_of_bytes() -> None:
    """The remedy says why, for the 8-bit form only."""
    values = _wrap("clipped")
    values["B10"][:] = 0

    (doubt,) = doubts(CLIPPED, _figures(CLIPPED, values), 0)

    assert (doubt.kind, "39 DN" in doubt.remedy) == ("constant", True)


def test_an_archive_is_judged_by_what_it_carries(tmp_path: Path) -> None:
    """With its recorded offset; without statistics there is nothing to say."""
    kind = dataclasses.replace(KINDS["half"], offset=0)
    told = open_archive(write_kind(tmp_path / "a.zarr", KINDS["half"]))
    silent = open_archive(write_kind(tmp_path / "b.zarr", kind, statistics=False))

    assert (recorded_offset(told, "S2L2A"), doubts_of(told)) == (1000, [])
    assert doubts_of(silent) == []
