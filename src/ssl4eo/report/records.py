# SPDX-License-Identifier: Apache-2.0
"""What runs leave on disk, read and checked: config.json, log.jsonl, scores.jsonl, skipped.jsonl, insight.npz.

A run folder may lack any of them; what is there must be right, or the file and line are named.
Unknown keys and unknown kinds of log rows are left alone, so that newer writers stay readable.
Steps that a crash threw away are dropped: a `resume` row voids all earlier rows of later steps,
and of rows with the same kind, step and task (or message) the last one counts.
Computes nothing: see table.py for means and spreads.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssl4eo.archive.journal import is_archive
from ssl4eo.errors import DataMissing, SourceInvalid
from ssl4eo.extension import is_own
from ssl4eo.files import numbered_jsonl
from ssl4eo.report.fields import check, check_present
from ssl4eo.report.insight import INSIGHT, Insight, read_insight


@dataclass(frozen=True)
class Step:
    """One recorded training step."""

    step: int
    epoch: float
    loss: float
    lr: float
    images_per_second: float | None
    feature_std: float | None
    effective_rank: float | None
    rankme: float | None = None
    ema_momentum: float | None = None
    grad_norm: float | None = None
    waiting_share: float | None = None
    """Of the time, in which the device waited for data."""


@dataclass(frozen=True)
class Knn:
    """One k-NN accuracy [0 to 1] measured during training."""

    step: int
    epoch: float
    accuracy: float
    task: str


@dataclass(frozen=True)
class Probe:
    """One accuracy [0 to 1] of a probe that was fitted during training."""

    step: int
    epoch: float
    accuracy: float
    task: str
    protocol: str


@dataclass(frozen=True)
class Alarm:
    """Something the training loop warned about."""

    step: int
    epoch: float
    message: str


@dataclass(frozen=True)
class Log:
    """One training log, in order of steps."""

    steps: tuple[Step, ...] = ()
    knn: tuple[Knn, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    resumes: tuple[int, ...] = ()
    """Steps from which training was taken up again."""
    probes: tuple[Probe, ...] = ()
    diverged: int | None = None
    """Step at which loss, gradients or weights were not finite, which ended the run."""
    is_cut: bool = False
    """Whether the last line was cut short, as a kill in the middle of a write leaves it, and left out."""


@dataclass(frozen=True)
class Score:
    """One measured value of one checkpoint under one protocol."""

    task: str
    split: str
    part: str
    protocol: str
    metric: str
    value: float
    """0 to 1."""
    checkpoint: str
    pretrained: bool
    backbone: str
    seed: int
    num_train: int
    num_test: int
    num_classes: int
    synthetic: bool
    settings: Mapping[str, Any]
    commit: str | None
    time: dt.datetime
    features: Path | None
    """Archive of features, labels and classes; may be absent on disk."""
    interval: tuple[float, float] | None = None
    """95 % interval from resampling the test items, 0 to 1."""
    checkpoint_sha256: str | None = None
    split_sha256: str | None = None
    """Of the list of items: equal only for the same items."""
    notes: tuple[str, ...] = ()
    """What whoever reads the value must know."""
    classes: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    """Counts, true class by predicted class; empty where it was not recorded."""
    fraction: float = 1.0
    """Of the split's training items that were learned from."""
    num_absent: int = 0
    """Items that the split names and that were not there."""
    is_whole: bool = True
    """Whether the data were the published set and the whole of the split."""
    train_sha256: str | None = None
    """Of the list of items that were learned from."""
    curve: tuple[Mapping[str, float], ...] = ()
    """How training went: epoch, loss, validation."""
    examples: Path | None = None
    """Predicted maps; may be absent on disk."""
    by_class: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict[str, "Mapping[str, float | None]"])
    """By measure and class, 0 to 1; None for a class without items."""
    trained_by: Mapping[str, Any] | None = None
    """config.json of the run that made the checkpoint, None where it is not found."""

    @property
    def conditions(self) -> tuple[object, ...]:
        """What was measured and how, apart from the network."""
        what = (self.task, self.split, self.part, self.protocol, self.metric, self.fraction)
        items = (self.num_absent, self.split_sha256, self.train_sha256)
        return (*what, *items, self.settings.get("epochs_asked"), self.settings.get("image_size"))

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for repetitions of one measurement, of which the last one counts."""
        return (*self.conditions, self.checkpoint, self.seed)


@dataclass(frozen=True)
class Skipped:
    """What was left out of a judgement for one reason, or a judgement that was not made."""

    task: str
    split: str
    checkpoint: str
    """Empty: whatever was judged."""
    protocol: str
    """Empty: by all protocols."""
    found: str
    remedy: str
    num_items: int
    """That were left out; 0: the judgement was not made."""


@dataclass(frozen=True)
class Run:
    """One run folder; None or empty where it keeps no such record."""

    path: Path
    name: str
    config: Mapping[str, Any] | None
    log: Log | None
    scores: tuple[Score, ...] | None
    """One for each (task, split, part, protocol, metric, checkpoint, seed): the latest."""
    skipped: tuple[Skipped, ...] = ()
    """What was not judged, or not on all items."""
    insight: Insight | None = None
    """What it saw and what its network does, as far as it was recorded."""

    @property
    def recipe(self) -> str | None:
        """Name of the recipe, None for a run that trained nothing."""
        return None if self.config is None else self.config["recipe"]

    @property
    def synthetic(self) -> bool:
        """True if no satellite saw what it was trained on; scores and recordings tell of their own pixels."""
        return self.config is not None and bool(self.config["data"]["synthetic"])


_CONFIG = {"recipe": "text", "config": "a JSON object", "environment": "a JSON object", "data": "a JSON object"}
_OPTIONS = {
    **dict.fromkeys(("method", "views", "optimizer", "schedule", "engine"), "a JSON object"),
    **dict.fromkeys(("recipe", "modality", "backbone", "scaling", "init_from"), "text"),
}
_ENGINE: dict[str, str] = dict.fromkeys(("epochs", "batch_size", "seed"), "a whole number from 0")
_ENVIRONMENT = {
    "ssl4eo": "text",
    "commit": "text, or null",
    "python": "text",
    "torch": "text",
    "machine": "anything",
    "started": "an ISO 8601 time",
}
_DATA = {
    "path": "text, or null",
    "title": "text",
    "synthetic": "true or false",
    "num_items": "a whole number from 0",
    "contract": "a JSON object",
}
_STEP = {
    "step": "a whole number from 0",
    "epoch": "a number",
    "loss": "a number",
    "lr": "a number",
    "images_per_second": "a number, or null",
    "feature_std": "a number, or null",
    "effective_rank": "a number, or null",
    **dict.fromkeys(("rankme", "ema_momentum", "grad_norm", "waiting_share"), "a number, or null"),
}
_PROBE = {
    "step": "a whole number from 0",
    "epoch": "a number",
    "accuracy": "a number from 0 to 1",
    "task": "text",
    "protocol": "text",
}
_DIVERGED = {"step": "a whole number from 0"}
_KNN = {"step": "a whole number from 0", "epoch": "a number", "accuracy": "a number from 0 to 1", "task": "text"}
_ALARM = {"step": "a whole number from 0", "epoch": "a number", "message": "text"}
_SCORE = {
    **dict.fromkeys(("task", "split", "part", "protocol", "metric", "checkpoint", "backbone"), "text"),
    **dict.fromkeys(("seed", "num_train", "num_test", "num_classes"), "a whole number from 0"),
    "value": "a number from 0 to 1",
    "pretrained": "true or false",
    "synthetic": "true or false",
    "settings": "a JSON object",
    "commit": "text, or null",
    "time": "an ISO 8601 time",
    "features": "the name of a file beside this one, or null",
    "interval": "two numbers from 0 to 1, or null",
    "checkpoint_sha256": "text, or null",
    "split_sha256": "text, or null",
    "examples": "the name of a file beside this one, or null",
    "by_class": "a JSON object, or null",
}

_SKIPPED = {"task": "text", "found": "text", "remedy": "text"}


_RECORDS = ("config.json", "log.jsonl", "scores.jsonl", "skipped.jsonl")


def require_run(path: Path) -> None:
    """Raise if a path is no run folder.

    Raises:
        DataMissing: there is no such folder, it keeps no record of a run, or it is an archive.
    """
    if not path.is_dir():
        found = f"no run folder {path}"
    elif is_archive(path):  # which keeps a list of what was skipped too
        found = f"{path} is an archive, no run"
    elif not any((path / name).is_file() for name in _RECORDS):
        found = f"{path} holds no record of a run"
    else:
        return
    raise DataMissing(
        found,
        expected=f"a folder with one of {', '.join(_RECORDS)}",
        remedy="name a folder that `ssl4eo pretrain` or `ssl4eo evaluate` wrote",
        path=str(path),
    )


def read_run(path: Path, insight: Path | None = None, *, name: str | None = None) -> Run:
    """Read one run folder, and its recording if it lies elsewhere.

    Args:
        path: the folder.
        insight: the recording; None is the one in the folder.
        name: what the run is called; None is the name of the folder.

    Raises:
        DataMissing: no such folder, or none of a run.
        SourceInvalid: a record is malformed; the message names file and line.
    """
    require_run(path)
    config, log, scores, skipped = (path / name for name in _RECORDS)
    insight = path / INSIGHT if insight is None else insight
    return Run(
        path=path,
        name=name or path.resolve().name,
        config=read_config(config) if config.is_file() else None,
        log=read_log(log) if log.is_file() else None,
        scores=read_scores(scores) if scores.is_file() else None,
        skipped=read_skipped(skipped) if skipped.is_file() else (),
        insight=read_insight(insight) if insight.is_file() else None,
    )


def read_config(path: Path) -> dict[str, Any]:
    """Read config.json and check the keys that the report shows."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        line = f"line {error.lineno} of " if isinstance(error, json.JSONDecodeError) else ""
        raise SourceInvalid(f"{line}{path} is not JSON", expected="one JSON object", path=str(path)) from error
    check(config, _CONFIG, f"{path}")
    options = config["config"]
    check_present(options, _OPTIONS, f"'config' of {path}")
    check_present(options.get("engine", {}), _ENGINE, f"'config.engine' of {path}")
    check(config["environment"], _ENVIRONMENT, f"'environment' of {path}")
    check(config["data"], _DATA, f"'data' of {path}")
    return config


