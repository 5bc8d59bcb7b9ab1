# SPDX-License-Identifier: Apache-2.0
"""data2vec against an independent float64 oracle, by hand, and by its properties."""

from __future__ import annotations

import dataclasses
import math
import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from transformer_oracle import affine, cut, embed, norm, plain_norm, relative_offsets, run_block, to_numpy

from forked import run_forked
from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.data2vec import (
    EPSILON,
    Data2Vec,
    Data2VecConfig,
    average_normed,
    batch_norm,
    layer_norm,
    spread,
)
from ssl4eo.methods.masked import places, take
from ssl4eo.methods.method import Moment, Setting
from ssl4eo.training.monitor import CollapseMonitor

NOW = Moment(step=0, num_steps=10, steps_per_epoch=5)
SIZE, PATCH, GRID = 32, 8, 4
CONFIG = Data2VecConfig(
    num_masked=9,
    top_blocks=3,
    beta=2.0,
    ema_start=0.9,
    ema_end=0.9,
    ema_epochs=0.0,
    smallest_block=2,
    drop_path=0.0,
    attention_drop=0.0,
    layer_scale=0.5,
)


def method(seed=0, **changes):
    """Build it on 2 bands and 4 x 4 patches."""
    config = dataclasses.replace(CONFIG, **changes)
    options = config.backbone_options("vit_nano_8")
    backbone = Backbone("vit_nano_8", network_input("S1GRD"), image_size=SIZE, seed=seed, options=options)
    return config.build(backbone, seed=seed)


def images(batch=3, seed=0):
    """Draw images."""
    return torch.rand((batch, 2, SIZE, SIZE), generator=torch.Generator().manual_seed(seed))


def draw_masks(batch=3, seed=0):
    """Hide 9 of 16 patches in each."""
    rng = np.random.default_rng(seed)
    masking = CONFIG.masking(setting())
    return torch.from_numpy(np.stack([masking.draw(rng) for _ in range(batch)]))


def setting(arch="vit_nano_8", image_size=SIZE, num_views=1):
    """Describe a run on one process."""
    return Setting(arch, image_size, num_views=num_views, batch_size=4, num_processes=1, accumulate=1)


