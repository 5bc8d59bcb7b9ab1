# SPDX-License-Identifier: Apache-2.0
"""An asset as a file that GDAL reads through rasterio's openers, each miss a range of bytes of the store.

GDAL's own /vsicurl/ was tried and is not used. Measured with GDAL 3.10 against a local server: three to four requests
before the first pixel (two of them without a range), a read that fails inside of a JP2 gives wrong pixels or an error
that tells nothing, a short answer counts as whole, Retry-After is not heeded, no bytes are counted. Here the first
request brings the header, tiles that are wanted together are merged and asked for at the same time, and whatever goes
wrong is kept in `error` with its reason: GDAL is told that there are no bytes, and who reads looks at `error` first.

Price: bytes pass through Python. And rasterio installs a handler in GDAL for each open file, in a table that GDAL 3.10
does not lock: `OPENING` guards opening and closing. Nobody waits for a network with it: a dataset is opened from the
bytes that are here, and opened again when those that it missed have come.
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Self

from rasterio.abc import MultiByteRangeResourceContainer

from ssl4eo.collection.remote.metering import in_context
from ssl4eo.collection.remote.stac.store import Asset, Piece, Store
from ssl4eo.errors import ServiceFailed, SourceInvalid, Ssl4eoError

OPENING = threading.Lock()
"""Held while a dataset is opened or closed, never while bytes are fetched."""

HEAD = 32 << 10
"""Bytes of the first request: header and index of a COG of a Sentinel-2 tile."""
BLOCK = 16 << 10
"""Bytes that a miss fetches at least."""
MOST_AHEAD = 1 << 20
"""Bytes that reading in sequence fetches at most; doubled with each miss."""
GAP = 32 << 10
"""Ranges nearer than this are fetched as one [bytes]."""


class RangeFile:
    """One asset. Used by one thread; `pool` fetches ranges that are wanted at the same time."""

    def __init__(self, store: Store, asset: Asset, pool: Executor) -> None:
        self.asset = asset
        self.error: Ssl4eoError | None = None
        """What went wrong first."""
        self.is_opening = False
        """Whether misses are only noted."""
        self.missed: tuple[int, int] | None = None
        """First byte and end of what was missed while opening."""
        self.num_bytes = 0
        """That came over the network."""
        self.num_requests = 0
        self._store = store
        self._pool = pool
        self._starts: list[int] = []
        self._parts: list[bytes] = []
        self._position = 0
        self._ahead = BLOCK
        head = self._count(store.fetch(asset, 0, HEAD))
        self.size = head.total
        self._etag = head.etag
        self._keep(0, head.data)

    # What GDAL calls: nothing may be raised here, rasterio would drop it.

    def read(self, size: int = -1) -> bytes:
        """Read from the position on; nothing after an error."""
        end = self.size if size < 0 else min(self._position + size, self.size)
        data = self._guarded(lambda: self._get(self._position, end), b"")
        self._position += len(data)
        return data

    def get_byte_ranges(self, offsets: list[int], sizes: list[int]) -> list[bytes]:
        """Read several ranges, merged and at the same time; zeros after an error."""
        ranges = list(zip(offsets, sizes, strict=True))
        self._guarded(lambda: self.prefetch([(o, o + n) for o, n in ranges]), None)
        return [self._guarded(lambda o=o, n=n: self._get(o, o + n), b"").ljust(n, b"\0") for o, n in ranges]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        self._position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence] + offset
        return self._position

    def tell(self) -> int:
        """Give the position."""
        return self._position

    def close(self) -> None:
        """Keep what was read: the dataset may be opened once more."""

    def __enter__(self) -> Self:
        """Start at the front."""
        self._position = 0
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    # What we call.

    def start(self, size: int) -> bytes:
        """Give the first bytes."""
        return self._parts[0][:size]

    def raise_error(self) -> None:
        """Raise what went wrong with the network or the file.

        Raises:
            SourceInvalid, ServiceFailed, ConfigInvalid: see `Store.fetch`.
        """
        if self.error is not None:
            raise self.error

    def fetch_missed(self) -> None:
        """Fetch what was missed while opening.

        Raises:
            SourceInvalid, ServiceFailed, ConfigInvalid: see `Store.fetch`.
        """
        if self.missed is not None:
            self._fetch_miss(*self.missed)
            self.missed = None

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Fetch what is missing of some ranges (first byte, end), with as few requests as are sensible."""
        merged: list[tuple[int, int]] = []
        for first, end in sorted((f, min(e, self.size)) for f, e in ranges):
            if first >= end or self._find(first, end) is not None:
                continue
            if merged and first - merged[-1][1] <= GAP:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((first, end))
        fetched = [merged[0]] if len(merged) == 1 else []
        waiting = [] if fetched else [self._pool.submit(in_context(self._fetch), first, end) for first, end in merged]
        pieces = [self._fetch(first, end) for first, end in fetched] + [future.result() for future in waiting]
        for (first, _), piece in zip(merged, pieces, strict=True):
            self._keep(first, self._count(piece).data)

    def _guarded(self, action: Callable[[], Any], instead: Any) -> Any:
        if self.error is not None:
            return instead
        try:
            return action()
        except Ssl4eoError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 (rasterio would only print it)
            self.error = ServiceFailed(f"{self.asset} cannot be read ({error!r})", expected="bytes")
        return instead

    def _get(self, first: int, end: int) -> bytes:
        if first >= end:
            return b""
        found = self._find(first, end)
        if found is None and self.is_opening:
            self.missed = self.missed or (first, end)
            return b""
        if found is None:
            self._fetch_miss(first, end)
            found = self._find(first, end)
        if found is None:
            raise SourceInvalid(f"{self.asset} ends before byte {end}", expected="a whole file")
        start = self._starts[found]
        return self._parts[found][first - start : end - start]

    def _fetch_miss(self, first: int, end: int) -> None:
        """Fetch a range and some bytes behind it: more of them where reading goes on where it stopped."""
        before = self._find(first - 1, first) if first else None
        if before is not None and before == len(self._parts) - 1:
            self._ahead = min(2 * self._ahead, MOST_AHEAD)
        else:
            self._ahead = BLOCK
        end = min(max(end, first + self._ahead), self.size)
        self._keep(first, self._count(self._fetch(first, end)).data)

    def _fetch(self, first: int, end: int) -> Piece:
        piece = self._store.fetch(self.asset, first, end - first)
        if (piece.total, piece.etag) != (self.size, self._etag):
            raise SourceInvalid(f"{self.asset} changed while it was read", expected="one file", remedy="read it again")
        return piece

    def _count(self, piece: Piece) -> Piece:
        self.num_bytes += len(piece.data)
        self.num_requests += 1
        return piece

    def _keep(self, first: int, data: bytes) -> None:
        """Keep bytes; those that follow directly on others are joined to them."""
        at = bisect_right(self._starts, first)
        if at and self._starts[at - 1] + len(self._parts[at - 1]) >= first:
            start = self._starts[at - 1]
            joined = self._parts[at - 1][: first - start] + data
            if len(joined) > len(self._parts[at - 1]):
                self._parts[at - 1] = joined
            return
        self._starts.insert(at, first)
        self._parts.insert(at, data)

    def _find(self, first: int, end: int) -> int | None:
        at = bisect_right(self._starts, first) - 1
        return at if at >= 0 and end <= self._starts[at] + len(self._parts[at]) else None


class Opener(MultiByteRangeResourceContainer):  # type: ignore[misc]
    """Gives GDAL one file, whatever name it asks for in its folder."""

    def __init__(self, file: RangeFile, name: str) -> None:
        self._file = file
        self._name = name

    def open(self, path: str, mode: str = "rb", **_: Any) -> RangeFile:
        """Give the file."""
        if not path.endswith(self._name) or "w" in mode:
            raise FileNotFoundError(path)
        return self._file

    def isfile(self, path: str) -> bool:
        """Say whether it is the file."""
        return path.endswith(self._name)

    def isdir(self, path: str) -> bool:
        """There are no folders."""
        return not self.isfile(path)

    def ls(self, path: str) -> list[str]:
        """Nothing lies beside it."""
        return [path] if self.isfile(path) else []

    def mtime(self, path: str) -> int:  # noqa: ARG002 (rasterio passes it)
        """Give none: it is not known."""
        return 0

    def size(self, path: str) -> int:  # noqa: ARG002 (rasterio passes it)
        """Bytes of the file."""
        return self._file.size

    def rm(self, path: str) -> None:
        """Refuse: this is for reading."""
        raise PermissionError(path)
