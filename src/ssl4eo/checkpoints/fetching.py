# SPDX-License-Identifier: Apache-2.0
"""How a file of weights comes into the cache, and what makes one there genuine.

The engine is `ssl4eo.download`; here stands which address a host has for a file, that the next one is tried when one
fails, and that a file is held against the first digits of its hash where not all are published. A file that came and
proves wrong is removed; one that somebody placed there never is.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ssl4eo.checkpoints.cache import CACHE_VARIABLE, Progress
from ssl4eo.checkpoints.card import WeightFile
from ssl4eo.download import Checksum, Client, DriveFile, FileEntry, download
from ssl4eo.download.drive import find_drive_file
from ssl4eo.download.entry import DIGITS, hash_file
from ssl4eo.download.partial import keep_record, record_path, recorded_checksum
from ssl4eo.errors import ChecksumMismatch, ConfigInvalid, DataMissing, DownloadFailed, SourceInvalid, WriteFailed
from ssl4eo.files import writing

log = logging.getLogger(__name__)

HUB = "https://huggingface.co"
HUB_VARIABLE = "HF_ENDPOINT"
"""Names another address of HuggingFace, as its own tools have it."""
URLS = "urls"
"""Folder in the cache of files that no card has."""
SYNC_EVERY = 4 << 20
"""Bytes that a kill may cost. Most files of weights are smaller than what a data set may lose."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PAGE = re.compile(rb"\s*(?:<!doctype\s+html|<html|<head)", re.IGNORECASE)
_BEGINNING = 1024
_DRIVE = "Google Drive serves a page where a file asks for confirmation or was fetched too often of late: "


@dataclass(frozen=True, kw_only=True)
class Bases:
    """Where the hosts are."""

    huggingface: str = HUB
    drive: str = DriveFile.base

    @classmethod
    def from_environment(cls) -> Self:
        """Give the real ones, or that of HF_ENDPOINT.

        Raises:
            ConfigInvalid: it is no web address.
        """
        hub = os.environ.get(HUB_VARIABLE) or HUB
        if not hub.startswith(("https://", "http://")):
            raise ConfigInvalid(f"{HUB_VARIABLE} is {hub[:300]!r}", expected="https://HOST", remedy="mend or unset it")
        return cls(huggingface=hub.rstrip("/"))


