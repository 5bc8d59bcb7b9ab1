# SPDX-License-Identifier: Apache-2.0
"""From an archive to a layout that others read: every chosen location once, or a reason why not.

Workers make units (a location, a tar shard, a transaction), this process gives them their names in order. The same
call goes on after an interruption and does nothing where everything is there; another archive or other options in
the same folder are refused. What was left out is tried again, unless its shard is finished.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssl4eo.archive.reader import Archive
from ssl4eo.environment import version
from ssl4eo.errors import DataMissing
from ssl4eo.unpacking.choice import choose_locations, choose_modalities, choose_seasons
from ssl4eo.unpacking.layouts import LAYOUTS, make_layout
from ssl4eo.unpacking.names import name_places
from ssl4eo.unpacking.target import hash_places, identity, keep_skipped, note_skipped, open_target, write_ids
from ssl4eo.unpacking.work import Errors, Layout, Place, Plan, Unit
from ssl4eo.unpacking.workers import Job, make_units

Progress = Callable[[int, int | None], None]
"""Called with the number of locations done and their total."""


@dataclass(frozen=True)
class UnpackReport:
    """What became of the chosen locations."""

    path: Path
    layout: str
    num_written: int
    num_found: int
    """Locations that an earlier run had written."""
    skipped: Mapping[str, str]
    """By id the reason why a location was left out."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        rows = [{"location": name, "reason": reason} for name, reason in self.skipped.items()]
        return {
            "path": str(self.path),
            "layout": self.layout,
            "written": self.num_written,
            "found": self.num_found,
            "skipped": rows,
        }


def unpack(  # noqa: PLR0913 - each is an option of the command line
    archive: Archive,
    out: Path | str,
    *,
    layout: str,
    modalities: Sequence[str] | None = None,
    seasons: Sequence[int] | None = None,
    ids: Sequence[str] | None = None,
    renumber: bool = False,
    rule: str | None = None,
    shard_locations: int | None = None,
    errors: Errors = "raise",
    workers: int = 1,
    progress: Progress | None = None,
) -> UnpackReport:
    """Write locations of an archive in another layout.

    Args:
        archive: what to read.
        out: folder to write to; one that an interrupted run has begun is gone on with.
        layout: one of layouts.LAYOUTS.
        modalities: those to write, None for the usual ones of the layout, mostly all.
        seasons: positions of the dates to write, None for all.
        ids: locations to write, in this order, None for all.
        renumber: name locations by running numbers of 7 digits; ids.csv tells which is which.
        rule: 8-bit rule of uint8-geotiff, rgb-png and lmdb, `none` for 16 bits in the latter; None for the layout's.
        shard_locations: locations of a WebDataset shard, None for 64.
        errors: what a damaged location does: stops, or is left out and noted in skipped.jsonl.
        workers: processes to work in; 1 is this one.
        progress: told at the start and after each unit.

    Raises:
        TargetExists: the folder holds something else, or what another archive or other options began.
        Busy: another process writes there.
        UnknownName, ConfigInvalid, ContractMismatch: a choice or an archive that the layout cannot carry.
        LocationMissing: an id that the archive does not hold.
        ShardCorrupt, SampleInvalid: a location is damaged and errors="raise".
        DataMissing: not a single location could be written.
        WriteFailed: the disk is full or refuses; run again to go on.
        WorkerLost: a worker died; run again to go on.
    """
    chosen = make_layout(layout, renumber=renumber, rule=rule, shard_locations=shard_locations)
    names = choose_modalities(archive, LAYOUTS[layout].usual(archive) if modalities is None else modalities)
    plan = Plan(archive, Path(out).absolute(), names, choose_seasons(archive, seasons))
    chosen.check(plan)
    places = name_places(choose_locations(archive, ids), ids=chosen.ids, renumber=renumber)
    wanted = {
        "layout": layout,
        "options": dict(chosen.options(plan)),
        "archive": identity(archive),
        "modalities": list(plan.modalities),
        "seasons": list(plan.seasons),
        "locations": {"count": len(places), "hash": hash_places(places)},
    }
    with open_target(plan.out, wanted, _about(archive)):
        if renumber:
            write_ids(plan.out, places)
        report = _run(Job(chosen, plan, errors), places, workers=workers, progress=progress, name=layout)
    if not report.num_written and not report.num_found:
        raise _nothing(report)
    return report


def _about(archive: Archive) -> dict[str, Any]:
    origin = archive.provenance
    return {
        "source": archive.path.name,
        "title": origin.title,
        "licence": origin.licence,
        "synthetic": origin.synthetic,
        "software": f"ssl4eo {version('ssl4eo')}",
    }


def _run(job: Job, places: Sequence[Place], *, workers: int, progress: Progress | None, name: str) -> UnpackReport:
    out, units = job.plan.out, _units(job.layout, places)
    num_written = 0
    with job.layout.sink(job.plan, places) as sink:
        left = [replace(unit, places=sink.missing(unit)) for unit in units]
        missing = [unit for unit in left if unit.places]
        open_ids = {place.id for unit in missing for place in unit.places}
        skipped = keep_skipped(out, {place.id for place in places} - open_ids)
        done = len(places) - len(open_ids)
        num_found = done - len(skipped)
        if progress is not None:
            progress(done, len(places))
        with contextlib.closing(make_units(job, missing, workers=workers)) as results:
            for unit, made in results:
                note_skipped(out, made.skipped)  # first the reason, then the unit that lacks the location
                sink.keep(unit, made)
                skipped |= made.skipped
                num_written += len(made.parts)
                done += len(unit.places)
                if progress is not None:
                    progress(done, len(places))
    return UnpackReport(out, name, num_written, num_found, skipped)


def _units(layout: Layout, places: Sequence[Place]) -> list[Unit]:
    size = layout.unit_locations
    return [Unit(start // size, tuple(places[start : start + size])) for start in range(0, len(places), size)]


def _nothing(report: UnpackReport) -> DataMissing:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in list(report.skipped.items())[:3])
    return DataMissing(
        f"none of {len(report.skipped)} locations can be written ({reasons})",
        expected="one whole location at least",
        remedy="run `ssl4eo verify` on the archive",
        path=str(report.path),
    )
