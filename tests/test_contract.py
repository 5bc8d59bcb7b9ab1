# SPDX-License-Identifier: Apache-2.0
"""The input contract: comparing, refusing, remapping."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl4eo.contract import (
    Contract,
    announce,
    default_scaling,
    from_spellings,
    network_input,
    offset_of_baseline,
    plan_remap,
    stored,
)
from ssl4eo.errors import ContractMismatch, UnknownName
from ssl4eo.sensors import MODALITIES, RGB, statistics

SCALED = [name for name, known in MODALITIES.items() if known.unit != "dB" or known.statistics]


@pytest.mark.parametrize("name", SCALED)
def test_json_round_trip_keeps_every_field(name):
    """A contract read back equals the one written, level included."""
    contract = network_input(name)

    data = contract.to_json()

    assert Contract.from_json(data) == contract
    assert data["level"] == MODALITIES[name].level


@pytest.mark.parametrize(
    "change",
    [
        {"bands": ("B10",)},
        {"bands": ()},
        {"bands": ("B02", "B02")},
        {"unit": "dB"},
        {"scaling": "sigma2"},
        {"scaling": "zscore:nobody"},
        {"scaling": "uint8"},
        {"scaling": "reflectance:published_50k"},
    ],
)
def test_impossible_contract_is_refused(change):
    """Foreign bands, doubled bands, wrong units and unknown scalings cannot be built."""
    with pytest.raises((ContractMismatch, UnknownName)):
        dataclasses.replace(stored("S2L2A"), **change)


def test_offset_of_decibels_is_refused():
    """Only digital numbers can carry the radiometric offset."""
    with pytest.raises(ContractMismatch):
        stored("S1GRD", offset=1000)


@pytest.mark.parametrize(
    ("offset", "remedy"),
    [
        (500, "subtract it from the values and say offset=0"),
        (999, "subtract it"),
        (-1000, "say offset=1000"),
        (float("nan"), "subtract it"),
        ("1000", "subtract it"),
        (True, "subtract it"),
    ],
)
def test_offset_that_no_product_has_is_refused(offset, remedy):
    """ESA adds 1000 or nothing; -1000 is how its metadata spell the same."""
    with pytest.raises(ContractMismatch, match=f"offset {offset!r}; expected 0 or 1000, in DN: .*{remedy}"):
        stored("S2L1C", offset=offset)


@pytest.mark.parametrize("offset", [500, -1000, 1000.5, None, "none", float("inf")])
def test_stored_offset_that_no_product_has_is_refused(offset):
    """In headers too, and an archive's None, which stands for several, is no traceback."""
    with pytest.raises(ContractMismatch, match="expected 0 or 1000, in DN"):
        Contract.from_json(stored("S2L1C").to_json() | {"offset": offset})


def test_stored_offset_may_be_a_whole_real_number():
    """As writers of JSON in other languages spell it."""
    contract = Contract.from_json(stored("S2L1C").to_json() | {"offset": 1000.0})

    assert contract == stored("S2L1C", offset=1000)
    assert isinstance(contract.offset, int)


def test_stored_level_must_agree_with_the_modality():
    """A header that says L2A for S2L1C is refused."""
    data = stored("S2L1C").to_json() | {"level": "L2A"}

    with pytest.raises(ContractMismatch, match="level"):
        Contract.from_json(data)


def test_missing_field_is_refused():
    """A header without the offset is not guessed."""
    data = stored("S2L1C").to_json()
    del data["offset"]

    with pytest.raises(ContractMismatch, match="offset"):
        Contract.from_json(data)


def test_require_passes_equal_contracts():
    """Equal values need no remedy."""
    stored("S2L1C").require(stored("S2L1C"))


def test_require_names_the_difference_and_the_known_remap():
    """The message of a mismatch holds both values and the steps that would mend it."""
    found, wanted = stored("S2L2A", offset=1000), network_input("S2L1C")

    with pytest.raises(ContractMismatch) as caught:
        found.require(wanted)

    text = str(caught.value)
    assert "offset 1000 != 0" in text
    assert "insert zeros for B10 at channel 10" in text
    assert "subtract 1000 DN" in text


def test_l2a_gets_a_zero_b10_at_channel_10():
    """Twelve L2A bands become thirteen with B10 zero, all others where they belong."""
    remap = plan_remap(stored("S2L2A"), network_input("S2L1C"))
    values = np.arange(1, 13, dtype=np.uint16)[:, None, None] * np.ones((1, 2, 2), np.uint16) * 100

    out = remap(values)

    assert out.shape == (13, 2, 2)
    assert (out[10] == 0).all()
    np.testing.assert_allclose(np.delete(out[:, 0, 0], 10), np.arange(1, 13) / 100, rtol=1e-6)


def test_absent_b10_is_zero_reflectance_under_statistics():
    """A band that does not exist is 0 DN, standardized like any other value and untouched by the offset."""
    target = dataclasses.replace(stored("S2L1C"), scaling="zscore:published_50k")

    out = plan_remap(stored("S2L2A", offset=1000), target)(np.full((12, 1, 1), 3000, np.uint16))

    expected = -statistics("S2L1C", "published_50k").mean["B10"] / statistics("S2L1C", "published_50k").std["B10"]
    assert out[10, 0, 0] == pytest.approx(expected)


def test_offset_is_taken_away_and_negative_light_clipped():
    """1000 DN of offset go; what lies below is zero reflectance."""
    remap = plan_remap(stored("S2L1C", offset=1000), network_input("S2L1C"))
    values = np.full((13, 1, 2), 1000, np.uint16)
    values[:, 0, 1] = (900,) * 13

    out = remap(values)

    assert (out == 0).all()


