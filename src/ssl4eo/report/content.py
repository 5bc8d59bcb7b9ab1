# SPDX-License-Identifier: Apache-2.0
"""What a report says, before it is HTML or Markdown: numbers, pictures, records, and what is missing.

Everything comes from records on disk; nothing is measured or trained here.
A part that was not recorded is named under `missing`, never filled in.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo import __version__
from ssl4eo.contract import contract_from_json
from ssl4eo.report.classes import ClassTable
from ssl4eo.report.illustrations import (
    curve_pictures,
    judgement_pictures,
    projection_pictures,
    tables_by_class,
    task_pictures,
    teaser_picture,
)
from ssl4eo.report.inside import InsideRun, inside_runs
from ssl4eo.report.left_out import LeftOut, left_out
from ssl4eo.report.origin import origin_words, origins
from ssl4eo.report.published import PublishedRow, published_rows
from ssl4eo.report.records import Run
from ssl4eo.report.style import Picture
from ssl4eo.report.table import Row, results_table
from ssl4eo.report.wording import DASH, headline, percent, points, primary_row, scores_words


@dataclass(frozen=True)
class BigNumber:
    """One of the three numbers at the top."""

    value: str
    label: str
    detail: str


@dataclass(frozen=True)
class RunRecord:
    """What is known about one run, as lines of a table."""

    name: str
    lines: tuple[tuple[str, str], ...]
    alarms: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    """The resolved config by dotted names; empty for a run that trained nothing."""


@dataclass(frozen=True)
class Report:
    """Everything that both pages show."""

    title: str
    headline: str
    origin: str
    """What of it is synthetic, in words; empty if nothing is."""
    numbers: tuple[BigNumber, ...]
    rows: tuple[Row, ...]
    published: tuple[PublishedRow, ...]
    """The published table beside what was measured; empty if no published network was judged."""
    primary: Row | None
    teaser: Picture | None
    projections: tuple[Picture, ...]
    """Features on each task that keeps some."""
    tasks: tuple[Picture, ...]
    """Every network by every protocol, a figure for each task."""
    judgements: tuple[Picture, ...]
    """Predicted maps, confusion matrices, the course of protocols that train."""
    by_class: tuple[ClassTable, ...]
    curves: tuple[Picture, ...]
    inside: tuple[InsideRun, ...]
    """What each pre-training run saw and what its network does."""
    records: tuple[RunRecord, ...]
    missing: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    """What was not judged, or not on all items."""
    command: str
    version: str = __version__

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures in the order of the page."""
        inside = (p for run in self.inside for p in run.pictures)
        found = (self.teaser, *self.tasks, *self.projections, *self.judgements, *self.curves, *inside)
        return tuple(p for p in found if p is not None)


def build(
    runs: Sequence[Run], *, command: str, archive: Path | None = None, location: str | None = None, title: str | None
) -> Report:
    """Make the content of a report; opens the archive only for the picture of one location."""
    rows = results_table(runs)
    primary = primary_row(rows)
    missing: list[str] = []
    teaser = teaser_picture(runs, missing, archive=archive, location=location)
    projections = projection_pictures(runs, primary, missing)
    judgements = judgement_pictures(runs, missing)
    curves = curve_pictures(runs, rows, missing)
    inside = inside_runs(runs, missing)
    missing = _missing_scores(runs, rows) + missing
    return Report(
        title=title or _title(runs),
        headline=headline(primary) if primary else _no_headline(rows),
        origin=origin_words(origins(runs, rows, teaser)),
        numbers=_numbers(primary, runs),
        rows=rows,
        published=published_rows(runs),
        primary=primary,
        teaser=teaser,
        projections=projections,
        tasks=task_pictures(rows),
        judgements=judgements,
        by_class=tables_by_class(runs),
        curves=curves,
        inside=inside,
        records=tuple(_record(run) for run in runs),
        missing=tuple(missing),
        left_out=left_out(runs),
        command=command,
    )


def _title(runs: Sequence[Run]) -> str:
    recipes = list(dict.fromkeys(run.recipe for run in runs if run.recipe))
    return ", ".join(recipes) if recipes else "Evaluation of " + ", ".join(run.name for run in runs)


def _no_headline(rows: Sequence[Row]) -> str:
    if not rows:
        return "No downstream scores are recorded yet: nothing can be said about the quality of the features."
    if all(row.pretrained is None for row in rows):
        return "Only untrained networks are scored so far: nothing can be said about pre-training."
    return "No untrained network is scored under the same protocol: the gain of pre-training is not known."