def read_log(path: Path) -> Log:
    """Read log.jsonl, without the steps that a resume repeated."""
    rows: dict[tuple[str, int, str], dict[str, Any]] = {}
    resumes: list[int] = []
    kinds = {"step": _STEP, "knn": _KNN, "probe": _PROBE, "alarm": _ALARM, "diverged": _DIVERGED}
    kinds["resume"] = {"step": "a whole number from 0"}
    for number, row in numbered_jsonl(path):
        where = f"line {number} of {path}"
        check(row, {"kind": "text"}, where)
        kind = row["kind"]
        if kind not in kinds:
            continue
        check(row, kinds[kind], where)
        if kind == "resume":
            resumes.append(row["step"])
            rows = {key: value for key, value in rows.items() if key[1] <= row["step"]}
        else:
            rows[kind, row["step"], str(row.get("task", row.get("message", "")))] = row
    ordered = [rows[key] for key in sorted(rows, key=lambda key: key[1])]

    def of(kind: str) -> list[dict[str, Any]]:
        fields = kinds[kind]
        return [{name: row.get(name) for name in fields} for row in ordered if row["kind"] == kind]

    return Log(
        steps=tuple(Step(**row) for row in of("step")),
        knn=tuple(Knn(**row) for row in of("knn")),
        alarms=tuple(Alarm(**row) for row in of("alarm")),
        resumes=tuple(resumes),
        probes=tuple(Probe(**row) for row in of("probe")),
        diverged=next((row["step"] for row in of("diverged")), None),
        is_cut=_is_cut(path),
    )


