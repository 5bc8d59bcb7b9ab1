# SPDX-License-Identifier: Apache-2.0
"""Networks are told by the shapes of their weights; those that we do not have by what they look like."""

from __future__ import annotations

import dataclasses
import json

import pytest
import timm
import torch
import torchvision
from published_files import blank, encoder
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import save_backbone
from ssl4eo.checkpoints.export import export
from ssl4eo.checkpoints.inspection import inspect
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.checkpoints.recognition import Found, recognize
from ssl4eo.contract import network_input
from ssl4eo.errors import CheckpointInvalid, ContractMismatch, UnknownName

KNOWN = {
    "resnet34": torchvision.models.resnet34,
    "resnet101": torchvision.models.resnet101,
    "resnext50_32x4d": torchvision.models.resnext50_32x4d,
    "wide_resnet50_2": torchvision.models.wide_resnet50_2,
    "vit_tiny_16": lambda: timm.create_model("vit_tiny_patch16_224"),
    "vit_small_32": lambda: timm.create_model("vit_small_patch32_224"),
}
UNKNOWN = [
    (lambda: ResNet(BasicBlock, [1, 1, 1, 1]), r"an unknown network \(.*expected one of resnet18, resnet34"),
    (
        lambda: ResNet(Bottleneck, [3, 4, 6, 3], width_per_group=96),
        r"like resnet50 with 96 channels in place of 64 \(",
    ),
    (
        lambda: timm.models.VisionTransformer(embed_dim=100, depth=2, num_heads=2),
        r"an unknown vision transformer \(patches of 16 px, width 100, 2 blocks\).*vit_nano_8 \(patches of 8 px",
    ),
]


