# SPDX-License-Identifier: Apache-2.0
"""The paths of the gallery: what each file holds, and that nothing else is there."""

from __future__ import annotations

import datetime as dt
import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import rasterio
from gallery_stage import COUNT, HOSTILE, INVALID, NOWHERE, SEASONS, damage_chunk, extend_table, write_archive
from PIL import Image as Pillow

from ssl4eo.archive.reader import open_archive
from ssl4eo.errors import DataMissing, ShardCorrupt
from ssl4eo.form import Form
from ssl4eo.gallery.blocks import BLOCK, Blocks
from ssl4eo.gallery.columns import NO_CODE, Places, label_column, texts_of
from ssl4eo.gallery.land import piece, piece_names
from ssl4eo.gallery.location import _histogram
from ssl4eo.gallery.site import Offer, Site, folder_of
from ssl4eo.locations.polygons import land_parts
from ssl4eo.sample import Image


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(open_archive(write_archive(tmp_path_factory.mktemp("site") / "a.zarr")))


def _floats(content: bytes) -> np.ndarray:
    return np.frombuffer(content, "<f4")


def test_every_listed_path_is_there_and_of_a_known_kind(site: Site) -> None:
    """The writer walks these lists, the front end asks for these names."""
    paths = [*site.shared_paths(), *site.location_paths("0000001")]

    assert len(paths) == len(set(paths))
    for path in paths:
        assert site.resource(path).media_type, path
    assert site.resource("index.html").media_type.startswith("text/html")
    assert site.resource("app/main.js").media_type.startswith("text/javascript")


@pytest.mark.parametrize(
    "path",
    [
        "../secret", "app/../site.py", "app/../../../etc/passwd", "/etc/passwd", "app//index.html", "app/none.js",
        "data/blocks/0/../../archive.json", "data/blocks/7/ids.json", "data/blocks/0/nothing.bin", "data/land/x.bin",
        "data/blocks/-1/ids.json", "data/blocks/\u0661/ids.json", "data/cells/..bin", "place/00/0000001/info.json",
        f"{folder_of('0000001')}/S2L2A-9-true-color-shared.webp", f"{folder_of('0000001')}/S2L2A-0-swirl-shared.webp",
        f"{folder_of('0000001')}/S2L2A-0-30m.tif", f"{folder_of('0000099')}/info.json", "index.html\0", "",
        "index.html\n",
        f"{folder_of('0000001')}/S9X-0.npz",
    ],
)  # fmt: skip
def test_what_is_not_in_the_scheme_is_not_there(site: Site, path: str) -> None:
    """No path leaves the scheme: traversal, other locations, seasons and grids that there are not."""
    with pytest.raises(DataMissing):
        site.resource(path)


def test_blocks_hold_every_location_once_and_boxes_hold_their_points() -> None:
    """A permutation, cut at BLOCK; what a view does not meet it need not load."""
    rng = np.random.default_rng(0)
    lons, lats = rng.uniform(-180, 180, 3 * BLOCK), rng.uniform(-90, 90, 3 * BLOCK)
    lons[::10] = lats[::10] = np.nan
    blocks = Blocks(Places([str(i) for i in range(len(lons))], lons, lats))

    assert sorted(np.concatenate(blocks.rows).tolist()) == list(range(len(lons)))
    for number, about in enumerate(blocks.describe()):
        lon, lat = _floats(blocks.position(number)).reshape(2, -1)
        assert len(lon) == about["count"] <= BLOCK
        assert json.loads(blocks.ids(number)) == [str(i) for i in blocks.rows[number]]
        if about["box"] is None:
            assert np.isnan(lon).all()
            continue
        west, south, east, north = about["box"]
        assert west - 1e-4 <= lon.min()
        assert lon.max() <= east + 1e-4
        assert south - 1e-4 <= lat.min()
        assert lat.max() <= north + 1e-4


def test_cells_count_every_placed_location_and_tell_means_and_the_most_common() -> None:
    """Two points share a cell, a third lies elsewhere: counts, mean position, mean and majority by hand."""
    names = np.array(["b", "a", "a", "b"], dtype=object)
    columns = (
        label_column("n", "height", np.array([1.5, 2.5, 7.25, 9.0])),
        label_column("c", "kind", names),
    )
    places = Places(list("wxyz"), np.array([10.0, 10.5, 100.0, np.nan]), np.array([10.0, 10.0, -40.0, np.nan]), columns)
    blocks = Blocks(places)
    lon, lat, count = _floats(blocks.cells).reshape(3, -1)

    by_count = np.argsort(-count)
    assert count[by_count].tolist() == [2, 1]
    np.testing.assert_allclose(lon[by_count], [10.25, 100.0])
    np.testing.assert_allclose(lat[by_count], [10.0, -40.0])
    np.testing.assert_allclose(_floats(blocks.cell_column("n"))[by_count], [2.0, 7.25])
    assert _floats(blocks.cell_column("c"))[by_count].tolist() == [0.0, 0.0]  # of a tie the first label


