# SPDX-License-Identifier: Apache-2.0
"""So2Sat-LCZ42: the local climate zone, one of 17, of patches of 320 m in 52 cities, from Sentinel-2, Sentinel-1, both.

Sentinel-2 has ten bands of L1C on the 10 m grid; a network that wants B01, B09 and B10 too is fed zeros after scaling
(`so2sat_s2`, as the published benchmark of SSL4EO-S12 does) or the published mean of each band (`so2sat_s2_mean`).
Sentinel-1 gives the filtered intensities of VV and VH in dB (so2sat_files.py says which channels).

Splits of versions 2 and 4, whose patches are the same: `reference` learns from training.h5 and is judged on
validation.h5, as that benchmark; `published` has the three files as they are called. Training is 42 cities, validation
the western and test the eastern halves of 10 others. Version 3: `random`, `block` and `culture_10`, without validation.
Source: Zhu et al. 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ssl4eo.contract import InputContract, plan_remap
from ssl4eo.errors import SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks.so2sat_files import FOLDERS, ROWS, Files, So2SatPixels, find_files, read_classes
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task, fall_short, make_task

SPLITS = ("reference", "published", *FOLDERS)
SENSORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"s2": ("S2L1C",), "s1": ("S1GRD",), "s1s2": ("S2L1C", "S1GRD")}
)
"""Modalities by the name that tasks have for them, in channel order."""
FILLS = ("zero", "mean")

CLASSES = (
    "Compact high rise",
    "Compact mid rise",
    "Compact low rise",
    "Open high rise",
    "Open mid rise",
    "Open low rise",
    "Lightweight low rise",
    "Large low rise",
    "Sparsely built",
    "Heavy industry",
    "Dense trees",
    "Scattered trees",
    "Bush, scrub",
    "Low plants",
    "Bare rock or paved",
    "Bare soil or sand",
    "Water",
)
"""LCZ 1 to 10 and A to G, in the order of the files."""


def open_so2sat(root: Path, *, split: str, contract: InputContract, sensors: str = "s2", fill: str = "zero") -> Task:
    """Read the labels of the files of a split; pixels are read when they are asked for.

    Args:
        root: folder of the files of versions 2 or 4, or of the folders of version 3.
        split: one of SPLITS.
        contract: what the network is fed; the patches must be convertible into it.
        sensors: s2, s1 or s1s2.
        fill: zero or mean, of the bands that the files do not have.

    Raises:
        DataMissing: files are missing; the message says which version there is.
        SourceInvalid: files of no known version, or labels that are none.
        UnknownName: no such split.
        ContractMismatch: the bands cannot be fed to such a network.
    """
    name = f"so2sat_{sensors}" + ("" if fill == "zero" else f"_{fill}")
    if split not in SPLITS:
        raise unknown_name(f"split of {name}", split, SPLITS)
    files = find_files(root, split)
    classes = {part: read_classes(path) for part, path in files.parts.items()}
    rows = [len(labels) for labels in classes.values()]
    lacking = _check_rows(files, rows)
    source = So2SatPixels(tuple(files.parts.values()), rows, SENSORS[sensors], fill=fill)
    plan_remap(source.contract, contract)
    count = len(source)
    everything = LabelledPixels(
        source,
        items=np.arange(count),
        seasons=np.zeros(count, np.int64),
        labels=np.concatenate(list(classes.values())),
        ids=tuple(f"{path.stem}/{row}" for path, n in zip(files.parts.values(), rows, strict=True) for row in range(n)),
    )
    member = np.repeat(np.array(list(files.parts)), rows)
    task = make_task(
        name,
        split=split,
        classes=CLASSES,
        everything=everything,
        test=member == "test",
        validation=member == "validation" if "validation" in files.parts else None,
    )
    return fall_short(replace(task, version=files.version), count, count + lacking, "patches of So2Sat-LCZ42")


def _check_rows(files: Files, rows: list[int]) -> int:
    """Refuse the test file of version 3 under the name of version 2's; count the rows that the files lack."""
    lacking = 0
    for path, count in zip(files.parts.values(), rows, strict=True):
        flat = files.version != "3"
        name = path.stem if flat else f"{path.parent.name}/{path.stem}"
        if flat and path.stem == "testing" and count == ROWS["culture_10/testing"]:
            raise SourceInvalid(
                f"{path} has {count:,} patches, as culture_10/testing.h5 of version 3, which holds validation.h5, too",
                expected=f"{ROWS['testing']:,}",
                remedy="lay it in a folder culture_10 with training.h5, and take split culture_10",
                path=str(path),
            )
        if name in ROWS and count != ROWS[name]:
            lacking += max(0, ROWS[name] - count)
    return lacking
