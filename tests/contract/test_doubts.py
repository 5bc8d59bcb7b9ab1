# SPDX-License-Identifier: Apache-2.0
"""Values that do not look like their contract: told with evidence, each kind once, nothing told of good ones."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter

import numpy as np
import pytest

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import doubts, network_input, stored
from ssl4eo.contract.doubts import tell_doubts, value_doubts
from ssl4eo.sensors import statistics

L1C, S1, RGB = stored("S2L1C"), stored("S1GRD"), stored("S2RGB")
NEW = stored("S2L1C", offset=1000)
SCALED = dataclasses.replace(L1C, scaling="reflectance")
STANDARD = dataclasses.replace(L1C, scaling="zscore:published_50k")
BYTES = dataclasses.replace(L1C, scaling="uint8_10k")
RGB_SCALED = dataclasses.replace(RGB, scaling="uint8")
S1_SCALED = dataclasses.replace(S1, scaling="sigma2:published_50k")
S1_STANDARD = dataclasses.replace(S1, scaling="zscore:published_50k")
S1_BYTES = dataclasses.replace(S1, scaling="uint8_sigma2:published_50k")


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Let every test be the first in its process."""
    monkeypatch.setattr(doubts, "_told", set())
    monkeypatch.setattr(doubts, "_times", Counter())


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
        (S1_STANDARD, -3, 3, set()),
        # digital numbers
        (L1C, -9000, -40, {"negative"}),
        (L1C, -900, 0, {"negative"}),
        (L1C, -9999, 9000, {"negative"}),
        (L1C, -30, 9000, set()),
        (L1C, -2.1, 6.5, {"standardized"}),
        (L1C, 400, 90_000, {"beyond"}),
        (L1C, 10_000, 90_000, {"beyond"}),
        (NEW, 10_000, 90_000, {"beyond"}),
        (L1C, 1e29, 1e30, {"beyond"}),
        (L1C, 40, 28_003, set()),
        # decibels
        (S1, 0.001, 0.99, {"linear"}),
        (S1, 0.001, 900, {"linear"}),
        (S1, 1, 255, {"eight_bits"}),
        (S1, 12, 900, {"amplitude"}),
        (S1, 1e29, 1e30, {"beyond"}),
        (S1, -9999, 3, {"beyond"}),
        (S1, -25, 1e30, {"beyond"}),
        (S1, -3, 3, {"standardized"}),
        (S1, -3, -0.5, {"standardized"}),
        (S1, -47, 25, set()),
        (S1, -9, -2, set()),
        # 8 bits
        (RGB, 40, 9000, {"unscaled"}),
        (RGB, -1.5, 2.2, {"standardized"}),
        (RGB, 40, 1e30, {"beyond"}),
        (BYTES, 3, 250, set()),
        (BYTES, 40, 9000, {"unscaled"}),
        (BYTES, 0.01, 0.9, {"scaled"}),
        (S1_BYTES, -25, 3, {"unscaled"}),
        # scaled
        (SCALED, 1, 255, {"unscaled"}),
        (SCALED, -2.1, 6.5, {"standardized"}),
        (SCALED, -9000, -40, {"negative"}),
        (SCALED, 0.1, 0.9, {"offset"}),
        (RGB_SCALED, 0.01, 1, set()),
        (RGB_SCALED, 2, 250, {"unscaled"}),
        (RGB_SCALED, -1.5, 2.2, {"standardized"}),
        (S1_SCALED, 0.01, 1, set()),
        (S1_SCALED, -25, 3, {"unscaled"}),
        (S1_SCALED, -3, 3, {"standardized"}),
        (S1_SCALED, 1, 255, {"unscaled"}),
        (S1_SCALED, 0.5, 1e30, {"beyond"}),
        # standardized
        (STANDARD, -0.4, 9, set()),
        (STANDARD, 40, 9000, {"unscaled"}),
        (STANDARD, 0.01, 0.9, {"scaled"}),
        (S1_STANDARD, -25, 3, {"unscaled"}),
        (S1_STANDARD, 1e29, 1e30, {"unscaled"}),
        # no data
        (L1C, 0, 0, {"empty"}),
        (S1, 0, 0, {"empty"}),
        (RGB, 0, 0, {"empty"}),
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


@pytest.mark.parametrize(
    ("contract", "least", "largest", "words", "unwanted"),
    [
        (S1, 0.001, 0.99, ["linear power by 10 log10(x)", "clipped to 0..1", "sigma2"], "8-bit"),
        (S1, 0.001, 900, ["linear power by 10 log10(x)"], "sigma2"),
        (S1, 1, 255, ["8-bit", "uint8_sigma2"], "log10"),
        (S1, -3, 3, ["standardized", "zscore"], "log10"),
        (L1C, 10_000, 90_000, ["90000", "above what any product holds"], "offset"),
        (L1C, 1e29, 1e30, ["1e+30", "above what any product holds"], "offset"),
        (L1C, -2.1, 6.5, ["standardized", "zscore"], "8-bit"),
        (RGB, 40, 9000, ["end at 255", 'stored("S2L1C", bands=...)'], "scaling"),
        (S1_SCALED, -25, 3, ["decibels", 'stored("S1GRD")'], "log10"),
        (RGB_SCALED, 2, 250, ["end at 1", 'stored("S2RGB")'], "DN"),
        (SCALED, 0.1, 0.9, ["no band comes below 1000 DN", "take it away before scaling"], "say offset"),
    ],
)
def test_sentences_say_what_the_values_are(contract, least, largest, words, unwanted):
    """A wrong remedy is worse than none: all that it can be is named, nothing else."""
    count = contract.num_bands

    (sentence,) = value_doubts(contract, [least] * count, [largest] * count).values()

    assert all(word in sentence for word in words), sentence
    assert unwanted not in sentence