def test_labels_become_classes_numbers_or_text() -> None:
    """Few distinct texts or whole numbers are classes; missing values are nothing; cloud stays a number."""
    split = label_column("s", "split", np.array(["train", None, "test"], dtype=object))
    level = label_column("l", "level", np.array([2.0, np.nan, 2.0]))
    cloud = label_column("k", "max_cloud_S2L2A", np.array([0.0, 1.0, 0.0]))
    names = label_column("n", "name", np.array([f"n{i}" for i in range(2000)], dtype=object))

    assert (split.kind, split.labels, split.group) == ("category", ("test", "train"), "split")
    assert split.values.tolist() == [[1, NO_CODE, 0]]
    assert (level.kind, level.labels, level.values.tolist()) == ("category", ("2",), [[0, NO_CODE, 0]])
    assert (cloud.kind, cloud.group, cloud.modality) == ("number", "cloud", "S2L2A")
    assert names.kind == "text"


def test_dates_and_validity_are_columns(site: Site) -> None:
    """Days since 1970 by season; the image that packing flagged is counted."""
    index = site.blocks.places.ids.index(INVALID)
    dates, invalid = site.blocks.columns["dates-S2L2A"], site.blocks.columns["invalid-S2L2A"]

    assert dates.values[:, index].tolist() == [
        np.datetime64("2020-01-04").astype(int), np.datetime64("2020-07-04").astype(int)
    ]  # fmt: skip
    assert invalid.values[0].tolist() == [float(name == INVALID) for name in site.blocks.places.ids]


def test_ids_are_listed_sorted_and_the_manifest_counts(site: Site) -> None:
    """The search goes through sorted files; the manifest tells how many and what."""
    about = json.loads(site.resource("data/archive.json").content)

    assert json.loads(site.resource("data/ids/0.json").content) == [f"{i:07d}" for i in range(COUNT)]
    assert (about["count"], about["seasons"], about["ids"]) == (COUNT, SEASONS, ["0000000"])
    assert sum(block["count"] for block in about["blocks"]) == COUNT
    assert [block["box"] is None for block in about["blocks"]] == [False, True]
    assert about["title"] == f"tiny {HOSTILE}"  # text, as it is: the front end never parses it


def test_information_tells_dates_products_and_contract(site: Site) -> None:
    """All but pixels."""
    info = json.loads(site.resource(f"{folder_of(INVALID)}/info.json").content)
    row = info["images"]["S2L2A"][1]

    assert (info["lon"], info["lat"], info["previous"], info["next"]) == (-15.0, -5.0, "0000002", "0000004")
    assert (row["time"], row["valid"], row["offset"]) == ("2020-07-04T10:30:00+00:00", False, 1000)
    assert "offset 1000" in row["contract"]
    assert json.loads(site.resource(f"{folder_of(NOWHERE)}/info.json").content)["lon"] is None


def test_geotiffs_hold_stored_values_in_their_place(site: Site) -> None:
    """Values equal the archive's; the 20 m grid shares the corner of the 10 m grid."""
    image = site.archive.read("S2L2A", location="0000005", season=1)
    for resolution in (10, 20, 60):
        content = site.resource(f"{folder_of('0000005')}/S2L2A-1-{resolution}m.tif").content
        with rasterio.open(io.BytesIO(content)) as file:
            np.testing.assert_array_equal(file.read(), image.pixels[resolution])
            assert file.crs.to_epsg() == 32633
            assert tuple(file.transform)[:6] == (resolution, 0, 500005.0, 0, -resolution, 4999995.0)
            assert file.descriptions == image.form.bands_at(resolution)
            assert file.bounds == (500005.0, 4999755.0, 500245.0, 4999995.0)


def test_numpy_files_need_no_pickle(site: Site) -> None:
    """Arrays by resolution, names of bands, and what is known as JSON."""
    image = site.archive.read("S1GRD", location="0000005", season=0)
    content = site.resource(f"{folder_of('0000005')}/S1GRD-0.npz").content

    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["10m"], image.pixels[10])
        assert file["10m_bands"].tolist() == ["VV", "VH"]
        assert json.loads(str(file["about"]))["synthetic"] == "true"


