# SPDX-License-Identifier: Apache-2.0
"""The unfinished file on disk, and the record of a finished one.

`NAME.part` holds bytes, `NAME.part.json` beside it says what they belong to and how many of them are on the disk for
sure: only those are built upon after a kill or a power cut. A finished file has a record in `.ssl4eo-download/`, so
that it need not be read again to be known. Nothing here talks to a server.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ssl4eo.download.body import Identity
from ssl4eo.download.entry import CHUNK, Algorithm, Checksum, FileEntry, hash_file, new_hash
from ssl4eo.download.names import RECORDS
from ssl4eo.errors import TargetExists, WriteFailed
from ssl4eo.files import write_json

SYNC_EVERY = 64 << 20
"""Bytes that a kill may cost: so often are they flushed and counted in the sidecar."""


class Part:
    """The bytes that have come of one file, with their running checksum. One owner at a time: see `lock_path`."""

    def __init__(self, target: Path, *, source: str, algorithm: Algorithm, sync_every: int = SYNC_EVERY) -> None:
        """Open what an earlier run left of this source, or begin.

        Raises:
            WriteFailed: the disk refuses.
        """
        self.path = target.with_name(target.name + ".part")
        self._sidecar = sidecar_path(target)
        self._target = target
        self._source = source
        self._algorithm: Algorithm = algorithm
        self._sync_every = sync_every
        self._hash = new_hash(algorithm)
        self.identity = Identity()
        self.done = 0
        """Bytes in it."""
        self._synced = 0
        with told(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("ab+", buffering=0)
            self._take_up(read_sidecar(target, source))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    @property
    def checksum(self) -> Checksum:
        """That of the bytes so far."""
        return Checksum(self._algorithm, self._hash.hexdigest())

    def _take_up(self, sidecar: dict[str, Any]) -> None:
        """Read what is sure, so that the checksum goes on where it stood; cut off the rest."""
        done = int(sidecar.get("done", 0))
        self._stream.seek(0)
        while self.done < done and (chunk := self._stream.read(min(CHUNK, done - self.done))):
            self._hash.update(chunk)
            self.done += len(chunk)
        if self.done < done:  # shorter than what was on the disk for sure: not our file any more
            self._hash = new_hash(self._algorithm)
            self.done = 0
        self.identity = Identity.from_json(sidecar) if self.done else Identity()
        self._stream.truncate(self.done)
        self._synced = self.done

    def begin(self, identity: Identity) -> None:
        """Note what the coming bytes belong to."""
        self.identity = identity
        self.sync()

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            WriteFailed: the disk is full or refuses; what came before is kept.
        """
        view = memoryview(chunk)
        with told(self.path):
            while view:
                taken = self._stream.write(view)
                self._hash.update(view[:taken])
                self.done += taken
                view = view[taken:]
        if self.done - self._synced >= self._sync_every:
            self.sync()

    def sync(self) -> None:
        """Flush to the disk, then count.

        Raises:
            WriteFailed: the disk refuses.
        """
        with told(self.path):
            os.fsync(self._stream.fileno())
            write_json(self._sidecar, {"url": self._source, **self.identity.to_json(), "done": self.done})
        self._synced = self.done

    def sync_if_possible(self) -> None:
        """Flush and count on the way out of a failure, which must not be hidden by a second one."""
        with contextlib.suppress(WriteFailed):
            self.sync()

    def reset(self) -> None:
        """Throw away all bytes: they belong to another file, or cannot be continued."""
        self._hash = new_hash(self._algorithm)
        self.done = self._synced = 0
        self.identity = Identity()
        with told(self.path):
            self._stream.truncate(0)

    def discard(self) -> None:
        """Remove it from the disk."""
        self.path.unlink(missing_ok=True)
        self._sidecar.unlink(missing_ok=True)

    def publish(self, record: dict[str, Any]) -> None:
        """Give the file its final name, when all is on the disk.

        Raises:
            WriteFailed: the disk refuses; the part is kept.
        """
        with told(self._target):
            os.fsync(self._stream.fileno())
            write_json(record_path(self._target), {**record, "mtime_ns": os.fstat(self._stream.fileno()).st_mtime_ns})
            self.path.replace(self._target)
            _sync_folder(self._target.parent)
        self._sidecar.unlink(missing_ok=True)