def weights_like(make):
    """Give weights of zeros with the shapes of a network."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in make().state_dict().items()}
    return {name: blank(*shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", KNOWN)
def test_network_of_any_library_is_told_by_its_shapes(name):
    """Of each size of the literature; its three bands too."""
    found = recognize(weights_like(KNOWN[name]), "a.pth")

    assert found == Found(name, 3, 224)


@pytest.mark.parametrize(("make", "words"), UNKNOWN)
def test_network_that_we_do_not_have_is_told_by_what_it_looks_like(make, words, tmp_path):
    """With what we have, in the same numbers, and what to do."""
    torch.save(weights_like(make), tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=words + ".*load the file with the library that wrote it"):
        load_backbone(tmp_path / "a.pth")


def test_heads_of_a_transformer_of_ones_own_size_are_told(tmp_path):
    """Features are those of the network that was saved; a name with other shapes, or another network, is refused."""
    contract = network_input("S2RGB")
    net = Backbone("vit_w48d2h2_8", contract, image_size=32, seed=1).eval()
    torch.save(net.net.state_dict(), tmp_path / "a.pth")
    images = torch.rand(2, 3, 32, 32)

    loaded = load_backbone(tmp_path / "a.pth", contract=contract, arch="vit_w48d2h2_8")

    with torch.no_grad():
        assert torch.equal(loaded(images), net(images))
    assert loaded.arch == "vit_w48d2h2_8"
    with pytest.raises(CheckpointInvalid, match=r"width 48, 2 blocks.*arch='vit_w<width>"):
        load_backbone(tmp_path / "a.pth", contract=contract)
    with pytest.raises(CheckpointInvalid, match=r"width 48, 2 blocks"):
        load_backbone(tmp_path / "a.pth", contract=contract, arch="vit_w64d2h2_8")
    with pytest.raises(UnknownName, match="vit_w48d2h5_8"):
        load_backbone(tmp_path / "a.pth", contract=contract, arch="vit_w48d2h5_8")


def test_network_that_is_told_must_be_that_of_the_file(tmp_path):
    """A residual network is no transformer, and no other residual network."""
    torch.save(encoder("resnet18", 3).state_dict(), tmp_path / "a.pth")

    for arch in ("vit_small_16", "resnet34"):
        with pytest.raises(CheckpointInvalid, match=f"a.pth holds a resnet18; expected {arch}, as was asked for"):
            load_backbone(tmp_path / "a.pth", contract=network_input("S2RGB"), arch=arch)
    torch.save(encoder("vit_small_16", 3).state_dict(), tmp_path / "b.pth")
    assert load_backbone(tmp_path / "b.pth", contract=network_input("S2RGB"), arch="vit_w384d12h6_16").patch == 16
    with pytest.raises(CheckpointInvalid, match=r"b.pth holds a vit_small_16; expected vit_w384d12h6_8"):
        load_backbone(tmp_path / "b.pth", contract=network_input("S2RGB"), arch="vit_w384d12h6_8")


@pytest.mark.parametrize("arch", ["resnetblur18", "seresnet18", "resnet26t", "test_resnet"])
@pytest.mark.parametrize("beside", ["nothing", "a record without options"])
def test_residual_network_that_weights_do_not_tell_is_told(arch, beside, tmp_path):
    """Blurs leave no trace, stems of several layers have other keys; by the caller or by the record beside the file."""
    contract = network_input("S2RGB")
    net = Backbone(arch, contract, image_size=64, seed=1).eval()
    path, images = tmp_path / "a.pth", torch.rand(2, 3, 64, 64)
    torch.save(net.net.state_dict(), path)
    told = {"contract": contract, "arch": arch}
    if beside != "nothing":
        told = {}
        record = {"contract": contract.to_json(), "arch": arch}
        path.with_name("a.pth.json").write_text(json.dumps(record), encoding="utf-8")

    loaded = load_backbone(path, **told)

    with torch.no_grad():
        assert torch.equal(loaded(images), net(images))
    assert loaded.arch == arch
    if not told:
        found = inspect(path)
        assert (found.architecture, found.obstacles) == (arch, ())
        assert found.first_layer is not None


def test_contract_beside_a_whole_record_changes_nothing_else(tmp_path):
    """The way to a feature is the record's: it was the family's; so was a guess at the network."""
    contract, other = network_input("S2RGB"), dataclasses.replace(network_input("S2L1C"), bands=("B04", "B03", "B02"))
    options = BackboneOptions(pooling="mean")
    net = Backbone("vit_w48d2h2_8", contract, image_size=32, seed=1, options=options).eval()
    save_backbone(net, tmp_path / "own.safetensors", training={})
    export(str(tmp_path / "own.safetensors"), "timm", tmp_path / "a.pth")
    images = torch.rand(2, 3, 32, 32)

    loaded = load_backbone(tmp_path / "a.pth", contract=other)
    pooled = load_backbone(tmp_path / "a.pth", pooling="cls")

    with torch.no_grad():
        assert torch.equal(loaded(images), net(images))
    assert (loaded.contract, loaded.options.pooling) == (other, "mean")
    assert (pooled.contract, pooled.options.pooling) == (contract, "cls")
    with pytest.raises(ContractMismatch, match=r"tells of 3 bands; expected the 13 of"):
        load_backbone(tmp_path / "a.pth", contract=network_input("S2L1C"))


def test_inspection_says_that_a_file_is_no_network_of_its_record(tmp_path):
    """As loading does."""
    torch.save(encoder("resnet18", 3).state_dict(), tmp_path / "a.pth")
    record = {"contract": network_input("S2RGB").to_json(), "arch": "resnet34"}
    (tmp_path / "a.pth.json").write_text(json.dumps(record), encoding="utf-8")

    assert (
        "holds a resnet18; expected resnet34, as the record a.pth.json says" in inspect(tmp_path / "a.pth").obstacles[0]
    )


@pytest.mark.parametrize(
    "tensors",
    [
        {"patch_embed.proj.weight": torch.zeros(384, 13)},
        {"patch_embed.proj.weight": torch.zeros(384, 13, 1, 16, 16)},
        {"pos_embed": torch.zeros(1, 0, 384)},
    ],
)
def test_shapes_of_no_network_are_no_bare_error(tensors, tmp_path):
    """A linear patch embedding, one over time; no positions in their table."""
    torch.save(encoder("vit_small_16", 13).state_dict() | tensors, tmp_path / "a.pth")

    with pytest.raises(CheckpointInvalid, match=r"an unknown network|of no square grid"):
        load_backbone(tmp_path / "a.pth")
