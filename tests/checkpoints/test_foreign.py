# SPDX-License-Identifier: Apache-2.0
"""Published checkpoints: recognized by their keys, accounted for key by key, equal to an independent network."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import WIDTH, beit, data2vec, dino, encoder, mae, moco_v2, moco_v3
from safetensors.torch import save_file

from ssl4eo.checkpoints.families import encoder_of, find_state
from ssl4eo.checkpoints.foreign import load_foreign, read_foreign
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.checkpoints.reading import read_container
from ssl4eo.checkpoints.recognition import recognize
from ssl4eo.contract import network_input, stored
from ssl4eo.errors import CheckpointInvalid, ContractMismatch, DataMissing

RGB = dataclasses.replace(stored("S2L1C", bands=("B04", "B03", "B02")), scaling="reflectance")


def make(family, arch, bands):
    """Build a container and the network in it."""
    if family == "data2vec":
        net = beit(bands)
        return data2vec(net), net
    net = encoder(arch, bands)
    width = {"resnet18": 512, "resnet50": 2048}.get(arch, WIDTH.get(arch))
    patch = 14 if arch.endswith("14") else 16
    container = {
        "moco_v2": lambda: moco_v2(net, width),
        "moco_v3": lambda: moco_v3(net, width),
        "dino": lambda: dino(net, width, parallel=arch.startswith("resnet")),
        "mae": lambda: mae(net, width, bands, patch, (224 // patch) ** 2),
        "converted": lambda: {"state_dict": net.state_dict()},
        "flat": net.state_dict,
    }[family]()
    return container, net


ROWS = [
    # family, network, bands, tensors in the file, tensors of the encoder, parameters of the encoder
    ("moco_v2", "resnet50", 13, 646, 318, 23_539_392),
    ("moco_v2", "resnet50", 3, 646, 318, 23_508_032),
    ("moco_v2", "resnet50", 2, 646, 318, 23_504_896),
    ("moco_v2", "resnet18", 13, 250, 120, 11_207_872),
    ("moco_v2", "resnet18", 3, 250, 120, 11_176_512),
    ("moco_v3", "vit_small_16", 13, 342, 150, 22_648_704),
    ("dino", "vit_small_16", 13, 158, 150, 22_648_704),
    ("dino", "resnet50", 13, 326, 318, 23_539_392),
    ("mae", "vit_small_16", 13, 254, 150, 22_648_704),
    ("mae", "vit_small_16", 2, 254, 150, 21_567_360),
    ("mae", "vit_base_16", 13, 254, 150, 87_764_736),
    ("mae", "vit_base_16", 2, 254, 150, 85_602_048),
    ("mae", "vit_large_16", 13, 398, 294, 305_923_072),
    ("mae", "vit_large_16", 2, 398, 294, 303_039_488),
    ("mae", "vit_huge_14", 13, 494, 390, 633_273_600),
    ("mae", "vit_huge_14", 2, 494, 390, 630_513_920),
    ("data2vec", "vit_small_16", 13, 190, 185, 22_582_056),
]


@pytest.mark.parametrize(("family", "arch", "bands", "in_file", "in_encoder", "parameters"), ROWS)
def test_every_published_row_is_accounted_for(family, arch, bands, in_file, in_encoder, parameters):
    """Shapes on the meta device: family, network, bands and size are told, and no key is left over."""
    with torch.device("meta"):
        container, _ = make(family, arch, bands)

    state = find_state(container, "file")
    weights, report = encoder_of(state)
    found = recognize(weights, "file")

    assert (state.family.name, found.arch, found.num_bands, found.image_size) == (family, arch, bands, 224)
    assert len(state.tensors) == in_file
    assert len(report.used) + len(report.dropped) == in_file
    assert report.unexpected == ()
    no_parameters = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index")
    fresh = 2 * 384 if family == "data2vec" else 0  # the norm that fine-tuning begins with
    assert len(weights) == in_encoder
    assert sum(v.numel() for k, v in weights.items() if not k.endswith(no_parameters)) + fresh == parameters


SMALL = [
    ("moco_v2", "resnet18", 13),
    ("moco_v2", "resnet18", 3),
    ("moco_v3", "vit_small_16", 13),
    ("dino", "resnet50", 13),
    ("dino", "vit_small_16", 13),
    ("mae", "vit_small_16", 2),
    ("converted", "resnet50", 13),
    ("flat", "vit_small_16", 13),
    ("flat", "resnet18", 2),
]


@pytest.mark.parametrize(("family", "arch", "bands"), SMALL)
def test_features_are_those_of_an_independent_network(family, arch, bands, tmp_path):
    """The class token after the norm, or the pooled features of a residual network, of torchvision and timm."""
    container, net = make(family, arch, bands)
    torch.save(container, tmp_path / "a.pth")
    images = torch.rand(2, bands, 224, 224, generator=torch.Generator().manual_seed(1))

    loaded = load_backbone(tmp_path / "a.pth", contract=RGB if bands == 3 else None)

    with torch.no_grad():
        torch.testing.assert_close(loaded(images), net.eval()(images), rtol=1e-5, atol=1e-5)
    assert not loaded.training
    assert all(torch.equal(value, loaded.net.state_dict()[name]) for name, value in net.state_dict().items())


def test_class_tokens_of_the_last_four_blocks_are_those_of_timm(tmp_path):
    """DINO's linear probe: 1,536 numbers, as timm's own way through the blocks gives them."""
    container, net = make("dino", "vit_small_16", 13)
    torch.save(container, tmp_path / "a.pth")
    images = torch.rand(2, 13, 224, 224)

    loaded = load_backbone(tmp_path / "a.pth", pooling="cls_last_4")

    with torch.no_grad():
        kept = net.eval().forward_intermediates(
            images, indices=4, norm=True, return_prefix_tokens=True, intermediates_only=True
        )
        expected = torch.cat([tokens[:, 0] for _, tokens in kept], dim=1)
        torch.testing.assert_close(loaded(images), expected, rtol=1e-5, atol=1e-5)
    assert loaded.num_features == expected.shape[1] == 1536


def test_data2vec_gives_the_mean_of_the_patches_normed_anew(tmp_path):
    """Relative positions, biases of query and value and LayerScale are used: large values of each change the result."""
    net = beit(13)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "gamma" in name or "bias" in name:
                value.normal_(0.0, 0.5)
        net.fc_norm.weight.fill_(1.0)
        net.fc_norm.bias.zero_()
    torch.save(data2vec(net), tmp_path / "a.pth")
    images = torch.rand(2, 13, 224, 224)

    loaded = load_backbone(tmp_path / "a.pth")

    with torch.no_grad():
        found, expected = loaded(images), net.eval()(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    foreign = read_foreign(tmp_path / "a.pth")
    assert set(foreign.report.fresh) == {"fc_norm.weight", "fc_norm.bias"}
    assert foreign.report.derived == ("rel_pos_bias.relative_position_index",)
    assert set(foreign.report.dropped) == {"mask_token", "norm.weight", "norm.bias", "lm_head.weight", "lm_head.bias"}


def test_index_of_relative_positions_is_compared(tmp_path):
    """Another order of the axes would load and give other features."""
    container = data2vec(beit(13))
    index = container["model"]["rel_pos_bias.relative_position_index"]
    container["model"]["rel_pos_bias.relative_position_index"] = index.T.contiguous()
    torch.save(container, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match="another than BEiT's"):
        load_backbone(tmp_path / "a.pth")


def test_prefix_in_the_middle_of_a_key_stays(tmp_path):
    """Prefixes are stripped at the start only: str.replace would turn this key into one of the network's."""
    container, _ = make("dino", "resnet50", 13)
    container["teacher"]["module.backbone.layer1.0.module.conv1.weight"] = torch.zeros(1)
    torch.save(container, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=r"1 unexplained \(backbone\.layer1\.0\.module\.conv1\.weight\)"):
        load_backbone(tmp_path / "a.pth")


