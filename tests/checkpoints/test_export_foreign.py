# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints leave in other forms, too: what timm builds from the record gives the same features."""

from __future__ import annotations

import importlib
import json

import pytest
import torch
from published_files import beit, data2vec, dino, encoder, mae

from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.checkpoints.export import export
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.errors import ConfigInvalid

FILES = {
    "dino": lambda: dino(encoder("vit_small_16", 13), 384, parallel=False),
    "mae": lambda: mae(encoder("vit_small_16", 13), 384, 13, 16, 196),
    "data2vec": lambda: data2vec(beit(13)),
    "resnet18": lambda: encoder("resnet18", 13).state_dict(),
}


@pytest.mark.parametrize("name", FILES)
def test_published_file_leaves_for_timm(name, tmp_path):
    """Built by the record's constructor, loaded strictly."""
    torch.save(FILES[name](), tmp_path / "a.pth")
    images = torch.rand(2, 13, 224, 224)

    export(tmp_path / "a.pth", "timm", tmp_path / "b.pth")

    record = json.loads((tmp_path / "b.pth.json").read_text())
    module, _, kind = record["constructor"].rpartition(".")
    network = getattr(importlib.import_module(module), kind)(**record["arguments"]).eval()
    network.load_state_dict(torch.load(tmp_path / "b.pth", weights_only=True), strict=True)
    with torch.no_grad():
        expected = load_backbone(tmp_path / "a.pth")(images)
        torch.testing.assert_close(network(images), expected, rtol=1e-5, atol=1e-5)
    assert record["training"]["file"] == "a.pth"


def test_card_of_a_published_file_is_in_its_record(tmp_path):
    """The name that its publisher gave it is enough."""
    file = next(f for f in CARDS["moco_v2.resnet18.s2rgb"].files if f.holds == "full")
    torch.save(encoder("resnet18", 3).state_dict(), tmp_path / file.name)

    export(tmp_path / file.name, "torchvision", tmp_path / "b.pth")

    training = json.loads((tmp_path / "b.pth.json").read_text())["training"]
    assert (training["card"], training["method"], training["epochs"]) == ("moco_v2.resnet18.s2rgb", "moco_v2", 100)


def test_folder_of_an_export_loads_by_its_name(tmp_path):
    """What was made for HuggingFace is read back as a folder."""
    torch.save(FILES["resnet18"](), tmp_path / "a.pth")

    export(tmp_path / "a.pth", "huggingface", tmp_path / "hf")

    first, second = load_backbone(tmp_path / "a.pth"), load_backbone(tmp_path / "hf")
    assert torch.equal(first.net.conv1.weight, second.net.conv1.weight)
    assert first.contract == second.contract


def test_feature_that_timm_does_not_give_is_refused(tmp_path):
    """Class tokens of four blocks."""
    torch.save(FILES["dino"](), tmp_path / "a.pth")
    network = load_backbone(tmp_path / "a.pth", pooling="cls_last_4")
    from ssl4eo.checkpoints.export.timm_network import timm_network

    with pytest.raises(ConfigInvalid, match="forward_intermediates"):
        timm_network(network)