def test_offset_round_trip_without_scaling():
    """Putting the offset back gives the old numbers."""
    plain, shifted = stored("S2L1C"), stored("S2L1C", offset=1000)
    values = np.arange(13, dtype=np.uint16)[:, None, None] * 10

    there = plan_remap(plain, shifted)(values)
    back = plan_remap(shifted, plain)(there)

    np.testing.assert_array_equal(there, values + 1000)
    np.testing.assert_array_equal(back, values)


def test_rgb_subset_is_reordered_to_red_green_blue():
    """An RGB network gets B04, B03, B02 from thirteen bands."""
    values = np.arange(13, dtype=np.uint16)[:, None, None] * 1000

    out = plan_remap(stored("S2L1C"), network_input("S2L1C", RGB))(values)

    np.testing.assert_allclose(out[:, 0, 0], [0.3, 0.2, 0.1], rtol=1e-6)


def test_reflectance_is_clipped_not_wrapped():
    """28,003 DN, which the published 8-bit form wraps to 202, is white."""
    out = plan_remap(stored("S2L1C"), network_input("S2L1C"))(np.full((13, 1, 1), 28_003, np.uint16))

    assert (out == 1).all()


def test_s1_sigma2_matches_the_published_formula():
    """The default S1 scaling is the published two-sigma rule without its rounding."""
    table = statistics("S1GRD", "published_50k")
    values = np.array([-12.0, -30.0], np.float32)[:, None, None]

    out = plan_remap(stored("S1GRD"), network_input("S1GRD"))(values)

    for i, band in enumerate(("VV", "VH")):
        mean, std = table.mean[band], table.std[band]
        expected = np.clip((values[i, 0, 0] - (mean - 2 * std)) / (4 * std), 0, 1)
        assert out[i, 0, 0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (stored("S1GRD"), network_input("S2L1C")),
        (stored("S2RGB"), network_input("S2L1C", RGB)),
        (stored("S2L1C", bands=RGB), network_input("S2L1C")),
        (network_input("S2L1C"), stored("S2L1C")),
        (network_input("S2L2A"), network_input("S2L1C")),
    ],
)
def test_unknown_conversion_is_refused_with_a_remedy(source, target):
    """Other sensors, missing bands and scaled values are not converted."""
    with pytest.raises(ContractMismatch) as caught:
        plan_remap(source, target)

    assert caught.value.remedy


def test_wrong_number_of_bands_is_refused():
    """An array of 12 bands is not taken for 13."""
    with pytest.raises(ContractMismatch, match="12 bands"):
        plan_remap(stored("S2L1C"), network_input("S2L1C"))(np.zeros((12, 2, 2), np.uint16))


def test_remap_logs_its_steps(caplog):
    """What is converted is said, once in a process."""
    announce.cache_clear()
    with caplog.at_level(logging.INFO, logger="ssl4eo.contract"):
        for _ in range(3):
            plan_remap(stored("S2L2A"), network_input("S2L1C"))(np.zeros((12, 1, 1), np.uint16))

    assert caplog.text.count("insert zeros for B10") == 1


@given(st.permutations(MODALITIES["S2L1C"].bands), st.permutations(MODALITIES["S2L1C"].bands))
def test_reordering_there_and_back_is_the_identity(first, second):
    """Any order of bands can be undone."""
    a, b = stored("S2L1C", bands=first), stored("S2L1C", bands=second)
    values = np.arange(13, dtype=np.uint16)[:, None, None]

    np.testing.assert_array_equal(plan_remap(b, a)(plan_remap(a, b)(values)), values)


def test_spellings_are_translated_and_noted():
    """B1, b8a and B12 become ours, and only real translations are noted."""
    contract, notes = from_spellings("S2L2A", ["B1", "b8a", "B12"])

    assert contract.bands == ("B01", "B8A", "B12")
    assert notes == ["B1 is B01", "b8a is B8A"]


@pytest.mark.parametrize(("baseline", "offset"), [(None, 0), (301, 0), (399, 0), (400, 1000), (509, 1000)])
def test_offset_follows_the_processing_baseline(baseline, offset):
    """Since 04.00 the products carry +1000 DN."""
    assert offset_of_baseline(baseline) == offset


@pytest.mark.parametrize("name", SCALED)
def test_default_scaling_fits_its_unit(name):
    """Every modality with published statistics has a scaling that its own contract accepts."""
    assert network_input(name).scaling == default_scaling(name)


def test_decibels_without_statistics_have_no_default_scaling():
    """Nobody published figures for terrain-corrected Sentinel-1: those of GRD are not taken for them."""
    with pytest.raises(ContractMismatch, match="no statistics are published for S1RTC"):
        network_input("S1RTC")


def test_foreign_spellings_of_bands_are_translated_and_said(caplog):
    """EuroSAT's order in the spelling of its files; what is no band stays refused."""
    with caplog.at_level(logging.INFO):
        contract = stored("S2L1C", bands=["B1", "b2", "B8a"])
    assert contract.bands == ("B01", "B02", "B8A")
    assert "B1 is B01, b2 is B02, B8a is B8A" in caplog.text
    for wrong in ("B04", [1, 2]):
        with pytest.raises(ContractMismatch, match="expected a list of names"):
            stored("S2L1C", bands=wrong)
    with pytest.raises(ContractMismatch, match="distinct bands out of"):
        stored("S2L1C", bands=["B77"])
