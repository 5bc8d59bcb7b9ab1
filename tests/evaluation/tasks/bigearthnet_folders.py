# SPDX-License-Identifier: Apache-2.0
"""BigEarthNet's folders as published, with synthetic pixels: each band is constant and says what it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ssl4eo.collection.geotiff_write import encode_geotiff
from ssl4eo.sensors import modality

PLACE = (10.0, 0.0, 600_000.0, 0.0, -10.0, 5_800_000.0)


def s2_name(number: int) -> str:
    """Name a patch of version 1."""
    return f"S2A_MSIL2A_20170613T101031_{number}_48"


def s1_name(number: int) -> str:
    """Name its Sentinel-1 patch."""
    return f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{number}_48"


def value(number: int, channel: int) -> int:
    """Give the value of a band of a patch."""
    return 100 * (number + 1) + channel


def write_patch(folder: Path, name: str, modality_name: str, number: int) -> None:
    """Write one file a band into `folder/name`."""
    known = modality(modality_name)
    (folder / name).mkdir(parents=True)
    for channel, band in enumerate(known.bands):
        size = 1200 // known.resolution(band)
        filler = value(number, channel) if known.unit == "DN" else -value(number, channel) / 100
        pixels = np.full((1, size, size), filler, known.dtype)
        data = encode_geotiff(pixels, crs="EPSG:32633", transform=PLACE, compress="deflate")
        (folder / name / f"{name}_{band}.tif").write_bytes(data)


def write_v1(root: Path, labels: Sequence[Sequence[str]], *, pixels: bool = True) -> None:
    """Write both folders of version 1, one patch for each list of labels, and the list of pairs."""
    rows = ["s1_name,s2_name,country,season"]
    for number, names in enumerate(labels):
        s2, s1 = s2_name(number), s1_name(number)
        rows.append(f"{s1},{s2},Austria,Summer")
        for folder, name, kind in (("BigEarthNet-v1.0", s2, "S2L2A"), ("BigEarthNet-S1-v1.0", s1, "S1GRD")):
            if pixels:
                write_patch(root / folder, name, kind, number)
            else:
                (root / folder / name).mkdir(parents=True)
            record = {"labels": list(names), "projection": "", "acquisition_date": "2017-06-13 10:10:31"}
            if kind == "S1GRD":
                record["corresponding_s2_patch"] = s2
            (root / folder / name / f"{name}_labels_metadata.json").write_text(json.dumps(record))
    (root / "s1_s2_name_country_season.csv").write_text("\n".join(rows) + "\n")


def write_lists(
    root: Path,
    *,
    train: Sequence[int],
    val: Sequence[int],
    test: Sequence[int] = (),
    suffix: str = "txt",
    snow: Sequence[int] = (),
    cloud: Sequence[int] = (),
) -> None:
    """Write lists of patches by number, as SeCo's (txt) or the authors' (csv), and those of bad patches."""
    for name, numbers in (("train", train), ("val", val), ("test", test)):
        end = ",x\r\n" if suffix == "csv" else "\n"
        (root / f"bigearthnet-{name}.{suffix}").write_text("".join(s2_name(i) + end for i in numbers))
    for name, numbers in (("seasonal_snow", snow), ("cloud_and_shadow", cloud)):
        (root / f"patches_with_{name}.csv").write_text("".join(f"{s2_name(i)}\r\n" for i in numbers))


def v2_names(number: int) -> tuple[str, str]:
    """Name a patch of version 2, Sentinel-2 and Sentinel-1."""
    return (
        f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_{number}_48",
        f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{number}_48",
    )


def write_v2(
    root: Path, labels: Sequence[Sequence[str]], splits: Sequence[str], /, **columns: Sequence[object]
) -> None:
    """Write the folders and the table of version 2; `columns` replace or add to the table's."""
    for number in range(len(labels)):
        s2, s1 = v2_names(number)
        write_patch(root / "BigEarthNet-S2" / "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP", s2, "S2L2A", number)
        write_patch(root / "BigEarthNet-S1" / "S1A_IW_GRDH_1SDV_20170613T165043", s1, "S1GRD", number)
    table = {
        "patch_id": [v2_names(i)[0] for i in range(len(labels))],
        "labels": [list(names) for names in labels],
        "split": list(splits),
        "country": ["Austria"] * len(labels),
        "s1_name": [v2_names(i)[1] for i in range(len(labels))],
        "contains_seasonal_snow": [False] * len(labels),
        "contains_cloud_or_shadow": [False] * len(labels),
        **{name: list(values) for name, values in columns.items()},
    }
    pq.write_table(pa.table({name: values for name, values in table.items() if values}), root / "metadata.parquet")
