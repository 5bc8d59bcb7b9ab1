# SPDX-License-Identifier: Apache-2.0
"""Contracts of several modalities: their parts stay apart, in headers, in words and in conversions."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import (
    FUSED_INPUTS,
    Contract,
    FusedContract,
    catalog_name,
    contract_from_json,
    fuse,
    network_input,
    plan_remap,
    sensor_groups,
    stored,
)
from ssl4eo.errors import ContractMismatch, UnknownName
from ssl4eo.sensors import RGB

L1C, L2A, S1 = stored("S2L1C"), stored("S2L2A"), stored("S1GRD")
EIGHT_BIT = FusedContract((replace(L1C, scaling="uint8_10k"), replace(S1, scaling="uint8_sigma2:published_rounded")))


def values(contract, seed=0):
    """Draw values (2, C, 3, 3) that the parts of a contract can have, of one type that holds all."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.integers(0, 256 if part.is_quantized else 14_000, (2, part.num_bands, 3, 3)).astype(np.float32)
        if part.unit == "DN" or part.is_quantized
        else rng.uniform(-45, 12, (2, part.num_bands, 3, 3)).astype(np.float32)
        for part in contract.parts
    ]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("name", FUSED_INPUTS)
def test_json_keeps_everything(name):
    """A header written as text and read again is the same contract."""
    contract = network_input(name)

    again = contract_from_json(json.loads(json.dumps(contract.to_json())))

    assert again == contract
    assert isinstance(again, FusedContract)
    assert again.modality == name


def test_headers_of_one_modality_are_as_they_were():
    """The text of a header from before fused inputs, letter by letter, is written and read."""
    header = (
        '{"modality": "S1GRD", "level": "GRD", "bands": ["VV", "VH"], "unit": "dB", "offset": 0, '
        '"scaling": "sigma2:published_50k"}'
    )

    assert json.dumps(network_input("S1GRD").to_json()) == header
    assert contract_from_json(json.loads(header)) == network_input("S1GRD")


@pytest.mark.parametrize(("name", "num_bands"), [("S2L1C+S1GRD", 15), ("S2L2A+S1GRD", 14)])
def test_radar_comes_after_the_optical_channels(name, num_bands):
    """The last two channels are VV and VH, of a sensor of their own."""
    contract = network_input(name)

    assert contract.num_bands == num_bands
    assert contract.bands[-2:] == ("VV", "VH")
    assert sensor_groups(contract) == (0,) * (num_bands - 2) + (1, 1)
    assert sensor_groups(network_input("S2L1C")) == (0,) * 13


def test_names_are_those_of_recipes():
    """A modality name becomes a part of a recipe's name."""
    assert [catalog_name(name) for name in FUSED_INPUTS] == ["s2l1c_s1grd", "s2l2a_s1grd"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (FusedContract((L1C, S1)), network_input("S2L1C+S1GRD")),
        (FusedContract((replace(L1C, offset=1000), S1)), network_input("S2L1C+S1GRD")),
        (FusedContract((L2A, S1)), network_input("S2L1C+S1GRD")),
        (FusedContract((replace(L2A, offset=1000), S1)), network_input("S2L2A+S1GRD")),
        (EIGHT_BIT, network_input("S2L1C+S1GRD")),
        (FusedContract((replace(L1C, offset=1000), S1)), FusedContract((L1C, S1))),
        (FusedContract((L1C, S1)), FusedContract((network_input("S2L1C", RGB), replace(S1, scaling="zscore:v1.1")))),
    ],
)
def test_remap_of_a_fused_input_is_the_remaps_of_its_parts(source, target):
    """Each part alone, then stacked: the same numbers, whatever offset, 8-bit form, subset or scaling."""
    given_ = values(source)
    border = source.parts[0].num_bands

    found = plan_remap(source, target)(given_)

    alone = [
        plan_remap(part, wanted)(block)
        for part, wanted, block in zip(
            source.parts, target.parts, (given_[:, :border], given_[:, border:]), strict=True
        )
    ]
    np.testing.assert_array_equal(found, np.concatenate(alone, axis=1))


@given(st.permutations(L1C.bands), st.permutations(S1.bands))
def test_parts_and_bands_in_another_order_are_found_by_name(optical, radar):
    """Radar first and bands shuffled within a part: the target's order comes out."""
    source = FusedContract((stored("S1GRD", bands=radar), stored("S2L1C", bands=optical)))
    target = FusedContract((L1C, S1))
    channel = np.arange(15, dtype=np.uint16)[:, None, None]

    found = plan_remap(source, target)(channel)[:, 0, 0]

    assert [source.bands[int(i)] for i in found] == list(target.bands)


def test_offset_of_digital_numbers_never_meets_decibels():
    """Taking 1000 DN away stops reflectance at zero; decibels stay below it, bit by bit."""
    source, target = FusedContract((replace(L1C, offset=1000), S1)), FusedContract((L1C, S1))
    given_ = np.full((15, 1, 1), 400, np.float32)
    given_[13:] = -17.25

    found = plan_remap(source, target)(given_)[:, 0, 0]

    assert found.tolist() == [0.0] * 13 + [-17.25] * 2


