# SPDX-License-Identifier: Apache-2.0
"""The work folder of an archive being written: `A.zarr.partial`, beside its target.

    A.zarr.partial/lock            held by the one writer
    A.zarr.partial/spec.json       what is being written; a resumed writer must ask for the same
    A.zarr.partial/segments/       encoded locations on their way into shards, see segment.py
    A.zarr.partial/progress.jsonl  one line a finished shard: ids, metadata, identity of its files, segments used up
    A.zarr.partial/archive/        becomes A.zarr by one rename

A shard counts once its line is on disk; whatever else a crash left is swept away when the next writer opens.
A line has a head and a detail, which is most of it and which going on neither reads nor parses: each line is on disk
before the next one is begun, so that a crash leaves at most the last one torn, and only that one's checksum is looked
at. All are when the archive is finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from ssl4eo.archive.arrays import SHARD_LOCATIONS
from ssl4eo.archive.layout import CHECKSUMS, ROOT
from ssl4eo.archive.records import kinds_of
from ssl4eo.archive.segment import load_segment
from ssl4eo.errors import TargetExists, WriteFailed
from ssl4eo.files import exclusive, require_absent, write_json

_IN_DETAIL = ("locations", "images")
_DETAIL = b', "detail": '
"""Between the head of a note and what going on does not need; heads hold no such key."""
_HEAD_BYTES = 1 << 14
"""Read at once: more than a head usually has."""


def partial_path(target: Path) -> Path:
    """Name the work folder of a target."""
    return target.with_name(f"{target.name}.partial")


def require_free(target: Path) -> None:
    """Raise if something stands at `target`; a work folder that has already become an archive is removed.

    Raises:
        TargetExists: something stands there, or it lies inside of an archive; it is untouched.
    """
    require_outside(target)
    folder = partial_path(target)
    if target.exists() and folder.is_dir() and not (folder / "archive").exists():
        with contextlib.suppress(OSError), exclusive(folder / "lock"):  # its writer was killed after the last rename
            shutil.rmtree(folder)
    require_absent(target, "archive")


def require_outside(target: Path, *, is_folder: bool = False) -> None:
    """Raise if `target` lies in the folder of an archive: whatever is written there damages it.

    Args:
        target: file or folder to write.
        is_folder: files will be written in it, so it must not be an archive itself either.

    Raises:
        TargetExists: it does; nothing was changed.
    """
    place = target.resolve()
    for folder in (place, *place.parents) if is_folder else place.parents:
        if is_archive(folder):
            raise TargetExists(
                f"{target} {'is an archive' if folder == place else f'lies inside of the archive {folder}'}",
                expected="a place outside: an archive that is finished never changes",
                remedy="choose another name",
                path=str(target),
            )


def is_archive(folder: Path) -> bool:
    """Say whether a folder is an archive, if a damaged one."""
    try:
        return "ssl4eo" in json.loads((folder / ROOT).read_text(encoding="utf-8"))["attributes"]
    except OSError:
        return False
    except (ValueError, KeyError, TypeError):
        return (folder / CHECKSUMS).is_file()


def noted_plan(target: Path) -> Mapping[str, Any]:
    """Give what an interrupted writer has noted of its spec and plan, nothing where there is none."""
    try:
        return dict(json.loads((partial_path(target) / "spec.json").read_text(encoding="utf-8"))["spec"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


class Journal:
    """Progress on disk; the caller holds the lock."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.folder = partial_path(target)
        self.archive = self.folder / "archive"
        self._lines = self.folder / "progress.jsonl"
        self._spec = self.folder / "spec.json"

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.folder / "lock"

    def open(self, spec: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Start, or find the place to go on from.

        Args:
            spec: must be the same in every run.
            facts: noted by the first run only (time of creation, version).

        Returns:
            The facts that were noted at the start, and the heads of the notes of all finished shards: ids and kinds
            of labels in place of all that is known of locations and images, which is most of a note.

        Raises:
            TargetExists: the folder holds the start of another archive; nothing was changed.
        """
        noted = self._noted()
        if noted is None:
            self._sweep(set())
            self._lines.unlink(missing_ok=True)
            noted = {"spec": dict(spec), "facts": dict(facts)}
            write_json(self._spec, noted)
        if noted["spec"] != json.loads(json.dumps(spec)):
            raise self._foreign(noted["spec"], spec)
        self.archive.mkdir(exist_ok=True)
        kept, heads = self._valid_prefix()
        self._sweep(kept)
        self._sweep_segments(heads[-1]["segment"] if heads else 0)
        return noted["facts"], heads

    def _noted(self) -> dict[str, Any] | None:
        try:
            noted = json.loads(self._spec.read_text(encoding="utf-8"))
            return {"spec": dict(noted["spec"]), "facts": dict(noted["facts"])}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise self._refuse(f"{self._spec} is damaged ({error})") from error

    def _foreign(self, found: Mapping[str, Any], expected: Mapping[str, Any]) -> TargetExists:
        rows = [f"{k} {found.get(k)} there, {v} now" for k, v in expected.items() if found.get(k) != v]
        return self._refuse(f"{self.folder} holds the start of another archive ({'; '.join(rows)})")

    def _refuse(self, found: str) -> TargetExists:
        return TargetExists(
            found,
            expected="nothing there, or the same archive cut short",
            remedy=f"remove {self.folder} to start anew, or choose another name",
            path=str(self.folder),
        )

    def _valid_prefix(self) -> tuple[set[str], list[dict[str, Any]]]:
        """Cut the journal after its last shard that is full and whole on disk; give that much's files and heads."""
        kept: set[str] = set()
        heads: list[dict[str, Any]] = []
        if not self._lines.is_file():
            return kept, heads
        end = 0
        with self._lines.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            while end < size:
                head, next_end = self._whole_head(stream, end, size, len(heads))
                if head is None:
                    break
                kept.update(head["files"])  # |= with keys would copy all names each time
                heads.append(head)
                end = next_end
        os.truncate(self._lines, end)
        return kept, heads

    def _whole_head(self, stream: BinaryIO, start: int, end: int, number: int) -> tuple[dict[str, Any] | None, int]:
        """Read the head of the note that starts at a byte, and where the next one starts; None if it is not whole."""
        try:
            head, stop = _next_head(stream, start, end)
            sizes = {f"{self.archive}/{name}": int(facts["size"]) for name, facts in head["files"].items()}
            full = head["shard"] == number and len(head["ids"]) == SHARD_LOCATIONS and head["segment"] >= 0
        except (ValueError, KeyError, TypeError, AttributeError):
            return None, start
        return (head if full and all(_size(path) == size for path, size in sizes.items()) else None), stop

    def _sweep(self, kept: set[str]) -> None:
        for folder, _, names in os.walk(self.archive):
            below = os.path.relpath(folder, self.archive)
            for name in names:
                if os.path.normpath(f"{below}/{name}") not in kept:
                    Path(folder, name).unlink()

    def _sweep_segments(self, used: int) -> None:
        """Remove segments that are used up, and what a killed process had begun."""
        for folder in (self.folder / "segments").glob("*"):
            if folder.name.startswith(".") or int(folder.name) < used:
                shutil.rmtree(folder, ignore_errors=True)

    def append(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Note a finished shard and wait until the note is on disk; give its head."""
        detail = json.dumps({name: row[name] for name in _IN_DETAIL}).encode()
        head = {name: value for name, value in row.items() if name not in _IN_DETAIL}
        head |= {"ids": [record["id"] for record in row["locations"]], "kinds": kinds_of(row["locations"])}
        text = json.dumps({**head, "detail_bytes": len(detail), "crc32": crc32(detail)}).encode()
        with self._lines.open("ab") as stream:
            stream.write(text[:-1] + _DETAIL + detail + b"}\n")
            stream.flush()
            os.fsync(stream.fileno())
        return json.loads(text)

    def cut_back(self, is_good: Callable[[Mapping[str, Any]], bool]) -> bool:
        """Forget all shards and segments that hold something read after the last good cursor; say if any are left.

        A shard reaches to the end of the last segment that it has rows of. Its files go when the next writer opens.
        """
        num_good = sum(1 for _ in takewhile(lambda row: _passes(row.get("reach"), is_good), self.rows()))
        if self._lines.is_file():
            with self._lines.open("rb") as stream:
                end = sum(map(len, islice(stream, num_good)))
            os.truncate(self._lines, end)
        for folder in (self.folder / "segments").glob("[0-9]*"):
            segment = load_segment(self.folder, int(folder.name))
            if segment is None or not _passes(segment.cursor, is_good):
                shutil.rmtree(folder)
        return num_good > 0 or any((self.folder / "segments").glob("[0-9]*"))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Read the notes of the finished shards, one at a time.

        Raises:
            WriteFailed: one is damaged; it and what comes after it is forgotten, and will be made anew.
        """
        if not self._lines.is_file():
            return
        end = 0
        with self._lines.open("rb") as stream:
            for line in stream:
                try:
                    _head(line)
                    row = json.loads(line)
                except (ValueError, KeyError, TypeError) as error:
                    raise self._forgotten(end, error) from error
                end += len(line)
                yield row | row.pop("detail", {})

    def _forgotten(self, end: int, error: Exception) -> WriteFailed:
        os.truncate(self._lines, end)
        return WriteFailed(
            f"{self._lines} is damaged after {end} bytes ({error})",
            expected="what was written there",
            remedy="run the same command again: what is damaged is made anew; and look after the disk",
            path=str(self._lines),
        )

    def publish(self) -> None:
        """Give the archive its final name, then remove the work folder.

        Raises:
            TargetExists: something came to stand there meanwhile; it is untouched and the work is kept.
        """
        folders = [self.archive, *(p for p in self.archive.rglob("*") if p.is_dir())]
        for folder in folders:
            _sync(folder)
        require_absent(self.target, "archive")
        self.archive.rename(self.target)
        _sync(self.target.parent)
        self.discard()

    def discard(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.folder)


def _next_head(stream: BinaryIO, start: int, end: int) -> tuple[dict[str, Any], int]:
    """Read the head of a note and where the next note starts; its detail only where it is the last one.

    Raises:
        ValueError: it is not whole.
        KeyError: it lacks something.
    """
    stream.seek(start)
    first = stream.read(_HEAD_BYTES)
    text, mark, _ = first.partition(_DETAIL)
    if mark:
        head = json.loads(text + b"}")
        stop = start + len(text) + len(mark) + int(head.get("detail_bytes", -1)) + 2
        if start < stop < end and "detail_bytes" in head:
            stream.seek(stop - 2)
            if stream.read(2) != b"}\n":
                raise ValueError("a detail of another length")
            return head, stop
    stream.seek(start)
    line = stream.readline()  # the last one, of an earlier version, or with a long head
    return _head(line), start + len(line)


def _head(line: bytes) -> dict[str, Any]:
    """Read a note without its detail, whose bytes are checked and not parsed.

    Raises:
        ValueError: it is not whole.
        KeyError: it lacks something.
    """
    start, mark, detail = line.partition(_DETAIL)
    if not mark and line.endswith(b"\n"):
        return _of_earlier(json.loads(line))
    if not detail.endswith(b"}\n"):
        raise ValueError("cut short")
    head = json.loads(start + b"}")
    if crc32(detail[:-2]) != head["crc32"]:
        raise ValueError("a detail of another checksum")
    return head


def _of_earlier(row: dict[str, Any]) -> dict[str, Any]:
    """Make the head of a note that was written before notes had heads."""
    return {**row, "ids": [record["id"] for record in row["locations"]], "kinds": kinds_of(row["locations"])}


def _size(path: str) -> int:
    """Give the size of a file [bytes], -1 where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of files, a Path each costs more than the call
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _passes(cursor: Mapping[str, Any] | None, is_good: Callable[[Mapping[str, Any]], bool]) -> bool:
    return cursor is not None and is_good(cursor)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
