# SPDX-License-Identifier: Apache-2.0
"""Recipes of MoCo v3: every published number, what the corrected ones change, and nothing else."""

from __future__ import annotations

import math

import pytest

from ssl4eo.pretraining.config import flatten
from ssl4eo.recipes import moco_v3
from ssl4eo.recipes.table import recipe

ALL = moco_v3.recipes()


def published():
    """Build the published experiment."""
    return recipe("moco_v3.vit_small_16.s2l1c.as_published").config()


def test_only_the_published_row_keeps_its_defects():
    """What nobody has published has nothing to keep."""
    assert [r.name for r in ALL if "as_published" in r.name] == ["moco_v3.vit_small_16.s2l1c.as_published"]


def test_published_numbers_are_those_of_the_published_run():
    """Optimizer, schedule, views and heads of the run that made the weights."""
    values = flatten(published().to_json())

    expected = {
        "backbone": "vit_small_16",
        "method.dim": 256,
        "method.hidden": 4096,
        "method.momentum": 0.99,
        "method.temperature": 0.2,
        "method.stop_grad_patch_embed": True,
        "method.patch_embed_bands": 3,
        "optimizer.name": "adamw",
        "optimizer.lr": 1.5e-4,
        "optimizer.weight_decay": 0.1,
        "optimizer.decay_all": True,
        "optimizer.clip": "none",
        "schedule.warmup_epochs": 10.0,
        "engine.epochs": 100,
        "engine.batch_size": 256,
        "engine.precision": "16-mixed",
        "views.pairing": "augment",
        "views.first.scale": [0.08, 1.0],
        "views.first.blur_probability": 1.0,
        "views.second.blur_probability": 0.1,
        "views.first.photometric.gray_probability": 0.2,
    }
    assert {name: values[name] for name in expected} == expected


def test_published_learning_rate_is_that_for_a_batch_of_256():
    """The published run took 1.5e-4 whatever its batch; corrected it scales with the batch."""
    corrected = recipe("moco_v3.vit_small_16.s2l1c").config()

    assert [published().optimizer.peak(size) for size in (256, 1024)] == [1.5e-4, 1.5e-4]
    assert [corrected.optimizer.peak(size) for size in (256, 1024)] == pytest.approx([1.5e-4, 6e-4])


def test_corrected_differs_in_what_its_promise_says_alone():
    """What the recipe says differs is what differs."""
    first = flatten(published().to_json())
    second = flatten(recipe("moco_v3.vit_small_16.s2l1c").config().to_json())

    assert {name for name in first if first[name] != second[name]} == {
        "recipe",
        "method.stop_grad_patch_embed",
        "method.patch_embed_bands",
        "optimizer.lr_rule",
        "optimizer.clip",
        "optimizer.clip_norm",
        "engine.precision",
        "views.pairing",
    }


def test_loss_of_the_published_recipe_starts_at_four_fifths_of_ln_256():
    """4 T ln(N): 4.44 where all logits are equal."""
    config = published()

    assert config.method.initial_loss(config.engine.batch_size) == pytest.approx(0.8 * math.log(256))


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("moco_v3.vit_small_16.s2rgb.tiny", "vit_nano_8"),
        ("moco_v3.resnet18.s2rgb.tiny", "resnet18"),
        ("moco_v3.resnet50.s2l1c.tiny", "resnet18"),
    ],
)
def test_tiny_form_has_a_network_that_a_cpu_trains(name, network):
    """A small transformer stands for transformers, ResNet-18 for residual networks."""
    assert recipe(name).config().backbone == network
