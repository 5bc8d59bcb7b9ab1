# SPDX-License-Identifier: Apache-2.0
"""Our key names beside the published ones: counts and shapes of full-size methods, both directions, refusals."""

from __future__ import annotations

import pytest
import torch

from ssl4eo.checkpoints.published_keys import LAYOUTS, METHODS, from_published, method_of, to_published
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, UnknownName
from ssl4eo.pretraining.step import build_method
from ssl4eo.recipes.table import recipe

FULL_SIZE = {
    "moco_v2.resnet50.s2l1c.as_published": {
        "state_dict": (
            646,
            {
                "module.encoder_q.conv1.weight": (64, 13, 7, 7),
                "module.encoder_q.fc.0.weight": (2048, 2048),
                "module.encoder_q.fc.2.weight": (128, 2048),
                "module.encoder_k.fc.2.bias": (128,),
                "module.queue": (128, 65536),
                "module.queue_ptr": (1,),
            },
        )
    },
    "moco_v2.resnet18.s2rgb.as_published": {
        "state_dict": (
            250,
            {
                "module.encoder_k.conv1.weight": (64, 3, 7, 7),
                "module.encoder_q.fc.0.weight": (512, 512),
                "module.encoder_q.fc.2.weight": (128, 512),
            },
        )
    },
    "moco_v3.vit_small_16.s2l1c.as_published": {
        "state_dict": (
            342,
            {
                "module.base_encoder.patch_embed.proj.weight": (384, 13, 16, 16),
                "module.base_encoder.pos_embed": (1, 197, 384),
                "module.base_encoder.head.0.weight": (4096, 384),
                "module.base_encoder.head.3.weight": (4096, 4096),
                "module.base_encoder.head.6.weight": (256, 4096),
                "module.momentum_encoder.head.7.running_mean": (256,),
                "module.predictor.0.weight": (4096, 256),
                "module.predictor.3.weight": (256, 4096),
            },
        )
    },
    "dino.vit_small_16.s2l1c.as_published": {
        "teacher": (
            158,
            {
                "backbone.pos_embed": (1, 197, 384),
                "head.mlp.0.weight": (2048, 384),
                "head.mlp.2.weight": (2048, 2048),
                "head.mlp.4.weight": (256, 2048),
                "head.last_layer.weight_g": (65536, 1),
                "head.last_layer.weight_v": (65536, 256),
            },
        ),
        "student": (158, {"module.backbone.cls_token": (1, 1, 384), "module.head.mlp.0.bias": (2048,)}),
        "dino_loss": (1, {"center": (1, 65536)}),
    },
    "dino.resnet50.s2l1c.as_published": {
        "teacher": (
            326,
            {"module.backbone.conv1.weight": (64, 13, 7, 7), "module.head.mlp.0.weight": (2048, 2048)},
        ),
        "student": (326, {"module.backbone.layer4.2.bn3.weight": (2048,)}),
        "dino_loss": (1, {}),
    },
    "mae.vit_small_16.s2l1c.as_published": {
        "model": (
            254,
            {
                "decoder_embed.weight": (512, 384),
                "decoder_pred.weight": (3328, 512),
                "decoder_pos_embed": (1, 197, 512),
                "mask_token": (1, 1, 512),
                "decoder_blocks.7.mlp.fc2.bias": (512,),
                "decoder_norm.weight": (512,),
            },
        )
    },
    "mae.vit_large_16.s1grd.as_published": {
        "model": (398, {"decoder_pred.weight": (512, 512), "patch_embed.proj.weight": (1024, 2, 16, 16)})
    },
    "mae.vit_huge_14.s2l1c.as_published": {
        "model": (494, {"pos_embed": (1, 257, 1280), "decoder_pred.weight": (2548, 512)})
    },
    "data2vec.vit_small_16.s2l1c.as_published": {
        "model": (
            190,
            {
                "rel_pos_bias.relative_position_bias_table": (732, 6),
                "rel_pos_bias.relative_position_index": (197, 197),
                "blocks.11.gamma_1": (384,),
                "blocks.0.attn.q_bias": (384,),
                "blocks.0.attn.v_bias": (384,),
                "blocks.0.attn.qkv.weight": (1152, 384),
                "blocks.0.mlp.fc1.weight": (1536, 384),
                "mask_token": (1, 1, 384),
                "lm_head.weight": (384, 384),
                "norm.weight": (384,),
            },
        ),
        "model_ema": (187, {"cls_token": (1, 1, 384)}),
    },
}
"""Recipe -> part -> number of tensors and some shapes, as counted in files and networks of the reference."""

