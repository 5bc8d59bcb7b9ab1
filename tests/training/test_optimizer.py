# SPDX-License-Identifier: Apache-2.0
"""LARS against its paper in float64; which parameters decay, how fast which layer learns, rates by hand."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid, UnknownName
from ssl4eo.methods.data2vec import Data2VecConfig
from ssl4eo.methods.dino import DINOConfig
from ssl4eo.methods.mae import MAEConfig
from ssl4eo.methods.moco_v2 import MoCoV2Config
from ssl4eo.methods.moco_v3 import MoCoV3Config
from ssl4eo.training.optimizer import OptimizerConfig, make_optimizer, set_rates
from ssl4eo.training.schedule import ScheduleConfig
from ssl4eo.training.sharding import load_optimizer


def lars_oracle(weight, gradients, *, lr, momentum, decay, trust=1e-3):
    """Follow Algorithm 1 of You et al. 2017 for one matrix."""
    velocity = np.zeros_like(weight)
    for gradient in gradients:
        norm = np.sqrt((weight**2).sum())
        local = trust * norm / (np.sqrt((gradient**2).sum()) + decay * norm)
        velocity = momentum * velocity + lr * local * (gradient + decay * weight)
        weight = weight - velocity
    return weight


@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 1e-2), (0.0, 0.0), (0.5, 1.0)])
def test_lars_follows_its_paper(momentum, decay):
    """Five steps of a matrix agree with the oracle to 1e-12."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 3)), rng.normal(size=(5, 4, 3))
    weight = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = make_optimizer(OptimizerConfig("lars", 2.0, decay, momentum=momentum), [("w", weight)])

    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()

    expected = lars_oracle(start, gradients, lr=2.0, momentum=momentum, decay=decay)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12)


def test_lars_by_hand():
    """||w|| = 5, ||g|| = 10, no decay, rate 4: the step is 4 * 0.001 * 5 / 10 * g."""
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    optimizer = make_optimizer(OptimizerConfig("lars", 4.0, 0.0), [("w", weight)])
    weight.grad = torch.tensor([[6.0, 8.0]], dtype=torch.float64)

    optimizer.step()

    torch.testing.assert_close(weight.data, torch.tensor([[3 - 0.012, 4 - 0.016]], dtype=torch.float64))


def test_lars_moves_vectors_as_momentum_sgd():
    """A bias knows no local rate, and does not decay."""
    vectors = [nn.Parameter(torch.tensor([1.0, 2.0])) for _ in range(2)]
    config = {"lr": 0.1, "weight_decay": 0.5}
    ours = make_optimizer(OptimizerConfig("lars", **config), [("bias", vectors[0])])
    sgd = torch.optim.SGD([vectors[1]], lr=0.1, momentum=0.9)

    for _ in range(3):
        for vector, optimizer in zip(vectors, (ours, sgd), strict=True):
            vector.grad = torch.tensor([0.3, -0.2])
            optimizer.step()

    torch.testing.assert_close(vectors[0], vectors[1])


def test_lars_moves_a_layer_that_starts_at_zero():
    """Zero weights have no length to go by: the step is plain."""
    weight = nn.Parameter(torch.zeros(2, 2))
    optimizer = make_optimizer(OptimizerConfig("lars", 0.5, 0.0), [("w", weight)])
    weight.grad = torch.ones(2, 2)

    optimizer.step()

    torch.testing.assert_close(weight.data, torch.full((2, 2), -0.5))


def vit():
    """Build the smallest transformer, six blocks deep, with a learned table of positions."""
    options = BackboneOptions(position="learned")
    module = nn.Module()
    module.backbone = Backbone("vit_nano_8", network_input("S2RGB"), image_size=32, seed=0, options=options)
    module.head = nn.Linear(192, 8)
    return module


def groups_by_name(module, config):
    """Name -> (scale of the learning rate, whether it decays), of what is trained."""
    groups = make_optimizer(config, module.named_parameters()).param_groups
    rows = {id(p): (g["scale"], g["decays"]) for g in groups for p in g["params"]}
    return {name: rows[id(p)] for name, p in module.named_parameters() if p.requires_grad}


def test_layer_decay_by_hand():
    """0.5 a step: heads and the last norm 1, block 5 1/2, block 0 1/64, the embedding 1/128."""
    rows = groups_by_name(vit(), OptimizerConfig("adamw", 1e-3, 0.05, layer_decay=0.5))

    assert rows["head.weight"][0] == rows["backbone.net.norm.weight"][0] == 1
    assert rows["backbone.net.blocks.5.attn.qkv.weight"][0] == 1 / 2
    assert rows["backbone.net.blocks.0.mlp.fc1.weight"][0] == 1 / 64
    for name in ("patch_embed.proj.weight", "pos_embed", "cls_token"):
        assert rows[f"backbone.net.{name}"][0] == 1 / 128


