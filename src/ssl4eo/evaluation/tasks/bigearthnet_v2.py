# SPDX-License-Identifier: Apache-2.0
"""BigEarthNet v2.0 (reBEN): 19 land covers of patches of 1.2 km, from Sentinel-2 L2A, Sentinel-1 or both.

480,038 patches processed anew, with labels of CORINE 2018 and a split by place. `metadata.parquet` has a row for each
(`patch_id`, `labels`, `split`, `s1_name`, flags of snow and of cloud or shadow), `BigEarthNet-S2/<scene>/<patch>/` and
`BigEarthNet-S1/<scene>/<patch>/` have a file for each band: DN without offset, and dB. Rows that are flagged are
dropped; the table as published has none. `Reference_Maps` is not read.
Split `reference`: the column `split`. Source: Clasen et al. 2024.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ssl4eo.contract import InputContract, plan_remap
from ssl4eo.errors import DataMissing, SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks.bigearthnet_labels import CLASSES_19, encode_labels
from ssl4eo.evaluation.tasks.bigearthnet_v1 import SENSORS, SIZE
from ssl4eo.evaluation.tasks.gaps import Gaps, settle
from ssl4eo.evaluation.tasks.patches import Patches, PatchPixels, names_in
from ssl4eo.evaluation.tasks.task import PARTS, LabelledPixels, Task, fall_short, make_task

VERSION = "2.0"
SPLITS = ("reference",)
TABLE = "metadata.parquet"
NUM_PATCHES = 480_038
_COLUMNS = ("patch_id", "labels", "split", "s1_name")
_FLAGS = ("contains_seasonal_snow", "contains_cloud_or_shadow")
_FOLDERS = {"S2L2A": ("BigEarthNet-S2", "patch_id", 2), "S1GRD": ("BigEarthNet-S1", "s1_name", 3)}
"""Folder, column of the patches' names, and how many fields more they have than their scenes' folders."""


def open_bigearthnet_v2(
    root: Path, *, split: str, contract: InputContract, gaps: Gaps | None = None, sensors: str = "s2"
) -> Task:
    """Read the table and list the folders of scenes; pixels are read when they are asked for.

    Args:
        root: the folder that holds the table and the published folders.
        split: `reference`.
        contract: what the network is fed; the patches must be convertible into it.
        gaps: takes the rows whose patches are not there; None refuses them.
        sensors: s2, s1 or s1s2.

    Raises:
        DataMissing: no table, no folder, or patches of the table that are not there.
        SourceInvalid: a table that is cut short, lacks columns, or has other splits or labels.
        UnknownName: no such split.
        ContractMismatch: the bands cannot be fed to such a network.
    """
    name = f"bigearthnet_v2_{sensors}"
    if split not in SPLITS:
        raise unknown_name(f"split of {name}", split, SPLITS)
    table, dropped = _read_table(root / TABLE)
    for modality in SENSORS[sensors]:
        table = table.filter(pa.array(_are_there(_patches(root, modality, table), root, gaps)))
    held = [_patches(root, modality, table) for modality in SENSORS[sensors]]
    source = PatchPixels(f"BigEarthNet v{VERSION}, {sensors}", held, size=SIZE)
    plan_remap(source.contract, contract)
    ids = table["patch_id"].to_pylist()
    everything = LabelledPixels(
        source,
        items=np.arange(len(ids)),
        seasons=np.zeros(len(ids), np.int64),
        labels=encode_labels(table["labels"].to_pylist(), CLASSES_19, [f"{root / TABLE}, {name}," for name in ids]),
        ids=tuple(ids),
    )
    part = np.array(table["split"].to_pylist())
    task = make_task(
        name,
        split=split,
        classes=CLASSES_19,
        everything=everything,
        test=part == "test",
        validation=part == "validation",
        kind="labels",
    )
    task = replace(task, version=VERSION, notes=(dropped,) if dropped else ())
    return fall_short(task, len(ids), NUM_PATCHES, "patches of BigEarthNet v2")


def _read_table(file: Path) -> tuple[pa.Table, str]:
    """Give the rows that count, and a note on those that were dropped."""
    if not file.is_file():
        raise DataMissing(
            f"no file {file}",
            expected="the table of BigEarthNet v2",
            remedy="fetch it there: ssl4eo download bigearthnet-v2 --only metadata",
            path=str(file),
        )
    try:
        held = pq.read_schema(file).names
        table = pq.read_table(file, columns=[c for c in (*_COLUMNS, *_FLAGS) if c in held])
    except (OSError, pa.ArrowException) as error:
        raise SourceInvalid(
            f"{file} cannot be read ({error})", expected="a Parquet file", remedy="fetch it again", path=str(file)
        ) from error
    absent = [column for column in _COLUMNS if column not in held]
    ids = [] if absent else table["patch_id"].to_pylist()
    if absent or len(set(ids)) != len(ids) or any(table[column].null_count for column in _COLUMNS):
        raise SourceInvalid(
            f"{file} has the columns {', '.join(held[:20])} and {len(ids)} rows of {len(set(ids))} patches",
            expected=f"{', '.join(_COLUMNS)}, no value missing, one row a patch",
            remedy="fetch it again",
            path=str(file),
        )
    strange = sorted(set(table["split"].to_pylist()).difference(PARTS))
    if strange:
        raise SourceInvalid(f"{file} has the split {strange[0]!r}", expected=f"{', '.join(PARTS)}", path=str(file))
    bad = np.zeros(len(table), np.bool_)
    for flag in _FLAGS:
        if flag in held:
            bad |= np.array(table[flag].to_pylist(), dtype=np.bool_)
    note = f"{bad.sum()} of {len(table)} patches dropped: seasonal snow, cloud or shadow" if bad.any() else ""
    return table.filter(pa.array(~bad)), note


def _patches(root: Path, modality: str, table: pa.Table) -> Patches:
    folder, column, fields = _FOLDERS[modality]
    return Patches(modality, root / folder, tuple(table[column].to_pylist()), scene_fields=fields)


def _folders_there(patches: Patches) -> set[str]:
    there: set[str] = set()
    for scene in {name.rsplit("_", patches.scene_fields)[0] for name in patches.names}:
        if (patches.folder / scene).is_dir():
            there |= names_in(patches.folder / scene)
    return there


def _are_there(patches: Patches, root: Path, gaps: Gaps | None) -> list[bool]:
    """Say of each patch whether it is there: has its folder, or all of its files where some may be left out."""
    names, folder = patches.names, patches.folder
    if gaps is not None:
        lacking = patches.incomplete()
        there = set(names) - lacking
    else:
        there = _folders_there(patches)
    absent = [name for name in names if name not in there]
    settle(
        gaps,
        absent,
        lambda first: DataMissing(
            f"{len(absent)} of {len(names)} patches of {root / TABLE} are not "
            + ("" if gaps is None else "complete ")
            + f"in {folder} ({first} is the first)",
            expected=f"{folder.name}/<scene>/<patch> for each",
            remedy="unpack the whole archive there, or keep only the rows of patches that there are",
            path=str(folder),
        ),
    )
    return [name in there for name in names]