ADDED = ("decoder_pos_embed", "rel_pos_bias.relative_position_index")


def full_size(name: str) -> dict[str, torch.Tensor]:
    """Give the state of a full-size method without memory for its weights."""
    with torch.device("meta"):
        return build_method(recipe(name).config()).state_dict()


def small(name: str) -> dict[str, torch.Tensor]:
    """Give a state whose tensors all differ, with the keys of a full-size method: each is cut to two per axis."""
    state = full_size(name)
    generator = torch.Generator().manual_seed(0)
    tables = ("pos_embed", "mask_token", "relative_position_bias_table")  # sizes that constants are computed from
    shapes = {k: v.shape if k.endswith(tables) else tuple(min(2, n) for n in v.shape) for k, v in state.items()}
    return {k: torch.randn(shape, generator=generator) for k, shape in shapes.items()}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_methods_have_the_published_keys_and_shapes(name: str) -> None:
    """Number of tensors of each part and the shapes that tell networks apart."""
    state = full_size(name)

    found = to_published(name.split(".", maxsplit=1)[0], state).values

    assert {part: len(keys) for part, keys in found.items()} == {p: count for p, (count, _) in FULL_SIZE[name].items()}
    for part, (_, shapes) in FULL_SIZE[name].items():
        assert {key: tuple(found[part][key].shape) for key in shapes} == shapes


@pytest.mark.parametrize("name", [*FULL_SIZE, "moco_v3.resnet50.s2l1c"])
def test_every_key_of_ours_is_used_once_and_comes_back(name: str) -> None:
    """There and back is the same state bit by bit; nothing is dropped on the way out, only constants on the way in."""
    method, state = name.split(".", maxsplit=1)[0], small(name)

    there = to_published(method, state)
    back = from_published(method, there.values)

    assert there.dropped == ()
    assert sum(map(len, there.values.values())) == len(state) + len(there.made)
    assert back.dropped == there.made
    assert all(key.endswith(ADDED) for key in there.made)
    assert back.values.keys() == state.keys()
    assert all(torch.equal(back.values[key], value) for key, value in state.items())


@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_state_tells_its_method(name: str) -> None:
    """Each method has a key that no other has."""
    assert method_of(full_size(name)) == name.split(".", maxsplit=1)[0]


def test_states_of_no_method_are_refused() -> None:
    """A backbone alone is none."""
    with pytest.raises(CheckpointInvalid, match="no known method"):
        method_of({"backbone.net.conv1.weight": torch.zeros(1)})


def test_every_method_has_a_layout() -> None:
    """The five."""
    assert set(METHODS) == {"moco_v2", "moco_v3", "dino", "mae", "data2vec"}
    for layout in LAYOUTS.values():
        prefixes = [(rule.part, rule.published) for rule in layout.rules]
        assert len(set(prefixes)) == len(prefixes)


def test_projector_of_a_residual_network_stands_in_place_of_its_classifier() -> None:
    """MoCo v3 calls it fc there, head in a transformer."""
    parts = to_published("moco_v3", small("moco_v3.resnet50.s2l1c")).values

    assert "module.base_encoder.fc.0.weight" in parts["state_dict"]
    assert not any(".head." in key for key in parts["state_dict"])


