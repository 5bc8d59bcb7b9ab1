# SPDX-License-Identifier: Apache-2.0
"""Initial weights: ranges and spreads as the papers say."""

from __future__ import annotations

import math

import pytest
import torch

from ssl4eo.backbones.architectures import BackboneOptions, build_network


def network(init, num_bands=13, position="learned", **options):
    """Build a small transformer with weights of one seed."""
    torch.manual_seed(0)
    chosen = BackboneOptions(position=position, init=init, **options)
    return build_network("vit_nano_8", num_bands=num_bands, image_size=32, options=chosen)


def assert_uniform(weight, bound):
    """Within the bound, reaching it, of the spread of a uniform distribution."""
    assert float(weight.detach().abs().max()) <= bound * (1 + 1e-6)
    assert float(weight.detach().abs().max()) > 0.99 * bound
    assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.03)


@pytest.mark.parametrize("num_bands", [2, 13])
def test_xavier_patch_embedding_counts_its_bands(num_bands):
    """As a linear layer over 8 x 8 x C values: +- sqrt(6 / (64 C + D))."""
    patch = network("xavier", num_bands).patch_embed.proj

    assert_uniform(patch.weight, math.sqrt(6 / (64 * num_bands + 192)))
    assert not patch.bias.any()


def test_xavier_linear_layers():
    """+- sqrt(6 / (in + out)), query, key and value as one matrix, biases zero, class token N(0, 0.02)."""
    net = network("xavier")

    assert_uniform(net.blocks[2].attn.qkv.weight, math.sqrt(6 / (192 + 3 * 192)))
    assert_uniform(net.blocks[2].mlp.fc1.weight, math.sqrt(6 / (192 + 768)))
    assert not any(p.any() for name, p in net.named_parameters() if name.endswith("bias"))
    assert float(net.cls_token.detach().std()) == pytest.approx(0.02, rel=0.2)


def test_xavier_of_query_key_and_value_apart():
    """MoCo v3: the range of three square matrices; the class token starts at almost nothing."""
    net = network("xavier_qkv")

    assert_uniform(net.blocks[2].attn.qkv.weight, math.sqrt(6 / (192 + 192)))
    assert_uniform(net.blocks[2].attn.proj.weight, math.sqrt(6 / (192 + 192)))
    assert_uniform(net.blocks[2].mlp.fc2.weight, math.sqrt(6 / (192 + 768)))
    assert 0 < float(net.cls_token.detach().abs().max()) < 1e-5


@pytest.mark.parametrize("position", ["learned", "relative"])
def test_beit_weights_are_normal_cut_at_one_deviation(position):
    """Spread of N(0, 0.02) cut at +-0.02: 0.02 * sqrt(1 - 2 phi(1) / (Phi(1) - Phi(-1))), by hand 0.0108."""
    net = network("beit", position=position)
    inside = math.erf(1 / math.sqrt(2))
    expected = 0.02 * math.sqrt(1 - 2 * math.exp(-0.5) / math.sqrt(2 * math.pi) / inside)

    assert expected == pytest.approx(0.0108, abs=1e-4)
    for weight in (net.patch_embed.proj.weight, net.blocks[0].attn.qkv.weight, net.blocks[5].mlp.fc1.weight):
        assert float(weight.detach().abs().max()) <= 0.02
        assert float(weight.detach().std()) == pytest.approx(expected, rel=0.03)
    assert float(net.cls_token.detach().abs().max()) <= 0.02


def test_beit_divides_later_branches_by_the_root_of_twice_their_number():
    """Blocks count from 1; only the layers that end a branch are divided."""
    net = network("beit", position="relative", layer_scale=0.1)

    for number, block in enumerate(net.blocks, start=1):
        for layer in (block.attn.proj, block.mlp.fc2):
            bound = 0.02 / math.sqrt(2 * number)
            assert 0.98 * bound < float(layer.weight.detach().abs().max()) <= bound * (1 + 1e-6)
        assert torch.all(block.gamma_1 == 0.1)


@pytest.mark.parametrize("init", ["xavier", "xavier_qkv", "beit"])
def test_norms_start_as_identity(init):
    """Weights one, biases zero."""
    net = network(init)

    norms = [m for m in net.modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 13
    assert all(torch.all(n.weight == 1) and not n.bias.any() for n in norms)
