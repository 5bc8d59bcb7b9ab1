# SPDX-License-Identifier: Apache-2.0
"""Writing an archive: samples or segments in, in order; whole shards out; the final name at the very end.

Samples come one at a time through `append`, or as segments that other processes have encoded through `absorb`.
A shard is joined when 64 locations are there. A writer that died, by `kill -9` too, is followed by one that opens the
same target with the same spec: it goes on after the last whole shard and the whole segments behind it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import ssl4eo
from ssl4eo.archive import checksums, codecs, identity, tables
from ssl4eo.archive.arrays import NO_TIME, SHARD_LOCATIONS, TIME_COMPRESSION
from ssl4eo.archive.journal import Journal, require_free
from ssl4eo.archive.layout import LOCATIONS, SHARDS, SKIPPED, Layout, Spec, images_table
from ssl4eo.archive.records import location_record, merge_kinds
from ssl4eo.archive.segment import Segment, SegmentWriter, copy_rows, load_segment, take_file
from ssl4eo.archive.statistics import Statistics, measure
from ssl4eo.errors import DataMissing, SampleInvalid
from ssl4eo.files import atomic_path, exclusive, require_absent, write_json, write_text, writing
from ssl4eo.form import Form
from ssl4eo.processes import Run
from ssl4eo.sample import Provenance, Sample


class ArchiveWriter:
    """A context in which samples are appended; `finish` makes the archive.

    Left without `finish`, what is whole stays in `<path>.partial` and the next writer goes on from there.

    Raises:
        TargetExists: `path` exists, or its partial is of another spec or plan.
        Busy: another writer is at work on `path`.
        ConfigInvalid, UnknownName, SampleInvalid: the spec cannot be laid out.
        WriteFailed: the disk is full or refuses.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        forms: Sequence[Form],
        num_seasons: int,
        shape: tuple[int, int],
        provenance: Provenance,
        masks: Mapping[str, bool] | None = None,
        profile: str = "default",
        plan: Mapping[str, Any] | None = None,
    ) -> None:
        """Describe the archive.

        Args:
            path: of the archive to be.
            forms: one a modality.
            num_seasons: dates of every location.
            shape: height and width on the finest grid [px].
            provenance: where the pixels come from.
            masks: by name whether each season has its own.
            profile: of the compression.
            plan: plain values that a writer must share with the one that it follows, such as a hash of all ids.
        """
        self.path = Path(path)
        self.spec = Spec(
            tuple(forms), num_seasons, (shape[0], shape[1]), dict(masks or {}), provenance, profile=profile
        )
        self.layout = Layout(self.spec, 0)
        self.num_resumed = 0
        self._plan = dict(plan or {})
        self._journal = Journal(self.path)
        self._stack = contextlib.ExitStack()
        self._facts: dict[str, Any] = {}
        self._done: dict[str, None] = {}
        self._kinds: dict[str, str] = {}
        self._skipped: dict[str, str] = {}
        self._queue: deque[Segment] = deque()
        self._segment = 0
        self._row = 0
        self._cursor: Mapping[str, Any] | None = None
        self._num_shards = 0
        self._is_worth_keeping: bool | None = None
        """Whether a cut has left anything; None: nothing was cut."""
        self._open: SegmentWriter | None = None
        self._is_open = False

    def __enter__(self) -> Self:
        """Take the lock and find where to go on."""
        with contextlib.ExitStack() as stack, writing(self.path):
            require_free(self.path)
            stack.enter_context(exclusive(self._journal.lock))
            require_absent(self.path, "archive")
            created = dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat()
            facts = {"created": created, "software": f"ssl4eo {ssl4eo.__version__}"}
            self._facts, heads = self._journal.open({**self.spec.to_json(), **self._plan}, facts)
            for head in heads:
                self._note(head)
            stack.callback(self._close)  # where going on fails
            self._is_open = True
            self._resume_segments()  # may write: a full disk must not keep the lock
            self._stack = stack.pop_all()
        self.num_resumed = len(self._done) + len(self._waiting())
        return self

    def _close(self) -> None:
        self._is_open = False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock; keep the partial only if it holds something whole."""
        self._is_open = False
        with self._stack, contextlib.suppress(OSError):
            if self._open is not None:
                self._open.__exit__(kind, error, trace)
            if self._is_worth_keeping is None:
                self._is_worth_keeping = bool(self._num_shards or self._waiting())
            if not self._is_worth_keeping:
                self._journal.discard()

    @property
    def work(self) -> Path:
        """The folder that holds what is not yet an archive; workers put segments there."""
        return self._journal.folder

    @property
    def next_segment(self) -> int:
        """Number of the segment to be absorbed next."""
        return self._segment + len(self._queue)

    @property
    def cursor(self) -> Mapping[str, Any] | None:
        """Where a source that is read in sequence goes on."""
        return self._queue[-1].cursor if self._queue else self._cursor

    @property
    def done_ids(self) -> AbstractSet[str]:
        """Ids that are stored or waiting for their shard to fill."""
        waiting = {str(row.location["id"]) for row in self._waiting()}
        return self._done.keys() | waiting | set(self._open.ids if self._open is not None else ())

    @property
    def begun_ids(self) -> AbstractSet[str]:
        """Ids that are stored already of the segment to be absorbed next, if that has to be made once more."""
        return set(list(self._done)[len(self._done) - self._row :]) if not self._queue else set()

    @property
    def skipped(self) -> Mapping[str, str]:
        """By id why a location was left out."""
        waiting = {location: reason for segment in self._queue for location, reason in segment.skipped}
        known = {**self._skipped, **waiting}
        if not known:
            return {}  # ids are many
        done = self.done_ids
        return {name: reason for name, reason in known.items() if name not in done}

    def append(self, sample: Sample) -> None:
        """Add a sample.

        Raises:
            SampleInvalid: it is not what the archive is made of, or its id is there already.
            WriteFailed: the disk is full or refuses; finished shards are kept.
        """
        location = sample.location.id
        if location in self.done_ids:
            raise _twice(location)
        with writing(self.path):
            segment = self._open_segment()
            if len(segment) == SHARD_LOCATIONS:  # only after a write failed and was mended
                segment = self._close_segment()
            kinds = merge_kinds(self._kinds, location_record(sample))
            segment.append(sample)
            self._kinds = kinds
            if len(segment) == SHARD_LOCATIONS:
                self._close_segment()

    def skip(self, location: str, reason: str) -> None:
        """Note in the archive that a location of the source was left out."""
        with writing(self.path):
            self._open_segment().skip(location, reason)

    def _open_segment(self) -> SegmentWriter:
        self._require_open()
        if self._open is None:
            self._open = SegmentWriter(self.work, self.next_segment, self.layout).__enter__()
        return self._open

    def _close_segment(self) -> SegmentWriter:
        """Finish the open segment, take it in, and give a new one."""
        assert self._open is not None, "there is an open segment"
        segment = self._open.finish()
        self._open = None
        self.absorb(segment)
        return self._open_segment()

    def absorb(self, segment: Segment) -> None:
        """Take in the next segment, in order.

        Raises:
            SampleInvalid: an id is there already, or labels are of another type than before.
            WriteFailed: the disk is full or refuses; finished shards are kept.
        """
        self._require_open()
        assert segment.folder.name == f"{self.next_segment:08d}", "segments come in order"
        waiting = {row.location["id"] for row in self._waiting()}  # done_ids would copy all ids each time
        taken = 0 if self._queue else self._row  # a run that was killed may have stored its first rows
        for row in segment.rows[taken:]:
            if row.location["id"] in self._done or row.location["id"] in waiting:
                raise _twice(str(row.location["id"]))
            self._kinds = merge_kinds(self._kinds, row.location)
        self._queue.append(segment)
        while len(self._waiting()) >= SHARD_LOCATIONS:
            self._flush(SHARD_LOCATIONS)

    def cut_back(self, is_good: Callable[[Mapping[str, Any]], bool]) -> None:
        """Take back all that was read after the last good cursor; only the next writer goes on.

        Args:
            is_good: says whether nothing that proved wrong was read up to a cursor.
        """
        self._require_open()
        self._is_open = False
        with writing(self.path):
            self._is_worth_keeping = self._journal.cut_back(is_good)

    def _resume_segments(self) -> None:
        while (segment := load_segment(self.work, self.next_segment)) is not None:
            self.absorb(segment)

    def finish(self, *, statistics: bool = True, run: Run = map) -> None:
        """Write what is waiting, the tables and the metadata; give the archive its name.

        Args:
            statistics: measure all pixels and keep the figures in the archive.
            run: applies the measurement to shards, in order.

        Raises:
            DataMissing: no sample was stored.
            WriteFailed: the disk is full or refuses; finished shards are kept.
            TargetExists: something stands at the target; it is untouched.
        """
        self._require_open()
        with writing(self.path):
            if self._open is not None and not self._open.is_empty:
                self._close_segment()
            skipped = self.skipped
            if self._waiting():
                self._flush(len(self._waiting()))
            if not self._done:
                raise DataMissing(f"no sample was stored in {self.path}", expected="one or more")
            layout = Layout(self.spec, len(self._done))
            figures = measure(self._journal.archive, layout, run=run) if statistics else {}
            self._publish(layout, figures, skipped)
        self._is_open = False

    def _publish(self, layout: Layout, figures: Mapping[str, Statistics], skipped: Mapping[str, str]) -> None:
        files = _write_facts(self._journal, layout, self._facts, self._kinds, figures)
        rows = ({"location": name, "reason": reason} for name, reason in skipped.items())
        write_text(self._journal.archive / SKIPPED, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        identity.write(self._journal.archive, {k: v for row in self._journal.rows() for k, v in row["files"].items()})
        checksums.write(self._journal.archive, [*files, SKIPPED, SHARDS])
        self._journal.publish()

    def _require_open(self) -> None:
        assert self._is_open, "an ArchiveWriter is used inside its `with` block, before finish()"

    def _note(self, line: Mapping[str, Any]) -> None:
        self._done |= dict.fromkeys(line["ids"])
        self._kinds |= line["kinds"]
        self._skipped.update(dict(line["skipped"]))
        self._segment, self._row, self._cursor = line["segment"], line["row"], line["cursor"]
        self._num_shards += 1

    def _waiting(self) -> list[Any]:
        """Rows that are in no shard yet."""
        rows = [row for segment in self._queue for row in segment.rows]
        return rows[self._row :]

    def _flush(self, count: int) -> None:
        """Join the next rows to a shard; segments that are used up go, but those of the last, short one."""
        parts, used, row = self._take(count)
        rows = [segment.rows[i] for segment, chosen in parts for i in chosen]
        files: dict[str, Mapping[str, Any]] = {}
        is_full = count == SHARD_LOCATIONS
        whole = parts[0][0] if len(parts) == 1 and is_full and len(parts[0][0].rows) == count else None
        with writing(self.path):
            for array in self.layout.sharded:
                name = array.file(self._num_shards)
                with atomic_path(self._journal.archive / name) as partial:
                    if whole is None:
                        files[name] = vars(copy_rows(parts, array.path, partial, array.slots))
                    else:
                        files[name] = vars(take_file(whole, array.path, partial, array.slots))
            line = {
                "shard": self._num_shards,
                "locations": [row.location for row in rows],
                "images": {m: [row.images[m] for row in rows] for m in self.spec.modalities},
                "files": files,
                "skipped": [pair for segment in used for pair in segment.skipped],
                "segment": self._segment + len(used),
                "row": row,
                "cursor": used[-1].cursor if used else self._cursor,
                "reach": (self._queue[len(used)] if row else used[-1]).cursor,
            }
            head = self._journal.append(line)
        self._note(head)
        for segment in used:
            self._queue.popleft()
            if is_full:
                segment.remove()

    def _take(self, count: int) -> tuple[list[tuple[Segment, range]], list[Segment], int]:
        """Choose the next rows: (segment, rows) in order, the segments used up, the next row of the first left."""
        parts: list[tuple[Segment, range]] = []
        used: list[Segment] = []
        start = self._row
        for segment in self._queue:
            rows = range(start, min(len(segment.rows), start + count))
            if rows:
                parts.append((segment, rows))
            count -= len(rows)
            if rows.stop < len(segment.rows):
                return parts, used, rows.stop
            used.append(segment)
            start = 0
            if not count:
                break
        return parts, used, 0


def _twice(location: str) -> SampleInvalid:
    return SampleInvalid(f"location {location} comes twice", expected="each id once", location=location)


def _write_facts(
    journal: Journal,
    layout: Layout,
    facts: dict[str, Any],
    kinds: dict[str, str],
    figures: Mapping[str, Statistics],
) -> list[str]:
    """Write everything but the shards; give the files' names below the archive."""
    archive = journal.archive
    names = list(layout.tables)
    records = (record for row in journal.rows() for record in row["locations"])
    tables.write_locations(archive / LOCATIONS, records, kinds)
    about: dict[str, dict[str, Any]] = {}
    for modality in layout.spec.modalities:
        tables.write_images(archive / images_table(modality), _images(journal, modality), layout.spec.num_seasons)
        times, offsets = _gather(journal, modality, layout)
        names += _write_times(archive, layout, modality, times)
        contract = layout.spec.form(modality).contract(offset=min(offsets)).to_json()
        about[modality] = {
            "contract": {**contract, "offset": min(offsets) if len(offsets) == 1 else None},
            "statistics": figures[modality].to_json() if modality in figures else None,
        }
    for name, document in layout.documents(about, facts).items():
        write_json(archive / name, document)
        names.append(name)
    return names


def _images(journal: Journal, modality: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for row in journal.rows():
        for record, images in zip(row["locations"], row["images"][modality], strict=True):
            yield record["id"], images


def _gather(journal: Journal, modality: str, layout: Layout) -> tuple[NDArray[np.int64], set[int]]:
    times = np.full((layout.num_locations, layout.spec.num_seasons), NO_TIME, np.int64)
    offsets: set[int] = set()
    for index, (_, images) in enumerate(_images(journal, modality)):
        times[index] = [image["time"] for image in images]
        offsets.update(image["offset"] for image in images)
    return times, offsets


def _write_times(archive: Path, layout: Layout, modality: str, times: NDArray[np.int64]) -> list[str]:
    array = layout.times[modality]
    length = array.chunk[0]
    for number, name in enumerate(array.files):
        part = times[number * length : (number + 1) * length]
        chunk = np.full(array.chunk, NO_TIME, np.int64)
        chunk[: len(part)] = part
        with atomic_path(archive / name) as partial:
            partial.write_bytes(codecs.encode_chunk(chunk, TIME_COMPRESSION))
    return array.files
