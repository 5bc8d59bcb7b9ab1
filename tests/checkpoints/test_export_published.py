# SPDX-License-Identifier: Apache-2.0
"""Published full checkpoints of our runs: read as the reference's loaders read theirs, and back into our methods."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import pytest
import timm
import torch
from export_networks import features

from ssl4eo.checkpoints.export import export
from ssl4eo.checkpoints.export.published import name_there
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.checkpoints.published_keys import from_published, to_published
from ssl4eo.checkpoints.training_state import TrainingState, save_state
from ssl4eo.commands.checkpoints_export import run_export
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, DataMissing, TargetExists
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.step import build_method
from ssl4eo.recipes.table import recipe

RECIPES = {
    "moco_v2": "moco_v2.resnet18.s2rgb.tiny",
    "moco_v3": "moco_v3.vit_small_16.s2rgb.tiny",
    "dino": "dino.vit_small_16.s2rgb.tiny",
    "dino_resnet": "dino.resnet18.s2rgb.tiny",
    "mae": "mae.vit_small_16.s2rgb.tiny",
    "data2vec": "data2vec.vit_small_16.s2rgb.tiny",
}
NUM_ITEMS, STEPS = 1000, 17


def config_of(kind: str) -> PretrainConfig:
    """Give a small recipe with 5 steps an epoch."""
    config = recipe(RECIPES[kind]).config()
    method = dataclasses.replace(config.method, queue_size=1000) if kind == "moco_v2" else config.method
    return dataclasses.replace(config, method=method, engine=dataclasses.replace(config.engine, batch_size=200))


@pytest.fixture(scope="module", params=RECIPES)
def run(request, tmp_path_factory):
    """A run in progress after 3 epochs and 2 steps: its kind, its method, its folder."""
    config = config_of(request.param)
    method = build_method(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for value in method.state_dict().values():
            if value.is_floating_point():
                value.add_(0.02 * torch.rand(value.shape, generator=generator))
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "checkpoints").mkdir()
    save_state(folder, TrainingState(STEPS, config.to_json(), {"num_items": NUM_ITEMS}, method.state_dict(), {}))
    return request.param, method, folder


def read(path: Path) -> dict:
    """Read a published file safely: tensors, plain containers and a Namespace."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(path, weights_only=True)


def under(keys: dict, prefix: str, *, without: tuple[str, ...] = ()) -> dict:
    """Take the keys with a prefix, as the reference's loaders do, and leave its heads out."""
    found = {k[len(prefix) :]: v for k, v in keys.items() if k.startswith(prefix)}
    return {k: v for k, v in found.items() if not k.startswith(without)}


def backbone_as_the_reference_takes_it(kind: str, file: dict) -> dict:
    """Extract the backbone of a published container by the rule of its family."""
    if kind == "moco_v2":
        return under(file["state_dict"], "module.encoder_q.", without=("fc.",))
    if kind == "moco_v3":
        return under(file["state_dict"], "module.base_encoder.", without=("head.",))
    if kind == "dino":
        return under(file["teacher"], "backbone.")
    if kind == "dino_resnet":
        return under(file["teacher"], "module.backbone.")
    left_out = ("decoder_", "mask_token", "lm_head.", "rel_pos_bias.relative_position_index")
    return under(file["model"], "", without=left_out)


