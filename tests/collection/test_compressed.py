# SPDX-License-Identifier: Apache-2.0
"""The compressed 8-bit release in all its forms: the values that JPEG gives back, the rule, and every refusal."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from write_pictures import cuts, noise, write

from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.compressed import CompressedLayout, is_compressed
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.packing.pack import pack
from ssl4eo.sensors import modality, published_band

S2 = ("20200320T105031_20200320T105240_T31UFS", "20210105T105439_20210105T105437_T31UFS")
S1 = (
    "S1B_IW_GRDH_1SDV_20200318T055011_20200318T055036_020748_027573_0A1B",
    "S1A_IW_GRDH_1SDV_20210104T055052_20210104T055117_036002_043803_F2C3",
)
JPEG = {"compress": "JPEG", "interleave": "band", "is_placed": True}
NAMES = {"s1": "S1GRD", "s2c": "S2L1C", "s2a": "S2L2A"}


def write_multi(root: Path, folder: str, product: str, *, flat: bool, seed: int = 0, names=()) -> Path:
    """Write a product as one file; give its path."""
    place = root / folder / "0000017"
    path = place / f"{product}.tif" if flat else place / product / "all_bands.tif"
    bands = modality(NAMES[folder]).bands
    write(path, noise(len(bands), 264, 264, seed=seed), names=names, **JPEG)
    return path


def write_bands(root: Path, folder: str, product: str, *, native: bool) -> Path:
    """Write a product as one file a band; give its folder."""
    known = modality(NAMES[folder])
    place = root / folder / "0000017" / product
    for i, band in enumerate(known.bands):
        size = 2640 // known.resolution(band) if native else 264
        write(place / f"{published_band(band)}.tif", noise(1, size, size, seed=i), **JPEG)
    return place


@pytest.mark.parametrize("flat", [True, False])
def test_one_file_a_product_is_read_as_it_is(tmp_path: Path, flat: bool) -> None:
    """Two dates of radar, the earlier with the later name; values are rasterio's."""
    paths = [write_multi(tmp_path, "s1", product, flat=flat, seed=i) for i, product in enumerate(S1)]

    source = CompressedLayout(tmp_path)
    sample = source.read("0000017")

    assert is_compressed(tmp_path)
    assert (source.num_seasons, source.shape, list(source.ids())) == (2, (264, 264), ["0000017"])
    for image, path, product in zip(sample.images["S1GRD"], paths, S1, strict=True):
        with rasterio.open(path) as file:
            assert np.array_equal(image.pixels[10], file.read())
        assert (image.product, image.crs) == (product, "EPSG:32631")
        assert image.form.scaling == "uint8_sigma2:published_rounded"
    assert sample.location.lon is not None


@pytest.mark.parametrize("native", [True, False])
def test_one_file_a_band_is_read_at_its_size(tmp_path: Path, native: bool) -> None:
    """Native resolution or one grid, as the files are; in canonical order."""
    place = write_bands(tmp_path, "s2a", S2[0], native=native)

    source = CompressedLayout(tmp_path)
    image = source.read("0000017").images["S2L2A"][0]

    assert is_compressed(tmp_path)
    assert source.forms[0].resolutions == ((10, 20, 60) if native else (10,))
    for band in modality("S2L2A").bands:
        with rasterio.open(place / f"{published_band(band)}.tif") as file:
            assert np.array_equal(image.band(band), file.read(1))


def test_descriptions_tell_the_order(tmp_path: Path) -> None:
    """VH first is put right by name, other bands are refused."""
    path = write_multi(tmp_path, "s1", S1[0], flat=False, names=("VH", "VV"))
    source = CompressedLayout(tmp_path)

    image = source.read("0000017").images["S1GRD"][0]

    with rasterio.open(path) as file:
        assert np.array_equal(image.pixels[10], file.read()[::-1])
    write(path, noise(2, 264, 264), names=("VV", "VV"))
    with pytest.raises(SourceInvalid, match="VV, VV"):
        source.read("0000017")