def test_histograms_count_every_pixel_once(site: Site) -> None:
    """Counts of each season sum to the pixels of the band's own grid; reflectance has the offset taken away."""
    rows = json.loads(site.resource(f"{folder_of('0000005')}/histograms.json").content)
    image = site.archive.read("S2L2A", location="0000005", season=0)

    assert [sum(c) for c in rows["S2L2A"]["B11"]["counts"]] == [12 * 12] * SEASONS
    assert [sum(c) for c in rows["S1GRD"]["VV"]["counts"]] == [24 * 24] * SEASONS
    assert rows["S2L2A"]["B04"]["unit"] == "reflectance"
    assert rows["S2L2A"]["B04"]["high"] < (image.band("B04").max() - 900) / 10_000 + 0.1


def test_an_offer_of_less_has_less(site: Site) -> None:
    """A static site without pixels and with one composite lists and answers nothing else."""
    small = Site(site.archive, offer=Offer(("swir",), ("fixed",), pixels=False))
    paths = [path.rpartition("/")[2] for path in small.location_paths("0000001")]

    assert sorted(path for path in paths if path.startswith("S2L2A")) == [
        "S2L2A-0-swir-fixed.webp", "S2L2A-1-swir-fixed.webp"
    ]  # fmt: skip
    assert "S1GRD-0-vv-vh-ratio-fixed.webp" in paths  # a modality is never without a picture
    with pytest.raises(DataMissing):
        small.resource(f"{folder_of('0000001')}/S2L2A-0.npz")
    with pytest.raises(DataMissing):
        small.resource(f"{folder_of('0000001')}/S2L2A-0-swir-shared.webp")


def test_pictures_are_webp_of_the_size_of_the_patch(site: Site) -> None:
    """A pixel for a pixel; thumbnails are smaller than 96 px or grown to it."""
    folder = folder_of("0000002")

    assert Pillow.open(io.BytesIO(site.resource(f"{folder}/S2L2A-0-true-color-own.webp").content)).size == (24, 24)
    assert Pillow.open(io.BytesIO(site.resource(f"{folder}/thumb.webp").content)).format == "WEBP"


def test_the_base_map_is_the_land_of_the_package() -> None:
    """The pieces together hold every corner of the land, to 30/65535 degrees; all files are small."""
    corners = sum(len(part.exterior.coords) for part in land_parts())
    total = 0
    for name in piece_names():
        content = piece(name)
        count = int(np.frombuffer(content, "<u4", 1)[0])
        lengths = np.frombuffer(content, "<u4", count + 1)[1:]
        assert len(content) == 4 * (count + 1 + int(lengths.sum()))
        assert len(content) < 160_000
        total += 0 if name == "world" else int(lengths.sum())
    assert total >= corners


def test_site_paths_escape_no_folder(tmp_path: Path) -> None:
    """Ids are the only text of the archive in a path, and they are restricted: dots alone are none."""
    for location in ("a..b", "0000001", "A.b-c_d"):
        assert (tmp_path / folder_of(location)).resolve().is_relative_to(tmp_path.resolve())


def test_damage_reaches_no_further_than_its_grid(site: Site, tmp_path: Path) -> None:
    """One chunk of 10 m bands of one date: other dates, sensors and grids are whole; what needs it is refused."""
    damaged = Site(open_archive(damage_chunk(site.archive.path, tmp_path / "b.zarr")))
    folder = folder_of("0000000")

    for name in ("S2L2A-1-true-color-own.webp", "S2L2A-0-band-B11-fixed.webp", "S2L2A-0-20m.tif", "S2L2A-1.npz"):
        assert damaged.resource(f"{folder}/{name}") == site.resource(f"{folder}/{name}")
    damaged.resource(f"{folder}/S2L2A-1-true-color-shared.webp")
    for name in ("S2L2A-0-true-color-fixed.webp", "S2L2A-0-swir-own.webp", "S2L2A-0-10m.tif", "S2L2A-0.npz"):
        with pytest.raises(ShardCorrupt, match="season 0"):
            damaged.resource(f"{folder}/{name}")


