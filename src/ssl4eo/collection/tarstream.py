# SPDX-License-Identifier: Apache-2.0
"""The members of a tar from front to back, out of a stream, with a place to go on from before each of them.

tarfile reads the headers (GNU long names and PAX included); what it passes over in silence is refused here: a header
that is damaged, a tar without its end mark, data after that. Nothing is extracted and no name is ever opened: links,
devices and names such as `../x` are only words, and it is for the caller to leave them out.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from ssl4eo.collection.gzipped import Stream
from ssl4eo.errors import SourceInvalid, Ssl4eoError

MAX_HEADER = 1 << 20
"""Bytes of a long name or a PAX header; hostile ones ask for the whole memory."""

_CHUNK = 1 << 20

_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


@dataclass(frozen=True)
class Member:
    """One member of a tar; its data can be read until the next one is asked for."""

    info: tarfile.TarInfo
    stream: Stream

    @property
    def name(self) -> str:
        """As the tar spells it; anything may be in it."""
        return self.info.name

    @property
    def size(self) -> int:
        """Bytes of its data."""
        return self.info.size

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.info.isdir()

    @property
    def oddity(self) -> str | None:
        """What it is if neither a folder nor an ordinary file."""
        if self.info.issparse():
            return "a sparse file"
        if self.info.isreg() or self.info.isdir():
            return None
        return _KINDS.get(self.info.type, f"of type {self.info.type!r}")

    def read(self) -> bytes:
        """Read all its data.

        Raises:
            SourceInvalid: the stream ends before.
        """
        data = self.stream.read(self.size)
        if len(data) != self.size:
            raise _cut_short(self.stream.position)
        return data


class _Input:
    """What tarfile reads headers from: it may only go on, and not by much at once."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.last = b""
        """The last bytes that were read."""

    def tell(self) -> int:
        return self._stream.position

    @property
    def suspect_from(self) -> int:
        return self._stream.suspect_from

    def seek(self, offset: int) -> int:
        if offset < self._stream.position:
            raise SourceInvalid(f"a tar header before byte {self.tell()} points back", expected="members in order")
        while (rest := offset - self._stream.position) > 0:
            if not self._stream.read(min(rest, _CHUNK)):
                raise _cut_short(self.tell())
        return offset

    def read(self, count: int) -> bytes:
        if not 0 <= count <= MAX_HEADER:
            raise SourceInvalid(
                f"a tar header before byte {self.tell()} claims {count} bytes",
                expected=f"0 to {MAX_HEADER}",
                remedy="fetch it again",
            )
        self.last = self._stream.read(count)
        return self.last


class TarMembers:
    """A walk through a tar from the stream's position, which must be before a header.

    When it comes to its end, the stream was read to its end and was whole.

    Args:
        stream: at a header.

    Raises:
        SourceInvalid: while walking: a damaged header, no end mark, or data after it.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.state = stream.state()
        """Of the stream before the header of the latest member, or before the end mark."""

    def __iter__(self) -> Iterator[Member]:
        """Give the members; each is to be read before the next is asked for."""
        source = _Input(self._stream)
        tar, info = _open(source)
        while info is not None:
            if info.size < 0 or tar.offset < self._stream.position:
                raise SourceInvalid(f"{info.name} claims {info.size} bytes", expected="a size", remedy="fetch it again")
            yield Member(info, self._stream)
            source.seek(tar.offset)
            self.state = self._stream.state()
            cast("Any", tar).members.clear()  # tarfile remembers all there were
            info = _next(tar)
        _require_end(source)
        _drain(self._stream)


def _open(source: _Input) -> tuple[tarfile.TarFile, tarfile.TarInfo | None]:
    try:
        tar = tarfile.TarFile(fileobj=cast("Any", source), mode="r")
    except Ssl4eoError:  # of the stream below, some of them are ValueErrors
        raise
    except (tarfile.TarError, RecursionError, ValueError) as error:
        raise _unreadable(source, error) from error
    return tar, None if cast("Any", tar).firstmember is None else _next(tar)  # it has looked for one itself


def _next(tar: tarfile.TarFile) -> tarfile.TarInfo | None:
    try:
        return tar.next()
    except Ssl4eoError:  # of the stream below, some of them are ValueErrors
        raise
    except (tarfile.TarError, RecursionError, ValueError) as error:
        raise _unreadable(cast("_Input", tar.fileobj), error) from error


def _unreadable(source: _Input, error: Exception) -> SourceInvalid:
    return SourceInvalid(
        f"the tar header before byte {source.tell()} cannot be read ({error})",
        expected="a tar of files and folders",
        remedy="fetch it again",
        suspect_from=source.suspect_from,
    )


def _require_end(source: _Input) -> None:
    """Tell the end mark from what tarfile takes for the end too."""
    if len(source.last) < tarfile.BLOCKSIZE:
        raise _cut_short(source.tell())
    if source.last.strip(b"\0"):
        raise SourceInvalid(
            f"the tar header before byte {source.tell()} is damaged",
            expected="a header",
            remedy="fetch it again",
            suspect_from=source.suspect_from,
        )


def _drain(stream: Stream) -> None:
    """Read what follows the end mark, so that the stream's checksum is seen; it is zeros."""
    while data := stream.read(_CHUNK):
        if data.strip(b"\0"):
            raise SourceInvalid(
                f"the tar goes on after its end, before byte {stream.position}",
                expected="zeros",
                remedy="tars that were appended to one another are to be packed one by one",
            )


def _cut_short(position: int) -> SourceInvalid:
    return SourceInvalid(
        f"the tar ends after {position} bytes, without an end mark",
        expected="a whole tar",
        remedy="fetch the last part, or what is missing of it; what was read before is kept",
    )