@pytest.mark.parametrize(("key", "words"), [("layer9.weight", "1 unexplained"), ("bn1.weight", "1 missing")])
def test_key_that_nothing_explains_and_key_that_lacks_are_refused(key, words, tmp_path):
    """Never strict=False."""
    container, _ = make("moco_v2", "resnet18", 13)
    full = f"module.encoder_q.{key}"
    if full in container["state_dict"]:
        del container["state_dict"][full]
    else:
        container["state_dict"][full] = torch.zeros(1)
    torch.save(container, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=words) as caught:
        load_backbone(tmp_path / "a.pth")
    assert key in str(caught.value)


def test_wrapped_and_plain_keys_are_one_family(tmp_path):
    """DataParallel's prefix is there or not."""
    container, net = make("moco_v2", "resnet18", 13)
    container["state_dict"] = {k.removeprefix("module."): v for k, v in container["state_dict"].items()}
    torch.save(container, tmp_path / "a.pth")

    loaded = load_backbone(tmp_path / "a.pth")

    assert torch.equal(loaded.net.state_dict()["conv1.weight"], net.conv1.weight)


def test_values_that_are_not_finite_are_refused(tmp_path):
    """By the name of the first tensor."""
    container, net = make("flat", "resnet18", 13)
    container = dict(container)
    container["bn1.bias"] = torch.full((64,), float("nan"))
    torch.save(container, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=r"NaN or infinity \(bn1\.bias\)"):
        load_backbone(tmp_path / "a.pth")
    del net


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"conv1.weight": torch.zeros(64, 13, 7, 7), "layer1.0.conv1.weight": torch.zeros(1)}, "an unknown network"),
        ({"cls_token": torch.zeros(1, 1, 7), "patch_embed.proj.weight": torch.zeros(7, 3, 5, 5)}, "an unknown vision"),
        ({"features.0.weight": torch.zeros(3)}, "weights of DINO, MAE"),
        ({}, "holds nothing"),
    ],
)
def test_other_networks_are_refused_with_what_is_known(tensors, words, tmp_path):
    """VGG, a cut ResNet, a strange transformer, an empty file."""
    torch.save(tensors, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=words):
        load_backbone(tmp_path / "a.pth")


