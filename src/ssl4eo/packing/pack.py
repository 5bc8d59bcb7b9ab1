# SPDX-License-Identifier: Apache-2.0
"""From a source to an archive: read every location once, leave out what is broken and say why.

Workers encode segments, this process joins them to shards in the order of the source: the archive is the same, byte
for byte, whatever their number. Resumes by itself: what an interrupted run has stored is not read again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from ssl4eo.archive.arrays import SHARD_LOCATIONS
from ssl4eo.archive.journal import noted_plan, require_free
from ssl4eo.archive.segment import require_segment
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.collection.offset import warn_of_bright
from ssl4eo.collection.source import AnySource, Distrusts, KeepsWork, Parcel, Source, StreamSource, is_stream
from ssl4eo.errors import ConfigInvalid, DataMissing, Ssl4eoError
from ssl4eo.form import Form
from ssl4eo.packing.pools import Pool, open_pool
from ssl4eo.packing.quality import Nodata
from ssl4eo.packing.work import Errors, Job, Task

SMALL_SEGMENT = 8
"""Locations of a segment of a stream, or where there are too few for whole shards in parallel."""

Progress = Callable[[int, int | None], None]
"""Called with the number of locations done and their total, None where the source does not know it."""


@dataclass(frozen=True)
class PackReport:
    """What became of the locations of a source."""

    path: Path
    num_stored: int
    num_resumed: int
    """Of those stored, how many an earlier run had stored."""
    skipped: Mapping[str, str]
    """By id the reason why a location was left out."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        rows = [{"location": name, "reason": reason} for name, reason in self.skipped.items()]
        return {"path": str(self.path), "stored": self.num_stored, "resumed": self.num_resumed, "skipped": rows}


def pack(  # noqa: PLR0913 - each is an option of the command line
    source: AnySource,
    target: Path | str,
    *,
    errors: Errors = "skip",
    nodata: Nodata = "skip",
    profile: str = "default",
    s1_step: float | None = None,
    workers: int = 1,
    dask: str | None = None,
    statistics: bool = True,
    progress: Progress | None = None,
) -> PackReport:
    """Pack all locations of a source into a new archive.

    Args:
        source: what to read.
        target: the archive; it appears when it is whole. An interrupted run is gone on with.
        errors: what a broken location does: left out and noted in the archive, or raised.
        nodata: what a location with unobserved pixels does: left out likewise, or kept with `valid` false.
        profile: of the compression: fast, default or compact, all without loss.
        s1_step: round Sentinel-1 to multiples of this [dB], a power of two; the error is at most half of it. None
            keeps every bit.
        workers: processes to read and encode in; 1 is this one.
        dask: address of a Dask scheduler that does it instead, or `local`.
        statistics: measure all pixels when they are stored, and keep the figures in the archive.
        progress: told after each location, or each segment where there are workers.

    Raises:
        TargetExists: something stands at `target`, or what was begun there is of another source; it is untouched.
        ConfigInvalid: s1_step where no modality has float32 values.
        Busy: another process packs to `target`.
        DataMissing: not a single location could be stored.
        SourceInvalid, SampleInvalid, ContractMismatch: a location is broken and errors="raise".
        ChecksumMismatch: a part of a stream is not the published one; what was packed of it is taken back.
        WriteFailed: the disk is full or refuses; run again to go on.
        WorkerLost: a worker died; run again to go on.
    """
    target = Path(target)
    require_free(target)
    _require_use(s1_step, source.forms)
    ids = None if is_stream(source) else list(cast("Source", source).ids())
    size = _segment_size(target, ids, parallel=workers > 1 or dask is not None)
    with ArchiveWriter(
        target,
        forms=[_stored(form, s1_step) for form in source.forms],
        num_seasons=source.num_seasons,
        shape=source.shape,
        provenance=source.provenance,
        masks=source.masks,
        profile=profile,
        plan={"source": _identity(source, ids), "segment_locations": size, "nodata": nodata},
    ) as writer:
        if isinstance(source, KeepsWork):
            source.use_work_folder(writer.work.absolute() / "stream")
        job = Job(source, writer.work.absolute(), writer.layout, errors, nodata)
        ticker = _Ticker(progress, writer.num_resumed, None if ids is None else len(ids))
        with _taking_back(source, writer), open_pool(job, workers=workers, dask=dask, tick=ticker) as pool:
            _absorb_all(writer, pool, _tasks(source, ids, writer, size))
            num_stored = len(writer.done_ids)
            if not num_stored:
                raise _nothing(target, writer.skipped)
            writer.finish(statistics=statistics, run=pool.run)
        return PackReport(target, num_stored, writer.num_resumed, writer.skipped)


