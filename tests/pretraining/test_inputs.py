# SPDX-License-Identifier: Apache-2.0
"""A wrong scale is told before a run begins, values that leave nothing to see are refused, bands may be fewer."""

from __future__ import annotations

import functools
import logging

import numpy as np
import pytest
from lightning_fabric.utilities.rank_zero import rank_zero_only

from ssl4eo.cli import main
from ssl4eo.collection.recoded import EightBit
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import network_input, stored
from ssl4eo.errors import ContractMismatch, RunStopped, ShardCorrupt, SourceInvalid
from ssl4eo.form import Form
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.packing.pack import pack
from ssl4eo.pretraining.data import open_training_data
from ssl4eo.pretraining.inputs import look_at_inputs, require_bands
from ssl4eo.sensors import statistics


class Changed(SyntheticPlanet):
    """A planet whose values somebody has changed before they were packed."""

    def __init__(self, modality, change):
        """Say how: a function of the values of one resolution."""
        super().__init__(6, size=24, modalities=(modality,))
        self.change = change

    def read(self, location):
        """Read a location and change what it shows."""
        sample = super().read(location)
        for images in sample.images.values():
            for image in images:
                for values in image.pixels.values():
                    values[...] = self.change(values)
        return sample


def opened(path, modality, change, *, standardized=False):
    """Pack changed values and open them for training."""
    pack(Changed(modality, change), path)
    contract = network_input(modality, standardized=standardized)
    return open_training_data(path, contract=contract, split="none")


def linear(decibels):
    """Give radar as power."""
    return 10 ** (decibels / 10)


@pytest.mark.parametrize("modality", ["S1GRD", "S2L1C", "S2L2A"])
@pytest.mark.parametrize("standardized", [False, True])
def test_values_as_they_should_be_are_not_doubted(tmp_path, caplog, modality, standardized):
    """Nothing is said of them, by either scaling."""
    opened(tmp_path / "a.zarr", modality, lambda values: values, standardized=standardized)

    assert not caplog.text


def test_radar_in_linear_power_is_refused(tmp_path, caplog):
    """Decibels near zero are brighter than the network can see: all of it would be 1."""
    with pytest.raises(ContractMismatch, match=r"all 6 images looked at are 1 everywhere.*ssl4eo stats"):
        opened(tmp_path / "a.zarr", "S1GRD", linear)

    assert "convert linear power by 10 log10(x)" in caplog.text


def test_constant_values_are_refused_by_any_scaling(tmp_path):
    """Also where each band has its own."""

    def flat(values):
        return np.arange(1, len(values) + 1)[:, None, None] * 100

    with pytest.raises(ContractMismatch, match=r"all 6 images looked at are .* everywhere"):
        opened(tmp_path / "a.zarr", "S2L1C", flat)
    contract = network_input("S2L1C", standardized=True)
    with pytest.raises(ContractMismatch, match=r"all 6 images looked at are .* everywhere"):
        open_training_data(tmp_path / "a.zarr", contract=contract, split="none")


def test_bright_bands_are_told(tmp_path, caplog):
    """Reflectance of 300 % is clipped; the bands are named, and the run may begin."""
    opened(tmp_path / "a.zarr", "S2L2A", lambda values: np.minimum(values.astype(np.int64) * 40, 32_000))

    assert "more than half of the values of B01" in caplog.text
    assert "clipped to the largest that the network is fed, in 6 images looked at" in caplog.text


@pytest.mark.parametrize(
    ("modality", "fill", "told"),
    [("S1GRD", -9999, "values reach from -9999 to "), ("S2L2A", 65535, "up to 65535 DN, more than any product holds")],
)
def test_fill_values_are_told(tmp_path, caplog, modality, fill, told):
    """A corner is enough: the network would take it for the darkest or brightest place on Earth."""

    def corner(values):
        values[:, 0, 0] = fill
        return values

    opened(tmp_path / "a.zarr", modality, corner)

    assert told in caplog.text
    assert "a fill value that was taken for a measurement?" in caplog.text


def test_missing_bands_have_a_way_out():
    """The bands that are there, as the option wants them."""
    with pytest.raises(ContractMismatch, match="S2L1C values have no") as told:
        require_bands(stored("S2L1C", bands=["B04", "B03", "B02", "B08"]), network_input("S2L1C"))
    assert "--bands B02 B03 B04 B08, or read the missing bands too" in str(told.value)
    with pytest.raises(ContractMismatch) as other:
        require_bands(stored("S1GRD"), network_input("S2L1C"))
    assert "--bands" not in str(other.value)


class Lost(ArchivePixels):
    """An archive whose first images cannot be read."""

    num_lost = 6

    def pixels(self, index, season, *, resolutions=None):
        """Raise what a lost shard does."""
        if index < self.num_lost:
            raise ShardCorrupt(f"S1GRD of location {index}", expected="bytes", remedy="copy it", location=str(index))
        return super().pixels(index, season, resolutions=resolutions)


