# SPDX-License-Identifier: Apache-2.0
"""One network, one task, some protocols -> scores, one line each in RUN/scores.jsonl.

The one path for every pair of task and protocol. Features are computed once and shared by the protocols of a
call; a protocol never sees test labels; metrics are of the whole test part.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import is_own, read_header
from ssl4eo.checkpoints.load import checkpoint_file, load_backbone
from ssl4eo.checkpoints.told import told_of
from ssl4eo.environment import commit, now, versions
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, SampleInvalid, WriteFailed, unknown_name
from ssl4eo.evaluation.examples import save_examples
from ssl4eo.evaluation.features import Precision, extract
from ssl4eo.evaluation.metrics import (
    Measured,
    map_confusion,
    measure_change,
    measure_classes,
    measure_labels,
    measure_maps,
)
from ssl4eo.evaluation.protocols.protocol import Prediction, Supervision, Trial
from ssl4eo.evaluation.protocols.table import PROTOCOLS
from ssl4eo.evaluation.tasks.task import PARTS, Kind, LabelledPixels, Part, Task
from ssl4eo.files import append_jsonl, atomic_path, file_sha256

SCORES = "scores.jsonl"
BOOTSTRAP_SEED = 0

TRAINING = "training"
"""Folder beside the scores in which protocols that train keep what an interrupted run goes on from."""


@dataclass(frozen=True, eq=False)
class Network:
    """A backbone under judgement and where it comes from."""

    checkpoint: str
    """As the user named it."""
    backbone: Backbone
    sha256: str | None
    """Of its file, None for an untrained network."""
    seed: int
    """Of its training as the file says, of its weights if untrained, else as given."""
    method: str = ""
    """That trained it, such as moco_v2; empty where nobody says."""

    @property
    def pretrained(self) -> bool:
        """Say whether it was trained."""
        return self.sha256 is not None


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
    pretrained: bool
    backbone: str
    seed: int
    num_train: int
    """Items learned from: train and validation part."""
    num_test: int
    num_classes: int
    synthetic: bool
    settings: Mapping[str, Any]
    split_sha256: str
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
    """File beside scores.jsonl with a few items, their true and their predicted maps; None where there are no maps."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)


def load_network(
    checkpoint: str,
    *,
    seed: int = 0,
    image_size: int | None = None,
    untrained: bool = False,
    offline: bool | None = None,
) -> Network:
    """Load what is to be judged, on an accelerator where there is one.

    Args:
        checkpoint: `random.<backbone>.<input>`, a file, or a run folder.
        seed: of the weights of an untrained network; recorded for a file that does not tell its own.
        image_size: that the network is to see [px]; None: 224 for an untrained one, else what it was trained with.
        untrained: take the network of a file as it was before its first step: the fair baseline of its run.
        offline: fetch no weights; None: as SSL4EO_OFFLINE says.

    Raises:
        DataMissing, CheckpointInvalid, UnknownName: no such network.
        ConfigInvalid: an image size that the network cannot see.
    """
    path = checkpoint_file(checkpoint, offline=offline)
    backbone = load_backbone(checkpoint, seed=seed, image_size=image_size, untrained_weights=untrained, offline=offline)
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    if path is None:
        return Network(checkpoint, backbone, None, seed)
    if untrained:
        return Network(f"{checkpoint} untrained", backbone, None, _seed_of(path, otherwise=0))
    method = _method_of(checkpoint, path)
    return Network(checkpoint, backbone, file_sha256(path), _seed_of(path, otherwise=seed), method)


def _method_of(checkpoint: str, path: Path) -> str:
    """Name the method that trained a file: as its header, its card or its record says; empty if none does."""
    if is_own(path):
        training = read_header(path).get("training") or {}
    else:
        told = told_of(checkpoint, path)
        training = {} if told is None else told.training
    return str(training.get("method") or str(training.get("recipe", "")).partition(".")[0])


def _seed_of(path: Path, *, otherwise: int) -> int:
    if not is_own(path):
        return otherwise
    training = read_header(path).get("training") or {}
    seed = training.get("seed", otherwise) if isinstance(training, dict) else None
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise CheckpointInvalid(
            f"{path} has the training record {str(training)[:80]}",
            expected="an object whose seed, if there is one, is a whole number",
            path=str(path),
        )
    return seed


