# SPDX-License-Identifier: Apache-2.0
"""DINO against an independent float64 oracle, by hand, and by its properties."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from timm.layers.drop import DropPath
from torch import nn

from ssl4eo.backbones.architectures import BackboneOptions, build_network
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.dino import DINO, DINOConfig, DINOHead, UnitRowLinear, cross_entropy_of_pairs, encode_crops
from ssl4eo.methods.method import Moment, Setting
from ssl4eo.methods.parts import update_average
from ssl4eo.training.schedule import cosine

CONFIG = DINOConfig(
    out_dim=12,
    momentum=0.9,
    teacher_temperature=0.04,
    freeze_last_layer=1.0,
    drop_path=0.1,
    hidden=8,
    bottleneck=5,
)
NOW = Moment(step=3, num_steps=10, steps_per_epoch=5)


class Flat(nn.Module):
    """A stand-in backbone without batch norm: one linear layer on pooled bands; counts its forward passes."""

    num_features = 3
    options = BackboneOptions()

    def __init__(self):
        """Draw the layer."""
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.sizes = []

    def forward(self, x):
        """Pool, then mix."""
        self.sizes.append((len(x), x.shape[-1]))
        return self.layer(x.mean(dim=(2, 3)))


def method(config=CONFIG, seed=0):
    """Make a DINO around the stand-in whose teacher is not its student and whose centre is not zero."""
    torch.manual_seed(seed)
    model = DINO(config, Flat(), seed=seed)
    with torch.no_grad():
        for parameter in (*model.backbone.parameters(), *model.teacher_head.mlp.parameters()):
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        model.center.copy_(torch.randn(config.out_dim) * 0.1)
    return model


def crops(batch=4, num_local=8, seed=0):
    """Make two large and some small crops of a batch."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (8, 8, *[4] * num_local)
    return tuple(torch.rand((batch, 3, s, s), generator=generator) for s in sizes)


def step(model, views, moment=NOW):
    """Do what the loop does, the optimizer apart."""
    output = model(views, None, moment)
    output.loss.backward()
    model.before_update(moment)
    model.after_step(moment)
    return output


def numpy_outputs(network, head, images):
    """Run stand-in and head in NumPy, float64: (B, K)."""
    backbone = [p.detach().double().numpy() for p in network.parameters()]
    mlp = [p.detach().double().numpy() for p in head.mlp.parameters()]
    rows = head.last_layer.weight_v.detach().double().numpy()
    x = images.double().numpy().mean(axis=(2, 3)) @ backbone[0].T + backbone[1]
    for number in range(3):
        x = x @ mlp[2 * number].T + mlp[2 * number + 1]
        if number < 2:
            x = x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
    x = x / np.sqrt((x**2).sum(axis=1, keepdims=True))
    return np.stack([x @ (row / np.sqrt((row**2).sum())) for row in rows], axis=1)


def log_softmax(values):
    """Do what it says, for rows of float64."""
    return values - np.log(np.exp(values).sum(axis=1, keepdims=True))


def oracle(model, views, teacher_temperature):
    """Compute the loss as the paper writes it, pair by pair; gives it, the entropy of the teacher, its outputs."""
    student = [log_softmax(numpy_outputs(model.student, model.student_head, v) / 0.1) for v in views]
    outputs = [numpy_outputs(model.backbone, model.teacher_head, v) for v in views[:2]]
    centre = model.center.double().numpy()
    teacher = [np.exp(log_softmax((o - centre) / teacher_temperature)) for o in outputs]
    terms = [
        -(teacher[g] * student[v]).sum(axis=1).mean() for g, v in itertools.product((0, 1), range(len(views))) if g != v
    ]
    entropy = np.mean([-(p * np.log(p)).sum(axis=1).mean() for p in teacher])
    return np.mean(terms), len(terms), entropy, np.concatenate(outputs)


@pytest.mark.parametrize(("num_local", "num_terms"), [(8, 18), (3, 8), (0, 2)])
def test_loss_equals_the_oracle(num_local, num_terms):
    """Every global view of the teacher against every other view of the student; ten crops have 18 pairs."""
    model, views = method(), crops(num_local=num_local)
    expected, count, entropy, _ = oracle(model, views, 0.04)

    output = model(views, None, NOW)

    assert count == num_terms
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(output.metrics["teacher_entropy"]) == pytest.approx(entropy, rel=1e-4)
    assert float(output.metrics["teacher_student_kl"]) == pytest.approx(expected - entropy, rel=1e-4)


