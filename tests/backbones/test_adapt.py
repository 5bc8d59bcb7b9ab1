# SPDX-License-Identifier: Apache-2.0
"""A trained network for another input: other sizes, other bands."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.interpolate import InterpolatedUnivariateSpline
from torch.nn import functional as F

from ssl4eo.backbones.adapt import with_contract, with_image_size
from ssl4eo.backbones.architectures import LARGEST_IMAGE, BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.positions import most_patches, resize_relative
from ssl4eo.contract import fuse, network_input, stored
from ssl4eo.errors import ConfigInvalid, ContractMismatch, UnknownName

RELATIVE = BackboneOptions(pooling="mean", position="relative", layer_scale=1.0)


def build(arch="resnet18", size=64, modality="S2L1C", **options):
    """Build a network with tables that are not zero."""
    net = Backbone(arch, network_input(modality), image_size=size, seed=0, options=BackboneOptions(**options))
    with torch.no_grad():
        for name, value in net.net.named_parameters():
            if "position" in name or "pos_embed" in name:
                value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    return net.eval()


def test_residual_network_is_the_same_at_any_size():
    """Nothing in it depends on the size."""
    network = build()

    larger = with_image_size(network, 96)

    images = torch.rand(2, 13, 96, 96)
    assert larger.image_size == 96
    assert torch.equal(larger(images), network(images))


def test_own_size_is_the_network_itself():
    """Nothing is copied."""
    network = build()

    assert with_image_size(network, 64) is network


def test_positions_are_interpolated_and_the_class_token_stays():
    """Bicubic with antialiasing, as torch itself does it on the grid; a table of a constant stays one."""
    network = build("vit_nano_8", 64)
    table = network.net.pos_embed.detach()

    found = with_image_size(network, 96).net.pos_embed.detach()

    grid = table[:, 1:].reshape(1, 8, 8, -1).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, (12, 12), mode="bicubic", antialias=True).permute(0, 2, 3, 1).reshape(1, 144, -1)
    torch.testing.assert_close(found[:, 1:], expected)
    assert torch.equal(found[:, :1], table[:, :1])


def test_relative_biases_keep_their_values_where_grids_agree():
    """BEiT's grid: the centre (no offset) and the outermost offsets stay, the three entries of the class token too."""
    network = Backbone("vit_nano_8", network_input("S2L1C"), image_size=64, seed=0, options=RELATIVE).eval()
    table = network.net.rel_pos_bias.relative_position_bias_table
    with torch.no_grad():
        table.copy_(torch.randn(table.shape, generator=torch.Generator().manual_seed(1)))

    wider = with_image_size(network, 96).net.rel_pos_bias.relative_position_bias_table.detach()

    old, new = table.detach()[:-3].reshape(15, 15, -1), wider[:-3].reshape(23, 23, -1)
    assert torch.equal(wider[-3:], table.detach()[-3:])
    torch.testing.assert_close(new[11, 11], old[7, 7], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(new[0, 0], old[0, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(new[22, 0], old[14, 0], rtol=1e-4, atol=1e-4)


def reference_places(source, wanted):
    """Find the ratio of BEiT's geometric grid by bisection between 1.01 and 1.5, as its fine-tuning does."""
    left, right = 1.01, 1.5
    while right - left > 1e-9:
        q = (left + right) / 2
        left, right = (left, q) if (1 - q ** (source // 2)) / (1 - q) > wanted // 2 else (q, right)
    far = np.cumsum([q**i for i in range(source // 2)])
    return np.concatenate([-far[::-1], [0], far])


@pytest.mark.parametrize("grid", [16, 24])
def test_larger_grid_is_interpolated_as_beit_does(grid):
    """The grid of its bisection, and a spline through one row: along the middle row both axes are one-dimensional."""
    table = torch.randn(27 * 27 + 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wide = 2 * grid - 1

    found = resize_relative(table, grid)[:-3].reshape(wide, wide, 2)

    places, at = reference_places(27, wide), np.arange(-(grid - 1), grid)
    middle = table[:-3].reshape(27, 27, 2)[13].numpy()
    expected = InterpolatedUnivariateSpline(places, middle[:, 0], k=3)(at)
    np.testing.assert_allclose(found[grid - 1, :, 0], expected, atol=1e-4)


def test_same_grid_gives_the_same_table():
    """All offsets lie on whole numbers."""
    table = torch.randn(15 * 15 + 3, 3, generator=torch.Generator().manual_seed(0))

    torch.testing.assert_close(resize_relative(table, 8), table, rtol=1e-5, atol=1e-5)


def test_smaller_grid_keeps_centre_and_corners():
    """The ratio is below one then."""
    table = torch.randn(27 * 27 + 3, 1, generator=torch.Generator().manual_seed(0))

    old, new = table[:-3].reshape(27, 27), resize_relative(table, 7)[:-3].reshape(13, 13)

    torch.testing.assert_close(new[6, 6], old[13, 13], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(new[0, 12], old[0, 26], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [BackboneOptions(), RELATIVE])
def test_transformer_of_another_size_runs(options):
    """Features of the same length."""
    network = Backbone("vit_nano_8", network_input("S2L1C"), image_size=64, seed=0, options=options).eval()

    with torch.no_grad():
        assert with_image_size(network, 96)(torch.rand(1, 13, 96, 96)).shape == (1, network.num_features)


def test_size_that_patches_do_not_divide_is_refused():
    """With the nearest that they do."""
    with pytest.raises(ConfigInvalid, match="try 96"):
        with_image_size(build("vit_nano_8", 64), 97)


@pytest.mark.parametrize(("arch", "size"), [("resnet18", 100_000), ("vit_nano_8", 100_000), ("vit_nano_8", 8200)])
def test_size_that_no_machine_holds_is_refused(arch, size):
    """With the largest one, before any memory is asked for."""
    with pytest.raises(ConfigInvalid, match=f"image_size is {size}; expected at most {LARGEST_IMAGE} px"):
        with_image_size(build(arch, 64), size)


@pytest.mark.parametrize("arch", ["resnet18", "vit_nano_8"])
@pytest.mark.parametrize("size", ["96", 96.0, 64.0, True, None])
def test_size_that_is_no_whole_number_is_refused(arch, size):
    """Also one that would compare equal to the network's own."""
    with pytest.raises(ConfigInvalid, match=rf"image_size is {size!r}; expected a whole number of pixels"):
        with_image_size(build(arch, 64), size)


def test_whole_number_of_numpy_is_a_size():
    """And becomes a plain one, which a checkpoint can hold."""
    assert type(with_image_size(build(), np.int64(96)).image_size) is int


@pytest.mark.parametrize(
    ("own", "wanted", "words"),
    [
        (64, 8, "learned at 64 px; expected 16 to 264 px"),  # one patch has no offsets
        (64, 272, "expected 16 to 264 px"),  # 1 + 1.5 + ... + 1.5^6 = 32.2 patches from the centre
        (8, 64, "learned at 8 px; expected 8 to 8 px"),
        (64, 520, "which grow with its fourth power; expected at most 512 px"),
    ],
)
def test_relative_positions_that_cannot_be_interpolated_are_refused(own, wanted, words):
    """Too few, or so many that a spline would swing to many times the values that were learned."""
    network = Backbone("vit_nano_8", network_input("S2L1C"), image_size=own, seed=0, options=RELATIVE).eval()

    with pytest.raises(ConfigInvalid, match=words):
        with_image_size(network, wanted)


def test_network_with_too_many_relative_positions_is_not_built():
    """Its index alone would not fit into memory."""
    with pytest.raises(ConfigInvalid, match="at most 512 px with patches of 8 px"):
        Backbone("vit_nano_8", network_input("S2L1C"), image_size=2048, seed=0, options=RELATIVE)


@pytest.mark.parametrize("old", [2, 3, 5, 8, 14])
def test_interpolated_biases_stay_near_the_learned_ones(old):
    """From the smallest grid to the largest that is allowed; beyond it they swing to thousands."""
    table = torch.randn((2 * old - 1) ** 2 + 3, 2, generator=torch.Generator().manual_seed(0))

    for grid in (2, 3, old, most_patches(old)):
        if grid <= most_patches(old):
            found = resize_relative(table, grid)
            assert found.shape == ((2 * grid - 1) ** 2 + 3, 2)
            assert found.abs().max() < 4 * table.abs().max()


def test_two_patches_keep_centre_and_outermost_offsets():
    """There is nothing in between."""
    table = torch.arange(15 * 15 + 3, dtype=torch.float32)[:, None]

    found = resize_relative(table, 2)

    rows = [0, 7, 14, 7 * 15, 7 * 15 + 7, 7 * 15 + 14, 14 * 15, 14 * 15 + 7, 14 * 15 + 14, 225, 226, 227]
    assert found[:, 0].tolist() == rows


@pytest.mark.parametrize("arch", ["resnet18", "vit_nano_8"])
def test_fewer_bands_are_the_network_fed_with_zeros_for_the_others(arch):
    """Selected and reordered: the first layer is linear in its bands."""
    network = build(arch)
    chosen = dataclasses.replace(network.contract, bands=("B08", "B04", "B03"))
    images = torch.rand(2, 3, 64, 64)
    full = torch.zeros(2, 13, 64, 64)
    for channel, band in enumerate(chosen.bands):
        full[:, network.contract.bands.index(band)] = images[:, channel]

    found = with_contract(network, chosen)

    with torch.no_grad():
        torch.testing.assert_close(found(images), network(full), rtol=1e-4, atol=1e-5)
    assert found.contract == chosen


def test_new_bands_of_zero_weights_change_nothing():
    """Whatever their values are."""
    network = build(modality="S2L2A")
    fewer = with_contract(network, dataclasses.replace(network.contract, bands=network.contract.bands[:10]))
    images = torch.rand(2, 12, 64, 64)

    found = with_contract(fewer, network.contract, new_bands="zero")

    with torch.no_grad():
        torch.testing.assert_close(found(images), fewer(images[:, :10]), rtol=1e-5, atol=1e-6)


def test_new_bands_may_start_from_the_mean_of_the_others():
    """By hand on the kernel."""
    network = build(modality="S2L2A")
    fewer = with_contract(network, dataclasses.replace(network.contract, bands=network.contract.bands[:2]))

    found = with_contract(fewer, network.contract, new_bands="mean").net.conv1.weight

    torch.testing.assert_close(found[:, 5], fewer.net.conv1.weight.mean(dim=1))
    assert torch.equal(found[:, :2], fewer.net.conv1.weight)


@pytest.mark.parametrize("rule", ["bogus", "", "Zero", 0])
@pytest.mark.parametrize("bands", [10, 13])
def test_unknown_rule_for_new_bands_is_refused(rule, bands):
    """It is not taken for zero; also where no band is new."""
    network = build()
    fewer = with_contract(network, dataclasses.replace(network.contract, bands=network.contract.bands[:bands]))

    with pytest.raises(UnknownName, match=f"{rule!r}; expected one of zero, mean"):
        with_contract(fewer, network.contract, new_bands=rule)


def test_one_sensor_of_two_can_be_taken():
    """A stacked network for the optical bands alone."""
    both = fuse([network_input("S2L1C"), network_input("S1GRD")])
    network = Backbone("resnet18", both, image_size=64, seed=0).eval()

    optical = with_contract(network, network_input("S2L1C"))

    images = torch.rand(1, 13, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(optical(images), network(torch.cat([images, torch.zeros(1, 2, 64, 64)], dim=1)))


@pytest.mark.parametrize(
    ("contract", "words"),
    [
        (network_input("S1GRD"), "choose bands of the same modality"),
        (stored("S2L1C"), "choose bands of the same modality, unit and scaling"),
        (network_input("S2L1C"), "has not seen B10.*new_bands 'zero'"),
    ],
)
def test_what_is_no_matter_of_bands_is_refused(contract, words):
    """Another sensor, another scaling, a new band without a rule."""
    all_but_one = tuple(band for band in network_input("S2L1C").bands if band != "B10")
    network = Backbone(
        "resnet18", dataclasses.replace(network_input("S2L1C"), bands=all_but_one), image_size=64, seed=0
    )

    with pytest.raises(ContractMismatch, match=words):
        with_contract(network, contract)
