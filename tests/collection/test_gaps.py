# SPDX-License-Identifier: Apache-2.0
"""What a file says was not observed becomes what archives have for it; every other value stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from write_pictures import noise, write

from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.collection.picture_folder import PictureFolder
from ssl4eo.errors import ConfigInvalid, SourceInvalid
from ssl4eo.packing.layouts import open_source
from ssl4eo.packing.pack import pack

OPTICAL = {"modality": "S2L2A", "bands": ["B2", "B3"], "offset": 0}
RADAR = {"modality": "S1GRD", "bands": ["VV", "VH"]}
CORNER = 15 / (18 * 12)
"""Share of the pixels that `_spoiled` takes."""


def _spoiled(pixels: np.ndarray, value: float, *, bands: slice = slice(None)) -> np.ndarray:
    """Give pixels with a corner of 3 x 5 px that holds one value."""
    spoiled = pixels.copy()
    spoiled[bands, :3, :5] = value
    return spoiled


def _optical(dtype: str = "u2", *, seed: int = 0) -> np.ndarray:
    return noise(2, 18, 12, dtype=dtype, high=3000, seed=seed)


def _radar(*, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(-15, 4, (2, 18, 12)).astype("f4")


def _packed(folder: Path, *, nodata: str = "skip", **options: object) -> Archive:
    target = folder.with_suffix(f".{nodata}.zarr")
    pack(PictureFolder(folder, **options), target, nodata=nodata)
    return open_archive(target)


@pytest.mark.parametrize(("dtype", "value"), [("u2", 65_535), ("i2", -9999)])
def test_digital_numbers_that_the_nodata_tag_names_are_0_and_marked(tmp_path: Path, dtype: str, value: int) -> None:
    """Everything else bit for bit; the archive tells what stood there, and in which share of the pixels."""
    write(tmp_path / "in/hole.tif", _spoiled(_optical(dtype), value), nodata=value)
    write(tmp_path / "in/whole.tif", _optical(dtype, seed=1), nodata=value)

    archive = _packed(tmp_path / "in", **OPTICAL)

    image = archive.read("S2L2A", location="hole", season=0)
    assert np.array_equal(image.pixels[10], _spoiled(_optical(), 0))
    assert image.valid is False
    labels = archive.labels_of("hole")
    assert (labels["nodata_S2L2A"], labels["unobserved_S2L2A"]) == (str(value), pytest.approx(CORNER))
    whole = archive.read("S2L2A", location="whole", season=0)
    assert (np.array_equal(whole.pixels[10], _optical(seed=1)), whole.valid) == (True, True)
    assert archive.labels_of("whole") == {"file": "whole.tif"}
    assert archive.flagged("S2L2A") == [(0, 0)]


@pytest.mark.parametrize(
    ("value", "tag", "word"),
    [(-9999, -9999, "-9999"), (np.nan, None, "NaN"), (np.nan, np.nan, "NaN"), (np.nan, -9999, "NaN"), (5, 5, "5")],
)
def test_decibels_that_are_nan_or_named_by_the_tag_are_left_out_or_marked(
    tmp_path: Path, value: float, tag: float | None, word: str
) -> None:
    """As pixels of 0 dB: `skip` says in the ledger what stood in the file, `flag` keeps the image as not valid."""
    write(tmp_path / "in/hole.tif", _spoiled(_radar(), value), nodata=tag)
    write(tmp_path / "in/whole.tif", _radar(seed=1), nodata=tag)

    skipped, flagged = (_packed(tmp_path / "in", nodata=nodata, **RADAR) for nodata in ("skip", "flag"))

    assert skipped.ids == ("whole",)
    assert f"0 dB, the fill value ({word} in the file), in 6.94% of its pixels" in skipped.skipped[0]["reason"]
    image = flagged.read("S1GRD", location="hole", season=0)
    assert np.array_equal(image.pixels[10], _spoiled(_radar(), 0))
    assert (image.valid, flagged.labels_of("hole")["nodata_S1GRD"]) == (False, word)
    assert flagged.flagged("S1GRD") == [(0, 0)]


def test_several_things_that_say_so_are_all_named(tmp_path: Path) -> None:
    """NaN beside the tag's value; the share counts each pixel once."""
    pixels = _spoiled(_radar(), -9999, bands=slice(0, 1))
    pixels[1, :3, :5] = np.nan
    write(tmp_path / "a.tif", pixels, nodata=-9999)

    labels = PictureFolder(tmp_path, **RADAR).read("a").labels

    assert (labels["nodata_S1GRD"], labels["unobserved_S1GRD"]) == ("-9999, NaN", pytest.approx(CORNER))


def test_a_gap_in_one_band_keeps_the_other_band_and_marks_the_image(tmp_path: Path) -> None:
    """Pixels of 0 in one band look like measurements: nothing but the flag tells."""
    write(tmp_path / "in/a.tif", _spoiled(_optical(), 65_535, bands=slice(0, 1)), nodata=65_535)

    image = _packed(tmp_path / "in", **OPTICAL).read("S2L2A", location="a", season=0)

    assert np.array_equal(image.pixels[10], _spoiled(_optical(), 0, bands=slice(0, 1)))
    assert image.valid is False


def test_a_tag_of_0_changes_nothing(tmp_path: Path) -> None:
    """0 is what archives have for nodata: values, flags and labels are those without a tag."""
    for name, tag in (("tagged", 0), ("plain", None)):
        write(tmp_path / f"{name}/band.tif", _spoiled(_optical(), 0, bands=slice(0, 1)), nodata=tag)
        write(tmp_path / f"{name}/both.tif", _spoiled(_optical(), 0), nodata=tag)

    tagged, plain = (_packed(tmp_path / name, **OPTICAL) for name in ("tagged", "plain"))

    for location in ("band", "both"):
        one, other = (archive.read("S2L2A", location=location, season=0) for archive in (tagged, plain))
        assert np.array_equal(one.pixels[10], other.pixels[10])
        assert one.valid is other.valid is (location == "band")
        assert tagged.labels_of(location) == plain.labels_of(location)


