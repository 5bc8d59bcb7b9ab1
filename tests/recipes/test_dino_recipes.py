# SPDX-License-Identifier: Apache-2.0
"""Recipes of DINO: the published values, what differs from them, crops that fit the network."""

from __future__ import annotations

import dataclasses

import pytest

from ssl4eo.errors import ConfigInvalid
from ssl4eo.recipes.dino import recipes
from ssl4eo.recipes.table import recipe


@pytest.mark.parametrize("row", recipes(), ids=lambda row: row.name)
def test_recipe_is_complete(row):
    """Each builds, is found under its name, and says whether it was run."""
    config = row.config()

    assert recipe(row.name) == row
    assert config.recipe == row.name
    assert config.modality == row.modality
    assert "run" in row.promise or "commit" in row.promise


def test_published_transformer_has_the_published_values():
    """Script of the published run: optimizer, schedules, crops."""
    config = recipe("dino.vit_small_16.s2l1c.as_published").config()
    optimizer, schedule, views = config.optimizer, config.schedule, config.views

    assert (optimizer.name, optimizer.peak(256), optimizer.peak(512)) == ("adamw", 1.5e-4, 3e-4)
    assert (optimizer.decay(0.0), optimizer.decay(1.0)) == pytest.approx((0.04, 0.4))
    assert (optimizer.clip, optimizer.clip_norm, optimizer.decay_all) == ("parameter", 3.0, False)
    assert schedule.factor(999_999, num_steps=1_000_000, steps_per_epoch=10_000) * 1.5e-4 == pytest.approx(1e-6)
    assert schedule.factor(100_000, num_steps=1_000_000, steps_per_epoch=10_000) == 1.0
    assert [v.size for v in views.views] == [224, 224, *[96] * 8]
    assert [v.scale for v in views.views] == [(0.4, 1.0)] * 2 + [(0.05, 0.4)] * 8
    assert [v.blur_probability for v in views.views] == [1.0, 0.1, *[0.5] * 8]
    assert (config.method.out_dim, config.method.hidden, config.method.bottleneck) == (65_536, 2048, 256)


def test_published_resnet_differs_in_optimizer_and_crops():
    """SGD 0.03 with constant decay, and crops that do not overlap in scale."""
    config = recipe("dino.resnet50.s2l1c.as_published").config()

    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.momentum) == ("sgd", 0.03, 0.9)
    assert (config.optimizer.decay(0.0), config.optimizer.decay(1.0)) == (1e-4, 1e-4)
    assert (config.views.first.scale, config.views.local.scale) == ((0.14, 1.0), (0.05, 0.14))


@pytest.mark.parametrize("backbone", ["vit_small_16", "resnet50"])
def test_corrected_differs_in_solarization_seasons_branches_and_precision_alone(backbone):
    """What was a defect is corrected, choices stay."""
    published = recipe(f"dino.{backbone}.s2l1c.as_published").config()
    corrected = recipe(f"dino.{backbone}.s2l1c").config()

    first, second = published.views.first.photometric, published.views.second.photometric
    assert (first.solarize_probability, second.solarize_probability) == (0.0, 0.2)
    assert (second.solarize_dark, corrected.views.second.photometric.solarize_dark) == (True, False)
    assert (published.views.pairing, corrected.views.pairing) == ("augment", "distinct")
    second = dataclasses.replace(corrected.views.second, photometric=second)
    same = dataclasses.replace(
        corrected,
        recipe=published.recipe,
        method=dataclasses.replace(corrected.method, zero_init_last=backbone != "resnet50"),
        views=dataclasses.replace(corrected.views, pairing="augment", second=second),
        engine=dataclasses.replace(corrected.engine, precision="16-mixed"),
    )
    assert same == published


@pytest.mark.parametrize(("backbone", "size"), [("vit_small_16", 100), ("resnet50", 24)])
def test_local_crops_that_the_network_cannot_see_are_refused(backbone, size):
    """Every view must fit the patches, or survive five halvings, not only the first."""
    config = recipe(f"dino.{backbone}.s2l1c").config()
    views = dataclasses.replace(config.views, local=dataclasses.replace(config.views.local, size=size))

    with pytest.raises(ConfigInvalid, match=f"image_size is {size}"):
        dataclasses.replace(config, views=views)
