# SPDX-License-Identifier: Apache-2.0
"""TerraMesh: one season of several sensors on one grid, labels as masks, and an offset that must be stated."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from write_pictures import cuts, noise, write

from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.verify import verify_archive
from ssl4eo.collection.terramesh import TerraMesh
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid, UnknownName
from ssl4eo.packing.pack import pack
from ssl4eo.sensors import modality

REAL = Path(__file__).resolve().parents[3] / "shared/data/terramesh"
ID = "637U_59R_1_3"
TIME = {"datetime": "2017-10-30T10:41:51.000000000"}


def write_place(root: Path, location: str = ID) -> None:
    """Write all files of a location, as published but smaller."""
    radar = np.random.default_rng(1).normal(-12, 3, (2, 18, 12)).astype("f4")
    write(root / "S1RTC" / f"{location}.tif", radar, tags=TIME, is_placed=True)
    for name in ("S2L1C", "S2L2A"):
        pixels = noise(len(modality(name).bands), 18, 12, dtype="i2", high=3000)
        write(root / name / f"{location}.tif", pixels, is_placed=True)
    write(root / "S2RGB" / f"{location}.tif", noise(3, 18, 12), names=["bands"] * 3, is_placed=True)
    write(root / "LULC" / f"{location}.tif", noise(1, 18, 12, high=10), is_placed=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One location."""
    write_place(tmp_path / "mesh")
    return tmp_path / "mesh"


def test_all_modalities_and_labels_are_read(root: Path) -> None:
    """Values are rasterio's, in the type that archives keep; the time is where a tag tells it."""
    source = TerraMesh(root, offset=0)
    sample = source.read(ID)

    assert (source.num_seasons, source.shape, dict(source.masks)) == (1, (18, 12), {"LULC": False})
    assert [form.modality for form in source.forms] == ["S1RTC", "S2L1C", "S2L2A", "S2RGB"]
    for name, (image,) in sample.images.items():
        with rasterio.open(root / name / f"{ID}.tif") as file:
            assert np.array_equal(image.pixels[10], file.read())
        assert (image.crs, image.form.resolutions) == ("EPSG:32631", (10,))
    assert sample.images["S2L1C"][0].pixels[10].dtype == np.uint16
    assert sample.images["S1RTC"][0].time.isoformat() == "2017-10-30T10:41:51+00:00"
    assert sample.images["S2L1C"][0].time is None
    with rasterio.open(root / "LULC" / f"{ID}.tif") as file:
        assert np.array_equal(sample.masks["LULC"], file.read(1))
    assert source.provenance.details["stated_offset"] == 0


def test_the_offset_must_be_stated_where_no_tag_tells_it(root: Path) -> None:
    """The error shows the evidence and the remedy; radar alone needs none."""
    with pytest.raises(ConfigInvalid, match=r"minimum \d+ and B10 median \d+.*S2L2A.*--offset 1000"):
        TerraMesh(root)
    with pytest.raises(ConfigInvalid, match="offset 5"):
        TerraMesh(root, offset=5)

    assert TerraMesh(root, modalities=["S1RTC", "S2RGB"]).read(ID).images["S1RTC"][0].offset == 0


def test_tags_of_every_file_tell_the_offset_as_well(root: Path) -> None:
    """One that lacks them is refused."""
    shutil.rmtree(root / "LULC")
    for location in (ID, "b"):
        pixels = noise(13, 18, 12, dtype="i2", low=1000, high=3000)
        write(root / "S2L1C" / f"{location}.tif", pixels, tags={"PROCESSING_BASELINE": "04.00"})
    source = TerraMesh(root, modalities=["S2L1C"])

    assert source.read(ID).images["S2L1C"][0].offset == 1000
    write(root / "S2L1C/b.tif", noise(13, 18, 12, dtype="i2"))
    with pytest.raises(SourceInvalid, match="does not tell"):
        source.read("b")


def _move(path: Path) -> None:
    with rasterio.open(path, "r+") as file:
        file.transform = Affine(10, 0, 640_010, 0, -10, 5_800_000)


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("S2L2A", lambda p: p.unlink(), "no file"),
        ("LULC", lambda p: p.unlink(), "no file"),
        ("S2L1C", lambda p: p.write_bytes(b"h"), "cannot be read"),
        ("LULC", lambda p: p.write_text("not a picture"), "cannot be read"),
        ("S2L1C", lambda p: write(p, noise(12, 18, 12, dtype="i2")), "12 bands .*expected 13"),
        ("S2L1C", lambda p: write(p, noise(13, 18, 13, dtype="i2")), "18 x 13"),
        ("S2RGB", lambda p: write(p, noise(3, 18, 12, dtype="i2")), "int16; expected .*uint8"),
        ("S1RTC", lambda p: write(p, noise(2, 18, 12, dtype="i2")), "int16; expected .*float32"),
        ("S2L1C", lambda p: write(p, noise(13, 18, 12, dtype="i2", low=-5)), "below zero"),
        ("S2L1C", lambda p: write(p, noise(13, 18, 12, dtype="i2", low=1100, high=1200)), "no pixel of B10"),
        ("S2L2A", lambda p: write(p, noise(12, 18, 12, dtype="i2"), names=["B1"] * 12), "distinct bands"),
        ("LULC", _move, "several grids"),
        ("S2L2A", _move, "several grids"),
    ],
)
def test_a_broken_location_is_refused_with_its_reason(root: Path, name: str, harm, message: str) -> None:
    """Missing, unreadable, of another size, type or channel count, below zero, of another offset, elsewhere."""
    write_place(root, "a_whole_one")
    source = TerraMesh(root, offset=0)
    assert dict(source.masks) == {"LULC": False}
    harm(root / name / f"{ID}.tif")

    with pytest.raises(SourceInvalid, match=message):
        source.read(ID)
    assert source.read("a_whole_one").shape == (18, 12)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_radar_of_no_number_or_no_light_goes_to_the_ledger(root: Path, tmp_path: Path, value: float) -> None:
    """One pixel is enough."""
    write_place(root, "a_whole_one")
    with rasterio.open(root / f"S1RTC/{ID}.tif", "r+") as file:
        pixels = file.read()
        pixels[0, 3, 3] = value
        file.write(pixels)

    report = pack(TerraMesh(root, offset=0), tmp_path / "a.zarr", statistics=False)

    assert (report.num_stored, list(report.skipped)) == (1, [ID])


