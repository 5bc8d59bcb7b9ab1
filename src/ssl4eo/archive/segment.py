# SPDX-License-Identifier: Apache-2.0
"""A segment: some consecutive locations of a source, encoded, on their way into shards.

A worker process writes a segment alone and whole; the one writer of the archive joins segments to shards of exactly
64 locations, in order, so that the archive does not depend on how many workers there were or which of them was killed.

    segments/00000012/                 complete: it got this name by one rename
        record.json                    ids, metadata, what was left out and why, sizes of the files
        S2L1C.10m.bands ...            one file an array: chunks end to end, no index (their lengths are in the record)
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive import codecs
from ssl4eo.archive.identity import Identity, identify
from ssl4eo.archive.layout import Layout
from ssl4eo.archive.records import check_sample, image_record, location_record
from ssl4eo.errors import WriteFailed
from ssl4eo.files import write_json
from ssl4eo.sample import Sample

RECORD = "record.json"
_COPY_BYTES = 8 << 20


@dataclass(frozen=True)
class Row:
    """What is known of one stored location."""

    location: Mapping[str, Any]
    """As `records.location_record` gives it."""
    images: Mapping[str, Sequence[Mapping[str, Any]]]
    """By modality, as `records.image_record` gives them."""
    lengths: Mapping[str, Sequence[int]]
    """By path of an array the sizes of the location's chunks [bytes]."""


@dataclass(frozen=True)
class Segment:
    """A finished segment on disk."""

    folder: Path
    rows: tuple[Row, ...]
    skipped: tuple[tuple[str, str], ...]
    """(location, reason) of what was left out."""
    cursor: Mapping[str, Any] | None
    """Where a source that is read in sequence goes on after it."""
    notes: tuple[str, ...] = ()
    """What its worker has to tell whoever joins segments; no part of the archive."""

    def file(self, array: str) -> Path:
        """Give the file of an array by its path below the archive."""
        return self.folder / _file_name(array)

    def offset(self, array: str, row: int) -> int:
        """Give the place of a row's first chunk in the file of an array [bytes]."""
        return sum(sum(r.lengths[array]) for r in self.rows[:row])

    def remove(self) -> None:
        """Remove it from disk."""
        shutil.rmtree(self.folder)


def _file_name(array: str) -> str:
    return array.replace("/", ".")


def segment_folder(work: Path, number: int) -> Path:
    """Name the folder of a segment below the work folder."""
    return work / "segments" / f"{number:08d}"


