# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo ledger`: what became of the places of a collection, and which are to be tried again."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Literal

from rich.console import Console

from ssl4eo.errors import ConfigInvalid

_MOST_REASONS = 12
_RETRIED: tuple[Literal["failed", "skipped"], ...] = ("failed", "skipped")


def run(
    archive: Path,
    *,
    show: Literal["pending", "done", "skipped", "failed"] | None = None,
    retry: list[str] | None = None,
    limit: int = 50,
    json: bool = False,
) -> int:
    """Show the ledger of a collection, finished or not; mark places to be tried again by the next run.

    Args:
        archive: that `ssl4eo collect` makes or made; the ledger lies beside it
        show: list the places of one status with their reasons
        retry: list of failed, skipped, or ids; an archive that is closed already takes none
        limit: rows to list at most
        json: print JSON for programs

    Returns:
        Exit status 0.
    """
    from ssl4eo.collecting.ledger import Ledger, ledger_path

    if limit < 1:
        raise ConfigInvalid(f"--limit {limit}", expected="1 or more")
    with Ledger.open(ledger_path(archive), write=bool(retry)) as ledger:
        if retry:
            _retry(ledger, archive, retry)
        totals, facts = ledger.totals(), ledger.facts()
        rows = ledger.rows(show, limit=limit) if show is not None else []
        reasons = {status: ledger.reasons(status) for status in ("skipped", "failed")}
    if json:
        sys.stdout.write(dumps({**totals.to_json(), "reasons": reasons, "facts": facts, "rows": rows}, indent=2) + "\n")
        return 0
    console = Console(soft_wrap=True)
    counts = ", ".join(f"{number:,} {status}" for status, number in totals.counts.items())
    console.print(f"{archive}: {counts}", markup=False, highlight=False)
    console.print(
        f"{totals.tries:,} tries, {totals.requests:,} requests, {totals.num_bytes / 1e6:,.1f} MB, "
        f"{totals.seconds / 3600:,.2f} hours summed over places",
        highlight=False,
    )
    for status, counted in reasons.items():
        for reason, number in list(counted.items())[:_MOST_REASONS]:
            console.print(f"{number:>8,} {status}: {reason}", markup=False, highlight=False)
    if rows:
        console.print("place    tries  points  seconds        MB  reason", highlight=False)
        for row in rows:
            console.print(
                f"{row['id']:<8} {row['tries']:>5}  {row['attempts']:>6}  {row['seconds']:>7.1f}  "
                f"{row['bytes'] / 1e6:>8.2f}  {row['reason']}",
                markup=False,
                highlight=False,
            )
    return 0


def _retry(ledger: object, archive: Path, chosen: list[str]) -> None:
    from ssl4eo.collecting.ledger import Ledger
    from ssl4eo.locations.place import spelled_id

    assert isinstance(ledger, Ledger)
    if archive.exists():
        raise ConfigInvalid(
            f"{archive} is closed",
            expected="a collection that is still open for places that failed",
            remedy=f"collect the places that are missing into another archive (ssl4eo collect ... --not_in {archive} "
            f"--out B.zarr) and join both (ssl4eo pack {archive} B.zarr BOTH.zarr)",
        )
    statuses: list[Literal["failed", "skipped"]] = [name for name in _RETRIED if name in chosen]
    count = ledger.retry(statuses, [spelled_id(name) for name in chosen if name not in statuses])
    Console(stderr=True).print(f"{count:,} places are tried again by the next `ssl4eo collect`", highlight=False)
