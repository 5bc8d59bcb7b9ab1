# SPDX-License-Identifier: Apache-2.0
"""A user's own folders of places: pictures are seasons in order of their dates, and every refusal."""

from __future__ import annotations

import datetime as dt
import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from write_pictures import cuts, noise, write

from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.dates import time_in_name, time_in_tags
from ssl4eo.collection.place_folders import PlaceFolders
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid
from ssl4eo.packing.layouts import LAYOUTS, open_source
from ssl4eo.packing.pack import pack
from ssl4eo.sample import Sample

OPTICAL = {"modality": "S2L2A", "bands": ["B2", "B3"], "offset": 0}
RADAR = {"modality": "S1GRD", "bands": ["VV", "VH"]}
REAL = Path(__file__).resolve().parents[3] / "shared/data/boadella"
DATES = ("2020-01-10", "2020-04-10", "2020-07-10")


def _optical(seed: int, shape: tuple[int, int] = (6, 5)) -> np.ndarray:
    return noise(2, *shape, dtype="u2", high=3000, seed=seed)


def _place(folder: Path, names: tuple[str, ...] = DATES, *, seed: int = 0, **settings: object) -> Path:
    """Write a place of one picture a name; give its folder."""
    for i, name in enumerate(names):
        write(folder / f"{name}.tif", _optical(seed + i), is_placed=True, **settings)
    return folder


def _reason(source: PlaceFolders, location: str) -> str:
    with pytest.raises(SourceInvalid) as caught:
        source.read(location)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "time"),
    [
        ("2020-01-10", "2020-01-10 00:00:00"),
        ("20200110", "2020-01-10 00:00:00"),
        ("p001_2020-01-10_v20210401", "2020-01-10 00:00:00"),
        ("S2A_MSIL2A_20200110T104421_N0213_R008_T31UFS_20200110T120000", "2020-01-10 10:44:21"),
        ("20200320T105031_20200320T105240_T31UFS", "2020-03-20 10:50:31"),
        ("S1B_IW_GRDH_1SDV_20200318T055011_20200318T055036_020748_027573_0A1B", "2020-03-18 05:50:11"),
        ("LC08_L2SP_195025_20220105_20220114_02_T1", "2022-01-05 00:00:00"),
        ("20200110T996000", "2020-01-10 00:00:00"),
        ("20201350_20200229", "2020-02-29 00:00:00"),
        ("2020-02-30", None),
        ("2020-0110", None),
        ("120200110", None),
        ("202001101", None),
        ("99990110", None),
        ("january", None),
        ("", None),
    ],
)
def test_the_first_date_of_a_name_is_its_time(name: str, time: str | None) -> None:
    """In one of two spellings, between any other parts; never a piece of a longer number, and no day that is none."""
    found = time_in_name(name)

    assert found == (None if time is None else dt.datetime.fromisoformat(time).replace(tzinfo=dt.UTC))


@given(st.dates(dt.date(1900, 1, 1), dt.date(2099, 12, 31)), st.sampled_from(["%Y%m%d", "%Y-%m-%d"]), st.text("aT_-. "))
def test_every_day_is_found_in_either_spelling(day: dt.date, form: str, around: str) -> None:
    """Whatever stands around it, but for digits."""
    found = time_in_name(f"{around}{day.strftime(form)}{around}")

    assert found is not None
    assert found.date() == day