def _numbers(primary: Row | None, runs: Sequence[Run]) -> tuple[BigNumber, ...]:
    if primary is not None and primary.pretrained and primary.untrained and primary.difference is not None:
        measure = f"{primary.protocol_title} {primary.metric}"
        rows = (("untrained", primary.untrained), ("pre-trained", primary.pretrained))
        sides = [
            BigNumber(percent(s.mean), f"{name}, {measure}", _plus_minus(s.spread, scores_words(s))) for name, s in rows
        ]
        gain = BigNumber(
            points(primary.difference),
            "points of difference",
            f"{primary.num_test:,} test items, {primary.num_classes} classes",
        )
        return (*sides, gain)
    run = next((run for run in runs if run.log and run.log.steps), None)
    if run is None or run.log is None:
        return ()
    log, whose = run.log, f", run {run.name}" if len(runs) > 1 else ""
    last = log.steps[-1]
    rates = [s.images_per_second for s in log.steps if s.images_per_second is not None]
    rate = f"{statistics.median(rates):,.0f}" if rates else DASH
    return (
        BigNumber(f"{last.step:,}", f"training steps{whose}", f"{last.epoch:.1f} epochs"),
        BigNumber(f"{last.loss:.3f}", f"last recorded loss{whose}", "says nothing about quality by itself"),
        BigNumber(rate, f"images per second{whose}", "median over the log"),
    )


def _plus_minus(spread: float | None, words: str) -> str:
    return words if spread is None else f"\u00b1 {points(100 * spread, signed=False)} over {words}"


def _missing_scores(runs: Sequence[Run], rows: Sequence[Row]) -> list[str]:
    missing: list[str] = []
    scored = [score.trained_by for run in runs for score in run.scores or ()]
    for run in runs:
        if run.scores is None and (run.config is None or run.config not in scored):
            missing.append(f"Run {run.name} keeps no scores.jsonl, and no other run given here scores its network.")
        elif run.scores == ():
            missing.append(f"Run {run.name} keeps an empty scores.jsonl.")
    for row in rows:
        what = f"{row.task}, {row.protocol_title}, {row.backbone}"
        if row.untrained is None:
            missing.append(f"{what}: no untrained network is scored under the same protocol.")
        if row.pretrained is None:
            missing.append(f"{what}: no pre-trained network is scored.")
    return missing


def _record(run: Run) -> RunRecord:
    lines: list[tuple[str, str]] = [("folder", str(run.path))]
    if run.config is not None:
        lines += _config_lines(run.config)
    if run.log is not None and run.log.steps:
        last = run.log.steps[-1]
        lines.append(("trained", f"{last.step:,} steps, {last.epoch:.2f} epochs"))
        rates = [s.images_per_second for s in run.log.steps if s.images_per_second is not None]
        lines.append(("rate", f"{statistics.median(rates):,.0f} images per second (median)" if rates else DASH))
    if run.log is not None and run.log.resumes:
        lines.append(("resumed", "at step " + ", ".join(f"{step:,}" for step in run.log.resumes)))
    if run.scores:
        times = sorted(score.time for score in run.scores)
        commits = sorted({score.commit or "unknown" for score in run.scores})
        lines.append(("scores", f"{len(run.scores)}, the last one recorded {times[-1]:%Y-%m-%d %H:%M} UTC"))
        lines.append(("scored at commit", ", ".join(commits)))
    alarms = run.log.alarms if run.log is not None else ()
    told = [f"epoch {a.epoch:.2f}, step {a.step:,}: {a.message}" for a in alarms]
    if run.log is not None and run.log.diverged is not None:
        told.append(f"step {run.log.diverged:,}: loss or weights were not finite, and the run ended; see diverged.json")
    options = () if run.config is None else tuple(_flat(run.config["config"]))
    return RunRecord(run.name, tuple(lines), tuple(told), options)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name nested values by dotted names, in their order."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + str(name), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _config_lines(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, environment = config["data"], config["environment"]
    kind = "synthetic: no satellite saw these pixels" if data["synthetic"] else "not synthetic"
    return [
        ("recipe", config["recipe"]),
        ("data", f"{data['title']} ({kind})"),
        ("items", f"{data['num_items']:,}{_part_words(config.get('part_of'))}"),
        *([("data path", data["path"])] if data.get("path") else []),
        ("contract", _contract_words(data["contract"])),
        ("started", environment["started"]),
        ("commit", environment["commit"] or "unknown"),
        ("versions", f"ssl4eo {environment['ssl4eo']}, Python {environment['python']}, torch {environment['torch']}"),
        ("machine", _machine_words(environment["machine"])),
    ]


def _part_words(num_held: Any) -> str:
    """Say of how many items a run took its own, where it did not take all."""
    return f" of {num_held:,}, listed in ids.txt" if isinstance(num_held, int) else ""


def _contract_words(contract: dict[str, Any]) -> str:
    """Say a contract in one line, or several contracts by name."""
    if "modality" in contract:
        return str(contract_from_json(contract))
    return "; ".join(f"{key}: {value}" for key, value in contract.items()) or DASH


def _machine_words(machine: Any) -> str:
    """Say a machine in one line; parts that are empty are left out."""
    if not isinstance(machine, dict):
        return str(machine or DASH)
    parts = {key: ", ".join(map(str, v)) if isinstance(v, list) else str(v) for key, v in machine.items() if v}
    return ", ".join(f"{key} {words}" for key, words in parts.items()) or DASH