def test_histograms_of_a_damaged_place_are_of_what_can_be_read(site: Site, tmp_path: Path) -> None:
    """Counts of the damaged date are null and told; all others are those of the whole archive."""
    damaged = Site(open_archive(damage_chunk(site.archive.path, tmp_path / "b.zarr")))

    told = json.loads(damaged.resource(f"{folder_of('0000000')}/histograms.json").content)

    whole = json.loads(site.resource(f"{folder_of('0000000')}/histograms.json").content)
    assert told["S2L2A"]["B04"]["counts"][0] is None
    assert sum(told["S2L2A"]["B04"]["counts"][1]) == 24 * 24
    assert told["S2L2A"]["B11"] == whole["S2L2A"]["B11"]
    assert told["S1GRD"] == whole["S1GRD"]
    assert list(told["wrong"]) == ["S2L2A"]
    assert whole["wrong"] == {}


def test_whole_numbers_keep_their_digits() -> None:
    """Eight digits are neither rounded nor written with an exponent; fractions are float32 where that is enough."""
    days = 20200101 + np.arange(40)
    day, few = label_column("d", "day", days), label_column("f", "day", days[:2])
    share, exact = (
        label_column("s", "share", np.arange(40) / 7),
        label_column("e", "exact", 12345670.25 + np.arange(40)),
    )

    assert (day.kind, day.dtype, day.values[0].tolist()) == ("number", "float64", days.tolist())
    assert (few.kind, few.numeric, few.labels) == ("category", True, ("20200101", "20200102"))
    assert (share.dtype, exact.dtype) == ("float32", "float64")
    assert exact.describe()["low"] == 12345670.25
    assert texts_of({"day": 20200101, "exact": 12345681.25, "n": 2.0}) == {
        "day": "20200101", "exact": "12345681.25", "n": "2"
    }  # fmt: skip


def test_clouds_told_in_words_are_no_share_of_cloud() -> None:
    """The filter of cloud takes numbers at most; a class is no number."""
    assert label_column("k", "cloud_kind", np.array(["none", "thin"], dtype=object)).group == "label"


