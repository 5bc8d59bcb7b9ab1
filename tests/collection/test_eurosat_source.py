# SPDX-License-Identifier: Apache-2.0
"""EuroSAT: B8A stands last in the files and ninth in the archive; classes are labels."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import rasterio
from write_pictures import noise, write

from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.eurosat import CLASSES, FILE_BANDS, open_eurosat
from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid
from ssl4eo.packing.pack import pack
from ssl4eo.sensors import modality

ZIP = Path(__file__).resolve().parents[3] / "shared/data/EuroSAT_RGB.zip"


def write_tiles(root: Path) -> None:
    """Write one 13-band tile of each class; B10 is dark."""
    for i, name in enumerate(CLASSES):
        pixels = noise(13, 12, 18, dtype="u2", high=3000, seed=i)
        pixels[FILE_BANDS.index("B10")] = 12
        write(root / name / f"{name}_{i + 1}.tif", pixels, is_placed=True)


def test_thirteen_bands_stand_at_their_canonical_places(tmp_path: Path) -> None:
    """Against rasterio, by the published order of the files."""
    write_tiles(tmp_path)

    source = open_eurosat(tmp_path)
    sample = source.read("River_9")

    (image,) = sample.images["S2L1C"]
    assert len(source.ids()) == 10
    assert image.form.bands == modality("S2L1C").bands
    with rasterio.open(tmp_path / "River/River_9.tif") as file:
        for i, band in enumerate([*(f"B{n:02d}" for n in range(1, 13)), "B8A"]):
            assert np.array_equal(image.band(band), file.read(i + 1))
    assert (image.offset, image.contract.bands[8]) == (0, "B8A")
    assert dict(sample.labels) == {"file": "River/River_9.tif", "class": "River"}
    assert sample.location.lon is not None
    assert source.provenance.title == "EuroSAT, 13 bands"


def test_tiles_that_differ_are_refused(tmp_path: Path) -> None:
    """Twelve bands in one file are that file's fault, in all files everybody's."""
    write_tiles(tmp_path)
    source = open_eurosat(tmp_path)
    write(tmp_path / "River/River_9.tif", noise(12, 12, 18, dtype="u2"))

    with pytest.raises(SourceInvalid, match="12 bands"):
        source.read("River_9")
    for path in tmp_path.glob("*/*.tif"):
        write(path, noise(12, 12, 18, dtype="u2"))
    with pytest.raises(ConfigInvalid, match=r"13 bands .*with 12 bands"):
        open_eurosat(tmp_path)


def test_another_folder_is_not_eurosat(tmp_path: Path) -> None:
    """Other classes, or pictures of other names."""
    for name in ("River/River_1.jpg", "Desert/Desert_1.jpg"):
        write(tmp_path / "a" / name, noise(3, 12, 18))
    write(tmp_path / "b/River/1.jpg", noise(3, 12, 18))

    for root in (tmp_path / "a", tmp_path / "b", tmp_path):
        with pytest.raises(DataMissing, match="is not EuroSAT"):
            open_eurosat(root)


@pytest.mark.real
def test_real_rgb_tiles_come_out_as_pillow_reads_them(tmp_path: Path) -> None:
    """Three tiles a class, with their classes."""
    if not ZIP.is_file():
        pytest.skip("the real imagery is not here")
    with zipfile.ZipFile(ZIP) as archive:
        names = [n for n in archive.namelist() if n.endswith(("_1.jpg", "_2.jpg", "_3.jpg"))]
        archive.extractall(tmp_path, names)
    assert len(names) >= 10

    report = pack(open_eurosat(tmp_path / "EuroSAT_RGB"), tmp_path / "a.zarr")

    packed = open_archive(tmp_path / "a.zarr")
    assert (report.num_stored, dict(report.skipped)) == (len(names), {})
    for name in names:
        image = packed.read("S2RGB", location=Path(name).stem, season=0)
        with PIL.Image.open(tmp_path / name) as picture:
            assert np.array_equal(image.pixels[10].transpose(1, 2, 0), np.asarray(picture))
