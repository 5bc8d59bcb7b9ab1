# SPDX-License-Identifier: Apache-2.0
"""A ledger of what a reader could not read and went on without, one JSON line each.

Reading raises; who would rather lose an image than a night of training catches ShardCorrupt and notes it here.
Any number of processes may write to one file; a chunk is noted once by each of them, however often it is met.
"""

from __future__ import annotations

import fcntl
from pathlib import Path

from ssl4eo.errors import ShardCorrupt
from ssl4eo.files import append_jsonl


class Ledger:
    """An append-only list of losses; travels to worker processes."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._noted: set[tuple[str, str, int]] = set()

    def __len__(self) -> int:
        """Number of losses that this process has noted."""
        return len(self._noted)

    def note(self, *, location: str, season: int, what: str, reason: str) -> None:
        """Write a loss down, unless this process has done so before.

        Args:
            location: id.
            season: 0 for the first date.
            what: modality, or `mask <name>`.
            reason: why it cannot be read.
        """
        key = (what, location, season)
        if key in self._noted:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as lock:  # a half-written line of another process is not for us to drop
            fcntl.flock(lock, fcntl.LOCK_EX)
            append_jsonl(self.path, {"location": location, "season": season, "what": what, "reason": reason})
        self._noted.add(key)

    def note_error(self, error: ShardCorrupt) -> None:
        """Write down what a read of `Archive` has raised.

        Raises:
            ShardCorrupt: the error itself, if it does not tell an image: then more is lost than one.
        """
        where = error.where
        if not {"location", "season", "what"} <= where.keys():
            raise error
        self.note(location=where["location"], season=where["season"], what=where["what"], reason=error.found)