def test_the_archive_keeps_the_rule_and_that_it_is_lossy(tmp_path: Path) -> None:
    """The form of the stored images is the 8-bit one; dark water is 0 in it and no fill value."""
    write_multi(tmp_path, "s1", S1[0], flat=True)

    source = CompressedLayout(tmp_path)
    report = pack(source, tmp_path / "a.zarr", statistics=False)

    archive = open_archive(tmp_path / "a.zarr")
    image = archive.read("S1GRD", location="0000017", season=0)
    assert (report.num_stored, image.form, image.valid) == (1, source.forms[0], True)
    assert (image.pixels[10] == 0).all(axis=0).any()
    assert source.provenance.details["compression"] == "lossy JPEG, quality 75"


def test_another_rule_can_be_stated_where_it_fits(tmp_path: Path) -> None:
    """Division by 10,000 is none for decibels; an unknown one is refused."""
    write_multi(tmp_path, "s1", S1[0], flat=True)
    write_multi(tmp_path, "s2c", S2[0], flat=True)

    assert CompressedLayout(tmp_path, modalities=["S2L1C"], rule="uint8_10k").forms[0].scaling == "uint8_10k"
    with pytest.raises(ContractMismatch, match="dB"):
        CompressedLayout(tmp_path, rule="uint8_10k")
    with pytest.raises(UnknownName, match="uint8_11k"):
        CompressedLayout(tmp_path, rule="uint8_11k")
    with pytest.raises(UnknownName, match="published_51k"):
        CompressedLayout(tmp_path, rule="uint8_sigma2:published_51k")
    with pytest.raises(DataMissing, match="s2a"):
        CompressedLayout(tmp_path, modalities=["S2L2A"])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: p.unlink(), "no file"),
        (lambda p: p.write_bytes(b"h"), "cannot be read"),
        (lambda p: p.write_text("not a picture"), "cannot be read"),
        (lambda p: write(p, noise(2, 264, 263)), "264 x 263"),
        (lambda p: write(p, noise(1, 264, 264)), "1 band "),
        (lambda p: write(p, noise(2, 264, 264, dtype="u2")), "uint16"),
        (lambda p: p.parent.rename(p.parent.with_name("x")), "no time"),
        (lambda p: p.parent.rename(p.parent.with_name(S1[1][:17] + "20210104T065052_x")), "two products of one date"),
    ],
)
def test_a_broken_location_is_refused_with_its_reason(tmp_path: Path, harm, message: str) -> None:
    """Missing, unreadable, of another size, type or channel count, without time, double."""
    path = write_multi(tmp_path, "s1", S1[0], flat=False)
    write_multi(tmp_path, "s1", S1[1], flat=False)
    harm(path)

    with pytest.raises(SourceInvalid, match=message):
        CompressedLayout(tmp_path, num_seasons=2).read("0000017")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    """At every point."""
    path = write_multi(tmp_path, "s1", S1[0], flat=False)
    source = CompressedLayout(tmp_path)

    for rest in cuts(path):
        path.write_bytes(rest)
        with pytest.raises(SourceInvalid, match="cannot be read"):
            source.read("0000017")


def test_a_missing_band_and_a_product_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    """What the first product is the others must be."""
    place = write_bands(tmp_path, "s2a", S2[0], native=True)
    source = CompressedLayout(tmp_path)
    assert source.forms[0].resolutions == (10, 20, 60)

    (place / "B5.tif").unlink()
    with pytest.raises(SourceInvalid, match=r"no file .*B5\.tif"):
        source.read("0000017")
    write_multi(tmp_path, "s2a", S2[0], flat=False)
    with pytest.raises(SourceInvalid, match="all bands on one grid"):
        source.read("0000017")


def test_files_of_sixteen_bits_are_not_this_layout(tmp_path: Path) -> None:
    """The raw layout has the same names."""
    write(tmp_path / "s2c/0000017" / S2[0] / "B2.tif", noise(1, 264, 264, dtype="u2"))
    assert not is_compressed(tmp_path)
    shutil.rmtree(tmp_path / "s2c")
    assert not is_compressed(tmp_path)


@pytest.mark.parametrize("value", [0, 255])
def test_an_image_of_nothing_goes_to_the_ledger(tmp_path: Path, value: int) -> None:
    """The fill value of radar, 0 dB, is 255 in the 8-bit form."""
    write(tmp_path / "s1/0000017" / f"{S1[0]}.tif", np.full((2, 264, 264), value, "u1"))

    with pytest.raises(DataMissing, match=r"100\.00% of its pixels"):
        pack(CompressedLayout(tmp_path), tmp_path / "a.zarr")
