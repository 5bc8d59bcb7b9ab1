# SPDX-License-Identifier: Apache-2.0
"""Bands that a network wants and the values do not have: only what the contract names stands for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import Contract, FusedContract, network_input, plan_remap, stored
from ssl4eo.errors import ContractMismatch, UnknownName
from ssl4eo.sensors import statistics

TEN = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
ABSENT = [0, 9, 10]  # B01, B09, B10 of thirteen
MEAN = statistics("S2L1C", "published_50k").mean


def ten_bands(fill: str = "none") -> Contract:
    """The contract of ten bands at 10 and 20 m."""
    return replace(stored("S2L1C", bands=TEN), fill=fill)


def fed(source, target) -> np.ndarray:
    """Give what a network is fed of 3000 DN everywhere: (13,)."""
    return plan_remap(source, target)(np.full((10, 1, 1), 3000, np.uint16))[:, 0, 0]


def test_nothing_is_filled_unless_the_contract_names_it():
    """And the refusal says how."""
    with pytest.raises(ContractMismatch, match=r"have no B01 B09 B10; .* fill=\"zero\"\)\) \(or 'mean'\)"):
        plan_remap(ten_bands(), network_input("S2L1C"))


@pytest.mark.parametrize("standardized", [False, True])
def test_zero_is_zero_after_scaling(standardized):
    """Whatever the scaling, and the other bands are where they belong."""
    target = network_input("S2L1C", standardized=standardized)

    values = fed(ten_bands("zero"), target)

    whole = plan_remap(stored("S2L1C"), target)(np.full((13, 1, 1), 3000, np.uint16))[:, 0, 0]
    assert values[ABSENT].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(np.delete(values, ABSENT), np.delete(whole, ABSENT))


def test_mean_is_the_published_mean_as_reflectance():
    """The mean in DN, over 10,000."""
    values = fed(ten_bands("mean"), network_input("S2L1C"))

    np.testing.assert_allclose(values[ABSENT], [MEAN[b] / 10_000 for b in ("B01", "B09", "B10")], rtol=1e-6)


def test_mean_is_zero_where_the_scaling_takes_it_away():
    """Under the very statistics that the scaling names, those with the offset too."""
    for name in ("published_50k", "v1.1"):
        values = fed(ten_bands("mean"), replace(stored("S2L1C"), scaling=f"zscore:{name}"))

        np.testing.assert_allclose(values[ABSENT], 0, atol=1e-6)


def test_mean_of_unscaled_values_has_the_networks_offset():
    """Values of a network that is fed DN with the offset contain it in every band."""
    values = fed(ten_bands("mean"), stored("S2L1C", offset=1000))

    np.testing.assert_allclose(values[ABSENT], [MEAN[b] + 1000 for b in ("B01", "B09", "B10")], rtol=1e-6)


def test_tensors_are_filled_alike():
    """The layer and the NumPy conversion agree."""
    source, target = ten_bands("mean"), network_input("S2L1C")

    made = Adapter(source, target)(torch.full((2, 10, 1, 1), 3000.0))

    np.testing.assert_allclose(made[1, :, 0, 0].numpy(), fed(source, target), rtol=1e-6)


def test_each_part_of_a_fused_input_is_filled_by_its_own_rule():
    """Radar channels stay what they are."""
    source = FusedContract((ten_bands("zero"), stored("S1GRD")))
    values = np.full((12, 1, 1), -12.0, np.float32)

    made = plan_remap(source, network_input("S2L1C+S1GRD"))(values)[:, 0, 0]

    assert made[ABSENT].tolist() == [0, 0, 0]
    assert 0 < made[13] < 1


def test_what_is_filled_is_said():
    """In the steps, and in the contract's one line."""
    assert "fill B01 B09 B10 with mean" in plan_remap(ten_bands("mean"), network_input("S2L1C")).steps
    assert "other bands mean" in str(ten_bands("mean"))


def test_the_fill_survives_json_and_is_absent_where_there_is_none():
    """Records of contracts without it are what they were."""
    assert Contract.from_json(ten_bands("zero").to_json()) == ten_bands("zero")
    assert "fill" not in ten_bands().to_json()


def test_an_unknown_fill_is_refused():
    """By name."""
    with pytest.raises(UnknownName, match="no fill is called 'median'"):
        ten_bands("median")
