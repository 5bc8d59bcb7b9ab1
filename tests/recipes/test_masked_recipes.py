# SPDX-License-Identifier: Apache-2.0
"""Recipes of MAE and data2vec: what was published, what is corrected, what is small."""

from __future__ import annotations

import pytest

from ssl4eo.recipes.table import RECIPES, recipe

MASKED = [name for name in RECIPES if name.startswith(("mae.", "data2vec."))]


@pytest.mark.parametrize("name", MASKED)
def test_recipe_resolves_and_fits_together(name):
    """The config checks itself when it is made; it hides some patches of one view."""
    config = recipe(name).config()

    masking = config.method.masking(config.setting)
    assert 0 < masking.num_masked < masking.grid**2
    assert recipe(name).promise


def test_all_published_rows_are_there():
    """MAE S, B, L, H on 13 bands and on S1; data2vec S on 13 bands: corrected and as published."""
    rows = [f"mae.vit_{s}.{m}" for s in ("small_16", "base_16", "large_16", "huge_14") for m in ("s2l1c", "s1grd")]

    for name in (*rows, "data2vec.vit_small_16.s2l1c"):
        assert {name, f"{name}.as_published"} <= RECIPES.keys()


def test_mae_hides_as_many_as_published():
    """138 of 196, and 180 of the 256 of ViT-H/14; 200 epochs for that one, 100 for the others."""
    for name, hidden, epochs in (("vit_small_16", 138, 100), ("vit_large_16", 138, 100), ("vit_huge_14", 180, 200)):
        for form in ("", ".as_published"):
            config = recipe(f"mae.{name}.s2l1c{form}").config()
            assert config.method.masking(config.setting).num_masked == hidden
            assert config.engine.epochs == epochs
            assert config.optimizer.peak(config.engine.batch_size) == pytest.approx(1.5e-4)


def test_mae_differs_from_the_published_run_in_targets_feature_and_precision():
    """All else is equal."""
    ours, theirs = (recipe(f"mae.vit_small_16.s2l1c{form}").config() for form in ("", ".as_published"))

    assert (ours.method.norm_pixels, theirs.method.norm_pixels) == ("band", "patch")
    assert (ours.method.pooling, theirs.method.pooling) == ("mean", "cls")
    assert (ours.views, ours.optimizer, ours.schedule) == (theirs.views, theirs.optimizer, theirs.schedule)


def test_data2vec_hides_exactly_120_and_its_teacher_is_slow():
    """0.9998 throughout as published, from 0.999 on while the learning rate warms up in the corrected form."""
    ours, theirs = (recipe(f"data2vec.vit_small_16.s2l1c{form}").config() for form in ("", ".as_published"))

    for config in (ours, theirs):
        assert config.method.masking(config.setting).num_masked == 120
        assert config.method.momentum(50.0) == 0.9998
    assert theirs.method.momentum(0.0) == 0.9998
    assert ours.method.momentum(0.0) == 0.999


@pytest.mark.parametrize("name", [name for name in MASKED if name.endswith(".tiny")])
def test_tiny_forms_have_64_patches(name):
    """vit_nano_8 at 64 px."""
    config = recipe(name).config()

    assert config.backbone == "vit_nano_8"
    assert config.method.masking(config.setting).grid == 8
