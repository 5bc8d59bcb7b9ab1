# SPDX-License-Identifier: Apache-2.0
"""Radar and optical pixels of one archive as one input: read together, seen alike, each in its own unit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ssl4eo.archive.reader import open_archive
from ssl4eo.backbones.adapter import Adapter
from ssl4eo.collection.recoded import EightBit
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import FusedContract, network_input, stored
from ssl4eo.errors import ConfigInvalid, SampleInvalid, UnknownName
from ssl4eo.form import Form, FusedForm
from ssl4eo.loading.batches import ViewDataset
from ssl4eo.loading.loader import make_loader
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.packing.pack import pack
from ssl4eo.recipes.views import published_view
from ssl4eo.views.compose import Renderer, draw_geometry
from ssl4eo.views.config import PairConfig, ViewConfig
from ssl4eo.views.photometric import PhotometricConfig, apply_photometric_
from ssl4eo.views.speckle import units_per_decibel

FUSED = "S2L1C+S1GRD"
PLAIN_COLORS = PhotometricConfig(jitter_probability=0.0, brightness=0.0, contrast=0.0, gray_probability=0.0)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Pack 6 synthetic locations as they are, and in 8 bits on native grids and on one grid."""
    root = tmp_path_factory.mktemp("planet")
    planet = SyntheticPlanet(6, size=24, num_seasons=2, modalities=("S1GRD", "S2L1C"))
    pack(planet, root / "whole.zarr")
    pack(EightBit(planet, "10k"), root / "bytes.zarr")
    pack(EightBit(planet, "10k", as_published=True), root / "published.zarr")
    return {name: root / f"{name}.zarr" for name in ("whole", "bytes", "published")}


def dataset(source, *, photometric=PLAIN_COLORS, seed=0):
    """Make two 16 px views of a source."""
    view = dataclasses.replace(published_view(16), photometric=photometric)
    return ViewDataset(source, PairConfig("augment", view), contract=source.contract, seed=seed)


@pytest.mark.parametrize("kind", ["whole", "bytes", "published"])
def test_pixels_are_those_of_both_modalities(archives, kind):
    """Every band of every grid is what the archive holds for the location and the season, in a type that holds both."""
    archive = open_archive(archives[kind])
    source = ArchivePixels(archives[kind], FUSED)

    for index, season in ((0, 0), (4, 1)):
        found = source.pixels(index, season)

        for resolution, bands in source.form.groups:
            assert found[resolution].dtype == np.dtype("float32" if kind == "whole" else "uint8")
            for row, band in enumerate(bands):
                name = "S1GRD" if band in ("VV", "VH") else "S2L1C"
                np.testing.assert_array_equal(
                    found[resolution][row], archive.read(name, location=index, season=season).band(band)
                )


@pytest.mark.parametrize("kind", ["whole", "bytes", "published"])
def test_rendering_is_two_renders_stacked(archives, kind):
    """One geometry for both sensors: the same numbers as each rendered alone, digital numbers rounded, dB not."""
    fused = ArchivePixels(archives[kind], FUSED)
    single = [ArchivePixels(archives[kind], name) for name in ("S2L1C", "S1GRD")]

    for seed in range(8):
        geometry = draw_geometry(np.random.default_rng(seed), dataclasses.replace(published_view(20), rotation=0.5))
        found = Renderer(fused.contract, fused.form)(fused.pixels(1, 1), 20, geometry)

        alone = [Renderer(s.contract, s.form)(s.pixels(1, 1), 20, geometry) for s in single]
        assert found.shape == (15, 20, 20)
        assert_close_views(found, np.concatenate(alone))


