# SPDX-License-Identifier: Apache-2.0
"""Names that others chose, made safe: nothing from a URL, a header, a listing or an archive leaves the target.

A relative path is checked and refused; a bare file name from a header is cut down to something harmless. No file is
touched here.
"""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path, PurePosixPath

from ssl4eo.errors import SourceInvalid

RECORDS = ".ssl4eo-download"
"""Folder in the target that says which files are complete; no remote name may reach into it."""
_LONGEST = 200
"""Bytes of one component: file systems end at 255, and `.part.json` has to fit."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def require_inside(name: str, source: str) -> PurePosixPath:
    """Give a relative path that stays in the folder which it is joined to.

    >>> str(require_inside("train/S2L1C/a.zarr.zip", "a listing"))
    'train/S2L1C/a.zarr.zip'

    Args:
        name: path with slashes, from elsewhere.
        source: where it came from, for the message.

    Raises:
        SourceInvalid: it is absolute, climbs, is empty, or holds what no file name of ours has.
    """
    parts = name.split("/")
    if (
        not name
        or "\\" in name
        or _CONTROL.search(name)
        or any(part in ("", ".", "..") or len(part.encode()) > _LONGEST for part in parts)
        or re.match(r"[A-Za-z]:", name)
        or parts[0].lower() == RECORDS
    ):
        raise SourceInvalid(
            f"{source} names the file {name[:300]!r}",
            expected="a relative path that stays in the target folder",
            remedy="do not use this source: it is broken or hostile",
            name=name,
        )
    return PurePosixPath(*parts)


def inside(folder: Path, name: str, source: str) -> Path:
    """Join a name from elsewhere to a folder.

    Raises:
        SourceInvalid: it would leave the folder.
    """
    return folder / require_inside(name, source)


def harmless_name(name: str, fallback: str) -> str:
    """Cut a file name from a header down to its last component, without control characters and leading dots.

    >>> harmless_name("../../etc/cron.d/job", "data.zip")
    'job'
    >>> harmless_name("..", "data.zip")
    'data.zip'
    """
    last = re.split(r"[/\\]", name)[-1]
    last = _CONTROL.sub("", last).strip().lstrip(".").replace(":", "_")
    while len(last.encode()) > _LONGEST:
        last = last[:-1]
    return last or fallback


def disposition_name(header: str | None) -> str:
    """Read the file name of a Content-Disposition header; empty if it gives none.

    >>> disposition_name("attachment; filename=plain.zip; filename*=UTF-8''a%20b.zip")
    'a b.zip'
    """
    header = header or ""
    if extended := re.search(r"filename\*\s*=\s*[\w-]*'[^']*'([^;]+)", header, re.IGNORECASE):
        return urllib.parse.unquote(extended[1].strip())
    if quoted := re.search(r'filename\s*=\s*"((?:[^"\\]|\\.)*)"', header, re.IGNORECASE):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    plain = re.search(r"filename\s*=\s*([^;]+)", header, re.IGNORECASE)
    return plain[1].strip() if plain else ""
