# SPDX-License-Identifier: Apache-2.0
"""Networks whose name says what they are: built, adapted, kept and read like those that are listed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import timm
import torch

from ssl4eo.backbones.adapt import with_contract, with_image_size
from ssl4eo.backbones.architectures import (
    ARCHITECTURES,
    BackboneOptions,
    ResNetShape,
    ViTShape,
    name_of_transformer,
    on_meta,
    patch_size,
)
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.levels import level_maps, level_widths
from ssl4eo.checkpoints.backbone_file import load_own, save_backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid, UnknownName

SHAPES = {
    "vit_nano_8": ViTShape(patch=8, dim=192, depth=6, heads=3),
    "vit_tiny_16": ViTShape(patch=16, dim=192, depth=12, heads=3),
    "vit_small_8": ViTShape(patch=8, dim=384, depth=12, heads=6),
    "vit_base_32": ViTShape(patch=32, dim=768, depth=12, heads=12),
    "vit_w256d8h4_4": ViTShape(patch=4, dim=256, depth=8, heads=4),
    "resnet34": ResNetShape("resnet34"),
    "wide_resnet50_2": ResNetShape("wide_resnet50_2"),
}

NO_NETWORKS = [
    "",
    "resnet35",
    "vit_small",
    "vit_giant_14",
    "vit_small_0",
    "vit_small_65",
    "vit_small_16_",
    "vit_small_016",
    "vit_small_\N{ARABIC-INDIC DIGIT EIGHT}",
    "vit_w256d8h3_8",  # heads that do not divide the width
    "vit_w6d2h3_8",  # a width that has no four parts for sines and cosines
    "vit_w0d2h1_8",
    "vit_w48d0h3_8",
    "vit_w16384d2h4_8",
    "vit_w8192d256h128_64",  # 206 billion weights
    "vit_w" + "9" * 5000 + "d2h3_8",
    "vit_base_patch16_224",
    "densenet121",
    "resnet50.a1_in1k",
    "../resnet50",
    "ecaresnet50d_pruned",  # timm builds it in two steps
]

RESIDUAL = ["resnet34", "resnet50_gn", "seresnet18", "resnetblur18", "ecaresnet26t", "resnext50_32x4d", "test_resnet"]
"""Other blocks, norms, poolings and stems."""


@pytest.mark.parametrize("name", SHAPES)
def test_name_says_the_shape(name: str) -> None:
    """Sizes of the literature with any patch, sizes of one's own, names of timm."""
    assert name in ARCHITECTURES
    assert ARCHITECTURES[name] == SHAPES[name]
    assert patch_size(name) == SHAPES[name].patch


@pytest.mark.parametrize("name", NO_NETWORKS)
def test_other_names_are_refused_with_what_there_is(name: str) -> None:
    """The listed ones and how others are named; of sizes of one's own, what they have to be."""
    assert name not in ARCHITECTURES
    words = r"resnet18, .*vit_<size>_<patch> such as vit_small_8, vit_w<width>d<blocks>h<heads>_<patch>"
    if name.startswith("vit_w"):
        words = r"heads that divide the width, a width that is a multiple of 4, .*8192 wide.*2\.5 billion weights"
    with pytest.raises(UnknownName, match=words):
        patch_size(name)


@pytest.mark.parametrize("name", [None, 50, ["resnet50"], {"resnet50": 1}])
def test_what_is_no_text_is_no_name(name: object) -> None:
    """As a file may have it; lists cannot be looked up in sets."""
    assert name not in ARCHITECTURES


def test_names_of_transformers_can_be_told_from_their_shapes() -> None:
    """Of every size of the literature; heads of others nobody can tell."""
    for name in ("vit_nano_8", "vit_tiny_16", "vit_small_8", "vit_base_32", "vit_large_14", "vit_huge_14"):
        shape = ARCHITECTURES[name]
        assert isinstance(shape, ViTShape)
        assert name_of_transformer(shape.patch, shape.dim, shape.depth) == name
    assert name_of_transformer(16, 256, 12) == ""
    assert name_of_transformer(1000, 384, 12) == ""


def test_every_residual_network_of_timm_is_one_of_ours() -> None:
    """Each tells its first layer and its levels as the rest of the library asks for them."""
    names = [name for name in timm.list_models(module="resnet") if not name.endswith("_pruned")]

    assert len(names) > 50
    assert all(ARCHITECTURES[name] == ResNetShape(name) for name in names)
    assert set(names) >= {name for name in ARCHITECTURES if name.startswith("resnet")}


