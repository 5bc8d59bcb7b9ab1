# SPDX-License-Identifier: Apache-2.0
"""Is an archive whole? Every byte of every file is held against a checksum, and no file may be there in surplus.

Shards: the index by its crc32c, chunks by theirs, they must fill the file end to end, and the file must be the one
that shards.json names. All other files by the SHA-256 in checksums.json, which seals itself. Decompresses nothing:
the checksum covers the compressed bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive import checksums, codecs, identity
from ssl4eo.archive.arrays import ShardedArray
from ssl4eo.archive.identity import Identity
from ssl4eo.archive.layout import CHECKSUMS, LOCATIONS, ROOT, SHARDS, SKIPPED, Layout
from ssl4eo.archive.metadata import read_layout
from ssl4eo.archive.reader import open_archive
from ssl4eo.errors import ArchiveInvalid, ShardCorrupt, Ssl4eoError
from ssl4eo.processes import open_run


@dataclass(frozen=True)
class Fault:
    """One piece of damage."""

    file: str
    """Below the archive."""
    reason: str
    modality: str | None = None
    """Modality or `mask <name>` that is hurt, None for the whole archive."""
    locations: tuple[str, ...] = ()
    """Ids (or `number <index>` where the ids cannot be read) whose pixels are hurt."""
    is_general: bool = False
    """Whether every location needs the file."""


@dataclass(frozen=True)
class VerifyReport:
    """What was checked and what is damaged."""

    path: Path
    faults: tuple[Fault, ...]
    num_files: int
    num_chunks: int
    """Chunks of pixels and masks whose checksum was computed."""
    num_bytes: int
    """Bytes read."""
    ids: tuple[str, ...]
    """Of all locations, or their numbers where the ids cannot be read."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.faults

    @property
    def spared(self) -> tuple[str, ...]:
        """Ids of the locations that no damage hurts, in the order of the index.

        Raises:
            ArchiveInvalid: a file is damaged that every location needs.
        """
        for fault in self.faults:
            if fault.is_general:
                raise ArchiveInvalid(
                    f"{self.path / fault.file}: {fault.reason}",
                    expected="a file that every location needs",
                    remedy="copy it again first: without it no location can be used",
                    path=str(self.path),
                )
        hurt = {location for fault in self.faults for location in fault.locations}
        return tuple(location for location in self.ids if location not in hurt)

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "path": str(self.path),
            "is_whole": self.is_whole,
            "files": self.num_files,
            "chunks": self.num_chunks,
            "bytes": self.num_bytes,
            "faults": [{**vars(fault), "locations": list(fault.locations)} for fault in self.faults],
        }


class _Tally:
    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.files = self.chunks = self.bytes = 0

    def is_blamed(self, *files: str) -> bool:
        return any(fault.file in files for fault in self.faults)


@dataclass(frozen=True)
class _Task:
    """A shard file to be checked, anywhere."""

    array: ShardedArray
    shard: int
    identity: Identity | None
    """None where the list cannot be trusted."""


@dataclass(frozen=True)
class _Verdict:
    """What became of a task."""

    rows: tuple[int, ...] = ()
    """Locations that are hurt."""
    reason: str = ""
    chunks: int = 0
    bytes: int = 0


