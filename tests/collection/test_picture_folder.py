# SPDX-License-Identifier: Apache-2.0
"""Any folder of pictures: what the files tell is believed, what they do not tell must be stated."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import rasterio
from write_pictures import cuts, noise, write

from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.picture_folder import PictureFolder
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid, UnknownName
from ssl4eo.packing.pack import pack
from ssl4eo.sensors import modality


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_class_folders_of_rgb_pictures_need_no_options(tmp_path: Path, suffix: str) -> None:
    """S2RGB, one season, no time and no place; the class and the path are labels."""
    for i, name in enumerate(("lake/a", "wood/b")):
        write(tmp_path / f"{name}{suffix}", noise(3, 18, 12, seed=i))

    source = PictureFolder(tmp_path)
    sample = source.read("b")

    assert (list(source.ids()), source.num_seasons, source.shape) == (["a", "b"], 1, (18, 12))
    (image,) = sample.images["S2RGB"]
    with PIL.Image.open(tmp_path / f"wood/b{suffix}") as picture:
        assert np.array_equal(image.pixels[10].transpose(1, 2, 0), np.asarray(picture))
    assert dict(sample.labels) == {"file": f"wood/b{suffix}", "class": "wood"}
    assert (image.time, sample.location.lon) == (None, None)


def test_a_flat_folder_has_no_classes(tmp_path: Path) -> None:
    """A GeoTIFF in red, green, blue is a picture as any other, with a place."""
    write(tmp_path / "a.tif", noise(3, 18, 12), is_placed=True)

    sample = PictureFolder(tmp_path).read("a")

    assert dict(sample.labels) == {"file": "a.tif"}
    assert sample.images["S2RGB"][0].crs == "EPSG:32631"
    assert sample.location.lon is not None


def test_descriptions_that_fit_one_modality_are_believed(tmp_path: Path) -> None:
    """B10 is only in L1C; values stand at their names, whatever the order, and each file must describe itself."""
    order = ("B8A", *modality("S2L1C").bands[:8], *modality("S2L1C").bands[9:])
    write(tmp_path / "a.tif", noise(13, 18, 12, dtype="u2", high=3000), names=order, is_placed=True)
    write(tmp_path / "b.tif", noise(13, 18, 12, dtype="u2", high=3000))

    source = PictureFolder(tmp_path, offset=0)
    image = source.read("a").images["S2L1C"][0]

    with rasterio.open(tmp_path / "a.tif") as file:
        for i, band in enumerate(order):
            assert np.array_equal(image.band(band), file.read(i + 1))
    with pytest.raises(SourceInvalid, match="does not describe its bands"):
        source.read("b")


def test_stated_bands_are_put_into_canonical_order(tmp_path: Path) -> None:
    """Foreign spellings in file order; a subset is enough; int16 is kept by value."""
    pixels = noise(4, 18, 12, dtype="i2", high=3000)
    write(tmp_path / "a.tif", pixels)

    source = PictureFolder(tmp_path, modality="S2L2A", bands=["nir", "B4", "b3", "B02"], offset=0)
    image = source.read("a").images["S2L2A"][0]

    assert source.forms[0].bands == ("B02", "B03", "B04", "B08")
    assert np.array_equal(image.pixels[10], pixels[::-1])
    assert image.pixels[10].dtype == np.uint16


def test_landsat_and_radar_can_be_stated_as_well(tmp_path: Path) -> None:
    """Each in its type and on its grid."""
    write(tmp_path / "l/a.tif", noise(2, 18, 12))
    write(tmp_path / "s/a.tif", noise(2, 18, 12).astype("f4"), names=("VV", "VH"))

    assert PictureFolder(tmp_path / "l", modality="L8SR", bands=["SR_B4", "SR_B5"]).forms[0].groups == (
        (30, ("SR_B4", "SR_B5")),
    )
    assert PictureFolder(tmp_path / "s", modality="S1RTC").forms[0].bands == ("VV", "VH")
    with pytest.raises(ConfigInvalid, match="which fits S1GRD and S1RTC"):
        PictureFolder(tmp_path / "s")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected to be told what the bands are: state --modality and --bands"),
        ({"modality": "S2L2A"}, "as nothing.*state --bands in file order, such as --modality S2L2A --bands B01 B02"),
        ({"bands": ["B2", "B3"]}, "bands without a modality"),
        ({"modality": "S2L2A", "bands": ["B2"]}, r"1 bands .*with 2 bands"),
        ({"modality": "S2L2A", "bands": ["B2", "blue"]}, "each band of the file once"),
        ({"modality": "S2L2A", "bands": ["B2", "B3"]}, r"minimum \d+.*--offset"),
        ({"modality": "S2L2A", "bands": ["B2", "B3"], "offset": 7}, "offset 7"),
        ({"modality": "S1GRD", "bands": ["VV", "VH"]}, "type uint16 for S1GRD; expected float32"),
        ({"modality": "L8SR", "bands": ["SR_B2", "SR_B3"]}, "expected uint8"),
    ],
)
def test_what_the_files_do_not_tell_must_be_stated(tmp_path: Path, options: dict, message: str) -> None:
    """Never guessed from the number of bands."""
    write(tmp_path / "a.tif", noise(2, 18, 12, dtype="u2"))

    with pytest.raises(ConfigInvalid, match=message):
        PictureFolder(tmp_path, **options)


def test_names_that_are_in_no_table_are_refused(tmp_path: Path) -> None:
    """Modality and bands."""
    write(tmp_path / "a.tif", noise(2, 18, 12, dtype="u2"))

    with pytest.raises(UnknownName, match="S2L3A"):
        PictureFolder(tmp_path, modality="S2L3A")
    with pytest.raises(UnknownName, match="'B10'"):
        PictureFolder(tmp_path, modality="S2L2A", bands=["B2", "B10"])


def test_names_that_are_no_ids_or_not_alone_are_made_safe(tmp_path: Path) -> None:
    """The path is kept; ids do not depend on the other files but those of the same name."""
    for name in ("x/1", "y/1", "y/\u00e4 b", "y/.hidden", f"y/{'n' * 150}"):
        write(tmp_path / f"{name}.png", noise(3, 18, 12))

    source = PictureFolder(tmp_path)
    files = {i: source.read(i).labels["file"] for i in source.ids()}

    assert sorted(files.values()) == sorted(["x/1.png", "y/1.png", "y/\u00e4 b.png", f"y/{'n' * 150}.png"])
    assert len({i for i in files if i.startswith("1-")}) == 2
    assert list(PictureFolder(tmp_path).ids()) == list(source.ids())
    report = pack(source, tmp_path.with_suffix(".zarr"), statistics=False)
    assert (report.num_stored, dict(report.skipped)) == (4, {})


def test_pictures_that_differ_go_to_the_ledger(tmp_path: Path) -> None:
    """Of another size, type or band count, unreadable, one byte long, text, cut short: each with its reason."""
    for i in range(8):
        write(tmp_path / f"in/good{i}.png", noise(3, 18, 12, seed=i))
    write(tmp_path / "in/size.png", noise(3, 18, 13))
    write(tmp_path / "in/count.png", noise(4, 18, 12))
    write(tmp_path / "in/type.png", noise(3, 18, 12, dtype="u2"))
    (tmp_path / "in/byte.png").write_bytes(b"h")
    (tmp_path / "in/text.tif").write_text("hello")
    for i, rest in enumerate(cuts(tmp_path / "in/good0.png")):
        (tmp_path / f"in/cut{i}.png").write_bytes(rest)

    report = pack(PictureFolder(tmp_path / "in"), tmp_path / "a.zarr", statistics=False)

    assert report.num_stored == 8
    assert {"size", "count", "type", "byte", "text"} | {f"cut{i}" for i in range(11)} == set(report.skipped)
    assert "18 x 13" in report.skipped["size"]
    assert "4 bands" in report.skipped["count"]
    assert "uint16" in report.skipped["type"]
    assert open_archive(tmp_path / "a.zarr").ids == tuple(f"good{i}" for i in range(8))


def test_descriptions_against_what_is_stated_go_to_the_ledger(tmp_path: Path) -> None:
    """The user cannot have meant this file."""
    write(tmp_path / "a.tif", noise(2, 18, 12, dtype="u2"), names=("B3", "B2"))

    with pytest.raises(SourceInvalid, match="B03 B02; expected B02 B03"):
        PictureFolder(tmp_path, modality="S2L2A", bands=["B2", "B3"], offset=0).read("a")


def test_folders_without_or_with_two_kinds_of_pictures_are_refused(tmp_path: Path) -> None:
    """Nothing, pictures on two levels, an unknown id, and only broken ones."""
    (tmp_path / "a").mkdir()
    with pytest.raises(DataMissing, match="no folder"):
        PictureFolder(tmp_path / "none")
    with pytest.raises(DataMissing, match="holds no pictures"):
        PictureFolder(tmp_path)
    write(tmp_path / "a/x.png", noise(3, 18, 12))
    with pytest.raises(LocationMissing):
        PictureFolder(tmp_path).read("y")
    shutil.copy(tmp_path / "a/x.png", tmp_path / "y.png")
    with pytest.raises(SourceInvalid, match=r"y\.png.*a/x\.png"):
        PictureFolder(tmp_path)
    (tmp_path / "y.png").unlink()
    (tmp_path / "a/x.png").write_text("broken")
    with pytest.raises(SourceInvalid, match="cannot be read"):
        PictureFolder(tmp_path)


def test_a_name_that_is_no_text_costs_its_picture_alone(tmp_path: Path) -> None:
    """GDAL cannot open it: the picture is left out with the reason, whatever the bytes of its name."""
    for number in range(3):
        write(tmp_path / "in" / f"{number}.png", noise(3, 18, 12, seed=number))
    (tmp_path / "in" / "1.png").rename(os.fsdecode(os.fsencode(tmp_path / "in") + b"/wei\xdf.png"))

    report = pack(PictureFolder(tmp_path / "in"), tmp_path / "a.zarr")

    assert report.num_stored == 2
    (reason,) = report.skipped.values()
    assert r"wei\xdf.png has a name that is no UTF-8" in reason
    assert "rename it" in reason