def _require_use(s1_step: float | None, forms: Sequence[Form]) -> None:
    """Refuse a rounding that nothing would be rounded by."""
    if s1_step is not None and all(form.dtype != "float32" for form in forms):
        listed = ", ".join(f"{form.modality} as {form.dtype}" for form in forms)
        raise ConfigInvalid(
            f"a rounding step of {s1_step} dB for {listed}",
            expected="a modality of float32, such as S1GRD",
            remedy="leave out --s1-step",
        )


def _stored(form: Form, s1_step: float | None) -> Form:
    """Give the form that an archive keeps: values that were rounded before stay as coarse as they are."""
    if form.dtype != "float32":
        return form
    return replace(form, step=max(s1_step or 0, form.step or 0) or None)


class _Ticker:
    """Counts locations for a progress bar."""

    def __init__(self, progress: Progress | None, done: int, total: int | None) -> None:
        self._progress, self._done, self._total = progress, done, total

    def __call__(self, more: int) -> None:
        self._done += more
        if self._progress is not None:
            self._progress(self._done, self._total)


@contextlib.contextmanager
def _taking_back(source: AnySource, writer: ArchiveWriter) -> Generator[None]:
    """Undo what was packed of bytes that proved wrong, when no worker is at work any more: no run may go on from it."""
    try:
        yield
    except Ssl4eoError as error:
        is_good = source.distrust(error) if isinstance(source, Distrusts) else None
        if is_good is not None:
            writer.cut_back(is_good)
            error.remedy = (
                "run the same command again (fetch the part again before, if it lies on a disk): what was packed of "
                "that part is taken back, what came before is kept"
            )
        raise


def _absorb_all(writer: ArchiveWriter, pool: Pool, tasks: Iterable[Task]) -> None:
    bright: list[str] = []
    num_read = 0
    for number in pool.encode(tasks):
        segment = require_segment(writer.work, number)
        bright += segment.notes
        num_read += len(segment.rows) + len(segment.skipped)
        writer.absorb(segment)
    warn_of_bright(bright, num_read)


def _tasks(source: AnySource, ids: Sequence[str] | None, writer: ArchiveWriter, size: int) -> Iterator[Task]:
    number = writer.next_segment
    if ids is not None:
        again = tuple(writer.skipped)  # of an earlier run: perhaps they are mended now
        rest = [ids[start : start + size] for start in range(number * size, len(ids), size)]
        rest += [again[start : start + size] for start in range(0, len(again), size)]
        yield from (Task(number + i, tuple(items)) for i, items in enumerate(rest))
        return
    stream = cast("StreamSource", source)
    known = (set(writer.done_ids) - writer.begun_ids) | set(writer.skipped)
    parcels = (_noted(parcel, known) for parcel in stream.parcels(writer.cursor))
    while items := tuple(islice(parcels, size)):
        yield Task(number, items, items[-1].cursor)
        number += 1


def _noted(parcel: Parcel, known: set[str]) -> Parcel:
    """Note the location of a parcel; files that come a second time are neither merged nor lost in silence."""
    if parcel.location in known:
        return replace(parcel, payload=None, is_repeat=True)
    known.add(parcel.location)
    return parcel


def _segment_size(target: Path, ids: Sequence[str] | None, *, parallel: bool) -> int:
    """Choose how many locations a segment holds: as in the run that is gone on with, else by their number."""
    noted = noted_plan(target).get("segment_locations")
    if isinstance(noted, int) and 1 <= noted <= SHARD_LOCATIONS:
        return noted
    if ids is None:  # the files of all locations of a segment wait in memory
        return SMALL_SEGMENT
    is_small = len(ids) < 16 * SHARD_LOCATIONS
    return SMALL_SEGMENT if parallel and is_small else SHARD_LOCATIONS


def _identity(source: AnySource, ids: Sequence[str] | None) -> str:
    text = source.identity if is_stream(source) else "\n".join(ids or ())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _nothing(target: Path, skipped: Mapping[str, str]) -> DataMissing:
    reasons = [f"{name}: {reason}" for name, reason in list(skipped.items())[:3]]
    return DataMissing(
        f"none of {len(skipped)} locations can be stored" + (f" ({'; '.join(reasons)})" if reasons else ""),
        expected="one whole location at least",
        remedy="mend the source; no archive was made",
        path=str(target),
    )
