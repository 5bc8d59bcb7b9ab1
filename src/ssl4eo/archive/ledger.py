# SPDX-License-Identifier: Apache-2.0
"""A list of broken chunks that a reader has skipped: one JSON object a line, appended from any process.

Reading raises; who would rather lose an image than a night of training catches ShardCorrupt and notes it here.
A chunk is noted as often as it is met; `NotedImages` counts each image once.
"""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

from ssl4eo.errors import ShardCorrupt
from ssl4eo.files import append_jsonl

_FIELDS = ("archive", "what", "location", "season")


def note(path: Path, error: ShardCorrupt) -> None:
    """Append what a read of a broken chunk has told: archive, what, location, season and the reason.

    Raises:
        ShardCorrupt: the error itself, if it does not tell an image: then more is lost than one.
    """
    if not set(_FIELDS) <= error.where.keys():
        raise error
    row = {**{name: error.where[name] for name in _FIELDS}, "reason": str(error)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:  # a half-written line of another process is not for us to drop
        fcntl.flock(lock, fcntl.LOCK_EX)
        append_jsonl(path, row)


class NotedImages:
    """Counts the images that a ledger names, each once; every count reads on from where the last one ended."""

    def __init__(self, path: Path) -> None:
        """Begin with nothing read; the file need not be there."""
        self._path, self._end = path, 0
        self._images: set[str] = set()

    def count(self) -> int:
        """Count the images up to the last whole line; lines that are none of a ledger are passed over."""
        if self._path.exists():
            with self._path.open("rb") as stream:
                stream.seek(self._end)
                read = stream.read()
            whole = read[: read.rfind(b"\n") + 1]
            self._end += len(whole)
            self._images.update(filter(None, map(_image, whole.splitlines())))
        return len(self._images)


def _image(line: bytes) -> str:
    """Name the image of a line; empty where it tells none."""
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    is_row = isinstance(row, dict) and set(_FIELDS) <= row.keys()
    return json.dumps([row[name] for name in _FIELDS]) if is_row else ""
