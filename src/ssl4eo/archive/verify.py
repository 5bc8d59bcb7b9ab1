# SPDX-License-Identifier: Apache-2.0
"""Is an archive whole? Every byte of every file is held against a checksum.

Shards: the index by its crc32c, chunks by theirs, and they must fill the file end to end; all other files by the
SHA-256 in checksums.json, which seals itself. Decompresses nothing: the checksum covers the compressed bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl4eo.archive import checksums, codecs
from ssl4eo.archive.arrays import ShardedArray
from ssl4eo.archive.layout import CHECKSUMS, LOCATIONS, ROOT, Layout
from ssl4eo.archive.metadata import read_layout
from ssl4eo.archive.reader import open_archive
from ssl4eo.errors import ArchiveInvalid, ShardCorrupt, Ssl4eoError


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

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.faults

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


def verify_archive(path: Path | str, *, progress: Callable[[int, int], None] | None = None) -> VerifyReport:
    """Check every file of an archive.

    Args:
        path: of the archive.
        progress: called with the number of shards checked and their total.

    Raises:
        DataMissing: there is nothing at `path`.
        ArchiveInvalid: it is no archive, or so damaged that its layout is unknown.
    """
    path = Path(path).absolute()
    layout = read_layout(path)
    tally = _Tally()
    _check_files(path, tally)
    ids = _ids(path, layout, tally)
    todo = [(array, shard) for array in layout.sharded for shard in range(array.num_shards)]
    for done, (array, shard) in enumerate(todo, 1):
        _check_shard(path, array, shard, ids, tally)
        if progress is not None:
            progress(done, len(todo))
    return VerifyReport(path, tuple(tally.faults), tally.files, tally.chunks, tally.bytes)


def _check_files(path: Path, tally: _Tally) -> None:
    """Check all files that checksums.json lists, and itself."""
    try:
        files = checksums.load(path)
    except ArchiveInvalid as error:
        tally.faults.append(Fault(CHECKSUMS, error.found))
        return
    tally.files += 1
    tally.bytes += (path / CHECKSUMS).stat().st_size
    for name, wanted in files.items():
        reason = checksums.fault_of(path, name, wanted)
        if reason is not None:
            tally.faults.append(Fault(name, reason))
        tally.files += 1
        tally.bytes += wanted.size


def _ids(path: Path, layout: Layout, tally: _Tally) -> tuple[str, ...]:
    """Give the ids to name what is hurt; numbers where the table is damaged too."""
    numbers = tuple(f"number {i}" for i in range(layout.num_locations))
    if any(fault.file in (CHECKSUMS, LOCATIONS) for fault in tally.faults):
        return numbers
    try:
        ids = open_archive(path).ids
    except Ssl4eoError as error:
        if not tally.faults:  # the files are as written, but contradict each other
            tally.faults.append(Fault(ROOT, error.found))
        return numbers
    if len(ids) == len(numbers):
        return ids
    tally.faults.append(Fault(LOCATIONS, f"{len(ids)} locations, expected {len(numbers)}"))
    return numbers


def _check_shard(path: Path, array: ShardedArray, shard: int, ids: tuple[str, ...], tally: _Tally) -> None:
    file, held = array.file(shard), array.locations_in(shard)
    owner = array.path.split("/")
    modality = f"mask {owner[1]}" if owner[0] == "masks" else owner[0]
    tally.files += 1
    try:
        fd = os.open(path / file, os.O_RDONLY)
        try:
            tally.bytes += os.fstat(fd).st_size
            hurt = list(_hurt_slots(fd, array, len(held), tally))
        finally:
            os.close(fd)
    except (ShardCorrupt, OSError) as error:
        reason = error.found if isinstance(error, ShardCorrupt) else str(error.strerror)
        tally.faults.append(Fault(file, reason, modality, tuple(ids[i] for i in held)))
        return
    if hurt:
        rows = sorted({held[slot // array.chunks_per_location] for slot, _ in hurt})
        reason = f"{len(hurt)} of {len(held) * array.chunks_per_location} chunks are damaged: {hurt[0][1]}"
        tally.faults.append(Fault(file, reason, modality, tuple(ids[i] for i in rows)))


def _hurt_slots(fd: int, array: ShardedArray, num_locations: int, tally: _Tally) -> Iterator[tuple[int, str]]:
    """Check the chunks of an open shard; give the slots that are hurt and why.

    Raises:
        ShardCorrupt: the index is damaged, or the chunks do not fill the file.
    """
    index = codecs.read_index(fd, array.slots)
    used = num_locations * array.chunks_per_location
    ends = np.cumsum(index[:used, 1])
    body = os.fstat(fd).st_size - codecs.index_size(array.slots)
    is_packed = (index[:used, 0] == ends - index[:used, 1]).all() and (index[used:] == codecs.EMPTY).all()
    if not is_packed or int(ends[-1]) != body:
        raise ShardCorrupt(f"the index does not place {used} chunks end to end in {body} bytes")
    for slot in range(used):
        tally.chunks += 1
        try:
            codecs.check_chunk(codecs.read_chunk(fd, index, slot), array.chunk_bytes)
        except ShardCorrupt as error:
            yield slot, error.found
