# SPDX-License-Identifier: Apache-2.0
"""MoCo v3 against an independent float64 oracle, by hand, by its properties, and over two processes."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch
from torch import distributed as dist
from torch import nn

from forked import run_forked
from ssl4eo.backbones.architectures import ARCHITECTURES
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.method import Moment, Setting
from ssl4eo.methods.moco_v3 import MoCoV3, MoCoV3Config, contrast, mlp_head, momentum_at
from ssl4eo.training.optimizer import OptimizerConfig, make_optimizer

NOW = Moment(step=4, num_steps=10, steps_per_epoch=5)
OPTIONS = {"dim": 8, "hidden": 16, "momentum": 0.9, "temperature": 0.2}
CONFIG = MoCoV3Config(**OPTIONS)
TRANSFORMERS = sorted(name for name, shape in ARCHITECTURES.items() if shape.patch is not None)


class Flat(nn.Module):
    """A stand-in backbone without batch norm: one linear layer on pooled bands."""

    num_features, patch = 3, None

    def __init__(self, patch=None):
        """Draw the layer; say that there are patches to get the heads of a transformer."""
        super().__init__()
        self.patch = patch
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        """Pool, then mix."""
        return self.layer(x.mean(dim=(2, 3)))


def method(config=CONFIG, patch=None, seed=0, norms=True):
    """Make a MoCo v3 around the stand-in, its momentum encoder moved away from the base encoder."""
    torch.manual_seed(seed)
    model = MoCoV3(config, Flat(patch), seed=seed)
    with torch.no_grad():
        for parameter in (*model.momentum_backbone.parameters(), *model.momentum_projector.parameters()):
            parameter.add_(0.1 * torch.randn_like(parameter))
    if not norms:
        for head in (model.projector, model.predictor, model.momentum_projector):
            for number, layer in enumerate(head):
                if isinstance(layer, nn.BatchNorm1d):
                    head[number] = nn.Identity()
    return model


def views(batch=8, size=4, seed=0, bands=3):
    """Make two views of a batch."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.rand((batch, bands, size, size), generator=generator) for _ in range(2))


def real_method(arch, config=CONFIG, modality="S2RGB", image_size=32):
    """Make a MoCo v3 around a real network."""
    options = config.backbone_options(arch)
    backbone = Backbone(arch, network_input(modality), image_size=image_size, seed=0, options=options)
    return config.build(backbone, seed=0)


def setting(arch="vit_nano_8", **change):
    """Describe a run on one process."""
    values = {"image_size": 32, "num_views": 2, "batch_size": 8, "num_processes": 1, "accumulate": 1}
    return Setting(arch, **(values | change))


def oracle_head(head, x):
    """Run a head in NumPy, float64, with the statistics of the batch."""
    for layer in head:
        if isinstance(layer, nn.Linear):
            x = x @ layer.weight.detach().double().numpy().T
        elif isinstance(layer, nn.BatchNorm1d):
            x = (x - x.mean(axis=0)) / np.sqrt(((x - x.mean(axis=0)) ** 2).mean(axis=0) + layer.eps)
            if layer.affine:
                x = x * layer.weight.detach().double().numpy() + layer.bias.detach().double().numpy()
        else:
            x = np.maximum(x, 0)
    return x


def oracle(model, pair, temperature):
    """Compute Algorithm 1's loss in NumPy, float64, one sum at a time."""

    def run(backbone, heads, images):
        weight, bias = (p.detach().double().numpy() for p in backbone.parameters())
        x = images.double().numpy().mean(axis=(2, 3)) @ weight.T + bias
        for head in heads:
            x = oracle_head(head, x)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    queries = [run(model.backbone, (model.projector, model.predictor), x) for x in pair]
    keys = [run(model.momentum_backbone, (model.momentum_projector,), x) for x in pair]
    total = 0.0
    for query, key in ((queries[0], keys[1]), (queries[1], keys[0])):
        for i in range(len(query)):
            scores = [math.exp(float(query[i] @ key[j]) / temperature) for j in range(len(key))]
            total += -2 * temperature * math.log(scores[i] / sum(scores)) / len(query)
    return total


