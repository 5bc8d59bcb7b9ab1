# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent: atomic writes, JSON lines, locks.

A file gets its final name only when all its bytes are on disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ssl4eo.errors import Busy, DataMissing, SourceInvalid, Ssl4eoError, TargetExists, WriteFailed


@contextlib.contextmanager
def atomic_path(path: Path) -> Generator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends well.

    The bytes are flushed to disk before the rename; on any error the temporary file goes
    and what stood under `path` stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def whole_or_told(path: Path, kinds: tuple[type[Exception], ...] = ()) -> Generator[Path]:
    """Do as `atomic_path`, and tell a failed write with a remedy.

    Args:
        path: final name.
        kinds: what a library raises in place of OSError when it cannot write.

    Raises:
        WriteFailed: the disk is full or refuses, or a folder has that name; what stood under `path` stays.
    """
    try:
        with atomic_path(path) as partial:
            yield partial
    except (OSError, *kinds) as error:
        if path.is_dir():
            raise _named_like_a_folder(path) from error
        reason = " ".join(str(error).split())[:200] if isinstance(error, OSError) else _not_all_taken(path)
        raise WriteFailed(
            f"{path} cannot be written ({reason})",
            expected="room on the disk and the right to write there",
            remedy="free some space or choose another place, and run the same command again (a run: with --resume)",
            path=str(path),
        ) from error


@contextlib.contextmanager
def whole_folder(path: Path) -> Generator[Path]:
    """Give a new folder beside `path`; rename it to `path` when the block ends well, remove it when it does not.

    Raises:
        TargetExists: something stands under `path`.
        WriteFailed: the disk is full or refuses.
    """
    require_absent(path, "folder")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing(path):
        try:
            partial.mkdir(parents=True)
            yield partial
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _named_like_a_folder(path: Path) -> WriteFailed:
    """Say what stands there: neither room nor rights would help."""
    return WriteFailed(
        f"{path} cannot be written: a folder has that name",
        expected="a free name, or a file's",
        remedy="move the folder away and run the same command again (a run: with --resume)",
        path=str(path),
    )


def _not_all_taken(path: Path) -> str:
    """Say why a library that hides the system's reason gave up; the half of the file is gone again by then."""
    return f"not all of it was taken; without it {shutil.disk_usage(path.parent).free / 1e6:,.0f} MB are free there"


def require_writable(path: Path) -> None:
    """Raise if it shows already that a file cannot be written, before hours of work for it; writes nothing.

    Raises:
        WriteFailed: a folder has that name, or its folder is read-only or cannot be made.
    """
    nearest = next(folder for folder in path.absolute().parents if folder.exists())  # the others will be made
    if path.is_dir():
        reason = "is a folder"
    elif not nearest.is_dir():
        reason = f"cannot be written: {nearest} is no folder"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        reason = f"cannot be written: {nearest} is read-only"
    else:
        return
    raise WriteFailed(
        f"{path} {reason}",
        expected="a file name in a folder that can be written to",
        remedy="choose another place",
        path=str(path),
    )


@contextlib.contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn what the system says of a failed write into an error with a remedy.

    Args:
        path: what is being written, named where the system names no file.

    Raises:
        WriteFailed: the disk is full or refuses.
    """
    try:
        yield
    except Ssl4eoError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise WriteFailed(
            f"cannot write {error.filename or path}: {error.strerror or error}",
            expected="room on the disk and the right to write there",
            remedy=("free some space" if full else "mend that")
            + ", then run the same command again: it goes on after what is whole",
            path=str(path),
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, indented, keys in the given order."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one JSON object as a line, in a single write; a line that a crash cut short is dropped first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as stream:
        _drop_cut_line(stream)
        stream.write((json.dumps(dict(row), ensure_ascii=False) + "\n").encode())


def _drop_cut_line(stream: BinaryIO) -> None:
    """Cut a file back to its last newline."""
    end = stream.seek(0, os.SEEK_END)
    if end == 0 or (stream.seek(end - 1), stream.read(1))[1] == b"\n":
        return
    stream.seek(0)
    stream.truncate(stream.read().rfind(b"\n") + 1)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """Read JSON lines; a last line cut short by a crash is left out.

    Raises:
        DataMissing: there is no such file.
        SourceInvalid: a line that is not the last is not JSON.
    """
    for _, row in numbered_jsonl(path):
        yield row


def numbered_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read JSON lines as `read_jsonl` does, each with its line number in the file, from 1."""
    if not path.is_file():
        raise DataMissing(f"no file {path}", expected="a JSON-lines file", path=str(path))
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line.decode())
        except ValueError as error:  # not JSON, or not UTF-8
            if number == len(lines):  # no newline after it: the write was cut short
                return
            raise SourceInvalid(
                f"line {number} of {path} is not JSON", expected="one object a line", path=str(path)
            ) from error


def readable_jsonl(path: Path, is_right: Callable[[Any], bool]) -> tuple[list[dict[str, Any]], list[int]]:
    """Read what can be read of JSON lines that nothing depends on; a last line cut short by a crash is left out.

    Args:
        path: of the file, which is there.
        is_right: says whether a value is a row of this file.

    Returns:
        The rows, and the numbers of the other lines, from 1.
    """
    rows: list[dict[str, Any]] = []
    unread: list[int] = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            row: Any = json.loads(line.decode()) if line.strip() else None
        except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested beyond reading
            unread += [number] * (number < len(lines))
            continue
        if is_right(row):
            rows.append(row)
        elif line.strip():
            unread.append(number)
    return rows, unread


def require_absent(path: Path, what: str) -> None:
    """Raise if something stands at `path`.

    Raises:
        TargetExists: it does; nothing was changed.
    """
    if os.path.lexists(path):  # a link that leads nowhere stands there too
        raise TargetExists(
            f"{path} exists",
            expected=f"no {what} there yet",
            remedy="choose another name, or remove it yourself",
            path=str(path),
        )


@contextlib.contextmanager
def exclusive(path: Path) -> Generator[None]:
    """Hold the lock file `path` for the length of the block.

    Raises:
        Busy: another process holds it. A lock goes with its process, whatever ends it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise Busy(
                f"{path.parent} is being written by another process",
                expected="one writer at a time",
                remedy="wait for it to end, or stop it",
                path=str(path),
            ) from error
        yield


def file_sha256(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
