# SPDX-License-Identifier: Apache-2.0
"""A gzip stream read from front to back, entered at a seek point, its CRC checked in any case.

zlib inflates; the CRC of the data so far is part of the state that is handed out, so that a run that goes on in the
middle still compares the whole with the trailer. Cut short, damaged or followed by something else is an error.
zlib starts at whole bytes only, blocks at any bit: see `alignment` for how that is bridged.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Protocol

from ssl4eo.collection.seekpoints import SeekPoint, SeekPoints
from ssl4eo.errors import SourceInvalid

MAGIC = b"\x1f\x8b"
_INPUT = 1 << 20
_OUTPUT = 1 << 20
_GZIP, _RAW = 31, -15
"""`wbits` of zlib: with header and trailer, without."""

_START = {"offset": 0, "crc": 0, "size": 0}

READ = "read"
"""In the state of a stream: bytes of the file that its data up to there were made of, at most."""


class Stream(Protocol):
    """Data from front to back."""

    @property
    def position(self) -> int:
        """Bytes of data that were handed out or skipped."""
        ...

    def read(self, count: int) -> bytes:
        """Give `count` bytes, fewer only at the end."""
        ...

    def state(self) -> dict[str, int]:
        """Give plain values from which another run goes on here."""
        ...

    @property
    def suspect_from(self) -> int:
        """Where wrong data may begin if those at hand are wrong: the first byte of the part that they are in."""
        ...


class PlainStream:
    """A file that is not compressed."""

    def __init__(
        self,
        file: BinaryIO,
        state: Mapping[str, Any] | None = None,
        *,
        part_start: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._file, self._part_start = file, part_start
        self.position = int((state or _START)["offset"])

    def read(self, count: int) -> bytes:
        """Give `count` bytes, fewer only at the end."""
        self._file.seek(self.position)
        data = self._file.read(count)
        self.position += len(data)
        return data

    def state(self) -> dict[str, int]:
        """Give the position."""
        return {"offset": self.position, READ: self.position}

    @property
    def suspect_from(self) -> int:
        """The first byte of the part that the last byte read is in."""
        return self._part_start(max(0, self.position - 1))


class GzipStream:
    """The data of a gzip file of one or more members.

    Args:
        file: the compressed bytes; its position is moved.
        points: where the stream can be entered; told how far the reading is.
        state: of an earlier run, None for the start.
        place: says where a byte of the file is, for messages.
        part_start: gives the first byte of the part that a byte of the file is in.

    Raises:
        SourceInvalid: the stream is damaged or cut short, or is shorter than the state says.
    """

    def __init__(
        self,
        file: BinaryIO,
        points: SeekPoints,
        state: Mapping[str, Any] | None = None,
        *,
        place: Callable[[int], str] = "byte {}".format,
        part_start: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._file, self._points, self._place, self._part_start = file, points, place, part_start
        start = {key: int((state or _START)[key]) for key in _START}
        self._buffer = memoryview(b"")
        self._crc = self._size = 0
        """Of the data of this member so far."""
        self._inflating = 0
        """First byte of the file that the data at hand were made of."""
        self._is_checked = False
        """Whether `_crc` and `_size` are true: not before the place of the state is reached."""
        point = points.before(start["offset"])
        self._enter(point)
        self._skip_to(start["offset"])
        if point is None and (self._crc, self._size) != (start["crc"], start["size"]):
            raise self._broken("holds other data than an earlier run saw", "the same", packed=True)
        self._crc, self._size, self._is_checked = start["crc"], start["size"], True

    def _enter(self, point: SeekPoint | None) -> None:
        self._has_trailer = point is not None  # else zlib reads header and trailer itself
        if point is None:
            self.position = self._at = 0
            self._inflater = zlib.decompressobj(_GZIP)
            return
        self.position = point.offset
        self._inflater = zlib.decompressobj(_RAW, zdict=point.window)
        self._at = point.compressed
        if point.bits:
            self._file.seek(point.compressed - 1)
            self._inflater.decompress(alignment(point.bits, self._file.read(1)[0]))

    def _skip_to(self, offset: int) -> None:
        while self.position < offset:
            if not self.read(min(_OUTPUT, offset - self.position)):
                raise self._broken(f"gives {self.position} bytes", f"{offset} at least, as an earlier run saw")

    def read(self, count: int) -> bytes:
        """Give `count` bytes, fewer only at the end.

        Raises:
            SourceInvalid: the stream is damaged or cut short.
            ChecksumMismatch: a part is not the published one.
        """
        pieces: list[bytes] = []
        while count and (self._buffer or self._fill()):
            piece = bytes(self._buffer[:count])
            self._buffer = self._buffer[count:]
            self._crc = zlib.crc32(piece, self._crc)
            self._size += len(piece)
            self.position += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def state(self) -> dict[str, int]:
        """Give plain values from which another run goes on here."""
        return {"offset": self.position, "crc": self._crc, "size": self._size, READ: self._at}

    @property
    def suspect_from(self) -> int:
        """The first byte of the part that the bytes inflated last are in."""
        return self._part_start(self._inflating)

    def _fill(self) -> bool:
        """Inflate some data; False at the end of the file."""
        self._points.advance(self.position)
        while not self._buffer:
            if self._inflater.eof:
                if not self._next_member():
                    return False
                continue
            data = self._inflater.unconsumed_tail or self._input()
            self._inflating = self._at - len(data)
            try:
                self._buffer = memoryview(self._inflater.decompress(data, _OUTPUT))
            except zlib.error as error:
                broken = self._broken(f"is damaged ({error})", "a whole gzip stream")
                broken.where["suspect_from"] = self.suspect_from
                raise broken from error
            if not data and not self._buffer and not self._inflater.eof:
                raise self._broken("ends in the middle", "a whole gzip stream")
        return True

    def _input(self) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(_INPUT)
        self._at += len(data)
        return data

    def _next_member(self) -> bool:
        """Check the trailer of a member that is used up; go to the next, False where there is none."""
        rest = self._inflater.unused_data
        if self._has_trailer:
            while len(rest) < 8 and (more := self._input()):
                rest += more
            self._check(rest[:8])
            rest = rest[8:]
        while not rest.strip(b"\0"):  # padding
            rest = self._input()
            if not rest:
                return False
        rest = rest.lstrip(b"\0") + self._input()
        if not rest.startswith(MAGIC):
            raise self._broken("goes on after its end", "nothing, or more gzip")
        self._at -= len(rest)
        self._inflater, self._has_trailer = zlib.decompressobj(_GZIP), False
        self._crc = self._size = 0
        return True

    def _check(self, trailer: bytes) -> None:
        if not self._is_checked:
            return
        if trailer != struct.pack("<II", self._crc, self._size & 0xFFFFFFFF):
            raise self._broken("holds other data than its CRC says", "the same", packed=True)

    def _broken(self, found: str, expected: str, *, packed: bool = False) -> SourceInvalid:
        remedy = "hold this part and those before it against their MD5, and fetch what differs again"
        if packed or "incorrect" in found:
            remedy += "; remove what was packed from it, if there is a .partial folder beside the target"
        return SourceInvalid(
            f"the gzip stream {found}, at or before {self._place(self._at)}", expected=expected, remedy=remedy
        )


_FIXED = (1 << 1, 10)
"""An empty deflate block with fixed codes: (bits, how many), first bit lowest."""


def _dynamic_block() -> tuple[int, int]:
    """Write an empty deflate block with codes of its own, an odd number of bits long.

    The only code is that of the end, one bit. Code lengths are told by the symbols 18 (zeros, 2 bits), 0 (2 bits)
    and 1 (1 bit): 138 and 118 zeros, a one for the end, a zero for the distances. Source: RFC 1951, section 3.2.7.
    """
    order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1]
    lengths = {18: 2, 0: 2, 1: 1}
    one, zero, zeros = (0b0, 1), (0b01, 2), (0b11, 2)  # codes with their first bit lowest
    fields = [(0, 1), (2, 2), (0, 5), (0, 5), (len(order) - 4, 4)]
    fields += [(lengths.get(symbol, 0), 3) for symbol in order]
    fields += [zeros, (138 - 11, 7), zeros, (118 - 11, 7), one, zero, (0, 1)]
    value = length = 0
    for bits, count in fields:
        value |= bits << length
        length += count
    return value, length


_DYNAMIC = _dynamic_block()


def alignment(bits: int, byte: int) -> bytes:
    """Make the bytes that bring zlib to a border of blocks within a byte.

    zlib starts at the first bit of a byte. So empty blocks come first, as many bits as make the last `bits` of a
    byte free, where those of the stream follow; whole bytes keep their places, which stored blocks rely on.
    (zlib's own inflatePrime is not to be had from Python.)

    Args:
        bits: of `byte` that belong to the next block, its highest; 1 to 7.
        byte: of the compressed stream, the one with the border.
    """
    value, length = _DYNAMIC if bits % 2 else (0, 0)
    while (length + bits) % 8:
        value |= _FIXED[0] << length
        length += _FIXED[1]
    value |= (byte >> (8 - bits)) << length
    return value.to_bytes((length + bits) // 8, "little")