def test_lost_data_are_told_as_that(tmp_path, monkeypatch):
    """Where damage is replaced, the one that is named is not the only one; one that can be read is enough."""
    pack(Changed("S1GRD", lambda values: values), tmp_path / "a.zarr")
    source, contract = Lost(tmp_path / "a.zarr", "S1GRD"), network_input("S1GRD")

    with pytest.raises(ShardCorrupt, match=r"^S1GRD of location 0; expected bytes: copy it$"):
        look_at_inputs(source, contract)
    with pytest.raises(
        ShardCorrupt, match=r"none of the 6 images looked at can be read: S1GRD of location 0;.*copy it"
    ):
        look_at_inputs(source, contract, skip_damaged=True)
    monkeypatch.setattr(Lost, "num_lost", 5)
    look_at_inputs(source, contract, skip_damaged=True)


@pytest.mark.parametrize(("rank", "times"), [(0, 1), (1, 0)])
def test_one_process_tells_of_the_data(tmp_path, caplog, monkeypatch, request, rank, times):
    """All of them open it."""

    def stop(*arguments, **options):
        raise RunStopped("enough was seen")

    logger = logging.getLogger("ssl4eo")
    request.addfinalizer(functools.partial(logger.setLevel, logger.level))
    monkeypatch.setattr(rank_zero_only, "rank", rank, raising=False)
    monkeypatch.setattr("ssl4eo.pretraining.loop.pretrain", stop)
    pack(Changed("S1GRD", lambda values: np.where(values > values.mean(), values, -9999)), tmp_path / "a.zarr")
    command = ["pretrain", "--recipe", "moco_v2.resnet18.s1grd.tiny", "--data", str(tmp_path / "a.zarr")]

    assert main([*command, "--out", str(tmp_path / "run"), "--split", "none"]) == 75

    assert caplog.text.count("a fill value that was taken for a measurement?") == times


def test_what_was_not_observed_is_not_called_clipped(tmp_path, caplog):
    """Half of an image and more may be nodata; in 8 bits the darkest step is wide, and holds most of B10."""

    def strip(values):
        values[:, values.shape[1] // 3 :] = 0
        return values

    opened(tmp_path / "a.zarr", "S2L2A", strip)
    eight_bits = EightBit(SyntheticPlanet(6, size=24, modalities=("S2L1C",)), "10k")
    pack(eight_bits, tmp_path / "b.zarr")
    open_training_data(tmp_path / "b.zarr", contract=network_input("S2L1C"), split="none")

    assert "clipped" not in caplog.text


def test_places_that_are_too_few_for_a_split_name_the_way_out(tmp_path):
    """Labels are not needed to pre-train."""
    pack(SyntheticPlanet(6, size=24, modalities=("S2L2A",)), tmp_path / "a.zarr")

    with pytest.raises(SourceInvalid, match="--split none"):
        open_training_data(tmp_path / "a.zarr", contract=network_input("S2L2A"))


class OwnPixels:
    """A source of somebody's own: digital numbers of the published moments, on a scale."""

    title, synthetic, identity, num_seasons = "own", True, "a", 1

    def __init__(self, times, modality="S2L2A"):
        """Draw them, not one the same."""
        self.contract, self.form = stored(modality), Form.gridded(modality)
        known = statistics(modality, "published_50k")
        rng, self.images = np.random.default_rng(0), []
        for _ in range(20):
            bands = [rng.gamma(4, known.mean[band] / 4, (24, 24)) * times for band in self.contract.bands]
            self.images.append(np.stack(bands).clip(0, 65_000).astype(np.uint16))

    def __len__(self):
        """Count them."""
        return len(self.images)

    def id_of(self, index):
        """Name one."""
        return str(index)

    def pixels(self, index, season, *, resolutions=None):
        """Give one."""
        return {10: self.images[index]}


@pytest.mark.parametrize("modality", ["S2L1C", "S2L2A"])
@pytest.mark.parametrize(("times", "told"), [(1, False), (4, True), (0.1, True)])
def test_digital_numbers_of_ones_own_on_another_scale_are_told(caplog, modality, times, told):
    """Only an archive has figures of all its pixels; of other sources the images looked at must do."""
    look_at_inputs(OwnPixels(times, modality), network_input(modality))

    assert ("times the published ones, in 16 images looked at" in caplog.text) == told


def test_figures_of_an_archive_tell_the_scale_once(tmp_path, caplog):
    """Not the look at some of its images, too."""
    opened(tmp_path / "a.zarr", "S2L1C", lambda values: (values * 4.0).clip(0, 60_000).astype(values.dtype))

    assert caplog.text.count("times the published ones") == 1
