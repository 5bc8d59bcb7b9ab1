# SPDX-License-Identifier: Apache-2.0
"""Archives unpacked without trust: every member is checked before it is written, and all appear at once.

Members go to a `.partial` folder; when the last is there it is renamed: to the name of the one top folder that the
archive has, or to that of the archive. Links and devices are refused altogether: images need none. Parts of a tar file
are read one after the other, no joined copy is made.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ssl4eo.download.entry import CHUNK, FileEntry
from ssl4eo.download.names import RECORDS, harmless_name, require_inside
from ssl4eo.download.partial import told
from ssl4eo.download.remote import Joined
from ssl4eo.errors import SourceInvalid, TargetExists, WriteFailed
from ssl4eo.files import exclusive, write_json

Progress = Callable[[int, int], None]
"""Called with the members written and, where the archive tells, their number, else the same."""

_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    RuntimeError, UnicodeError,
)  # fmt: skip
_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip")


def archives_of(entries: Iterable[FileEntry]) -> Mapping[str, tuple[FileEntry, ...]]:
    """Give the archives among files, each with its parts in order."""
    found: dict[str, list[FileEntry]] = {}
    for entry in entries:
        if entry.archive:
            found.setdefault(entry.archive, []).append(entry)
    return {name: tuple(sorted(parts, key=lambda part: part.name)) for name, parts in found.items()}


def extract(name: str, parts: Sequence[Path], out: Path, *, progress: Progress | None = None) -> Path:
    """Unpack an archive into a folder; what an earlier call has unpacked is left as it is.

    Args:
        name: of the archive: its ending says which kind it is.
        parts: the files that it consists of, in order.
        out: folder in which the unpacked one appears.
        progress: told about members.

    Returns:
        What appeared: the one top folder (or file) of the archive, or one named as the archive.

    Raises:
        SourceInvalid: it is damaged, or has a member that would leave the folder. Nothing appears.
        TargetExists: what it would unpack to is there already.
        WriteFailed: the disk is full.
        Busy: another process unpacks it.
    """
    stem = _stem(harmless_name(name, "archive"))
    partial = out / f".{stem}.partial"
    record = out / RECORDS / f"{stem}.unpacked.json"
    with exclusive(out / f".{stem}.partial.lock"):
        if (earlier := _unpacked(record, out)) is not None:
            return earlier
        if partial.exists():
            shutil.rmtree(partial)  # of a run that was killed: nothing in it can be trusted
        try:
            with told(partial):
                partial.mkdir(parents=True)
            _unpack(name, parts, partial, progress or (lambda _done, _total: None))
            target, appears = _destination(partial, out / stem, name)
            with told(target):
                write_json(record, {"archive": name, "to": target.name})
                appears.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            (out / f".{stem}.partial.lock").unlink(missing_ok=True)
    return target


def _unpacked(record: Path, out: Path) -> Path | None:
    """Give what an earlier run has unpacked, if it is there."""
    try:
        target = out / str(require_inside(json.loads(record.read_text(encoding="utf-8"))["to"], str(record)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return target if target.exists() else None


def _stem(name: str) -> str:
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return f"{name}.extracted"


def _destination(partial: Path, own: Path, name: str) -> tuple[Path, Path]:
    """Say what is renamed to what.

    Raises:
        TargetExists: the target stands there.
        SourceInvalid: the archive is empty.
    """
    top = sorted(partial.iterdir())
    if not top:
        raise SourceInvalid(f"{name} is empty", expected="files in it")
    target, appears = (own.parent / top[0].name, top[0]) if len(top) == 1 else (own, partial)
    if target.exists() or target.is_symlink():
        raise TargetExists(
            f"{target} exists",
            expected=f"no folder there yet: {name} unpacks to it",
            remedy="if it is the data, all is well; else move it away and run the same command again",
            path=str(target),
        )
    return target, appears


def _unpack(name: str, parts: Sequence[Path], folder: Path, progress: Progress) -> None:
    """Write all members.

    Raises:
        SourceInvalid: damage, or a member that is not allowed.
        WriteFailed: the disk is full.
    """
    try:
        with Joined([lambda part=part: part.open("rb") for part in parts]) as joined:
            if name.lower().endswith(".zip"):
                _unzip(name, parts[0], folder, progress)
            else:
                _untar(name, _inflated(name, joined), folder, progress)
    except _DAMAGE as error:
        raise SourceInvalid(
            f"{name} cannot be unpacked ({error})",
            expected="a whole archive",
            remedy="remove it and download it again",
            archive=name,
        ) from error
    except OSError as error:
        if isinstance(error, SourceInvalid | WriteFailed):
            raise
        raise WriteFailed(
            f"{name} cannot be unpacked to {folder.parent} ({error})",
            expected="room on the disk and the right to write there",
            remedy="free some space and run the same command again",
            path=str(folder),
        ) from error


def _inflated(name: str, joined: Joined) -> Any:
    """Give the plain tar. Not by tarfile itself: it takes a stream that was cut short for one that ended."""
    stream = io.BufferedReader(joined, CHUNK)
    lower = name.lower()
    if lower.endswith(("gz", ".tgz")):
        return gzip.GzipFile(fileobj=stream)
    if lower.endswith(".bz2"):
        return bz2.BZ2File(stream)
    return lzma.LZMAFile(stream) if lower.endswith(".xz") else stream


def _untar(name: str, stream: Any, folder: Path, progress: Progress) -> None:
    # Python before 3.11.4 has no filter; the check of each member is stricter and does not need it.
    options: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    done = 0
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.name.rstrip("/") in (".", ""):
                continue
            _require_plain(name, member.name, allowed=member.isreg() or member.isdir())
            archive.extract(member, folder, set_attrs=False, **options)
            done += 1
            progress(done, done)
    while stream.read(CHUNK):  # to the end, where the compressed stream has its checksum
        pass


def _unzip(name: str, path: Path, folder: Path, progress: Progress) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        free = shutil.disk_usage(folder).free
        if (unpacked := sum(member.file_size for member in members)) > free:
            raise WriteFailed(
                f"{name} unpacks to {unpacked} bytes",
                expected=f"at most {free}, which is what the disk has free",
                remedy="free some space, or unpack it elsewhere",
            )
        for done, member in enumerate(members, 1):
            kind = stat.S_IFMT(member.external_attr >> 16)
            plain = (0, stat.S_IFDIR) if member.is_dir() else (0, stat.S_IFREG)
            target = folder / _require_plain(name, member.orig_filename, allowed=kind in plain)
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, CHUNK)
            progress(done, len(members))


def _require_plain(archive: str, member: str, *, allowed: bool) -> PurePosixPath:
    """Give the path of a member that is a file or folder and stays inside.

    Raises:
        SourceInvalid: it is not.
    """
    path = require_inside(member.removeprefix("./").rstrip("/"), f"the archive {archive}")
    if not allowed:
        raise SourceInvalid(
            f"the archive {archive} has the member {member!r}, a link or device",
            expected="files and folders",
            remedy="do not use this archive: it is broken or hostile",
            member=member,
        )
    return path