def file_at(url: str, sha256_start: str = "") -> WeightFile:
    """Describe a file that no card has; its name in the cache is made of its whole address.

    >>> file_at("https://example.org/a/b.pth?x=../..").name
    'urls/a02730afef88324c6f2ba1abd45715ed-b.pth'

    Raises:
        ConfigInvalid: an address that is not fetched, or digits that are none.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        is_ours = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    except ValueError:
        parts, is_ours = None, False
    if parts is None or not is_ours or not parts.hostname:
        raise ConfigInvalid(f"{url[:300]!r} is not fetched", expected="https://HOST/FILE")
    if not re.fullmatch(r"[0-9a-fA-F]{0,64}", sha256_start):
        raise ConfigInvalid(f"{sha256_start!r} is no beginning of a SHA-256", expected="up to 64 hexadecimal digits")
    last = urllib.parse.unquote(parts.path).rsplit("/", 1)[-1]
    tail = re.sub(r"[^A-Za-z0-9._-]", "_", last)[-100:] or "file"
    name = f"{URLS}/{hashlib.sha256(url.encode()).hexdigest()[:32]}-{tail}"
    return WeightFile(
        holds="full",
        host="web",
        name=name,
        url=url,
        publisher=parts.hostname,
        sha256_start=sha256_start.lower(),
    )


def require_genuine(path: Path, file: WeightFile) -> None:
    """Raise unless a file of the cache can be what its name says: no web page, of published size and hash.

    A hash is computed once, and again when the file was touched.

    Raises:
        SourceInvalid: a web page, another size, or it cannot be read.
        ChecksumMismatch: another hash.
    """
    try:
        _require_genuine(path, file)
    except (SourceInvalid, ChecksumMismatch):
        raise
    except OSError as error:
        raise SourceInvalid(
            f"{path} cannot be read ({error.strerror or error})",
            expected=f"the file {file.name}",
            remedy="give yourself the right to read it, or remove it and fetch it again",
            path=str(path),
        ) from error


def _require_genuine(path: Path, file: WeightFile) -> None:
    again = f"remove it and fetch it again, or save {file.url} there yourself"
    with path.open("rb") as stream:
        beginning = stream.read(_BEGINNING)
    if _PAGE.match(beginning):
        raise SourceInvalid(
            f"{path} is a web page",
            expected=f"the file {file.name}",
            remedy=_DRIVE * (file.host == "drive")
            + f"remove it, open {file.url} in a browser, and save what comes under this name",
            path=str(path),
        )
    size = path.stat().st_size
    if file.size not in (None, size) or size == 0:
        expected = "some" if file.size is None else f"{file.size}"
        raise SourceInvalid(f"{path} has {size} bytes", expected=expected, remedy=again, path=str(path))
    if not file.sha256_start:
        return
    found = recorded_checksum(path)
    if found is None or found.algorithm != "sha256":
        found = hash_file(path, "sha256")
        keep_record(path, _entry(file), found)
    if not found.value.startswith(file.sha256_start):
        raise ChecksumMismatch(
            f"{path} has {found}",
            expected=f"sha256 {file.sha256_start}" + ("" if _checksum(file) else "..."),
            remedy=again,
            path=str(path),
            url=file.url,
        )


def not_there(what: str, path: Path, url: str) -> DataMissing:
    """Make the error for a file that is not in the cache while nothing may be fetched."""
    return DataMissing(
        f"{what} is not in the cache, and downloads are off (--offline, SSL4EO_OFFLINE)",
        expected=str(path),
        remedy=f"fetch {url} on another machine and save it under this name",
        path=str(path),
        url=url,
    )


def require_folder(folder: Path) -> None:
    """Raise if something that is no folder stands where the cache should be, or above it; writes nothing.

    Raises:
        WriteFailed: it does, or nobody may look there.
    """
    try:
        nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        if not nearest.is_dir():
            raise _unusable(folder, f"{nearest} is no folder")
    except WriteFailed:
        raise
    except OSError as error:
        raise _unusable(folder, error.strerror or str(error)) from error


def _require_writable(folder: Path, file: WeightFile) -> None:
    """Make the folder of a file, and raise unless a file can be made there; it is gone again at once.

    Raises:
        WriteFailed: it cannot.
    """
    place = (folder / file.name).parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise _unusable(folder, error.strerror or str(error)) from error


def _unusable(folder: Path, reason: str) -> WriteFailed:
    return WriteFailed(
        f"the cache {str(folder)[:300]} cannot be made or written to ({reason})",
        expected="a folder for fetched weights",
        remedy=f"set {CACHE_VARIABLE} to one of yours",
        path=str(folder),
    )


def fetch_first(
    files: Sequence[WeightFile], folder: Path, *, client: Client | None, progress: Progress | None, bases: Bases
) -> Path:
    """Fetch the first of several equivalent files whose host gives it.

    Raises:
        DownloadFailed, ChecksumMismatch, SourceInvalid: none does; the error is that of the last one.
        Busy, WriteFailed, TargetExists: this machine is in the way.
    """
    _require_writable(folder, files[0])
    for number, file in enumerate(files, 1):
        log.info("fetching %s (%s) from %s", file.name, file.publisher, file.url)
        try:
            return _fetch(file, folder, client or Client(), progress, bases)
        except (DownloadFailed, ChecksumMismatch, SourceInvalid) as failure:
            if number == len(files):
                places = " or ".join(f"{other.url} as {folder / other.name}" for other in files)
                failure.remedy = "; or ".join(filter(None, (failure.remedy, f"fetch it by hand: save {places}")))
                raise
            log.warning("%s; trying the next host", failure)
    raise AssertionError("there is a file to fetch")


def _fetch(file: WeightFile, folder: Path, client: Client, progress: Progress | None, bases: Bases) -> Path:
    entry = _entry(file)
    if file.host == "drive":
        found = find_drive_file(DriveFile(drive_id=file.drive_id, fallback=file.name, base=bases.drive), client)
        entry = replace(entry, url=found.url, size=found.size if file.size is None else file.size)
    elif file.host == "huggingface" and file.url.startswith(f"{HUB}/"):
        entry = replace(entry, url=bases.huggingface + file.url.removeprefix(HUB))
    with writing(folder / file.name):
        (fetched,) = download((entry,), folder, client=client, jobs=1, progress=progress, sync_every=SYNC_EVERY)
    try:
        require_genuine(fetched.path, file)
    except (SourceInvalid, ChecksumMismatch) as wrong:
        fetched.path.unlink()
        record_path(fetched.path).unlink(missing_ok=True)
        wrong.remedy = "nothing of it was kept; try again later, and report it if it stays so"
        raise
    return fetched.path


def _entry(file: WeightFile) -> FileEntry:
    """Describe a file for the engine; what it is known by does not depend on the address that it is asked for at."""
    key = f"drive:{file.drive_id}" if file.host == "drive" else file.url
    return FileEntry(name=file.name, url=file.url, size=file.size, checksum=_checksum(file), key=key)


def _checksum(file: WeightFile) -> Checksum | None:
    """Give the hash of a file if all its digits are published."""
    whole = len(file.sha256_start) == DIGITS["sha256"]
    return Checksum("sha256", file.sha256_start) if whole else None