def test_one_band_on_another_scale_is_named():
    """Reflectance among digital numbers, linear power beside decibels, digital numbers among reflectance."""
    largest = [9000.0] * 13
    largest[3] = 0.7
    least = [40.0] * 13
    least[3] = 0.02

    assert value_doubts(L1C, least, largest).keys() == {"mixed"}
    assert "B04 only up to 0.7, others up to 9000" in value_doubts(L1C, least, largest)["mixed"]
    assert "no value of VH is below 0.001" in value_doubts(S1, [-25, 0.001], [3, 0.4])["linear"]
    assert "no value of VV is below -3" in value_doubts(S1, [-3, -25], [3, 0.4])["standardized"]
    doubt = value_doubts(SCALED, [0.01] * 12 + [40], [0.9] * 12 + [5000])
    assert "the largest value of B12 is 5000" in doubt["unscaled"]


def test_cirrus_is_dark_and_judges_no_scale():
    """B10 of a clear scene is 0 to 30 DN, alone too."""
    assert not value_doubts(L1C, [40.0] * 10 + [1] + [40] * 2, [9000.0] * 10 + [1.5] + [9000] * 2)
    assert not value_doubts(stored("S2L1C", bands=["B10"]), [3.0], [28.0])


def test_a_cloud_without_b10_is_no_offset():
    """Means 3,000 DN above the published ones leave nothing dark; with B10, or darker, the offset would show."""
    contract = stored("S2L2A")
    published = [statistics("S2L2A", "published_50k").mean[band] for band in contract.bands]
    least, largest = [1178.0] * 12, [9000.0] * 12

    assert not value_doubts(contract, least, largest, [m + 3000 for m in published])
    assert value_doubts(contract, least, largest, [m + 1000 for m in published]).keys() == {"offset"}
    assert value_doubts(L1C, [1178.0] * 13, [9000.0] * 13, [6000.0] * 13).keys() == {"offset"}


def test_bands_without_contrast_that_can_be_right():
    """Haze in 8 bits, a cloud at the upper clip, little to see at all; digital numbers always have noise."""

    def constant(contract, value, *, at, least, largest):
        count = contract.num_bands
        low, high = [least] * count, [largest] * count
        low[at] = high[at] = value
        return "constant" in value_doubts(contract, low, high)

    assert constant(L1C, 900, at=0, least=40, largest=9000)
    assert constant(BYTES, 9, at=3, least=1, largest=250)
    assert constant(SCALED, 0.5, at=9, least=0.01, largest=0.9)
    assert not constant(BYTES, 9, at=0, least=1, largest=250)
    assert not constant(BYTES, 9, at=3, least=1, largest=20)
    assert not constant(SCALED, 1, at=9, least=0.01, largest=1)


def told(caplog):
    """Give the sentences told so far, and forget them."""
    sentences = [r.message for r in caplog.records if "told to be" in r.message]
    caplog.clear()
    return sentences


def test_the_same_trouble_is_told_once_and_another_again(caplog):
    """Numbers of one size are one source; other bands, another size, or a good batch in between are news."""
    good, count = ([40.0] * 13, [9000.0] * 13), 13

    for top in (0.91, 0.88, 0.97):
        tell_doubts(L1C, [0.01] * count, [top] * count)
    assert len(told(caplog)) == 1
    tell_doubts(L1C, [0.0001] * count, [0.01] * count)
    assert "0.01, DN reach" in told(caplog)[0]
    for band in (3, 4, 3):
        least, largest = list(good[0]), list(good[1])
        largest[band] = least[band]
        tell_doubts(L1C, least, largest)
    first, second = told(caplog)
    assert "B04 constant" in first
    assert "B05 constant" in second
    tell_doubts(L1C, *good)
    tell_doubts(L1C, [0.01] * count, [0.91] * count)
    assert len(told(caplog)) == 1


def test_trouble_that_comes_and_goes_is_told_ten_times(caplog):
    """A log of a long run stays readable; the last one says that it is."""
    for _ in range(15):
        tell_doubts(L1C, [0.01] * 13, [0.9] * 13)
        tell_doubts(L1C, [40.0] * 13, [9000.0] * 13)

    sentences = told(caplog)
    assert len(sentences) == 10
    assert sentences[-1].endswith("(told for the last time)")


def test_contracts_are_told_apart(caplog):
    """A good batch of one says nothing about another."""
    tell_doubts(L1C, [0.01] * 13, [0.9] * 13)
    tell_doubts(S1, [-25.0] * 2, [3.0] * 2)
    tell_doubts(L1C, [0.01] * 13, [0.9] * 13)

    assert len(told(caplog)) == 1


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