def test_reference_loaders_find_the_backbone(run, tmp_path: Path) -> None:
    """What their rule takes out of our file loads strictly into timm's network and gives our features."""
    kind, method, folder = run
    backbone = method.backbone
    export(folder, "published", tmp_path / "a.pth")

    weights = backbone_as_the_reference_takes_it(kind, read(tmp_path / "a.pth"))

    sizes = {"in_chans": 3, "num_classes": 0, "embed_dim": 192, "depth": 6, "num_heads": 3, "patch_size": 8}
    sizes["img_size"] = backbone.image_size
    if kind == "data2vec":
        shared = {"use_abs_pos_emb": False, "use_shared_rel_pos_bias": True, "init_values": 1e-4}
        network = timm.models.beit.Beit(**sizes, **shared, global_pool="token")
    elif backbone.patch is None:
        network = timm.create_model("resnet18", in_chans=3, num_classes=0)
    else:
        network = timm.create_model("vit_small_patch16_224", **sizes)
    network.load_state_dict(weights, strict=True)
    images = torch.rand(2, 3, backbone.image_size, backbone.image_size)
    with torch.no_grad():
        tokens = network.eval().forward_features(images)
        found = tokens[:, 1:].mean(1) if backbone.options.pooling == "mean" else network.forward_head(tokens)
    torch.testing.assert_close(found, features(backbone, images), rtol=1e-5, atol=1e-5)


def test_everything_comes_back_into_our_method(run, tmp_path: Path) -> None:
    """From the file into a fresh method, strictly, bit by bit."""
    kind, method, folder = run
    export(folder, "published", tmp_path / "a.pth")

    mapped = from_published(kind.partition("_resnet")[0], read(tmp_path / "a.pth"))

    state = method.state_dict()
    assert mapped.values.keys() == state.keys()
    assert all(torch.equal(mapped.values[key], value) for key, value in state.items())


def test_our_loader_knows_what_it_was_fed(run, tmp_path: Path) -> None:
    """Three bands may be any and weights tell no size of a residual network: the record beside the file does."""
    kind, method, folder = run
    export(folder, "published", tmp_path / "a.pth")

    again = load_backbone(tmp_path / "a.pth")

    config = config_of(kind)
    assert (again.contract, again.image_size) == (config.contract, config.image_size)
    trained = method.backbone.state_dict()
    assert all(torch.equal(value, trained[k]) for k, value in again.state_dict().items() if "fc_norm" not in k)


TOP_LEVEL = {
    "moco_v2": {"epoch": 3, "arch": "resnet18"},
    "moco_v3": {"epoch": 3},
    "dino": {"epoch": 3, "args": ...},
    "dino_resnet": {"epoch": 3, "args": ...},
    "mae": {"epoch": 2, "args": ...},
    "data2vec": {"epoch": 2, "args": ...},
}
"""Beside the weights: MoCo and DINO count the epochs that are done, MAE and data2vec number the last one from 0."""


def test_container_has_the_published_top_level(run, tmp_path: Path) -> None:
    """Epochs as each family counts them, options as a Namespace; an optimizer is told as missing, not made up."""
    kind, _, folder = run
    exported = export(folder, "published", tmp_path / "a.pth")

    file = read(tmp_path / "a.pth")

    for name, value in TOP_LEVEL[kind].items():
        assert file[name] == value if value is not ... else isinstance(file[name], argparse.Namespace)
    assert "optimizer" not in file
    assert "optimizer" in exported.written.absent
    record = json.loads((tmp_path / "a.pth.json").read_text())
    assert (record["step"], record["epochs_done"]) == (STEPS, 3)
    assert record["config"]["recipe"] == RECIPES[kind]


@pytest.mark.parametrize("kind", ["mae", "data2vec"])
def test_computed_tables_are_those_of_the_network(kind: str) -> None:
    """The decoder's positions are our decoder's; the index is the one that timm's network uses."""
    method = build_method(config_of(kind))

    model = to_published(kind, method.state_dict()).values["model"]

    if kind == "mae":
        assert torch.equal(model["decoder_pos_embed"][0], method.decoder.positions)
    else:
        index = method.backbone.net.rel_pos_bias.relative_position_index
        assert torch.equal(model["rel_pos_bias.relative_position_index"], index)


