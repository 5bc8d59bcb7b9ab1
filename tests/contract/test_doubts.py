# SPDX-License-Identifier: Apache-2.0
"""Values that do not look like their contract: told with evidence, each kind once, nothing told of good ones."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import doubts, network_input, stored
from ssl4eo.contract.doubts import value_doubts

L1C, S1, RGB = stored("S2L1C"), stored("S1GRD"), stored("S2RGB")
NEW = stored("S2L1C", offset=1000)
SCALED = dataclasses.replace(L1C, scaling="reflectance")


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Let every test be the first in its process."""
    monkeypatch.setattr(doubts, "_told", set())


@pytest.mark.parametrize(
    ("contract", "least", "largest", "kinds"),
    [
        (L1C, 40, 9000, set()),
        (L1C, 0.01, 0.9, {"reflectance"}),
        (L1C, 3, 250, {"eight_bits"}),
        (L1C, 1010, 9000, {"offset"}),
        (NEW, 1010, 9000, set()),
        (NEW, 950, 9000, set()),
        (NEW, 40, 9000, {"no_offset"}),
        (L1C, 1300, 1300, {"constant", "offset"}),
        (S1, -25, 3, set()),
        (S1, 0.001, 2, {"linear"}),
        (RGB, 2, 250, set()),
        (RGB, 0.01, 1, {"scaled"}),
        (SCALED, 0.01, 1.0, set()),
        (SCALED, 100, 9000, {"unscaled"}),
        (dataclasses.replace(S1, scaling="zscore:published_50k"), -3, 3, set()),
    ],
)
def test_kinds_of_doubt_by_hand(contract, least, largest, kinds):
    """Each by its least and largest value; good values give none."""
    count = contract.num_bands

    assert set(value_doubts(contract, [least] * count, [largest] * count)) == kinds


def test_one_dark_band_is_enough_to_have_no_offset():
    """Water in one band; B10 of nothing but zeros is usual."""
    assert not value_doubts(L1C, [1200.0] * 12 + [80.0], [9000.0] * 13)
    assert not value_doubts(L1C, [80.0] * 10 + [0.0] + [80.0] * 2, [9000.0] * 10 + [0.0] + [9000.0] * 2)


def test_embed_tells_each_doubt_once(caplog):
    """Reflectance handed over as digital numbers: a warning with both scales, features all the same."""
    network = Backbone("resnet18", network_input("S2L1C"), image_size=32, seed=0).eval()
    values = np.random.default_rng(0).uniform(0, 1, (2, 13, 32, 32)).astype(np.float32)

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert network.embed(values, L1C).shape == (2, 512)

    (record,) = [r for r in caplog.records if "told to be" in r.message]
    assert "multiply reflectance by 10,000" in record.message


def test_zeros_are_no_data_and_do_not_hide_an_offset(caplog):
    """A corner without data."""
    network = Backbone("resnet18", network_input("S2L1C"), image_size=32, seed=0).eval()
    values = np.random.default_rng(0).integers(1100, 5000, (2, 13, 32, 32), dtype=np.uint16)
    values[:, :, :8, :8] = 0

    network.embed(values, L1C)

    assert "products of baseline 04.00 and later contain +1000" in caplog.text
