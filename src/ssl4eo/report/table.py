# SPDX-License-Identifier: Apache-2.0
"""The results table: pre-trained against untrained networks under the same protocol.

Two scores share a row only if task, split, part, protocol, metric, backbone and the numbers of
training items, test items and classes agree; pre-trained ones also need the same experiment
(recipe and config apart from seeds and paths, or the checkpoint's name where no config is recorded).
Spread is the sample standard deviation over the scores (n - 1); one score has none.
Settings may differ inside a row, because a probe may choose its own: then the row says so.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssl4eo.report.records import Run, Score

PROTOCOL_TITLES: Mapping[str, str] = {
    "knn": "k-NN",
    "linear": "linear probe",
    "finetune": "fine-tuning",
    "linear_as_published": "linear probe as published",
    "finetune_as_published": "fine-tuning as published",
    "segmentation": "segmentation",
    "segmentation_linear": "linear segmentation",
    "change": "change detection",
    "change_as_published": "change detection as published",
}
_NOT_THE_EXPERIMENT = frozenset(
    {"seed", "accelerator", "devices", "num_workers", "log_every", "probe_every", "save_every"}
)
"""Options that repetitions of one experiment may differ in."""
_WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth")
_MAX_VALUES = 6
_INPUT = re.compile(r"\.(s1grd|s2l1c|s2l2a|s2rgb)(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Summary:
    """Several scores of one kind."""

    values: tuple[float, ...]
    """0 to 1, in order of checkpoint and seed."""
    seeds: tuple[int, ...]
    """Of each value."""
    num_checkpoints: int
    interval: tuple[float, float] | None = None
    """Of a single value: 95 % from resampling the test items, where it was recorded."""

    @property
    def mean(self) -> float:
        """Arithmetic mean, 0 to 1."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Sample standard deviation, None for one score."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    task: str
    split: str
    part: str
    protocol: str
    metric: str
    backbone: str
    num_train: int
    num_test: int
    num_classes: int
    synthetic: bool
    experiment: str
    """Recipe or checkpoint of the pre-trained side, empty without one."""
    untrained: Summary | None
    pretrained: Summary | None
    notes: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """Pre-trained minus untrained mean, in points (hundredths)."""
        if self.untrained is None or self.pretrained is None:
            return None
        return 100 * (self.pretrained.mean - self.untrained.mean)

    @property
    def protocol_title(self) -> str:
        """Name of the protocol as people say it."""
        return PROTOCOL_TITLES.get(self.protocol, self.protocol)


@dataclass(frozen=True)
class Labelled:
    """A score with the run it was read from."""

    score: Score
    run: Run

    @property
    def network(self) -> tuple[str, ...]:
        """Equal for the same weights: an untrained network is its name (and seed), wherever it was scored."""
        s = self.score
        if not s.pretrained:
            return (s.checkpoint,)
        if s.checkpoint_sha256 is not None:
            return ("sha256", s.checkpoint_sha256)
        return ("" if s.trained_by is None else str(self.run.path), s.checkpoint)

    @property
    def identity(self) -> tuple[object, ...]:
        """What must be counted once."""
        s = self.score
        return (*s.conditions, self.network, s.seed)

    @property
    def protocol_key(self) -> tuple[Any, ...]:
        """Equal for scores that may be compared."""
        s = self.score
        names = (s.task, s.split, s.part, s.protocol, s.metric, s.backbone, s.split_sha256 or "", s.train_sha256 or "")
        options = (str(s.settings.get(name)) for name in ("epochs_asked", "image_size"))
        return (*names, *options, s.num_train, s.num_test, s.num_classes)

    @property
    def experiment(self) -> tuple[str, str]:
        """Title and full identity of the pre-training."""
        s = self.score
        if s.trained_by is None:
            return s.checkpoint, s.checkpoint
        last = s.checkpoint.replace("\\", "/").rsplit("/", 1)[-1]
        stage = last if last.endswith(_WEIGHTS) else "backbone.safetensors"  # what a run folder stands for
        what = [s.trained_by["recipe"], _without_seeds(s.trained_by["config"]), stage]
        return s.trained_by["recipe"], json.dumps(what, sort_keys=True)

    @property
    def input(self) -> str | None:
        """Modality in a catalog or recipe name, None where the name does not tell."""
        names = [self.score.checkpoint]
        if self.score.trained_by is not None:
            names.append(self.score.trained_by["recipe"])
        found = [match[1] for name in names if (match := _INPUT.search(name.lower()))]
        return found[-1] if found else None


