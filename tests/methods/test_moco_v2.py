# SPDX-License-Identifier: Apache-2.0
"""MoCo v2 against an independent float64 oracle, by hand, and by its properties."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from ssl4eo.backbones.architectures import build_network
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.method import Moment, Setting
from ssl4eo.methods.moco_v2 import MoCoV2, MoCoV2Config
from ssl4eo.methods.parts import KeyQueue, update_average

NOW = Moment(step=0, num_steps=10, steps_per_epoch=5)
CONFIG = MoCoV2Config(dim=16, queue_size=32, momentum=0.9, temperature=0.2)


class Flat(nn.Module):
    """A stand-in backbone without batch norm: one linear layer on pooled bands."""

    num_features = 3

    def __init__(self):
        """Draw the layer."""
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        """Pool, then mix."""
        return self.layer(x.mean(dim=(2, 3)))


def method(config=CONFIG, seed=0):
    """Make a MoCo v2 around the stand-in."""
    torch.manual_seed(seed)
    return MoCoV2(config, Flat(), seed=seed)


def views(batch=8, seed=0):
    """Make two views of a batch."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand((batch, 3, 4, 4), generator=generator) for _ in range(2))


def forward(model, pair):
    """Do what the loop does up to the loss."""
    model.before_step(NOW)
    return model(pair, None, NOW)


def step(model, pair):
    """Do what the loop does, the optimizer apart."""
    forward(model, pair).loss.backward()
    model.after_step(NOW)


def setting(batch_size):
    """Describe a run on one process."""
    return Setting("resnet18", 32, num_views=2, batch_size=batch_size, num_processes=1, accumulate=1)


def oracle(model, pair):
    """Compute Algorithm 1's loss in NumPy, float64."""

    def run(network, head, images):
        weights = [p.detach().double().numpy() for p in (*network.parameters(), *head.parameters())]
        x = images.double().numpy().mean(axis=(2, 3)) @ weights[0].T + weights[1]
        x = np.maximum(x @ weights[2].T + weights[3], 0) @ weights[4].T + weights[5]
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    q, k = run(model.backbone, model.head, pair[0]), run(model.key_backbone, model.key_head, pair[1])
    queue = model.queue.keys.double().numpy()
    logits = np.concatenate([(q * k).sum(1, keepdims=True), q @ queue.T], axis=1) / model.config.temperature
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[:, 0])), k


def test_loss_equals_the_oracle():
    """Queries against their key and the queue, as in Algorithm 1."""
    model, pair = method(), views()
    step(model, pair)  # moves the key network, fills a part of the queue
    expected_model = copy.deepcopy(model)
    update_average(expected_model.key_backbone, expected_model.backbone, momentum=0.9)
    update_average(expected_model.key_head, expected_model.head, momentum=0.9)
    expected, _ = oracle(expected_model, pair)

    loss = forward(model, pair).loss.detach()

    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_negatives", [False, True])
def test_mixed_precision_leaves_the_logits_alone(batch_negatives):
    """Products of embeddings are of float32: bfloat16 has ties for those that are nearly alike."""
    model = method(dataclasses.replace(CONFIG, batch_negatives=batch_negatives))
    query, key = (nn.functional.normalize(torch.randn(8, 16), dim=1) for _ in range(2))
    expected = model._contrast(query, key)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model._contrast(query, key)

    assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize(("wanted", "norm"), [(True, 0.0), (False, 1.0)])
def test_residual_branches_start_where_the_config_says(wanted, norm):
    """The last norm of each block; the published weights came from ones."""
    options = dataclasses.replace(CONFIG, zero_init_last=wanted).backbone_options("resnet18")
    net = build_network("resnet18", num_bands=3, image_size=32, options=options)

    weights = [p.detach() for name, p in net.named_parameters() if name.endswith("bn2.weight")]
    assert set(torch.cat(weights).tolist()) == {norm}


def test_residual_branches_of_a_transformer_are_refused():
    """It has none of these norms, so that the option would do nothing."""
    config = dataclasses.replace(CONFIG, zero_init_last=False)

    with pytest.raises(ConfigInvalid, match="only residual networks"):
        config.check(dataclasses.replace(setting(8), arch="vit_nano_8"))


def test_initial_loss_is_log_of_the_number_of_candidates():
    """Random directions in high dimension are equally likely: ln(K + 1)."""
    config = MoCoV2Config(dim=2048, queue_size=4096, momentum=0.99, temperature=1.0)
    model = method(config)
    model._key = lambda images: nn.functional.normalize(torch.randn(len(images), 2048), dim=1)

    loss = float(forward(model, views(64)).loss.detach())

    assert config.initial_loss() == pytest.approx(math.log(4097))
    assert loss == pytest.approx(config.initial_loss(), abs=0.02)


def test_initial_loss_counts_the_keys_of_the_batch_as_candidates():
    """With `batch_negatives` ln(K + N), the own key among the N: 64 + 192 random keys; unknown without N."""
    config = MoCoV2Config(2048, 64, 0.99, temperature=1.0, batch_negatives=True)
    model = method(config)
    model._key = lambda images: nn.functional.normalize(torch.randn(len(images), 2048), dim=1)

    loss = float(forward(model, views(192)).loss.detach())

    assert config.initial_loss(192) == pytest.approx(math.log(256))
    assert loss == pytest.approx(config.initial_loss(192), abs=0.02)
    assert config.initial_loss() is None
    assert CONFIG.initial_loss(192) == CONFIG.initial_loss() == math.log(33)