@pytest.mark.parametrize("patch", [None, 16])
@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_loss_equals_the_oracle(patch, temperature):
    """Both directions, 2 T times the cross entropy, with the heads of a residual network and of a transformer."""
    model, pair = method(MoCoV3Config(**(OPTIONS | {"temperature": temperature})), patch), views()
    expected = oracle(model, pair, temperature)

    loss = float(model(pair, None, NOW).loss.detach())

    assert loss == pytest.approx(expected, rel=1e-5)


def test_loss_of_two_samples_by_hand():
    """Orthogonal keys: 2 T ln(1 + e^(-1/T)) where each query finds its own, 1/T more where it finds the other's."""
    key = torch.eye(2)

    right, hits = contrast(torch.eye(2), key, temperature=0.5)
    wrong, misses = contrast(torch.eye(2).flip(0), key, temperature=0.5)

    assert float(right) == pytest.approx(math.log(1 + math.exp(-2)))
    assert float(wrong) == pytest.approx(math.log(1 + math.exp(-2)) + 2)
    assert (float(hits), float(misses)) == (1.0, 0.0)


def test_parts_of_the_loss_and_the_momentum_are_told():
    """Each direction is that of swapped views; 4 of 10 steps: 1 - 0.1 (1 + cos 0.4 pi) / 2; nothing has a gradient."""
    model, pair = method(norms=False), views()

    output = model(pair, None, NOW)
    swapped = model((pair[1], pair[0]), None, NOW).metrics

    first, second = output.metrics["loss_1_to_2"], output.metrics["loss_2_to_1"]
    assert float(first + second) == pytest.approx(float(output.loss.detach()))
    assert float(first) == pytest.approx(float(swapped["loss_2_to_1"]))
    assert float(first) != pytest.approx(float(second), rel=1e-6)
    assert float(output.metrics["ema_momentum"]) == pytest.approx(1 - 0.05 * (1 + math.cos(0.4 * math.pi)))
    assert not any(value.requires_grad for value in output.metrics.values())


def test_initial_loss_is_that_of_equal_logits():
    """Where all embeddings are one, each direction costs 2 T ln(B), exactly."""
    model = method()
    one = nn.functional.normalize(torch.ones(6, 8), dim=1)
    model._query = model._key = lambda images: one

    loss = float(model(views(6), None, NOW).loss)

    assert loss == pytest.approx(4 * 0.2 * math.log(6), rel=1e-6)
    assert CONFIG.initial_loss(6) == pytest.approx(4 * 0.2 * math.log(6))
    assert CONFIG.initial_loss() is None


def test_loss_at_initialization_is_near_its_theoretical_value():
    """Random directions in 256 dims are nearly equally far: T = 1 leaves a hundredth."""
    config = MoCoV3Config(dim=256, hidden=512, momentum=0.99, temperature=1.0)

    loss = float(method(config, patch=16)(views(64), None, NOW).loss.detach())

    assert loss == pytest.approx(config.initial_loss(64), rel=0.02)


@pytest.mark.parametrize("start", [0.0, 0.9, 0.99, 1.0])
def test_momentum_rises_to_one_along_half_a_cosine(start):
    """m(t) = 1 - (1 - m0) (1 + cos(pi t)) / 2, against NumPy on a grid."""
    shares = np.linspace(0, 1, 101)

    found = np.array([momentum_at(float(t), start=start) for t in shares])

    np.testing.assert_allclose(found, 1 - (1 - start) * np.cos(np.pi * shares / 2) ** 2, rtol=1e-12)
    assert found[0] == pytest.approx(start)
    assert found[50] == pytest.approx((1 + start) / 2)
    assert found[100] == 1
    assert np.all(np.diff(found) >= 0)