def perturb(model):
    """Move every weight: those that are zero or one at the start count too."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def tokens_after_blocks(w, name, patches):
    """Give what comes out of each block, the class token first."""
    offset = relative_offsets(w[f"{name}.rel_pos_bias.relative_position_bias_table"], GRID)
    x, out = np.stack([w[f"{name}.cls_token"][0, 0], *patches]), []
    for block in range(6):
        x = run_block(x, w, f"{name}.blocks.{block}", 3, offset)
        out.append(x)
    return out


def oracle(model, pictures, masks):
    """Compute loss and targets in NumPy, float64, image by image."""
    w, losses, targets = to_numpy(model), [], []
    for image, mask in zip(pictures.double().numpy(), masks.numpy(), strict=True):
        whole = [embed(p, w, "teacher.net") for p in cut(image, PATCH)]
        top = tokens_after_blocks(w, "teacher.net", whole)[-model.config.top_blocks :]
        mean = sum(plain_norm(x[1:], 1e-5) for x in top) / len(top)
        target = plain_norm(mean, 1e-5)[mask]
        blanked = [
            w["mask_token"][0, 0] if hidden else embed(p, w, "backbone.net")
            for p, hidden in zip(cut(image, PATCH), mask, strict=True)
        ]
        last = tokens_after_blocks(w, "backbone.net", blanked)[-1]
        error = np.abs(affine(norm(last[1:], w, "backbone.net.norm"), w, "head")[mask] - target)
        beta = model.config.beta
        losses.append(np.where(error < beta, error**2 / (2 * beta), error - beta / 2).mean())
        targets.append(target)
    return np.mean(losses), np.stack(targets)


@pytest.mark.parametrize(("top_blocks", "beta"), [(1, 2.0), (3, 0.5), (6, 2.0)])
def test_loss_and_targets_equal_the_oracle(top_blocks, beta):
    """In float64: smooth L1 between the student's guess and the teacher's normed average, at hidden patches."""
    model = perturb(method(top_blocks=top_blocks, beta=beta).double())
    pictures, masks = images().double(), draw_masks()
    expected, targets = oracle(model, pictures, masks)
    _, hidden = places(masks, 9)

    loss, target = model((pictures,), masks, NOW).loss, model.target(pictures, hidden)

    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)  # targets and guesses are compared in float32
    np.testing.assert_allclose(target.numpy(), targets, rtol=1e-4, atol=1e-5)


def test_target_is_worked_by_hand():
    """Two layers of one token of two values: (1, 3) and (5, 1) become (-1, 1) and (1, -1), whose mean is 0."""
    layers = [torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[5.0, 1.0]]])]

    def target(*parts):
        return average_normed([layer_norm(p) for p in parts], norm=layer_norm)[0, 0]

    assert target(*layers).abs().max() < 1e-2
    torch.testing.assert_close(target(layers[0]), torch.tensor([-1.0, 1.0]), rtol=1e-4, atol=1e-4)
    both = target(layers[0], 7 * layers[0], layers[1])
    torch.testing.assert_close(both, torch.tensor([-1.0, 1.0]), rtol=1e-3, atol=1e-3)


def test_batch_norm_takes_away_what_all_tokens_share():
    """Each dim has mean 0 and deviation 1 over all tokens, as NumPy has it; a common offset changes nothing."""
    tokens = torch.from_numpy(np.random.default_rng(0).normal(3.0, [0.1, 5.0], (4, 6, 2)))
    flat = tokens.numpy().reshape(24, 2)

    normed = batch_norm(tokens)

    expected = (flat - flat.mean(axis=0)) / np.sqrt(flat.var(axis=0) + EPSILON)
    np.testing.assert_allclose(normed.numpy().reshape(24, 2), expected, rtol=1e-9)
    torch.testing.assert_close(batch_norm(tokens + 7.0), normed, rtol=1e-9, atol=1e-9)


def test_batch_norm_keeps_what_is_small_beside_what_all_share():
    """A deviation of a thousandth of the mean: the square of the mean less the mean square was 18 % off in float32."""
    small = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (8, 64, 4)))
    flat = small.numpy().reshape(512, 4)
    expected = (flat - flat.mean(axis=0)) / flat.std(axis=0)

    found = batch_norm((small + 1000).float()).numpy().reshape(512, 4)

    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_batch_normed_targets_do_not_depend_on_the_masks():
    """The same patch has the same target whatever else is hidden, and targets of a batch spread."""
    model = perturb(method(target_norm="batch"))
    pictures, masks = images(), draw_masks()
    _, hidden = places(masks, 9)

    target = model.target(pictures, hidden)
    everything = model.target(pictures, torch.arange(masks.shape[1]).expand(len(masks), -1))

    torch.testing.assert_close(target, take(everything, hidden))
    assert float(spread(everything)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("error", "expected"), [(0.0, 0.0), (1.0, 0.25), (2.0, 1.0), (5.0, 4.0)])
def test_loss_is_a_parabola_up_to_beta_and_a_line_beyond(error, expected):
    """With beta 2: x^2 / 4 below 2, x - 1 above."""
    model, masks = method(), draw_masks()
    model.target = lambda _images, hidden: torch.zeros(3, hidden.shape[1], 192)
    nn.init.zeros_(model.head.weight)
    nn.init.constant_(model.head.bias, error)

    assert float(model((images(),), masks, NOW).loss.detach()) == pytest.approx(expected)


def test_only_hidden_patches_count():
    """Targets of visible patches are not compared: the same guess everywhere gives the loss of the hidden ones."""
    model, masks = method(), draw_masks()
    nn.init.zeros_(model.head.weight)
    _, hidden = places(masks, 9)
    target = model.target(images(), hidden)
    expected = torch.where(target.abs() < 2, target**2 / 4, target.abs() - 1).mean()

    loss = model((images(),), masks, NOW).loss.detach()

    assert target.shape == (3, 9, 192)
    torch.testing.assert_close(loss, expected)


def test_student_does_not_see_what_is_hidden():
    """Other pixels under the mask leave its guess as it is, bit by bit; the teacher sees them."""
    model, masks = method().eval(), draw_masks()
    _, hidden = places(masks, 9)
    under = masks.reshape(3, 1, GRID, GRID).repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    other = torch.where(under, images(seed=1), images())

    assert torch.equal(model.predict(images(), masks, hidden), model.predict(other, masks, hidden))
    assert not torch.allclose(model.target(images(), hidden), model.target(other, hidden))


def test_no_gradient_reaches_the_teacher():
    """Targets are constants; all of the student learns."""
    model = method()

    model((images(),), draw_masks(), NOW).loss.backward()

    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_teacher_follows_after_the_step():
    """M t + (1 - m) s with the student that the optimizer has moved; the forward pass moves nothing."""
    model = method()
    before = model.teacher.net.cls_token.clone()
    model((images(),), draw_masks(), NOW)
    with torch.no_grad():
        model.backbone.net.cls_token.add_(1.0)
    assert torch.equal(model.teacher.net.cls_token, before)

    model.after_step(NOW)

    torch.testing.assert_close(model.teacher.net.cls_token, 0.9 * before + 0.1 * model.backbone.net.cls_token)


def test_teacher_of_equal_weights_is_unchanged():
    """The average of a network with itself is itself, exactly."""
    model = method()

    model.after_step(NOW)

    pairs = zip(model.teacher.parameters(), model.backbone.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.99), (5, 0.9925), (20, 1.0)])
def test_momentum_rises_linearly_and_stays(step, expected):
    """From 0.99 to 1 over 4 epochs of 5 steps."""
    config = dataclasses.replace(CONFIG, ema_start=0.99, ema_end=1.0, ema_epochs=4.0)

    assert config.momentum(Moment(step, 100, 5).epoch) == pytest.approx(expected)
    assert config.momentum(Moment(99, 100, 5).epoch) == 1.0
    assert CONFIG.momentum(0.0) == 0.9


def test_teacher_never_drops_anything():
    """Drop path and attention dropout are the student's: two targets of one image are equal while it trains."""
    model = method(drop_path=0.5, attention_drop=0.5).train()
    _, hidden = places(draw_masks(), 9)

    assert model.backbone.net.blocks[3].training
    assert not any(layer.training for layer in model.teacher.modules())
    assert torch.equal(model.target(images(), hidden), model.target(images(), hidden))
    assert not torch.equal(model.predict(images(), draw_masks(), hidden), model.predict(images(), draw_masks(), hidden))


