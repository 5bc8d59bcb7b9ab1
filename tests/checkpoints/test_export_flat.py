# SPDX-License-Identifier: Apache-2.0
"""Flat exports: timm, torchvision and TorchGeo build the network, load strictly, and give our features."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import timm
import torch
from export_networks import TRAINING, features, kept, looks_trained, scaled, small

from ssl4eo.backbones.architectures import on_meta
from ssl4eo.checkpoints.export import export
from ssl4eo.checkpoints.export.torchvision import CONSTRUCTORS
from ssl4eo.contract import contract_from_json, network_input
from ssl4eo.errors import ConfigInvalid, DataMissing, TargetExists, UnknownName, WriteFailed


def build(record: dict) -> torch.nn.Module:
    """Call the constructor that a record names, with its arguments."""
    module, name = record["constructor"].rsplit(".", 1)
    return getattr(importlib.import_module(module), name)(**record["arguments"])


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Read a flat export and its record."""
    return torch.load(path, weights_only=True), json.loads(path.with_name(f"{path.name}.json").read_text())


NAMED = ("vit_w48d2h3_8", "vit_tiny_16", "test_resnet", "seresnet18")
"""A size of one's own, one of the literature, another stem, other blocks."""


@pytest.mark.parametrize("kind", ["resnet", "cls", "mean", "relative", *NAMED])
def test_timm_builds_loads_strictly_and_agrees(kind: str, tmp_path: Path) -> None:
    """The record alone is enough; features agree, pooling included."""
    backbone = looks_trained(kind, network_input("S1GRD"), image_size=64) if kind in NAMED else small(kind)

    export(kept(backbone, tmp_path / "run"), "timm", tmp_path / "a.pth")

    weights, record = read(tmp_path / "a.pth")
    network = build(record)
    network.load_state_dict(weights, strict=True)
    images = scaled(backbone)
    torch.testing.assert_close(features(network, images), features(backbone, images), rtol=1e-5, atol=1e-5)


def test_record_says_what_the_network_is_fed(tmp_path: Path) -> None:
    """Contract before and behind the scaling, size, training."""
    export(kept(small("relative"), tmp_path / "run"), "timm", tmp_path / "a.pth")

    _, record = read(tmp_path / "a.pth")

    assert record["constructor"] == "timm.models.beit.Beit"
    assert record["arguments"]["use_shared_rel_pos_bias"] is True
    assert contract_from_json(record["contract"]) == network_input("S2L1C")
    assert contract_from_json(record["input_contract"]).scaling == "none"
    assert (record["image_size"], record["training"]) == (32, TRAINING)


def test_full_size_transformers_go_by_their_timm_names(tmp_path: Path) -> None:
    """Another image size is an argument."""
    backbone = looks_trained("vit_small_16", network_input("S2RGB"), image_size=32)

    export(kept(backbone, tmp_path / "run"), "timm", tmp_path / "a.pth")

    weights, record = read(tmp_path / "a.pth")
    assert record["arguments"] == {
        "model_name": "vit_small_patch16_224",
        "in_chans": 3,
        "num_classes": 0,
        "img_size": 32,
    }
    timm.create_model("vit_small_patch16_224", in_chans=3, num_classes=0, img_size=32).load_state_dict(weights)