def test_what_files_say_was_not_observed_is_0_and_marked(root: Path) -> None:
    """NaN in radar and the tag's value in optics, each in its own file; labels of land cover are never filled."""
    with rasterio.open(root / f"S1RTC/{ID}.tif", "r+") as file:
        file.write(np.full((18, 12), np.nan, "f4"), 1)
    pixels = noise(13, 18, 12, dtype="i2", high=3000)
    pixels[:, 3, 3] = -9999
    write(root / f"S2L1C/{ID}.tif", pixels, nodata=-9999, is_placed=True)
    with rasterio.open(root / f"LULC/{ID}.tif", "r+") as file:
        file.nodata = 9

    sample = TerraMesh(root, offset=0).read(ID)

    assert {name: image.valid for name, (image,) in sample.images.items()} == {
        "S1RTC": False,
        "S2L1C": False,
        "S2L2A": True,
        "S2RGB": True,
    }
    assert not sample.images["S1RTC"][0].pixels[10][0].any()
    assert not sample.images["S2L1C"][0].pixels[10][:, 3, 3].any()
    assert dict(sample.labels) == {
        "nodata_S1RTC": "NaN",
        "unobserved_S1RTC": 1.0,
        "nodata_S2L1C": "-9999",
        "unobserved_S2L1C": pytest.approx(1 / (18 * 12)),
    }
    assert (sample.masks["LULC"] == 9).any()


def test_files_cut_short_are_refused(root: Path) -> None:
    """At every point, images and labels."""
    source = TerraMesh(root, offset=0)
    for name in ("S1RTC", "S2L1C", "LULC"):
        path = root / name / f"{ID}.tif"
        whole = path.read_bytes()
        for rest in cuts(path):
            path.write_bytes(rest)
            with pytest.raises(SourceInvalid, match="cannot be read"):
                source.read(ID)
        path.write_bytes(whole)
    assert source.read(ID).location.id == ID


def test_other_folders_are_left_out_with_a_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Heights are no 8-bit labels; text is nothing."""
    write(root / f"DEM/{ID}.tif", noise(1, 18, 12, dtype="f4"))
    (root / "notes").mkdir()

    assert dict(TerraMesh(root, offset=0).masks) == {"LULC": False}
    assert "DEM is left out" in caplog.text
    assert "notes is left out" in caplog.text


def test_what_is_not_there_is_refused(root: Path, tmp_path: Path) -> None:
    """No folder, no modality, a modality without a folder or of another layout, an id; all broken."""
    with pytest.raises(DataMissing, match="holds mesh"):
        TerraMesh(tmp_path)
    with pytest.raises(DataMissing, match="S1GRD"):
        TerraMesh(root, modalities=["S1GRD"])
    with pytest.raises(UnknownName, match="L8SR"):
        TerraMesh(root, modalities=["L8SR"])
    with pytest.raises(ConfigInvalid, match="no modality"):
        TerraMesh(root, modalities=[])
    with pytest.raises(LocationMissing):
        TerraMesh(root, offset=0).read("../x")
    shutil.copy(root / "S1RTC" / f"{ID}.tif", tmp_path)
    (root / "S1RTC" / f"{ID}.tif").write_text("broken")
    with pytest.raises(SourceInvalid, match="cannot be read"):
        TerraMesh(root, offset=0)


@pytest.mark.real
def test_real_places_come_out_as_rasterio_reads_them(tmp_path: Path) -> None:
    """Of five places two are whole without the offset and one with it; in two L1C has it and L2A has not."""
    if not REAL.is_dir():
        pytest.skip("the real imagery is not here")
    with pytest.raises(ConfigInvalid, match="B10 median"):
        TerraMesh(REAL)
    stored: dict[str, int] = {}

    for offset in (0, 1000):
        for names in (["S1RTC", "S2L1C", "S2RGB"], ["S2L2A"]):
            target = tmp_path / f"{names[-1]}{offset}.zarr"
            report = pack(TerraMesh(REAL, modalities=names, offset=offset), target)
            archive = open_archive(target)
            assert verify_archive(target).is_whole
            assert report.num_stored + len(report.skipped) == 5
            for location in archive.ids:
                stored[f"{location} {names[-1]}"] = offset
                for name in names:
                    image = archive.read(name, location=location, season=0)
                    with rasterio.open(REAL / name / f"{location}.tif") as file:
                        assert np.array_equal(image.pixels[10], file.read())
                    assert image.offset == (offset if name in {"S2L1C", "S2L2A"} else 0)

    l1c = {key.split()[0]: value for key, value in stored.items() if key.endswith("S2RGB")}
    assert l1c == {
        "282D_485L_3_3": 1000,
        "38D_378R_2_3": 0,
        "433D_629L_3_1": 1000,
        "609U_541L_3_0": 1000,
        "637U_59R_1_3": 0,
    }
    assert stored["282D_485L_3_3 S2L2A"] == stored["609U_541L_3_0 S2L2A"] == 0
