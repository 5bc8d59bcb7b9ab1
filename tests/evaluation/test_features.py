# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.modes import evaluating
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import Contract, network_input, stored
from ssl4eo.errors import ContractMismatch, OutOfMemory, SampleInvalid
from ssl4eo.evaluation.features import extract
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task
from ssl4eo.form import Form
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.packing.pack import pack


def _network(modality: str = "S2RGB", *, seed: int = 0) -> Backbone:
    return Backbone("resnet18", network_input(modality), image_size=32, seed=seed)


def test_features_are_those_of_embed(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """Rendering, scaling and resizing agree with the public `embed` on the same pixels."""
    part = pattern_task().part("validation")
    images = np.stack([part.source.pixels(int(i), int(s))[10] for i, s in zip(part.items, part.seasons, strict=True)])

    features = extract(rgb_network, part)

    expected = rgb_network.embed(images, part.source.contract)
    assert features.dtype == torch.float32
    assert features.shape == (len(part), 512)
    # `embed` resizes scaled values, `extract` resizes 8-bit values and rounds them: half a level of 255 at most.
    torch.testing.assert_close(features, expected, rtol=2e-2, atol=2e-2)


def test_features_of_a_native_image_are_exactly_those_of_embed(tmp_path: Path) -> None:
    """An Image from an archive goes the same way as in evaluation, from native resolution."""
    pack(SyntheticPlanet(2, size=48, modalities=("S2L1C",)), tmp_path / "a.zarr")
    source, network = ArchivePixels(tmp_path / "a.zarr", "S2L1C"), _network("S2L1C")
    one = np.array([1])
    part = LabelledPixels(source, items=one, seasons=np.array([2]), labels=np.array([0]), ids=("0000001",))

    features = extract(network, part)

    expected = network.embed(source.archive.read("S2L1C", location=1, season=2))
    torch.testing.assert_close(features[0], expected, rtol=1e-5, atol=1e-6)


def test_batch_size_changes_nothing(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """Items do not see each other."""
    part = pattern_task().part("train")

    whole, single = extract(rgb_network, part, batch_size=64), extract(rgb_network, part, batch_size=7)

    torch.testing.assert_close(whole, single, rtol=1e-4, atol=1e-5)


def test_order_of_items_permutes_the_features(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """Each row belongs to its item."""
    part = pattern_task().part("train")
    order = np.random.default_rng(0).permutation(len(part))

    features, permuted = extract(rgb_network, part), extract(rgb_network, part.take(order))

    torch.testing.assert_close(features[order], permuted, rtol=1e-4, atol=1e-5)


def test_extracting_twice_gives_the_same_bits(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """Nothing is drawn at random."""
    part = pattern_task().part("train")

    assert torch.equal(extract(rgb_network, part), extract(rgb_network, part))


def test_frozen_means_frozen(pattern_task: Callable[..., Task]) -> None:
    """A network in training keeps its weights, statistics, gradients, modes, and the generators their state."""
    network = _network().train()
    network.net.layer1.eval()
    next(network.parameters()).grad = torch.ones_like(next(network.parameters()))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    modes = {name: module.training for name, module in network.named_modules()}
    generators = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002 - the state that must not move

    extract(network, pattern_task().part("train"))

    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert torch.equal(next(network.parameters()).grad, torch.ones_like(next(network.parameters())))
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.random.get_state()[1].tolist() == generators[1]  # noqa: NPY002 - as above


def test_mode_of_training_does_not_change_features(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """Evaluation mode is set inside: a network in training gives the features of one that is not."""
    part = pattern_task().part("validation")

    assert torch.equal(extract(_network().train(), part), extract(rgb_network, part))


def test_modes_come_back_after_an_error() -> None:
    """A failure inside leaves the network as it was."""
    module = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()).train()
    module[1].eval()

    with pytest.raises(RuntimeError), evaluating(module):
        module(torch.zeros(1, 3))  # three numbers where the layer has two

    assert module.training
    assert module[0].training
    assert not module[1].training


def test_features_can_be_learned_from(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """What comes out is an ordinary tensor, not one of inference mode."""
    features = extract(rgb_network, pattern_task().part("validation"))

    nn.Linear(512, 2)(features).sum().backward()

    assert not features.is_inference()


def test_half_precision_gives_nearly_the_same(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """bf16 keeps about 3 digits, and the result is float32."""
    part = pattern_task().part("validation")

    exact, rough = extract(rgb_network, part), extract(rgb_network, part, precision="bf16")

    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    torch.testing.assert_close(exact, rough, rtol=5e-2, atol=5e-2)


def test_progress_is_told_after_each_batch(pattern_task: Callable[..., Task], rgb_network: Backbone) -> None:
    """Items done of items in all."""
    part = pattern_task().part("train")
    told: list[tuple[int, int]] = []

    extract(rgb_network, part, batch_size=30, progress=lambda done, total: told.append((done, total)))

    assert told == [(30, 39), (39, 39)]


def test_bands_are_picked_by_name() -> None:
    """A network of three bands in its own order sees those of a 13-band source."""

    class Thirteen:
        title, synthetic, num_seasons = "synthetic bands", True, 1
        contract = stored("S2L1C")
        form = Form.native("S2L1C")

        def __len__(self) -> int:
            return 2

        def pixels(self, index: int, season: int, *, resolutions: object = None) -> dict[int, np.ndarray]:
            """Give bands of one value each: 100 x (position in the contract) + item."""
            position = {10: (1, 2, 3, 7), 20: (4, 5, 6, 8, 11, 12), 60: (0, 9, 10)}
            size = {10: 12, 20: 6, 60: 2}
            return {
                r: np.stack([np.full((size[r],) * 2, 1000 * p + index, np.uint16) for p in position[r]]) for r in size
            }

    class Mean(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(2, 3))

    network = Backbone("resnet18", Contract("S2L1C", ("B8A", "B02", "B01"), "DN"), image_size=32, seed=0)
    network.net.forward = Mean().forward
    part = LabelledPixels(Thirteen(), np.arange(2), np.zeros(2, np.int64), np.zeros(2, np.int64), ("a", "b"))

    features = extract(network, part)

    assert features.tolist() == [[8000, 1000, 0], [8001, 1001, 1]]


def test_pixels_of_another_instrument_are_refused(pattern_task: Callable[..., Task]) -> None:
    """Radar in decibels never enters an optical network."""
    with pytest.raises(ContractMismatch, match="S1GRD cannot stand for S2RGB"):
        extract(_network(), pattern_task(modality="S1GRD").part("train"))


def test_item_with_broken_pixels_is_named(pattern_task: Callable[..., Task]) -> None:
    """One NaN pixel stops the evaluation with the item's id, not with a NaN score."""
    part = pattern_task(modality="S1GRD").part("train")
    part.source.broken.add(int(part.items[9]))

    with pytest.raises(SampleInvalid, match=f"item {part.ids[9]} are not finite: its pixels hold NaN") as caught:
        extract(_network("S1GRD").eval(), part, batch_size=4)

    assert caught.value.where["item"] == part.ids[9]


def test_network_that_gives_nan_is_told_apart(pattern_task: Callable[..., Task]) -> None:
    """Whole pixels and NaN features: the checkpoint is to blame."""
    network = _network().eval()
    with torch.no_grad():
        network.net.conv1.weight.fill_(float("nan"))

    with pytest.raises(SampleInvalid, match="inspect the checkpoint"):
        extract(network, pattern_task().part("train"))


def test_batch_without_room_is_told(pattern_task: Callable[..., Task]) -> None:
    """With its size and what to change."""
    network = _network()
    network.net.conv1.forward = lambda x: torch.empty(2**50, dtype=torch.uint8)

    with pytest.raises(OutOfMemory, match=r"no memory for 5 images of 32 px at a time .*batch_size"):
        extract(network, pattern_task().part("train"), batch_size=5)
