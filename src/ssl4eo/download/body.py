# SPDX-License-Identifier: Apache-2.0
"""The bytes of one URL from some position on, in one answer, and what they belong to.

Here the server's claims are checked: the range that it sends, the length, and whether it is still the same file
(ETag, Last-Modified, size). An answer that does not fit is told as such (`start`, `changed`), never joined to what was
there. Going on after a drop is decided by the callers: `fetch.py` on disk, `remote.py` in memory.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import urllib3
import urllib3.exceptions

from ssl4eo.download.http import Again, Client, require_ok
from ssl4eo.errors import DownloadFailed


@dataclass(frozen=True)
class Identity:
    """What a server says about which file it is."""

    etag: str | None = None
    last_modified: str | None = None
    size: int | None = None
    """Bytes of the whole file."""

    @property
    def validator(self) -> str | None:
        """What If-Range may hold: a strong ETag, else the date; None if the server gave neither."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def contradicts(self, other: Identity) -> bool:
        """Say whether two answers belong to different files; what one of them leaves out is no contradiction."""
        if _differ(self.size, other.size):
            return True
        if self.etag and other.etag:
            return self.etag.removeprefix("W/") != other.etag.removeprefix("W/")
        return _differ(self.last_modified, other.last_modified)

    def to_json(self) -> dict[str, Any]:
        """Give it for a sidecar."""
        return {"etag": self.etag, "last_modified": self.last_modified, "size": self.size}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read it from a sidecar."""
        return cls(etag=data.get("etag"), last_modified=data.get("last_modified"), size=data.get("size"))


def _differ(a: object, b: object) -> bool:
    return a is not None and b is not None and a != b


class Body:
    """An open answer. Reads until its end, which is only reached when as much came as was said."""

    def __init__(self, response: urllib3.BaseHTTPResponse, *, start: int, identity: Identity, changed: bool) -> None:
        self._response = response
        self._position = start
        self.start = start
        """Position in the file of the first byte that comes."""
        self.identity = identity
        self.changed = changed
        """Whether this is another file than the one that was known before."""
        self.content_type = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        self.encoding = response.headers.get("Content-Encoding", "identity").strip().lower() or "identity"
        self.says_its_end = identity.size is not None or "chunked" in response.headers.get("Transfer-Encoding", "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, most: int) -> bytes:
        """Read what has come, up to `most` bytes; empty only at the end of the file.

        Raises:
            Again: a stall, a drop, or an end before the length that was said.
        """
        if self.identity.size is not None and self._position >= self.identity.size:
            return b""
        try:
            chunk = self._response.read1(most, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Again(f"{type(error).__name__} at byte {self._position}: {error}") from error
        if not chunk and self.identity.size is not None:
            raise Again(f"the connection ended at byte {self._position} of {self.identity.size}")
        self._position += len(chunk)
        return chunk

    def close(self) -> None:
        """Close the connection; bytes that were under way are dropped."""
        self._response.close()


def ask_identity(client: Client, url: str) -> Identity:
    """Ask what a file is without fetching it: by HEAD, or by a GET whose body is not read.

    Raises:
        Again: a failure that may pass.
        DownloadFailed: one that will not.
    """
    for method in ("HEAD", "GET"):
        response = client.request(method, url)
        try:
            if method == "HEAD" and response.status in (400, 403, 405, 501):
                continue  # there are servers that know no HEAD, or sign addresses for GET only
            require_ok(response, url)
            return _told(response)
        finally:
            response.close()
    raise AssertionError("a GET gives or raises")


def open_body(client: Client, url: str, *, start: int = 0, known: Identity | None = None) -> Body:
    """Ask for a file from a position on.

    The answer starts at `start` or, where the server ignores ranges or holds another file by now, at 0.

    Args:
        client: connections.
        url: of the file.
        start: first byte wanted.
        known: what the bytes before `start` belong to.

    Raises:
        Again: a failure that may pass.
        DownloadFailed: one that will not.
    """
    known = known or Identity()
    headers: dict[str, str] = {}
    if start > 0:
        headers["Range"] = f"bytes={start}-"
        if known.validator:
            headers["If-Range"] = known.validator
    response = client.request("GET", url, headers)
    if start > 0 and response.status in (206, 416):
        body = _partial(response, start, known)
        if body is not None:
            return body
        # A range that was not asked for, or past the end of another file: only a whole answer can be trusted now.
        response.close()
        response = client.request("GET", url)
    return _whole(response, url, known)


def _partial(response: urllib3.BaseHTTPResponse, start: int, known: Identity) -> Body | None:
    """Read an answer to a range request; None if it is not that range of the known file."""
    headers = response.headers
    found = re.fullmatch(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)", headers.get("Content-Range", "").strip())
    if not found:
        return None
    size = known.size if found[3] == "*" else int(found[3])
    identity = Identity(headers.get("ETag"), headers.get("Last-Modified"), size)
    if size is None or known.contradicts(identity):
        return None
    # What this answer leaves out (a 416 mostly does) still holds of the file.
    identity = Identity(identity.etag or known.etag, identity.last_modified or known.last_modified, size)
    # 416: everything is here already, if the file ends where we stand. 206: it may be shorter than what was asked for,
    # then the rest is asked for like after a drop.
    fits = size == start if response.status == 416 else found[1] is not None and int(found[1]) == start
    return Body(response, start=start, identity=identity, changed=False) if fits else None


def _whole(response: urllib3.BaseHTTPResponse, url: str, known: Identity) -> Body:
    """Read an answer with the file from its first byte on."""
    try:
        require_ok(response, url)
        if response.status != 200:
            raise DownloadFailed(
                f"{url} answers with status {response.status} to a request for the whole file", expected="200", url=url
            )
    except BaseException:
        response.close()
        raise
    identity = _told(response)
    return Body(response, start=0, identity=identity, changed=known.contradicts(identity))


def _told(response: urllib3.BaseHTTPResponse) -> Identity:
    """Read what an answer about the whole file says of it."""
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    return Identity(response.headers.get("ETag"), response.headers.get("Last-Modified"), size)
