# SPDX-License-Identifier: Apache-2.0
"""OUT/skipped.jsonl: what was not judged, or not as a whole, why, and how to get it.

A row is of a judgement that could not be made, or of items of a split that were left out. A row of the same matter
replaces an earlier one, and a judgement that is made at last takes its row away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssl4eo.evaluation.tasks.task import Task
from ssl4eo.files import numbered_jsonl, write_text

LEDGER = "skipped.jsonl"
Matter = tuple[str, str, str, str]
"""Task, split, checkpoint, protocol; the last two are empty for items."""


@dataclass(frozen=True)
class Skipped:
    """What was left out for one reason."""

    task: str
    split: str
    found: str
    """What is in the way."""
    remedy: str
    checkpoint: str = ""
    protocol: str = ""
    items: Sequence[str] = ()
    """Names in the split of the items that were left out; empty: the judgement was not made."""

    @property
    def matter(self) -> Matter:
        """What the row is about."""
        return self.task, self.split, self.checkpoint, self.protocol

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {**asdict(self), "items": list(self.items)}


def gaps_of(task: Task) -> list[Skipped]:
    """Give the rows of the items that a task left out."""
    return [Skipped(task.name, task.split, gap.found, gap.remedy, items=gap.items) for gap in task.gaps]


def whole_of(task: Task) -> Matter:
    """Give the matter of a task's items, settled where all are there."""
    return task.name, task.split, "", ""


def update_ledger(out: Path, rows: Iterable[Skipped], *, settled: Iterable[Matter] = ()) -> None:
    """Put rows in place of those of the same matters; nothing is written where nothing was and is left out.

    Args:
        out: folder of the records.
        rows: what is left out.
        settled: matters that are left out no more.
    """
    path, new = out / LEDGER, list(rows)
    gone = {row.matter for row in new}.union(settled)
    old = [row for _, row in numbered_jsonl(path)] if path.is_file() else []
    keys = ("task", "split", "checkpoint", "protocol")
    kept = [row for row in old if tuple(row.get(key, "") for key in keys) not in gone]
    lines = [json.dumps(row) for row in (*kept, *(row.to_json() for row in new))]
    if lines:
        write_text(path, "".join(f"{line}\n" for line in lines))
    else:
        path.unlink(missing_ok=True)
