# SPDX-License-Identifier: Apache-2.0
"""A file that was published in parts (`x.tar.gz.partaa`, `.partab`, ...) as one binary file object.

A part is whatever has a name, a size and can be opened: a file on disk here, one on a server in `download`. Parts are
read in blocks, and the last blocks are kept in memory, since seekpoints.py goes over the same bytes a second time:
each byte is asked from its part once. The price is 96 MiB of memory. Nothing is written.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ssl4eo.errors import ChecksumMismatch, ConfigInvalid, DataMissing, SourceInvalid

BLOCK = 4 << 20
"""Bytes that are asked from a part at once."""

KEPT_BLOCKS = 24
"""Blocks that stay in memory: more than the stretch that seekpoints.py reads again."""

_PART = re.compile(r"(.+)\.part([a-z]{2})\Z")
_WHOLE = (".tar.gz", ".tgz", ".tar")


class Part(Protocol):
    """One piece of a file, local or remote."""

    @property
    def name(self) -> str:
        """File name, for messages and checksums."""
        ...

    @property
    def size(self) -> int:
        """Bytes; asked several times, so that a remote part had better remember it."""
        ...

    def open(self) -> BinaryIO:
        """Open it for reading; the file object can seek."""
        ...


@dataclass(frozen=True)
class LocalPart:
    """A part on disk."""

    path: Path

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        """Open it for reading."""
        return self.path.open("rb")


def is_tar_name(name: str) -> bool:
    """Say whether a file's name is that of a tar, or of a part of one."""
    match = _PART.match(name)
    return (match[1] if match else name).endswith(_WHOLE)


def holds_tar(path: Path) -> bool:
    """Say whether a path is a tar or a part of one, or a folder with some in it."""
    if path.is_dir():
        return any(is_tar_name(entry.name) and entry.is_file() for entry in path.iterdir())
    return is_tar_name(path.name)


def find_parts(path: Path) -> tuple[LocalPart, ...]:
    """List the parts of the one tar in a folder, or of the tar that a file begins.

    Raises:
        DataMissing: there is none, or a part is missing.
        ConfigInvalid: the folder holds several tars, or the file is not the first part.
    """
    folder = path if path.is_dir() else path.parent
    names = sorted(p.name for p in folder.iterdir() if is_tar_name(p.name) and p.is_file())
    stems = {_stem(name): None for name in names}
    if path.is_dir():
        _require_one(folder, list(stems))
        (stem,) = stems
    else:
        stem = _stem(path.name)
        if path.name not in (stem, f"{stem}.partaa"):
            raise ConfigInvalid(
                f"{path} is not the first part", expected=f"{stem}.partaa", remedy="name the first part or the folder"
            )
    found = [name for name in names if _stem(name) == stem]
    _require_consecutive(folder, stem, found)
    return tuple(LocalPart(folder / name) for name in found)


def _stem(name: str) -> str:
    match = _PART.match(name)
    return match[1] if match else name


def first_part(path: Path) -> Path:
    """Give the first part of the tar that a part belongs to."""
    return path.with_name(f"{_stem(path.name)}.part{_letters(0)}") if _PART.match(path.name) else path


def _require_one(folder: Path, stems: Sequence[str]) -> None:
    if not stems:
        raise DataMissing(f"no tar in {folder}", expected="x.tar.gz, or x.tar.gz.partaa and on", path=str(folder))
    if len(stems) > 1:
        raise ConfigInvalid(
            f"{folder} holds {len(stems)} tars ({', '.join(stems)})",
            expected="one",
            remedy="pack each into an archive of its own, then join them: ssl4eo pack s1.zarr s2c.zarr OUT",
        )


def _require_consecutive(folder: Path, stem: str, found: Sequence[str]) -> None:
    """Refuse a gap; whether the last part is missing shows only at the end of the stream."""
    if list(found) == [stem]:
        return
    if stem in found:
        raise ConfigInvalid(
            f"{folder} holds {stem} and parts of it", expected="one or the other", remedy="move one of them away"
        )
    for number, name in enumerate(found):
        wanted = f"{stem}.part{_letters(number)}"
        if name != wanted:
            raise DataMissing(
                f"there is no {wanted} in {folder}, but {name}",
                expected="all parts from partaa on",
                remedy=f"fetch {wanted}",
                path=str(folder / wanted),
            )
    if not found:
        raise DataMissing(f"there is no {folder / stem}", expected="a tar", path=str(folder / stem))