def test_eight_bits_are_empty_only_where_all_bands_have_the_value_of_the_tag(tmp_path: Path) -> None:
    """255 is also what a bright roof has in red."""
    pixels = noise(3, 18, 12)
    pixels[0, 10, 10] = 255
    write(tmp_path / "a.tif", _spoiled(pixels, 255), nodata=255)

    image = PictureFolder(tmp_path).read("a").images["S2RGB"][0]

    assert np.array_equal(image.pixels[10], _spoiled(pixels, 0))
    assert image.valid is False


@pytest.mark.parametrize("internal", [True, False])
def test_a_mask_of_the_file_tells_too(tmp_path: Path, internal: bool) -> None:
    """Inside of it or beside it as .msk; the tag's value counts as well, which GDAL then leaves to the mask."""
    write(tmp_path / "a.tif", _spoiled(_optical("i2"), -9999, bands=slice(0, 1)), nodata=-9999)
    mask = np.full((18, 12), 255, np.uint8)
    mask[17] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal), rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.write_mask(mask)

    sample = PictureFolder(tmp_path, **OPTICAL).read("a")

    expected = _spoiled(_optical(), 0, bands=slice(0, 1))
    expected[:, 17] = 0
    assert np.array_equal(sample.images["S2L2A"][0].pixels[10], expected)
    assert sample.labels["nodata_S2L2A"] == "-9999, mask"
    assert sample.labels["unobserved_S2L2A"] == pytest.approx(CORNER + 12 / (18 * 12))


def test_a_band_that_is_called_alpha_is_a_band(tmp_path: Path) -> None:
    """GDAL calls the fourth band of 8 bits so; whoever states four bands means values."""
    pixels = noise(4, 18, 12)
    pixels[3, :3] = 0
    write(tmp_path / "a.tif", pixels)
    bands = ["SR_B1", "SR_B2", "SR_B3", "SR_B4"]

    image = PictureFolder(tmp_path, modality="L8SR", bands=bands).read("a").images["L8SR"][0]

    assert np.array_equal(image.pixels[30], pixels)
    assert image.valid is True


@pytest.mark.parametrize("value", [-9999, -3])
def test_values_below_zero_that_no_tag_names_are_refused_with_how_to_name_them(tmp_path: Path, value: int) -> None:
    """Nothing guesses what they mean."""
    write(tmp_path / "a.tif", _spoiled(_optical("i2"), value), nodata=-32_768)

    with pytest.raises(SourceInvalid, match=rf"below zero \(down to {value} DN\).*nodata tag"):
        PictureFolder(tmp_path, **OPTICAL).read("a")


def test_infinity_is_refused_though_nan_is_not(tmp_path: Path) -> None:
    """The logarithm of 0 is a fault of a conversion, not a pixel that nobody saw."""
    write(tmp_path / "in/a.tif", _spoiled(_radar(), -np.inf), nodata=np.nan)
    write(tmp_path / "in/b.tif", _radar())

    assert "NaN or infinity" in _packed(tmp_path / "in", nodata="flag", **RADAR).skipped[0]["reason"]


def test_blocks_that_were_never_written_are_refused_whatever_the_tag(tmp_path: Path) -> None:
    """GDAL gives them as nodata: a writer that was killed leaves no hole that looks meant."""
    pixels = noise(2, 64, 48, dtype="i2", high=3000)
    pixels[1, :32] = -9999
    profile = {"tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": "band", "nodata": -9999}
    write(tmp_path / "a.tif", pixels, **profile)
    assert PictureFolder(tmp_path, **OPTICAL).read("a").images["S2L2A"][0].valid is False

    write(tmp_path / "a.tif", pixels, **profile, SPARSE_OK=True)
    with pytest.raises(SourceInvalid, match="block 0, 0 of band 2 was never written"):
        PictureFolder(tmp_path, **OPTICAL).read("a")


def test_gaps_say_nothing_about_the_offset(tmp_path: Path) -> None:
    """Neither as evidence in the error that asks for it, nor against what is stated."""
    pixels = _spoiled(noise(2, 18, 12, dtype="i2", low=1000, high=3000), -9999)
    write(tmp_path / "a.tif", pixels, nodata=-9999)

    with pytest.raises(ConfigInvalid, match=r"minimum 1\d\d\d[;)]"):
        PictureFolder(tmp_path, modality="S2L2A", bands=["B2", "B3"])
    assert PictureFolder(tmp_path, **{**OPTICAL, "offset": 1000}).read("a").images["S2L2A"][0].offset == 1000


def test_radar_and_optics_with_gaps_can_be_joined(tmp_path: Path) -> None:
    """Labels are named by modality: they differ, and archives that are joined must agree in every label."""
    write(tmp_path / "s1/a.tif", _spoiled(_radar(), np.nan))
    write(tmp_path / "s2/a.tif", _spoiled(_optical(), 65_535), nodata=65_535)
    _packed(tmp_path / "s1", nodata="flag", **RADAR)
    _packed(tmp_path / "s2", nodata="flag", **OPTICAL)

    pack(open_source(tmp_path / "s1.flag.zarr", tmp_path / "s2.flag.zarr"), tmp_path / "both.zarr", nodata="flag")

    labels = open_archive(tmp_path / "both.zarr").labels_of("a")
    assert (labels["nodata_S1GRD"], labels["nodata_S2L2A"]) == ("NaN", "65535")
