# SPDX-License-Identifier: Apache-2.0
"""Zip files as SSL4EO-S12 v1.1 has them, small, written by xarray and zarr-python: helpers of its tests."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

S2L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
BANDS = {
    "S1GRD": ("vv", "vh"),
    "S2L1C": S2L1C,
    "S2L2A": tuple(b for b in S2L1C if b != "B10"),
    "S2RGB": ("B04", "B03", "B02"),
}
DTYPES = {"S1GRD": "f2", "S2L1C": "i2", "S2L2A": "i2", "S2RGB": "u1"}
SIZE = 6
SEASONS = 4
STAMP = "ssl4eos12_{}_seasonal_data_{:06d}.zarr.zip"


def make_dataset(
    name: str, ids: Sequence[str], *, seed: int = 0, bands: Sequence[str] | None = None, order: Sequence[int] = range(4)
) -> xr.Dataset:
    """Make one modality of some locations; `order` gives the place in time of each stored season."""
    rng = np.random.default_rng([seed, len(name), ord(name[-1])])
    names = BANDS[name] if bands is None else bands
    shape = (len(ids), SEASONS, len(names), SIZE, SIZE)
    if name == "S1GRD":
        values = rng.normal(-12, 5, shape).astype("f2")
    else:
        values = rng.integers(1000 if name != "S2RGB" else 1, 12_000 if name != "S2RGB" else 256, shape)
    axes = ("sample", "time")
    count = len(ids)
    start = np.datetime64("2020-01-05T10:30:05", "ns")
    days = np.asarray(order) * 91 + np.arange(count)[:, None]
    first = 500_000 + np.arange(count)[:, None] * 2640.0
    top = 4_200_000 - np.arange(count)[:, None] * 100.0
    variables: dict[str, Any] = {
        "bands": ((*axes, "band", "y", "x"), values.astype(DTYPES[name])),
        "center_lat": (("sample",), 40.0 + np.arange(count)),
        "center_lon": (("sample",), 3.0 + np.arange(count)),
        "crs": (("sample",), 32_631 + np.arange(count)),
        "file_id": (axes, np.array([[f"{name}_{i}_{k}" for k in order] for i in ids])),
        "sample_id": (axes, np.array([[f"{i}_{k}" for k in range(SEASONS)] for i in ids])),
        "time_": (axes, start + days * np.timedelta64(1, "D") + np.arange(count)[:, None] * np.timedelta64(7, "s")),
        "x_": (("sample", "x"), first + 10.0 * np.arange(SIZE) + 5),
        "y_": (("sample", "y"), top - 10.0 * np.arange(SIZE) - 5),
    }
    if name in ("S2L1C", "S2L2A"):
        clouds = rng.integers(0, 4, (count, SEASONS, SIZE, SIZE)).astype("u1")
        clouds[0, 0] = 0  # not a cloud: zarr-python 3 stores no chunk for it
        variables["cloud_mask"] = ((*axes, "y", "x"), clouds)
    coordinates = {
        "band": list(names),
        "sample": list(ids),
        "time": np.arange(SEASONS),
        "x": np.arange(SIZE),
        "y": np.arange(SIZE),
    }
    return xr.Dataset(variables, coordinates)


def write_zip(
    path: Path,
    dataset: xr.Dataset,
    *,
    chunks: tuple[int, ...] | None = None,
    consolidated: bool = True,
    encoding: dict[str, Any] | None = None,
) -> Path:
    """Write a data set as a Zarr v2 zip; chunks of the pixels hold one time stamp unless told otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = dataset["bands"].shape
    settings: dict[str, Any] = {"bands": {"chunks": chunks or (1, 1, *pixels[2:])}}
    if "cloud_mask" in dataset:
        settings["cloud_mask"] = {"chunks": (1, 1, *pixels[3:]), "_FillValue": 0}
    for name, values in (encoding or {}).items():
        settings.setdefault(name, {}).update(values)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # names that are written twice; string types that v3 lacks
        with zarr.storage.ZipStore(path, mode="w") as store:
            dataset.to_zarr(store, zarr_format=2, consolidated=consolidated, encoding=settings)
    return path


def write_release(
    root: Path, names: Sequence[str] = ("S1GRD", "S2L1C", "S2L2A", "S2RGB"), *, num_files: int = 2, num_samples: int = 3
) -> dict[tuple[str, int], xr.Dataset]:
    """Write training files of some locations each; Sentinel-1 is out of order. Gives what was written."""
    written = {}
    for name in names:
        for number in range(1, num_files + 1):
            ids = [f"{number * 100 + i:07d}" for i in range(num_samples)]
            order = (2, 0, 3, 1) if name == "S1GRD" else range(4)
            dataset = make_dataset(name, ids, seed=number, order=order)
            write_zip(root / "train" / name / STAMP.format("train", number), dataset)
            written[name, number] = dataset
    return written


def rewrite(path: Path, changes: dict[str, bytes | None]) -> None:
    """Write a zip file anew with some entries changed, added or (None) left out."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    entries.update({name: data for name, data in changes.items() if data is not None})
    with zipfile.ZipFile(path, "w") as file:
        for name, data in entries.items():
            if name not in changes or changes[name] is not None:
                file.writestr(name, data)
