# SPDX-License-Identifier: Apache-2.0
"""Points at which a gzip stream can be entered, so that an interrupted run goes on without the bytes before.

A point is a border of deflate blocks: its bit in the compressed stream and the 32 KiB of data before it. indexed_gzip
finds them, on bytes that the reader has just had; it does not read the data for us, since it starts at a point for
every read and checks no CRC. The price is that everything is inflated twice. The last points are saved in a small
file (the index format of indexed_gzip and a CRC), 8 MiB and a few older ones for whoever has to go further back: 4 MiB
for a terabyte. Without the file a run reads from the start.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from indexed_gzip import IndexedGzipFile

from ssl4eo.errors import Ssl4eoError
from ssl4eo.files import whole_or_told

log = logging.getLogger(__name__)

SPACING = 32 << 20
"""Bytes of data from point to point."""

SAVED_EVERY = 8
"""Points from one saving of the file to the next."""

KEPT = 256
"""Last points in the file: what the workers of a large machine can be behind the reader."""

OLDER_APART = 8 << 30
"""Bytes of data from point to point of those that stay in the file before the last."""

_HEADER = struct.Struct("<5sBBQQIII")
_ROW = struct.Struct("<QQBB")
_CRC = struct.Struct("<I")
_MAGIC = b"GZIDX"


@dataclass(frozen=True)
class SeekPoint:
    """A border of deflate blocks."""

    compressed: int
    """First whole byte after the border, from the start of the file."""
    bits: int
    """Bits of the byte before that belong to the next block already."""
    offset: int
    """Bytes of data before the border."""
    window: bytes
    """The last of these bytes, up to 32 KiB."""


def parse_index(data: bytes) -> list[SeekPoint]:
    """Read the points of an index as indexed_gzip exports it, but for the one at the end, where no block begins.

    Raises:
        ValueError: it is no such index, or cut short.
    """
    try:
        magic, version, _, _, end, _, width, count = _HEADER.unpack_from(data)
        if magic != _MAGIC or version != 1 or len(data) < _HEADER.size + count * _ROW.size:
            raise ValueError("no index of indexed_gzip, or one of another version")
        rows = [_ROW.unpack_from(data, _HEADER.size + number * _ROW.size) for number in range(count)]
    except struct.error as error:
        raise ValueError("an index that is cut short") from error
    at = _HEADER.size + count * _ROW.size
    if len(data) != at + width * sum(row[3] for row in rows):
        raise ValueError("an index with windows missing")
    points: list[SeekPoint] = []
    for compressed, offset, bits, has_window in rows:
        if not end or offset < end:  # `end` is 0 where it is not known yet
            points.append(SeekPoint(compressed, bits, offset, data[at : at + width] if has_window else b""))
        at += width if has_window else 0
    return points


def format_index(points: Sequence[SeekPoint], *, size: int, spacing: int) -> bytes:
    """Write points as indexed_gzip imports them.

    Args:
        points: in order.
        size: of the compressed file [bytes].
        spacing: bytes of data from point to point.
    """
    width = max((len(point.window) for point in points), default=0)
    rows = [_ROW.pack(point.compressed, point.offset, point.bits, bool(point.window)) for point in points]
    header = _HEADER.pack(_MAGIC, 1, 0, size, 0, spacing, width or 1 << 15, len(points))
    return header + b"".join(rows) + b"".join(point.window for point in points)


class SeekPoints:
    """The points of one stream: found behind its reader, saved and loaded.

    Args:
        file: the compressed stream; its position is moved.
        path: of the file of points, None to save none.
        spacing: bytes of data from point to point.
    """

    def __init__(self, file: BinaryIO, path: Path | None, *, spacing: int = SPACING) -> None:
        self._file, self._path, self._spacing = file, path, spacing
        self._size = file.seek(0, io.SEEK_END)
        self._points = self._load()
        self._unsaved = 0
        self._is_able = path is not None

    def before(self, offset: int) -> SeekPoint | None:
        """Give the last point at or before an offset of the data, None where that is the start."""
        found = [point for point in self._points if point.offset <= offset and point.window]
        return found[-1] if found else None

    def advance(self, offset: int) -> None:
        """Look for points up to an offset that the reader has passed, and save them now and then.

        Raises:
            WriteFailed: the disk is full or refuses.
        """
        while self._is_able and offset >= self._next:
            before = self._next
            self._find(before)
            if self._next == before:  # the end of the stream
                self._is_able = False
            if self._unsaved >= SAVED_EVERY:
                self._save()

    @property
    def _next(self) -> int:
        return (self._points[-1].offset if self._points else 0) + self._spacing

    def _find(self, offset: int) -> None:
        """Inflate from the last point to the first border at or after an offset."""
        index = IndexedGzipFile(fileobj=self._file, spacing=self._spacing, buffer_size=1 << 16)
        try:
            if len(self._points) > 1:
                last = format_index(self._points[-2:], size=self._size, spacing=self._spacing)
                index.import_index(fileobj=io.BytesIO(last))
            index.seek(offset)
            found = io.BytesIO()
            index.export_index(fileobj=found)
            points = parse_index(found.getvalue())
        except (OSError, ValueError) as error:  # all errors of indexed_gzip are OSErrors
            for reason in (error, error.__cause__, error.__context__):  # what reading raised: also Ctrl-C
                if isinstance(reason, Ssl4eoError) or (reason is not None and not isinstance(reason, Exception)):
                    raise reason from None
            log.warning("no more seek points are kept (%s): a run that goes on will read from the start", error)
            self._is_able = False
            return
        finally:
            index.close()
        last_offset = self._points[-1].offset if self._points else -1
        fresh = [point for point in points if point.offset > last_offset]
        self._unsaved += len(fresh)
        self._points = thinned([*self._points, *fresh])

    def _save(self) -> None:
        assert self._path is not None, "points are looked for where they can be saved"
        _write(self._path, format_index(self._points, size=self._size, spacing=self._spacing))
        self._unsaved = 0

    def _load(self) -> list[SeekPoint]:
        # the size may differ: a part may have been cut short before
        points = [] if self._path is None else _read(self._path)
        return [point for point in points if point.compressed < self._size]


def cut_points(path: Path, at: int) -> None:
    """Forget the saved points behind a byte of the compressed file: what was there was wrong.

    Raises:
        WriteFailed: the disk is full or refuses.
    """
    points = [point for point in _read(path) if point.compressed <= at]
    if path.is_file():
        _write(path, format_index(points, size=at, spacing=SPACING))


def thinned(points: Sequence[SeekPoint]) -> list[SeekPoint]:
    """Keep the last points, and of those before them such as are far apart; more points may come and it is the same."""
    kept: list[SeekPoint] = []
    for point in points[:-KEPT]:
        if not kept or point.offset - kept[-1].offset >= OLDER_APART:
            kept.append(point)
    return [*kept, *points[-KEPT:]]


def _write(path: Path, index: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_or_told(path) as partial:
        partial.write_bytes(index + _CRC.pack(zlib.crc32(index)))


def _read(path: Path) -> list[SeekPoint]:
    """Read saved points; what is no such file or damaged is left aside."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    body, crc = data[: -_CRC.size], data[-_CRC.size :]
    try:
        if _CRC.pack(zlib.crc32(body)) == crc:
            return parse_index(body)
    except ValueError:
        pass
    log.warning("%s holds no seek points: the stream is read from the start", path)
    return []