def test_momentum_is_told():
    """The constant of the config, without a gradient."""
    told = forward(method(), views()).metrics["ema_momentum"]

    assert float(told) == pytest.approx(0.9)
    assert not told.requires_grad


def test_no_gradient_reaches_the_key_network():
    """Keys are constants."""
    model = method()

    forward(model, views()).loss.backward()

    assert all(p.grad is None for m in (model.key_backbone, model.key_head) for p in m.parameters())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_key_network_follows_by_the_momentum_rule():
    """theta_k <- m theta_k + (1 - m) theta_q, before the key is computed."""
    model = method()
    with torch.no_grad():
        model.backbone.layer.weight.add_(1.0)
    before, query = model.key_backbone.layer.weight.clone(), model.backbone.layer.weight.clone()

    forward(model, views())

    torch.testing.assert_close(model.key_backbone.layer.weight, 0.9 * before + 0.1 * query)


def test_average_of_equal_weights_is_unchanged():
    """The average of a network with itself is itself, exactly."""
    first = Flat()
    second = copy.deepcopy(first)

    update_average(second, first, momentum=0.37)

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_keys_enter_the_queue_after_the_loss_and_wrap_around():
    """Five batches of 8 in a queue of 32: the fifth overwrites the first."""
    model = method()
    pushed = []
    for number in range(5):
        step(model, views(seed=number))
        _, key = oracle(model, views(seed=number))
        pushed.append(key)

    assert int(model.queue.pointer) == 8
    np.testing.assert_allclose(model.queue.keys[:8].numpy(), pushed[4], atol=1e-5)
    np.testing.assert_allclose(model.queue.keys[8:16].numpy(), pushed[1], atol=1e-5)


def test_permuting_the_batch_leaves_the_loss():
    """The order of samples does not matter."""
    pair = views()
    order = torch.randperm(8)

    first, second = forward(method(), pair), forward(method(), (pair[0][order], pair[1][order]))

    torch.testing.assert_close(first.loss, second.loss)
    torch.testing.assert_close(first.embedding[order], second.embedding)


def test_symmetric_loss_is_the_mean_of_both_directions():
    """Each view is query once and key once."""
    config = MoCoV2Config(dim=16, queue_size=32, momentum=0.9, temperature=0.2, symmetric=True)
    pair = views()

    both = float(forward(method(config), pair).loss.detach())
    one = float(forward(method(), pair).loss.detach())
    other = float(forward(method(), (pair[1], pair[0])).loss.detach())

    assert both == pytest.approx((one + other) / 2, rel=1e-5)


def test_batch_negatives_equal_a_queue_that_holds_the_batch():
    """Comparing with the batch's keys equals having them in the queue."""
    config = MoCoV2Config(dim=16, queue_size=32, momentum=0.9, temperature=0.2, batch_negatives=True)
    model, pair = method(config), views()
    expected_model = method()
    _, key = oracle(expected_model, pair)
    queue = expected_model.queue.keys.double().numpy()
    query = expected_model._query(pair[0]).detach().double().numpy()
    logits = np.concatenate([query @ key.T, query @ queue.T], axis=1) / 0.2
    expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - np.diag(logits[:, :8]))

    assert float(forward(model, pair).loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_queue_starts_with_unit_rows():
    """Random directions, the same for a seed."""
    first, second = KeyQueue(64, 8, seed=1), KeyQueue(64, 8, seed=1)

    torch.testing.assert_close(first.keys.norm(dim=1), torch.ones(64))
    assert torch.equal(first.keys, second.keys)


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 0},
        {"queue_size": 0},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"temperature": 0.0},
        {"temperature": 1e-45},
        {"temperature": 1e-06},
    ],
)
def test_impossible_config_is_refused(change):
    """Each option is checked, and told by its name and value alone."""
    options = {"dim": 16, "queue_size": 32, "momentum": 0.9, "temperature": 0.2}
    ((name, value),) = change.items()
    with pytest.raises(ConfigInvalid, match=rf"^method\.{name} is {value}; expected"):
        MoCoV2Config(**(options | change))


def test_queue_that_is_no_multiple_of_the_batch_is_refused_with_a_number():
    """The remedy names a queue that works."""
    with pytest.raises(ConfigInvalid, match="queue_size 24"):
        CONFIG.check(setting(12))
    CONFIG.check(setting(16))


def test_queue_as_long_as_the_data_is_warned_of():
    """Such a queue holds the compared images themselves as negatives."""
    assert CONFIG.warn_of_data(33) is None
    assert "queue_size 32" in (CONFIG.warn_of_data(32) or "")


def test_untrained_network_depends_on_the_seed_alone():
    """Two builds with one seed are equal, whatever the global generator did."""
    contract = network_input("S2RGB")
    torch.manual_seed(1)
    first = Backbone("resnet18", contract, image_size=32, seed=5)
    torch.manual_seed(2)
    second = Backbone("resnet18", contract, image_size=32, seed=5)
    other = Backbone("resnet18", contract, image_size=32, seed=6)

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.net.conv1.weight, other.net.conv1.weight)