def test_teacher_is_part_of_the_state():
    """A state that is loaded brings the teacher back, so a resumed run goes on with it."""
    model = method()
    with torch.no_grad():
        model.backbone.net.cls_token.add_(1.0)
    model.after_step(NOW)
    other = method(seed=1)

    other.load_state_dict(model.state_dict())

    assert torch.equal(other.teacher.net.cls_token, model.teacher.net.cls_token)
    assert not torch.equal(other.teacher.net.cls_token, other.backbone.net.cls_token)


def test_permuting_the_batch_permutes_the_output():
    """Images do not see each other."""
    model, order, masks = method().eval(), torch.tensor([2, 0, 1]), draw_masks()

    first, second = model((images(),), masks, NOW), model((images()[order],), masks[order], NOW)

    torch.testing.assert_close(first.loss, second.loss)
    torch.testing.assert_close(first.embedding[order], second.embedding, rtol=1e-4, atol=1e-5)


def test_momentum_is_told():
    """Half way along a ramp of one epoch of 4 steps from 0.8 to 1: 0.9."""
    model = method(ema_start=0.8, ema_end=1.0, ema_epochs=1.0)

    told = model((images(),), draw_masks(), Moment(2, 8, 4)).metrics["ema_momentum"]

    assert float(told) == pytest.approx(0.9)
    assert not told.requires_grad


