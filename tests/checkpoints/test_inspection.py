# SPDX-License-Identifier: Apache-2.0
"""Looking into files of weights: published ones, ours, damaged ones, and the command that prints it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from published_files import beit, data2vec, dino, encoder, mae, moco_v2
from safetensors.torch import load_file, save_file

from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import read_header, save_backbone
from ssl4eo.checkpoints.inspection import inspect
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.cli import main
from ssl4eo.contract import network_input
from ssl4eo.errors import CheckpointInvalid
from ssl4eo.report.filters import MOST_FILTERS, draw_filters


@pytest.fixture
def file(tmp_path):
    """A full checkpoint of MoCo v2."""
    torch.save(moco_v2(encoder("resnet18", 13), 512), tmp_path / "moco.pth")
    return tmp_path / "moco.pth"


def test_published_file_is_told_in_full(file):
    """Counts by hand: 250 tensors, 11,207,872 parameters of the encoder."""
    found = inspect(file)

    assert (found.family, found.architecture, found.num_bands, found.image_size) == ("MoCo v2", "resnet18", 13, 224)
    assert (found.epoch, found.num_tensors, found.num_encoder_parameters) == (100, 250, 11_207_872)
    assert found.has_optimizer
    assert "by its 13 bands probably S2L1C" in found.contract
    assert (found.obstacles, found.needed) == ((), ())
    assert found.first_layer.shape == (64, 13, 7, 7)
    assert {layer.key: layer.shape for layer in found.layers}["queue"] == (128, 65536)


def test_options_of_the_run_are_shown(tmp_path):
    """What argparse.Namespace held; an epoch; no optimizer."""
    torch.save(mae(encoder("vit_small_16", 2), 384, 2, 16, 196), tmp_path / "a.pth")

    found = inspect(tmp_path / "a.pth")

    assert found.options == {"model": "mae_vit", "mask_ratio": 0.7}
    assert (found.epoch, found.has_optimizer) == (99, False)
    assert found.bands == ("VV", "VH")


def test_what_is_needed_is_said(tmp_path):
    """Three bands may be any."""
    torch.save(encoder("resnet18", 3).state_dict(), tmp_path / "a.pth")

    found = inspect(tmp_path / "a.pth")

    assert found.needed == ("contract=...: the file does not say which bands it wants",)
    assert found.bands == ()


def test_obstacles_are_facts_and_not_errors(tmp_path):
    """A key too many, a value that is not finite, another network: told, not raised."""
    state = encoder("resnet18", 13).state_dict()
    torch.save(state | {"extra.weight": torch.zeros(1)}, tmp_path / "extra.pth")
    torch.save(state | {"bn1.bias": torch.full((64,), float("inf"))}, tmp_path / "inf.pth")
    torch.save({"features.0.weight": torch.zeros(3, 3)}, tmp_path / "vgg.pth")

    extra, infinite, other = (inspect(tmp_path / name) for name in ("extra.pth", "inf.pth", "vgg.pth"))

    assert "1 unexplained (extra.weight)" in extra.obstacles[0]
    assert "NaN or infinity (bn1.bias)" in infinite.obstacles[0]
    assert other.family == ""
    assert [layer.key for layer in other.layers] == ["features.0.weight"]


def test_own_backbone_and_state_of_a_run_are_told_apart(tmp_path):
    """One has a contract, the other is no backbone."""
    network = Backbone("vit_nano_8", network_input("S2L1C+S1GRD"), image_size=32, seed=0)
    save_backbone(network, tmp_path / "a.safetensors", training={"recipe": "x", "epochs": 3})
    state = {"step": 7, "config": {"recipe": "r", "backbone": "vit_nano_8"}, "method": {}, "optimizer": {"state": {}}}
    torch.save(state, tmp_path / "b.pt")

    own, run = inspect(tmp_path / "a.safetensors"), inspect(tmp_path / "b.pt")

    assert (own.num_bands, own.epoch, own.family) == (15, 3, "a backbone of ssl4eo")
    assert own.contract == str(network.contract)
    assert own.num_encoder_parameters == sum(p.numel() for p in network.parameters())
    assert run.family == "state of a run of ssl4eo (r, step 7)"
    assert "expected backbone.safetensors" in run.obstacles[0]


def rewritten(path, *, header=None, **tensors):
    """Change fields of the header and tensors of a file of ours; None leaves a field out."""
    merged = read_header(path) | (header or {})
    text = json.dumps({name: value for name, value in merged.items() if value is not None})
    save_file(load_file(path) | tensors, path, metadata={"ssl4eo": text})


@pytest.fixture
def own(tmp_path):
    """A backbone of ours."""
    network = Backbone("resnet18", network_input("S2L1C"), image_size=64, seed=0)
    save_backbone(network, tmp_path / "a.safetensors", training={"epochs": 3})
    return tmp_path / "a.safetensors"


def test_own_backbone_that_cannot_be_loaded_is_not_called_loadable(own, capsys):
    """NaN, a key too many, no contract, no network of this name: what is in the way is what loading says."""
    content = own.read_bytes()
    changes = [
        ({"tensors": {"bn1.bias": torch.full((64,), float("nan"))}}, "NaN or infinity (bn1.bias)"),
        ({"tensors": {"extra.weight": torch.zeros(1)}}, "1 unexpected (extra.weight)"),
        ({"header": {"contract": None}}, "unreadable header (no contract)"),
        ({"header": {"arch": "resnet19"}}, "did you mean resnet18"),
        ({"header": {"format": 9}}, "has format 9"),
    ]
    for change, words in changes:
        own.write_bytes(content)
        rewritten(own, header=change.get("header"), **change.get("tensors", {}))

        found = inspect(own)

        assert found.family == "a backbone of ssl4eo"
        assert words in found.obstacles[0]
        assert main(["checkpoints", "inspect", str(own)]) == 0
        assert "NOT LOADABLE" in capsys.readouterr().out
        with pytest.raises(CheckpointInvalid) as caught:
            load_backbone(own)
        assert str(caught.value) == found.obstacles[0]


@pytest.mark.parametrize("training", [None, [], "word", {"epochs": "many"}])
def test_own_backbone_without_a_record_of_its_training_is_loaded(training, own):
    """It is not needed, but for the seed of untrained weights, which is not guessed."""
    rewritten(own, header={"training": training})

    found = inspect(own)

    assert (found.epoch, found.obstacles) == (None, ())
    assert load_backbone(own).arch == "resnet18"
    with pytest.raises(CheckpointInvalid, match="does not say the seed of its run"):
        load_backbone(own, untrained_weights=True)


def test_own_backbone_is_counted_with_its_options(tmp_path):
    """data2vec has no table of positions, but one of relative ones, LayerScale and a norm of the mean."""
    options = BackboneOptions(pooling="mean_norm", position="relative", init="beit", layer_scale=1e-4)
    network = Backbone("vit_nano_8", network_input("S2L1C"), image_size=32, seed=0, options=options)
    save_backbone(network, tmp_path / "a.safetensors", training={})

    found = inspect(tmp_path / "a.safetensors")

    assert found.num_encoder_parameters == sum(p.numel() for p in network.parameters())
    assert found.obstacles == ()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: moco_v2(encoder("resnet18", 13), 512), "4 of the projection head"),
        (lambda: dino(encoder("vit_small_16", 13), 384, parallel=False), "8 of the projection head"),
        (lambda: data2vec(beit(13)), "fresh: fc_norm.weight, fc_norm.bias"),
    ],
)
def test_command_says_it_in_words(make, words, tmp_path, capsys):
    """One line a fact, and how to load it."""
    torch.save(make(), tmp_path / "a.pth")

    assert main(["checkpoints", "inspect", str(tmp_path / "a.pth")]) == 0

    text = capsys.readouterr().out
    assert words in text
    assert text.rstrip().endswith(f"load_backbone('{tmp_path / 'a.pth'}')")


def test_command_lists_keys_gives_json_and_draws(file, tmp_path, capsys):
    """Key by key; plain values; a picture of all bands."""
    assert main(["checkpoints", "inspect", str(file), "--keys", "--filters", str(tmp_path / "f.png")]) == 0
    text = capsys.readouterr().out
    assert main(["checkpoints", "inspect", str(file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)

    assert "dropped     queue (queue of keys)" in text
    assert facts["report"]["used"]["encoder_q.conv1.weight"] == "conv1.weight"
    with Image.open(tmp_path / "f.png") as picture:
        assert picture.width > picture.height > 300


def test_command_refuses_what_is_no_file(tmp_path, capsys):
    """An untrained network, a picture of nothing, a web page: a message and a status."""
    torch.save({"features.0.weight": torch.zeros(3, 3)}, tmp_path / "vgg.pth")
    (tmp_path / "page.pth").write_text("<html>quota</html>")

    assert main(["checkpoints", "inspect", "random.resnet18.s2l1c"]) == 2
    assert main(["checkpoints", "inspect", str(tmp_path / "vgg.pth"), "--filters", str(tmp_path / "f.png")]) == 2
    assert main(["checkpoints", "inspect", str(tmp_path / "page.pth")]) == 1
    assert main(["checkpoints", "list", "--keys"]) == 2
    assert "is a web page" in capsys.readouterr().err
    assert not (tmp_path / "f.png").exists()


def test_picture_shows_the_strongest_filters_and_a_silent_band():
    """A band without weights has no bar; fewer filters than columns are all drawn; the same picture twice."""
    weights = np.random.default_rng(0).normal(size=(MOST_FILTERS - 4, 3, 5, 5))
    weights[:, 1] = 0

    first = draw_filters(weights, ["a", "b", "c"], title="t")

    assert first == draw_filters(weights, ["a", "b", "c"], title="t")
    assert first[:8] == b"\x89PNG\r\n\x1a\n"
    assert draw_filters(np.zeros((2, 1, 3, 3)), [], title="nothing")[:4] == b"\x89PNG"
