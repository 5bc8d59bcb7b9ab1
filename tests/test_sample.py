# SPDX-License-Identifier: Apache-2.0
"""The nouns refuse what they cannot be."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from ssl4eo.errors import SampleInvalid
from ssl4eo.sample import Image, Location, Sample, Season
from ssl4eo.sensors import modality

UTC = dt.UTC


def pixels(name, size=12, value=0):
    """Make groups of one modality for a patch of `size` px."""
    known = modality(name)
    return {
        r: np.full((len(bands), size * 10 // r, size * 10 // r), value, known.dtype)
        for r, bands in known.groups.items()
    }


def image(name="S2L1C", day=1, **changes):
    """Make a valid image of January 2020."""
    options = {"modality": name, "pixels": pixels(name), "time": dt.datetime(2020, 1, day, tzinfo=UTC)}
    return Image(**(options | changes))


@pytest.mark.parametrize(
    "values",
    [
        {"id": ""},
        {"id": "../up"},
        {"id": "a/b"},
        {"id": ".hidden"},
        {"id": "a\n"},
        {"id": "x", "lon": 181.0, "lat": 0.0},
        {"id": "x", "lon": 0.0, "lat": -91.0},
        {"id": "x", "lon": float("nan"), "lat": 0.0},
        {"id": "x", "lon": 1.0},
    ],
)
def test_impossible_location_is_refused(values):
    """Ids that are no file names and points off the Earth are refused."""
    with pytest.raises(SampleInvalid):
        Location(**values)


def test_season_needs_utc_and_a_position():
    """Naive times, other zones and negative positions are refused."""
    zone = dt.timezone(dt.timedelta(hours=1))
    naive = dt.datetime(2020, 1, 1)  # noqa: DTZ001 - the case
    for options in ({"index": -1}, {"index": 0, "time": naive}, {"index": 0, "time": naive.replace(tzinfo=zone)}):
        with pytest.raises(SampleInvalid):
            Season(**options)


@pytest.mark.parametrize("name", ["S1GRD", "S2L1C", "S2L2A", "S2RGB"])
def test_valid_image_has_its_contract(name):
    """An image knows what its numbers mean."""
    assert image(name).contract.bands == modality(name).bands


def test_missing_group_wrong_shape_and_wrong_type_are_refused():
    """Every group must be there, of its size, in the modality's type."""
    good = pixels("S2L1C")
    for bad in (
        {10: good[10], 20: good[20]},
        good | {20: good[20][:, :-1]},
        good | {20: good[20][:5]},
        good | {60: good[60].astype(np.int16)},
    ):
        with pytest.raises(SampleInvalid):
            image(pixels=bad)


def test_size_that_cuts_a_coarse_pixel_is_refused():
    """A patch of 14 px is not a whole number of 60 m pixels."""
    bad = {10: np.zeros((4, 14, 14), np.uint16), 20: np.zeros((6, 7, 7), np.uint16), 60: np.zeros((3, 2, 2), np.uint16)}

    with pytest.raises(SampleInvalid, match="60 m"):
        image(pixels=bad)


def test_band_is_found_in_its_group():
    """B8A is the fourth 20 m band."""
    groups = pixels("S2L1C")
    groups[20][3] = 7

    assert (image(pixels=groups).band("B8A") == 7).all()
    assert (image(pixels=groups).band("B07") == 0).all()
    with pytest.raises(SampleInvalid):
        image("S2L2A").band("B10")


def test_to_grid_keeps_canonical_order_and_constant_values():
    """All bands come on one grid; a constant band stays constant."""
    groups = pixels("S2L1C")
    for resolution, bands in modality("S2L1C").groups.items():
        for i, band in enumerate(bands):
            groups[resolution][i] = modality("S2L1C").bands.index(band)

    out = image(pixels=groups).to_grid(10)

    assert out.shape == (13, 12, 12)
    np.testing.assert_allclose(out, np.arange(13)[:, None, None] * np.ones((1, 12, 12)), rtol=1e-6)


def test_sample_refuses_seasons_out_of_order():
    """Images must come first to last by time."""
    with pytest.raises(SampleInvalid, match="out of order"):
        Sample(Location("a"), {"S2L1C": (image(day=2), image(day=1))})


def test_sample_refuses_unequal_seasons_and_foreign_images():
    """All modalities have the same number of seasons, each under its own name."""
    for images in (
        {},
        {"S2L1C": ()},
        {"S2L1C": (image(),), "S1GRD": (image("S1GRD"), image("S1GRD"))},
        {"S2L2A": (image("S2L1C"),)},
        {"S2L1C": (image(), image(pixels=pixels("S2L1C", 18)))},
    ):
        with pytest.raises(SampleInvalid):
            Sample(Location("a"), images)


def test_sample_refuses_masks_of_another_size_or_type():
    """Pixel labels lie on the 10 m grid as uint8."""
    for mask in (np.zeros((11, 12), np.uint8), np.zeros((12, 12), np.int64)):
        with pytest.raises(SampleInvalid, match="mask"):
            Sample(Location("a"), {"S2L1C": (image(),)}, masks={"landcover": mask})


def test_seasons_carry_position_and_time():
    """Seasons are told in order."""
    sample = Sample(Location("a"), {"S2L1C": (image(day=1), image(day=2))})

    assert [s.index for s in sample.seasons("S2L1C")] == [0, 1]
    assert sample.seasons("S2L1C")[1].time == dt.datetime(2020, 1, 2, tzinfo=UTC)
    assert sample.num_seasons == 2