@contextlib.contextmanager
def told(path: Path) -> Any:
    """Tell a refusing disk with a remedy.

    Raises:
        WriteFailed: an OSError in the block.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, WriteFailed):
            raise
        raise WriteFailed(
            f"{path} cannot be written ({error})",
            expected="room on the disk and the right to write there",
            remedy="free some space and run the same command again: what came so far is kept",
            path=str(path),
        ) from error


def _sync_folder(folder: Path) -> None:
    """Put a rename on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock_path(target: Path) -> Path:
    """Give the lock that the owner of a part holds."""
    return target.with_name(target.name + ".part.lock")


def sidecar_path(target: Path) -> Path:
    """Give the file that says what a part is."""
    return target.with_name(target.name + ".part.json")


def record_path(target: Path) -> Path:
    """Give the record of a finished file."""
    return target.parent / RECORDS / (target.name + ".json")


def read_sidecar(target: Path, source: str) -> dict[str, Any]:
    """Read the sidecar of a part; empty if there is none, or it is of another source."""
    sidecar = _read_json(sidecar_path(target))
    fits = sidecar.get("url") == source and isinstance(sidecar.get("done"), int)
    return sidecar if fits else {}


def _read_json(path: Path) -> dict[str, Any]:
    """Read an object; anything else is as good as nothing."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def is_complete(target: Path, entry: FileEntry, *, read: bool = True) -> bool:
    """Say whether a file stands there whole; one that stands there and is not what the entry says is an error.

    Args:
        target: final name.
        entry: what should stand there.
        read: compute the checksum where no record tells it; without, the size has to do.

    Raises:
        TargetExists: something else stands there.
    """
    try:
        status = target.stat()
    except FileNotFoundError:
        return False
    if not target.is_file():
        raise _other(target, "it is no file")
    record = _read_json(record_path(target))
    untouched = (record.get("size"), record.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    recorded = _recorded(record)
    if entry.size not in (None, status.st_size):
        raise _other(target, f"it has {status.st_size} bytes, not {entry.size}")
    if entry.checksum is None and record.get("url") != entry.identity:
        raise _other(target, "nothing says what it is, and no checksum of it is published")
    if untouched and (entry.checksum is None or recorded == entry.checksum):
        return True
    expected = entry.checksum or recorded
    if expected is None:
        raise _other(target, "its record is damaged")
    if not read:
        return True
    found = hash_file(target, expected.algorithm)
    if found != expected:
        raise _other(target, f"its {found} is not {expected.value}")
    keep_record(target, entry, found)
    return True


def make_record(entry: FileEntry, size: int, checksum: Checksum) -> dict[str, Any]:
    """Describe a finished file."""
    return {"url": entry.identity, "size": size, checksum.algorithm: checksum.value}


def recorded_checksum(target: Path) -> Checksum | None:
    """Give the checksum in the record of a finished file; None without one, or if the file was touched since."""
    record = _read_json(record_path(target))
    status = target.stat()
    untouched = (record.get("size"), record.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
    return _recorded(record) if untouched else None


def keep_record(target: Path, entry: FileEntry, checksum: Checksum) -> None:
    """Note what a file is, so that it need not be read again; where that cannot be written, it will be."""
    status = target.stat()
    with contextlib.suppress(WriteFailed), told(target):
        write_json(record_path(target), make_record(entry, status.st_size, checksum) | {"mtime_ns": status.st_mtime_ns})


def _recorded(record: dict[str, Any]) -> Checksum | None:
    for algorithm in ("sha256", "md5"):
        if isinstance(value := record.get(algorithm), str):
            with contextlib.suppress(ValueError):
                return Checksum(algorithm, value)
    return None


def _other(target: Path, why: str) -> TargetExists:
    return TargetExists(
        f"{target} exists and is not the file to be downloaded: {why}",
        expected="nothing there, or the whole file",
        remedy="move it away or remove it yourself, and run the same command again",
        path=str(target),
    )
