# SPDX-License-Identifier: Apache-2.0
"""What a network is fed: values from 0 to 1, or standardized ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import network_input, standard_scaling, stored
from ssl4eo.errors import ConfigInvalid, ContractMismatch, UnknownName
from ssl4eo.recipes.table import recipe
from ssl4eo.sensors import statistics


@pytest.mark.parametrize(
    ("name", "source"), [("S2L1C", "published_50k"), ("S2RGB", "v1.1"), ("S1GRD", "published_50k")]
)
def test_standardized_values_have_mean_0_and_deviation_1(name, source):
    """Values at the mean become 0, one deviation above it 1, in every band, unclipped."""
    table, bands = statistics(name, source), network_input(name).bands
    mean, std = (np.array([getattr(table, part)[b] for b in bands]) for part in ("mean", "std"))
    images = torch.from_numpy(np.stack([mean, mean + std, mean - 9 * std])[:, :, None, None])

    scaled = Adapter(stored(name), network_input(name, standardized=True))(images)[:, :, 0, 0]

    expected = torch.tensor([0.0, 1.0, -9.0])[:, None].expand(3, len(bands))
    torch.testing.assert_close(scaled, expected, rtol=1e-4, atol=1e-4)


def test_stacked_inputs_are_standardized_part_by_part():
    """Each sensor by its own statistics."""
    contract = network_input("S2L1C+S1GRD", standardized=True)

    assert [part.scaling for part in contract.parts] == ["zscore:published_50k"] * 2


def test_a_product_without_statistics_is_refused():
    """Nothing is estimated."""
    with pytest.raises(ContractMismatch, match="no statistics"):
        standard_scaling("L8SR")


def test_photometric_changes_of_standardized_values_are_refused():
    """A factor of a z-score is no brightness."""
    config = recipe("moco_v2.resnet18.s2rgb.tiny").config()

    with pytest.raises(ConfigInvalid, match="zscore with photometric changes"):
        dataclasses.replace(config, scaling="zscore")


def test_unknown_scaling_is_refused():
    """With the names there are."""
    with pytest.raises(UnknownName):
        dataclasses.replace(recipe("mae.vit_small_16.s2rgb.tiny").config(), scaling="minmax")
