# SPDX-License-Identifier: Apache-2.0
"""What is to be embedded, settled before the first pixel is read, and the folder that unfinished work lies in.

E.parquet.partial/plan.json       the record; a run that goes on must ask for the same
E.parquet.partial/00000.npy       vectors of some locations, whole or absent
E.parquet.partial/.lock           held by the one writer
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive
from ssl4eo.contract import InputContract, plan_remap
from ssl4eo.errors import ConfigInvalid, ContractMismatch, TargetExists
from ssl4eo.likeness.embeddings import open_embeddings
from ssl4eo.likeness.table import DType
from ssl4eo.loading.pixels import ArchivePixels

MEAN = "mean"
PART_IMAGES = 256
"""Images of a part, about: what a kill loses of each worker."""
Device = Literal["cpu", "cuda"]

_TOLD_ONLY = ("commit", "ssl4eo")
"""Facts of the record in which a run that goes on may differ."""


@dataclass(frozen=True)
class Job:
    """What all parts share; travels to every worker once, and opens archive and network there."""

    archive: Path
    modality: str
    seasons: tuple[int, ...]
    is_mean: bool
    indices: NDArray[np.int64]
    """Positions of the chosen locations."""
    checkpoint: str
    sha256: str | None
    """Of the network's file; a worker that finds another one refuses."""
    seed: int
    image_size: int
    device: Device
    batch_size: int
    precision: Literal["32", "bf16"]
    dtype: DType
    num_features: int
    work: Path
    """Folder of the parts, seen by all workers."""
    part_locations: int
    """Locations of a part."""

    @property
    def num_parts(self) -> int:
        """Count the parts."""
        return -(-len(self.indices) // self.part_locations)

    @property
    def rows_per_location(self) -> int:
        """Rows that a location has in the file."""
        return 1 if self.is_mean else len(self.seasons)

    def locations_of(self, part: int) -> NDArray[np.int64]:
        """Positions of a part's locations in the archive."""
        return self.indices[part * self.part_locations : (part + 1) * self.part_locations]

    def path_of(self, part: int) -> Path:
        """Name the file of a part."""
        return self.work / f"{part:05d}.npy"


def choose_seasons(archive: Archive, wanted: str) -> tuple[tuple[int, ...], bool]:
    """Read `all`, `mean` or a number: which dates are looked at, and whether they are averaged.

    Raises:
        ConfigInvalid: something else.
        LocationMissing: no such season.
    """
    if wanted in ("all", MEAN):
        return tuple(range(archive.num_seasons)), wanted == MEAN
    if not wanted.isdecimal():
        raise ConfigInvalid(f"seasons {wanted!r}", expected="all, mean, or a number from 0")
    archive.check_season(int(wanted))
    return (int(wanted),), False


def choose_modality(archive: Archive, contract: InputContract, wanted: str | None) -> str:
    """Name what is read for a network: its own modality; another that can be converted into it only if it is asked for.

    Raises:
        UnknownName: the archive has no such modality.
        ContractMismatch: the archive lacks the network's modality, or what was asked for cannot be fed to it.
    """
    names = wanted.split("+") if wanted else [part.modality for part in contract.parts]
    if wanted or all(name in archive.modalities for name in names):
        plan_remap(ArchivePixels(archive.path, "+".join(names)).contract, contract)
        return "+".join(names)
    held = ", ".join(archive.modalities)
    fitting = [name for name in archive.modalities if _fits(archive, name, contract)]
    raise ContractMismatch(
        f"{archive.path} holds {held}, the network wants {contract.modality}",
        expected=f"an archive with {' and '.join(names)}, or a network for {' or '.join(archive.modalities)}",
        remedy=f"choose another network, or feed it {fitting[0]} all the same with --modality {fitting[0]}"
        if fitting
        else f"choose a network trained on one of {held}",
        path=str(archive.path),
    )


def _fits(archive: Archive, name: str, contract: InputContract) -> bool:
    try:
        plan_remap(archive.contract(name), contract)
    except ContractMismatch:
        return False
    return True


def valid_images(archive: Archive, modality: str, job: Job) -> NDArray[np.bool_]:
    """Say which of the chosen images packing did not mark as unobserved (location, season)."""
    valid = np.ones((len(archive), archive.num_seasons), np.bool_)
    for name in modality.split("+"):
        for location, season in archive.flagged(name):
            valid[location, season] = False
    return valid[job.indices][:, list(job.seasons)]


def hash_of(ids: Sequence[str]) -> str:
    """Give a hash of the choice and order of locations."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def same_job(noted: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Name in words what two records differ in, versions of this package apart."""
    there, now = dict(_flat(noted)), dict(_flat(json.loads(json.dumps(wanted))))
    keys = sorted({*there, *now} - {f"versions.{name}" for name in _TOLD_ONLY})
    return [f"{key} {there.get(key)} there, {now.get(key)} now" for key in keys if there.get(key) != now.get(key)]


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def is_there(out: Path, record: Mapping[str, Any]) -> bool:
    """Say whether `out` is the whole result of the same job; all of it is read.

    Raises:
        TargetExists: something else stands there, or the file is damaged; it is untouched.
    """
    if not out.exists() and not out.is_symlink():
        return False
    try:
        there = open_embeddings(out)
        rows = same_job(there.record, record)
        if not rows:
            there.check()
    except OSError as error:
        rows = [getattr(error, "found", str(error))]
    if rows:
        raise TargetExists(
            f"{out} exists ({'; '.join(rows[:3])})",
            expected="no file there yet, or one of the same archive and options",
            remedy="choose another name, or remove it yourself",
            path=str(out),
        )
    return True


def require_same(work: Path, noted: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Refuse to go on with what was begun otherwise.

    Raises:
        TargetExists: another archive, network, option or version.
    """
    rows = same_job(noted, record)
    if rows:
        raise TargetExists(
            f"{work} was begun otherwise ({'; '.join(rows[:3])})",
            expected="the same archive, checkpoint, options and versions",
            remedy="choose another name, or remove that folder yourself to start anew",
            path=str(work),
        )
