# SPDX-License-Identifier: Apache-2.0
"""The raw layout comes out as it went in, for our reader and for TorchGeo."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from unpack_samples import PROVENANCE, changed, make_sample, native, write_archive

from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.collection.published import RawLayout
from ssl4eo.errors import ConfigInvalid, SampleInvalid
from ssl4eo.form import Form
from ssl4eo.packing.layouts import open_source
from ssl4eo.packing.pack import pack
from ssl4eo.sensors import MODALITIES, published_band
from ssl4eo.unpacking.names import name_places, published_names
from ssl4eo.unpacking.unpack import unpack

SHARED = Path(__file__).resolve().parents[3] / "shared"
FOLDERS = {"s1": "S1GRD", "s2c": "S2L1C", "s2a": "S2L2A"}
S2 = ("20200320T105031_20200320T105240_T31UFS", "20230105T105439_20230105T105437_T31UFS")
S1 = (
    "S1B_IW_GRDH_1SDV_20200318T055011_20200318T055036_020748_027573_0A1B",
    "S1A_IW_GRDH_1SDV_20210104T055052_20210104T055117_036002_043803_F2C3",
)


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """One location of published size, packed and unpacked: raw before, archive, raw after."""
    root = tmp_path_factory.mktemp("trip")
    rng = np.random.default_rng(0)
    for folder, name in FOLDERS.items():
        for season, product in enumerate(S1 if folder == "s1" else S2):
            place = root / "before" / folder / "0000017" / product
            place.mkdir(parents=True)
            for band in MODALITIES[name].bands:
                size = 2640 // MODALITIES[name].resolution(band)
                values = rng.integers(1, 65_536, (size, size)).astype("u2")
                if folder == "s1":
                    values = rng.normal(-12, 5, (size, size)).astype("f4")
                with rasterio.open(
                    place / f"{published_band(band)}.tif",
                    "w",
                    driver="GTiff",
                    count=1,
                    height=size,
                    width=size,
                    dtype=values.dtype,
                    crs="EPSG:32631",
                    transform=Affine(2640 / size, 0, 640_000 + season, 0, -2640 / size, 5_800_000),
                ) as file:
                    file.write(values, 1)
            harmonized = "_HARMONIZED" if folder == "s2a" else ""
            properties = {"system:index": product}
            if folder != "s1":
                properties["PROCESSING_BASELINE"] = ("02.09", "05.09")[season]
            (place / "metadata.json").write_text(
                json.dumps({"id": f"COPERNICUS/X{harmonized}/{product}", "properties": properties})
            )
    pack(open_source(root / "before"), root / "a.zarr")
    unpack(open_archive(root / "a.zarr"), root / "after", layout="raw")
    return root / "before", root / "a.zarr", root / "after"


def test_pixels_types_and_places_of_every_band_and_season_are_equal(trip) -> None:
    """Raw to archive to raw, read with rasterio: 2 x 27 files."""
    before, _, after = trip
    files = sorted(path.relative_to(before) for path in before.rglob("*.tif"))

    assert len(files) == 2 * (2 + 13 + 12)
    assert files == sorted(path.relative_to(after) for path in after.rglob("*.tif"))
    for name in files:
        with rasterio.open(before / name) as old, rasterio.open(after / name) as new:
            assert np.array_equal(old.read(1), new.read(1))
            assert (old.dtypes, old.crs, old.transform, old.count) == (new.dtypes, new.crs, new.transform, new.count)
            assert new.compression is rasterio.enums.Compression.lzw


def test_our_reader_finds_the_same_sample_again(trip) -> None:
    """Times, products, baselines and offsets (+1000 DN, harmonized or none) survive."""
    before, _, after = trip

    old, new = (RawLayout(root).read("0000017") for root in (before, after))

    assert [i.offset for i in old.images["S2L1C"]] == [0, 1000]
    assert [i.offset for i in old.images["S2L2A"]] == [0, 0]
    assert old.location == new.location
    for name, images in old.images.items():
        for left, right in zip(images, new.images[name], strict=True):
            for field in ("time", "product", "crs", "transform", "baseline", "offset", "valid", "form"):
                assert getattr(left, field) == getattr(right, field)
            assert all(np.array_equal(left.pixels[r], right.pixels[r]) for r in left.pixels)


def test_torchgeo_reads_what_was_written(trip) -> None:
    """Its SSL4EOS12 gives our pixels, replicated to 264, for every band of both dates, and the time of each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchGeo's and those of what it imports
        datasets = pytest.importorskip("torchgeo.datasets", exc_type=ImportError)
    _, path, root = trip
    archive = open_archive(path)

    for split, name in FOLDERS.items():
        found = datasets.SSL4EOS12(root, split=split, seasons=2)[17]
        images = [archive.read(name, location="0000017", season=s) for s in (0, 1)]
        form = images[0].form
        order = np.argsort(found["t"].numpy())  # it draws the seasons in any order
        stacked = found["image"].numpy().reshape(2, len(form.bands), 264, 264)
        for image, position in zip(images, order, strict=True):
            assert abs(float(found["t"][position]) - image.time.timestamp()) < 90, split
            for i, band in enumerate(form.bands):
                plane = image.band(band)
                k = 264 // len(plane)
                assert np.array_equal(stacked[position, i], plane.repeat(k, 0).repeat(k, 1).astype("f4")), (split, band)


