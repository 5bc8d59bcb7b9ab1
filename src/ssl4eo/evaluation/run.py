# SPDX-License-Identifier: Apache-2.0
"""One network, one task, some protocols -> scores, one line each in RUN/scores.jsonl.

The one path for every pair of task and protocol. Features are computed once and shared by the protocols of a
call; a protocol never sees test labels; metrics are of the whole test part.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl4eo.archive.journal import require_outside
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.own import OwnBackbone
from ssl4eo.environment import commit
from ssl4eo.errors import ConfigInvalid, SampleInvalid, WriteFailed, unknown_name
from ssl4eo.evaluation.examples import save_answers, save_examples
from ssl4eo.evaluation.features import Precision, extract
from ssl4eo.evaluation.network import Network, network_of
from ssl4eo.evaluation.protocols.protocol import Prediction, Supervision, Trial
from ssl4eo.evaluation.protocols.table import PROTOCOLS
from ssl4eo.evaluation.protocols.tuning import forget
from ssl4eo.evaluation.score import BOOTSTRAP_SEED, Score, make_score, measure
from ssl4eo.evaluation.tasks.task import PARTS, Kind, LabelledPixels, Part, Task
from ssl4eo.files import append_jsonl, atomic_path, require_writable

SCORES = "scores.jsonl"
TRAINING = "training"
"""Folder beside the scores in which protocols that train keep what an interrupted run goes on from."""


def evaluate(  # noqa: PLR0913 - options by keyword
    network: Network | OwnBackbone,
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
        network: what to judge, of `load_network`, or a module of one's own in an OwnBackbone; stays as it is.
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
        ConfigInvalid: no or a repeated protocol, too few items for one, or no network.
        ContractMismatch: the task's pixels cannot be fed to the network.
        SampleInvalid: features that are not finite.
        TargetExists: `out` is or lies in an archive.
        WriteFailed: nothing can be written to `out`.
    """
    network = _as_network(network)
    _check(protocols, task.kind)
    for name in protocols:
        PROTOCOLS[name].require_for(network, task)
    if epochs is not None and epochs < 1:
        raise ConfigInvalid(f"{epochs} epochs", expected="1 or more")
    require_outside(out, is_folder=True)
    require_writable(out / SCORES)
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
        measured = measure(task, parts["test"], prediction)
        settings = common if act is not None else {**common, "batch_size": None, "epochs_asked": epochs}
        score = make_score(network, task, name, prediction, measured, common=settings, features=kept, code=code)
        file = out / f"examples-{_key(name, network, task, epochs)}.npz"
        if prediction.maps:
            score = replace(score, examples=save_examples(file, task, parts["test"], prediction.maps))
        elif task.kind == "class":
            answers = save_answers(file, task, parts["test"], prediction.labels.numpy())
            score = replace(score, examples=answers)
        append_jsonl(out / SCORES, score.to_json())
        forget(out / TRAINING / _key(name, network, task, epochs))
        scores.append(score)
    return scores


def _as_network(found: object) -> Network:
    if isinstance(found, OwnBackbone):
        return network_of(found)
    if not isinstance(found, Network):
        raise ConfigInvalid(
            f"a {type(found).__name__} to judge",
            expected="what ssl4eo.evaluation.network.load_network gives, or an OwnBackbone",
            remedy="wrap a module of your own: ssl4eo.backbones.own.OwnBackbone(module, contract, image_size=..., "
            "name=..., trained=...)",
        )
    return found


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
            folder=out / TRAINING / _key(protocol, network, task, epochs),
            progress=show,
        )
    )


def _key(protocol: str, network: Network, task: Task, epochs: int | None) -> str:
    """Name files of one judgement: another fraction, size or number of epochs is another one."""
    what = network.checkpoint if network.sha256 is None else network.sha256[:12]
    facts = (task.fraction, sorted(task.part("train").ids), network.backbone.image_size, epochs)
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:8]
    text = f"{protocol}-{task.name}-{task.split}-{what}-seed{network.seed}-{digest}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


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


def _one_each(labels: NDArray[np.int64], classes: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Give one class an item, to color it by: of items with any number of labels the only one, or how many."""
    if labels.ndim == 1:
        return labels, tuple(classes)
    if not labels.shape[1]:
        return np.zeros(len(labels), np.int64), ("item",)
    counts = labels.sum(axis=1)
    single = labels.argmax(axis=1)
    names = (*classes, "several labels", "no label")
    return np.where(counts == 1, single, np.where(counts == 0, len(classes) + 1, len(classes))), names


def _save_features(out: Path, network: Network, task: Task, features: Tensor, part: LabelledPixels) -> str:
    """Write the features of the test part; give the name of the file."""
    values = features.numpy().astype(np.float32)
    if not np.isfinite(values).all():
        raise SampleInvalid("features hold NaN or infinity", expected="finite features")
    labels, classes = _one_each(part.labels, task.classes)
    what = network.checkpoint if network.sha256 is None else network.sha256[:12]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"features-{task.name}-{task.split}-{what}-seed{network.seed}.npz")
    try:
        with atomic_path(out / name) as partial, partial.open("wb") as stream:
            np.savez_compressed(
                stream, features=values, labels=labels, classes=np.array(classes), ids=np.array(part.ids)
            )
    except OSError as error:
        raise WriteFailed(f"{out / name} cannot be written ({error})", path=str(out / name)) from error
    return name