def _is_cut(path: Path) -> bool:
    """Say whether the last line of a file of JSON lines was cut short."""
    last = path.read_bytes().rpartition(b"\n")[2]
    try:
        return bool(last.strip()) and json.loads(last) is None
    except ValueError:
        return True


def read_scores(path: Path) -> tuple[Score, ...]:
    """Read scores.jsonl; the latest row counts for the same measurement."""
    scores: dict[tuple[object, ...], Score] = {}
    for number, row in numbered_jsonl(path):
        check(row, _SCORE, f"line {number} of {path}")
        values: dict[str, Any] = {name: row.get(name) for name in _SCORE}
        values["features"] = None if row.get("features") is None else path.parent / row["features"]
        time = dt.datetime.fromisoformat(row["time"])
        values["time"] = time if time.tzinfo else time.replace(tzinfo=dt.UTC)
        values["interval"] = None if values["interval"] is None else tuple(values["interval"])
        values["is_whole"], values["train_sha256"] = bool(row.get("is_whole", True)), row.get("train_sha256")
        values["notes"], values["classes"] = (tuple(map(str, row.get(name) or ())) for name in ("notes", "classes"))
        values["confusion"] = tuple(tuple(counts) for counts in row.get("confusion") or ())
        values["fraction"], values["num_absent"] = float(row.get("fraction") or 1.0), int(row.get("num_absent") or 0)
        values["curve"] = tuple(row.get("curve") or ())
        values["by_class"] = row.get("by_class") or {}
        values["examples"] = None if row.get("examples") is None else path.parent / row["examples"]
        values["trained_by"] = _find_config(row["checkpoint"], path.parent) if row["pretrained"] else None
        score = Score(**values)
        key = score.identity
        scores.pop(key, None)
        scores[key] = score
    return tuple(scores.values())


def read_skipped(path: Path) -> tuple[Skipped, ...]:
    """Read skipped.jsonl."""
    rows: list[Skipped] = []
    for number, row in numbered_jsonl(path):
        check(row, _SKIPPED, f"line {number} of {path}")
        items = row.get("items") or ()
        words = {name: str(row.get(name) or "") for name in (*_SKIPPED, "split", "checkpoint", "protocol")}
        rows.append(Skipped(**words, num_items=len(items)))
    return tuple(rows)


def _find_config(checkpoint: str, folder: Path) -> dict[str, Any] | None:
    """Read the config.json of the run that made a checkpoint, given as a run folder or a file in one.

    Relative names are looked up from here and from the folder of the scores; names that lead nowhere
    (a catalog name, a run on another machine) give the config beside the scores, if there is one.
    """
    for base in (Path(), folder):
        path = base / checkpoint
        for place in (path, path.parent, path.parent.parent):
            if path.exists() and (place / "config.json").is_file():
                return read_config(place / "config.json")
    if is_own(checkpoint):  # somebody's own network: what lies beside the scores did not make it
        return None
    beside = folder / "config.json"
    return read_config(beside) if beside.is_file() else None
