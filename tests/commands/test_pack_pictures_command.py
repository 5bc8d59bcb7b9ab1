# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo pack` of a folder of pictures: what it says of pixels that nobody saw, and of files that will not do."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from ssl4eo.archive.reader import open_archive
from ssl4eo.commands import info, pack
from ssl4eo.errors import ConfigInvalid

BANDS = ["B2", "B3"]


def _write(
    path: Path, *, low: int = 1, gap: bool = False, shape: tuple[int, int] = (12, 12), dtype: str = "uint16"
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(path.name)).integers(low, 3000, (2, *shape)).astype(dtype)
    if gap:
        pixels[:, :-1] = 0
    profile = {"driver": "GTiff", "count": 2, "height": shape[0], "width": shape[1], "dtype": dtype}
    place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 640_000, 0, -10, 5_800_000)}
    with rasterio.open(path, "w", **profile, **place) as file:
        file.write(pixels)


def _pack(folder: Path, **options: object) -> Path:
    target = folder.with_suffix(".zarr")
    assert pack.run([folder], target, **{"modality": "S2L2A", "bands": BANDS, "offset": 0, **options}) == 0
    return target


def test_images_that_are_empty_in_part_are_kept_marked_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the share; the last line of `pack` says how many, `info` for each modality."""
    for name, gap in (("a", True), ("b", False), ("c", True)):
        _write(tmp_path / f"in/{name}.tif", gap=gap)

    target = _pack(tmp_path / "in")

    last = "marked as not valid, since pixels were not observed: 2 images of 2 locations"
    assert capsys.readouterr().out.splitlines()[-1] == last
    info.run(target)
    assert "not valid   2 images of S2L2A" in capsys.readouterr().out
    info.run(target, json=True)
    assert json.loads(capsys.readouterr().out)["modalities"]["S2L2A"]["marked"] == 2
    target.rename(tmp_path / "other.zarr")
    _pack(tmp_path / "in", json=True)
    assert json.loads(capsys.readouterr().out)["marked"] == {"images": 2, "locations": 2}


def test_nothing_is_said_where_all_was_observed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither at the end of packing nor by `info`."""
    _write(tmp_path / "in/a.tif")

    info.run(_pack(tmp_path / "in"))

    assert "not observed" not in (out := capsys.readouterr().out)
    assert "not valid" not in out


def test_pictures_that_are_not_square_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once: they can be kept, shown and judged, but training refuses them."""
    for name in ("a", "b"):
        _write(tmp_path / f"in/{name}.tif", shape=(12, 10))
        _write(tmp_path / f"square/{name}.tif")

    with caplog.at_level(logging.WARNING):
        _pack(tmp_path / "square")
        assert "square" not in caplog.text
        _pack(tmp_path / "in")

    (message,) = [r.getMessage() for r in caplog.records if "square" in r.getMessage()]
    assert "12 x 10 px" in message


def test_reflectance_as_float_is_told_how_to_become_digital_numbers(tmp_path: Path) -> None:
    """With what stands for nothing, and what is lost."""
    _write(tmp_path / "in/a.tif", dtype="float32")

    with pytest.raises(ConfigInvalid, match=r"expected uint16 \(DN\): .*10,000 .* round, write uint16, 0 where"):
        _pack(tmp_path / "in")


def test_types_that_would_do_are_named_once(tmp_path: Path) -> None:
    """uint16, or int16 of the same values."""
    for name, width in (("a", 12), ("b", 12), ("c", 9)):
        _write(tmp_path / f"in/{name}.tif", shape=(12, width))

    (row,) = open_archive(_pack(tmp_path / "in")).skipped

    assert "expected 2 bands of 12 x 12 px, uint16 or int16: " in row["reason"]


@pytest.mark.parametrize("workers", [1, 2])
def test_bright_files_are_warned_of_in_one_line(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """With their number and one of them, whoever read them."""
    for i in range(20):
        _write(tmp_path / f"in/{i:02}.tif", low=1000 if i % 2 else 1)

    with caplog.at_level(logging.WARNING):
        _pack(tmp_path / "in", workers=workers, no_statistics=True)

    (message,) = [r.getMessage() for r in caplog.records]
    assert message.startswith("no pixel below 900 DN in 10 images of 20 locations, such as ")
    assert "01.tif" in message
    assert "no pixel below" not in capfd.readouterr().err.replace(message, "")