def test_loss_of_a_case_worked_by_hand():
    """Two outputs, one sample: p1 = (1, 0), p2 = (1/2, 1/2), students (1/2, 1/2), (3/4, 1/4), local (1/4, 3/4).

    Pairs: p1 with view 2: ln 4/3; p2 with view 1: ln 2; local: p1 ln 4, p2 (ln 4 + ln 4/3) / 2.
    """
    targets = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])
    logits = torch.tensor([[[0.0, 0.0]], [[math.log(3), 0.0]], [[0.0, math.log(3)]]])
    expected = (math.log(4 / 3) + math.log(2) + math.log(4) + (math.log(4) + math.log(4 / 3)) / 2) / 4

    loss = cross_entropy_of_pairs(logits, targets)

    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_gradient_is_that_of_the_pairs():
    """Adding up the targets first changes no gradient: compared in float64 with one cross entropy a pair."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((5, 3, 7), generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.randn((2, 3, 7), generator=generator, dtype=torch.float64).softmax(dim=2)
    pairs = [(g, v) for g in range(2) for v in range(5) if g != v]
    plain = torch.stack([nn.functional.cross_entropy(logits[v], targets[g]) for g, v in pairs]).mean()
    (expected,) = torch.autograd.grad(plain, logits)

    loss = cross_entropy_of_pairs(logits, targets)
    (gradient,) = torch.autograd.grad(loss, logits)

    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)


def test_loss_is_log_k_where_the_student_outputs_are_equal():
    """A student that prefers no output loses ln K, whatever the teacher says."""
    targets = torch.rand((2, 4, 1000)).softmax(dim=2)

    loss = cross_entropy_of_pairs(torch.full((10, 4, 1000), 0.3), targets)

    assert float(loss) == pytest.approx(math.log(1000), rel=1e-6)
    assert dataclasses.replace(CONFIG, out_dim=1000).initial_loss() == math.log(1000)


def test_loss_of_an_untrained_network_follows_theory():
    """With random rows of n dims: ln K + 1 / (2 n s^2) - cos / (n s t), in the limit of many outputs.

    Tolerance 0.05: the last outputs of 32,768 random ones, and the terms beyond the second moment.
    """
    config = DINOConfig(32_768, 0.9, 0.04, 0.0, 0.0, hidden=64, bottleneck=256)
    torch.manual_seed(0)
    model, views = DINO(config, Flat(), seed=0), crops(batch=16, num_local=2)
    unit = model.student_head.project(encode_crops(model.student, views)).detach().unflatten(0, (4, 16))
    pairs = [(0, 1), (1, 0), (0, 2), (1, 2), (0, 3), (1, 3)]
    cos = float(torch.stack([(unit[g] * unit[v]).sum(dim=1).mean() for g, v in pairs]).mean())
    expected = config.initial_loss() + 1 / (2 * 256 * 0.1**2) - cos / (256 * 0.1 * 0.04)

    loss = float(model(views, None, NOW).loss.detach())

    assert loss == pytest.approx(expected, abs=0.05)


def test_crops_of_one_size_share_a_forward():
    """Two forward passes of the student, one of the teacher; rows come view by view."""
    model, views = method(), crops(batch=4, num_local=8)

    model(views, None, NOW)

    assert model.student.sizes == [(8, 8), (32, 4)]
    assert model.backbone.sizes == [(8, 8)]
    torch.testing.assert_close(encode_crops(model.student, views)[12:16], model.student(views[3]))


def test_no_gradient_reaches_the_teacher():
    """The teacher is a constant; the student learns all over, but for the lengths of the last layer's rows."""
    model = method()

    model(crops(), None, NOW).loss.backward()

    teacher = (*model.backbone.parameters(), *model.teacher_head.parameters())
    assert all(p.grad is None and not p.requires_grad for p in teacher)
    learning = {n for n, p in model.named_parameters() if p.requires_grad}
    assert learning == {n for n, p in model.named_parameters() if p.grad is not None}
    assert not model.student_head.last_layer.weight_g.requires_grad