def test_momentum_encoder_follows_by_the_momentum_rule():
    """theta_k <- m theta_k + (1 - m) theta_q, with m of this step, after the step."""
    model = method()
    base = [*model.backbone.parameters(), *model.projector.parameters()]
    momentum = [*model.momentum_backbone.parameters(), *model.momentum_projector.parameters()]
    before = [p.detach().double().clone() for p in momentum]
    m = 1 - 0.1 * (1 + math.cos(math.pi * 0.4)) / 2

    model.before_step(NOW)
    model(views(), None, NOW)
    untouched = all(torch.equal(p.double(), b) for p, b in zip(momentum, before, strict=True))
    model.after_step(NOW)

    assert untouched
    for now, old, online in zip(momentum, before, base, strict=True):
        torch.testing.assert_close(now.double(), m * old + (1 - m) * online.double(), rtol=1e-6, atol=1e-7)


def test_average_of_equal_weights_is_unchanged():
    """A base encoder that did not move leaves the momentum encoder as it is, bit by bit."""
    model = MoCoV3(CONFIG, Flat(), seed=0)
    before = [p.clone() for p in (*model.momentum_backbone.parameters(), *model.momentum_projector.parameters())]

    model.after_step(NOW)

    after = (*model.momentum_backbone.parameters(), *model.momentum_projector.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_momentum_encoder_starts_as_a_copy_and_no_gradient_reaches_it():
    """Keys are constants; everything else learns."""
    model = MoCoV3(CONFIG, Flat(), seed=0)
    momentum = [*model.momentum_backbone.parameters(), *model.momentum_projector.parameters()]
    base = [*model.backbone.parameters(), *model.projector.parameters()]

    model(views(), None, NOW).loss.backward()

    assert all(torch.equal(a, b) for a, b in zip(momentum, base, strict=True))
    assert all(p.grad is None and not p.requires_grad for p in momentum)
    assert all(p.grad is not None for p in (*base, *model.predictor.parameters()))


def test_permuting_the_batch_leaves_the_loss_and_permutes_the_embedding():
    """The order of samples does not matter."""
    pair, order = views(), torch.randperm(8)

    first, second = method()(pair, None, NOW), method()(tuple(v[order] for v in pair), None, NOW)

    torch.testing.assert_close(first.loss, second.loss)
    torch.testing.assert_close(first.embedding[order], second.embedding)


def test_exchanging_the_views_leaves_the_loss():
    """Each view is query once and key once."""
    pair = views()

    torch.testing.assert_close(method()(pair, None, NOW).loss, method()(pair[::-1], None, NOW).loss)


def test_embedding_is_the_query_without_gradient():
    """What is watched for collapse is what the loss compares: rows of unit length."""
    output = method()(views(), None, NOW)

    assert not output.embedding.requires_grad
    torch.testing.assert_close(output.embedding.norm(dim=1), torch.ones(8))
    assert 0 <= float(output.metrics["contrast_accuracy"]) <= 1


def loss_and_gradient(rows):
    """Give loss and gradient of some rows of one batch, in heads without batch norm."""
    model = method(norms=False)
    output = model(tuple(v[rows] for v in views()), None, NOW)
    output.loss.backward()
    return output.loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])