def _without_seeds(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without_seeds(v) for name, v in value.items() if name not in _NOT_THE_EXPERIMENT}


def labelled_scores(runs: Iterable[Run]) -> tuple[Labelled, ...]:
    """List every score once: of repeated measurements the one recorded last."""
    latest: dict[tuple[object, ...], Labelled] = {}
    for run in runs:
        for score in run.scores or ():
            entry = Labelled(score, run)
            known = latest.get(entry.identity)
            if known is None or known.run is run or score.time >= known.score.time:
                latest[entry.identity] = entry
    return tuple(latest.values())


def results_table(runs: Iterable[Run]) -> tuple[Row, ...]:
    """Make the rows, sorted by task, split and protocol; untrained-only rows are kept."""
    groups: dict[tuple[Any, ...], list[Labelled]] = {}
    for entry in labelled_scores(runs):
        groups.setdefault(entry.protocol_key, []).append(entry)
    rows = [row for _, entries in sorted(groups.items()) for row in _rows_of_group(entries)]
    order = list(PROTOCOL_TITLES)
    return tuple(
        sorted(rows, key=lambda r: (r.task, r.split, order.index(r.protocol) if r.protocol in order else len(order)))
    )


def _rows_of_group(entries: Sequence[Labelled]) -> list[Row]:
    untrained = [e for e in entries if not e.score.pretrained]
    experiments: dict[str, list[Labelled]] = {}
    for entry in entries:
        if entry.score.pretrained:
            experiments.setdefault(entry.experiment[1], []).append(entry)
    if not experiments:
        by_name: dict[str, list[Labelled]] = {}
        for entry in untrained:
            by_name.setdefault(entry.score.checkpoint, []).append(entry)
        return [_row([], members, ()) for members in by_name.values()]
    return [_row(members, *_baseline(members, untrained)) for members in experiments.values()]


def _baseline(
    pretrained: Sequence[Labelled], untrained: Sequence[Labelled]
) -> tuple[Sequence[Labelled], tuple[str, ...]]:
    """Pick the untrained scores of the same input; refuse to mix several inputs."""
    wanted = {e.input for e in pretrained} - {None}
    fitting = [e for e in untrained if e.input is None or not wanted or e.input in wanted]
    inputs = sorted({e.input for e in fitting if e.input is not None})
    if len(inputs) > 1:
        return [], (f"untrained scores for several inputs ({', '.join(inputs)}): none is compared",)
    return fitting, ()


def _row(pretrained: Sequence[Labelled], untrained: Sequence[Labelled], notes: tuple[str, ...]) -> Row:
    members = [*pretrained, *untrained]
    first = members[0].score
    return Row(
        task=first.task,
        split=first.split,
        part=first.part,
        protocol=first.protocol,
        metric=first.metric,
        backbone=first.backbone,
        num_train=first.num_train,
        num_test=first.num_test,
        num_classes=first.num_classes,
        synthetic=any(e.score.synthetic for e in members),
        experiment=pretrained[0].experiment[0] if pretrained else "",
        untrained=_summary(untrained),
        pretrained=_summary(pretrained),
        notes=(*notes, *dict.fromkeys(n for e in members for n in e.score.notes), *_settings_notes(members)),
    )


def _summary(entries: Sequence[Labelled]) -> Summary | None:
    if not entries:
        return None
    ordered = sorted(entries, key=lambda e: (e.score.seed, e.score.checkpoint, str(e.run.path)))
    return Summary(
        values=tuple(e.score.value for e in ordered),
        seeds=tuple(e.score.seed for e in ordered),
        num_checkpoints=len({e.network for e in ordered}),
        interval=ordered[0].score.interval if len(ordered) == 1 else None,
    )


def _settings_notes(entries: Sequence[Labelled]) -> tuple[str, ...]:
    """Name settings that are not the same in all scores of a row, except seeds and lists of readings."""
    names = sorted({name for e in entries for name in e.score.settings if name != "seed"})
    notes: list[str] = []
    for name in names:
        values = [e.score.settings.get(name) for e in entries]
        if any(isinstance(value, list | dict) for value in values):
            continue
        texts = list(dict.fromkeys(f"{v:.3g}" if isinstance(v, float) else json.dumps(v) for v in values))
        if len(texts) > 1:
            more = ", ..." if len(texts) > _MAX_VALUES else ""
            notes.append(f"{name} differs between scores: {', '.join(texts[:_MAX_VALUES])}{more}")
    return tuple(notes)
