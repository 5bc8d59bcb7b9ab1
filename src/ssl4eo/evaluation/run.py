# SPDX-License-Identifier: Apache-2.0
"""One network, one task, some protocols -> scores, one line each in RUN/scores.jsonl.

The one path for every pair of task and protocol. Features are computed once and shared by the protocols of a
call; a protocol never sees test labels; metrics are of the whole test part.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import is_own, read_header
from ssl4eo.checkpoints.load import checkpoint_file, load_backbone
from ssl4eo.environment import commit, now, versions
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, SampleInvalid, WriteFailed, unknown_name
from ssl4eo.evaluation.features import Precision, extract
from ssl4eo.evaluation.metrics import Accuracy, measure_accuracy
from ssl4eo.evaluation.protocols.knn import knn
from ssl4eo.evaluation.protocols.linear import linear
from ssl4eo.evaluation.protocols.protocol import Prediction, Protocol, Supervision
from ssl4eo.evaluation.tasks.task import PARTS, LabelledPixels, Part, Task
from ssl4eo.files import append_jsonl, atomic_path, file_sha256

SCORES = "scores.jsonl"
BOOTSTRAP_SEED = 0

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({"knn": knn, "linear": linear})


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
    value: float
    """0 to 1."""
    interval: tuple[float, float]
    """95 %, from resampling the test items."""
    average_accuracy: float
    """Mean over the classes, 0 to 1."""
    recall: Mapping[str, float]
    """By class, 0 to 1."""
    confusion: Sequence[Sequence[int]]
    """Counts, true class by predicted class."""
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
    commit: str | None
    versions: Mapping[str, str | None]
    time: str
    """[UTC, ISO 8601]."""
    features: str | None
    """File beside scores.jsonl with the features of the test part."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self)


def load_network(checkpoint: str, *, seed: int = 0, image_size: int | None = None, untrained: bool = False) -> Network:
    """Load what is to be judged, on an accelerator where there is one.

    Args:
        checkpoint: `random.<backbone>.<input>`, a file, or a run folder.
        seed: of the weights of an untrained network; recorded for a file that does not tell its own.
        image_size: that the network is to see [px]; None: 224 for an untrained one, else what it was trained with.
        untrained: take the network of a file as it was before its first step: the fair baseline of its run.

    Raises:
        DataMissing, CheckpointInvalid, UnknownName: no such network.
        ConfigInvalid: an image size that the network cannot see.
    """
    path = checkpoint_file(checkpoint)
    backbone = load_backbone(checkpoint, seed=seed, image_size=image_size, untrained_weights=untrained)
    backbone.to("cuda" if torch.cuda.is_available() else "cpu")
    if path is None:
        return Network(checkpoint, backbone, None, seed)
    if untrained:
        return Network(f"{checkpoint} untrained", backbone, None, _seed_of(path, otherwise=0))
    return Network(checkpoint, backbone, file_sha256(path), _seed_of(path, otherwise=seed))


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


def evaluate(
    network: Network,
    task: Task,
    protocols: Sequence[str],
    *,
    out: Path,
    save_features: bool = False,
    batch_size: int = 64,
    precision: Precision = "32",
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
        progress: called with (items done, items in all) after each batch.

    Returns:
        One score for each protocol, in that order.

    Raises:
        UnknownName: no such protocol.
        ConfigInvalid: no or a repeated protocol, or too few items for one.
        ContractMismatch: the task's pixels cannot be fed to the network.
        SampleInvalid: features that are not finite.
    """
    _check(protocols)
    code = commit()  # before the work: a checkout may move on meanwhile
    parts: dict[Part, LabelledPixels] = {name: task.part(name) for name in PARTS}
    features = _extract_all(network.backbone, parts, batch_size=batch_size, precision=precision, progress=progress)
    seen = Supervision(
        train=features["train"],
        train_labels=torch.from_numpy(parts["train"].labels),
        validation=features["validation"],
        validation_labels=torch.from_numpy(parts["validation"].labels),
        num_classes=task.num_classes,
    )
    predictions = {name: PROTOCOLS[name](seen, features["test"]) for name in protocols}
    kept = _save_features(out, network, task, features["test"], parts["test"]) if save_features else None
    common = {
        "image_size": network.backbone.image_size,
        "batch_size": batch_size,
        "precision": precision,
        "num_validation": len(parts["validation"]),
        "bootstrap_seed": BOOTSTRAP_SEED,
    }
    scores: list[Score] = []
    for name, prediction in predictions.items():
        measured = measure_accuracy(
            parts["test"].labels, prediction.labels.numpy(), num_classes=task.num_classes, seed=BOOTSTRAP_SEED
        )
        score = _score(network, task, name, prediction, measured, common=common, features=kept, code=code)
        append_jsonl(out / SCORES, score.to_json())
        scores.append(score)
    return scores


def _check(protocols: Sequence[str]) -> None:
    for name in protocols:
        if name not in PROTOCOLS:
            raise unknown_name("protocol", name, PROTOCOLS)
    if not protocols or len(set(protocols)) != len(protocols):
        raise ConfigInvalid(
            f"protocols {', '.join(protocols) or '(none)'}", expected=f"some of {', '.join(PROTOCOLS)}, each once"
        )


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
    measured: Accuracy,
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
        metric="accuracy",
        value=measured.overall,
        interval=measured.interval,
        average_accuracy=measured.average,
        recall=dict(zip(task.classes, measured.recall, strict=True)),
        confusion=measured.confusion.tolist(),
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
        commit=code,
        versions=versions(),
        time=now(),
        features=features,
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
