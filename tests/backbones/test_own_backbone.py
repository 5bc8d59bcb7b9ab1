# SPDX-License-Identifier: Apache-2.0
"""A torch module of one's own in the place of a network of ours: what it can, and what it refuses in time."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl4eo.backbones.adapt import with_contract, with_image_size
from ssl4eo.backbones.backbone import untrained
from ssl4eo.backbones.levels import level_maps, level_widths
from ssl4eo.backbones.own import OwnBackbone
from ssl4eo.checkpoints.backbone_file import save_backbone
from ssl4eo.contract import network_input, stored
from ssl4eo.errors import ConfigInvalid, ContractMismatch

RGB = network_input("S2RGB")


class Tiny(nn.Module):
    """Two convolutions and a dropout; as anybody writes it, it flattens with `view`."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.5)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Give two levels."""
        first = self.first(images).relu()
        return [first, self.second(first).relu()]

    def forward(self, images: Tensor) -> Tensor:
        """Give (B, 16)."""
        last = self.drop(self.maps(images)[-1])
        return last.view(len(last), 16, -1).mean(dim=2)


def tiny(**changes) -> OwnBackbone:
    options = {"image_size": 32, "name": "tiny", "trained": True} | changes
    return OwnBackbone(options.pop("module", None) or Tiny(), options.pop("contract", RGB), **options)


def test_it_is_fed_as_a_network_of_ours() -> None:
    """Stored values of another size are scaled and resized; the mode of every layer stays."""
    own = tiny(method="simclr")
    own.net.first.eval()
    values = np.full((2, 3, 40, 40), 51, np.uint8)

    features = own.embed(values, contract=stored("S2RGB"))

    assert (own.num_features, own.arch, own.trained, own.method) == (16, "tiny", True, "simclr")
    assert not own.net.first.training
    assert own.net.drop.training
    own.eval()
    torch.testing.assert_close(features, own(torch.full((2, 3, 32, 32), 0.2)))


def test_a_module_may_flatten_with_view_whatever_lies_how_in_memory() -> None:
    """Ours come channels last."""
    images = torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    flat = tiny(module=nn.Sequential(_Viewed(), nn.Linear(3 * 32 * 32, 4)))

    assert flat(images).shape == (2, 4)


class _Viewed(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.view(len(images), -1)


def test_a_module_without_weights_is_a_network_too() -> None:
    """Means of bands are a baseline."""
    own = tiny(module=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), trained=False)

    assert own.embed(np.full((2, 3, 40, 40), 255, np.uint8), contract=stored("S2RGB")).tolist() == [[1.0] * 3] * 2


def test_a_module_that_scales_itself_is_fed_stored_values() -> None:
    """Its contract says so."""
    own = tiny(module=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), contract=stored("S2RGB"))

    assert own.embed(np.full((1, 3, 32, 32), 200, np.uint8), contract=stored("S2RGB")).tolist() == [[200.0] * 3]


def test_maps_are_those_of_the_module_that_it_holds() -> None:
    """A copy, as protocols make it, has maps of its own weights."""
    own = tiny(levels=lambda net, images: net.maps(images))
    other = copy.deepcopy(own)
    with torch.no_grad():
        other.net.first.weight.zero_()
        other.net.first.bias.zero_()

    maps = level_maps(own, images := torch.rand(2, 3, 32, 32))

    assert level_widths(own) == (8, 16)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 16, 16), (2, 16, 8, 8)]
    assert maps[0].requires_grad
    assert not level_maps(other, images)[0].any()


def test_without_levels_the_error_says_how_to_give_them() -> None:
    """Before anything is computed."""
    for act in (level_widths, lambda own: level_maps(own, torch.rand(1, 3, 32, 32))):
        with pytest.raises(ConfigInvalid, match=r"gives no maps.*levels=") as raised:
            act(tiny())
        assert "knn" in raised.value.remedy


def test_another_size_is_tried_at_once() -> None:
    """A module of any size takes it, one of a fixed size says what it saw."""
    own = with_image_size(tiny().eval(), 64)

    assert (own.image_size, own.training, own.trained) == (64, False, True)
    with pytest.raises(ConfigInvalid, match=r"cannot see images \(2, 3, 48, 48\)"):
        with_image_size(tiny(module=nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))), 48)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"module": nn.Conv2d(3, 8, 3)}, r"gives \(2, 8, 30, 30\); expected features \(2, D\)"),
        ({"module": nn.Conv2d(13, 8, 3)}, "cannot see images"),
        ({"image_size": 0}, "cannot see images"),
        ({"image_size": 32.5}, "image_size is 32.5"),
        ({"name": ""}, "called ''"),
        ({"levels": lambda net, images: net.maps(images)[::-1]}, "expected the finest first"),
        ({"levels": lambda net, images: net(images)}, r"levels of tiny gives \(2, 16\)"),
    ],
)
def test_what_gives_no_features_is_refused_when_it_is_made(changes, words) -> None:
    """With what was found; not in the middle of an evaluation."""
    with pytest.raises(ConfigInvalid, match=words):
        tiny(**changes)


def test_no_contract_and_other_channels_are_refused() -> None:
    """As for networks of ours."""
    with pytest.raises(ContractMismatch, match="for a contract"):
        tiny(contract="S2RGB")
    with pytest.raises(ContractMismatch, match=r"images \(1, 4, 32, 32\)"):
        tiny()(torch.rand(1, 4, 32, 32))
    for network in (untrained("random.resnet18.s2rgb"), untrained("random.vit_nano_8.s2rgb", image_size=32)):
        with pytest.raises(ContractMismatch, match=r"images \(1, 4, 32, 32\)"):
            level_maps(network, torch.rand(1, 4, 32, 32))


def test_what_must_know_how_it_is_built_says_what_to_do_instead(tmp_path: Path) -> None:
    """Nothing is written."""
    with pytest.raises(ConfigInvalid, match=r"a file of tiny.*torch\.save"):
        save_backbone(tiny(), tmp_path / "a.safetensors", training={})
    with pytest.raises(ConfigInvalid, match=r"other bands for tiny.*wrap"):
        with_contract(tiny(), network_input("S2RGB"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_module_of_another_type_is_fed_in_it(dtype):
    """And gives float32 features, as all networks do."""
    module = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).to(dtype)
    own = OwnBackbone(module, network_input("S2RGB"), image_size=8, name="typed", trained=False)

    features = own(torch.rand(2, 3, 8, 8))

    assert (features.dtype, features.shape) == (torch.float32, (2, 5))


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 5, device="meta")), "on torch's device meta"),
        (nn.Sequential(nn.AdaptiveAvgPool2d((1, 0)), nn.Flatten()), r"gives \(2, 0\)"),
    ],
)
def test_module_that_gives_nothing_to_use_is_refused(module, told):
    """When the object is made."""
    with pytest.raises(ConfigInvalid, match=told):
        OwnBackbone(module, network_input("S2RGB"), image_size=8, name="empty", trained=False)
