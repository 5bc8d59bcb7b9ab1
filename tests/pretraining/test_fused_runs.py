# SPDX-License-Identifier: Apache-2.0
"""Radar and optical images as one input, from archive to checkpoint to score."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from ssl4eo.archive.reader import open_archive
from ssl4eo.backbones.backbone import Backbone, untrained
from ssl4eo.checkpoints.load import load_backbone
from ssl4eo.checkpoints.training_state import load_latest
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import FusedContract, network_input, stored
from ssl4eo.errors import ContractMismatch
from ssl4eo.evaluation.network import load_network
from ssl4eo.evaluation.run import evaluate
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.methods.moco_v2 import MoCoV2Config
from ssl4eo.packing.pack import pack
from ssl4eo.pretraining.data import open_training_data
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.recipes.table import recipe

FUSED = "S2L1C+S1GRD"
ZEROS = FusedContract((stored("S2L1C"), stored("S1GRD")))


@pytest.fixture(scope="module")
def planet(tmp_path_factory):
    """Pack 60 small synthetic locations with radar and optical images."""
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    pack(SyntheticPlanet(60, size=24, num_seasons=2, modalities=("S1GRD", "S2L1C")), path)
    return path


@pytest.fixture(scope="module")
def optical(tmp_path_factory):
    """Pack 4 locations without radar."""
    path = tmp_path_factory.mktemp("optical") / "a.zarr"
    pack(SyntheticPlanet(4, size=24, num_seasons=1, modalities=("S2L1C",)), path)
    return path


def config(**engine):
    """Make a run of 2 steps an epoch on 8 locations and 32 px views."""
    base = recipe("moco_v2.resnet18.s2l1c_s1grd.tiny").config()
    options = {"epochs": 2, "batch_size": 4, "log_every": 1, "probe_every": 0, "precision": "32-true"} | engine
    return dataclasses.replace(
        base,
        backbone="test_resnet",
        method=MoCoV2Config(dim=16, queue_size=16, momentum=0.9, temperature=0.2),
        views=dataclasses.replace(base.views, view=dataclasses.replace(base.views.view, size=32)),
        engine=dataclasses.replace(base.engine, **options),
    )


class Interrupted(ArchivePixels):
    """An archive whose reading fails after some images."""

    left = 10**9

    def pixels(self, index, season, *, resolutions=None):
        """Give an image, or fail."""
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().pixels(index, season, resolutions=resolutions)


def test_recipes_drop_a_sensor_in_half_of_the_views():
    """Every fused recipe does, no other one does, and none of them is gray."""
    names = [
        f"moco_v2.{b}.{i}{t}"
        for b in ("resnet18", "resnet50")
        for i in ("s2l1c_s1grd", "s2l2a_s1grd")
        for t in ("", ".tiny")
    ]

    for name in names:
        photometric = recipe(name).config().views.view.photometric
        assert (photometric.sensor_drop, photometric.gray_probability) == (0.5, 0.0), name
    assert recipe("moco_v2.resnet50.s2l1c").config().views.view.photometric.sensor_drop == 0
    assert recipe(names[0]).config().contract == network_input(FUSED)


def test_interrupted_run_resumes_to_the_same_weights_and_is_judged(tmp_path, planet):
    """The whole way: pre-train, stop inside an epoch, go on, load, evaluate on the scenes of the planet."""
    eight = np.arange(8)
    whole = pretrain(config(), ArchivePixels(planet, FUSED, indices=eight), tmp_path / "whole", quiet=True)
    broken = Interrupted(planet, FUSED, indices=eight)
    broken.left = 12  # of 16 to 32: a step reads 4 locations, one or two seasons of each
    with pytest.raises(KeyboardInterrupt):
        pretrain(config(save_minutes=0), broken, tmp_path / "run", quiet=True)
    state = load_latest(tmp_path / "run")

    result = pretrain(
        config(save_minutes=0), ArchivePixels(planet, FUSED, indices=eight), tmp_path / "run", resume=True, quiet=True
    )

    first, second = load_backbone(tmp_path / "whole"), load_backbone(tmp_path / "run")
    assert state is not None
    assert 1 <= state.step <= 3
    assert result.steps == whole.steps == 4
    assert second.contract == network_input(FUSED)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    network = load_network(str(tmp_path / "run"))
    task = open_task("synthetic", planet, contract=network.backbone.contract)
    (score,) = evaluate(network, task, ["knn"], out=tmp_path / "scores")
    assert score.num_test == 20
    assert score.synthetic


def test_training_data_of_two_modalities(planet):
    """Locations that are not tested on, both modalities, and an online judge."""
    data = open_training_data(planet, contract=network_input(FUSED))

    assert data.source.contract == ZEROS
    assert len(data.source) == 40
    assert data.probe is not None
    assert 0 <= data.probe(Backbone("resnet18", network_input(FUSED), image_size=32, seed=0)).knn <= 1


def test_archive_without_radar_is_refused(optical):
    """The message names what is missing, before any training."""
    with pytest.raises(ContractMismatch, match=r"holds S2L1C, not S1GRD; expected S2L1C\+S1GRD"):
        open_training_data(optical, contract=network_input(FUSED))
    with pytest.raises(ContractMismatch, match="collect S1GRD too"):
        open_task("synthetic", optical, contract=network_input(FUSED))


def test_source_of_another_input_is_refused(tmp_path, planet):
    """Optical pixels alone for a fused recipe, handed over without the checks of the command."""
    with pytest.raises(ContractMismatch, match="no part S1GRD"):
        pretrain(config(), ArchivePixels(planet, "S2L1C", indices=np.arange(8)), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_folder_of_pictures_is_refused(tmp_path):
    """Pictures have neither radar nor thirteen bands."""
    (tmp_path / "a").mkdir()
    PillowImage.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a" / "b.png")

    with pytest.raises(ContractMismatch, match="S2RGB values have no part S2L1C"):
        open_training_data(tmp_path, contract=network_input(FUSED), split="none")


def test_embed_of_both_images_is_the_evaluated_feature(planet):
    """One image of each sensor by name gives what the stacked array with its contract gives."""
    archive, network = open_archive(planet), untrained("random.resnet18.s2l1c_s1grd", image_size=32).eval()
    images = {name: archive.read(name, location=3, season=1) for name in ("S1GRD", "S2L1C")}
    stack = np.concatenate([network._render(images[name]) for name in ("S2L1C", "S1GRD")])

    features = network.embed(images)

    assert features.shape == (512,)
    torch.testing.assert_close(features, network.embed(stack[None], ZEROS)[0], rtol=1e-4, atol=1e-6)


def test_absent_sensor_is_zero_after_scaling(planet):
    """None in place of radar is what sensor drop shows the network: zeros in its own units, not 0 dB."""
    archive, network = open_archive(planet), untrained("random.resnet18.s2l1c_s1grd", image_size=32).eval()
    image = archive.read("S2L1C", location=3, season=1)
    scaled = torch.zeros(1, 15, 32, 32)
    scaled[:, :13] = network._scale(image, network.contract.parts[0])

    features = network.embed({"S2L1C": image, "S1GRD": None})

    with torch.no_grad():
        torch.testing.assert_close(features, network(scaled)[0], rtol=1e-4, atol=1e-6)


def test_incomplete_images_are_refused(planet):
    """A sensor that nobody mentions, one too many, and none at all."""
    archive, network = open_archive(planet), untrained("random.resnet18.s2l1c_s1grd", image_size=32).eval()
    image = archive.read("S2L1C", location=0, season=0)

    for images in ({"S2L1C": image}, {"S2L1C": image, "S1GRD": None, "S2L2A": None}, {"S2L1C": None, "S1GRD": None}):
        with pytest.raises(ContractMismatch, match="an image of each of S2L1C, S1GRD"):
            network.embed(images)
    with pytest.raises(ContractMismatch, match="read S1GRD too"):
        network.embed(image)
    with pytest.raises(ContractMismatch, match="13 bands; expected 15"):
        network.embed(np.zeros((1, 13, 32, 32), np.uint16), ZEROS)
