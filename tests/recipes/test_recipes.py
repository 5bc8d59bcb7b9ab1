# SPDX-License-Identifier: Apache-2.0
"""The table of recipes: every published row, every input nobody has published, a small form of each, a promise."""

from __future__ import annotations

import dataclasses
import re

import pytest

from ssl4eo.contract import FUSED_INPUTS
from ssl4eo.recipes.recipe import SENSOR_DROP
from ssl4eo.recipes.table import RECIPES
from ssl4eo.views.config import ViewConfig

SIZES = ("vit_small_16", "vit_base_16", "vit_large_16", "vit_huge_14")
PUBLISHED = (
    "moco_v2.resnet50.s2l1c",
    "moco_v3.vit_small_16.s2l1c",
    "dino.resnet50.s2l1c",
    "dino.vit_small_16.s2l1c",
    "mae.vit_small_16.s2l1c",
    "data2vec.vit_small_16.s2l1c",
    "moco_v2.resnet18.s2l1c",
    "moco_v2.resnet18.s2rgb",
    "moco_v2.resnet50.s2rgb",
    "moco_v2.resnet50.s1grd",
    *[
        f"mae.{size}.{i}"
        for size in ("vit_small_16", "vit_base_16", "vit_large_16", "vit_huge_14")
        for i in ("s1grd", "s2l1c")
    ],
)
"""Rows of both tables of the published README."""
UNPUBLISHED = tuple(
    f"{method}.{i}"
    for method in (
        "moco_v2.resnet50",
        "moco_v3.vit_small_16",
        "dino.vit_small_16",
        "mae.vit_small_16",
        "data2vec.vit_small_16",
    )
    for i in ("s2l2a", "s2l1c_s1grd", "s2l2a_s1grd")
)


@pytest.mark.parametrize("name", [*PUBLISHED, *UNPUBLISHED])
def test_every_published_row_and_every_new_input_has_a_recipe(name):
    """With a form for a CPU beside it."""
    assert name in RECIPES
    assert f"{name}.tiny" in RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_builds_and_promises(name):
    """Its config fits together, has its name, and says what it costs or that nobody has run it."""
    found = RECIPES[name]
    config = found.config()

    assert (config.recipe, config.modality) == (name, found.modality)
    assert config.method.backbone_options(config.backbone) is not None
    assert "not yet run" in found.promise or "benchmarks/results" in found.promise
    assert bool(found.differs) or not name.endswith(".as_published")


@pytest.mark.parametrize("name", [n for n, r in RECIPES.items() if r.modality in FUSED_INPUTS])
def test_stacked_inputs_lose_a_sensor_in_half_of_the_views(name):
    """And no view of them is gray; single inputs keep what they have."""
    views = RECIPES[name].config().views
    parts = [getattr(views, f.name) for f in dataclasses.fields(views)]
    photometric = [part.photometric for part in parts if isinstance(part, ViewConfig)]

    assert photometric
    assert {p.sensor_drop for p in photometric} == {SENSOR_DROP}
    assert {p.gray_probability for p in photometric} == {0.0}


@pytest.mark.parametrize("name", [n for n in RECIPES if n.endswith(".tiny")])
def test_small_forms_are_small(name):
    """Views of 64 px and no network larger than ResNet-50."""
    config = RECIPES[name].config()

    assert config.image_size == 64
    assert config.backbone in ("resnet18", "resnet50", "vit_nano_8")


@pytest.mark.parametrize("name", [n for n in RECIPES if not n.endswith(".tiny")])
def test_full_size_promise_says_hardware_and_hours(name):
    """As published for runs with published scores, else unknown: nobody measured them here."""
    promise = RECIPES[name].promise

    scored = "BigEarthNet" in promise
    assert "on 4 GPUs (--engine.devices 4)" in promise
    assert ("published run: at most 24 hours on 4 A100" in promise) == scored
    assert ("hours unknown" in promise) != scored
    assert "not yet run here" in promise


@pytest.mark.parametrize(
    "build", dict.fromkeys(r.build for r in RECIPES.values()), ids=lambda b: f"{b.__module__}.{b.__name__}"
)
def test_command_of_a_promise_uses_what_it_promises(build):
    """A config has one device: the command that is shown for four GPUs asks for them."""
    text = " ".join((build.__doc__ or "").split())
    commands = re.findall(r"`(ssl4eo pretrain [^`]*)` on 4 GPUs", text)

    assert len(commands) == text.count("4 GPUs")
    assert all(command.endswith(" --engine.devices 4") for command in commands)
