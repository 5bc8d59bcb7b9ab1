# SPDX-License-Identifier: Apache-2.0
"""The published raw layout: what is read, in which order, and what is refused with which reason."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from ssl4eo.collection.published import VOID_IDS, RawLayout
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid, UnknownName

S2 = ("20200320T105031_20200320T105240_T31UFS", "20210105T105439_20210105T105437_T31UFS")
S1 = (
    "S1B_IW_GRDH_1SDV_20200318T055011_20200318T055036_020748_027573_0A1B",
    "S1A_IW_GRDH_1SDV_20210104T055052_20210104T055117_036002_043803_F2C3",
)
SIZES = {"B1": 44, "B9": 44, "B10": 44, **dict.fromkeys(("B5", "B6", "B7", "B8A", "B11", "B12"), 132)}
S2L1C = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")


def write_tif(path: Path, pixels: np.ndarray, **profile: object) -> None:
    """Write a GeoTIFF on a UTM grid; `pixels` (y, x) or (band, y, x)."""
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    settings = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": pixels.dtype,
        "crs": "EPSG:32631",
        "transform": Affine(2640 / width, 0, 640_000, 0, -2640 / height, 5_800_000),
        **profile,
    }
    with rasterio.open(path, "w", **settings) as file:
        file.write(pixels)


def write_product(folder: Path, bands: tuple[str, ...], seed: int) -> dict[str, np.ndarray]:
    """Write all bands of a product; give what was written."""
    rng = np.random.default_rng(seed)
    written = {}
    for band in bands:
        shape = (SIZES.get(band, 264),) * 2
        written[band] = rng.integers(0, 60_000, shape).astype("u2")
        if band in ("VV", "VH"):
            written[band] = rng.normal(-12, 5, shape).astype("f4")
        write_tif(folder / f"{band}.tif", written[band])
    return written


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, int], dict[str, np.ndarray]]]:
    """One location with two dates of s1 and s2c, and its values by folder and season."""
    root = tmp_path_factory.mktemp("raw")
    values = {}
    for season in (0, 1):
        values["s1", season] = write_product(root / "s1/0000017" / S1[season], ("VV", "VH"), season)
        values["s2c", season] = write_product(root / "s2c/0000017" / S2[season], S2L1C, 10 + season)
    return root, values


@pytest.fixture
def root(template, tmp_path: Path) -> Path:
    """A copy of the location, to be changed."""
    return Path(shutil.copytree(template[0], tmp_path / "raw"))


def test_every_band_of_every_season_is_read_in_order_of_time(template) -> None:
    """S1B comes before S1A here, against the order of names; all values are the files'."""
    root, values = template

    source = RawLayout(root)
    sample = source.read("0000017")

    assert (source.modalities, source.num_seasons, list(source.ids())) == (("S1GRD", "S2L1C"), 2, ["0000017"])
    assert [image.product for image in sample.images["S1GRD"]] == list(S1)
    assert [image.product for image in sample.images["S2L1C"]] == list(S2)
    assert sample.images["S1GRD"][0].time.isoformat() == "2020-03-18T05:50:11+00:00"
    assert sample.images["S2L1C"][1].time.isoformat() == "2021-01-05T10:54:39+00:00"
    for name, folder, bands in (("S1GRD", "s1", ("VV", "VH")), ("S2L1C", "s2c", S2L1C)):
        for season in (0, 1):
            for band in bands:
                ours = f"B{int(band[1:]):02d}" if band[1:].isdigit() else band
                assert np.array_equal(sample.images[name][season].band(ours), values[folder, season][band])


def test_the_grid_and_the_centre_come_from_the_ten_metre_band(template) -> None:
    """CRS and transform are the file's; the centre is checked against rasterio's own conversion."""
    sample = RawLayout(template[0]).read("0000017")

    image = sample.images["S2L1C"][0]
    (lon,), (lat,) = rasterio.warp.transform("EPSG:32631", "EPSG:4326", [641_320], [5_798_680])
    assert (image.crs, image.transform) == ("EPSG:32631", (10.0, 0.0, 640_000.0, 0.0, -10.0, 5_800_000.0))
    assert (sample.location.lon, sample.location.lat) == pytest.approx((lon, lat), abs=1e-9)


def test_files_without_a_place_are_read_without_a_warning(root: Path) -> None:
    """No CRS and no transform is None, not the identity."""
    for path in root.glob("s1/*/*/*.tif"):
        with rasterio.open(path) as file:
            pixels = file.read(1)
        path.unlink()
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
            write_tif(path, pixels, crs=None, transform=None)

    sample = RawLayout(root, modalities=["S1GRD"]).read("0000017")

    assert (sample.images["S1GRD"][0].crs, sample.images["S1GRD"][0].transform, sample.location.lon) == ("", None, None)