@pytest.mark.parametrize(
    "given", ["../../evil", "..", "", "a/b", "/etc/x", "S2A_MSIL1C_20200320", "19990101T000000_x", "x" * 300]
)
def test_a_product_that_is_no_published_name_is_named_after_its_time(tmp_path: Path, given: str) -> None:
    """Nothing is written outside, the reader would find the time, and the original is in metadata.json."""
    archive = write_archive(
        tmp_path / "a.zarr", *native("S2L1C", "S1GRD"), num_locations=1, change=changed(product=given)
    )

    unpack(archive, tmp_path / "out", layout="raw", seasons=[0])

    assert {p.name for p in tmp_path.iterdir()} == {"a.zarr", "out"}
    (s2,) = (tmp_path / "out/s2c/0000000").iterdir()
    (s1,) = (tmp_path / "out/s1/0000000").iterdir()
    assert s2.name == "20200320T105031_20200320T105031_T00XXX"
    assert s1.name == "S1X_IW_GRDH_1SDV_20200320T105031_20200320T105031_000000_000000_0000"
    assert json.loads((s2 / "metadata.json").read_text())["properties"]["ssl4eo:product"] == given


def test_two_images_of_one_name_are_told_apart() -> None:
    """The season follows the name; none overwrites the other."""
    images = make_sample(0, native("S2L1C"), change=changed(product="", time=None)).images["S2L1C"]
    dated = make_sample(0, native("S2L1C"), change=changed(product="../x", time=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))

    names = published_names(dated.images["S2L1C"], "0000000")

    assert names == tuple(f"20200101T000000_20200101T000000_T00XXX_{i}" for i in (0, 1))
    with pytest.raises(SampleInvalid, match="no time of acquisition"):
        published_names(images, "0000000")


def test_an_offset_that_no_baseline_tells_is_refused(tmp_path: Path) -> None:
    """+1000 DN without a baseline would be read back as none."""
    archive = write_archive(tmp_path / "a.zarr", *native("S2L1C"), change=changed(baseline=None, offset=1000))

    with pytest.raises(SampleInvalid, match=r"contains \+1000 DN at baseline None"):
        unpack(archive, tmp_path / "out", layout="raw")


@pytest.mark.parametrize(
    ("form", "found"),
    [
        (Form.native("S1RTC"), "S1RTC has no folder"),
        (Form.gridded("S2L1C"), "kept on grids of 10 m"),
        (Form.gridded("S2L1C", scaling="uint8_10k"), "scaling uint8_10k"),
        (Form.native("S2L1C", bands=["B02", "B03"]), "with bands B02 B03"),
    ],
)
def test_what_the_raw_layout_has_no_form_for_is_refused(tmp_path: Path, form: Form, found: str) -> None:
    """Nothing is written; the remedy names another layout."""
    change = changed(baseline=None) if form.modality == "S1RTC" else changed()
    archive = write_archive(tmp_path / "a.zarr", form, change=change)

    with pytest.raises(ConfigInvalid, match=found) as caught:
        unpack(archive, tmp_path / "out", layout="raw")

    assert "--layout" in caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_half_precision_is_widened_without_loss(tmp_path: Path) -> None:
    """Sentinel-1 of v1.1 is float16, which GeoTIFF does not have."""
    form = Form.gridded("S1GRD", dtype="float16")
    archive = write_archive(tmp_path / "a.zarr", form)

    unpack(archive, tmp_path / "out", layout="raw")

    image = archive.read("S1GRD", location=0, season=0)
    with rasterio.open(tmp_path / "out/s1/0000000" / image.product / "VH.tif") as file:
        assert file.dtypes == ("float32",)
        assert np.array_equal(file.read(1), image.band("VH"))