def one_of_two(folder):
    """Be one of two processes that share a batch, and leave what it found in a file."""
    rank = int(os.environ["LOCAL_RANK"])
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(loss_and_gradient(slice(4 * rank, 4 * rank + 4)), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_mixed_precision_leaves_the_logits_alone():
    """Embeddings of cosine 0.999, as early in training: bfloat16 has ties for them, and the first one would win."""
    torch.manual_seed(0)
    common = torch.randn(1, 32)
    query, key = (nn.functional.normalize(common + 0.03 * torch.randn(64, 32), dim=1) for _ in range(2))
    key = nn.functional.normalize(query.detach() + 0.001 * key, dim=1)
    expected, hits = contrast(query, key, temperature=0.2)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, found_hits = contrast(query, key, temperature=0.2)

    assert torch.equal(found, expected)
    assert found_hits == hits == 1


def test_two_processes_have_the_loss_and_gradient_of_one(tmp_path):
    """Gathered keys: the mean over two processes is what one computes of the whole batch (float32, two sums)."""
    loss, gradient = loss_and_gradient(slice(None))

    done = run_forked(one_of_two, str(tmp_path), folder=tmp_path / "told", ranks=2)

    assert done.returncode == 0, done.stderr
    (loss0, gradient0), (loss1, gradient1) = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert not torch.allclose(loss0, loss1)
    torch.testing.assert_close((loss0 + loss1) / 2, loss)
    torch.testing.assert_close((gradient0 + gradient1) / 2, gradient)


def test_frozen_patch_embedding_stays_bit_equal_when_everything_else_moves():
    """Neither gradient nor weight decay nor the average touches it, nor the fixed positions."""
    model = real_method("vit_nano_8", MoCoV3Config(**OPTIONS, stop_grad_patch_embed=True))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = OptimizerConfig(name="adamw", lr=0.01, weight_decay=0.1, decay_all=True)
    optimizer = make_optimizer(config, model.named_parameters())

    for _ in range(2):
        model(views(4, 32), None, NOW).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.after_step(NOW)

    still = {name for name, p in model.named_parameters() if torch.equal(p, before[name])}
    fixed = ("net.patch_embed.proj.weight", "net.patch_embed.proj.bias", "net.pos_embed")
    assert still == {f"{encoder}.{name}" for encoder in ("backbone", "momentum_backbone") for name in fixed}


def test_patch_embedding_learns_unless_it_is_frozen():
    """Frozen tensors of the base encoder are those of the published one; corrected, only the positions."""
    frozen = real_method("vit_nano_8", MoCoV3Config(**OPTIONS, stop_grad_patch_embed=True))
    learned = real_method("vit_nano_8")

    names = [{n for n, p in m.backbone.net.named_parameters() if not p.requires_grad} for m in (frozen, learned)]

    assert names[0] == {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    assert names[1] == {"pos_embed"}


@pytest.mark.parametrize(("bands", "counted"), [(None, 13), (13, 13), (3, 3)])
def test_range_of_the_patch_embedding_counts_the_bands_it_is_told(bands, counted):
    """Uniform in +- sqrt(6 / (bands p^2 + D)): filled to its ends, and not beyond."""
    model = real_method("vit_nano_8", MoCoV3Config(**OPTIONS, patch_embed_bands=bands), modality="S2L1C")
    weight = model.backbone.net.patch_embed.proj.weight

    bound = math.sqrt(6 / (counted * 64 + 192))

    assert 0.999 * bound < float(weight.detach().abs().max()) <= bound * (1 + 1e-6)
    assert torch.equal(weight, model.momentum_backbone.net.patch_embed.proj.weight)


@pytest.mark.parametrize("arch", ["resnet18", "vit_nano_8"])
def test_step_is_finite_on_real_networks(arch):
    """Loss and all gradients are finite, and every parameter that learns gets one."""
    model = real_method(arch)

    output = model(views(4, 32), None, NOW)
    output.loss.backward()

    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("arch", TRANSFORMERS)
def test_every_transformer_has_fixed_positions_and_a_class_token(arch):
    """Built without memory: positions with the row first are fixed; the heads fit."""
    config = MoCoV3Config(dim=256, hidden=4096, momentum=0.99, temperature=0.2, stop_grad_patch_embed=True)
    with torch.device("meta"):
        model = real_method(arch, config, "S2L1C", 224)

    assert model.backbone.options.position == "sincos_rows"
    assert model.backbone.options.pooling == "cls"
    assert not model.backbone.net.pos_embed.requires_grad
    assert model.projector[0].in_features == model.backbone.num_features


def test_shapes_are_those_of_the_published_transformer():
    """ViT-S/16 of 13 bands, 342 tensors: the shapes by which its checkpoint is known."""
    config = MoCoV3Config(dim=256, hidden=4096, momentum=0.99, temperature=0.2)
    with torch.device("meta"):
        model = real_method("vit_small_16", config, "S2L1C", 224)

    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}

    assert len(shapes) == 342
    assert len(model.backbone.net.state_dict()) == 150
    assert sum(p.numel() for p in model.backbone.net.parameters()) == 22_648_704
    assert shapes["backbone.net.patch_embed.proj.weight"] == (384, 13, 16, 16)
    assert shapes["backbone.net.pos_embed"] == (1, 197, 384)
    linear = {name: shape for name, shape in shapes.items() if len(shape) == 2 and "net" not in name}
    assert linear == {
        "projector.0.weight": (4096, 384),
        "projector.3.weight": (4096, 4096),
        "projector.6.weight": (256, 4096),
        "momentum_projector.0.weight": (4096, 384),
        "momentum_projector.3.weight": (4096, 4096),
        "momentum_projector.6.weight": (256, 4096),
        "predictor.0.weight": (4096, 256),
        "predictor.3.weight": (256, 4096),
    }
    statistics = {"projector.7.running_mean", "projector.7.running_var", "projector.7.num_batches_tracked"}
    assert {name for name in shapes if name.startswith("projector.7.")} == statistics
    assert shapes["predictor.4.running_mean"] == (256,)
    assert "predictor.4.weight" not in shapes


def test_residual_network_has_the_shorter_heads():
    """Projector of two layers with a last norm, predictor of two without."""
    config = MoCoV3Config(dim=256, hidden=4096, momentum=0.99, temperature=0.2)
    with torch.device("meta"):
        model = real_method("resnet50", config, "S2L1C", 224)

    kinds = [[type(layer).__name__ for layer in head] for head in (model.projector, model.predictor)]

    assert kinds == [
        ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"],
        ["Linear", "BatchNorm1d", "ReLU", "Linear"],
    ]
    assert model.projector[0].in_features == 2048
    assert not model.projector[4].affine


def test_head_has_no_biases():
    """Only batch norm shifts, and the last one not even that."""
    head = mlp_head([3, 5, 7, 2], last_norm=True)

    assert [tuple(p.shape) for p in head.parameters()] == [(5, 3), (5,), (5,), (7, 5), (7,), (7,), (2, 7)]
    assert all(layer.bias is None for layer in head if isinstance(layer, nn.Linear))


def test_heads_depend_on_the_seed_alone():
    """Two builds with one seed are equal, whatever the global generator did."""
    torch.manual_seed(1)
    first = real_method("vit_nano_8").state_dict()
    torch.manual_seed(2)
    second = real_method("vit_nano_8").state_dict()

    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 0},
        {"hidden": 0},
        {"momentum": 1.1},
        {"momentum": -0.1},
        {"temperature": 0.0},
        {"temperature": 1e-45},
        {"temperature": 1e-06},
        {"patch_embed_bands": 0},
    ],
)
def test_impossible_config_is_refused(change):
    """Each option is checked, and told by its name and value alone."""
    ((name, value),) = change.items()
    with pytest.raises(ConfigInvalid, match=rf"^method\.{name} is {value}; expected"):
        MoCoV3Config(**(OPTIONS | change))


@pytest.mark.parametrize(
    ("options", "run", "words"),
    [
        ({}, {"num_views": 1}, "1 views"),
        ({}, {"num_views": 10}, "10 views"),
        ({}, {"accumulate": 2}, "accumulate 2"),
        ({"stop_grad_patch_embed": True}, {"arch": "resnet18"}, "no patch embedding"),
        ({"patch_embed_bands": 3}, {"arch": "resnet50"}, "no patch embedding"),
    ],
)
def test_run_that_cannot_work_is_refused(options, run, words):
    """Views, parts of a batch and networks that do not fit are refused before training."""
    config = MoCoV3Config(**OPTIONS, **options)

    with pytest.raises(ConfigInvalid, match=words):
        config.check(setting(**run))
    config.check(setting())
