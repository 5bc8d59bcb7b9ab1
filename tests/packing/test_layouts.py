# SPDX-License-Identifier: Apache-2.0
"""Every layout is detected as itself and as no other; options reach the layout that has them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import rasterio

from ssl4eo.archive.reader import open_archive
from ssl4eo.cli import main
from ssl4eo.collection.compressed import CompressedLayout
from ssl4eo.collection.picture_folder import PictureFolder
from ssl4eo.collection.published import RawLayout
from ssl4eo.collection.rgb_png import RgbPng
from ssl4eo.collection.ssl4eo_l import Ssl4eoL
from ssl4eo.collection.terramesh import TerraMesh
from ssl4eo.errors import ConfigInvalid, DataMissing
from ssl4eo.packing.layouts import LAYOUTS, open_source
from ssl4eo.packing.pack import pack

S1 = "S1B_IW_GRDH_1SDV_20200318T055011_20200318T055036_020748_027573_0A1B"
S2 = "20200320T105031_20200320T105240_T31UFS"


def _tif(path: Path, count: int, size: int, dtype: str = "uint8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(1, 200, (count, size, size)).astype(dtype)
    transform = rasterio.Affine(10, 0, 640_000, 0, -10, 5_800_000)
    settings = {"crs": "EPSG:32631", "transform": transform, "count": count, "height": size, "width": size}
    with rasterio.open(path, "w", driver="GTiff", dtype=dtype, **settings) as file:
        file.write(pixels)


def _picture(path: Path, size: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (size, size), (10, 20, 30)).save(path)


def _rgb_png(root: Path) -> None:
    _picture(root / f"s2c/0000017/{S2}.png", 264)


def _compressed(root: Path) -> None:
    _tif(root / f"s2a/0000017/{S2}/all_bands.tif", 12, 264)


def _compressed_bands(root: Path) -> None:
    for band in ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"):
        _tif(root / f"s2a/0000017/{S2}/{band}.tif", 1, 264)


def _compressed_files(root: Path) -> None:
    _tif(root / f"s2a/0000017/{S2}.tif", 12, 264)


def _raw(root: Path) -> None:
    for band in ("VV", "VH"):
        _tif(root / f"s1/0000017/{S1}/{band}.tif", 1, 264, "float32")


def _ssl4eo_l(root: Path) -> None:
    _tif(root / "ssl4eo_l_oli_sr/0000017/LC08_195025_20220105/all_bands.tif", 7, 264)


def _terramesh(root: Path) -> None:
    _tif(root / "S1RTC/1_2.tif", 2, 12, "float32")
    _tif(root / "S2RGB/1_2.tif", 3, 12)


def _eurosat(root: Path) -> None:
    _tif(root / "River/River_1.tif", 13, 12, "uint16")
    _tif(root / "Forest/Forest_1.tif", 13, 12, "uint16")


def _eurosat_rgb(root: Path) -> None:
    _picture(root / "River/River_1.jpg")


def _classes(root: Path) -> None:
    _picture(root / "desert/1.png")


def _flat(root: Path) -> None:
    _picture(root / "1.jpeg")


EXAMPLES: list[tuple[str, Callable[[Path], None], type]] = [
    ("rgb-png", _rgb_png, RgbPng),
    ("compressed", _compressed, CompressedLayout),
    ("compressed", _compressed_bands, CompressedLayout),
    ("compressed", _compressed_files, CompressedLayout),
    ("raw", _raw, RawLayout),
    ("ssl4eo-l", _ssl4eo_l, Ssl4eoL),
    ("terramesh", _terramesh, TerraMesh),
    ("eurosat", _eurosat, PictureFolder),
    ("eurosat", _eurosat_rgb, PictureFolder),
    ("folder", _classes, PictureFolder),
    ("folder", _flat, PictureFolder),
]


@pytest.mark.parametrize(("name", "make", "kind"), EXAMPLES)
def test_a_layout_is_detected_as_itself(tmp_path: Path, name: str, make: Callable[[Path], None], kind: type) -> None:
    """The first that says yes is the right one; where others say yes too they are more general, and come later."""
    make(tmp_path)

    said_yes = [layout for layout, entry in LAYOUTS.items() if entry.detect(tmp_path)]

    general = {"compressed": ["raw"], "rgb-png": ["raw"], "terramesh": ["folder"], "eurosat": ["folder"]}
    assert said_yes[0] == name
    assert set(said_yes[1:]) <= set(general.get(name, []))
    assert type(open_source(tmp_path)) is kind
    assert type(open_source(tmp_path, layout=name)) is kind


@pytest.mark.parametrize(("name", "make"), [(name, make) for name, make, _ in EXAMPLES])
def test_a_source_goes_to_worker_processes_and_into_an_archive(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    """Pickled and back it reads the same; what is packed has the ids, forms and pixels of the source."""
    make(tmp_path / "in")
    source = open_source(tmp_path / "in", layout=name)

    other = pickle.loads(pickle.dumps(source))
    report = pack(other, tmp_path / "a.zarr", statistics=False)

    archive = open_archive(tmp_path / "a.zarr")
    assert dict(report.skipped) == {}
    assert list(archive.ids) == list(source.ids())
    for location in source.ids():
        for modality, images in source.read(location).images.items():
            stored = archive.read(modality, location=location, season=0)
            assert stored.form == images[0].form
            for resolution, pixels in images[0].pixels.items():
                assert np.array_equal(stored.pixels[resolution], pixels)


def test_broken_first_files_do_not_hide_what_a_layout_is(tmp_path: Path) -> None:
    """The header of another file decides."""
    _compressed_bands(tmp_path)
    first = next((tmp_path / f"s2a/0000017/{S2}").iterdir())
    first.write_bytes(b"x")

    assert isinstance(open_source(tmp_path), CompressedLayout)


@pytest.mark.parametrize("path", ["s2c", "ssl4eo_l_oli_sr/0000017"])
def test_a_part_of_a_layout_is_not_taken_for_a_folder_of_pictures(tmp_path: Path, path: str) -> None:
    """Locations and scenes are no classes: somebody has named the wrong folder."""
    _rgb_png(tmp_path)
    _ssl4eo_l(tmp_path)

    with pytest.raises((DataMissing, ConfigInvalid)):
        open_source(tmp_path / path)


def test_an_option_of_another_layout_is_refused(tmp_path: Path) -> None:
    """With those that the layout has."""
    _flat(tmp_path)

    with pytest.raises(ConfigInvalid, match="layout folder has no option rule; it has modality, bands, offset"):
        open_source(tmp_path, rule="uint8_10k")


@pytest.mark.parametrize("rule", ["foo", "uint8_sigma2"])
def test_what_is_no_rule_is_answered_with_all_rules_in_full(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str
) -> None:
    """A rule that needs statistics is listed with them."""
    _compressed(tmp_path / "jpeg")

    assert main(["pack", str(tmp_path / "jpeg"), str(tmp_path / "a.zarr"), "--rule", rule]) == 2

    assert "uint8_sigma2:published_50k" in capsys.readouterr().err


def test_options_are_given_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Modality, bands and offset of a folder; the rule of the compressed release."""
    _tif(tmp_path / "in/a.tif", 2, 12, "uint16")
    _compressed(tmp_path / "jpeg")

    arguments = ["--offset", "0", "--json", "--modality", "S2L2A", "--bands", "B4", "B3"]
    assert main(["pack", str(tmp_path / "in"), str(tmp_path / "a.zarr"), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["stored"] == 1
    assert open_archive(tmp_path / "a.zarr").read("S2L2A", location="a", season=0).form.bands == ("B03", "B04")
    assert main(["pack", str(tmp_path / "jpeg"), str(tmp_path / "b.zarr"), "--rule", "uint8_10k"]) == 0
    image = open_archive(tmp_path / "b.zarr").read("S2L2A", location="0000017", season=0)
    assert image.form.scaling == "uint8_10k"
    capsys.readouterr()
    assert main(["pack", str(tmp_path / "in"), str(tmp_path / "c.zarr")]) != 0
    assert "state --modality and --bands" in capsys.readouterr().err