def evaluate(  # noqa: PLR0913 - options by keyword
    network: Network,
    task: Task,
    protocols: Sequence[str],
    *,
    out: Path,
    save_features: bool = False,
    batch_size: int = 64,
    precision: Precision = "32",
    epochs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Judge a network on the test part of a task and append the scores to OUT/scores.jsonl.

    Args:
        network: what to judge; stays as it is.
        task: what on.
        protocols: names of PROTOCOLS, each once.
        out: folder of the records.
        save_features: keep the features of the test part beside the scores.
        batch_size: items at a time.
        precision: of the forward pass.
        epochs: of protocols that train, in place of their own.
        progress: called with (items or steps done, in all) after each batch.

    Returns:
        One score for each protocol, in that order.

    Raises:
        UnknownName: no such protocol.
        ConfigInvalid: no or a repeated protocol, or too few items for one.
        ContractMismatch: the task's pixels cannot be fed to the network.
        SampleInvalid: features that are not finite.
    """
    _check(protocols, task.kind)
    code = commit()  # before the work: a checkout may move on meanwhile
    parts: dict[Part, LabelledPixels] = {name: task.part(name) for name in PARTS}
    features, kept = None, None
    if save_features or any(PROTOCOLS[name].on_features for name in protocols):
        features = _extract_all(network.backbone, parts, batch_size=batch_size, precision=precision, progress=progress)
        kept = _save_features(out, network, task, features["test"], parts["test"]) if save_features else None
    common = {
        "image_size": network.backbone.image_size,
        "batch_size": batch_size,
        "precision": precision,
        "num_validation": len(parts["validation"]),
        "bootstrap_seed": BOOTSTRAP_SEED,
    }
    scores: list[Score] = []
    for name in protocols:
        act = PROTOCOLS[name].on_features
        if act is not None and features is not None:
            prediction = act(_supervision(features, parts, task), features["test"])
        else:
            prediction = _train(name, network, task, parts, precision=precision, epochs=epochs, out=out, show=progress)
        measured = _measure(task, parts["test"], prediction)
        settings = common if act is not None else {**common, "batch_size": None, "epochs_asked": epochs}
        score = _score(network, task, name, prediction, measured, common=settings, features=kept, code=code)
        if prediction.maps:
            file = out / f"examples-{_key(name, network, task)}.npz"
            score = replace(score, examples=save_examples(file, task, parts["test"], prediction.maps))
        append_jsonl(out / SCORES, score.to_json())
        scores.append(score)
    return scores


def _check(protocols: Sequence[str], kind: Kind) -> None:
    for name in protocols:
        if name not in PROTOCOLS:
            raise unknown_name("protocol", name, PROTOCOLS)
    fitting = [name for name, protocol in PROTOCOLS.items() if kind in protocol.kinds]
    if not protocols or len(set(protocols)) != len(protocols) or not set(protocols) <= set(fitting):
        raise ConfigInvalid(
            f"protocols {', '.join(protocols) or '(none)'} for a task of kind {kind}",
            expected=f"some of {', '.join(fitting)}, each once",
        )


def _supervision(features: Mapping[Part, Tensor], parts: Mapping[Part, LabelledPixels], task: Task) -> Supervision:
    return Supervision(
        train=features["train"],
        train_labels=torch.from_numpy(parts["train"].labels),
        validation=features["validation"],
        validation_labels=torch.from_numpy(parts["validation"].labels),
        num_classes=task.num_classes,
    )


def _train(
    protocol: str,
    network: Network,
    task: Task,
    parts: Mapping[Part, LabelledPixels],
    *,
    precision: Precision,
    epochs: int | None,
    out: Path,
    show: Callable[[int, int], None] | None,
) -> Prediction:
    """Run a protocol that sees pixels."""
    act = PROTOCOLS[protocol].on_pixels
    assert act is not None, "it is one of the two"
    return act(
        Trial(
            backbone=network.backbone,
            method=network.method,
            task=task.name,
            kind=task.kind,
            num_classes=task.num_classes,
            train=parts["train"],
            validation=parts["validation"],
            test=parts["test"].without_answers(),
            seed=network.seed,
            precision=precision,
            epochs=epochs,
            folder=out / TRAINING / _key(protocol, network, task),
            progress=show,
        )
    )


def _key(protocol: str, network: Network, task: Task) -> str:
    """Name files of one judgement."""
    what = network.checkpoint if network.sha256 is None else network.sha256[:12]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{protocol}-{task.name}-{task.split}-{what}-seed{network.seed}")


def _measure(task: Task, test: LabelledPixels, prediction: Prediction) -> Measured:
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


def _extract_all(
    backbone: Backbone,
    parts: Mapping[Part, LabelledPixels],
    *,
    batch_size: int,
    precision: Precision,
    progress: Callable[[int, int], None] | None,
) -> dict[Part, Tensor]:
    """Compute the features of every part, counted as one piece of work."""
    total, before = sum(map(len, parts.values())), 0
    features: dict[Part, Tensor] = {}
    for name, part in parts.items():
        shown = None if progress is None else _shifted(progress, before, total)
        features[name] = extract(backbone, part, batch_size=batch_size, precision=precision, progress=shown)
        before += len(part)
    return features


def _shifted(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: progress(before + done, total)


def _score(
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
        num_test=len(task.positions["test"]),
        num_classes=task.num_classes,
        synthetic=task.synthetic,
        settings={**prediction.settings, **common},
        split_sha256=task.split_sha256,
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


def _save_features(out: Path, network: Network, task: Task, features: Tensor, part: LabelledPixels) -> str:
    """Write the features of the test part; give the name of the file."""
    values = features.numpy().astype(np.float32)
    if not np.isfinite(values).all():
        raise SampleInvalid("features hold NaN or infinity", expected="finite features")
    what = network.checkpoint if network.sha256 is None else network.sha256[:12]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"features-{task.name}-{task.split}-{what}-seed{network.seed}.npz")
    try:
        with atomic_path(out / name) as partial, partial.open("wb") as stream:
            np.savez_compressed(
                stream, features=values, labels=part.labels, classes=np.array(task.classes), ids=np.array(part.ids)
            )
    except OSError as error:
        raise WriteFailed(f"{out / name} cannot be written ({error})", path=str(out / name)) from error
    return name