METHODS = (
    MAEConfig(0.75, "band", "mean", decoder_dim=16, decoder_depth=8, decoder_heads=2),
    Data2VecConfig(9, 3, 2.0, 0.9, 0.9, 0.0, smallest_block=2),
    DINOConfig(12, 0.9, 0.04, 1.0, 0.1, hidden=8, bottleneck=5),
    MoCoV3Config(8, 16, 0.9, 0.2),
    MoCoV2Config(8, 16, 0.9, 0.2),
)
"""Each method, small; MAE's decoder is deeper than the encoder."""


def build(method):
    """Build a method around the smallest transformer."""
    options = method.backbone_options("vit_nano_8")
    return method.build(Backbone("vit_nano_8", network_input("S2RGB"), image_size=32, seed=0, options=options), seed=0)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: type(m).__name__)
def test_layer_decay_goes_by_the_blocks_of_the_encoder(method):
    """0.5 a step: block i of 6 has 1 / 2^(6 - i) in each method, whatever else is built of blocks; the rest has 1."""
    rows = groups_by_name(build(method), OptimizerConfig("adamw", 1e-3, 0.05, layer_decay=0.5))

    expected = {}
    for name in rows:
        encoder = name.split(".net.")[1] if name.startswith(("backbone.net.", "student.net.")) else ""
        power = 0
        if encoder.startswith("blocks."):
            power = 6 - int(encoder.split(".")[1])
        elif encoder and not encoder.startswith("norm."):
            power = 7
        expected[name] = 0.5**power
    assert {name: scale for name, (scale, _) in rows.items()} == expected
    assert set(expected.values()) == {0.5**power for power in range(8)}


def test_names_that_do_not_decay():
    """Positions and class token are matrices to torch and are spared by name; biases and norms by shape."""
    rows = groups_by_name(vit(), OptimizerConfig("adamw", 1e-3, 0.05))

    spared = {name for name, (_, decays) in rows.items() if not decays}
    assert {"backbone.net.pos_embed", "backbone.net.cls_token", "head.bias", "backbone.net.norm.weight"} <= spared
    assert {name for name in rows if name.endswith("weight") and "norm" not in name} == rows.keys() - spared


def test_relative_positions_and_mask_tokens_do_not_decay():
    """Of data2vec and MAE; they do where all is to decay."""
    config = OptimizerConfig("adamw", 1e-3, 0.05)
    table = "backbone.net.rel_pos_bias.relative_position_bias_table"
    for method, names in ((METHODS[1], (table, "mask_token")), (METHODS[0], ("decoder.mask_token",))):
        spared = groups_by_name(build(method), config)
        everything = groups_by_name(build(method), dataclasses.replace(config, decay_all=True))

        assert not any(spared[name][1] for name in names)
        assert all(everything[name][1] for name in names)


def test_rates_reach_each_group():
    """A learning rate is scaled by layer; a weight decay reaches those that decay."""
    optimizer = make_optimizer(OptimizerConfig("adamw", 1e-3, 0.05, layer_decay=0.5), vit().named_parameters())

    set_rates(optimizer, lr=0.2, weight_decay=0.4)

    assert all(g["lr"] == 0.2 * g["scale"] for g in optimizer.param_groups)
    assert {(g["decays"], g["weight_decay"]) for g in optimizer.param_groups} == {(True, 0.4), (False, 0.0)}


def test_weight_decay_follows_half_a_cosine():
    """0.04 at the start, 0.4 at the end, the mean half way; constant without an end."""
    config = OptimizerConfig("adamw", 1e-3, 0.04, weight_decay_end=0.4)

    assert config.decay(0.0) == pytest.approx(0.04)
    assert config.decay(0.5) == pytest.approx(0.22)
    assert config.decay(0.25) == pytest.approx(0.4 - 0.36 * (1 + math.cos(math.pi / 4)) / 2)
    assert config.decay(1.0) == pytest.approx(0.4)
    assert OptimizerConfig("adamw", 1e-3, 0.04).decay(0.7) == 0.04


@pytest.mark.parametrize(("rule", "batch", "expected"), [("absolute", 1024, 0.03), ("per_256", 1024, 0.12)])
def test_learning_rate_rules(rule, batch, expected):
    """Absolute as it is; per 256 in proportion to the batch over all processes and parts."""
    assert OptimizerConfig("sgd", 0.03, 0.0, lr_rule=rule).peak(batch) == pytest.approx(expected)
    assert OptimizerConfig("sgd", 0.03, 0.0, lr_rule=rule).peak(256) == pytest.approx(0.03)