def test_centre_moves_to_the_mean_output_after_the_loss():
    """C <- 0.9 c + 0.1 mean of the teacher's outputs on both global views, as they were before the step."""
    model, views = method(), crops()
    loss, _, _, outputs = oracle(model, views, 0.04)
    expected = 0.9 * model.center.double().numpy() + 0.1 * outputs.mean(axis=0)

    output = step(model, views)

    assert float(output.loss.detach()) == pytest.approx(loss, rel=1e-5)  # with the old centre
    np.testing.assert_allclose(model.center.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_centre_is_the_same_for_a_batch_in_two_parts():
    """Parts of a batch see the old centre, and together move it once."""
    whole, parted = method(), method()
    views = crops(batch=8)
    expected = step(whole, views).loss.detach()

    halves = [tuple(v[rows] for v in views) for rows in (slice(0, 4), slice(4, 8))]
    losses = [parted(half, None, NOW).loss.detach() for half in halves]
    parted.after_step(NOW)

    torch.testing.assert_close(torch.stack(losses).mean(), expected)
    torch.testing.assert_close(parted.center, whole.center)


def test_centre_is_of_all_processes(monkeypatch):
    """The mean that moves it is over this process's outputs and the others'."""
    model, views, others = method(), crops(), torch.linspace(-1, 1, 12)
    _, _, _, outputs = oracle(model, views, 0.04)
    monkeypatch.setattr("ssl4eo.methods.dino.mean_over_processes", lambda mine: (mine + others) / 2)
    mean = (outputs.mean(axis=0) + others.double().numpy()) / 2
    expected = 0.9 * model.center.double().numpy() + 0.1 * mean

    step(model, views)

    np.testing.assert_allclose(model.center.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_teacher_follows_by_the_momentum_rule():
    """theta_t <- m theta_t + (1 - m) theta_s after the step, backbone and head, with the momentum of the step."""
    model = method()
    rows = [
        (model.backbone.layer.weight, model.student.layer.weight),
        (model.teacher_head.mlp[0].bias, model.student_head.mlp[0].bias),
        (model.teacher_head.last_layer.weight_v, model.student_head.last_layer.weight_v),
    ]
    with torch.no_grad():
        for _, student in rows:
            student.add_(1.0)
    m = CONFIG.momentum_at(NOW)
    expected = [m * teacher + (1 - m) * student for teacher, student in copy.deepcopy(rows)]

    step(model, crops())

    for (teacher, _), value in zip(rows, expected, strict=True):
        torch.testing.assert_close(teacher, value)


def test_average_of_equal_weights_is_unchanged():
    """A teacher that equals its student stays, exactly."""
    model = DINO(CONFIG, Flat(), seed=0)
    before = copy.deepcopy(model.teacher_head)

    step(model, crops())
    update_average(model.teacher_head, model.student_head, momentum=0.3)

    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), model.teacher_head.parameters(), strict=True))


def test_momentum_rises_along_half_a_cosine():
    """0.996 at the first step, half way 0.998, toward 1; the engine's cosine at every step."""
    config = dataclasses.replace(CONFIG, momentum=0.996)
    values = [config.momentum_at(Moment(s, 200, 10)) for s in range(200)]

    assert values[0] == pytest.approx(0.996, rel=1e-10)
    assert values[100] == pytest.approx(0.998, rel=1e-10)
    assert values[199] < 1
    np.testing.assert_allclose(values, [cosine(0.996, 1.0, s / 200) for s in range(200)], rtol=1e-10)


def test_teacher_temperature_warms_up_linearly():
    """From 0.04 to 0.07 in 30 epochs, then constant; constant from the start without a warm-up."""
    warm = dataclasses.replace(CONFIG, teacher_temperature=0.07, warmup_temperature_epochs=30.0)

    values = [warm.temperature_at(Moment(s, 1000, 10)) for s in (0, 100, 150, 300, 999)]

    np.testing.assert_allclose(values, [0.04, 0.05, 0.055, 0.07, 0.07], rtol=1e-10)
    assert CONFIG.temperature_at(Moment(0, 1000, 10)) == 0.04