def test_images_without_a_place_are_written_without_one(tmp_path: Path) -> None:
    """No transform is not the identity."""
    archive = write_archive(
        tmp_path / "a.zarr", *native("S1GRD"), num_locations=1, change=changed(transform=None, crs="")
    )

    unpack(archive, tmp_path / "out", layout="raw")

    path = next((tmp_path / "out").rglob("VV.tif"))
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        file = rasterio.open(path)
    with file:
        assert file.crs is None
        assert file.transform.is_identity


def test_ids_that_are_no_numbers_are_refused_or_renumbered(tmp_path: Path) -> None:
    """ids.csv tells which is which; metadata.json too."""
    archive = write_archive(tmp_path / "a.zarr", *native("S1GRD"), name="lake-{}")

    with pytest.raises(ConfigInvalid, match="'lake-0'; expected 6 or 7 digits") as caught:
        unpack(archive, tmp_path / "out", layout="raw")
    assert "--renumber" in caught.value.remedy
    unpack(archive, tmp_path / "out", layout="raw", renumber=True, ids=["lake-2", "lake-0"])

    assert (tmp_path / "out/ids.csv").read_text().split() == ["name,id", "0000000,lake-2", "0000001,lake-0"]
    metadata = json.loads(next((tmp_path / "out/s1/0000001").rglob("metadata.json")).read_text())
    assert metadata["properties"]["ssl4eo:location"] == "lake-0"
    assert metadata["properties"]["ssl4eo:synthetic"] is True


def test_new_numbers_leave_out_the_void_ids() -> None:
    """Our reader would not list them."""
    chosen = [(i, f"x{i}") for i in range(124_992)]

    places = name_places(chosen, ids="digits", renumber=True)

    assert (places[124_989].name, places[124_990].name) == ("0124989", "0125053")


def test_two_ids_that_are_one_number_are_refused() -> None:
    """000017 and 0000017 cannot both be 0000017."""
    with pytest.raises(ConfigInvalid, match="000017 and 0000017 would both be 0000017"):
        name_places([(0, "000017"), (1, "0000017")], ids="digits", renumber=False)


@pytest.mark.parametrize("evil", ["..", "../x", "/etc", "a/b", "", ".hidden", "a\n"])
def test_ids_never_lead_out_of_the_folder(evil: str) -> None:
    """An archive that somebody has tampered with is refused whatever the layout."""
    for ids in ("any", "no dot", "digits"):
        with pytest.raises(ConfigInvalid, match="location ids such as"):
            name_places([(0, evil)], ids=ids, renumber=False)


@pytest.mark.real
def test_real_imagery_survives_the_round_trip(tmp_path: Path) -> None:
    """Sentinel-2 L1C of two places through the archive and back, every band and date, with rasterio."""
    tool = SHARED / "tools" / "cut_raw_layout.py"
    if not tool.is_file() or not (SHARED / "data" / "oscd").is_dir():
        pytest.skip("the real imagery is not here")
    raw = tmp_path / "raw"
    subprocess.run([sys.executable, str(tool), str(raw), "--limit", "2"], check=True, capture_output=True)
    pack(open_source(raw), tmp_path / "a.zarr")

    unpack(open_archive(tmp_path / "a.zarr"), tmp_path / "out", layout="raw")

    files = sorted(path.relative_to(raw) for path in raw.rglob("*.tif"))
    assert len(files) == 2 * 2 * 13
    for name in files:
        with rasterio.open(raw / name) as old, rasterio.open(tmp_path / "out" / name) as new:
            assert np.array_equal(old.read(1), new.read(1))
            assert (old.dtypes, old.crs) == (new.dtypes, new.crs)


def test_an_image_that_was_filled_says_so(tmp_path: Path) -> None:
    """The flag is in metadata.json."""
    sample = make_sample(0, native("S1GRD"), change=changed(valid=False))
    with ArchiveWriter(
        tmp_path / "a.zarr", forms=sample.forms, num_seasons=2, shape=sample.shape, provenance=PROVENANCE
    ) as writer:
        writer.append(sample)
        writer.finish()

    unpack(open_archive(tmp_path / "a.zarr"), tmp_path / "out", layout="raw")

    metadata = json.loads(next((tmp_path / "out").rglob("metadata.json")).read_text())
    assert metadata["properties"]["ssl4eo:valid"] is False
