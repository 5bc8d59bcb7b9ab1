# SPDX-License-Identifier: Apache-2.0
"""What was not judged, or not on all items, and how to get it: the ledgers of the runs, one line a reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssl4eo.report.records import Run, Skipped

LEFT_OUT_LEAD = "Not judged, or not on all items of the split, for want of data or because a network does not fit."
_MAX_NAMES = 4


@dataclass(frozen=True)
class LeftOut:
    """One reason."""

    what: str
    why: str
    remedy: str


def left_out(runs: Iterable[Run]) -> tuple[LeftOut, ...]:
    """Put rows of one reason together, in the order of the ledgers."""
    groups: dict[tuple[str, str, str, str], list[Skipped]] = {}
    for run in runs:
        for row in dict.fromkeys(run.skipped):
            groups.setdefault((row.task, row.split, row.found, row.remedy), []).append(row)
    return tuple(
        LeftOut(_what(task, split, rows), found, remedy) for (task, split, found, remedy), rows in groups.items()
    )


def _what(task: str, split: str, rows: list[Skipped]) -> str:
    """Say what is lacking.

    >>> row = Skipped("oscd", "reference", "", "", "no rio", "unpack it", 1)
    >>> _what("oscd", "reference", [row])
    'oscd, split reference: 1 item'
    >>> _what("eurosat", "", [Skipped("eurosat", "", name, "knn", "", "", 0) for name in "ab"])
    'eurosat: knn of a, b'
    """
    where = f"{task}, split {split}" if split else task
    items = sum(row.num_items for row in rows)
    if items:
        return f"{where}: {items:,} item{'' if items == 1 else 's'}"
    protocols = list(dict.fromkeys(row.protocol for row in rows))
    networks = list(dict.fromkeys(row.checkpoint for row in rows))
    more = f" and {len(networks) - _MAX_NAMES} more" if len(networks) > _MAX_NAMES else ""
    return f"{where}: {', '.join(protocols)} of {', '.join(networks[:_MAX_NAMES])}{more}"