def test_temperature_of_the_step_reaches_the_loss():
    """The teacher's softmax uses the temperature of the moment."""
    config = dataclasses.replace(
        CONFIG, teacher_temperature=0.08, warmup_temperature=0.02, warmup_temperature_epochs=1.2
    )
    model, views = method(config), crops()

    loss = float(model(views, None, NOW).loss.detach())  # step 3 of 5: half way through the warm-up

    assert loss == pytest.approx(oracle(model, views, 0.05)[0], rel=1e-5)


def test_mixed_precision_leaves_the_last_layer_alone():
    """The teacher divides its cosines by 0.04, which makes 5 % of what bfloat16 loses."""
    layer = UnitRowLinear(16, 64)
    rows = nn.functional.normalize(torch.randn(8, 16), dim=1)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(rows)

    assert torch.equal(found, layer(rows))


def test_weights_start_as_those_of_the_authors():
    """Rows of the last layer are 1 / sqrt(3) long, as torch draws a linear layer; the class token has 0.02."""
    torch.manual_seed(0)
    layer = UnitRowLinear(256, 4096)
    net = build_network("vit_small_16", num_bands=3, image_size=32, options=CONFIG.backbone_options("vit_small_16"))

    rows = layer.weight_v.detach()
    assert float(rows.norm(dim=1).mean()) == pytest.approx(3**-0.5, rel=0.01)
    assert float(rows.abs().max()) <= 256**-0.5
    assert float(net.cls_token.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_rows_of_the_last_layer_count_by_direction_alone():
    """W = v / |v|: longer rows give the same outputs, which are cosines; the gradient has no part along v."""
    head = DINOHead(3, 8, 5, 12)
    features = torch.randn(6, 3)
    outputs = head(features)
    unit = head.project(features)
    outputs.square().sum().backward()
    weight = head.last_layer.weight_v
    longer = copy.deepcopy(head)
    with torch.no_grad():
        longer.last_layer.weight_v.mul_(torch.rand(12, 1) + 3)

    cosines = nn.functional.cosine_similarity(unit[:, None], weight[None], dim=2)
    torch.testing.assert_close(outputs, cosines)
    torch.testing.assert_close(longer(features), outputs)
    torch.testing.assert_close((weight.grad * weight).sum(dim=1), torch.zeros(12), atol=1e-5, rtol=0)
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(6))


def test_last_layer_waits_for_its_epoch():
    """In epoch 0 it stays bit for bit, decay included; then it moves. The rest learns from the first step on."""
    model, views = method(), crops()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1)
    last, first = model.student_head.last_layer.weight_v, model.student_head.mlp[0].weight
    start, start_first = last.detach().clone(), first.detach().clone()

    for number in range(6):
        moment = Moment(number, 10, 5)
        model(views, None, moment).loss.backward()
        model.before_update(moment)
        optimizer.step()
        optimizer.zero_grad()
        model.after_step(moment)
        assert torch.equal(last, start) == (number < 5)
        assert not torch.equal(first, start_first)


def test_permuting_the_batch_leaves_the_loss():
    """The order of samples does not matter; the embedding follows it."""
    views, order = crops(), torch.randperm(4)

    first, second = method()(views, None, NOW), method()(tuple(v[order] for v in views), None, NOW)

    torch.testing.assert_close(first.loss, second.loss)
    torch.testing.assert_close(first.embedding[order], second.embedding)


def test_embedding_is_the_bottleneck_of_the_first_view():
    """What the monitor watches: the student's unit vectors before the last layer."""
    model, views = method(), crops()

    output = model(views, None, NOW)

    torch.testing.assert_close(output.embedding, model.student_head.project(model.student(views[0])).detach())
    assert not output.embedding.requires_grad


def test_embedding_shows_a_collapsed_head_that_the_backbone_hides():
    """A head that says the same of every image has no spread, though features differ."""
    model, views = method(), crops()
    with torch.no_grad():
        model.student_head.mlp[0].weight.zero_()

    embedding = model(views, None, NOW).embedding

    assert embedding.shape == (4, 5)
    torch.testing.assert_close(embedding, embedding[:1].expand(4, 5))
    assert model.student(views[0]).std(dim=0).min() > 1e-3