def load_segment(work: Path, number: int) -> Segment | None:
    """Read a finished segment, None where there is none or a file of it is not whole."""
    folder = segment_folder(work, number)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        whole = all((folder / name).stat().st_size == size for name, size in record["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    rows = tuple(Row(r["location"], r["images"], r["lengths"]) for r in record["rows"])
    skipped = tuple((location, reason) for location, reason in record["skipped"])
    return Segment(folder, rows, skipped, record["cursor"], tuple(record.get("notes", ()))) if whole else None


def require_segment(work: Path, number: int) -> Segment:
    """Read a segment that a worker has just finished.

    Raises:
        WriteFailed: it is not there, or not whole: the worker may write to another disk.
    """
    segment = load_segment(work, number)
    if segment is None:
        raise WriteFailed(
            f"segment {number} of {work} is not there",
            expected="what a worker has just written",
            remedy="give all workers a disk that this machine sees under the same path",
            path=str(work),
        )
    return segment


class SegmentWriter:
    """A context in which samples are encoded to a segment; `finish` gives it its name.

    Holds one sample in memory at a time. Left without `finish`, nothing stays.
    """

    def __init__(self, work: Path, number: int, layout: Layout) -> None:
        self._folder = segment_folder(work, number)
        self._partial = self._folder.with_name(f".{self._folder.name}.{uuid.uuid4().hex}")
        self._layout = layout
        self._streams: dict[str, BinaryIO] = {}
        self._rows: list[Row] = []
        self._skipped: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        """Make the folder."""
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all files; remove what is not finished."""
        for stream in self._streams.values():
            with contextlib.suppress(OSError):  # on a full disk the rest of a buffer is refused again
                stream.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def __len__(self) -> int:
        """Number of samples so far."""
        return len(self._rows)

    @property
    def is_empty(self) -> bool:
        """Whether it holds neither samples nor reasons."""
        return not self._rows and not self._skipped

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the samples so far."""
        return tuple(str(row.location["id"]) for row in self._rows)

    def append(self, sample: Sample) -> None:
        """Encode a sample and write its chunks.

        Raises:
            SampleInvalid: it is not what the archive is made of.
            OSError: the disk is full or refuses; the segment is as before.
        """
        check_sample(sample, self._layout.spec)
        record = location_record(sample)
        images = {m: [image_record(image) for image in sample.images[m]] for m in self._layout.spec.modalities}
        chunks = encode_sample(sample, self._layout)
        for array, parts in chunks.items():
            self._write(array, parts)
        self._rows.append(Row(record, images, {array: [len(c) for c in parts] for array, parts in chunks.items()}))

    def _write(self, array: str, parts: Sequence[bytes]) -> None:
        if array not in self._streams:
            self._streams[array] = (self._partial / _file_name(array)).open("wb")
        stream = self._streams[array]
        stream.seek(sum(sum(row.lengths[array]) for row in self._rows))  # over what a failed write has left
        stream.truncate()
        stream.write(b"".join(parts))
        stream.flush()

    def skip(self, location: str, reason: str) -> None:
        """Note that a location was left out."""
        self._skipped.append((location, reason))

    def finish(self, cursor: Mapping[str, Any] | None = None, *, notes: Sequence[str] = ()) -> Segment:
        """Bring everything to disk and give the segment its name.

        Args:
            cursor: where a source that is read in sequence goes on.
            notes: for whoever joins segments.

        Raises:
            OSError: the disk is full or refuses.
        """
        for stream in self._streams.values():
            stream.flush()
            os.fsync(stream.fileno())
            stream.close()
        record = {
            "files": {path.name: path.stat().st_size for path in self._partial.iterdir()},
            "rows": [vars(row) for row in self._rows],
            "skipped": self._skipped,
            "cursor": cursor,
            "notes": list(notes),
        }
        write_json(self._partial / RECORD, record)
        shutil.rmtree(self._folder, ignore_errors=True)  # of a run that was killed while it was used up
        self._partial.rename(self._folder)
        return Segment(self._folder, tuple(self._rows), tuple(self._skipped), cursor, tuple(notes))


def encode_sample(sample: Sample, layout: Layout) -> dict[str, list[bytes]]:
    """Encode all chunks of a sample: by path of the array, in order of season."""
    chunks: dict[str, list[bytes]] = {}
    for name, groups in layout.bands.items():
        step = layout.spec.form(name).step
        for resolution, array in groups.items():
            pixels = (image.pixels[resolution] for image in sample.images[name])
            chunks[array.path] = [codecs.encode_chunk(_rounded(p, step), array.compression) for p in pixels]
    for name, array in layout.masks.items():
        mask = sample.masks[name]
        planes = mask if array.num_seasons is not None else mask[None]
        chunks[array.path] = [codecs.encode_chunk(plane, array.compression) for plane in planes]
    return chunks


def _rounded(values: NDArray[np.generic], step: float | None) -> NDArray[np.generic]:
    """Round float32 values to multiples of a power of two: exact in binary, so the low bits compress to nothing."""
    if step is None:
        return values
    return (np.rint(values.astype(np.float64) / step) * step).astype(np.float32)


def copy_rows(parts: Sequence[tuple[Segment, range]], array: str, path: Path, slots: int) -> Identity:
    """Join rows of segments to a shard file of one array; give its identity."""
    lengths: list[int] = []
    with path.open("w+b") as out:
        for segment, rows in parts:
            sizes = [size for row in rows for size in segment.rows[row].lengths[array]]
            with segment.file(array).open("rb") as stream:
                stream.seek(segment.offset(array, rows.start))
                _copy(stream, out, sum(sizes))
            lengths += sizes
        out.write(codecs.encode_index(lengths, slots))
        out.flush()
        return identify(out.fileno(), slots)


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size:
        block = source.read(min(size, _COPY_BYTES))
        if not block:
            raise OSError(f"{source.name} ends {size} bytes early")
        target.write(block)
        size -= len(block)


def take_file(segment: Segment, array: str, path: Path, slots: int) -> Identity:
    """Turn the file of a whole segment into a shard file by adding its index; give its identity."""
    lengths = [size for row in segment.rows for size in row.lengths[array]]
    source = segment.file(array)
    with source.open("r+b") as stream:
        stream.seek(sum(lengths))
        stream.truncate()
        stream.write(codecs.encode_index(lengths, slots))
        stream.flush()
        identity = identify(stream.fileno(), slots)
        os.fsync(stream.fileno())
    source.replace(path)
    return identity