def test_only_prefixes_are_exchanged() -> None:
    """A name that has `module.` or `backbone.` in its middle keeps it."""
    teacher = {"module.backbone.conv1.weight": torch.zeros(1), "module.backbone.module.backbone.x": torch.ones(1)}

    found = from_published("dino", {"teacher": teacher})

    assert set(found.values) == {"backbone.net.conv1.weight", "backbone.net.module.backbone.x"}


def test_what_is_not_ours_is_listed() -> None:
    """Optimizer, epoch, and the average's copies of head and mask token."""
    published = to_published("data2vec", small("data2vec.vit_small_16.s2l1c")).values
    published["model_ema"] |= {"mask_token": torch.zeros(1, 1, 384), "lm_head.weight": torch.zeros(2, 2)}

    found = from_published("data2vec", published | {"optimizer": {}, "epoch": 99, "args": object()})

    assert {"optimizer", "epoch", "args", "model_ema/mask_token", "model_ema/lm_head.weight"} <= set(found.dropped)


def test_a_part_that_is_missing_leaves_its_keys_missing() -> None:
    """Nothing is made up for a teacher that the file lacks: strict loading will say so."""
    published = to_published("data2vec", small("data2vec.vit_small_16.s2l1c")).values
    del published["model_ema"]

    assert not any(key.startswith("teacher.") for key in from_published("data2vec", published).values)


def test_unknown_keys_of_ours_are_refused() -> None:
    """A state of a later version is not half translated."""
    with pytest.raises(CheckpointInvalid, match=r"1 keys of moco_v2 have no published name \(extra.weight\)"):
        to_published("moco_v2", small("moco_v2.resnet18.s2l1c") | {"extra.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("patch_embed.proj", "moco_v2 around a transformer"),
        ("conv1.0", "moco_v2 around a resnet with a stem of several layers"),
    ],
)
def test_method_around_a_network_that_nobody_published_is_refused(layer: str, words: str) -> None:
    """MoCo v2 was published around residual networks whose stem is one convolution."""
    state = {f"backbone.net.{layer}.weight": torch.zeros(1), "queue.keys": torch.zeros(1, 1)}

    with pytest.raises(ConfigInvalid, match=words):
        to_published("moco_v2", state)
    with pytest.raises(CheckpointInvalid, match="without a network"):
        to_published("moco_v2", {"queue.keys": torch.zeros(1, 1)})


def test_file_of_another_method_is_refused() -> None:
    """The message says which key was looked for."""
    published = to_published("mae", small("mae.vit_small_16.s2l1c")).values

    with pytest.raises(CheckpointInvalid, match=r"without a network of moco_v2.*state_dict/module\.encoder_q\.conv1"):
        from_published("moco_v2", published)
    with pytest.raises(CheckpointInvalid, match="nothing without a network"):
        from_published("mae", {})


def test_values_that_are_no_tensors_are_refused() -> None:
    """A part with text in it is damaged."""
    published = to_published("mae", small("mae.vit_small_16.s2l1c")).values
    published["model"]["norm.bias"] = "text"

    with pytest.raises(CheckpointInvalid, match=r"model/norm\.bias is a str"):
        from_published("mae", published)


@pytest.mark.parametrize("name", ["mae.vit_small_16.s2l1c", "data2vec.vit_small_16.s2l1c"])
def test_another_table_of_positions_is_refused(name: str) -> None:
    """It would be dropped, and the network would be another one."""
    method = name.split(".", maxsplit=1)[0]
    published = to_published(method, small(name)).values
    key = next(k for k in published["model"] if k.endswith(ADDED))
    published["model"][key] = published["model"][key] + 1

    with pytest.raises(CheckpointInvalid, match="not the table that this version computes"):
        from_published(method, published)


@pytest.mark.parametrize("call", [to_published, from_published])
def test_unknown_methods_are_refused(call) -> None:
    """With the nearest name."""
    with pytest.raises(UnknownName, match=r"no method is called .moco_v1.; expected one of moco_v2"):
        call("moco_v1", {})
