# SPDX-License-Identifier: Apache-2.0
"""checksums.json: size and SHA-256 of every file of an archive but the shards, which carry crc32c themselves.

Shards are told apart by shards.json, which is listed here. The file seals itself: it has exactly one spelling for its
content, with the SHA-256 of the list inside, so that a flipped byte anywhere in it shows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ssl4eo.archive.layout import CHECKSUMS
from ssl4eo.errors import ArchiveInvalid, ShardCorrupt
from ssl4eo.files import write_text

REMEDY = "run `ssl4eo verify` on it to see all damage, then copy the file again or pack anew"


@dataclass(frozen=True)
class Digest:
    """What a file must be."""

    size: int
    sha256: str


def digest(path: Path) -> Digest:
    """Measure a file."""
    with path.open("rb") as stream:
        return Digest(path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def write(archive: Path, files: Iterable[str]) -> None:
    """Write checksums.json over the named files below the archive."""
    write_text(archive / CHECKSUMS, _render({name: vars(digest(archive / name)) for name in sorted(files)}))


def _render(files: Mapping[str, Any]) -> str:
    seal = hashlib.sha256(json.dumps(files, separators=(",", ":")).encode()).hexdigest()
    return json.dumps({"files": files, "sha256": seal}, indent=1) + "\n"


def load(archive: Path) -> dict[str, Digest]:
    """Read checksums.json by file name below the archive.

    Raises:
        ArchiveInvalid: it is missing or not as it was written.
    """
    path = archive / CHECKSUMS
    try:
        text = path.read_text(encoding="utf-8")
        files = json.loads(text)["files"]
        if _render(files) != text:
            raise ValueError("its own checksum does not fit")
        if any(PurePosixPath(name).is_absolute() or ".." in name.split("/") for name in files):
            raise ValueError("it names files outside of the archive")
        return {name: Digest(**row) for name, row in files.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
        raise ArchiveInvalid(
            f"{path} {reason}",
            expected="the list of checksums that the archive was written with",
            remedy=REMEDY,
            path=str(path),
        ) from error


def fault_of(archive: Path, name: str, wanted: Digest) -> str | None:
    """Say what is wrong with a file, or None."""
    path = archive / name
    if not path.is_file():
        return "the file is missing"
    size = path.stat().st_size
    if size != wanted.size:
        return f"the file has {size} bytes, expected {wanted.size}"
    return None if digest(path) == wanted else "the SHA-256 of the file differs"


def require(archive: Path, name: str, files: Mapping[str, Digest]) -> Path:
    """Give the path of a file whose checksum was just seen to fit.

    Raises:
        ShardCorrupt: it is missing or differs.
    """
    reason = fault_of(archive, name, files[name]) if name in files else "the file has no checksum"
    if reason is not None:
        raise ShardCorrupt(
            f"{archive / name}: {reason}",
            expected="the file as written",
            remedy=REMEDY,
            path=str(archive / name),
        )
    return archive / name