def assert_close_views(found, expected):
    """Compare values of all bands of a grid rendered in one product with those of products of their own.

    Sums may come in another order, so a digital number that lies between two whole ones may go to the other one.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1.001)
    assert (np.abs(found - expected) > 1e-3).mean() < 1e-3


def test_batches_show_both_sensors_alike(archives):
    """Seasons, windows and values of the fused views are those of the views of each modality alone."""
    items = [(0, 3), (1, 5), (2, 0)]

    fused, optical, radar = (
        dataset(ArchivePixels(archives["whole"], name)).__getitems__(items) for name in (FUSED, "S2L1C", "S1GRD")
    )

    assert torch.equal(fused.seasons, optical.seasons)
    for both, first, second in zip(fused.views, optical.views, radar.views, strict=True):
        assert both.shape == (3, 15, 16, 16)
        assert_close_views(both.float(), torch.cat([first.float(), second], dim=1))


def test_each_sensor_travels_in_its_own_type(archives):
    """Digital numbers of 16 bits and decibels of 32: 34 bytes a pixel, of 60; in 8 bits both are one type."""
    whole, in_bytes = (dataset(ArchivePixels(archives[kind], FUSED))[0, 2].views[0] for kind in ("whole", "bytes"))

    assert [(part.dtype, part.shape[1]) for part in whole.parts] == [(torch.uint16, 13), (torch.float32, 2)]
    assert sum(part[0, :, 0, 0].nbytes for part in whole.parts) == 34
    assert in_bytes.dtype == torch.uint8


def test_types_are_of_the_bands_that_are_fed(archives):
    """Some of each sensor's, in their order."""
    bands = FusedContract((stored("S2L1C", bands=("B08", "B04")), stored("S1GRD", bands=("VH",))))
    source = ArchivePixels(archives["whole"], FUSED)

    data = ViewDataset(source, PairConfig("augment", published_view(16)), contract=bands, seed=0)
    whole = ViewDataset(source, PairConfig("augment", published_view(16)), contract=source.contract, seed=0)

    some, everything = data[0, 2].views[0], whole[0, 2].views[0].float()
    assert [(part.dtype, part.shape[1]) for part in some.parts] == [(torch.uint16, 2), (torch.float32, 1)]
    rows = [source.contract.bands.index(band) for band in bands.bands]
    assert_close_views(some.float(), everything[:, rows])


@pytest.mark.parametrize("speckle", [0.0, 0.3])
def test_finished_views_are_those_of_the_device(archives, speckle):
    """Whoever puts the types together: bit by bit."""
    source, network = ArchivePixels(archives["whole"], FUSED), network_input(FUSED)
    view = dataclasses.replace(published_view(16), photometric=dataclasses.replace(PLAIN_COLORS, speckle=speckle))
    options = {"contract": source.contract, "seed": 0, "adapter": Adapter(source.contract, network)}
    items = [(0, index) for index in range(4)]

    late = ViewDataset(source, PairConfig("augment", view), **options).__getitems__(items)
    early = ViewDataset(source, PairConfig("augment", view), **options, finish=True).__getitems__(items)

    for travelled, rows, finished in zip(late.views, late.photometric, early.views, strict=True):
        assert torch.equal(apply_photometric_(options["adapter"](travelled), rows), finished)


def test_workers_and_parts_keep_the_types(archives):
    """A batch out of another process, cut for accumulation, is what it was."""
    data = dataset(ArchivePixels(archives["whole"], FUSED))
    order = ResumableBatches(Order(6, 4, 0), first_step=0, num_steps=1)
    batches = [next(iter(make_loader(data, order, num_workers=n, pin=False))) for n in (0, 1)]

    for alone, sent in zip(*(batch.views for batch in batches), strict=True):
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(alone.parts, sent.parts, strict=True))
    first, second = batches[0].split(2)
    joined = torch.cat([first.views[1].float(), second.views[1].float()])
    assert torch.equal(joined, batches[0].views[1].float())
    assert torch.equal(batches[0].views[0].to("cpu").float(), batches[0].views[0].float())


class Halved(ViewConfig):
    """A view of somebody's own that leaves no whole numbers, and some beyond their range."""

    def alter(self, rng, values, contract):
        """Put half of the pixels at 7.6 and the others far below."""
        values[:13, ::2], values[:13, 1::2] = 7.6, -50.0


def test_values_of_ones_own_become_whole_numbers_as_of_one_sensor(archives):
    """Rounded and held in the range; decibels are left alone."""
    source = ArchivePixels(archives["whole"], FUSED)
    own = Halved(**vars(dataclasses.replace(published_view(16), photometric=PLAIN_COLORS)))

    view = ViewDataset(source, PairConfig("augment", own), contract=source.contract, seed=0)[0, 2].views[0]

    optical, radar = view.parts
    assert optical.to(torch.int32).unique().tolist() == [0, 8]
    assert float(radar.max()) < 5


