# SPDX-License-Identifier: Apache-2.0
"""What is shown is what was seen: views, masks, reconstructions, attention and neighbors against independent ways."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from insight_runs import tiny, train, write_pictures
from torch import nn

from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.tokens import encode
from ssl4eo.contract import network_input
from ssl4eo.insight.attention import class_attention
from ssl4eo.insight.neighbors import MAX_BANK, bank_places, features_of, nearest, query_rows
from ssl4eo.insight.reconstruct import hide, put_back, reconstruct
from ssl4eo.insight.seen import items_of_step, seen_views
from ssl4eo.methods.mae import MAE, normalize, patchify
from ssl4eo.methods.masked import places, take
from ssl4eo.pretraining import loop, step
from ssl4eo.pretraining.data import WHOLE, open_pixels

RGB = network_input("S2RGB")


@pytest.mark.parametrize(
    ("name", "photometrics"),
    [
        ("moco_v2.resnet18.s2rgb.tiny", "device"),
        ("dino.vit_small_16.s2rgb.tiny", "worker"),
        ("mae.vit_small_16.s2rgb.tiny", "device"),
    ],
)
def test_views_are_those_that_the_loop_fed_bit_for_bit(tmp_path, monkeypatch, name, photometrics):
    """Every view and mask of the first samples of the second step."""
    pictures, fed, masks = write_pictures(tmp_path / "pictures"), [], []
    prepare = step.prepare

    def caught(fabric, adapter, batch, **options):
        views = prepare(fabric, adapter, batch, **options)
        fed.append([view.clone() for view in views])
        masks.append(batch.masks)
        return views

    monkeypatch.setattr(step, "prepare", caught)
    config = tiny(name, photometrics=photometrics, seed=7)
    train(config, pictures, tmp_path / "run")
    source = open_pixels(pictures, contract=config.contract, split=WHOLE)

    seen = seen_views(config, source, items_of_step(config, source, 1, 3))

    assert len(fed) == 2
    assert len(seen.views) == len(fed[1]) == len(config.views.views)
    for shown, true in zip(seen.views, fed[1], strict=True):
        assert torch.equal(shown, true[:3])
        assert not torch.equal(shown, fed[0][0][:3]) or shown.shape != fed[0][0][:3].shape
    if masks[1] is not None:
        assert torch.equal(seen.masks, masks[1][:3])
    assert seen.ids == tuple(source.id_of(i) for i in seen.items)
    assert loop.Order(len(source), 4, 7).steps_per_epoch == 2


@pytest.mark.parametrize("position", ["learned", "relative"])
def test_attention_is_the_softmax_of_queries_and_keys(position):
    """Worked from what enters the last block, its weights and its bias; rows sum to one; the network is left alone."""
    options = BackboneOptions(position=position, drop_path=0.3, attention_drop=0.2 if position == "relative" else 0.0)
    backbone = Backbone("vit_nano_8", RGB, image_size=32, seed=0, options=options).train()
    with torch.no_grad():
        for parameter in backbone.parameters():  # not near zero, so that heads and patches differ
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    block, entered = backbone.net.blocks[-1], []
    fused = block.attn.fused_attn
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))

    found = class_attention(backbone, images)

    assert backbone.training
    assert block.attn.fused_attn is fused
    assert not block.attn.attn_drop._forward_pre_hooks
    handle = block.norm1.register_forward_hook(lambda _, __, output: entered.append(output))
    with torch.no_grad():
        encode(backbone.eval().net, images)
    handle.remove()
    attn, tokens = block.attn, entered[0]  # (B, 1 + L, D)
    bias = attn.qkv.bias
    if position == "relative":
        bias = torch.cat([attn.q_bias, torch.zeros_like(attn.q_bias), attn.v_bias])
    query, key, _ = (tokens @ attn.qkv.weight.T + bias).chunk(3, dim=2)
    query, key = (part.unflatten(2, (3, 64)).transpose(1, 2) for part in (query, key))  # (B, 3, 1 + L, 64)
    logits = query @ key.transpose(2, 3) / 8
    if position == "relative":
        logits = logits + backbone.net.rel_pos_bias()
    torch.testing.assert_close(found, logits.softmax(dim=3)[:, :, 0].detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(2, 3))
    assert found.shape == (2, 3, 17)
    assert found.std(dim=2).min() > 1e-4


def _mae(norm_pixels):
    config = dataclasses.replace(tiny("mae.vit_small_16.s2rgb.tiny").method, norm_pixels=norm_pixels)
    options = config.backbone_options("vit_nano_8")
    return MAE(config, Backbone("vit_nano_8", RGB, image_size=32, seed=0, options=options), seed=0)


@pytest.mark.parametrize("norm_pixels", ["none", "patch", "band"])
def test_a_perfect_prediction_gives_the_image_back(norm_pixels):
    """The normalization that the loss compares in is undone; a lost band (zero) stays zero."""
    mae, random = _mae(norm_pixels), torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 32, 32, generator=random)
    images[1, 2] = 0
    masks = torch.zeros(2, 16, dtype=torch.bool)
    masks[:, : mae.num_masked] = True
    _, hidden = places(masks, mae.num_masked)
    kept = (images != 0).flatten(2).any(dim=2)
    perfect = normalize(take(patchify(images, 8), hidden), norm_pixels, 64, kept)

    back = put_back(mae, images, hidden, perfect)

    torch.testing.assert_close(back, images, rtol=1e-4, atol=1e-5)
    wrong = put_back(mae, images, hidden, perfect + 1)
    assert (wrong - images).abs().max() > 0.1
    shown = hide(images, masks, 8)
    assert torch.isnan(shown).float().mean() == pytest.approx(mae.num_masked / 16)
    assert torch.equal(wrong[~torch.isnan(shown)], images[~torch.isnan(shown)])  # what is seen is as it was


def test_a_reconstruction_is_what_the_loss_compares():
    """The mean square of its normalized difference over hidden patches is the loss of the method."""
    mae, random = _mae("patch").eval(), torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 32, 32, generator=random)
    masks = torch.zeros(2, 16, dtype=torch.bool)
    masks[:, -mae.num_masked :] = True
    _, hidden = places(masks, mae.num_masked)

    made = reconstruct(mae, images, masks)

    target, found = (take(patchify(values, 8), hidden) for values in (images, made))
    deviation = target.var(dim=2, keepdim=True).add(1e-6).sqrt()
    loss = ((found - target) / deviation).square().mean()
    with torch.no_grad():
        torch.testing.assert_close(loss, mae((images,), masks, None).loss, rtol=1e-4, atol=1e-6)


def test_neighbors_are_those_of_a_search_by_hand():
    """Cosines in double precision by NumPy; nobody is his own neighbor, equal ones come in order."""
    network = nn.Flatten()
    random = torch.Generator().manual_seed(0)
    images = torch.randn(40, 3, 4, 4, generator=random)
    images[7] = images[5]

    features = features_of(network, iter(images.split(16)))
    found, cosines = nearest(features, [5, 20], 6)

    values = images.flatten(1).double().numpy()
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    for row, near, likeness in zip([5, 20], found, cosines, strict=True):
        expected = values @ values[row]
        expected[row] = -2
        order = np.argsort(-expected, kind="stable")[:6]
        assert near.tolist() == order.tolist()
        np.testing.assert_allclose(likeness, expected[order], rtol=1e-5, atol=1e-6)
    assert found[0, 0] == 7
    assert cosines[0, 0] == pytest.approx(1)


def test_the_bank_is_spread_over_all_items_and_seasons():
    """Large sources are thinned evenly; few images give few neighbors."""
    large = bank_places(10_000, 4)

    assert len(large) == MAX_BANK
    assert large[0][0] == 0
    assert large[-1][0] == 9_999
    assert {season for _, season in large} == {0, 1, 2, 3}
    assert query_rows(2, 6) == [0, 1]
    assert nearest(torch.eye(2), [0, 1], 6)[0].tolist() == [[1], [0]]
