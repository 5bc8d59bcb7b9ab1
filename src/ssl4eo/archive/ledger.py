# SPDX-License-Identifier: Apache-2.0
"""A list of broken chunks that a reader has skipped: one JSON object a line, appended from any process."""

from __future__ import annotations

from pathlib import Path

from ssl4eo.errors import ShardCorrupt
from ssl4eo.files import append_jsonl


def note(path: Path, error: ShardCorrupt) -> None:
    """Append what a read of a broken chunk has told: archive, what, location, season and the reason."""
    append_jsonl(path, {**{name: error.where.get(name) for name in _FIELDS}, "reason": str(error)})


_FIELDS = ("archive", "what", "location", "season")
