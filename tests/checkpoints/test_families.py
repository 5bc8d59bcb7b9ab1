# SPDX-License-Identifier: Apache-2.0
"""What is around the keys of a file, which encoder of several is taken, and TorchGeo's own checkpoints."""

from __future__ import annotations

import logging

import pytest
import torch
from published_files import beit, data2vec, dino, encoder, mae, moco_v2, put, torchgeo

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.families import encoder_of, find_state
from ssl4eo.checkpoints.foreign import read_foreign
from ssl4eo.checkpoints.inspection import inspect
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import CheckpointInvalid


def assert_loads(path, net):
    """Every weight of a network is in the backbone that a file gives."""
    loaded = load_backbone(path).net.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module._orig_mod.", "module.module.", "model.", "backbone.", "encoder.", "net.", "model.backbone."],
)
@pytest.mark.parametrize("level", ["state_dict", None])
def test_what_is_around_every_key_is_taken_off_and_told(prefix, level, tmp_path):
    """torch.compile, DataParallel twice, Lightning: one around another."""
    net = encoder("resnet18", 13)
    state = put(prefix, net)
    torch.save(state if level is None else {level: state}, tmp_path / "a.pth")

    assert_loads(tmp_path / "a.pth", net)
    report = read_foreign(tmp_path / "a.pth").report
    assert "".join(report.stripped) == prefix
    assert f"without {prefix} before their keys" in report.summary()
    assert [line.split()[1] for line in report.lines() if line.startswith("stripped")] == list(report.stripped)


def test_families_are_found_inside_what_is_around_them(tmp_path):
    """MoCo v2 compiled, MAE in Lightning, and the state of a Backbone of ours."""
    net, vit = encoder("resnet18", 13), encoder("vit_small_16", 13)
    moco = moco_v2(net, 512)
    moco["state_dict"] = {f"module._orig_mod.{k.removeprefix('module.')}": v for k, v in moco["state_dict"].items()}
    torch.save(moco, tmp_path / "moco.pth")
    masked = mae(vit, 384, 13, 16, 196)["model"]
    torch.save({"state_dict": {f"model.{k}": v for k, v in masked.items()}, "epoch": 1}, tmp_path / "mae.pth")
    ours = Backbone("resnet18", network_input("S2L1C"), image_size=64, seed=0)
    torch.save(ours.state_dict(), tmp_path / "ours.pth")

    for name, kept, family in (("moco", net, "moco_v2"), ("mae", vit, "mae"), ("ours", ours.net, "flat")):
        assert_loads(tmp_path / f"{name}.pth", kept)
        assert read_foreign(tmp_path / f"{name}.pth").report.family == family


def test_prefix_that_only_some_keys_have_stays_and_is_named(tmp_path):
    """Lightning beside a criterion of its own: which keys there are, by their beginnings."""
    state = put("model.", encoder("resnet18", 13)) | {"criterion.weight": torch.zeros(3)}
    torch.save({"state_dict": state}, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=r"121 keys of state_dict begin with model\. \(120\), crit"):
        load_backbone(tmp_path / "a.pth")


def test_keys_of_no_family_are_named_behind_what_was_taken_off(tmp_path):
    """Swin in DataParallel and Lightning."""
    state = {f"module.model.{name}": torch.zeros(2) for name in ("layers.0.a", "layers.0.b", "norm.weight")}
    torch.save(state, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=r"3 keys begin with module\.model\., then layers\. \(2\), norm"):
        load_backbone(tmp_path / "a.pth")


@pytest.mark.parametrize("momentum", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_lightning_checkpoints_of_torchgeo_are_a_family(momentum, nested, tmp_path):
    """MoCoTask and SimCLRTask, as the trainer saves them and as `task.state_dict()`."""
    net = encoder("resnet18", 13)
    content = torchgeo(net, 512, momentum=momentum)
    torch.save(content if nested else content["state_dict"], tmp_path / "a.pth")

    assert_loads(tmp_path / "a.pth", net)
    report = read_foreign(tmp_path / "a.pth").report
    assert (report.family, len(report.used), report.unexpected) == ("torchgeo", 120, ())
    assert ("momentum encoder" in report.dropped.values()) == momentum


def test_tasks_of_the_installed_torchgeo_have_no_other_keys():
    """Every key of them is the encoder's or left out by name."""
    trainers = pytest.importorskip("torchgeo.trainers")

    for task, momentum in ((trainers.MoCoTask, True), (trainers.SimCLRTask, False)):
        state = task(model="resnet18", in_channels=13).state_dict()
        weights, report = encoder_of(find_state({"state_dict": state}, "file"))
        assert (report.family, len(weights), report.unexpected) == ("torchgeo", 120, ())
        assert {key.split(".")[0] for key in report.dropped} >= {"projection_head"}
        assert any(key.startswith("backbone_momentum.") for key in report.dropped) == momentum


@pytest.mark.parametrize(
    ("content", "others"),
    [
        (lambda: {name: encoder("resnet18", 13).state_dict() for name in ("model", "model_ema")}, 1),
        (lambda: dino(encoder("vit_small_16", 13), 384, parallel=False), 1),
        (lambda: data2vec(beit(13)), 1),
        (lambda: encoder("resnet18", 13).state_dict() | {"ema": put("module.", encoder("resnet18", 13))}, 1),
        (lambda: moco_v2(encoder("resnet18", 13), 512), 0),
    ],
)
def test_encoder_that_is_not_taken_is_named(content, others, tmp_path, caplog):
    """In the report, by looking into the file and when it is loaded: average, student."""
    torch.save(content(), tmp_path / "a.pth")

    with caplog.at_level(logging.INFO):
        load_backbone(tmp_path / "a.pth")
    report = read_foreign(tmp_path / "a.pth").report

    assert len(report.others) == others
    for name in report.others:
        assert name in ("model_ema", "student", "ema")
        assert f"another encoder lies in {name}" in caplog.text
        assert f"other       {name} (an encoder too, not taken)" in report.lines()
        assert inspect(tmp_path / "a.pth").report.others == report.others


def test_values_that_are_no_tensors_are_reported(tmp_path, caplog):
    """Among the keys of an encoder: left out for a reason, and said."""
    path = tmp_path / "a.pth"
    torch.save(encoder("resnet18", 13).state_dict() | {"foo": [1, 2], "epoch": 7}, path)

    with caplog.at_level(logging.INFO):
        load_backbone(path)

    assert "1 of the value of type list, no tensor" in caplog.text
    report = read_foreign(path).report
    assert report.dropped["foo"] == "value of type list, no tensor"
    assert not report.unexpected
