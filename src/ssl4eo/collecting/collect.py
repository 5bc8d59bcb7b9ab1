# SPDX-License-Identifier: Apache-2.0
"""Collect places into an archive, in threads of this process or on Dask; go on after any interruption.

Workers fetch and encode one location to one segment; this process joins segments to shards in the order of the places,
so that the archive is the same, byte for byte, whatever the number of workers and interruptions.
An archive is closed when no place is left that another try might bring; `finish` closes it in any case.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo.archive.journal import partial_path, require_free
from ssl4eo.archive.segment import require_segment
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.collecting.fetching import FIRST_PAUSE_S, NOTE_FOLDER, NotedSource, Stop, note_path, read_note
from ssl4eo.collecting.ledger import Entry, Ledger, Totals, ledger_path
from ssl4eo.collection.remote.collected import CollectedSource
from ssl4eo.environment import environment
from ssl4eo.errors import DataMissing, TargetExists
from ssl4eo.packing.pools import open_pool
from ssl4eo.packing.work import Job, Task
from ssl4eo.processes import wishing

log = logging.getLogger(__name__)

Progress = Callable[[int, int | None], None]
LOCAL_WORKERS = 4
"""Processes of a Dask cluster on this machine."""
DEFAULT_PATIENCE_S = 12 * 3600.0


@dataclass(frozen=True)
class CollectReport:
    """What became of the places."""

    path: Path
    is_finished: bool
    """False: the archive is still open for places that failed."""
    totals: Totals

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {"path": str(self.path), "finished": self.is_finished, **self.totals.to_json()}


def collect(  # noqa: PLR0913 - each is an option of the command line
    source: CollectedSource,
    target: Path,
    *,
    threads: int = 16,
    dask: str | None = None,
    finish: bool = False,
    patience_s: float = DEFAULT_PATIENCE_S,
    first_pause_s: float = FIRST_PAUSE_S,
    profile: str = "default",
    statistics: bool = True,
    progress: Progress | None = None,
) -> CollectReport:
    """Fetch all places of a source into a new archive.

    Args:
        source: places, windows, service.
        target: the archive; it appears when it is whole. An interrupted run is gone on with.
        threads: places under way at a time, on this machine or on all of a Dask cluster.
        dask: address of a Dask scheduler that does it, or `local`.
        finish: close the archive although places have failed.
        patience_s: how long the service may stay away before the run ends [s].
        first_pause_s: before the service is asked again; doubled each time [s].
        profile: of the compression.
        statistics: measure all pixels when the archive is closed.
        progress: told (places settled, places in all).

    Returns:
        What became of the places; at once where the same collection is finished already.

    Raises:
        TargetExists: something else stands at `target`, or what was begun there is of other places or options.
        Busy: another process collects to `target`.
        ServiceFailed: the service stayed away; run again to go on.
        RunStopped: SIGINT or SIGTERM; run again to go on.
        DataMissing: not a single place could be stored.
        WriteFailed: the disk is full or refuses; run again to go on.
        WorkerLost: a worker died; run again to go on.
    """
    target = Path(target)
    ids, facts = list(source.ids()), _facts(source)
    identity = _identity(facts)
    if (totals := _finished(target, identity)) is not None:
        return CollectReport(target, is_finished=True, totals=totals)
    require_free(target)
    _require_same(target, identity, facts)
    with (
        ArchiveWriter(
            target,
            forms=source.forms,
            num_seasons=source.num_seasons,
            shape=source.shape,
            provenance=source.provenance,
            profile=profile,
            plan={"source": identity, "segment_locations": 1, "nodata": "skip"},
        ) as writer,
        Ledger.open(ledger_path(target), create=True) as ledger,
    ):
        stop = Stop()
        noted = NotedSource(source, writer.work.absolute() / NOTE_FOLDER, patience_s, stop, first_pause_s)
        noted.notes.mkdir(exist_ok=True)
        _sweep(writer, len(ids))
        ledger.begin(identity, facts)
        _settle(ledger, writer, noted, ids)
        job = Job(noted, writer.work.absolute(), writer.layout, "skip", "skip")
        workers = min(threads, LOCAL_WORKERS) if dask == "local" else threads
        with (
            wishing(stop.set, "places"),
            open_pool(job, workers=workers, dask=dask, tick=lambda _: None, threads=True) as pool,
        ):
            _fetch_all(writer, ledger, noted, pool.encode(_tasks(ids, writer, ledger)), len(ids), progress)
            is_finished = finish or not ledger.ids("failed")
            if is_finished:
                _require_any(writer, target)
                writer.finish(statistics=statistics)
        return CollectReport(target, is_finished, ledger.totals())


def has_begun(target: Path) -> bool:
    """Say whether an interrupted run can be gone on with."""
    return (partial_path(target) / "spec.json").is_file()


def _sweep(writer: ArchiveWriter, num_places: int) -> None:
    """Remove segments of further tries that a killed run has left behind a gap: their numbers are given anew."""
    for folder in (writer.work / "segments").glob("*"):
        if folder.name.isdecimal() and int(folder.name) >= max(writer.next_segment, num_places):
            shutil.rmtree(folder)


def _settle(ledger: Ledger, writer: ArchiveWriter, noted: NotedSource, ids: list[str]) -> None:
    """Bring the ledger to what is on disk."""
    entries = [e for path in sorted(noted.notes.glob("*.json")) if (e := read_note(noted.notes, path.stem)) is not None]
    done, skipped = writer.done_ids, writer.skipped
    true = [e for e in entries if (e.status == "done") == (e.id in done) and (e.id in done or e.id in skipped)]
    _note(ledger, noted, true)
    ledger.agree(ids, done, skipped)


def _note(ledger: Ledger, noted: NotedSource, entries: list[Entry]) -> None:
    ledger.note(entries)
    for entry in entries:
        note_path(noted.notes, entry.id).unlink(missing_ok=True)


def _tasks(ids: list[str], writer: ArchiveWriter, ledger: Ledger) -> Iterator[Task]:
    """One place a segment: those never reached, then those that failed before or are marked to be tried again."""
    number = writer.next_segment
    skipped = writer.skipped
    again = [name for name in (*ledger.ids("failed"), *ledger.ids("pending")) if name in skipped]
    rest = [(place, True) for place in ids[number:]] + [(place, False) for place in sorted(again)]
    for offset, (place, is_first) in enumerate(rest):
        yield Task(number + offset, (place,), may_reuse=is_first)


def _fetch_all(
    writer: ArchiveWriter, ledger: Ledger, noted: NotedSource, numbers: Iterator[int], total: int, show: Progress | None
) -> None:
    settled = total - ledger.totals().counts["pending"] - ledger.totals().counts["failed"]
    for number in numbers:
        segment = require_segment(writer.work, number)
        writer.absorb(segment)
        names = [str(row.location["id"]) for row in segment.rows]
        known = dict(segment.skipped)
        settled += len(names) + len(known)
        _note(ledger, noted, [_entry(noted, name, known.get(name)) for name in (*names, *known)])
        if show is not None:
            show(settled, total)


def _entry(noted: NotedSource, name: str, reason: str | None) -> Entry:
    """Give what is known of a try; a note that a kill has lost leaves status and reason."""
    note = read_note(noted.notes, name)
    if note is not None and (note.status == "done") == (reason is None):
        return note
    return Entry(name, "done") if reason is None else Entry(name, "failed", reason)


def _require_any(writer: ArchiveWriter, target: Path) -> None:
    if not writer.done_ids:
        reasons = [f"{name}: {reason}" for name, reason in list(writer.skipped.items())[:3]]
        raise DataMissing(
            f"none of {len(writer.skipped)} places could be stored" + (f" ({'; '.join(reasons)})" if reasons else ""),
            expected="one at least",
            remedy="widen windows or clouds, or choose other places; no archive was made",
            path=str(target),
        )


_OF_THIS_RUN = ("environment",)
"""Facts that may differ between runs that go on with each other."""


def _facts(source: CollectedSource) -> dict[str, str]:
    """Give what decides the pixels, and the versions of this run, as text."""
    points = json.dumps([(place.id, place.points) for place in source.places.values()])
    products = (f"{name}: {product.collection} ({_short(repr(product))})" for name, product in source.products.items())
    return {
        "service": f"{source.service.name} ({source.service.settings})".removesuffix(" ()"),
        "places": f"{len(source.places)} ({_short(points)})",
        "seasons": repr(source.windows),
        "choice": repr(source.choice),
        "grid": f"{source.size} px of {source.base} m, snapped to {source.snap} m",
        "products": ", ".join(products),
        "environment": json.dumps(environment()),
    }


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _identity(facts: dict[str, str]) -> str:
    """Hash what decides the pixels: equal for runs that may go on with each other."""
    return _short(json.dumps({name: text for name, text in facts.items() if name not in _OF_THIS_RUN}))


def _finished(target: Path, identity: str) -> Totals | None:
    """Give the totals of a collection that is closed already, None where it is not, or is another one."""
    if not (target.is_dir() and ledger_path(target).is_file()) or partial_path(target).is_dir():
        return None
    with Ledger.open(ledger_path(target)) as ledger:
        return ledger.totals() if ledger.facts().get("collection") == identity else None


def _require_same(target: Path, identity: str, facts: dict[str, str]) -> None:
    """Refuse to go on with what was begun with other options, and name them; nothing is changed."""
    if not (has_begun(target) and ledger_path(target).is_file()):
        return
    with Ledger.open(ledger_path(target)) as ledger:
        known = ledger.facts()
    if known.get("collection", identity) == identity:
        return
    changed = [n for n, text in facts.items() if n not in _OF_THIS_RUN and known.get(n, text) != text]
    raise TargetExists(
        f"{partial_path(target)} holds the start of another collection: "
        + "; ".join(f"{name} was {known[name]} and is now {facts[name]}" for name in changed),
        expected="the options it was begun with",
        remedy=f"take them back to go on, or choose another name; to start anew remove {partial_path(target)}",
        path=str(target),
    )
