# SPDX-License-Identifier: Apache-2.0
"""What was collected before, collected anew: a subset of places, seasons, modalities and bands, bit for bit."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from collecting_stage import TwoWindows, places, stage

import ssl4eo
from ssl4eo.cli import main
from ssl4eo.collecting.collect import collect
from ssl4eo.collecting.ledger import Ledger, ledger_path
from ssl4eo.collecting.published import PublishedService
from ssl4eo.collection.remote.collected import CollectedSource
from ssl4eo.collection.remote.selection import Choice
from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid, UnknownName
from ssl4eo.locations.place import Place
from ssl4eo.sample import Provenance


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Four places of S1 and L2A in two seasons, 36 px."""
    target = tmp_path_factory.mktemp("stored") / "a.zarr"
    collect(stage(4, size=36), target)
    return target


def again(service, table=None, *, modalities=("S1GRD", "S2L2A"), size=36, windows=None, seasons=2):
    return CollectedSource(
        service,
        table or places(4, spares=0),
        windows or TwoWindows(),
        {name: service.product(name) for name in modalities},
        Provenance("again", synthetic=True, licence="CC0-1.0"),
        num_seasons=seasons,
        choice=Choice(order="nearest", max_scene_cloud=1.0),
        size=size,
    )


def test_all_of_it_is_the_same_again(stored, tmp_path):
    """Pixels, times, products, transforms of every image; the service travels as a path."""
    service = pickle.loads(pickle.dumps(PublishedService(stored)))

    report = collect(again(service), tmp_path / "b.zarr", threads=3)

    one, other = ssl4eo.open_archive(stored), ssl4eo.open_archive(tmp_path / "b.zarr")
    assert report.totals.counts["done"] == len(one) == len(other) == 4
    assert other.provenance.synthetic
    for i in range(4):
        for name, images in one.sample(i).images.items():
            for image, twin in zip(images, other.sample(i).images[name], strict=True):
                for field in ("time", "product", "crs", "transform", "baseline", "offset", "form"):
                    assert getattr(image, field) == getattr(twin, field), field
                for resolution, pixels in image.pixels.items():
                    np.testing.assert_array_equal(pixels, twin.pixels[resolution])


class _September(TwoWindows):
    """The second of the two dates."""

    def __call__(self, place, lat):
        return super().__call__(place, lat)[1:]


def test_a_part_is_the_stored_part(stored, tmp_path):
    """Two places, one season, one modality, three bands on two grids, the inner 24 px: a window of what is stored."""
    service = PublishedService(stored, bands=("B02", "B04", "B11"))
    table = {name: place for name, place in places(4, spares=0).items() if name in ("0000001", "0000003")}

    collect(again(service, table, modalities=("S2L2A",), size=24, windows=_September(), seasons=1), tmp_path / "b.zarr")

    one, other = ssl4eo.open_archive(stored), ssl4eo.open_archive(tmp_path / "b.zarr")
    assert (other.ids, other.form("S2L2A").bands) == (("0000001", "0000003"), ("B02", "B04", "B11"))
    for name in other.ids:
        whole, (part,) = one.sample(name).images["S2L2A"][1], other.sample(name).images["S2L2A"]
        assert (part.time, part.product) == (whole.time, whole.product)
        left = round((part.transform[2] - whole.transform[2]) / 10)
        top = round((whole.transform[5] - part.transform[5]) / 10)
        assert (left, top) == (6, 6)
        for band, step, size in (("B02", 1, 24), ("B04", 1, 24), ("B11", 2, 12)):
            window = whole.band(band)[top // step :, left // step :][:size, :size]
            np.testing.assert_array_equal(part.band(band), window)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"0000009": Place("0000009", ((10.0, 48.0),))}, "a.zarr has no location 0000009"),
        ({"0000001": Place("0000001", ((11.0, 48.0),))}, "location 0000001 of a.zarr lies at 10.25, 48.0"),
        ({"0000001": Place("0000001", ((10.2535, 48.0),))}, "covers "),
    ],
    ids=["no such id", "elsewhere", "half beside"],
)
def test_what_is_not_there_is_skipped_and_the_ledger_says_why(stored, tmp_path, change, reason):
    """Beside a place that is there."""
    table = {**places(1, spares=0), **change}

    report = collect(again(PublishedService(stored), table), tmp_path / "b.zarr")

    assert report.totals.counts == {"pending": 0, "done": 1, "skipped": 1, "failed": 0}
    with Ledger.open(ledger_path(tmp_path / "b.zarr")) as ledger:
        (row,) = ledger.rows("skipped")
    assert reason in row["reason"]


def test_a_season_that_is_not_there_is_skipped(stored, tmp_path):
    """Two windows of a day that none of the images was taken on."""
    with pytest.raises(DataMissing, match="no S1GRD in season 0"):
        collect(again(PublishedService(stored), windows=TwoWindows(days=0.01)), tmp_path / "b.zarr")


def test_what_cannot_be_is_refused_at_once(stored, tmp_path):
    """Larger patches, modalities and bands that are not stored, pixels that do not lie on the grid."""
    service = PublishedService(stored)
    with pytest.raises(ConfigInvalid, match=r"patches of 48 px .* out of images of 36 px"):
        collect(again(service, size=48), tmp_path / "b.zarr")
    with pytest.raises(UnknownName, match="S2L1C"):
        service.product("S2L1C")
    with pytest.raises(ConfigInvalid, match="none of the bands B99"):
        PublishedService(stored, bands=("B99",)).product("S2L2A")


def test_images_whose_grid_is_not_known_come_whole_or_not_at_all(stored, monkeypatch):
    """As published GeoTIFFs, which tell degrees; and pixels that start beside the patch are not moved."""
    from ssl4eo.collecting import published

    service = PublishedService(stored)
    real = published._sample

    def spoilt(change):
        def sample(path, place):
            found = real(path, place)
            images = {n: tuple(replace(i, **change(i)) for i in row) for n, row in found.images.items()}
            return replace(found, images=images)

        monkeypatch.setattr(published, "_sample", sample)

    spoilt(lambda _: {"crs": "EPSG:4326"})
    assert again(service).read("0000000").images["S2L2A"][0].crs == "EPSG:4326"
    with pytest.raises(ConfigInvalid, match="whose grid is not known"):
        again(service, size=24).read("0000000")
    spoilt(lambda i: {"transform": (10.0, 0.0, i.transform[2] + 3, 0.0, -10.0, i.transform[5])})
    with pytest.raises(SourceInvalid, match=r"start -0.3 columns and 0 rows from the patch"):
        again(service).read("0000000")


def test_from_the_command_line(stored, tmp_path, capsys):
    """Without a table of places: those of the archive, with what is known of them; options of others are refused."""
    target = tmp_path / "b.zarr"
    dates = ["--seasons", "dates", "--dates", "2020-03-20", "--days", "10", "--order", "nearest"]
    some = ["collect", "--source", "published", "--out", str(target), "--modalities", "S2L2A", "--size", "36", *dates]

    status = main([*some, "--archive", str(stored), "--bands", "B02", "B08", "--max-cloud", "1.0", "--json"])

    assert (status, json.loads(capsys.readouterr().out)["done"]) == (0, 4)
    archive = ssl4eo.open_archive(target)
    assert archive.sample(1).labels["city"] == "c1"
    assert archive.provenance.synthetic
    assert main(some) != 0
    assert "--archive" in capsys.readouterr().err
    assert main(["collect", "--source", "synthetic", "--archive", str(stored), "--out", str(tmp_path / "c.zarr")]) != 0
