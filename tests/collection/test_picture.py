# SPDX-License-Identifier: Apache-2.0
"""Pictures are read whole or not at all, and bands are moved by name only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import rasterio
from write_pictures import cuts, noise, write

from ssl4eo.collection.losses import require_all_blocks
from ssl4eo.collection.picture import (
    Kind,
    as_unsigned,
    in_canonical_order,
    look,
    named_bands,
    read_picture,
    spell_band,
    usual_kind,
)
from ssl4eo.errors import SourceInvalid

RGB = Kind(3, 18, 12, "uint8")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_have_the_values_that_pillow_reads(tmp_path: Path, suffix: str) -> None:
    """An independent decoder gives the same; nothing places the picture on Earth."""
    path = tmp_path / f"a{suffix}"
    write(path, noise(3, 18, 12))

    picture = read_picture(path, RGB)

    with PIL.Image.open(path) as image:
        assert np.array_equal(picture.pixels, np.asarray(image).transpose(2, 0, 1))
    assert (picture.header.crs, picture.header.transform, picture.centre) == ("", None, None)
    assert picture.header.colors == ("red", "green", "blue")


def test_a_geotiff_says_where_it_lies_and_what_its_bands_are(tmp_path: Path) -> None:
    """Values, CRS, transform, descriptions and tags are the file's; the centre is checked against rasterio."""
    pixels = noise(2, 18, 12, dtype="u2", high=60_000)
    write(tmp_path / "a.tif", pixels, names=("B4", "B3"), tags={"datetime": "x"}, is_placed=True)

    picture = read_picture(tmp_path / "a.tif", Kind(2, 18, 12, "uint16"))

    (lon,), (lat,) = rasterio.warp.transform("EPSG:32631", "EPSG:4326", [640_060], [5_799_910])
    assert np.array_equal(picture.pixels, pixels)
    assert (picture.header.crs, picture.header.transform) == ("EPSG:32631", (10, 0, 640_000, 0, -10, 5_800_000))
    assert picture.centre == pytest.approx((lon, lat), abs=1e-9)
    assert (picture.header.names, picture.header.tags["datetime"]) == (("B4", "B3"), "x")


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("a.png", {}),
        ("a.jpg", {}),
        ("a.tif", {}),
        ("a.tif", {"compress": "LZW", "predictor": 2}),
        ("a.tif", {"compress": "JPEG", "interleave": "band"}),
        ("a.tif", {"compress": "JPEG", "photometric": "YCBCR"}),
        ("a.tif", {"compress": "DEFLATE", "tiled": True, "blockxsize": 16, "blockysize": 16}),
    ],
)
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, name: str, profile: dict) -> None:
    """PNG and JPEG too, of which GDAL by itself gives the missing part as zeros or gray."""
    path = tmp_path / name
    write(path, noise(3, 64, 48), **profile)
    kind = Kind(3, 64, 48, "uint8")
    read_picture(path, kind)

    for rest in cuts(path):
        path.write_bytes(rest)
        with pytest.raises(SourceInvalid, match="cannot be read"):
            read_picture(path, kind)


