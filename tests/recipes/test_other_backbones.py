# SPDX-License-Identifier: Apache-2.0
"""Recipes around another network: built by the same builder, or refused with what can be had."""

from __future__ import annotations

import pytest

from ssl4eo.backbones.architectures import ARCHITECTURES, patch_size
from ssl4eo.errors import ConfigInvalid, UnknownName
from ssl4eo.pretraining.config import flatten
from ssl4eo.recipes.table import RECIPES, recipe


def test_size_without_a_row_is_the_same_experiment_around_another_network() -> None:
    """MoCo v3 of S2L2A has no row for ViT-B: nothing but the network differs from that of ViT-S."""
    row = recipe("moco_v3.vit_small_16.s2l2a")

    small, base = (flatten(r.config().to_json()) for r in (row, row.with_backbone("vit_base_16")))

    assert {key for key in small if small[key] != base[key]} == {"backbone"}
    assert base["backbone"] == "vit_base_16"


def test_builder_chooses_what_belongs_to_the_other_network() -> None:
    """DINO has SGD for a residual network, and AdamW for the transformer of the recipe."""
    row = recipe("dino.vit_small_16.s2l1c")

    other = row.with_backbone("resnet18").config()

    assert (row.config().optimizer.name, other.optimizer.name) == ("adamw", "sgd")
    assert other.backbone == "resnet18"


def test_promise_of_one_network_is_not_that_of_another() -> None:
    """Published scores are gone; with its own network nothing changes."""
    row = recipe("moco_v3.vit_small_16.s2l1c")

    assert row.with_backbone("vit_base_16").promise == "with vit_base_16: not yet run, hours unknown"
    assert row.with_backbone("vit_small_16") == row == row.with_backbone(None)


@pytest.mark.parametrize(
    ("name", "backbone", "words"),
    [
        ("mae.vit_small_16.s2l1c", "resnet50", "mae with resnet50"),
        ("data2vec.vit_small_16.s2l1c", "resnet18", "data2vec with resnet18"),
        ("dino.vit_small_16.s2l1c", "vit_huge_14", "image_size is 96"),
        ("moco_v3.vit_small_16.s2l1c.as_published", "resnet50", "patch_embed"),
        ("mae.vit_small_16.s2rgb.tiny", "vit_base_16", "its own network, vit_nano_8"),
        ("data2vec.vit_small_16.s2rgb.tiny", "vit_small_16", "its own network, vit_nano_8"),
        ("moco_v3.resnet18.s2rgb.tiny", "resnet50", "its own network, resnet18"),
    ],
)
def test_network_that_cannot_be_had_is_refused_with_those_that_can(name: str, backbone: str, words: str) -> None:
    """The message says why; every network of its remedy is accepted, and none but those."""
    with pytest.raises(ConfigInvalid) as caught:
        recipe(name).with_backbone(backbone)

    assert words.lower() in str(caught.value).lower()
    named = caught.value.remedy.split("one of ")[1].split(", ")
    assert backbone not in named
    assert [recipe(name).with_backbone(arch).config().backbone for arch in named] == named
    assert tuple(named) == recipe(name).backbones()


def test_unknown_network_is_refused() -> None:
    """As an unknown name, with what is near."""
    with pytest.raises(UnknownName, match="resnet50"):
        recipe("moco_v2.resnet18.s2l1c").with_backbone("resnet500")


def test_every_network_is_had_by_a_recipe_that_is_not_small() -> None:
    """The contrastive methods take each of them but ViT-H in DINO, whose local views are of 96 px."""
    everything = tuple(ARCHITECTURES)

    assert recipe("moco_v2.resnet50.s2l1c").backbones() == everything
    assert recipe("moco_v3.vit_small_16.s2l1c").backbones() == everything
    assert set(everything) - set(recipe("dino.vit_small_16.s2l1c").backbones()) == {"vit_huge_14"}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_built_around_its_own_network(name: str) -> None:
    """Also where it is a small one."""
    assert recipe(name).config().backbone in recipe(name).backbones()


FULL = tuple(name for name in RECIPES if name.startswith(("moco_v2", "moco_v3", "dino")) and not name.endswith(".tiny"))


@pytest.mark.parametrize("name", FULL)
def test_words_of_residual_branches_and_patch_embeddings_are_said_of_networks_that_have_them(name: str) -> None:
    """As the config has it, for the recipe's own network and for any other that it can be built around."""
    for arch in recipe(name).backbones():
        row = recipe(name).with_backbone(arch)
        method, is_transformer = row.config().method, patch_size(arch) is not None

        start = "zero" if getattr(method, "zero_init_last", True) else "one"
        has_branches = hasattr(method, "zero_init_last") and not is_transformer
        assert (f"residual branches start at {start}" in row.differs) is has_branches
        assert row.differs.count("residual branches") == has_branches
        assert ("patch embedding" in row.differs) is (name.startswith("moco_v3") and is_transformer)


def test_words_of_one_network_follow_those_of_any() -> None:
    """Read as one sentence."""
    resnet = "moco_v2.resnet50.s2l1c.as_published"
    moco = "as published: a quarter of the pairs show one season twice, float32"

    assert recipe(resnet).differs == f"{moco}; residual branches start at one"
    assert recipe(resnet).with_backbone("vit_base_16").differs == moco
    assert recipe("moco_v3.resnet50.s2l1c").differs == (
        "gradients are bounded, the rate is per 256 samples, views show different seasons, precision auto for float16; "
        "optimizer, decay and crops are those of transformers (the authors train ResNet-50 with LARS)"
    )


@pytest.mark.parametrize("name", FULL)
def test_precision_is_told_as_the_config_has_it(name: str) -> None:
    """Auto is bf16 on some devices only."""
    row = recipe(name)

    assert "bf16" not in row.differs
    assert ("precision auto for float" in row.differs) is (row.config().engine.precision == "auto")