def test_grids_that_carry_no_wanted_band_are_not_read(archives):
    """Asked for the finest grid, only the finest grid comes."""
    source = ArchivePixels(archives["whole"], FUSED)

    found = source.pixels(0, 0, resolutions=[20])

    assert set(found) == {20}
    assert found[20].shape == (6, 12, 12)


@pytest.mark.parametrize("kind", ["whole", "bytes"])
def test_scaled_views_are_those_of_each_sensor(archives, kind):
    """Through the network's adapter: DN / 10000 and the radar scaling, as alone."""
    sources = [ArchivePixels(archives[kind], name) for name in (FUSED, "S2L1C", "S1GRD")]

    scaled = [
        Adapter(s.contract, network_input(name))(dataset(s)[0, 2].views[0])
        for s, name in zip(sources, (FUSED, "S2L1C", "S1GRD"), strict=True)
    ]

    step = 1e-4 if kind == "whole" else 1 / 255  # of a value that lies between two whole numbers
    torch.testing.assert_close(scaled[0], torch.cat(scaled[1:], dim=1), rtol=1e-4, atol=1.01 * step)
    assert 0 <= float(scaled[0].min()) <= float(scaled[0].max()) <= 1


def test_sensor_drop_zeroes_exactly_one_sensor(archives):
    """With probability one each view keeps the optical or the radar channels, both cases occur, and no value else."""
    source = ArchivePixels(archives["whole"], FUSED)
    drop = dataclasses.replace(PLAIN_COLORS, sensor_drop=1.0)
    batch = dataset(source, photometric=drop).__getitems__([(epoch, i) for epoch in range(4) for i in range(6)])
    scaled = Adapter(source.contract, network_input(FUSED))(batch.views[0])

    seen = apply_photometric_(scaled.clone(), batch.photometric[0])

    optical, radar = seen[:, :13].flatten(1).any(dim=1), seen[:, 13:].flatten(1).any(dim=1)
    assert bool((optical ^ radar).all())
    assert 0 < int(radar.sum()) < len(radar)
    for row in range(len(seen)):
        kept = slice(13) if optical[row] else slice(13, 15)
        assert torch.allclose(seen[row, kept], scaled[row, kept], rtol=1e-5, atol=1e-6)


class OneSensor(ArchivePixels):
    """Locations of which one sensor saw nothing."""

    absent = "S2L1C"

    def pixels(self, index, season, *, resolutions=None):
        """Put out what the sensor would have seen."""
        found = super().pixels(index, season, resolutions=resolutions)
        for resolution, bands in self.form.groups:
            for row, band in enumerate(bands):
                if resolution in found and (band in ("VV", "VH")) == (self.absent == "S1GRD"):
                    found[resolution][row] = 0
        return found


@pytest.mark.parametrize("kind", ["whole", "bytes"])
@pytest.mark.parametrize("absent", ["S2L1C", "S1GRD"])
@pytest.mark.parametrize("speckle", [0.0, 0.3])
@pytest.mark.parametrize("finish", [False, True])
def test_sensor_drop_leaves_the_one_that_is_there(archives, kind, absent, speckle, finish):
    """Where the other sensor saw nothing a view would be empty; what else was drawn stays as it was."""
    source = OneSensor(archives[kind], FUSED)
    source.absent = absent
    photometric = dataclasses.replace(PLAIN_COLORS, sensor_drop=1.0, speckle=speckle)
    view = dataclasses.replace(published_view(16), photometric=photometric)
    adapter = Adapter(source.contract, network_input(FUSED))
    items = [(epoch, 1) for epoch in range(8)]

    data = ViewDataset(
        source, PairConfig("augment", view), contract=source.contract, seed=0, adapter=adapter, finish=finish
    )
    batch = data.__getitems__(items)

    mine = slice(0, 13) if absent == "S1GRD" else slice(13, 15)
    for stored_view, rows in zip(batch.views, batch.photometric, strict=True):
        shown = stored_view if finish else apply_photometric_(adapter(stored_view), rows)
        assert shown[:, mine].flatten(1).any(dim=1).all()
        kept = rows[:, -15:]
        assert (kept[:, mine] == 1).all()
    everything = ArchivePixels(archives[kind], FUSED)
    whole = ViewDataset(everything, PairConfig("augment", view), contract=source.contract, seed=0, adapter=adapter)
    for found, drawn in zip(batch.photometric, whole.__getitems__(items).photometric, strict=True):
        assert torch.equal(found[:, :-15], drawn[:, :-15])
        same = (drawn[:, -15:][:, mine] == 1).all(dim=1)
        assert 0 < same.sum() < len(items)
        assert torch.equal(found[same], drawn[same])


