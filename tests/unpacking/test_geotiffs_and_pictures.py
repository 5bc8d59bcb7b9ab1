# SPDX-License-Identifier: Apache-2.0
"""Multi-band GeoTIFFs and RGB pictures, read back with rasterio and Pillow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image as Picture
from unpack_samples import changed, native, write_archive

from ssl4eo.eightbit import quantize
from ssl4eo.errors import ConfigInvalid, ContractMismatch, LocationMissing, UnknownName
from ssl4eo.form import Form
from ssl4eo.sensors import RGB, modality
from ssl4eo.unpacking.choice import published_subset
from ssl4eo.unpacking.unpack import unpack

FOLDERS = {"S1GRD": "s1", "S2L1C": "s2c", "S2L2A": "s2a"}


def test_native_pixels_are_taken_back_by_striding(tmp_path: Path) -> None:
    """16 bits lose nothing: every band of every season, its name, its factor and its type."""
    archive = write_archive(tmp_path / "a.zarr", *native(*FOLDERS))

    unpack(archive, tmp_path / "out", layout="uint16-geotiff")

    for name, folder in FOLDERS.items():
        for season in (0, 1):
            image = archive.read(name, location=1, season=season)
            with rasterio.open(tmp_path / "out" / folder / "0000001" / f"{image.product}.tif") as file:
                assert file.descriptions == modality(name).bands
                assert set(file.dtypes) == {modality(name).dtype}
                assert (file.crs.to_string(), tuple(file.transform[:6])) == (image.crs, image.transform)
                assert file.compression is rasterio.enums.Compression.deflate
                for number, band in enumerate(file.descriptions, 1):
                    k = int(file.tags(number)["replicated"])
                    assert k == modality(name).resolution(band) // 10
                    assert file.tags(number)["resolution_m"] == str(10 * k)
                    plane = file.read(number)
                    assert plane.shape == archive.shape
                    assert np.array_equal(plane[::k, ::k], image.band(band))
                    assert np.array_equal(plane, image.band(band).repeat(k, 0).repeat(k, 1))


def test_tags_say_what_the_values_are(tmp_path: Path) -> None:
    """The offset is still in the 16-bit form, and said; synthetic pixels are called that."""
    archive = write_archive(tmp_path / "a.zarr", *native("S2L1C"), change=changed(baseline=510, offset=1000))

    unpack(archive, tmp_path / "out", layout="uint16-geotiff", seasons=[1], ids=["0000002"])

    (path,) = (tmp_path / "out").rglob("*.tif")
    with rasterio.open(path) as file:
        tags = file.tags()
    wanted = {"OFFSET_DN": "1000", "BASELINE": "510", "SCALING": "none", "UNIT": "DN", "SYNTHETIC": "true"}
    assert {key: tags[f"SSL4EO_{key}"] for key in wanted} == wanted
    assert tags["SSL4EO_TIME"] == "2020-06-19T10:50:31+00:00"


@pytest.mark.parametrize("rule", [None, "uint8_10k_wrapped", "uint8_sigma2:published_50k"])
@pytest.mark.parametrize("offset", [0, 1000])
def test_eight_bits_are_the_rule_on_native_values_without_offset(tmp_path: Path, rule: str | None, offset: int) -> None:
    """Sentinel-1 takes the rule where it is one of decibels, else its own; tags name it."""
    s1, s2 = native("S1GRD", "S2L1C")
    change = lambda image: image if image.modality == "S1GRD" else changed(offset=offset)(image)  # noqa: E731
    archive = write_archive(tmp_path / "a.zarr", s1, s2, num_locations=1, change=change)

    unpack(archive, tmp_path / "out", layout="uint8-geotiff", rule=rule)

    rules = {"S2L1C": rule or "uint8_10k", "S1GRD": "uint8_sigma2:published_50k"}
    for name, used in rules.items():
        image = archive.read(name, location=0, season=1)
        with rasterio.open(tmp_path / "out" / FOLDERS[name] / "0000000" / f"{image.product}.tif") as file:
            assert set(file.dtypes) == {"uint8"}
            assert (file.tags()["SSL4EO_SCALING"], file.tags()["SSL4EO_OFFSET_DN"]) == (used, "0")
            for number, band in enumerate(file.descriptions, 1):
                k = modality(name).resolution(band) // 10
                native_values = image.band(band)
                if image.offset:
                    native_values = np.where(native_values < offset, 0, native_values - offset).astype("u2")
                expected = quantize(native_values[None], used, name, [band])[0]
                assert np.array_equal(file.read(number)[::k, ::k], expected)


@pytest.mark.parametrize(
    ("form", "rule", "folder"),
    [
        (Form.gridded("S2RGB"), None, "s2rgb"),
        (Form.gridded("L8SR"), None, "l8sr"),
        (Form.gridded("S2L1C", scaling="uint8_10k"), None, "s2c"),
        (Form.gridded("S2L2A", scaling="uint8_10k_wrapped"), "uint8_10k_wrapped", "s2a"),
    ],
)
def test_eight_bit_archives_are_written_as_they_are(tmp_path: Path, form: Form, rule: str | None, folder: str) -> None:
    """No value is quantized twice."""
    archive = write_archive(tmp_path / "a.zarr", form, change=changed(baseline=None))

    unpack(archive, tmp_path / "out", layout="uint8-geotiff", rule=rule)

    image = archive.read(form.modality, location=2, season=0)
    with rasterio.open(tmp_path / "out" / folder / "0000002" / f"{image.product}.tif") as file:
        assert np.array_equal(file.read(), image.pixels[form.base])
        assert file.tags()["SSL4EO_SCALING"] == form.scaling


def test_what_cannot_be_written_in_so_many_bits_is_refused(tmp_path: Path) -> None:
    """8 bits are not 16; another rule, an unknown one, and a product without statistics are no 8 bits."""
    quantized = write_archive(tmp_path / "q.zarr", Form.gridded("S2L1C", scaling="uint8_10k_wrapped"))
    rtc = write_archive(tmp_path / "r.zarr", *native("S1RTC"))
    out = tmp_path / "out"

    with pytest.raises(ConfigInvalid, match=r"8 bits.*uint8-geotiff --rule uint8_10k_wrapped"):
        unpack(quantized, out, layout="uint16-geotiff")
    with pytest.raises(ContractMismatch, match="give --modalities S2L1C --rule uint8_10k_wrapped"):
        unpack(quantized, out, layout="uint8-geotiff")
    with pytest.raises(UnknownName, match="uint8_10kk"):
        unpack(quantized, out, layout="uint8-geotiff", rule="uint8_10kk")
    with pytest.raises(ContractMismatch, match="S1RTC cannot be written in 8 bits"):
        unpack(rtc, out, layout="uint8-geotiff")
    with pytest.raises(UnknownName, match="uint8_sigma2:published_50k"):
        unpack(write_archive(tmp_path / "n.zarr", *native("S2L1C")), out, layout="uint8-geotiff", rule="uint8_sigma2")
    assert not out.exists()


@pytest.mark.parametrize("given", ["../../evil", "a/b", "..", ""])
def test_products_never_lead_out_of_the_folder(tmp_path: Path, given: str) -> None:
    """They are named after their time, or their season where that is unknown too."""
    archive = write_archive(tmp_path / "a.zarr", *native("S1GRD"), change=changed(product=given))
    timeless = write_archive(tmp_path / "b.zarr", *native("S1GRD"), change=changed(product=given, time=None))

    unpack(archive, tmp_path / "out", layout="uint16-geotiff", ids=["0000001"])
    unpack(timeless, tmp_path / "out2", layout="uint16-geotiff", ids=["0000001"])

    names = sorted(p.name for p in (tmp_path / "out/s1/0000001").iterdir())
    assert names == ["20200320T105031.tif", "20200619T105031.tif"]
    assert sorted(p.name for p in (tmp_path / "out2/s1/0000001").iterdir()) == ["season0.tif", "season1.tif"]
    assert {p.name for p in tmp_path.iterdir()} == {"a.zarr", "b.zarr", "out", "out2"}


def test_pictures_are_the_published_stretch_of_red_green_blue(tmp_path: Path) -> None:
    """By hand: trunc((x - (mean - 2 std)) / (4 std) 255), rounded statistics, clipped."""
    archive = write_archive(tmp_path / "a.zarr", *native("S2L1C", "S2L2A"))

    unpack(archive, tmp_path / "out", layout="rgb-png", modalities=["S2L1C", "S2L2A"])

    table = {
        "s2c": ((1373.1, 1144.9), (1322.3, 878.7), (1397.6, 854.3)),
        "s2a": ((1307.6, 1375.2), (1151.7, 1188.1), (889.6, 1159.1)),
    }
    for folder, name in (("s2c", "S2L1C"), ("s2a", "S2L2A")):
        image = archive.read(name, location=0, season=1)
        with Picture.open(tmp_path / "out" / folder / "0000000" / f"{image.product}.png") as picture:
            found = np.asarray(picture)
        assert found.shape == (*archive.shape, 3)
        for channel, (band, (mean, std)) in enumerate(zip(RGB, table[folder], strict=True)):
            values = image.band(band).astype("f8")
            expected = np.clip((values - (mean - 2 * std)) / (4 * std) * 255, 0, 255).astype("u1")
            assert np.abs(found[..., channel].astype(int) - expected).max() <= 1
            assert (found[..., channel] == expected).mean() > 0.99  # the order of operations may tip a truncation


def test_rgb_archives_are_written_as_they_are(tmp_path: Path) -> None:
    """8-bit pictures are not stretched again."""
    archive = write_archive(tmp_path / "a.zarr", Form.gridded("S2RGB"), change=changed(baseline=None))

    unpack(archive, tmp_path / "out", layout="rgb-png")

    image = archive.read("S2RGB", location=1, season=0)
    with Picture.open(tmp_path / "out/s2rgb/0000001" / f"{image.product}.png") as picture:
        assert np.array_equal(np.asarray(picture), image.pixels[10].transpose(1, 2, 0))


def test_pictures_of_what_has_no_colors_are_refused(tmp_path: Path) -> None:
    """Radar, and bytes made by another rule than the stretch."""
    archive = write_archive(tmp_path / "a.zarr", *native("S1GRD", "S2L1C"))
    quantized = write_archive(tmp_path / "q.zarr", Form.gridded("S2L1C", scaling="uint8_10k"))

    with pytest.raises(ConfigInvalid, match=r"S1GRD has bands VV VH.*B04 B03 B02"):
        unpack(archive, tmp_path / "out", layout="rgb-png", modalities=["S1GRD", "S2L1C"])
    with pytest.raises(ContractMismatch, match="stored in 8 bits by uint8_10k"):
        unpack(quantized, tmp_path / "out", layout="rgb-png")


def test_the_published_subset_is_drawn_as_published(tmp_path: Path) -> None:
    """Seed 42, 10 of the first 100; an archive without them says which are missing."""
    import random

    random.seed(42)
    expected = tuple(f"{i:07d}" for i in random.sample(range(100), 10))
    archive = write_archive(tmp_path / "a.zarr", *native("S2L1C"), num_locations=20)

    assert published_subset() == expected
    with pytest.raises(LocationMissing, match="0000081"):
        unpack(archive, tmp_path / "out", layout="rgb-png", ids=published_subset())
    unpack(archive, tmp_path / "out", layout="rgb-png", ids=[i for i in expected if int(i) < 20])
    found = sorted(p.name for p in (tmp_path / "out/s2c").iterdir())
    assert found == sorted(i for i in expected if int(i) < 20)
    assert json.loads((tmp_path / "out/unpack.json").read_text())["locations"]["count"] == len(found)
