# SPDX-License-Identifier: Apache-2.0
"""Write a report: everything is made first, then each file takes its final name.

An earlier report in the same folder is replaced, and figures that the new one lacks are removed;
files that no report wrote are never touched, and a foreign file under one of our names is an error.
The folder is ours if its results.json says so, which is why that file is put in place first; a folder that holds
anything else is no place for a report, unless it is that of a run which is shown.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssl4eo.archive.journal import require_outside
from ssl4eo.errors import ConfigInvalid, DataMissing, TargetExists
from ssl4eo.report.content import Report, build
from ssl4eo.report.insight import PARTS
from ssl4eo.report.markdown import render_markdown
from ssl4eo.report.names import told_apart
from ssl4eo.report.page import render_html
from ssl4eo.report.records import Run, read_run, require_run
from ssl4eo.report.table import Row, Summary

_KIND = "ssl4eo report"
_RESULTS = "results.json"
_STAGING, _PARTIAL = ".report.", ".partial"
"""Begin and end of the name of the folder that files are written in before they take their places."""


def write_report(
    runs: Sequence[Path],
    out: Path,
    *,
    archive: Path | None = None,
    location: str | None = None,
    title: str | None = None,
    recordings: Mapping[Path, Path] | None = None,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Write report.md, report.html, results.json and figures/ from recorded runs.

    Args:
        runs: run folders with any of config.json, log.jsonl, scores.jsonl.
        out: folder of the report; made if absent.
        archive: imagery for the picture of one location; None leaves it out.
        location: id of that location; None chooses the most varied of up to 12.
        title: heading; None takes the recipes' names.
        recordings: of runs whose insight.npz does not lie in their folder, its place.
        options: more options of the command, as the footer repeats it; a switch has an empty value.

    Returns:
        The path of report.html.

    Raises:
        ConfigInvalid: no run is named, or one twice.
        DataMissing: a run folder or the archive is absent, or a folder is no run.
        SourceInvalid: a record is malformed; file and line are named.
        TargetExists: `out` holds what no report wrote and is no run of these, holds a foreign file under one of our
            names, or lies inside of an archive.
    """
    check_request(runs, out, archive)
    names = told_apart([path.resolve() for path in runs])
    read = [read_run(path, (recordings or {}).get(path), name=name) for path, name in zip(runs, names, strict=True)]
    command = report_command(runs, out, archive=archive, location=location, title=title, options=options)
    report = build(read, command=command, archive=archive, location=location, title=title)
    _place(out, _files(report, read))
    return out / "report.html"


def check_request(runs: Sequence[Path], out: Path, archive: Path | None) -> None:
    """Raise for what is wrong before anything is made; as `write_report`."""
    if not runs:
        raise ConfigInvalid("a report of no runs", expected="one run folder at least")
    require_outside(out, is_folder=True)
    for path in runs:
        require_run(path)
    places = [path.resolve() for path in runs]
    twice = next((path for i, path in enumerate(runs) if places[i] in places[:i]), None)
    if twice is not None:
        raise ConfigInvalid(f"run {twice} is named twice", expected="each run once", remedy="leave one out")
    if out.resolve() not in places:
        _require_ours(out)
    if archive is not None and not archive.exists():
        raise DataMissing(
            f"no archive {archive}",
            expected="an archive, or a folder of pictures",
            remedy="name another --archive, or leave it out",
            path=str(archive),
        )


def report_command(
    runs: Sequence[Path],
    out: Path,
    *,
    archive: Path | None,
    location: str | None,
    title: str | None,
    options: Mapping[str, str] | None = None,
) -> str:
    """Write the command line that makes the same report, quoted for a shell.

    >>> report_command([Path("run a")], Path("out"), archive=None, location="7", title=None)
    "ssl4eo report 'run a' --out out --location 7"
    """
    words = ["ssl4eo", "report", *map(str, runs), "--out", str(out)]
    for name, value in (("--archive", archive), ("--location", location), ("--title", title)):
        if value is not None:
            words += [name, str(value)]
    for name, value in (options or {}).items():
        words += [name, value] if value else [name]
    return shlex.join(words)


def results_json(report: Report, runs: Sequence[Run], names: Sequence[str]) -> dict[str, Any]:
    """Give everything that the report says as plain values; not-a-number becomes null."""
    return {
        "kind": _KIND,
        "version": 1,
        "title": report.title,
        "headline": report.headline,
        "synthetic": bool(report.origin),
        "origin": report.origin,
        "table": [_row_json(row) for row in report.rows],
        "runs": [_run_json(run) for run in runs],
        "missing": list(report.missing),
        "left_out": [asdict(reason) for reason in report.left_out],
        "command": report.command,
        "ssl4eo": report.version,
        "files": list(names),
    }