def test_six_digits_are_the_same_id_as_seven(root: Path) -> None:
    """The reference downloader pads to 6, the published data to 7."""
    (root / "s1/0000017").rename(root / "s1/000017")

    source = RawLayout(root)

    assert list(source.ids()) == ["0000017"]
    assert source.read("0000017").location.id == "0000017"


def test_both_spellings_of_one_id_are_refused(root: Path) -> None:
    """Which of the two is meant cannot be known."""
    shutil.copytree(root / "s1/0000017", root / "s1/000017")

    with pytest.raises(SourceInvalid, match="0000017 and 000017") as caught:
        RawLayout(root).read("0000017")

    assert caught.value.where["location"] == "0000017"


def test_void_ids_are_left_out() -> None:
    """The table has the 97 ids of the published list."""
    assert len(VOID_IDS) == 97
    assert {"0124990", "0125052", "0125129", "0179723"} <= VOID_IDS
    assert not {"0124989", "0125053", "0125056", "0125141"} & VOID_IDS


def test_a_void_folder_is_neither_listed_nor_read(root: Path) -> None:
    """Also where somebody has made such a folder."""
    shutil.copytree(root / "s1/0000017", root / "s1/0125000")
    source = RawLayout(root)

    assert list(source.ids()) == ["0000017"]
    with pytest.raises(LocationMissing, match="void"):
        source.read("0125000")


def test_an_id_without_a_folder_is_missing(root: Path) -> None:
    """An id that is not listed cannot be read."""
    with pytest.raises(LocationMissing, match="0000018"):
        RawLayout(root).read("0000018")


def test_ids_of_all_modalities_are_listed_and_an_incomplete_one_is_refused(root: Path) -> None:
    """A location that only one modality has is reported, not forgotten."""
    shutil.copytree(root / "s1/0000017", root / "s1/0000009")
    source = RawLayout(root)

    assert list(source.ids()) == ["0000009", "0000017"]
    with pytest.raises(SourceInvalid, match=r"location 0000009: no folder in .*s2c"):
        source.read("0000009")