def test_drop_path_is_of_the_student_alone():
    """The student skips blocks, the teacher never; what is kept is rebuilt without."""
    options = CONFIG.backbone_options("vit_nano_8")
    backbone = Backbone("vit_nano_8", network_input("S2RGB"), image_size=16, seed=0, options=options)
    model = CONFIG.build(backbone, seed=0).train()
    image = torch.rand(2, 3, 16, 16)

    rates = [[m.drop_prob for m in net.modules() if isinstance(m, DropPath)] for net in (model.student, model.backbone)]

    assert max(rates[0]) == pytest.approx(0.1)
    assert set(rates[1]) == {0.0}
    assert model.backbone.options.drop_path == 0
    assert torch.equal(model.backbone(image), model.backbone(image))
    assert CONFIG.backbone_options("resnet50") == BackboneOptions()


def test_batch_statistics_of_the_teacher_are_its_own():
    """They come from the teacher's forward passes on global crops, not from an average."""
    backbone = Backbone("resnet18", network_input("S2RGB"), image_size=32, seed=0)
    model = DINO(CONFIG, backbone, seed=0).train()
    views = tuple(torch.rand(4, 3, size, size) for size in (32, 32, 40))
    alone = copy.deepcopy(model.backbone)
    alone(torch.cat(views[:2]))

    step(model, views)

    torch.testing.assert_close(model.backbone.net.bn1.running_mean, alone.net.bn1.running_mean)
    assert not torch.allclose(model.student.net.bn1.running_mean, alone.net.bn1.running_mean)


@pytest.mark.parametrize("width", [384, 2048])
def test_head_has_the_published_shapes(width):
    """Names and shapes of the published files: head.mlp.0, 2, 4 and last_layer."""
    with torch.device("meta"):
        head = DINOHead(width, 2048, 256, 65_536)

    shapes = {name: tuple(value.shape) for name, value in head.state_dict().items()}

    assert shapes == {
        "mlp.0.weight": (2048, width),
        "mlp.0.bias": (2048,),
        "mlp.2.weight": (2048, 2048),
        "mlp.2.bias": (2048,),
        "mlp.4.weight": (256, 2048),
        "mlp.4.bias": (256,),
        "last_layer.weight_g": (65_536, 1),
        "last_layer.weight_v": (65_536, 256),
    }


def test_head_equals_torch_weight_norm():
    """The last layer is torch's own parametrization with g = 1."""
    ours, theirs = UnitRowLinear(5, 7), nn.utils.parametrizations.weight_norm(nn.Linear(5, 7, bias=False))
    with torch.no_grad():
        theirs.parametrizations.weight.original0.fill_(1.0)
        theirs.parametrizations.weight.original1.copy_(ours.weight_v)
    rows = torch.randn(4, 5)

    torch.testing.assert_close(ours(rows), theirs(rows))


@pytest.mark.parametrize(
    "change",
    [
        {"out_dim": 1},
        {"hidden": 0},
        {"bottleneck": 0},
        {"student_temperature": 0.0},
        {"teacher_temperature": -0.1},
        {"warmup_temperature": 0.0},
        {"student_temperature": 1e-06},
        {"teacher_temperature": 1e-45},
        {"warmup_temperature": 0.0009},
        {"warmup_temperature_epochs": -1.0},
        {"freeze_last_layer": -1.0},
        {"momentum": 1.0},
        {"center_momentum": -0.1},
        {"drop_path": 1.0},
    ],
)
def test_impossible_config_is_refused(change):
    """Each option is checked, and told by its name and value alone."""
    ((name, value),) = change.items()
    with pytest.raises(ConfigInvalid, match=rf"^method\.{name} is {value}; expected"):
        dataclasses.replace(CONFIG, **change)


def test_a_single_view_is_refused():
    """The teacher needs two global views."""
    setting = Setting("resnet18", 32, num_views=1, batch_size=4, num_processes=1, accumulate=1)
    with pytest.raises(ConfigInvalid, match="two global views"):
        CONFIG.check(setting)
    CONFIG.check(dataclasses.replace(setting, num_views=2))


def test_momentum_is_told():
    """3 of 10 steps: 1 - 0.1 (1 + cos 0.3 pi) / 2, what `after_step` moves the teacher by."""
    told = method()(crops(), None, NOW).metrics["ema_momentum"]

    assert float(told) == pytest.approx(1 - 0.05 * (1 + math.cos(0.3 * math.pi)))
    assert not told.requires_grad