def test_constant_targets_show_in_the_metrics():
    """0 when every patch has the same features, 1 for independent ones of unit variance."""
    same = torch.randn(192).expand(4, 9, 192)
    model, masks = method(), draw_masks()
    model.target = lambda _images, _hidden: same[:3]

    metrics = model((images(),), masks, NOW).metrics

    assert float(metrics["target_std"]) < 1e-6
    assert float(spread(torch.randn(64, 64, 192))) == pytest.approx(1.0, abs=0.02)


def two_batches():
    """Draw two batches (2, 8, 5, 6) around two points, far from 0: most of their spread is between them."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.normal(0, 0.1, (2, 8, 5, 6)) + rng.normal(100, 2, (2, 1, 1, 6))).float()


def spread_of_a_half(folder):
    """Be one of two processes with a batch each, and leave the spread that it finds in a file."""
    rank = int(os.environ["LOCAL_RANK"])
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(spread(two_batches()[rank].requires_grad_()), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_spread_is_that_of_the_tokens_of_all_processes(tmp_path):
    """As NumPy has it of both batches together, in both processes; the batches alone spread a tenth as far."""
    batches = two_batches()
    expected = float(np.sqrt(batches.double().numpy().reshape(-1, 6).var(axis=0).mean()))
    alone = [float(spread(batch)) for batch in batches]

    done = run_forked(spread_of_a_half, str(tmp_path), folder=tmp_path / "told", ranks=2)

    assert done.returncode == 0, done.stderr
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert [float(value) for value in found] == pytest.approx([expected] * 2, rel=1e-5)
    assert max(alone) < expected / 5
    assert not any(value.requires_grad for value in found)


def test_constant_targets_raise_the_alarm():
    """The monitor watches the teacher's targets, at the third reading in a row."""
    model, monitor = method(), CollapseMonitor()
    model.target = lambda _images, _hidden: torch.linspace(-1, 1, 192).expand(3, 9, 192)

    readings = []
    for _ in range(3):
        monitor.add(model((images(),), draw_masks(), NOW).embedding)
        readings.append(monitor.check().alarm)

    assert readings[:2] == [None, None]
    assert "collapse to a point" in readings[2]


def test_tensors_are_those_of_the_published_checkpoint():
    """190 with timm's index table, names and shapes as listed for data2vec S/16 with 13 bands; without memory."""
    config = dataclasses.replace(CONFIG, num_masked=120, top_blocks=6, layer_scale=1e-4)
    options = config.backbone_options("vit_small_16")
    with torch.device("meta"):
        backbone = Backbone("vit_small_16", network_input("S2L1C"), image_size=224, seed=0, options=options)
        model = Data2Vec(config, backbone, seed=0)
    shapes = {
        n.removeprefix("backbone.net."): tuple(v.shape) for n, v in model.state_dict().items() if "teacher" not in n
    }

    assert len(shapes) + 1 == 190
    assert sum(p.numel() for p in backbone.parameters()) == 22_582_056
    assert "pos_embed" not in shapes
    listed = {
        "cls_token": (1, 1, 384),
        "mask_token": (1, 1, 384),
        "patch_embed.proj.weight": (384, 13, 16, 16),
        "rel_pos_bias.relative_position_bias_table": (732, 6),
        "blocks.11.gamma_1": (384,),
        "blocks.11.gamma_2": (384,),
        "blocks.11.attn.q_bias": (384,),
        "blocks.11.attn.v_bias": (384,),
        "blocks.11.attn.qkv.weight": (1152, 384),
        "blocks.11.mlp.fc1.weight": (1536, 384),
        "head.weight": (384, 384),  # lm_head there
    }
    assert {name: shapes[name] for name in listed} == listed
    assert "blocks.11.attn.qkv.bias" not in shapes
    assert backbone.net.rel_pos_bias.relative_position_index.shape == (197, 197)


def test_branches_start_at_the_layer_scale():
    """Published: 1e-4; the bias table starts at zero."""
    model = method(layer_scale=1e-4)

    assert all(torch.all(block.gamma_1 == 1e-4) for block in model.backbone.net.blocks)
    assert not model.backbone.net.rel_pos_bias.relative_position_bias_table.any()