def test_tags_that_are_cut_off_and_jpeg_data_that_end_early_are_refused(tmp_path: Path) -> None:
    """GDAL only warns of these; no pixel is missing in the one, and the other is of full length."""
    path = tmp_path / "a.tif"
    write(path, noise(3, 18, 12), tags={"PROCESSING_BASELINE": "05.00"})
    read_picture(path, RGB)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SourceInvalid, match="GDALMetadata"):
        read_picture(path, RGB)

    write(path, noise(3, 64, 48), compress="JPEG", photometric="YCBCR", blockysize=64)
    whole = path.read_bytes()
    for filler in (b"\0", b"\xff"):
        path.write_bytes(whole[: len(whole) // 2] + filler * (len(whole) - len(whole) // 2))
        with pytest.raises(SourceInvalid, match="cannot be read"):
            read_picture(path, Kind(3, 64, 48, "uint8"))


def test_a_block_that_was_never_written_is_refused(tmp_path: Path) -> None:
    """A writer that was killed leaves such files; zeros that were written are values as others."""
    pixels = noise(2, 64, 48, dtype="u2")
    pixels[1, :32] = 0
    profile = {"tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": "band"}
    kind = Kind(2, 64, 48, "uint16")

    write(tmp_path / "a.tif", pixels, **profile)
    assert np.array_equal(read_picture(tmp_path / "a.tif", kind).pixels, pixels)
    write(tmp_path / "a.tif", pixels, **profile, SPARSE_OK=True)
    with pytest.raises(SourceInvalid, match="block 0, 0 of band 2 was never written"):
        read_picture(tmp_path / "a.tif", kind)


def test_a_changed_byte_of_a_png_is_found(tmp_path: Path) -> None:
    """Every chunk has a checksum."""
    path = tmp_path / "a.png"
    write(path, noise(3, 18, 12))
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])

    with pytest.raises(SourceInvalid, match="cannot be read"):
        read_picture(path, RGB)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (noise(3, 18, 13), "18 x 13 px, uint8; expected 3 bands of 18 x 12 px"),
        (noise(3, 17, 12), "17 x 12"),
        (noise(1, 18, 12), "1 band of 18"),
        (noise(3, 18, 12, dtype="u2"), "uint16; expected .*uint8"),
        (noise(3, 18, 12, dtype="f4"), "float32"),
    ],
)
def test_another_size_type_or_number_of_bands_is_refused(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    """Before a pixel is read."""
    write(tmp_path / "a.tif", pixels)

    with pytest.raises(SourceInvalid, match=message):
        read_picture(tmp_path / "a.tif", RGB)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
def test_text_and_other_formats_are_refused_whatever_their_name(tmp_path: Path, name: str) -> None:
    """A VRT, which would lead to other files, and a picture of another format than its name says."""
    path = tmp_path / name
    write(tmp_path / "real.tif", noise(3, 18, 12))
    vrt = f"<VRTDataset rasterXSize='12' rasterYSize='18'><VRTRasterBand dataType='Byte' band='1'><SimpleSource>\
<SourceFilename>{tmp_path / 'real.tif'}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    write(tmp_path / "other.png", noise(3, 18, 12))
    other = (tmp_path / ("other.png" if name != "a.png" else "real.tif")).read_bytes()

    for content in (b"hello, I am a GeoTIFF\n", vrt.encode(), other):
        path.write_bytes(content)
        with pytest.raises(SourceInvalid, match="cannot be read"):
            look(path)
    path.unlink()
    with pytest.raises(SourceInvalid, match="no file"):
        look(path)


def test_the_usual_kind_is_the_most_common_of_what_can_be_read(tmp_path: Path) -> None:
    """One of another size and one that is broken do not matter; without any the reason comes out."""
    paths = [tmp_path / f"{i}.tif" for i in range(5)]
    for i, path in enumerate(paths):
        write(path, noise(3, 18, 13 if i == 0 else 12))
    paths[1].write_text("broken")

    assert usual_kind(paths) == RGB
    with pytest.raises(SourceInvalid, match=r"1\.tif cannot be read"):
        usual_kind(paths[1:2])


def test_bands_are_moved_into_canonical_order_by_name(tmp_path: Path) -> None:
    """Descriptions in any known spelling tell the order; without them the publisher's holds."""
    pixels = noise(3, 18, 12, dtype="u2")
    write(tmp_path / "named.tif", pixels, names=("b8a", "red", "B2"))
    write(tmp_path / "mute.tif", pixels, names=("bands", "bands", "bands"))
    kind = Kind(3, 18, 12, "uint16")

    named = read_picture(tmp_path / "named.tif", kind)
    mute = read_picture(tmp_path / "mute.tif", kind)

    assert np.array_equal(in_canonical_order(named, "S2L2A", ("B02", "B04", "B8A")), pixels[[2, 1, 0]])
    assert np.array_equal(in_canonical_order(mute, "S2L2A", ("B04", "B02", "B8A")), pixels[[1, 0, 2]])
    assert in_canonical_order(mute, "S2RGB", ("B02", "B03", "B04")).tolist() == pixels[[2, 1, 0]].tolist()


def test_descriptions_that_contradict_are_refused(tmp_path: Path) -> None:
    """Other bands than published, another order than stated, half of them, or one twice."""
    kind = Kind(2, 18, 12, "uint16")

    def picture(*names: str):
        write(tmp_path / "a.tif", noise(2, 18, 12, dtype="u2"), names=names)
        return read_picture(tmp_path / "a.tif", kind)

    with pytest.raises(SourceInvalid, match="bands as B04 B03; expected B02 B03"):
        in_canonical_order(picture("B4", "B3"), "S2L1C", ("B02", "B03"))
    with pytest.raises(SourceInvalid, match="state the bands"):
        in_canonical_order(picture("B4", "B3"), "S2L1C", ("B03", "B04"), is_stated=True)
    for names in (("B4", "cloud"), ("B4", "red")):
        with pytest.raises(SourceInvalid, match="distinct bands of S2L1C"):
            named_bands(picture(*names).header, "S2L1C", tmp_path)


def test_bands_are_spelled_by_modality() -> None:
    """B1 is B01 for Sentinel-2 and itself for Landsat; B10 is no band of L2A."""
    assert spell_band("S2L1C", "B1") == "B01"
    assert spell_band("L8TOA", "B1") == "B1"
    assert spell_band("L7SR", "sr_b7") == "SR_B7"
    assert spell_band("S2L2A", "B10") is None
    assert spell_band("S1GRD", "vh") == "VH"
    assert spell_band("S2L1C", "") is None


def test_signed_digital_numbers_keep_their_values_or_are_refused() -> None:
    """Nothing is clipped."""
    pixels = np.array([[[0, 1, 32_767]]], "i2")

    unsigned = as_unsigned(pixels, Path("a.tif"))

    assert unsigned.dtype == np.uint16
    assert unsigned.tolist() == pixels.tolist()
    with pytest.raises(SourceInvalid, match=r"below zero \(down to -3 DN"):
        as_unsigned(pixels - np.int16(3), Path("a.tif"))
    assert as_unsigned(pixels.astype("f4"), Path("a.tif")).dtype == np.float32


def test_signalling_nan_is_no_missing_block():
    """Bits that a damaged stream may give: they are looked at without a warning, which pytest makes an error."""
    damaged = np.full((1, 8, 8), 0x7FA00000, np.uint32).view(np.float32)

    require_all_blocks(None, damaged)