def test_known_values_of_both_sensors():
    """2500 DN is 0.25; the mean of VV is one half, four deviations wide."""
    given_ = np.full((15, 1, 1), 2500, np.float64)
    given_[13], given_[14] = -12.54847273, -20.19237134 + 5.91150917

    found = plan_remap(FusedContract((L1C, S1)), network_input("S2L1C+S1GRD"))(given_)[:, 0, 0]

    np.testing.assert_allclose(found, [0.25] * 13 + [0.5, 0.75], rtol=1e-6)


def test_a_network_of_one_sensor_takes_its_part():
    """The other part is dropped, and said to be."""
    remap = plan_remap(FusedContract((L1C, S1)), network_input("S1GRD"))

    assert remap.index == (13, 14)
    assert remap.steps[0] == "drop S2L1C"


def test_missing_sensor_is_refused():
    """Neither zeros nor another sensor stand in for radar unasked."""
    with pytest.raises(ContractMismatch, match=r"S2L1C values have no part S1GRD.*read S1GRD too"):
        plan_remap(L1C, network_input("S2L1C+S1GRD"))
    with pytest.raises(ContractMismatch, match="no part S2L1C"):
        plan_remap(stored("S2RGB"), network_input("S2L1C+S1GRD"))


def test_wrong_number_of_bands_is_refused():
    """An array without the radar channels is told how many are missing."""
    with pytest.raises(ContractMismatch, match=r"13 bands; expected 15 \(S2L1C .* \+ S1GRD"):
        plan_remap(FusedContract((L1C, S1)), network_input("S2L1C+S1GRD"))(np.zeros((13, 2, 2)))


@pytest.mark.parametrize("parts", [(), (L1C,), (L1C, L2A), (S1, stored("S1RTC"))])
def test_parts_that_cannot_be_told_apart_are_refused(parts):
    """Fewer than two, or a band of one name in two."""
    with pytest.raises(ContractMismatch, match="without a common band"):
        FusedContract(parts)


def test_unknown_parts_and_bands_of_a_fused_input_are_refused():
    """A typing error in one part is told, and bands that leave one without any."""
    with pytest.raises(UnknownName, match="S1GDR"):
        network_input("S2L1C+S1GDR")
    with pytest.raises(ContractMismatch, match="add some of S2L1C"):
        network_input("S2L1C+S1GRD", ["VV"])


def test_contradicting_headers_are_refused():
    """A name that is not that of the parts, and a part without its unit."""
    data = network_input("S2L1C+S1GRD").to_json()

    with pytest.raises(ContractMismatch, match="stored for the parts of"):
        contract_from_json({**data, "modality": "S2L2A+S1GRD"})
    with pytest.raises(ContractMismatch, match="without 'unit'"):
        contract_from_json({**data, "parts": [{"modality": "S1GRD", "bands": []}]})


def test_differences_name_the_part():
    """Only what differs is said, with the sensor it is of."""
    found, wanted = FusedContract((replace(L1C, offset=1000), S1)), FusedContract((L1C, S1))

    assert found.differences(wanted) == ["S2L1C offset 1000 != 0"]
    assert found.differences(L1C) == ["modality 'S2L1C+S1GRD' != 'S2L1C'"]
    assert L1C.differences(found) == ["modality 'S2L1C' != 'S2L1C+S1GRD'"]


def test_require_names_the_remap():
    """What is not as expected is refused with the conversion that would mend it."""
    found, wanted = FusedContract((L1C, S1)), network_input("S2L1C+S1GRD")

    found.require(FusedContract((L1C, S1)))
    with pytest.raises(ContractMismatch, match="S1GRD: scale by sigma2"):
        found.require(wanted)
    with pytest.raises(ContractMismatch, match="read S1GRD too"):
        L1C.require(wanted)


def test_one_part_alone_is_no_fusion():
    """`fuse` of one contract is that contract."""
    assert fuse([L1C]) is L1C
    assert isinstance(L1C, Contract)
    assert L1C.parts == (L1C,)


@pytest.mark.parametrize(
    "target",
    [
        network_input("S2L1C+S1GRD"),
        FusedContract((L1C, S1)),
        FusedContract((network_input("S2L1C"), replace(S1, scaling="zscore:v1.1"))),
        FusedContract((network_input("S2L1C", RGB), network_input("S1GRD", ("VH",)))),
    ],
)
def test_adapter_gives_what_the_remap_gives(target):
    """The torch layer and the NumPy oracle agree, with one range for all bands or one for each."""
    source = FusedContract((replace(L1C, offset=1000), S1))
    given_ = values(source)

    found = Adapter(source, target)(torch.from_numpy(given_))

    # float32 against float64: products of 1e4 lose 1e-3; decibels near the mean of a z-score cancel.
    np.testing.assert_allclose(found.numpy(), plan_remap(source, target)(given_), rtol=1e-5, atol=1e-5)