def test_torchvision_loads_residual_networks(tmp_path: Path) -> None:
    """With a first layer of as many bands and no classifier, strictly."""
    models = pytest.importorskip("torchvision.models")
    backbone = small("resnet")

    export(kept(backbone, tmp_path / "run"), "torchvision", tmp_path / "a.pth")

    weights, record = read(tmp_path / "a.pth")
    network = models.resnet18()
    assert record["constructor"] == "torchvision.models.resnet18"
    for name, code in record["replace"].items():
        setattr(network, name, eval(code, {"torch": torch}))
    network.load_state_dict(weights, strict=True)
    images = scaled(backbone)
    torch.testing.assert_close(features(network, images), features(backbone, images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("arch", CONSTRUCTORS)
def test_networks_of_torchvision_have_our_keys(arch: str) -> None:
    """And shapes, but for the classifier."""
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        theirs = getattr(models, arch)().state_dict()

    ours = on_meta(arch, num_bands=3).state_dict()

    assert {k: v.shape for k, v in theirs.items() if not k.startswith("fc.")} == {k: v.shape for k, v in ours.items()}


@pytest.mark.parametrize("arch", ["vit_nano_8", "test_resnet"])
def test_torchvision_refuses_what_it_does_not_have(arch: str, tmp_path: Path) -> None:
    """Before anything is written."""
    backbone = looks_trained(arch, network_input("S2RGB"), image_size=64)
    with pytest.raises(ConfigInvalid, match=rf"{arch} in the form torchvision; expected one of resnet18.*--form timm"):
        export(kept(backbone, tmp_path / "run"), "torchvision", tmp_path / "a.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("arch", "constructor"), [("resnet18", "resnet18"), ("vit_small_16", "vit_small_patch16_224")])
def test_torchgeo_constructor_loads_it(arch: str, constructor: str, tmp_path: Path) -> None:
    """TorchGeo's own function reads the file as weights of its own kind, and as it builds a network for others."""
    pytest.importorskip("torchgeo")
    from torchgeo.models import resnet18, vit_small_patch16_224
    from torchvision.models._api import Weights, WeightsEnum

    backbone = looks_trained(arch, network_input("S2L1C"), image_size=224)
    export(kept(backbone, tmp_path / "run"), "torchgeo", tmp_path / "a.pth")
    weights, record = read(tmp_path / "a.pth")

    class Ours(WeightsEnum):
        """Weights as TorchGeo lists them, at an address of this machine."""

        ALL = Weights(url="unused", transforms=torch.nn.Identity(), meta={"in_chans": 13})

        def get_state_dict(self, *args, **kwargs):
            """Give what the file holds."""
            return torch.load(tmp_path / "a.pth", weights_only=True)

    build_there = {"resnet18": resnet18, "vit_small_patch16_224": vit_small_patch16_224}[constructor]
    network = build_there(weights=Ours.ALL, num_classes=0)  # asserts itself that only a classifier is missing
    build_there(weights=Ours.ALL)
    assert record["constructor"] == f"torchgeo.models.{constructor}"
    build(record).load_state_dict(weights, strict=True)
    images = scaled(backbone, 1)
    torch.testing.assert_close(features(network, images), features(backbone, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["cls", "relative"])
def test_torchgeo_refuses_what_it_cannot_build(kind: str, tmp_path: Path) -> None:
    """No constructor for the small transformer, none for relative positions."""
    with pytest.raises(ConfigInvalid, match=r"in the form torchgeo; expected one of resnet18"):
        export(kept(small(kind), tmp_path / "run"), "torchgeo", tmp_path / "a.pth")


def test_torchgeo_is_told_of_another_image_size(tmp_path: Path) -> None:
    """Its constructor would build another table of positions."""
    backbone = looks_trained("vit_small_16", network_input("S2RGB"), image_size=32)

    exported = export(kept(backbone, tmp_path / "run"), "torchgeo", tmp_path / "a.pth")

    assert any("img_size=32" in note for note in exported.written.notes)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Neither the file nor the record beside it."""
    run = kept(small("resnet"), tmp_path / "run")
    for taken in ("a.pth", "a.pth.json"):
        (tmp_path / taken).write_text("mine")
        with pytest.raises(TargetExists):
            export(run, "timm", tmp_path / "a.pth")
        assert (tmp_path / taken).read_text() == "mine"
        (tmp_path / taken).unlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_untrained_networks_leave_too(tmp_path: Path) -> None:
    """By their name; the record says so."""
    export("random.resnet18.s2rgb", "timm", tmp_path / "a.pth")

    assert read(tmp_path / "a.pth")[1]["training"] == {"recipe": "random.resnet18.s2rgb", "untrained": True}


def test_unknown_form_source_and_licence_are_refused(tmp_path: Path) -> None:
    """Before any work."""
    with pytest.raises(UnknownName, match="did you mean torchvision"):
        export("random.resnet18.s2rgb", "torchvison", tmp_path / "a.pth")
    with pytest.raises(DataMissing):
        export(tmp_path / "absent", "timm", tmp_path / "a.pth")
    with pytest.raises(ConfigInvalid, match=r"licence 'CC BY\\n'"):
        export("random.resnet18.s2rgb", "huggingface", tmp_path / "a", licence="CC BY\n")
    assert list(tmp_path.iterdir()) == []


def test_failed_record_takes_its_file_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights without a record would have no contract."""

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ssl4eo.checkpoints.export.flat.write_json", full)
    with pytest.raises(WriteFailed, match="No space left"):
        export("random.resnet18.s2rgb", "timm", tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []
