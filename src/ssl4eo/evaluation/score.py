# SPDX-License-Identifier: Apache-2.0
"""One line of scores.jsonl, and how predictions become its measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ssl4eo.environment import now, versions
from ssl4eo.evaluation.metrics import (
    Measured,
    map_confusion,
    measure_change,
    measure_classes,
    measure_labels,
    measure_maps,
)
from ssl4eo.evaluation.network import Network
from ssl4eo.evaluation.protocols.protocol import Prediction
from ssl4eo.evaluation.tasks.task import Kind, LabelledPixels, Part, Task

BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Score:
    """One line of scores.jsonl: what was measured, how, and on what."""

    task: str
    split: str
    part: Part
    protocol: str
    metric: str
    """Name of the main measure."""
    value: float
    """Of the main measure, 0 to 1."""
    interval: tuple[float, float] | None
    """95 %, from resampling the test items."""
    measures: Mapping[str, Mapping[str, Any]]
    """All measures by name: `value` and `interval`."""
    by_class: Mapping[str, Mapping[str, float | None]]
    """By measure and class; None for a class that the test part does not have."""
    confusion: Sequence[Sequence[int]] | None
    """Counts, true class by predicted class; of pixels for maps."""
    kind: Kind
    checkpoint: str
    checkpoint_sha256: str | None
    """Of its file; of a network of one's own that of its weights."""
    pretrained: bool
    backbone: str
    seed: int
    num_train: int
    """Items learned from: train and validation part."""
    fraction: float
    """Of the split's training items that were learned from."""
    num_absent: int
    """Items that the split names and that were not there."""
    is_whole: bool
    """Whether the data are the published set and the whole of the split."""
    num_test: int
    num_classes: int
    synthetic: bool
    settings: Mapping[str, Any]
    split_sha256: str
    """Of the names of the test items."""
    train_sha256: str
    """Of the names of the training and validation items."""
    task_version: str
    """Of the data, empty where there is one only."""
    notes: Sequence[str]
    """What whoever reads the value must know."""
    method: str
    """That trained the network; empty where nobody says."""
    curve: Sequence[Mapping[str, float]]
    """How training went, a row for each epoch; empty where nothing is trained."""
    commit: str | None
    versions: Mapping[str, str | None]
    time: str
    """[UTC, ISO 8601]."""
    features: str | None
    """File beside scores.jsonl with the features of the test part."""
    classes: Sequence[str]
    examples: str | None
    """File beside scores.jsonl with a few items, their true and predicted maps or classes; None where items have any
    number of labels."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)


def measure(task: Task, test: LabelledPixels, prediction: Prediction) -> Measured:
    """Judge predictions by the kind of the task."""
    if task.kind == "class":
        predicted = prediction.labels.numpy()
        return measure_classes(test.labels, predicted, num_classes=task.num_classes, seed=BOOTSTRAP_SEED)
    if task.kind == "labels":
        return measure_labels(test.labels, prediction.scores.numpy(), seed=BOOTSTRAP_SEED)
    assert test.maps is not None, "dense tasks have maps"
    truths = (test.maps(int(item)) for item in test.items)
    rows = [
        map_confusion(truth, predicted, num_classes=task.num_classes)
        for truth, predicted in zip(truths, prediction.maps, strict=True)
    ]
    judge = measure_maps if task.kind == "segmentation" else measure_change
    return judge(np.stack(rows), seed=BOOTSTRAP_SEED)


def make_score(
    network: Network,
    task: Task,
    protocol: str,
    prediction: Prediction,
    measured: Measured,
    *,
    common: Mapping[str, Any],
    features: str | None,
    code: str | None,
) -> Score:
    """Put together what was measured and what it was measured of.

    Args:
        network: under judgement.
        task: judged on.
        protocol: name of it.
        prediction: of the protocol.
        measured: of the prediction.
        common: settings of the call, beside those of the protocol.
        features: name of the file of features, None if none are kept.
        code: commit that ran.
    """
    return Score(
        task=task.name,
        split=task.split,
        part="test",
        protocol=protocol,
        metric=measured.main,
        value=measured.measures[measured.main].value,
        interval=measured.measures[measured.main].interval,
        measures={name: asdict(measure) for name, measure in measured.measures.items()},
        by_class={
            name: {c: None if math.isnan(v) else v for c, v in zip(task.classes, values, strict=True)}
            for name, values in measured.by_class.items()
        },
        confusion=None if measured.confusion is None else measured.confusion.tolist(),
        kind=task.kind,
        checkpoint=network.checkpoint,
        checkpoint_sha256=network.sha256,
        pretrained=network.pretrained,
        backbone=network.backbone.arch,
        seed=network.seed,
        num_train=len(task.positions["train"]) + len(task.positions["validation"]),
        fraction=task.fraction,
        num_absent=task.num_absent,
        is_whole=task.is_whole,
        num_test=len(task.positions["test"]),
        num_classes=task.num_classes,
        synthetic=task.synthetic,
        settings={**prediction.settings, **common},
        split_sha256=task.split_sha256,
        train_sha256=task.train_sha256,
        task_version=task.version,
        notes=task.notes,
        method=network.method,
        curve=prediction.curve,
        commit=code,
        versions=versions(),
        time=now(),
        features=features,
        classes=task.classes,
        examples=None,
    )