def verify_archive(
    path: Path | str, *, workers: int = 1, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Check every file of an archive.

    Args:
        path: of the archive.
        workers: processes to check shards in.
        progress: called with the number of shards checked and their total.

    Raises:
        DataMissing: there is nothing at `path`.
        ArchiveInvalid: it is no archive, or one of another version.
        ConfigInvalid, WorkerLost: fewer than one worker, or one died.
    """
    path = Path(path).absolute()
    tally = _Tally()
    files = _check_files(path, tally)
    try:
        layout = read_layout(path)
    except ArchiveInvalid as error:
        if not (path / CHECKSUMS).is_file() or not tally.is_blamed(CHECKSUMS, ROOT):
            raise  # no damage: it is no archive, or one of another version
        return _without_layout(path, tally, error)
    ids = _ids(path, layout, tally)
    todo = _tasks(path, layout, tally)
    with open_run(workers) as run:
        for done, (task, verdict) in enumerate(zip(todo, run(partial(_check_shard, path), todo), strict=True), 1):
            _note(tally, task, verdict, ids)
            if progress is not None:
                progress(done, len(todo))
    _find_strays(path, {*files, *(task.array.file(task.shard) for task in todo)}, tally)
    return VerifyReport(path, tuple(tally.faults), tally.files, tally.chunks, tally.bytes, ids)


def _without_layout(path: Path, tally: _Tally, error: ArchiveInvalid) -> VerifyReport:
    """Report a damaged root: nobody knows which shards there are, so none is checked."""
    if not tally.is_blamed(ROOT):
        tally.faults.append(Fault(ROOT, error.found, is_general=True))
    return VerifyReport(path, tuple(tally.faults), tally.files, tally.chunks, tally.bytes, ())


def _check_files(path: Path, tally: _Tally) -> set[str]:
    """Check all files that checksums.json lists, and itself; give their names."""
    tally.files += 1
    try:
        files = checksums.load(path)
    except ArchiveInvalid as error:
        tally.faults.append(Fault(CHECKSUMS, error.found, is_general=True))
        return set()
    tally.bytes += (path / CHECKSUMS).stat().st_size
    for name, wanted in files.items():
        reason = checksums.fault_of(path, name, wanted)
        if reason is not None:
            tally.faults.append(Fault(name, reason, is_general=name not in (SKIPPED, SHARDS)))
        tally.files += 1
        tally.bytes += wanted.size
    return {CHECKSUMS, *files}


def _ids(path: Path, layout: Layout, tally: _Tally) -> tuple[str, ...]:
    """Give the ids to name what is hurt; numbers where the table is damaged too."""
    numbers = tuple(f"number {i}" for i in range(layout.num_locations))
    if tally.is_blamed(CHECKSUMS, LOCATIONS):
        return numbers
    try:
        return open_archive(path).ids
    except Ssl4eoError as error:
        if "file" in error.where:  # it is as written, but holds what cannot be
            tally.faults.append(Fault(error.where["file"], error.where["reason"], is_general=True))
        elif not tally.faults:  # the files are as written, but contradict each other
            tally.faults.append(Fault(ROOT, error.found, is_general=True))
        return numbers


def _tasks(path: Path, layout: Layout, tally: _Tally) -> list[_Task]:
    todo = [(array, shard) for array in layout.sharded for shard in range(array.num_shards)]
    known: Mapping[str, Identity] | None = None
    if not tally.is_blamed(CHECKSUMS, SHARDS):
        try:
            known = identity.load(path)
        except (OSError, ValueError, TypeError) as error:
            tally.faults.append(Fault(SHARDS, f"it is no list of shards ({error})"))
        names = {array.file(shard) for array, shard in todo}
        if known is not None and set(known) != names:
            odd = ", ".join(sorted(set(known) ^ names)[:5])
            tally.faults.append(Fault(SHARDS, f"it leaves out or adds {odd}"))
            known = None
    return [_Task(array, shard, known[array.file(shard)] if known is not None else None) for array, shard in todo]


def _note(tally: _Tally, task: _Task, verdict: _Verdict, ids: tuple[str, ...]) -> None:
    owner = task.array.path.split("/")
    modality = f"mask {owner[1]}" if owner[0] == "masks" else owner[0]
    tally.files += 1
    tally.chunks += verdict.chunks
    tally.bytes += verdict.bytes
    if verdict.rows:
        locations = tuple(ids[i] for i in verdict.rows)
        tally.faults.append(Fault(task.array.file(task.shard), verdict.reason, modality, locations))


def _find_strays(path: Path, known: set[str], tally: _Tally) -> None:
    """Blame files that no list names: leftovers, or somebody else's."""
    if tally.is_blamed(CHECKSUMS):  # nobody knows
        return
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            file = (Path(folder) / name).relative_to(path).as_posix()
            if file not in known:
                tally.faults.append(Fault(file, "the file is no part of the archive"))


def _check_shard(path: Path, task: _Task) -> _Verdict:
    """Check one shard file; opens nothing else, so it can be done anywhere."""
    held = task.array.locations_in(task.shard)
    size = 0
    try:
        fd = os.open(path / task.array.file(task.shard), os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size
            index = _sound_index(fd, task, len(held))
            hurt = list(_hurt_slots(fd, index, task.array))
            if not hurt:  # else the digest differs anyway, and the other chunks can be used
                _require_identity(task.identity, identity.identity_of(fd, index))
        finally:
            os.close(fd)
    except (ShardCorrupt, OSError) as error:
        reason = error.found if isinstance(error, ShardCorrupt) else str(error.strerror)
        return _Verdict(tuple(held), reason, bytes=size)
    chunks = len(held) * task.array.chunks_per_location
    if not hurt:
        return _Verdict(chunks=chunks, bytes=size)
    rows = sorted({held[slot // task.array.chunks_per_location] for slot, _ in hurt})
    return _Verdict(tuple(rows), f"{len(hurt)} of {chunks} chunks are damaged: {hurt[0][1]}", chunks, size)


def _sound_index(fd: int, task: _Task, num_locations: int) -> NDArray[np.uint64]:
    """Read the index of an open shard.

    Raises:
        ShardCorrupt: it is damaged, does not place chunks so that they fill the file, or is another shard's.
    """
    index = codecs.read_index(fd, task.array.slots)
    codecs.require_packed(fd, index, num_locations * task.array.chunks_per_location)
    if task.identity is not None and identity.index_seal(index) != task.identity.index:
        raise ShardCorrupt("the index is that of another shard")
    return index


def _require_identity(wanted: Identity | None, found: Identity) -> None:
    if wanted is not None and found != wanted:
        raise ShardCorrupt("the file is whole, but another shard than the one that was written here")


def _hurt_slots(fd: int, index: NDArray[np.uint64], array: ShardedArray) -> Iterator[tuple[int, str]]:
    """Check the chunks of an open shard; give the slots that are hurt and why."""
    for slot in np.flatnonzero(index[:, 0] != codecs.EMPTY).tolist():
        try:
            codecs.check_chunk(codecs.read_chunk(fd, index, slot), array.chunk_bytes)
        except ShardCorrupt as error:
            yield slot, error.found