def test_schedule_is_per_iteration_and_closed():
    """Warm-up of 1.5 epochs of 10 steps, then half a cosine down to a tenth: each step against the formula."""
    config = ScheduleConfig(warmup_epochs=1.5, final_fraction=0.1)

    found = [config.factor(s, num_steps=40, steps_per_epoch=10) for s in range(40)]

    warm = [(s + 1) / 16 for s in range(15)]
    fall = [0.1 + 0.9 * (1 + math.cos(math.pi * (s - 15) / 25)) / 2 for s in range(15, 40)]
    np.testing.assert_allclose(found, warm + fall, rtol=1e-12)
    assert len(set(found)) == 40


@pytest.mark.parametrize(("name", "fused"), [("adamw", True), ("adamw", False), ("sgd", True)])
def test_scaled_gradients_need_an_unfused_optimizer(name, fused):
    """Fused AdamW unscales for itself, which clipping must not be preceded by."""
    weight = nn.Parameter(torch.zeros(2))
    optimizer = make_optimizer(OptimizerConfig(name, 0.1, 0.0), [("w", weight)], fused=fused)

    assert getattr(optimizer, "_step_supports_amp_scaling", False) is (name == "adamw" and fused)


@pytest.mark.parametrize("name", ["adamw", "sgd", "lars"])
def test_state_of_another_memory_format_goes_on_as_it_was(name):
    """Fused optimizers walk through memory: a momentum laid otherwise would be that of other weights."""

    def step(layer, optimizer):
        layer.weight.grad = torch.cos(torch.arange(layer.weight.numel()).reshape(layer.weight.shape) + 0.0)
        layer.weight.grad = layer.weight.grad.contiguous(memory_format=torch.channels_last)
        optimizer.step()

    config = OptimizerConfig(name=name, lr=0.1, weight_decay=0.01)
    torch.manual_seed(0)
    whole = nn.Conv2d(3, 8, 5, bias=False).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(config, whole.named_parameters())
    step(whole, optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    other = copy.deepcopy(whole)
    for values in state["state"].values():
        for key, value in values.items():
            values[key] = value.contiguous() if value.ndim == 4 else value

    resumed = make_optimizer(config, other.named_parameters())
    load_optimizer(resumed, state)
    step(whole, optimizer)
    step(other, resumed)

    torch.testing.assert_close(other.weight, whole.weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": math.nan},
        {"lr": math.inf},
        {"weight_decay": math.nan},
        {"weight_decay_end": math.nan},
        {"weight_decay_end": math.inf},
        {"clip_norm": math.nan},
    ],
)
def test_numbers_that_are_none_are_refused(wrong):
    """NaN compares false with everything, also with what it should not be."""
    with pytest.raises(ConfigInvalid, match="expected"):
        OptimizerConfig(**({"name": "adamw", "lr": 0.1, "weight_decay": 0.0} | wrong))


@pytest.mark.parametrize("betas", [(0.9,), (), (0.9, 0.95, 0.99), 0.9, None, ("a", 0.9), (0.9, 1.0), (-0.1, 0.9)])
def test_betas_that_are_not_two_are_refused(betas):
    """By name, before Adam is built of them."""
    with pytest.raises(ConfigInvalid, match=r"optimizer\.betas is .*; expected two numbers from 0 below 1"):
        OptimizerConfig("adamw", lr=0.1, weight_decay=0.0, betas=betas)


@pytest.mark.parametrize(("name", "momentum"), [("adamw", 0.9), ("adam", 0.9), ("lars", 0.9), ("sgd", 0.0)])
def test_nesterov_without_a_momentum_to_look_along_is_refused(name, momentum):
    """Torch refuses the last one, and the others would not notice."""
    with pytest.raises(ConfigInvalid, match=r"optimizer\.nesterov"):
        OptimizerConfig(name, lr=0.1, weight_decay=0.0, momentum=momentum, nesterov=True)


@pytest.mark.parametrize("wrong", [{"name": "adamax"}, {"clip": "norms"}, {"lr_rule": "per_512"}])
def test_names_are_not_taken_for_others(wrong):
    """A misspelled optimizer is not AdamW, nor is a misspelled clip none."""
    with pytest.raises(UnknownName, match="did you mean"):
        OptimizerConfig(**({"name": "adamw", "lr": 0.1, "weight_decay": 0.0} | wrong))