@pytest.mark.parametrize("arch", [*RESIDUAL, "vit_w48d4h3_8", "vit_w48d1h3_8", "vit_w48d3h3_32", "vit_tiny_16"])
def test_levels_are_as_wide_as_announced(arch: str) -> None:
    """Strides of 2 to 32, or of a quarter to two patches; the last level of a residual network is what is pooled."""
    backbone = Backbone(arch, network_input("S2RGB"), image_size=64, seed=0).eval()
    with torch.no_grad():
        maps = level_maps(backbone, images := torch.rand(1, 3, 64, 64))
        pooled = backbone(images)

    assert tuple(m.shape[1] for m in maps) == level_widths(backbone)
    strides = (2, 4, 8, 16, 32) if backbone.patch is None else [int(backbone.patch * s) for s in (0.25, 0.5, 1, 2)]
    assert [64 // m.shape[-1] for m in maps] == list(strides)
    assert pooled.shape == (1, backbone.num_features)
    if backbone.patch is None:
        torch.testing.assert_close(maps[-1].mean(dim=(2, 3)), pooled)


@pytest.mark.parametrize(
    "arch", [*(name for name in RESIDUAL if "50" not in name and "34" not in name), "vit_w48d2h3_8"]
)
def test_network_is_kept_and_adapted_like_any_other(arch: str, tmp_path: Path) -> None:
    """Bit-equal features after saving and loading; new bands of weight zero change nothing."""
    every = network_input("S2L1C")
    some = dataclasses.replace(every, bands=("B04", "B03", "B02"))
    backbone = Backbone(arch, some, image_size=64, seed=0).eval()
    save_backbone(backbone, tmp_path / "a.safetensors", training={})
    loaded = load_own(tmp_path / "a.safetensors").eval()
    wider = with_contract(backbone, every, new_bands="zero").eval()

    images = torch.rand(2, 13, 64, 64)
    with torch.no_grad():
        expected = backbone(images[:, [3, 2, 1]])
        assert torch.equal(loaded(images[:, [3, 2, 1]]), expected)
        torch.testing.assert_close(wider(images), expected, rtol=1e-4, atol=1e-5)
        assert with_image_size(loaded, 96)(torch.rand(1, 3, 96, 96)).shape == (1, backbone.num_features)


def test_a_single_patch_has_no_half() -> None:
    """Its coarsest map is itself."""
    backbone = Backbone("vit_w48d2h3_64", network_input("S2RGB"), image_size=64, seed=0).eval()

    with torch.no_grad():
        maps = level_maps(backbone, torch.rand(1, 3, 64, 64))

    assert [m.shape[-1] for m in maps] == [4, 2, 1, 1]


def test_class_tokens_of_more_blocks_than_there_are_are_refused() -> None:
    """num_features would tell four times a token's width."""
    options = BackboneOptions(pooling="cls_last_4")

    with pytest.raises(ConfigInvalid, match="class tokens of the last 4 blocks of a transformer of 3"):
        Backbone("vit_w48d3h3_8", network_input("S2RGB"), image_size=32, seed=0, options=options)


@pytest.mark.parametrize("arch", ["resnetblur18", "vit_w48d2h3_8"])
def test_adapted_network_keeps_its_type(arch: str) -> None:
    """What lies beside the weights, such as the kernel of a blur, is of their type too."""
    backbone = Backbone(arch, network_input("S2RGB"), image_size=64, seed=0).double().eval()

    with torch.no_grad():
        features = with_image_size(backbone, 48)(torch.rand(1, 3, 48, 48, dtype=torch.float64))

    assert features.dtype == torch.float64


def test_network_of_ones_own_has_as_many_weights_as_its_name_says() -> None:
    """12 w^2 + 13 w a block (Vaswani et al. 2017 with biases and norms), patches, positions, class token, last norm."""
    w, d, bands, patch, size = 48, 2, 3, 8, 64
    net = on_meta("vit_w48d2h3_8", num_bands=bands, image_size=size)

    tokens = (size // patch) ** 2 + 1
    expected = d * (12 * w * w + 13 * w) + (bands * patch * patch + 1) * w + tokens * w + w + 2 * w
    assert sum(p.numel() for p in net.parameters()) == expected
