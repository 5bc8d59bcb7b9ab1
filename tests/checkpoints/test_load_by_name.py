# SPDX-License-Identifier: Apache-2.0
"""`load_backbone` by the name of a card: from the cache, with the card's contract and the method's options."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from published_files import beit, data2vec, encoder, moco_v2

from ssl4eo.backbones import backbone
from ssl4eo.checkpoints.backbone_file import save_backbone
from ssl4eo.checkpoints.cache import cached_path
from ssl4eo.checkpoints.catalog import CARDS, card_of_file
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, DataMissing


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no way out."""
    monkeypatch.setenv("SSL4EO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SSL4EO_OFFLINE", "1")
    (tmp_path / "cache" / "checkpoints").mkdir(parents=True)
    return tmp_path / "cache" / "checkpoints"


def place(name, content, *, holds):
    """Put a file of a card into the cache by hand: one that no hash is published for."""
    file = next(f for f in CARDS[name].files if f.holds == holds and not f.sha256_start and f.size is None)
    torch.save(content, cached_path(file))
    return cached_path(file)


def test_full_checkpoint_of_the_cache_serves_as_backbone(cache):
    """RGB: the file cannot tell its bands, the card can."""
    net = encoder("resnet18", 3)
    place("moco_v2.resnet18.s2rgb", moco_v2(net, 512), holds="full")

    network = load_backbone("moco_v2.resnet18.s2rgb")

    assert network.contract == CARDS["moco_v2.resnet18.s2rgb"].contract
    assert network.contract.bands == ("B04", "B03", "B02")
    assert torch.equal(network.net.state_dict()["conv1.weight"], net.conv1.weight)


def test_encoder_alone_gets_the_options_of_its_method(cache):
    """An _enc file of MAE says nothing of MAE; the card does."""
    net = encoder("vit_small_16", 13)
    place("mae.vit_small_16.s2l1c", net.state_dict(), holds="backbone")

    network = load_backbone("mae.vit_small_16.s2l1c")

    assert network.options.position == "sincos_columns"
    with torch.no_grad():
        images = torch.rand(1, 13, 224, 224)
        torch.testing.assert_close(network(images), net.eval()(images), rtol=1e-5, atol=1e-5)


def test_published_name_of_a_file_is_enough(cache, tmp_path, caplog):
    """Downloaded by a browser to anywhere: its name has a card, so nothing is assumed."""
    net = beit(13)
    name = next(f.name for f in CARDS["data2vec.vit_small_16.s2l1c"].files if f.holds == "full")
    torch.save(data2vec(net), tmp_path / name)

    with caplog.at_level(logging.INFO):
        network = load_backbone(tmp_path / name)

    assert network.contract == CARDS["data2vec.vit_small_16.s2l1c"].contract
    assert "assumed" not in caplog.text
    assert card_of_file("a.pth") is None


def test_head_in_a_backbone_file_is_left_out(cache, caplog):
    """The radar backbone is larger than its network by a projector."""
    net = encoder("resnet50", 2)
    state = net.state_dict() | {"fc.0.weight": torch.zeros(1).expand(2048, 2048), "fc.0.bias": torch.zeros(2048)}
    path = cache / "flat.pth"
    torch.save(state, path)

    with caplog.at_level(logging.INFO):
        load_backbone(path)

    assert "2 of the head on top" in caplog.text


def test_published_maps_of_radar_can_be_chosen(cache):
    """Both are on the card; they feed other numbers to the same weights."""
    card = CARDS["moco_v2.resnet50.s1grd"]
    torch.save(encoder("resnet50", 2).state_dict(), cache / "a.pth")
    values = np.full((1, 2, 32, 32), -15.0, np.float32)
    values += np.random.default_rng(0).normal(0, 2, values.shape).astype(np.float32)

    by_default = load_backbone(cache / "a.pth", contract=card.contract, image_size=32)
    other = load_backbone(cache / "a.pth", contract=card.alternatives[0], image_size=32)

    from ssl4eo.contract import stored

    assert not torch.allclose(by_default.embed(values, stored("S1GRD")), other.embed(values, stored("S1GRD")))


def test_offline_says_where_a_file_by_hand_is_found(cache):
    """And nothing is asked for."""
    with pytest.raises(DataMissing, match=str(cache)):
        load_backbone("dino.vit_small_16.s2l1c")


def test_untrained_network_of_a_card_has_another_name(cache):
    """Its seed is not known."""
    place("moco_v2.resnet18.s2rgb", moco_v2(encoder("resnet18", 3), 512), holds="full")

    with pytest.raises(ConfigInvalid, match=r"random\."):
        load_backbone("moco_v2.resnet18.s2rgb", untrained_weights=True)


@pytest.mark.parametrize(
    "told",
    [{"contract": network_input("S2L1C")}, {"pooling": "mean"}, {"arch": "vit_small_16"}],
    ids=lambda t: next(iter(t)),
)
def test_what_a_file_of_ours_or_an_untrained_network_says_itself_is_not_asked_for(told, tmp_path):
    """The options were ignored by untrained networks: a contract of other bands than the name's, say."""
    network = backbone.untrained("random.vit_w48d2h3_8.s2rgb", seed=0, image_size=32)
    save_backbone(network, tmp_path / "a.safetensors", training={})

    for name in ("random.vit_w48d2h3_8.s2rgb", tmp_path / "a.safetensors"):
        with pytest.raises(ConfigInvalid, match=r"a contract, a pooling or an arch for .*expected none"):
            load_backbone(name, **told)


def test_wrong_name_is_told_where_names_are(cache):
    """Neither a file nor a card."""
    with pytest.raises(DataMissing, match="`ssl4eo checkpoints list` has the names"):
        load_backbone("moco_v2.resnet34.s2l1c")


def test_other_network_under_a_published_name_is_refused(cache):
    """Files at Google Drive have no hash: the shapes are what there is to tell."""
    place("moco_v2.resnet18.s2rgb", moco_v2(encoder("resnet50", 3), 2048), holds="full")

    with pytest.raises(CheckpointInvalid, match=r"holds a resnet50; expected resnet18, as the card"):
        load_backbone("moco_v2.resnet18.s2rgb")


@pytest.mark.parametrize("computes", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["computed", "anew"])
def test_relative_positions_are_computed_not_drawn(computes, cache, monkeypatch):
    """A file has the table, not what indexes it; drawing a network to get it takes seconds and is for old timm only."""
    net = beit(13).eval()
    path = place("data2vec.vit_small_16.s2l1c", data2vec(net), holds="full")
    if computes:
        monkeypatch.setattr(backbone, "build_network", pytest.fail)
    else:
        monkeypatch.setattr(backbone, "compute_buffers", lambda net: False)
    state = torch.get_rng_state()

    network = load_backbone(path)

    images = torch.rand(1, 13, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(images), net(images), rtol=1e-5, atol=1e-5)
    assert torch.equal(torch.get_rng_state(), state)
