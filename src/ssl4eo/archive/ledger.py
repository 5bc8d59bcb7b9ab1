# SPDX-License-Identifier: Apache-2.0
"""A list of broken chunks that a reader has skipped: one JSON object a line, appended from any process.

Reading raises; who would rather lose an image than a night of training catches ShardCorrupt and notes it here.
A chunk is noted as often as it is met.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

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