def test_contract_of_another_number_of_bands_is_refused(tmp_path):
    """Thirteen columns cannot mean twelve bands."""
    container, _ = make("flat", "resnet18", 13)
    torch.save(container, tmp_path / "a.pth")

    with pytest.raises(ContractMismatch, match="13"):
        load_backbone(tmp_path / "a.pth", contract=network_input("S2L2A"))


def test_what_is_assumed_of_the_input_is_said(tmp_path, caplog):
    """Thirteen bands are those of Sentinel-2 L1C; of three nobody knows."""
    for bands in (13, 3):
        torch.save(make("flat", "resnet18", bands)[0], tmp_path / f"{bands}.pth")

    with caplog.at_level(logging.INFO):
        loaded = load_backbone(tmp_path / "13.pth")
    with pytest.raises(ContractMismatch, match="wants 3 bands and does not say which"):
        load_backbone(tmp_path / "3.pth")

    assert loaded.contract == network_input("S2L1C")
    assert "assumed S2L1C" in caplog.text
    assert "an encoder alone, 120 tensors used" in caplog.text


class Malicious:
    """What a pickle of somebody else may do."""

    def __reduce__(self):
        """Run a command when it is opened."""
        return os.system, ("touch hacked",)


def test_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    """In the zip format and in the old one; what it would run is named."""
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"conv1.weight": Malicious()}}, "a.pth")
    torch.save({"state_dict": Malicious()}, "b.pth", _use_new_zipfile_serialization=False)

    for name in ("a.pth", "b.pth"):
        with pytest.raises(CheckpointInvalid, match=r"a Python object, \w+\.system, whose code opening it would run"):
            load_backbone(name)

    assert not (tmp_path / "hacked").exists()


def test_options_and_numpy_scalars_of_published_files_are_read(tmp_path):
    """argparse.Namespace and NumPy's scalars are harmless."""
    content = {
        "args": dino(encoder("resnet18", 2), 512, parallel=False)["args"],
        "lr": np.float64(0.5),
        "n": np.int64(3),
    }
    torch.save(content, tmp_path / "a.pth")

    found = read_container(tmp_path / "a.pth")

    assert found["args"].out_dim == 65536
    assert (found["lr"], found["n"]) == (0.5, 3)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated_file_is_told(share, old, tmp_path):
    """Cut at the start, in the middle and near the end, in both formats."""
    torch.save(make("flat", "resnet18", 2)[0], tmp_path / "a.pth", _use_new_zipfile_serialization=not old)
    content = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: int(share * len(content))])

    with pytest.raises(CheckpointInvalid, match="fetch it again"):
        load_backbone(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html><title>Google Drive - Quota exceeded", "is a web page"),
        (b"\n  <HTML><body>Sign in", "is a web page"),
        (b"", "is empty"),
        (b"\x93NUMPY" + bytes(100), "is no file of weights"),
    ],
)
def test_what_is_no_file_of_weights_is_told(content, words, tmp_path):
    """The usual failure of Google Drive first."""
    (tmp_path / "a.pth").write_bytes(content)

    with pytest.raises(CheckpointInvalid, match=words):
        load_backbone(tmp_path / "a.pth")


def test_list_of_tensors_and_absent_file_are_told(tmp_path):
    """Neither is a state dict."""
    torch.save([torch.zeros(2)], tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match="holds a list; expected a mapping"):
        load_foreign(tmp_path / "a.pth")
    with pytest.raises(DataMissing):
        load_foreign(tmp_path / "b.pth")


def test_report_says_key_by_key(tmp_path):
    """What was used under which name, what was dropped and why."""
    torch.save(make("moco_v2", "resnet18", 13)[0], tmp_path / "a.pth")

    lines = read_foreign(tmp_path / "a.pth").report.lines()

    assert "used        encoder_q.conv1.weight as conv1.weight" in lines
    assert "dropped     encoder_q.fc.0.weight (projection head)" in lines
    assert "dropped     queue (queue of keys)" in lines
    assert lines[0] == "stripped    module. (DataParallel and DistributedDataParallel)"
    assert len(lines) == 251


def test_network_outlives_its_file(tmp_path):
    """Weights of safetensors are mapped by their reader: kept so, a file that is cut short would kill the process."""
    path = tmp_path / "a.safetensors"
    save_file(encoder("resnet18", 13).state_dict(), path)
    network = load_backbone(path)
    expected = network.net.layer4[1].conv2.weight.sum()

    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(path) not in maps.read_text()
    os.truncate(path, 100)

    assert network.net.layer4[1].conv2.weight.sum() == expected
