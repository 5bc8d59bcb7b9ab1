# SPDX-License-Identifier: Apache-2.0
"""One file, from its URL to its final name: resumed, checked, and there only when it is right.

Bytes of two answers are joined only if the server vouches for both being of the same file, or a published checksum
will tell; else the file begins anew. Extraction is the matter of `extract.py`, many files at once that of `run.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ssl4eo.download.body import Body, open_body
from ssl4eo.download.entry import CHUNK, Checksum, FileEntry
from ssl4eo.download.http import Again, Client, Patience
from ssl4eo.download.names import inside
from ssl4eo.download.partial import SYNC_EVERY, Part, is_complete, lock_path, make_record
from ssl4eo.errors import ChecksumMismatch, DownloadFailed
from ssl4eo.files import exclusive

Moved = Callable[[int], None]
"""Called with the bytes that this file holds now; falls when it begins anew."""


@dataclass(frozen=True)
class Fetched:
    """What became of one file."""

    path: Path
    size: int
    checksum: Checksum | None
    """Of the bytes on disk; None: it was there already, and recorded."""
    verified: bool
    """Whether a published checksum was held against it."""
    num_fetched: int
    """Bytes that came over the net in this run, those of false starts included."""


def fetch(
    entry: FileEntry, out: Path, *, client: Client, moved: Moved | None = None, sync_every: int = SYNC_EVERY
) -> Fetched:
    """Download one file into a folder; go on where an earlier run was interrupted.

    Args:
        entry: what and from where.
        out: target folder.
        client: connections and patience.
        moved: told about progress.
        sync_every: bytes that a kill may cost.

    Raises:
        DownloadFailed: the server refuses, stays away, or does not serve what it says. The part is kept.
        ChecksumMismatch: all bytes came, and are not the published ones. Nothing is kept.
        TargetExists: another file stands under the final name.
        Busy: another process downloads this file.
        WriteFailed: the disk is full. The part is kept.
        SourceInvalid: a name that would leave `out`.
    """
    target = inside(out, entry.name, entry.url)
    moved = moved or (lambda _: None)
    result = _present(target, entry)  # before the lock: a finished folder may be read-only
    if result is None:
        lock = lock_path(target)
        with exclusive(lock):
            result = _present(target, entry)
            if result is None:
                algorithm = entry.checksum.algorithm if entry.checksum else "sha256"
                with Part(target, source=entry.identity, algorithm=algorithm, sync_every=sync_every) as part:
                    result = _Fetch(entry, part, client, moved).run(target)
            # Safe while it is held: whoever opened it before finds a complete file after locking.
            lock.unlink(missing_ok=True)
    moved(result.size)
    return result


def _present(target: Path, entry: FileEntry) -> Fetched | None:
    if not is_complete(target, entry):
        return None
    return Fetched(target, target.stat().st_size, None, entry.checksum is not None, 0)


class _Fetch:
    """The attempts at one file."""

    def __init__(self, entry: FileEntry, part: Part, client: Client, moved: Moved) -> None:
        self._entry = entry
        self._part = part
        self._client = client
        self._moved = moved
        self._joined = False
        """Whether the part consists of bytes of several answers."""
        self._furthest = 0
        """Bytes that were there at most: only what goes beyond counts as progress."""
        self._num_fetched = 0

    def run(self, target: Path) -> Fetched:
        """Fill the part, check it, publish it."""
        self._fill()
        if not self._is_right() and self._joined:  # one of the pieces may be the fault: once more, from one piece
            self._part.reset()
            self._fill()
        if not self._is_right():
            self._part.discard()
            raise ChecksumMismatch(
                f"{self._entry.name} from {self._entry.url} has {self._part.checksum}",
                expected=str(self._entry.checksum),
                remedy="nothing of it was kept; try again later, and report it if it stays so",
                url=self._entry.url,
            )
        checksum = self._part.checksum
        self._part.publish(make_record(self._entry, self._part.done, checksum))
        return Fetched(target, self._part.done, checksum, self._entry.checksum is not None, self._num_fetched)

    def _is_right(self) -> bool:
        return self._entry.checksum in (None, self._part.checksum)

    def _fill(self) -> None:
        """Take answers until the file is whole."""
        patience = Patience(self._client, self._entry.url)
        self._furthest = self._part.done
        self._joined = False
        whole = False
        try:
            while not whole:
                try:
                    with self._open() as body:
                        self._drain(body, patience)
                    whole = True
                except Again as failure:
                    patience.wait(failure)
        finally:
            self._part.sync_if_possible()

    def _open(self) -> Body:
        """Ask for what is missing; begin anew where it cannot be joined to what is there."""
        part, known = self._part, self._part.identity
        if part.done and not known.validator and self._entry.checksum is None:
            part.reset()  # nothing could tell that the file changed in between
            known = part.identity
        body = open_body(self._client, self._entry.url, start=part.done, known=known)
        try:
            if body.start != part.done or body.changed:
                part.reset()
            self._require_plausible(body)
        except BaseException:
            body.close()
            raise
        self._joined = part.done > 0
        part.begin(body.identity)
        self._moved(part.done)
        return body

    def _drain(self, body: Body, patience: Patience) -> None:
        """Take all bytes of one answer."""
        most = self._entry.size if self._entry.size is not None else body.identity.size
        while chunk := body.read(CHUNK):
            self._client.require_running()
            self._num_fetched += len(chunk)
            if most is not None and self._part.done + len(chunk) > most:
                self._part.reset()
                raise self._lie(f"goes on after {most} bytes")
            self._part.write(chunk)
            if self._part.done > self._furthest:  # beginning anew to the same point is no progress
                self._furthest = self._part.done
                patience.progressed()
            self._moved(self._part.done)
        self._client.require_running()  # an answer that was cut off by our own end looks like one that ended
        if most is not None and self._part.done != most:
            if not body.says_its_end:
                raise Again(f"the connection ended at byte {self._part.done} of {most}")
            done = self._part.done
            self._part.reset()
            raise self._lie(f"ends at byte {done}")

    def _require_plausible(self, body: Body) -> None:
        """Refuse an answer that cannot be the file, before its bytes are taken.

        Raises:
            DownloadFailed: it is another size, a web page, packed for the way, or nothing will tell its end.
        """
        entry, size = self._entry, body.identity.size
        if entry.size is not None and size is not None and entry.size != size:
            raise self._lie(f"has {size} bytes")
        if body.content_type == "text/html" and not entry.name.endswith((".html", ".htm")):
            raise self._lie("is a web page, perhaps a login or a notice")
        if entry.checksum is None and body.encoding != "identity":
            raise self._lie(f"comes packed as {body.encoding}")
        if entry.checksum is None and entry.size is None and not body.says_its_end:
            raise self._lie("does not say where it ends, and no checksum is published")

    def _lie(self, what: str) -> DownloadFailed:
        size = "unknown size" if self._entry.size is None else f"{self._entry.size} bytes"
        return DownloadFailed(
            f"what {self._entry.url} serves {what}",
            expected=f"{self._entry.name} ({size})",
            remedy="try again later; if it stays so the file was replaced at its source, report it",
            url=self._entry.url,
        )