def test_sources_that_are_no_runs_are_refused(tmp_path: Path) -> None:
    """A backbone has no heads; an empty run has no checkpoint."""
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for source in ("random.resnet18.s2rgb", tmp_path / "run", tmp_path / "absent"):
        with pytest.raises(DataMissing, match=r"no checkpoint of a run.*--form timm"):
            export(source, "published", tmp_path / "a.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_state_that_does_not_tell_its_epochs_is_refused(tmp_path: Path) -> None:
    """Nothing is guessed."""
    method = build_method(config_of("moco_v2")).state_dict()
    (tmp_path / "checkpoints").mkdir()
    save_state(tmp_path, TrainingState(4, {"engine": {"batch_size": 8}}, {}, method, {}))

    with pytest.raises(CheckpointInvalid, match="does not tell its epochs"):
        export(tmp_path, "published", tmp_path / "a.pth")


def test_method_without_a_published_form_is_refused(tmp_path: Path) -> None:
    """MoCo v2 around a transformer."""
    config = recipe("moco_v2.resnet18.s2rgb.tiny").with_backbone("vit_nano_8").config()
    (tmp_path / "checkpoints").mkdir()
    state = build_method(config).state_dict()
    save_state(tmp_path, TrainingState(4, config.to_json(), {"num_items": 1000}, state, {}))

    with pytest.raises(ConfigInvalid, match="moco_v2 around a transformer"):
        export(tmp_path, "published", tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("method", "arch", "there"),
    [
        ("dino", "vit_small_8", "vit_small"),
        ("dino", "vit_tiny_16", "vit_tiny"),
        ("dino", "vit_large_16", None),
        ("dino", "vit_w384d12h6_16", None),
        ("dino", "resnet50", "resnet50"),
        ("moco_v3", "vit_base_16", "vit_base"),
        ("moco_v3", "vit_small_8", None),
        ("mae", "vit_huge_14", "mae_vit_huge_patch14"),
        ("mae", "vit_tiny_16", None),
        ("data2vec", "vit_small_16", "beit_small_patch16_224"),
        ("moco_v2", "wide_resnet50_2", "wide_resnet50_2"),
        ("moco_v2", "seresnet50", None),
    ],
)
def test_reference_builds_what_its_scripts_have(method: str, arch: str, there: str | None) -> None:
    """DINO's script takes any patch beside the name of a size, the others one; torchvision's networks by their name."""
    assert name_there(method, arch) == there


@pytest.mark.parametrize(
    ("backbone", "arch", "note"),
    [
        ("vit_tiny_8", "vit_tiny", None),
        ("vit_nano_8", "vit_nano_8", "the reference's dino has no vit_nano_8"),
    ],
)
def test_options_name_the_network_as_the_reference_does(
    backbone: str, arch: str, note: str | None, tmp_path: Path
) -> None:
    """With its patch beside it; a network that it lacks keeps our name and is told."""
    config = dataclasses.replace(config_of("dino"), backbone=backbone)
    (tmp_path / "checkpoints").mkdir()
    state = build_method(config).state_dict()
    save_state(tmp_path, TrainingState(4, config.to_json(), {"num_items": 1000}, state, {}))

    told = export(tmp_path, "published", tmp_path / "a.pth").written.notes

    args = read(tmp_path / "a.pth")["args"]
    assert (args.arch, args.patch_size) == (arch, 8)
    assert [line for line in told if "has no" in line] == ([note] if note else [])


def test_command_tells_what_is_there_and_what_is_not(run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """In words and as JSON; a second export under the name is refused."""
    kind, _, folder = run

    assert run_export(str(folder), "published", tmp_path / "a.pth") == 0
    words = capsys.readouterr().out
    assert run_export(str(folder), "published", tmp_path / "b.pth", json=True) == 0
    facts = json.loads(capsys.readouterr().out)

    assert "left out  optimizer: a published file has it" in words
    assert f"wrote     {tmp_path / 'a.pth'}" in words
    assert [Path(file["path"]).name for file in facts["files"]] == ["b.pth", "b.pth.json"]
    assert ("made   " in words) == (kind in ("mae", "data2vec")) == bool(facts["made"])
    assert len(facts["notes"]) >= 2
    with pytest.raises(TargetExists):
        run_export(str(folder), "published", tmp_path / "a.pth")