def _row_json(row: Row) -> dict[str, Any]:
    plain = {
        name: getattr(row, name)
        for name in ("task", "split", "part", "protocol", "metric", "backbone", "experiment", "synthetic")
    }
    counts = {name: getattr(row, name) for name in ("num_train", "num_test", "num_classes")}
    sides = {"untrained": _summary_json(row.untrained), "pretrained": _summary_json(row.pretrained)}
    return {**plain, **counts, **sides, "difference_points": row.difference, "notes": list(row.notes)}


def _summary_json(summary: Summary | None) -> dict[str, Any] | None:
    if summary is None:
        return None
    return {
        "mean": summary.mean,
        "sample_std": summary.spread,
        "values": list(summary.values),
        "seeds": list(summary.seeds),
        "interval": None if summary.interval is None else list(summary.interval),
        "num_checkpoints": summary.num_checkpoints,
    }


def _run_json(run: Run) -> dict[str, Any]:
    last = run.log.steps[-1] if run.log and run.log.steps else None
    knn = run.log.knn if run.log else ()
    return {
        "path": str(run.path),
        "recipe": run.recipe,
        "synthetic": run.synthetic,
        "last_step": last.step if last else None,
        "last_loss": last.loss if last and math.isfinite(last.loss) else None,
        "knn": [{"step": p.step, "epoch": p.epoch, "accuracy": p.accuracy, "task": p.task} for p in knn],
        "recorded": [] if run.insight is None else [part for part in PARTS if run.insight.has(part)],
        "not_recorded": {} if run.insight is None else dict(run.insight.absent),
        "num_alarms": len(run.log.alarms) if run.log else None,
        "num_scores": len(run.scores) if run.scores is not None else None,
    }


def _files(report: Report, runs: Sequence[Run]) -> dict[str, bytes]:
    """Make the bytes of all files by their name under `out`, results.json first."""
    files = {f"figures/{p.name}.png": p.png for p in report.pictures}
    files |= {f"figures/{p.name}.svg": p.svg for p in report.pictures}
    files = {"report.md": render_markdown(report).encode(), "report.html": render_html(report).encode(), **files}
    results = results_json(report, runs, [_RESULTS, *files])
    return {_RESULTS: (json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(), **files}


def _require_ours(out: Path) -> None:
    """Refuse a folder that holds something and no report."""
    if not os.path.lexists(out) or _earlier(out) is not None:
        return
    entries = sorted(entry.name for entry in out.iterdir()) if out.is_dir() else ["a file, or a link to nowhere"]
    foreign = [name for name in entries if not (name.startswith(_STAGING) and name.endswith(_PARTIAL))]
    if foreign:
        raise TargetExists(
            f"{out} holds {', '.join(foreign[:3])}",
            expected="nothing there, an earlier report, or one of the runs that are shown",
            remedy="choose another --out",
            path=str(out),
        )


def _place(out: Path, files: Mapping[str, bytes]) -> None:
    """Write all files beside their places, then rename each; drop what only the old report had."""
    old = _own_files(out)
    foreign = [name for name in files if (out / name).exists() and name not in old]
    if foreign:
        raise TargetExists(
            f"{out} holds {', '.join(foreign)}, which no report wrote",
            expected="a new folder, or one with an earlier report",
            remedy="choose another --out, or move the files away",
            path=str(out),
        )
    out.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, suffix=_PARTIAL, dir=out))
    try:
        for name, content in files.items():
            _write_synced(staging / name, content)
        for name in files:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(out / name)
    finally:
        shutil.rmtree(staging)
    for name in old - set(files):
        (out / name).unlink(missing_ok=True)


def _write_synced(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _own_files(out: Path) -> set[str]:
    """List the files of an earlier report in `out`, empty if there is none."""
    names = {str(name) for name in (_earlier(out) or {}).get("files", [])}
    return {name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts}


def _earlier(out: Path) -> dict[str, Any] | None:
    """Give results.json of an earlier report in `out`, None if there is none: what is not ours is not replaced."""
    path = out / _RESULTS
    if not path.is_file():
        return None
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return results if isinstance(results, dict) and results.get("kind") == _KIND else None