def _letters(number: int) -> str:
    return chr(ord("a") + number // 26) + chr(ord("a") + number % 26)


class PartsFile(io.RawIOBase):
    """Parts end to end, read-only and seekable.

    Args:
        parts: in order.
        md5: by name of a part its published checksum. It is held against the part when that was read from its first
            byte to its last in order; a part that was begun in the middle is not checked.
        block: bytes asked at once.
        kept: blocks kept in memory.

    Raises:
        SourceInvalid: a part is shorter than it said.
        ChecksumMismatch: a part is not the published one; raised with its last byte.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        md5: Mapping[str, str] | None = None,
        block: int = BLOCK,
        kept: int = KEPT_BLOCKS,
    ) -> None:
        super().__init__()
        self._parts = tuple(parts)
        sizes = [part.size for part in parts]
        self._ends = list(accumulate(sizes))
        self._starts = [end - size for end, size in zip(self._ends, sizes, strict=True)]
        self._md5 = dict(md5 or {})
        self._block, self._kept = block, kept
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self._stream: tuple[int, BinaryIO] | None = None
        self._hash = hashlib.md5(usedforsecurity=False)
        self._mismatch: ChecksumMismatch | None = None
        self._hashed = 0
        """Where the bytes end that went into the hash; it starts anew with each part."""

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return self._ends[-1] if self._ends else 0

    def place(self, offset: int) -> str:
        """Say where a byte is: in which part, at which of its bytes."""
        part = min(bisect_right(self._ends, offset), len(self._parts) - 1)
        return f"byte {offset - self._starts[part]} of {self._parts[part].name}"

    def part_start(self, offset: int) -> int:
        """Give the first byte of the part that a byte is in."""
        return self._starts[min(bisect_right(self._ends, offset), len(self._parts) - 1)]

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Give the position [bytes]."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position; nothing is read."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer; fewer bytes only at the end."""
        if self._mismatch is not None:  # who swallowed it is told again
            raise self._mismatch
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self._position < self.size:
            number, start = divmod(self._position, self._block)
            piece = self._load(number)[start : start + len(view) - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def _load(self, number: int) -> bytes:
        """Give a block, out of memory or out of the parts."""
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        start, stop = number * self._block, min(self.size, (number + 1) * self._block)
        data = b"".join(self._read(*stretch) for stretch in self._stretches(start, stop))
        self._blocks[number] = data
        while len(self._blocks) > self._kept:
            self._blocks.popitem(last=False)
        return data

    def _stretches(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Cut a stretch at the borders of parts: (part, first byte of the whole, number of bytes)."""
        cuts: list[tuple[int, int, int]] = []
        while start < stop:
            part = bisect_right(self._ends, start)
            end = min(stop, self._ends[part])
            cuts.append((part, start, end - start))
            start = end
        return cuts

    def _read(self, number: int, start: int, count: int) -> bytes:
        part = self._parts[number]
        if self._stream is None or self._stream[0] != number:
            self._close_part()
            self._stream = (number, part.open())
        stream = self._stream[1]
        begin = self._starts[number]
        if stream.tell() != start - begin:
            stream.seek(start - begin)
        data = stream.read(count)
        if len(data) != count:
            raise SourceInvalid(
                f"{part.name} ends after {start - begin + len(data)} bytes",
                expected=f"{self._ends[number] - begin}",
                remedy="fetch it again",
                path=part.name,
            )
        self._verify(number, start, data)
        return data

    def _verify(self, number: int, start: int, data: bytes) -> None:
        """Take bytes that follow on those before into the checksum of their part."""
        part = self._parts[number]
        if start == self._starts[number]:
            self._hash, self._hashed = hashlib.md5(usedforsecurity=False), start
        if start != self._hashed:
            return
        self._hash.update(data)
        self._hashed += len(data)
        expected = self._md5.get(part.name)
        if self._hashed == self._ends[number] and expected not in (None, self._hash.hexdigest()):
            self._mismatch = ChecksumMismatch(
                f"{part.name} has MD5 {self._hash.hexdigest()}",
                expected=str(expected),
                remedy="fetch it again, and remove what was packed from it (the .partial folder beside the target)",
                path=part.name,
                suspect_from=self._starts[number],
            )
            raise self._mismatch

    def _close_part(self) -> None:
        if self._stream is not None:
            self._stream[1].close()
            self._stream = None

    def close(self) -> None:
        """Close the open part and forget the blocks."""
        self._close_part()
        self._blocks.clear()
        super().close()