def test_a_tiff_that_tells_its_time_in_another_form_tells_none() -> None:
    """The form of the TIFF standard, or nothing."""
    assert time_in_tags({"TIFFTAG_DATETIME": "2020:01:10 10:44:21"}) == dt.datetime(
        2020, 1, 10, 10, 44, 21, tzinfo=dt.UTC
    )
    assert time_in_tags({"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}) is None
    assert time_in_tags({}) is None


def test_pictures_of_a_place_are_seasons_in_order_of_date(tmp_path: Path) -> None:
    """Not of their names; pixels, CRS and transform are rasterio's, products are named as the files."""
    names = ("d_20200110", "a_2020-07-10", "S2A_MSIL2A_20200410T104421_N0213")
    _place(tmp_path / "p1", names)
    _place(tmp_path / "p0", names, seed=10)

    source = PlaceFolders(tmp_path, **OPTICAL)
    sample = source.read("p1")

    assert (list(source.ids()), source.num_seasons, source.shape) == (["p0", "p1"], 3, (6, 5))
    images = sample.images["S2L2A"]
    assert [image.product for image in images] == [names[0], names[2], names[1]]
    assert [image.time.isoformat() for image in images if image.time] == [
        "2020-01-10T00:00:00+00:00",
        "2020-04-10T10:44:21+00:00",
        "2020-07-10T00:00:00+00:00",
    ]
    for image in images:
        with rasterio.open(tmp_path / f"p1/{image.product}.tif") as file:
            assert np.array_equal(image.pixels[10], file.read())
            assert (image.crs, image.transform) == (file.crs.to_string(), file.transform[:6])
    assert dict(sample.labels) == {"place": "p1"}
    assert sample.location.lon is not None


def test_the_tag_tells_the_date_where_the_name_does_not(tmp_path: Path) -> None:
    """A name that tells one is believed before the tag."""
    for name, tag in (("a", "2020:07:10 10:44:21"), ("b", "2020:01:10 09:00:00"), ("20200410", "1999:01:01 00:00:00")):
        write(tmp_path / f"p/{name}.tif", _optical(0), tags={"TIFFTAG_DATETIME": tag})

    images = PlaceFolders(tmp_path, **OPTICAL).read("p").images["S2L2A"]

    assert [image.product for image in images] == ["b", "20200410", "a"]
    assert [str(image.time) for image in images] == [
        "2020-01-10 09:00:00+00:00",
        "2020-04-10 00:00:00+00:00",
        "2020-07-10 10:44:21+00:00",
    ]


def test_a_place_that_lies_is_left_out_with_its_reason(tmp_path: Path) -> None:
    """A date too few, too many, twice, or told by nothing; no picture at all; a file that ends early."""
    for name in ("good0", "good1"):
        _place(tmp_path / f"in/{name}")
    _place(tmp_path / "in/few", DATES[:2])
    _place(tmp_path / "in/many", (*DATES, "2020-10-10"))
    _place(tmp_path / "in/twice", ("2020-01-10", "x20200110", "2020-07-10"))
    _place(tmp_path / "in/undated", (*DATES[:2], "summer"))
    _place(tmp_path / "in/cut")
    (tmp_path / "in/cut/2020-04-10.tif").write_bytes(cuts(tmp_path / "in/cut/2020-04-10.tif")[4])
    (tmp_path / "in/none").mkdir()

    report = pack(PlaceFolders(tmp_path / "in", **OPTICAL), tmp_path / "a.zarr", statistics=False)

    archive = open_archive(tmp_path / "a.zarr")
    assert (archive.ids, archive.num_seasons) == (("good0", "good1"), 3)
    reasons = {row["location"]: row["reason"] for row in archive.skipped}
    assert dict(report.skipped) == reasons
    assert sorted(reasons) == ["cut", "few", "many", "none", "twice", "undated"]
    assert "2 pictures in" in reasons["few"]
    assert "4 pictures in" in reasons["many"]
    assert "expected 3: complete it or take some away, or state another number with --num-seasons" in reasons["many"]
    assert "0 pictures in" in reasons["none"]
    assert "two pictures of one date" in reasons["twice"]
    assert "x20200110.tif" in reasons["twice"]
    assert "summer.tif has no date, neither in its name nor as TIFFTAG_DATETIME" in reasons["undated"]
    assert "rename it, such as 2020-01-10.tif" in reasons["undated"]
    assert "2020-04-10.tif cannot be read" in reasons["cut"]


def test_the_number_of_seasons_can_be_stated(tmp_path: Path) -> None:
    """Else it is the most common one, of several the largest; no dates are chosen out of more."""
    _place(tmp_path / "a", DATES[:2])
    _place(tmp_path / "b")

    assert PlaceFolders(tmp_path, **OPTICAL).num_seasons == 3
    source = PlaceFolders(tmp_path, num_seasons=2, **OPTICAL)
    assert source.read("a").num_seasons == 2
    assert "3 pictures" in _reason(source, "b")
    with pytest.raises(ConfigInvalid, match="0 seasons"):
        PlaceFolders(tmp_path, num_seasons=0, **OPTICAL)


def test_what_is_not_a_folder_of_places_is_refused(tmp_path: Path) -> None:
    """Nothing there, pictures in no folder or too deep, and an id of nobody."""
    with pytest.raises(DataMissing, match="no folder"):
        PlaceFolders(tmp_path / "none")
    _place(tmp_path / "deep/p/2020-01-10", ("B2", "B3"))
    with pytest.raises(DataMissing, match=r"hold no pictures.*<place>/<picture> with a date"):
        PlaceFolders(tmp_path / "deep")
    _place(tmp_path / "flat", DATES)
    with pytest.raises(SourceInvalid, match=r"holds pictures itself.*--layout folder"):
        PlaceFolders(tmp_path / "flat")
    _place(tmp_path / "in/p")
    with pytest.raises(LocationMissing):
        PlaceFolders(tmp_path / "in", **OPTICAL).read("q")
    with pytest.raises(ConfigInvalid, match="state --modality and --bands"):
        PlaceFolders(tmp_path / "in")


def test_what_was_not_observed_at_a_date_is_0_and_told_of_the_place(tmp_path: Path) -> None:
    """That image alone is marked; the share is that of the pixels of all dates."""
    _place(tmp_path / "in/p", DATES, nodata=65_535)
    spoiled = _optical(1)
    spoiled[:, :2, :3] = 65_535
    write(tmp_path / "in/p/2020-04-10.tif", spoiled, nodata=65_535)

    pack(PlaceFolders(tmp_path / "in", **OPTICAL), tmp_path / "a.zarr", statistics=False)

    archive = open_archive(tmp_path / "a.zarr")
    images = [archive.read("S2L2A", location="p", season=season) for season in range(3)]
    assert [image.valid for image in images] == [True, False, True]
    assert np.array_equal(images[1].pixels[10], np.where(spoiled == 65_535, 0, spoiled))
    labels = archive.labels_of("p")
    assert (labels["nodata_S2L2A"], labels["unobserved_S2L2A"]) == ("65535", pytest.approx(6 / 30 / 3))


def test_dates_with_and_without_the_offset_are_kept_apart_by_their_tags(tmp_path: Path) -> None:
    """A place has both where it was seen before and after 2022-01-25; a statement for all contradicts one of them."""
    for date, baseline, low in (("2021-07-10", "03.01", 1), ("2022-07-10", "04.00", 1001)):
        pixels = noise(2, 6, 5, dtype="u2", low=low, high=3000)
        write(tmp_path / f"p/{date}.tif", pixels, tags={"PROCESSING_BASELINE": baseline})

    images = PlaceFolders(tmp_path, **(OPTICAL | {"offset": None})).read("p").images["S2L2A"]

    assert [image.offset for image in images] == [0, 1000]
    assert "2022-07-10.tif has tags of offset 1000 DN; expected 0" in _reason(PlaceFolders(tmp_path, **OPTICAL), "p")


def test_names_of_places_need_be_no_ids(tmp_path: Path) -> None:
    """They are made safe and kept; published ids, dots and a single date are fine."""
    for name in ("0000017", "v1.2", "\u00e4 b"):
        _place(tmp_path / name, DATES[:1])

    source = PlaceFolders(tmp_path, **OPTICAL)

    assert list(source.ids())[:2] == ["0000017", "v1.2"]
    assert [source.read(i).labels["place"] for i in source.ids()] == ["0000017", "v1.2", "\u00e4 b"]
    assert source.num_seasons == 1


def test_it_is_opened_by_its_name_only(tmp_path: Path) -> None:
    """Class folders of dated pictures look the same."""
    _place(tmp_path / "p")

    assert [name for name, kind in LAYOUTS.items() if kind.detect(tmp_path)] == ["folder"]
    assert open_source(tmp_path, **OPTICAL).num_seasons == 1
    assert open_source(tmp_path, layout="places", num_seasons=3, **OPTICAL).num_seasons == 3


def test_a_folder_of_dated_pictures_says_how_they_become_seasons(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In one line; not where it is asked for, where names have no dates, or one date a folder."""
    for name in ("p0", "p1"):
        _place(tmp_path / f"dated/{name}")
        _place(tmp_path / f"plain/{name}", ("a", "b"))
        _place(tmp_path / f"single/{name}", ("a_2020-01-10", "b_20200110"))
    _place(tmp_path / "flat", DATES)

    for folder in ("plain", "single", "flat"):
        open_source(tmp_path / folder, **OPTICAL)
    open_source(tmp_path / "dated", layout="places", **OPTICAL)
    assert caplog.records == []
    open_source(tmp_path / "dated", **OPTICAL)

    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("each of 6 pictures becomes a location of its own with one season")
    assert "2 of 2 folders" in message
    assert "--layout places" in message


class _Interrupted(PlaceFolders):
    """Stops at a place."""

    def read(self, location: str) -> Sample:
        if location == "p68":
            raise KeyboardInterrupt
        return super().read(location)


def test_packing_goes_on_after_an_interruption_and_in_workers(tmp_path: Path) -> None:
    """Pickled or stopped halfway, it comes to the archive of one go."""
    for i in range(70):
        _place(tmp_path / f"in/p{i:02}", DATES[:2], seed=i)
    source = PlaceFolders(tmp_path / "in", **OPTICAL)

    pack(pickle.loads(pickle.dumps(source)), tmp_path / "whole.zarr")
    with pytest.raises(KeyboardInterrupt):
        pack(_Interrupted(tmp_path / "in", **OPTICAL), tmp_path / "stopped.zarr")
    report = pack(source, tmp_path / "stopped.zarr")
    pack(source, tmp_path / "workers.zarr", workers=2)

    assert (report.num_stored, report.num_resumed, dict(report.skipped)) == (70, 64, {})
    whole, *others = (open_archive(tmp_path / f"{name}.zarr") for name in ("whole", "stopped", "workers"))
    assert whole.ids == tuple(source.ids())
    for other in others:
        assert other.ids == whole.ids
        for location in whole.ids:
            for season in range(2):
                image = other.read("S2L2A", location=location, season=season)
                expected = whole.read("S2L2A", location=location, season=season)
                assert np.array_equal(image.pixels[10], expected.pixels[10])
                assert (image.time, image.product) == (expected.time, expected.product)


def test_sensors_of_the_same_places_are_joined(tmp_path: Path) -> None:
    """Each folder is packed by itself; dates may differ, one that a sensor lacks is left out."""
    for name in ("p0", "p1", "p2"):
        _place(tmp_path / f"S2/{name}")
    for i, name in enumerate(("p0", "p1")):
        for date in ("20200113", "20200411", "20200708"):
            decibels = np.random.default_rng(i).normal(-15, 4, (2, 6, 5)).astype("f4")
            write(tmp_path / f"S1/{name}/{date}.tif", decibels, is_placed=True)
    pack(PlaceFolders(tmp_path / "S2", **OPTICAL), tmp_path / "s2.zarr", statistics=False)
    pack(PlaceFolders(tmp_path / "S1", **RADAR), tmp_path / "s1.zarr", statistics=False)

    report = pack(open_source(tmp_path / "s2.zarr", tmp_path / "s1.zarr"), tmp_path / "both.zarr", statistics=False)

    both = open_archive(tmp_path / "both.zarr")
    assert (both.ids, both.num_seasons, set(both.modalities)) == (("p0", "p1"), 3, {"S1GRD", "S2L2A"})
    assert "p2 is not in s1.zarr" in report.skipped["p2"]
    assert str(both.read("S1GRD", location="p1", season=2).time) == "2020-07-08 00:00:00+00:00"


@pytest.mark.real
def test_real_dates_of_a_reservoir_come_out_as_rasterio_reads_them(tmp_path: Path) -> None:
    """Four dates of 12 bands, int16, on a grid of degrees."""
    if not REAL.is_dir():
        pytest.skip("the real imagery is not here")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/boadella").symlink_to(REAL)
    bands = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"]
    source = PlaceFolders(tmp_path / "in", modality="S2L2A", bands=bands, offset=0)

    report = pack(source, tmp_path / "a.zarr", statistics=False)

    archive = open_archive(tmp_path / "a.zarr")
    assert (report.num_stored, archive.num_seasons) == (1, 4)
    for season, date in enumerate(("2020-01-18", "2020-06-21", "2020-09-14", "2022-03-08")):
        image = archive.read("S2L2A", location="boadella", season=season)
        with rasterio.open(REAL / f"Boadella_{date}.tif") as file:
            assert np.array_equal(image.pixels[10], file.read())
        assert str(image.time) == f"{date} 00:00:00+00:00"