def test_other_entries_are_left_out_with_a_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Hidden files are ordinary, other names are told."""
    (root / "s1/.DS_Store").write_text("")
    (root / "s1/17").mkdir()

    with caplog.at_level(logging.WARNING):
        ids = RawLayout(root).ids()

    assert list(ids) == ["0000017"]
    assert [record.message for record in caplog.records if "s1/17 " in record.message]
    assert not [record.message for record in caplog.records if "DS_Store" in record.message]


def test_the_usual_number_of_seasons_is_the_most_common(root: Path) -> None:
    """One location with a season less does not change what is expected of the others."""
    for number in (18, 19):
        for folder in ("s1", "s2c"):
            shutil.copytree(root / folder / "0000017", root / folder / f"{number:07d}")
    shutil.rmtree(root / "s1/0000018" / S1[0])
    source = RawLayout(root)

    assert source.num_seasons == 2
    with pytest.raises(SourceInvalid, match=r"location 0000018: 1 products .*expected 2"):
        source.read("0000018")
    assert source.read("0000019").num_seasons == 2


def test_another_number_of_seasons_can_be_demanded(root: Path) -> None:
    """Four as published is a demand that this location does not meet."""
    with pytest.raises(SourceInvalid, match=r"2 products .*expected 4"):
        RawLayout(root, num_seasons=4).read("0000017")


def _first(root: Path, band: str = "B5", folder: str = "s2c", product: str = S2[0]) -> Path:
    return root / folder / "0000017" / product / f"{band}.tif"


def _rewrite(path: Path, pixels: np.ndarray) -> None:
    path.unlink()
    write_tif(path, pixels)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda root: _first(root).unlink(), "no file .*B5.tif"),
        (lambda root: _first(root).write_bytes(b""), "B5.tif cannot be read"),
        (lambda root: _first(root).write_bytes(b"hello"), "B5.tif cannot be read"),
        (lambda root: _first(root).write_bytes(_first(root).read_bytes()[:9000]), "B5.tif cannot be read"),
        (
            lambda root: _rewrite(_first(root), np.zeros((264, 264), "u2")),
            "264 x 264 px, uint16; expected .* 132 x 132",
        ),
        (lambda root: _rewrite(_first(root), np.zeros((131, 132), "u2")), "131 x 132"),
        (lambda root: _rewrite(_first(root), np.zeros((132, 132), "i2")), "int16; expected .*uint16"),
        (lambda root: _rewrite(_first(root), np.zeros((2, 132, 132), "u2")), "2 bands .*expected 1 band"),
        (
            lambda root: _rewrite(_first(root, "VV", "s1", S1[0]), np.zeros((264, 264), "f8")),
            "float64; expected .*float32",
        ),
        (lambda root: shutil.copytree(_first(root).parent, _first(root).parent.with_name("x")), "no time in its name"),
        (lambda root: _first(root).parent.rename(_first(root).parent.with_name("20209920T105031_x")), "no time"),
        (lambda root: (_first(root).parent / "metadata.json").write_text("{"), "metadata.json cannot be read"),
        (lambda root: (_first(root).parent / "metadata.json").write_text("[]"), "metadata.json cannot be read"),
        (
            lambda root: (_first(root).parent / "metadata.json").write_text('{"properties": {"system:index": "y"}}'),
            "is of product y",
        ),
        (
            lambda root: (_first(root).parent / "metadata.json").write_text(
                '{"properties": {"PROCESSING_BASELINE": "three"}}'
            ),
            "baseline 'three'",
        ),
    ],
)
def test_a_broken_location_is_refused_with_its_reason(root: Path, harm, message: str) -> None:
    """Missing, unreadable, cut short, of another size, type or channel count, or with lying metadata."""
    harm(root)

    with pytest.raises(SourceInvalid, match=message) as caught:
        RawLayout(root, num_seasons=2).read("0000017")

    assert caught.value.expected


def test_two_products_of_one_date_are_refused(root: Path) -> None:
    """Neighbouring granules of one overpass are not two seasons."""
    place = root / "s2c/0000017"
    (place / S2[1]).rename(place / "20200320T105031_20200320T105240_T31UFT")

    with pytest.raises(SourceInvalid, match="two products of one date"):
        RawLayout(root).read("0000017")


@pytest.mark.parametrize(
    ("metadata", "baseline", "offset"),
    [
        (None, None, 0),
        ({"id": "COPERNICUS/S2/x", "properties": {}}, None, 0),
        ({"properties": {"PROCESSING_BASELINE": "03.01"}}, 301, 0),
        ({"id": "COPERNICUS/S2/x", "properties": {"PROCESSING_BASELINE": "05.00"}}, 500, 1000),
        ({"id": "COPERNICUS/S2_HARMONIZED/x", "properties": {"PROCESSING_BASELINE": "05.00"}}, 500, 0),
    ],
)
def test_the_offset_follows_from_the_processing_baseline(root: Path, metadata, baseline, offset: int) -> None:
    """Since 04.00 values contain +1000 DN, unless Earth Engine has taken it away."""
    if metadata is not None:
        (_first(root).parent / "metadata.json").write_text(json.dumps(metadata))

    image = RawLayout(root).read("0000017").images["S2L1C"][0]

    assert (image.baseline, image.offset) == (baseline, offset)


@pytest.mark.parametrize("offset", [0, 1000])
def test_an_offset_that_the_user_states_stands(root: Path, caplog: pytest.LogCaptureFixture, offset: int) -> None:
    """Metadata can lie: the statement is taken for all Sentinel-2 images, and noted; radar has no offset."""
    metadata = {"id": "COPERNICUS/S2/x", "properties": {"PROCESSING_BASELINE": "05.00"}}
    (_first(root).parent / "metadata.json").write_text(json.dumps(metadata))

    source = RawLayout(root, offset=offset)

    sample = source.read("0000017")
    assert {image.offset for image in sample.images["S2L1C"]} == {offset}
    assert {image.offset for image in sample.images["S1GRD"]} == {0}
    assert "as the user states" in str(source.provenance.details["offset"])
    assert "baseline" not in caplog.text


def test_another_offset_than_that_of_the_agency_is_refused(root: Path) -> None:
    """There are 0 and 1000."""
    with pytest.raises(ConfigInvalid, match="offset 999"):
        RawLayout(root, offset=999)


def test_a_late_product_without_a_baseline_is_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After January 2022 the offset cannot be known without metadata."""
    place = root / "s2c/0000017"
    (place / S2[1]).rename(place / "20220620T105439_20220620T105437_T31UFS")

    with caplog.at_level(logging.WARNING):
        RawLayout(root).read("0000017")

    assert "no processing baseline" in caplog.text


def test_a_root_without_the_modalities_is_refused(root: Path) -> None:
    """The error lists what was found; a modality asked for must be there."""
    with pytest.raises(DataMissing, match="no folder"):
        RawLayout(root / "none")
    with pytest.raises(DataMissing, match="holds 0000017; expected one of s1, s2c, s2a"):
        RawLayout(root / "s1")
    with pytest.raises(DataMissing, match="the folder s2a"):
        RawLayout(root, modalities=["S2L2A"])
    with pytest.raises(UnknownName, match="S2RGB"):
        RawLayout(root, modalities=["S2RGB"])
    with pytest.raises(ConfigInvalid, match="0 seasons"):
        RawLayout(root, num_seasons=0)
    with pytest.raises(ConfigInvalid, match="no modality"):
        RawLayout(root, modalities=[])


def test_a_layout_without_products_has_no_seasons(tmp_path: Path) -> None:
    """Empty location folders tell no number of seasons."""
    (tmp_path / "s1/0000001").mkdir(parents=True)

    with pytest.raises(SourceInvalid, match=r"no location .* has a product"):
        _ = RawLayout(tmp_path).num_seasons
