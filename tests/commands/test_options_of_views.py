# SPDX-License-Identifier: Apache-2.0
"""Errors about a view name the option that was typed, whichever view of whichever arrangement it is of."""

from __future__ import annotations

import pytest

from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.packing.pack import pack


@pytest.fixture(scope="module")
def planet(tmp_path_factory):
    """Pack a few places."""
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    pack(SyntheticPlanet(8, size=24, num_seasons=1, modalities=("S2L2A",)), path)
    return path


@pytest.mark.parametrize(
    ("recipe", "option", "value", "told"),
    [
        ("dino.vit_small_16.s2l2a", "views.local.scale", "[0.05,1.5]", "(0.05, 1.5)"),
        ("dino.vit_small_16.s2l2a", "views.second.blur_probability", "2", "2.0"),
        ("dino.vit_small_16.s2l2a", "views.first.photometric.jitter_probability", "2", "2.0"),
        ("moco_v3.vit_small_16.s2l2a", "views.first.photometric.drop_bands", "[3,1]", "(3, 1)"),
        ("moco_v2.resnet18.s2l2a.tiny", "views.view.photometric.speckle", "2", "2.0"),
    ],
)
def test_value_that_cannot_be_is_told_by_its_option(tmp_path, capsys, recipe, option, value, told):
    """Found when the config is made."""
    assert main(["pretrain", "--recipe", recipe, "--data", "x", "--out", str(tmp_path), f"--{option}", value]) == 2

    assert f"ssl4eo: {option} is {told}; expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "more", "option", "words"),
    [
        (
            "moco_v2.resnet18.s2l2a.tiny",
            ("--method.queue_size", "16", "--backbone", "vit_w48d2h3_8"),
            "views.view.photometric.sensor_drop",
            "for bands of one sensor",
        ),
        (
            "moco_v3.vit_small_16.s2l2a.tiny",
            ("--views.first.size", "32", "--views.second.size", "32"),
            "views.second.photometric.speckle",
            "for an input without radar",
        ),
    ],
)
def test_value_that_does_not_fit_the_bands_is_told_by_its_option(planet, tmp_path, capsys, recipe, more, option, words):
    """Found when the views of these bands are made."""
    arguments = ["pretrain", "--recipe", recipe, "--data", str(planet), "--out", str(tmp_path), "--split", "none"]
    arguments += ["--engine.batch_size", "4", *more]

    assert main([*arguments, f"--{option}", "0.5"]) == 2

    assert f"ssl4eo: {option} is 0.5 {words}" in capsys.readouterr().err
