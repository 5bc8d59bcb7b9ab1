# SPDX-License-Identifier: Apache-2.0
"""Weights put into a network: copied or taken, strictly."""

from __future__ import annotations

import pytest
import torch

from ssl4eo.backbones.architectures import BackboneOptions, build_network, on_meta, put_weights
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input

OPTIONS = BackboneOptions()


def state():
    torch.manual_seed(0)
    return build_network("resnet18", num_bands=3, image_size=64, options=OPTIONS).state_dict()


def around(weights, **how):
    contract = network_input("S2RGB")
    return Backbone.from_weights("resnet18", contract, image_size=64, options=OPTIONS, weights=weights, **how)


def test_weights_are_copied_unless_they_are_taken():
    """A change of the given tensors is seen where they were taken only."""
    for taken in (False, True):
        weights = state()
        network = around(weights, taken=taken)
        before = network.net.conv1.weight.detach().clone()
        weights["conv1.weight"].add_(1)
        assert torch.equal(network.net.conv1.weight, before) != taken
        assert network.net.conv1.weight.requires_grad


def test_parts_of_a_larger_memory_are_copied_even_where_taken():
    """A slice, two names of one tensor, a stride of zero: none may be changed through another."""
    weights = state()
    large = torch.zeros(2, *weights["conv1.weight"].shape)
    weights["conv1.weight"] = large[0]
    weights["bn1.bias"] = weights["bn1.weight"]
    weights["bn1.running_mean"] = torch.zeros(1).expand(64)

    network = around(weights, taken=True)
    with torch.no_grad():
        for value in (network.net.conv1.weight, network.net.bn1.weight, network.net.bn1.running_mean):
            value.add_(1)

    assert not large.any()
    assert torch.equal(network.net.bn1.bias, network.net.bn1.weight - 1)
    assert network.net.bn1.running_mean.tolist() == [1.0] * 64


@pytest.mark.parametrize("fault", ["missing", "more", "shape"])
def test_other_weights_are_no_networks(fault):
    """With the name of the first that does not fit."""
    weights = state()
    if fault == "missing":
        del weights["layer1.0.conv1.weight"]
    elif fault == "more":
        weights["layer9.weight"] = torch.zeros(1)
    else:
        weights["layer1.0.conv1.weight"] = torch.zeros(1)

    with pytest.raises(RuntimeError, match="layer9" if fault == "more" else r"layer1\.0\.conv1\.weight"):
        put_weights(on_meta("resnet18", num_bands=3), weights)


def test_what_is_put_is_what_is_loaded():
    """Parameters and buffers alike, bit by bit; the last norm of each branch too, which is drawn as zero."""
    weights = state()
    net = on_meta("resnet18", num_bands=3)
    put_weights(net, weights)
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert not any(value.is_meta for value in [*net.parameters(), *net.buffers()])
