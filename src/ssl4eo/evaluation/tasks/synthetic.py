# SPDX-License-Identifier: Apache-2.0
"""Scene classes of the synthetic planet: an archive whose location table has a column `scene`.

Split `reference`: a third of the locations of each class is held out by the hash of the id. Each location is
seen at one date, also picked by the hash of its id, so that train and test hold all seasons alike and
no location is in two parts. Reads the network's own modalities; everything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.contract import InputContract, plan_remap
from ssl4eo.errors import ContractMismatch, SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task, hash_order, hold_out, make_task
from ssl4eo.loading.pixels import ArchivePixels

NAME = "synthetic"
SPLITS = ("reference",)
COLUMN = "scene"
TEST_SHARE = 1 / 3
"""Share of the locations of each class in the test part."""


def open_synthetic(root: Path, *, split: str, contract: InputContract) -> Task:
    """Read the scene labels of an archive and split its locations.

    Args:
        root: the archive.
        split: `reference`.
        contract: what the network is fed; decides the modality that is read.

    Raises:
        DataMissing, ArchiveInvalid: no readable archive at `root`.
        SourceInvalid: no scene labels, or too few locations of a class.
        UnknownName: no such split.
        ContractMismatch: the archive does not have the network's modality.
    """
    if split not in SPLITS:
        raise unknown_name(f"split of {NAME}", split, SPLITS)
    places = Places.of(root, contract)
    return make_task(NAME, split=split, classes=places.scenes, everything=places.everything, test=places.held_out())


@dataclass(frozen=True, eq=False)
class Places:
    """The locations of an archive, each with its scene and one date; what all synthetic tasks begin with."""

    archive: Archive
    source: ArchivePixels
    scenes: tuple[str, ...]
    everything: LabelledPixels
    """Labels are scenes."""

    @classmethod
    def of(cls, root: Path, contract: InputContract) -> Places:
        """Open an archive for networks of a contract.

        Raises:
            DataMissing, ArchiveInvalid, SourceInvalid, ContractMismatch: as `open_synthetic`.
        """
        archive = open_archive(root)
        _require_modality(archive, contract)
        scenes, labels = _scenes(archive)
        source = ArchivePixels(root, contract.modality)
        plan_remap(source.contract, contract)
        everything = LabelledPixels(
            source,
            items=np.arange(len(archive)),
            seasons=(hash_order(archive.ids, salt="season") % np.uint64(archive.num_seasons)).astype(np.int64),
            labels=labels,
            ids=archive.ids,
        )
        return cls(archive, source, scenes, everything)

    def held_out(self) -> NDArray[np.bool_]:
        """Choose the locations of the test part of split `reference` (N,), the same in all synthetic tasks."""
        return hold_out(self.everything.ids, self.everything.labels, share=TEST_SHARE, salt=f"{NAME}/{SPLITS[0]}")


def _require_modality(archive: Archive, contract: InputContract) -> None:
    names = [part.modality for part in contract.parts]
    missing = [name for name in names if name not in archive.modalities]
    if not missing:
        return
    held = ", ".join(archive.modalities)
    raise ContractMismatch(
        f"{archive.path} holds {held}, the network wants {contract.modality}",
        expected=f"an archive with {' and '.join(names)}, or a network for {' or '.join(archive.modalities)}",
        remedy=f"collect {' and '.join(missing)} too, or choose a network trained on one of {held}",
        path=str(archive.path),
    )


def _scenes(archive: Archive) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Give the sorted class names and the class of each location (N,)."""
    if COLUMN not in archive.columns:
        raise SourceInvalid(
            f"the location table of {archive.path} has the label columns {', '.join(archive.columns) or '(none)'}",
            expected=f"a column {COLUMN!r}",
            remedy="the task needs an archive of the synthetic planet: ssl4eo collect --source synthetic",
            path=str(archive.path),
        )
    values = archive.labels(COLUMN)
    unknown = [i for i, v in zip(archive.ids, values, strict=True) if not isinstance(v, str)]
    if unknown:
        raise SourceInvalid(
            f"{len(unknown)} locations of {archive.path} have no {COLUMN} ({unknown[0]} is the first)",
            expected="a class name for each location",
            path=str(archive.path),
        )
    classes, labels = np.unique(values.astype(str), return_inverse=True)
    return tuple(str(c) for c in classes), labels.astype(np.int64)
