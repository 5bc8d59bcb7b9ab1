# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import fuse, network_input, stored
from ssl4eo.insight.composites import HIDDEN, Composite, as_measured, composites, picture, stretch_of

OPTICAL = ("true-color", "false-color", "swir", "vegetation")


@pytest.mark.parametrize(
    ("modality", "names"),
    [
        ("S2RGB", ["true-color"]),
        ("S1GRD", ["vv-vh-ratio"]),
        ("S2L1C", [*OPTICAL, "B05, B06, B07", "B01, B09, B10"]),
        ("S2L2A+S1GRD", [*OPTICAL, "vv-vh-ratio", "B05, B06, B07", "B01, B09"]),
        ("S1GRD+S2L1C", ["true-color", "vv-vh-ratio", *OPTICAL[1:], "B05, B06, B07", "B01, B09, B10"]),
    ],
)
def test_every_input_has_the_composites_of_its_sensors(modality, names):
    """Those that pictures and the gallery know, true color first; the bands that they leave over come in threes."""
    contract = network_input(modality)

    found = composites(contract)

    assert [c.name for c in found] == names
    if names[0] == "true-color":
        assert [contract.bands[n] for n in found[0].channels] == ["B04", "B03", "B02"]
    assert {n for c in found for n in c.channels} == set(range(len(contract.bands)))


def test_a_band_has_the_color_of_what_it_is():
    """Red edge is no near infrared."""
    (kind,) = composites(network_input("S2L1C", ("B03", "B04", "B05")))

    assert kind.name == "B03, B04, B05"


def test_bands_without_a_composite_are_drawn_all_the_same():
    """Three of several, the finer first; one in gray."""
    assert composites(network_input("S2L1C", ("B01", "B09", "B11")))[0].channels == (2, 0, 1)
    assert composites(network_input("S2L1C", ("B11",)))[0].channels == (0, 0, 0)


def test_views_of_a_sample_share_one_stretch():
    """0 to 100 and the same at half the brightness: the darker one is drawn at half."""
    kind = Composite("gray", (0, 0, 0))
    ramp = np.linspace(1, 101, 10_000, dtype=np.float32).reshape(1, 100, 100)

    stretch = stretch_of(kind, [ramp, ramp / 2])

    bright, dark = (picture(kind, image, stretch).astype(int) for image in (ramp, ramp / 2))
    assert bright.max() == 255
    assert dark.max() == pytest.approx(127, abs=3)


def test_a_cloud_turns_white_and_does_not_darken_the_rest():
    """A twentieth of the pixels a hundred times as bright."""
    kind = Composite("gray", (0, 0, 0))
    image = np.linspace(1, 2, 10_000, dtype=np.float32).reshape(1, 100, 100)
    image[:, :, :5] = 100

    shown = picture(kind, image, stretch_of(kind, [image]))

    assert np.all(shown[:, :5] == 255)
    assert np.median(shown[:, 5:]) > 40


def test_radar_blue_is_the_difference_and_holes_are_gray():
    """VV 3, VH 1: the third channel is 2; pixels that are not finite, and constants."""
    kind = composites(network_input("S1GRD"))[0]
    image = np.stack([np.full((2, 2), 3), np.full((2, 2), 1)]).astype(np.float32)
    image[:, 0, 0] = np.nan

    stretch = stretch_of(kind, [image])

    np.testing.assert_allclose(stretch.low + 0.5, [3, 1, 2])
    shown = picture(kind, image, stretch)
    assert shown[0, 0].tolist() == [HIDDEN] * 3
    assert shown[1, 1].tolist() == [128] * 3
    assert stretch_of(kind, [np.full((2, 2, 2), np.nan, np.float32)]).high.tolist() == [1, 1, 1]


@pytest.mark.parametrize("standardized", [False, True])
def test_the_scaling_of_the_network_is_taken_back(standardized):
    """A gray of 1000 DN in every band is gray again, also where each band was standardized on its own; so is -10 dB."""
    contract = network_input("S2L1C+S1GRD", standardized=standardized)
    measured = np.concatenate([np.full((13, 2, 2), 1000), np.full((2, 2, 2), -10)]).astype(np.float32)
    given = fuse([stored("S2L1C"), stored("S1GRD")])
    scaled = Adapter(given, contract)(torch.from_numpy(measured)[None])[0].numpy()

    back = as_measured(contract, scaled)

    np.testing.assert_allclose(back, measured, rtol=1e-4)
    assert np.abs(scaled - measured).max() > 1
