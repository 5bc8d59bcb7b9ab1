# SPDX-License-Identifier: Apache-2.0
"""What a worker does: read some locations, check them, encode them to one segment.

Pure of any pool: the same function runs in this process, in a pool of processes and on Dask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from ssl4eo.archive.layout import Layout
from ssl4eo.archive.segment import SegmentWriter, load_segment
from ssl4eo.collection.offset import noting_bright
from ssl4eo.collection.recoded import EightBit
from ssl4eo.collection.source import AnySource, Parcel, Source, StreamSource
from ssl4eo.errors import ContractMismatch, NoImagery, SampleInvalid, SourceInvalid
from ssl4eo.files import writing
from ssl4eo.packing.quality import Nodata, inspect
from ssl4eo.sample import Sample

BROKEN = (SourceInvalid, SampleInvalid, ContractMismatch, NoImagery)
"""What a single location may fail with: the others can still be packed."""

Errors = Literal["skip", "raise"]
"""What a broken location does: left out and noted in the archive, or raised."""


@dataclass(frozen=True)
class Task:
    """Some consecutive locations."""

    number: int
    """Of the segment."""
    items: tuple[str | Parcel, ...]
    cursor: Mapping[str, Any] | None = None
    """Where a stream goes on after them."""
    may_reuse: bool = False
    """Whether a whole segment of this number, left by a killed run, is the one that would be made."""


@dataclass(frozen=True)
class Job:
    """What all tasks of an archive share; travels to every worker once."""

    source: AnySource
    work: Path
    """Folder of the archive being written, seen by all workers."""
    layout: Layout
    errors: Errors
    nodata: Nodata


def encode(job: Job, task: Task, tick: Callable[[int], None] | None = None) -> int:
    """Make the segment of a task; give its number.

    Args:
        job: source and archive.
        task: which locations.
        tick: called with 1 after each location.

    Raises:
        SourceInvalid, SampleInvalid, ContractMismatch: a location is broken and errors="raise".
        WriteFailed: the disk is full or refuses.
    """
    if task.may_reuse and load_segment(job.work, task.number) is not None:
        return task.number
    with writing(job.work), noting_bright() as bright, SegmentWriter(job.work, task.number, job.layout) as segment:
        for item in task.items:
            try:
                segment.append(_prepared(job, item))
            except BROKEN as error:
                if job.errors == "raise":
                    raise
                segment.skip(_ledger_name(item), str(error))
            if tick is not None:
                tick(1)
        segment.finish(task.cursor, notes=bright)
    return task.number


def _prepared(job: Job, item: str | Parcel) -> Sample:
    """Read and check a sample; fill values must be found before values become 8 bits."""
    if isinstance(job.source, EightBit):
        return job.source.recode(inspect(_read(job.source.source, item), nodata=job.nodata))
    return inspect(_read(job.source, item), nodata=job.nodata)


def _ledger_name(item: str | Parcel) -> str:
    """Name a location in the ledger; files that come again have a line beside that of the location itself."""
    if isinstance(item, str):
        return item
    return f"{item.location} (again)" if item.is_repeat else item.location


def _read(source: AnySource, item: str | Parcel) -> Sample:
    if isinstance(item, str):
        return cast("Source", source).read(item)
    if item.is_repeat:
        raise SourceInvalid(
            f"location {item.location}: more of its files come after those of other locations",
            expected="all files of a location one after the other",
            remedy="the location is as its first files made it, stored or left out; look into the stream",
            location=item.location,
        )
    return cast("StreamSource", source).open(item)