def test_a_column_answers_under_one_name(site: Site) -> None:
    """Typed arrays are .bin, text is .json."""
    with pytest.raises(DataMissing):
        site.resource("data/blocks/0/label-1.json")
    names = label_column("n", "name", np.array([f"n{i}" for i in range(2000)], dtype=object))
    blocks = Blocks(Places([str(i) for i in range(2000)], np.zeros(2000), np.zeros(2000), (names,)))
    assert json.loads(blocks.text(0, "n"))[3] == "n3"
    with pytest.raises(KeyError):
        blocks.column(0, "n")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An archive whose location table has columns that our packing does not write."""
    path = write_archive(tmp_path_factory.mktemp("foreign") / "a.zarr", 4)
    extend_table(
        path,
        seen=pa.array([dt.date(2020, 1, 1), None, dt.date(2020, 1, 3), dt.date(2020, 1, 4)]),
        taken=pa.array([dt.datetime(2021, 5, 1, 23, 59, tzinfo=dt.UTC)] * 4, pa.timestamp("ns")),
        old=pa.array([dt.date(1066, 10, 14)] + [None] * 3),
        tags=pa.array([["a"], ["b", "c"], None, []]),
        raw=pa.array([b"1", b"2", b"3", None]),
        lasts=pa.array([1, 2, None, 3], pa.duration("s")),
        clear=pa.array([True, None, False, True]),
        price=pa.array([Decimal("1.50"), None, Decimal("2.25"), Decimal("3.75")]),
        kind=pa.array(["x", "y", "x", None]).dictionary_encode(),
    )
    return Site(open_archive(path))


def test_columns_of_other_types_are_dates_classes_numbers_or_left_out_with_the_reason(foreign: Site) -> None:
    """One that the map cannot show takes nothing else with it; the page tells which and why."""
    columns = {column.title: column for column in foreign.blocks.columns.values()}
    about = json.loads(foreign.resource("data/archive.json").content)

    assert (columns["seen"].kind, columns["seen"].values.tolist()) == ("date", [[18262, NO_CODE, 18264, 18265]])
    assert (columns["taken"].kind, columns["taken"].values.tolist()) == ("date", [[18748] * 4])
    assert (columns["clear"].labels, columns["clear"].values.tolist()) == (("False", "True"), [[1, NO_CODE, 0, 1]])
    assert columns["price"].values[0, [0, 2]].tolist() == [1.5, 2.25]
    assert columns["kind"].labels == ("x", "y")
    assert list(about["left_out"]) == ["old", "tags", "raw", "lasts"]
    assert "not between 1970" in about["left_out"]["old"]
    assert "bytes are neither text nor numbers" in about["left_out"]["raw"]
    for path in [*foreign.shared_paths(), *foreign.location_paths("0000001")]:
        assert foreign.resource(path).content is not None, path
    labels = json.loads(foreign.resource(f"{folder_of('0000000')}/info.json").content)["labels"]
    assert (labels["seen"], labels["tags"]) == ("2020-01-01", "['a']")  # the page of the place has them all


def test_a_file_of_ids_that_is_not_there_is_not_there(site: Site) -> None:
    """One file holds them all."""
    with pytest.raises(DataMissing):
        site.resource("data/ids/1.json")


def test_seasons_are_numbered_from_0_as_everywhere(site: Site) -> None:
    """Titles of the columns of dates."""
    assert site.blocks.columns["dates-S2L2A"].slots == ("season 0", "season 1")


def _dark(values: np.ndarray) -> Image:
    """Make an S2L1C image whose B10 has these numbers, offset 1000."""
    form = Form.native("S2L1C", bands=("B10",))
    return Image("S2L1C", {60: values.astype(np.uint16)[None]}, offset=1000, kept=form)


def test_a_histogram_has_no_bin_between_two_numbers() -> None:
    """Cirrus of 6 to 20 DN: 15 bins of 1 DN around whole numbers, each as full as by hand."""
    values = np.resize(np.arange(1006, 1021), (30, 30))
    no_mask = np.zeros((30, 30), np.bool_)

    row = _histogram([(_dark(values), no_mask), None], "S2L1C", "B10")

    assert row["counts"] == [[60] * 15, None]
    assert (row["low"], row["high"]) == pytest.approx((5.5e-4, 20.5e-4))


def test_a_histogram_of_many_numbers_has_as_many_in_each_bin() -> None:
    """120 numbers: 40 bins of 3; a single one has one bin; offsets that differ by season do not shift them."""
    values = np.resize(np.arange(1100, 1220), (60, 60))
    no_mask = np.zeros((60, 60), np.bool_)
    moved = replace(_dark(values - 1000), offset=0)

    row = _histogram([(_dark(values), no_mask), (moved, no_mask)], "S2L1C", "B10")
    alone = _histogram([(_dark(np.full((60, 60), 1007)), no_mask)], "S2L1C", "B10")

    assert row["counts"] == [[90] * 40] * 2
    assert (row["low"], row["high"]) == pytest.approx((99.5e-4, 219.5e-4))
    assert alone["counts"] == [[3600]]
    assert (alone["low"], alone["high"]) == pytest.approx((6.5e-4, 7.5e-4))


def test_what_lies_outside_of_the_percentiles_is_in_the_bins_at_the_ends() -> None:
    """Two bright pixels of 10,000 make no histogram of one bin."""
    values = np.resize(np.arange(1006, 1016), (100, 100))
    values[0, :2] = 60_000
    row = _histogram([(_dark(values), np.zeros((100, 100), np.bool_))], "S2L1C", "B10")

    assert len(row["counts"][0]) == 10
    assert sum(row["counts"][0]) == 10_000
    assert row["counts"][0][-1] == 1000 + 2


def test_shared_brightness_says_over_how_many_seasons(site: Site, tmp_path: Path) -> None:
    """A damaged grid counts for the composites that need it; an index has a range of its own and is not named."""
    copy = damage_chunk(site.archive.path, tmp_path / "b.zarr")
    path = f"{folder_of('0000000')}/shared.json"
    whole, hurt = (json.loads(Site(open_archive(p)).resource(path).content) for p in (site.archive.path, copy))

    assert whole["S2L2A"]["true-color"] == whole["S1GRD"]["vv-vh-ratio"] == SEASONS
    assert hurt["S2L2A"]["true-color"] == SEASONS - 1
    assert hurt["S2L2A"]["band:B11"] == SEASONS  # of the 20 m grid
    assert "ndvi" not in whole["S2L2A"]
    with pytest.raises(DataMissing):
        Site(site.archive, offer=Offer(stretches=("fixed",))).resource(path)


def test_an_index_says_how_it_is_drawn(site: Site) -> None:
    """Its range whatever the brightness, and what its colors mean; other composites need no such words."""
    about = json.loads(site.resource("data/archive.json").content)
    notes = {c["name"]: c["note"] for m in about["modalities"] for c in m["composites"]}

    assert "from -0.2 to 1" in notes["ndvi"]
    assert all(color in notes["ndvi"] for color in ("brown", "pale", "green"))
    assert [name for name, note in notes.items() if note] == ["ndvi"]
