# SPDX-License-Identifier: Apache-2.0
"""The HuggingFace folder: timm and our own loader read it back, its card's code runs, nothing is left half done."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from export_networks import TRAINING, features, kept, scaled, small
from safetensors.torch import load_file

from ssl4eo.checkpoints.export import export
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.contract import contract_from_json, plan_remap
from ssl4eo.errors import TargetExists, WriteFailed


@pytest.mark.parametrize("kind", ["resnet", "cls", "mean", "relative"])
def test_timm_builds_it_from_the_folder_alone(kind: str, tmp_path: Path) -> None:
    """As it builds one from the hub: config, arguments, weights; features agree."""
    backbone = small(kind)

    export(kept(backbone, tmp_path / "run"), "huggingface", tmp_path / "hub")

    network = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True)
    images = scaled(backbone)
    torch.testing.assert_close(features(network, images), features(backbone, images), rtol=1e-5, atol=1e-5)
    assert network.num_features == json.loads((tmp_path / "hub" / "config.json").read_text())["num_features"]


@pytest.mark.parametrize("kind", ["resnet", "relative"])
def test_a_classifier_can_be_put_on_top(kind: str, tmp_path: Path) -> None:
    """Fine-tuning begins with timm's own classifier and our weights."""
    backbone = small(kind)
    export(kept(backbone, tmp_path / "run"), "huggingface", tmp_path / "hub")

    network = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True, num_classes=10)

    assert features(network, scaled(backbone)).shape == (2, 10)
    ours, theirs = backbone.net.state_dict(), network.state_dict()
    assert all(torch.equal(theirs[key], value) for key, value in ours.items())


def test_our_loader_reads_it_back(tmp_path: Path) -> None:
    """Bit by bit, with contract, options and training."""
    backbone = small("relative")
    export(kept(backbone, tmp_path / "run"), "huggingface", tmp_path / "hub")

    loaded = load_backbone(tmp_path / "hub" / "model.safetensors")

    assert (loaded.contract, loaded.options, loaded.image_size) == (backbone.contract, backbone.options, 32)
    weights = load_file(tmp_path / "hub" / "model.safetensors")
    assert all(torch.equal(weights[key], value) for key, value in backbone.net.state_dict().items())
    record = json.loads((tmp_path / "hub" / "contract.json").read_text())
    assert contract_from_json(record["contract"]) == backbone.contract
    assert record["training"] == TRAINING


@pytest.mark.parametrize("modality", ["S2L1C", "S2RGB", "S1GRD"])
def test_mean_and_deviation_are_those_of_the_contract(modality: str, tmp_path: Path) -> None:
    """(x - mean) / std is the contract's scaling where it does not clip, of 8-bit values after division by 255."""
    backbone = small("cls", modality)
    export(kept(backbone, tmp_path / "run"), "huggingface", tmp_path / "hub")
    config = json.loads((tmp_path / "hub" / "config.json").read_text())["pretrained_cfg"]
    raw = contract_from_json(json.loads((tmp_path / "hub" / "contract.json").read_text())["input_contract"])
    value = {"S2L1C": 1234.0, "S2RGB": 100.0, "S1GRD": -14.0}[modality]

    mean, std = np.array(config["mean"]), np.array(config["std"])
    found = (value / (255 if modality == "S2RGB" else 1) - mean) / std

    expected = plan_remap(raw, backbone.contract)(np.full((raw.num_bands, 1, 1), value))[:, 0, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(("kind", "modality"), [("resnet", "S2L1C"), ("cls", "S2RGB"), ("mean", "S2L1C+S1GRD")])
def test_the_code_of_the_card_runs(kind: str, modality: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both examples, in the folder, as a reader would; the shapes are those that the card says."""
    export(kept(small(kind, modality), tmp_path / "run"), "huggingface", tmp_path / "hub")
    card = (tmp_path / "hub" / "README.md").read_text()
    monkeypatch.chdir(tmp_path / "hub")

    blocks = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)

    assert len(blocks) == 2
    for block in blocks:
        names: dict = {}
        exec(block, names)
        assert tuple(names["features"].shape) == (1, 512 if kind == "resnet" else 192)


def test_card_says_what_is_known_and_what_is_not(tmp_path: Path) -> None:
    """Front matter for the hub, bands in words, the record; a licence only if one was given."""
    run = kept(small("mean", "S2L1C+S1GRD"), tmp_path / "run")
    export(run, "huggingface", tmp_path / "a")
    told = export(run, "huggingface", tmp_path / "b", licence="cc-by-4.0")

    cards = [(tmp_path / name / "README.md").read_text() for name in ("a", "b")]
    fronts = [yaml.safe_load(card.split("---")[1]) for card in cards]
    assert [front["license"] for front in fronts] == ["unknown", "cc-by-4.0"]
    assert fronts[0]["library_name"] == "timm"
    assert {"sentinel-1", "sentinel-2", "self-supervised-learning"} <= set(fronts[0]["tags"])
    assert "bands VV VH: decibels" in cards[0]
    assert "without the offset of +1000" in cards[0]
    assert TRAINING["recipe"] in cards[0]
    assert not any("licence" in note for note in told.written.notes)


def test_card_of_an_untrained_network_says_so(tmp_path: Path) -> None:
    """Nobody shall take it for a trained one."""
    export("random.resnet18.s2rgb", "huggingface", tmp_path / "hub")

    card = (tmp_path / "hub" / "README.md").read_text()
    assert "was not trained" in card
    assert "self-supervised-learning" not in card


def test_failure_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle leaves nothing; what stands there is not touched."""
    run = kept(small("cls"), tmp_path / "run")

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ssl4eo.checkpoints.export.huggingface.write_text", full)
    with pytest.raises(WriteFailed, match="No space left"):
        export(run, "huggingface", tmp_path / "hub")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]

    (tmp_path / "hub").mkdir()
    with pytest.raises(TargetExists):
        export(run, "huggingface", tmp_path / "hub")
