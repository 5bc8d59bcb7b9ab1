# SPDX-License-Identifier: Apache-2.0
"""Writing an archive: samples in, one at a time; whole shards out; the final name at the very end.

Chunks are compressed as samples come and a shard is written when 64 are there, so at most one shard is in memory.
A writer that died, by `kill -9` too, is followed by one that opens the same target with the same spec: `done_ids`
are stored, everything after them is to be appended again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
from collections.abc import Generator, Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

import ssl4eo
from ssl4eo.archive import checksums, codecs, tables
from ssl4eo.archive.arrays import NO_TIME, SHARD_LOCATIONS
from ssl4eo.archive.journal import Journal
from ssl4eo.archive.layout import LOCATIONS, SKIPPED, Layout, Spec, images_table
from ssl4eo.archive.records import check_sample, image_record, location_record, merge_kinds
from ssl4eo.contract import stored
from ssl4eo.errors import DataMissing, SampleInvalid, Ssl4eoError, WriteFailed
from ssl4eo.files import atomic_path, exclusive, require_absent, write_json, write_text
from ssl4eo.sample import Provenance, Sample


class ArchiveWriter:
    """A context in which samples are appended; `finish` makes the archive.

    Left without `finish`, the finished shards stay in `<path>.partial` and the next writer goes on from there.

    Raises:
        TargetExists: `path` exists, or its partial is of another spec.
        Busy: another writer is at work on `path`.
        ConfigInvalid, UnknownName, SampleInvalid: the spec cannot be laid out.
        WriteFailed: the disk is full or refuses.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        modalities: Sequence[str],
        num_seasons: int,
        shape: tuple[int, int],
        provenance: Provenance,
        masks: Sequence[str] = (),
    ) -> None:
        self.path = Path(path)
        self.spec = Spec(tuple(modalities), num_seasons, (shape[0], shape[1]), tuple(masks), provenance)
        self._layout = Layout(self.spec, 0)
        self._journal = Journal(self.path)
        self._stack = contextlib.ExitStack()
        self._facts: dict[str, Any] = {}
        self._done: dict[str, None] = {}
        self._kinds: dict[str, str] = {}
        self._skipped: dict[str, str] = {}
        self._pending: list[_Encoded] = []
        self._num_shards = 0
        self._is_open = False

    def __enter__(self) -> Self:
        """Take the lock and find where to go on."""
        with contextlib.ExitStack() as stack, _writing(self.path):
            require_absent(self.path, "archive")
            stack.enter_context(exclusive(self._journal.lock))
            require_absent(self.path, "archive")
            created = dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat()
            self._facts = self._journal.open(
                self.spec.to_json(), {"created": created, "software": f"ssl4eo {ssl4eo.__version__}"}
            )
            for row in self._journal.rows():
                self._note(row["locations"])
            self._stack = stack.pop_all()
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock; keep the partial only if it holds a finished shard."""
        self._is_open = False
        with self._stack, contextlib.suppress(FileNotFoundError):
            if self._num_shards == 0:
                self._journal.discard()

    @property
    def done_ids(self) -> AbstractSet[str]:
        """Ids that are stored or waiting for their shard to fill."""
        return self._done.keys() | {encoded.record["id"] for encoded in self._pending}

    def append(self, sample: Sample) -> None:
        """Add a sample.

        Raises:
            SampleInvalid: it is not what the archive is made of, or its id is there already.
            WriteFailed: the disk is full or refuses; finished shards are kept.
        """
        self._require_open()
        check_sample(sample, self.spec)
        encoded = _Encoded(sample, self._layout)
        location = sample.location.id
        if location in self._done or any(location == other.record["id"] for other in self._pending):
            raise SampleInvalid(f"location {location} comes twice", expected="each id once", location=location)
        kinds = merge_kinds(self._kinds, encoded.record)
        self._flush_full()  # only after a write failed and was mended
        self._kinds = kinds
        self._pending.append(encoded)
        self._skipped.pop(location, None)
        self._flush_full()

    def skip(self, location: str, reason: str) -> None:
        """Note in the archive that a location of the source was left out."""
        self._skipped[location] = reason

    def finish(self) -> None:
        """Write what is waiting, the tables and the metadata; give the archive its name.

        Raises:
            DataMissing: no sample was stored.
            WriteFailed: the disk is full or refuses; finished shards are kept.
            TargetExists: something stands at the target; it is untouched.
        """
        self._require_open()
        if self._pending:
            self._flush()
        if not self._done:
            raise DataMissing(f"no sample was stored in {self.path}", expected="one or more")
        with _writing(self.path):
            files = _write_facts(self._journal, Layout(self.spec, len(self._done)), self._facts, self._kinds)
            rows = ({"location": name, "reason": reason} for name, reason in self._skipped.items())
            write_text(
                self._journal.archive / SKIPPED, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            )
            checksums.write(self._journal.archive, [*files, SKIPPED])
            self._journal.publish()
        self._is_open = False

    def _require_open(self) -> None:
        assert self._is_open, "an ArchiveWriter is used inside its `with` block, before finish()"

    def _note(self, records: Sequence[dict[str, Any]]) -> None:
        for record in records:
            self._done[record["id"]] = None
            self._kinds = merge_kinds(self._kinds, record)
        self._num_shards += 1

    def _flush_full(self) -> None:
        if len(self._pending) == SHARD_LOCATIONS:
            self._flush()

    def _flush(self) -> None:
        files: dict[str, int] = {}
        with _writing(self.path):
            for array in self._layout.sharded:
                name = array.file(self._num_shards)
                chunks = [chunk for encoded in self._pending for chunk in encoded.chunks[array.path]]
                files[name] = _write_shard(self._journal.archive / name, chunks, array.slots)
            records = [encoded.record for encoded in self._pending]
            images = {m: [encoded.images[m] for encoded in self._pending] for m in self.spec.modalities}
            self._journal.append(
                {"shard": self._num_shards, "locations": records, "images": images, "files": files},
            )
        self._note(records)
        self._pending = []


class _Encoded:
    """A sample as it goes to disk."""

    def __init__(self, sample: Sample, layout: Layout) -> None:
        self.record = location_record(sample)
        self.images = {m: [image_record(image) for image in sample.images[m]] for m in layout.spec.modalities}
        self.chunks = {
            array.path: [codecs.encode_chunk(image.pixels[r]) for image in sample.images[m]]
            for m, groups in layout.bands.items()
            for r, array in groups.items()
        }
        for name, array in layout.masks.items():
            self.chunks[array.path] = [codecs.encode_chunk(sample.masks[name])]


def _write_shard(path: Path, chunks: Sequence[bytes], slots: int) -> int:
    with atomic_path(path) as partial, partial.open("wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
        stream.write(codecs.encode_index([len(chunk) for chunk in chunks], slots))
        return stream.tell()


def _write_facts(journal: Journal, layout: Layout, facts: dict[str, Any], kinds: dict[str, str]) -> list[str]:
    """Write everything but the shards; give the files' names below the archive."""
    archive = journal.archive
    names = list(layout.tables)
    records = (record for row in journal.rows() for record in row["locations"])
    tables.write_locations(archive / LOCATIONS, records, kinds)
    contracts: dict[str, dict[str, Any]] = {}
    for modality in layout.spec.modalities:
        tables.write_images(archive / images_table(modality), _images(journal, modality), layout.spec.num_seasons)
        times, offsets = _gather(journal, modality, layout)
        names += _write_times(archive, layout, modality, times)
        contracts[modality] = {
            **stored(modality, offset=min(offsets)).to_json(),
            "offset": min(offsets) if len(offsets) == 1 else None,
        }
    for name, document in layout.documents(contracts, facts).items():
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
            partial.write_bytes(codecs.encode_chunk(chunk))
    return array.files


@contextlib.contextmanager
def _writing(path: Path) -> Generator[None]:
    """Turn what the system says of a failed write into an error with a remedy."""
    try:
        yield
    except Ssl4eoError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise WriteFailed(
            f"cannot write {error.filename or path}: {error.strerror or error}",
            expected="room on the disk and the right to write there",
            remedy=("free some space" if full else "mend that")
            + ", then run the same command again: it goes on after the last finished shard",
            path=str(path),
        ) from error
