# SPDX-License-Identifier: Apache-2.0
"""A remote file as a file object: read in order over one connection, or here and there by ranges; nothing on disk.

For streaming parts of a data set straight into a packer. A drop is mended by a range request for the rest, which the
server must vouch for being of the same file; a changed file is an error, as bytes handed out cannot be taken back. A
published checksum is held against the bytes if they were read from first to last.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ssl4eo.download.body import Body, Identity, open_body
from ssl4eo.download.entry import CHUNK, Checksum, new_hash
from ssl4eo.download.http import Again, Client, Patience
from ssl4eo.errors import ChecksumMismatch, DownloadFailed

T = TypeVar("T")

SKIP_AT_MOST = 1 << 20
"""Bytes that a short way forward reads over instead of asking anew."""


class RemoteFile(io.RawIOBase):
    """A read-only, seekable file object over HTTP. For one thread at a time.

    `read(n)` gives n bytes unless the file ends before: short reads of the network do not show.
    """

    def __init__(
        self,
        url: str,
        *,
        checksum: Checksum | None = None,
        size: int | None = None,
        known: Identity | None = None,
        client: Client | None = None,
    ) -> None:
        """Name the file; nothing is asked before the first read.

        Args:
            url: of the file.
            checksum: published for the whole file; held against it when all bytes were read in order.
            size: published bytes; None: what the server says.
            known: which file it was when it was asked for before; another one is an error.
            client: connections and patience; None: its own.
        """
        super().__init__()
        self.url = url
        self._checksum = checksum
        self._published_size = size
        self._client = client or Client()
        self._patience = Patience(self._client, url)
        self._identity = known or Identity()
        self._body: Body | None = None
        self._body_at = 0
        """Position of the next byte that the open answer gives."""
        self._position = 0
        self._handed_out = False
        """Whether bytes were read: those of a later answer must be of the same file."""
        self._hash = new_hash(checksum.algorithm) if checksum else None
        self._hashed = 0
        """Bytes from the first on that were read in order."""
        self._verified: bool | None = None

    @property
    def verified(self) -> bool | None:
        """True, False: the checksum was held against all bytes; None: there is none, or not all were read in order."""
        return self._verified

    @property
    def size(self) -> int:
        """Bytes of the file, from the server or else as published.

        Raises:
            DownloadFailed: neither tells.
        """
        if self._identity.size is None and self._published_size is None:
            self._insist(lambda: self._connected(self._position))
        size = self._identity.size if self._identity.size is not None else self._published_size
        if size is None:
            raise DownloadFailed(
                f"{self.url} does not say how long it is",
                expected="a length",
                remedy="read it to its end",
                url=self.url,
            )
        return size

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be read at any position; where the server ignores ranges that means reading over the rest."""
        return True

    def tell(self) -> int:
        """Give the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position; nothing is asked before the next read.

        Raises:
            OSError: before the first byte.
        """
        base = {os.SEEK_SET: lambda: 0, os.SEEK_CUR: lambda: self._position, os.SEEK_END: lambda: self.size}[whence]()
        if base + offset < 0:
            raise OSError(f"position {base + offset} of {self.url} is before its first byte")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; less only at the end of the file.

        Raises:
            DownloadFailed: the rest does not come, or the file changed while it was read.
            ChecksumMismatch: these were the last bytes, and all of them are not the published ones.
        """
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view):
            chunk = self._next(len(view) - filled)
            if not chunk:
                break
            view[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        return filled

    def finish(self) -> bool | None:
        """Read what is left, so that the checksum can be held against it, and give `verified`.

        Raises:
            DownloadFailed: the rest does not come.
            ChecksumMismatch: the bytes are not the published ones.
        """
        if self._hash is not None:
            self.seek(self._hashed)
        while self._verified is None and self._next(CHUNK):
            pass
        return self._verified

    def close(self) -> None:
        """Close the connection."""
        self._drop()
        super().close()

    def _next(self, most: int) -> bytes:
        """Read some bytes at the position, across drops; empty at the end."""
        if self.closed:
            raise ValueError("read of a closed file")
        chunk = self._insist(lambda: self._read_once(most))
        if chunk:
            self._patience.progressed()
        self._take(chunk)
        return chunk

    def _read_once(self, most: int) -> bytes:
        chunk = self._connected(self._position).read(most)
        if not chunk and self._identity.size is None and self._position < (self._published_size or 0):
            raise Again(f"the connection ended at byte {self._position} of {self._published_size}")
        self._body_at += len(chunk)
        return chunk

    def _insist(self, action: Callable[[], T]) -> T:
        """Do something until it is done or patience ends."""
        while True:
            try:
                return action()
            except Again as failure:
                self._drop()
                self._patience.wait(failure)

    def _take(self, chunk: bytes) -> None:
        """Move on, and hold the checksum against the bytes when the last has come."""
        if self._hash is not None and self._verified is None and self._position <= self._hashed:
            new = chunk[self._hashed - self._position :]
            self._hash.update(new)
            self._hashed += len(new)
            at_end = self._hashed == self._identity.size or not chunk
            if at_end and self._position + len(chunk) == self._hashed:
                self._verify()
        self._position += len(chunk)
        self._handed_out |= bool(chunk)

    def _verify(self) -> None:
        assert self._hash is not None
        assert self._checksum is not None
        found = Checksum(self._checksum.algorithm, self._hash.hexdigest())
        self._verified = found == self._checksum
        if not self._verified:
            raise ChecksumMismatch(
                f"{self.url} has {found}",
                expected=str(self._checksum),
                remedy="do not use what was read of it; try again later, and report it if it stays so",
                url=self.url,
            )

    def _connected(self, position: int) -> Body:
        """Give an answer whose next byte is the one at a position."""
        if self._body is None or not 0 <= position - self._body_at <= SKIP_AT_MOST:
            self._drop()
            self._body = self._reopened(position)
            self._body_at, self._identity = self._body.start, self._body.identity
        while self._body_at < position and (chunk := self._body.read(min(CHUNK, position - self._body_at))):
            self._body_at += len(chunk)
        return self._body

    def _reopened(self, position: int) -> Body:
        """Ask for the rest from a position on.

        Raises:
            DownloadFailed: what is served now is not, or may not be, the file of the first answer.
        """
        known = self._identity
        if known.size is not None:
            position = min(position, known.size)  # behind the end: an empty answer, as for a local file
        if self._handed_out and not known.validator and self._checksum is None:
            raise self._failed("has neither ETag nor date", "a server that says which file a second answer is of")
        body = open_body(self._client, self.url, start=position, known=known)
        sizes = (self._published_size, body.identity.size)
        found = ""
        if body.changed or (None not in sizes and sizes[0] != sizes[1]):
            found = "is not the file any more that it was"
        elif body.content_type == "text/html":
            found = "is a web page, perhaps a login or a notice"
        elif not body.says_its_end and self._published_size is None and self._checksum is None:
            found = "does not say where it ends"
        if found:
            body.close()
            raise self._failed(found, f"a file of {known.size or self._published_size or 'known'} bytes")
        return body

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
        self._body = None

    def _failed(self, found: str, expected: str) -> DownloadFailed:
        return DownloadFailed(
            f"{self.url} {found} (at byte {self._position})",
            expected=expected,
            remedy="begin anew, or download it first: a file on disk can be resumed",
            url=self.url,
        )


class Joined(io.RawIOBase):
    """Several files read one after the other, as if they were one: the parts of an archive. Not seekable.

    A remote part that ends well has been held against its checksum, as it was read from first to last.
    """

    def __init__(self, parts: Sequence[Callable[[], Any]]) -> None:
        """Name the parts.

        Args:
            parts: each opens its file when it is its turn.
        """
        super().__init__()
        self._parts = list(parts)
        self._open: Any = None

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; less only at the end of the last part."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view):
            if self._open is None:
                if not self._parts:
                    break
                self._open = self._parts.pop(0)()
            part: Any = self._open
            chunk = part.read(len(view) - filled)
            if not chunk:
                part.close()
                self._open = None
            view[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
        return filled

    def close(self) -> None:
        """Close the part that is open."""
        if self._open is not None:
            with contextlib.suppress(OSError):
                self._open.close()
        super().close()