def test_backbone_asks_for_beit():
    """Options travel with the checkpoint."""
    assert dataclasses.replace(CONFIG, drop_path=0.25, layer_scale=1e-4).backbone_options(
        "vit_small_16"
    ) == BackboneOptions(pooling="mean", position="relative", init="beit", drop_path=0.25, layer_scale=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"top_blocks": 0},
        {"beta": 0.0},
        {"layer_scale": 0.0},
        {"ema_start": 1.1},
        {"ema_end": -0.1},
        {"ema_epochs": -1.0},
    ],
)
def test_impossible_config_is_refused(change):
    """Each option is checked, and told by its name and value alone."""
    ((name, value),) = change.items()
    with pytest.raises(ConfigInvalid, match=rf"^method\.{name} is {value}; expected"):
        dataclasses.replace(CONFIG, **change)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("drop_path", 1.5),
        ("drop_path", 1.0),
        ("drop_path", -0.1),
        ("attention_drop", 1.0),
        ("attention_drop", math.nan),
        ("layer_scale", math.inf),
        ("beta", math.inf),
    ],
)
def test_impossible_options_are_named(option, value):
    """Probabilities are below 1, factors are finite."""
    with pytest.raises(ConfigInvalid, match=rf"method\.{option} is {value}"):
        dataclasses.replace(CONFIG, **{option: value})


def test_parts_of_a_batch_are_doubted_where_targets_are_normed_over_it():
    """Layer norm sees one token; the part is the batch where there is one."""
    over_batch = dataclasses.replace(CONFIG, target_norm="batch")

    assert over_batch.warn_of_parts(4).startswith("engine.accumulate 4 with method.target_norm batch: targets are")
    assert [over_batch.warn_of_parts(1), dataclasses.replace(CONFIG, target_norm="layer").warn_of_parts(4)] == [
        None
    ] * 2


@pytest.mark.parametrize("num_masked", [0, 16, 120])
def test_masks_of_nothing_or_everything_are_refused(num_masked):
    """Some patches must be seen and some predicted; the share that is published is offered."""
    words = rf"^method\.num_masked {num_masked}: {num_masked} of 16 patches masked; expected 1 to 15: "
    with pytest.raises(ConfigInvalid, match=words + r".*: --method\.num_masked 10, for instance$"):
        dataclasses.replace(CONFIG, num_masked=num_masked).check(setting())


@pytest.mark.parametrize("grid", [2, 3, 4, 14, 28])
def test_offered_number_of_hidden_patches_can_be_drawn(grid):
    """The remedy, taken at its word, with blocks of 16 patches or more: about 61 % of any grid."""
    place = setting(image_size=grid * PATCH)
    plain = dataclasses.replace(CONFIG, smallest_block=16)
    with pytest.raises(ConfigInvalid) as refused:
        dataclasses.replace(plain, num_masked=grid**2).check(place)
    number = int(refused.value.remedy.split()[1].rstrip(","))

    config = dataclasses.replace(plain, num_masked=number)

    config.check(place)
    assert config.masking(place).draw(np.random.default_rng(0)).sum() == number
    assert number == pytest.approx(grid**2 * 120 / 196, abs=0.5)


def test_more_top_blocks_than_there_are_is_refused():
    """The nano transformer has 6."""
    with pytest.raises(ConfigInvalid, match="at most its 6 blocks"):
        dataclasses.replace(CONFIG, top_blocks=7).check(setting())
    dataclasses.replace(CONFIG, top_blocks=6).check(setting())


def test_residual_network_is_refused():
    """data2vec needs a transformer."""
    with pytest.raises(ConfigInvalid, match="data2vec needs a transformer"):
        CONFIG.check(setting("resnet50"))


def test_two_views_are_refused():
    """data2vec sees one."""
    with pytest.raises(ConfigInvalid, match="2 views for data2vec"):
        CONFIG.check(setting(num_views=2))
