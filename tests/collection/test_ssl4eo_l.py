# SPDX-License-Identifier: Apache-2.0
"""SSL4EO-L: five splits, told by name or by sensor and bands; dates as seasons; every refusal."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from write_pictures import cuts, noise, write

from ssl4eo.collection.ssl4eo_l import SENSORS, SPLITS, Ssl4eoL
from ssl4eo.errors import DataMissing, LocationMissing, SourceInvalid, UnknownName
from ssl4eo.packing.pack import pack
from ssl4eo.sensors import modality

SENSOR_OF = {name: sensor for (sensor, _), name in SENSORS.items()}


def write_scene(folder: Path, name: str, date: str = "20220105", *, location: str = "0000017", seed: int = 0) -> Path:
    """Write a scene; give its file."""
    path = folder / location / f"{SENSOR_OF[name]}_195025_{date}" / "all_bands.tif"
    write(path, noise(len(modality(name).bands), 264, 264, seed=seed), is_placed=True, compress="LZW", predictor=2)
    return path


@pytest.mark.parametrize(("split", "name"), SPLITS.items())
def test_a_split_is_told_by_its_name_or_by_sensor_and_bands(tmp_path: Path, split: str, name: str) -> None:
    """The root may hold the split, be it, or be called anything."""
    write_scene(tmp_path / f"ssl4eo_l_{split}", name)
    shutil.copytree(tmp_path / f"ssl4eo_l_{split}", tmp_path / "other/mine")

    for root in (tmp_path, tmp_path / f"ssl4eo_l_{split}", tmp_path / "other/mine"):
        assert [form.modality for form in Ssl4eoL(root).forms] == [name]


def test_scenes_are_seasons_in_order_of_date(tmp_path: Path) -> None:
    """Values, CRS and transform are rasterio's; a date is 00:00 UTC."""
    dates = ("20220105", "20220412", "20220701", "20221003")
    paths = [write_scene(tmp_path / "ssl4eo_l_oli_sr", "L8SR", date, seed=i) for i, date in enumerate(dates)]

    source = Ssl4eoL(tmp_path)
    sample = source.read("0000017")

    assert (source.num_seasons, source.shape, list(source.ids())) == (4, (264, 264), ["0000017"])
    images = sample.images["L8SR"]
    assert [image.time.isoformat() for image in images][:2] == [
        "2022-01-05T00:00:00+00:00",
        "2022-04-12T00:00:00+00:00",
    ]
    for image, path in zip(images, paths, strict=True):
        with rasterio.open(path) as file:
            assert np.array_equal(image.pixels[30], file.read())
            assert (image.crs, image.transform) == (file.crs.to_string(), file.transform[:6])
    assert sample.location.lon is not None
    assert "7272.7 to 18181.8 DN" in str(source.provenance.details["stretch"])


def test_both_levels_of_a_sensor_are_packed_together(tmp_path: Path) -> None:
    """A location that one of them lacks is left out with the reason; one level can be asked for."""
    write_scene(tmp_path / "ssl4eo_l_etm_sr", "L7SR")
    write_scene(tmp_path / "ssl4eo_l_etm_toa", "L7TOA")
    write_scene(tmp_path / "ssl4eo_l_etm_toa", "L7TOA", location="0000018")

    report = pack(Ssl4eoL(tmp_path), tmp_path / "a.zarr", statistics=False)

    assert (report.num_stored, list(report.skipped)) == (1, ["0000018"])
    assert list(Ssl4eoL(tmp_path, modalities=["L7SR"]).ids()) == ["0000017"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: p.unlink(), "no file"),
        (lambda p: p.write_bytes(b"h"), "cannot be read"),
        (lambda p: p.write_text("not a picture"), "cannot be read"),
        (lambda p: write(p, noise(7, 264, 263)), "264 x 263"),
        (lambda p: write(p, noise(11, 264, 264)), "11 bands .*expected 7"),
        (lambda p: write(p, noise(7, 264, 264, dtype="u2")), "uint16"),
        (lambda p: write(p, noise(7, 264, 264), names=["SR_B1"] * 7), "distinct bands of L8SR"),
        (lambda p: p.parent.rename(p.parent.with_name("LC08_195025_20221305")), "no time"),
        (lambda p: p.parent.rename(p.parent.with_name("LE07_195025_20220105")), "another sensor"),
        (lambda p: p.parent.rename(p.parent.with_name("LC08_195026_20220412")), "two products of one date"),
        (lambda p: shutil.rmtree(p.parent), "1 products .*expected 2"),
    ],
)
def test_a_broken_location_is_refused_with_its_reason(tmp_path: Path, harm, message: str) -> None:
    """Missing, unreadable, of another size, type, sensor or channel count, without date, double."""
    path = write_scene(tmp_path / "ssl4eo_l_oli_sr", "L8SR")
    write_scene(tmp_path / "ssl4eo_l_oli_sr", "L8SR", "20220412")
    source = Ssl4eoL(tmp_path, num_seasons=2)
    harm(path)

    with pytest.raises(SourceInvalid, match=message):
        source.read("0000017")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    """At every point."""
    path = write_scene(tmp_path / "ssl4eo_l_etm_sr", "L7SR")
    source = Ssl4eoL(tmp_path)

    for rest in cuts(path):
        path.write_bytes(rest)
        with pytest.raises(SourceInvalid, match="cannot be read"):
            source.read("0000017")


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """Another folder, a split that tells nothing, a modality that is not there or not of this layout, an id."""
    path = write_scene(tmp_path / "mine", "L5TOA")

    with pytest.raises(DataMissing, match="no scenes of SSL4EO-L"):
        Ssl4eoL(tmp_path)
    with pytest.raises(DataMissing, match="holds L5TOA; expected L8SR"):
        Ssl4eoL(tmp_path / "mine", modalities=["L8SR"])
    with pytest.raises(UnknownName, match="S2L1C"):
        Ssl4eoL(tmp_path / "mine", modalities=["S2L1C"])
    with pytest.raises(LocationMissing):
        Ssl4eoL(tmp_path / "mine").read("0000018")
    path.write_text("broken")
    with pytest.raises(SourceInvalid, match="tells what it is"):
        Ssl4eoL(tmp_path / "mine")