def test_speckle_reaches_only_the_radar_channels():
    """Decibels beside digital numbers: noise of the radar's own unit, none for the others."""
    assert units_per_decibel(FusedContract((stored("S2L1C"), stored("S1GRD")))) == (0.0,) * 13 + (1.0, 1.0)


def test_sensor_drop_of_one_sensor_is_refused(archives):
    """A view would be empty."""
    drop = dataclasses.replace(PLAIN_COLORS, sensor_drop=0.5)

    with pytest.raises(ConfigInvalid, match=r"sensor_drop is 0\.5 for bands of one sensor"):
        dataset(ArchivePixels(archives["whole"], "S2L1C"), photometric=drop)


def test_identity_and_missing_modality(archives):
    """Other modalities are other data; one that the archive lacks is named."""
    both, one = ArchivePixels(archives["whole"], FUSED), ArchivePixels(archives["whole"], "S2L1C")

    assert both.identity != one.identity
    with pytest.raises(UnknownName, match="S2L2A"):
        ArchivePixels(archives["whole"], "S2L2A+S1GRD")


def test_form_joins_grids_and_types():
    """Native grids share 10 m; uint16 beside float32 is float32, beside 8 bits it is kept whole."""
    optical, radar = Form.native("S2L1C"), Form.native("S1GRD")
    radar8 = Form.gridded("S1GRD", scaling="uint8_sigma2:published_rounded")

    form = FusedForm((optical, radar))

    assert dict(form.groups)[10] == ("B02", "B03", "B04", "B08", "VV", "VH")
    assert [r for r, _ in form.groups] == [10, 20, 60]
    assert form.dtype == "float32"
    assert FusedForm((optical, radar8)).dtype == "uint16"


@pytest.mark.parametrize("name", ["S2L1C", FUSED])
def test_views_of_ones_own_are_the_same_wherever_they_are_finished(archives, name):
    """Rounded and held in the range of the stored type before they are scaled."""
    source = ArchivePixels(archives["whole"], name)
    own = Halved(**vars(dataclasses.replace(published_view(16), photometric=PLAIN_COLORS)))
    options = {"contract": source.contract, "seed": 0, "adapter": Adapter(source.contract, network_input(name))}

    late = ViewDataset(source, PairConfig("augment", own), **options)[0, 2]
    early = ViewDataset(source, PairConfig("augment", own), **options, finish=True)[0, 2]

    for travelled, rows, finished in zip(late.views, late.photometric, early.views, strict=True):
        assert torch.equal(apply_photometric_(options["adapter"](travelled), rows), finished)
    assert float(early.views[0][0, 0].max()) == pytest.approx(8e-4)


class Broken(ViewConfig):
    """A view of somebody's own that divides by nothing."""

    def alter(self, rng, values, contract):
        """Leave what is no number."""
        values[0, 0, 0] = np.nan


@pytest.mark.parametrize("name", ["S2L1C", FUSED])
@pytest.mark.parametrize("finish", [False, True])
def test_views_of_ones_own_that_are_no_numbers_are_refused(archives, name, finish):
    """In whole numbers they would be some black pixels that nobody sees."""
    source = ArchivePixels(archives["whole"], name)
    own = Broken(**vars(dataclasses.replace(published_view(16), photometric=PLAIN_COLORS)))
    adapter = Adapter(source.contract, network_input(name))
    data = ViewDataset(
        source, PairConfig("augment", own), contract=source.contract, seed=0, adapter=adapter, finish=finish
    )

    with pytest.raises(SampleInvalid, match=r"0000002 at season .: alter of Broken left values that are NaN"):
        data[0, 2]
