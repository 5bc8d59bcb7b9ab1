# SPDX-License-Identifier: Apache-2.0
"""All tasks by name: one table, filled here and nowhere else; and the user's own by `module:name`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from ssl4eo.contract import InputContract
from ssl4eo.errors import SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks import (
    bigearthnet_v1,
    bigearthnet_v2,
    dfc2020,
    eurosat,
    folder,
    oscd,
    so2sat,
    synthetic,
    synthetic_dense,
)
from ssl4eo.evaluation.tasks.gaps import Gaps
from ssl4eo.evaluation.tasks.task import Task
from ssl4eo.extension import is_own, load_own, require_own


class Opener(Protocol):
    """Opens a task for networks of one input contract."""

    def __call__(self, root: Path, *, split: str, contract: InputContract, gaps: Gaps | None = None) -> Task:
        """Split the data at `root`; refuse data that the contract cannot be fed from, and absent items without gaps."""
        ...


def _by_what_is_there(opener: Callable[..., Task]) -> Opener:
    """Make an opener of one whose splits name no items, so that none can be absent."""

    def open_it(root: Path, *, split: str, contract: InputContract, gaps: Gaps | None = None) -> Task:
        del gaps
        return opener(root, split=split, contract=contract)

    return open_it


@dataclass(frozen=True)
class TaskEntry:
    """One task."""

    title: str
    splits: tuple[str, ...]
    open: Opener


_SEEN_BY = {"s2": "Sentinel-2", "s1": "Sentinel-1", "s1s2": "Sentinel-2 and Sentinel-1"}


def _bigearthnet() -> dict[str, TaskEntry]:
    first = {
        f"bigearthnet_v1_{sensors}{suffix}": TaskEntry(
            f"BigEarthNet v1.0, {labels} land covers, {title}",
            bigearthnet_v1.SPLITS,
            partial(bigearthnet_v1.open_bigearthnet_v1, sensors=sensors, num_labels=labels),
        )
        for suffix, labels in (("", 19), ("_43", 43))
        for sensors, title in _SEEN_BY.items()
    }
    second = {
        f"bigearthnet_v2_{sensors}": TaskEntry(
            f"BigEarthNet v2.0 (reBEN), 19 land covers, {title}",
            bigearthnet_v2.SPLITS,
            partial(bigearthnet_v2.open_bigearthnet_v2, sensors=sensors),
        )
        for sensors, title in _SEEN_BY.items()
    }
    return first | second


def _so2sat() -> dict[str, TaskEntry]:
    rows = (
        ("so2sat_s2", "s2", "zero"),
        ("so2sat_s2_mean", "s2", "mean"),
        ("so2sat_s1", "s1", "zero"),
        ("so2sat_s1s2", "s1s2", "zero"),
        ("so2sat_s1s2_mean", "s1s2", "mean"),
    )
    return {
        name: TaskEntry(
            f"So2Sat-LCZ42, 17 local climate zones, {_SEEN_BY[sensors]}"
            + ("" if sensors == "s1" else f", absent bands {fill}"),
            so2sat.SPLITS,
            _by_what_is_there(partial(so2sat.open_so2sat, sensors=sensors, fill=fill)),
        )
        for name, sensors, fill in rows
    }


TASKS: Mapping[str, TaskEntry] = MappingProxyType(
    {
        dfc2020.NAME: TaskEntry(
            "DFC2020, 8 classes of land cover a pixel, Sentinel-2 L1C and Sentinel-1",
            dfc2020.SPLITS,
            dfc2020.open_dfc2020,
        ),
        eurosat.NAME: TaskEntry(
            "EuroSAT RGB, 10 classes of land use, folder of class folders", eurosat.SPLITS, eurosat.open_eurosat
        ),
        eurosat.NAME_13: TaskEntry(
            "EuroSAT, 13 bands of L1C, 10 classes of land use, folder of class folders",
            eurosat.SPLITS,
            eurosat.open_eurosat_13,
        ),
        folder.NAME: TaskEntry(
            "your own folder of class folders: GeoTIFF, PNG or JPEG",
            folder.SPLITS,
            _by_what_is_there(folder.open_folder),
        ),
        oscd.NAME: TaskEntry(
            "OSCD, change between two dates of a city, tiles of 96 px, raw or rect", tuple(oscd.SPLITS), oscd.open_oscd
        ),
        synthetic.NAME: TaskEntry(
            "scene classes of the synthetic planet, an archive",
            synthetic.SPLITS,
            _by_what_is_there(synthetic.open_synthetic),
        ),
        synthetic_dense.SEGMENTATION: TaskEntry(
            "land cover a pixel of the synthetic planet, an archive",
            synthetic.SPLITS,
            _by_what_is_there(synthetic_dense.open_synthetic_segmentation),
        ),
        synthetic_dense.CHANGE: TaskEntry(
            "changes pasted into the synthetic planet, an archive of two or more seasons",
            synthetic.SPLITS,
            _by_what_is_there(synthetic_dense.open_synthetic_change),
        ),
        **_bigearthnet(),
        **_so2sat(),
    }
)


def _opener(name: str) -> Opener:
    if name not in TASKS:
        raise unknown_name("task", name, TASKS)
    return TASKS[name].open


def _own_opener(name: str) -> Opener:
    found = load_own("task", name, fits=callable)
    expected = "a function of (root, *, split, contract, gaps) that gives a Task"
    require_own("task", name, found, expected=expected, fits=callable(found))

    def open_it(root: Path, *, split: str, contract: InputContract, gaps: Gaps | None = None) -> Task:
        task = found(root, split=split, contract=contract, gaps=gaps)
        require_own("task", f"that {name} gave", task, expected="a Task", fits=isinstance(task, Task))
        return task

    return open_it


def open_task(
    name: str, root: Path, *, contract: InputContract, split: str = "reference", skip_missing: bool = False
) -> Task:
    """Open a task by name.

    Args:
        name: one of TASKS; or `module:name` or `file.py:name` of an Opener of one's own.
        root: where its data lie.
        contract: what the network is fed.
        split: a named split of the task.
        skip_missing: leave out what the split names and the data lack, as a note and `gaps` of the task say.

    Raises:
        UnknownName: no such task or split.
        DataMissing, SourceInvalid, ArchiveInvalid: data that are absent or not the task's.
        ContractMismatch: the data cannot be fed to such a network.
        ConfigInvalid: a task of one's own that cannot be had, or is none.
    """
    opener = _own_opener(name) if is_own(name) else _opener(name)
    gaps = Gaps() if skip_missing else None
    try:
        task = opener(root, split=split, contract=contract, gaps=gaps)
    except SourceInvalid as error:
        if gaps is None or not gaps.found:
            raise
        left = "; ".join(f"{gap.found}: {', '.join(gap.items[:3])}" for gap in gaps.found)
        error.found = f"{error.found} ({sum(len(gap.items) for gap in gaps.found)} were left out: {left})"
        error.remedy = gaps.found[0].remedy
        raise
    if gaps is None or not gaps.found:
        return task
    notes = tuple(f"left out: {gap.found}" for gap in gaps.found)
    return replace(task, gaps=tuple(gaps.found), notes=(*task.notes, *notes))
