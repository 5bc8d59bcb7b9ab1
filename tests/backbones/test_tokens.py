# SPDX-License-Identifier: Apache-2.0
"""A transformer step by step gives what timm's own forward gives."""

from __future__ import annotations

import pytest
import torch

from ssl4eo.backbones.architectures import BackboneOptions, build_network
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.tokens import (
    embed_patches,
    encode,
    positions,
    run_blocks,
    with_class_token,
    with_positions,
)
from ssl4eo.contract import network_input

KINDS = {
    "DINO": BackboneOptions(),
    "MoCo v3": BackboneOptions(position="sincos_rows", init="xavier_qkv"),
    "MAE": BackboneOptions(position="sincos_columns", init="xavier"),
    "data2vec": BackboneOptions(position="relative", init="beit", layer_scale=0.5),
}


@pytest.fixture(scope="module", params=list(KINDS))
def net(request):
    """One network of each kind, its weights moved so that nothing is zero."""
    torch.manual_seed(0)
    network = build_network("vit_nano_8", num_bands=2, image_size=32, options=KINDS[request.param])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


@pytest.fixture
def images():
    """Three images of two bands."""
    return torch.rand((3, 2, 32, 32), generator=torch.Generator().manual_seed(1))


def test_encode_equals_timms_own_forward(net, images):
    """All tokens after the last norm, bit by bit: the same operations in the same order."""
    with torch.no_grad():
        ours, theirs = encode(net, images), net.forward_features(images)

    assert ours.shape == (3, 17, 192)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_kept_outputs_are_those_after_the_named_blocks(net, images):
    """Each equals running the network up to there, in order of the blocks."""
    seen = []
    hooks = [b.register_forward_hook(lambda _m, _i, out: seen.append(out)) for b in net.blocks]
    with torch.no_grad():
        tokens = with_class_token(net, with_positions(net, embed_patches(net, images)))
        last, kept = run_blocks(net, tokens, keep=frozenset({5, 1}))
    for hook in hooks:
        hook.remove()

    assert len(kept) == 2
    assert torch.equal(kept[0], seen[1])
    assert torch.equal(kept[1], seen[5])
    assert torch.equal(last, seen[5])


def test_activation_checkpointing_changes_nothing(net, images):
    """The same tokens and gradients with blocks computed twice."""

    def gradient(checkpointing):
        net.set_grad_checkpointing(enable=checkpointing)
        net.zero_grad()
        tokens = encode(net, images)
        tokens.square().sum().backward()
        return tokens.detach(), net.patch_embed.proj.weight.grad.clone()

    plain, again = gradient(checkpointing=False), gradient(checkpointing=True)
    net.set_grad_checkpointing(enable=False)
    net.zero_grad(set_to_none=True)

    assert torch.equal(plain[0], again[0])
    torch.testing.assert_close(plain[1], again[1])


def test_patches_go_row_by_row(net):
    """Only the token of the changed patch changes: row 1, column 2 is number 6."""
    image = torch.zeros(1, 2, 32, 32)
    other = image.clone()
    other[:, :, 8:16, 16:24] = 1.0

    with torch.no_grad():
        changed = (embed_patches(net, image) != embed_patches(net, other)).any(dim=2)[0]

    assert changed.nonzero()[:, 0].tolist() == [6]


def test_relative_positions_add_nothing_to_tokens():
    """BEiT tells places to its attention alone."""
    net = build_network("vit_nano_8", num_bands=2, image_size=32, options=KINDS["data2vec"])
    patches = torch.rand(1, 16, 192)

    assert positions(net, 16) is None
    assert torch.equal(with_positions(net, patches), patches)
    assert torch.equal(with_class_token(net, patches)[:, 0], net.cls_token[:, 0])


def test_another_size_interpolates_the_positions():
    """48 px on a network of 32 px: as timm's own dynamic size; the class token keeps its place."""
    torch.manual_seed(0)
    net = build_network("vit_nano_8", num_bands=2, image_size=32, options=KINDS["DINO"]).eval()
    images = torch.rand(1, 2, 48, 48)

    table = positions(net, 36)
    with torch.no_grad():
        ours, theirs = encode(net, images), net.forward_features(images)

    assert table.shape == (1, 37, 192)
    assert torch.equal(table[:, :1], net.pos_embed[:, :1])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_backbone_gives_class_token_or_mean_of_patches(pooling):
    """After the last norm; the mean leaves the class token out."""
    options = BackboneOptions(pooling=pooling)
    backbone = Backbone("vit_nano_8", network_input("S1GRD"), image_size=32, seed=0, options=options).eval()
    images = torch.rand(2, 2, 32, 32)

    with torch.no_grad():
        features, tokens = backbone(images), encode(backbone.net, images)

    expected = tokens[:, 0] if pooling == "cls" else tokens[:, 1:].mean(dim=1)
    assert torch.equal(features, expected)
