# SPDX-License-Identifier: Apache-2.0
"""The linear probes and fine-tunings of the published table, as their released scripts set them.

One table by method, task and form. All: 100 epochs, 4 processes of 64 items (one of ours takes their batch of 256),
crops and horizontal flips, judged on the central 224 of 256 px. Where a program freezes what it says it tunes, this
does too and says so in `deviations`; what cannot be told from the scripts is said there as well.
Two differences everywhere: the epoch is chosen on our validation part and never on the part that is reported (most of
their programs pick the best of the latter), and values are of the whole part (theirs are means over batches, which
stand beside ours in the scores).
Source: scripts/benchmark and src/benchmark/transfer_classification of zhu-xlab/SSL4EO-S12.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from ssl4eo.backbones.architectures import Pooling
from ssl4eo.errors import ConfigInvalid
from ssl4eo.evaluation.protocols.finetune import HeadName, Recipe, run_recipe
from ssl4eo.evaluation.protocols.protocol import Prediction, Trial
from ssl4eo.evaluation.protocols.tuning import Schedule, TuneConfig
from ssl4eo.training.optimizer import OptimizerConfig

EPOCHS = 100
BATCH = 256
"""4 processes of 64."""
SEEN = 224 / 256
CROPS: Mapping[str, tuple[float, float]] = MappingProxyType({"BE": (0.8, 1.0), "EU": (0.08, 1.0), "SS": (0.08, 1.0)})
GROUPS: Mapping[str, str] = MappingProxyType({"bigearthnet": "BE", "eurosat": "EU", "so2sat": "SS"})
"""Begin of a task's name -> group of the scripts."""
FROZEN = "the program freezes the network though it is called fine-tuning"
NO_PROGRAM = "the program is not in the repository: schedule and batch are those of its linear probe"
MOVES = "statistics of batch norm move in the network that is called frozen"
NO_DROP_PATH = "published with drop path 0.2, which is left out here"
HEAD_ONLY = "the published optimizer holds only the head, and its weight decay is forced to 0"


def _sgd(lr: float, *, decay: float = 0.0, nesterov: bool = False, layers: float = 1.0) -> OptimizerConfig:
    return OptimizerConfig("sgd", lr=lr, weight_decay=decay, nesterov=nesterov, decay_all=True, layer_decay=layers)


def _recipe(
    group: str,
    lr: float,
    schedule: Schedule,
    *deviations: str,
    head: HeadName = "linear",
    pooling: Pooling | None = None,
    optimizer: OptimizerConfig | None = None,
    batch: int = BATCH,
    **tuning: Any,
) -> Recipe:
    config = TuneConfig(
        EPOCHS,
        batch,
        optimizer or _sgd(lr),
        schedule,
        milestones=(60, 80) if schedule == "steps" else (),
        **tuning,
    )
    return Recipe(
        config,
        head=head,
        pooling=pooling,
        crop=CROPS[group],
        vertical_flip=0.0,
        rotation=0.0,
        seen=SEEN,
        deviations=deviations,
    )


def _linear(method: str, group: str, *, is_transformer: bool) -> Recipe | None:
    """Give the linear probe of a method, None where none is published."""
    big = group == "BE"
    frozen: dict[str, Any] = {"frozen": True}
    if method == "moco_v2":
        return _recipe(group, 8.0, "steps", MOVES, batch=1024 if big else BATCH, statistics_move=True, **frozen)
    if method == "moco_v3":
        return _recipe(group, 0.1, "cosine_by_epoch", **frozen)
    if method == "dino":
        pooling = "cls_last_4" if is_transformer else None
        return _recipe(group, 0.1 if big else 0.01, "cosine_by_epoch", pooling=pooling, **frozen)
    if method == "mae":
        return _recipe(group, 1.0 if big else 0.1, "cosine", head="batch_norm", pooling="cls", **frozen)
    if method == "data2vec":
        return _recipe(
            group,
            0.0,
            "cosine",
            NO_DROP_PATH,
            head="layer_norm",
            pooling="mean",
            optimizer=_sgd(1e-3 if big else 0.1, decay=1e-4, nesterov=True),
            warmup_epochs=10,
            **frozen,
        )
    return None


def _finetune(method: str, group: str, *, is_transformer: bool) -> Recipe | None:
    """Give the fine-tuning of a method, None where none is published."""
    recipe: Recipe | None = None
    if method == "moco_v2" and group == "BE":
        recipe = _recipe(group, 0.1, "cosine_by_epoch")
    elif method == "moco_v2":
        lr = 0.1 if group == "EU" else 0.01
        recipe = _recipe(group, lr, "steps", FROZEN, MOVES, frozen=True, statistics_move=True)
    elif method == "moco_v3":
        recipe = _recipe(group, 0.01 if group == "BE" else 0.1, "cosine_by_epoch", fixed_mode=group == "BE")
    elif method == "dino":
        lr = {"BE": 0.01, "EU": 1e-3, "SS": 3e-5 if is_transformer else 3e-6}[group]
        pooling = "cls_last_4" if is_transformer else None
        recipe = _recipe(group, lr, "cosine_by_epoch", NO_PROGRAM, pooling=pooling)
    elif method == "mae":
        told = (HEAD_ONLY,) if group == "BE" else (HEAD_ONLY, FROZEN)
        recipe = _recipe(group, 0.1, "cosine", *told, head="batch_norm", pooling="cls", warmup_epochs=10, frozen=True)
    elif method == "data2vec":
        recipe = _recipe(
            group,
            0.0,
            "cosine",
            NO_DROP_PATH,
            head="layer_norm",
            pooling="mean",
            optimizer=_sgd(1e-3, decay=1e-4, nesterov=True, layers=0.65),
            warmup_epochs=10,
        )
    return recipe


def published_recipe(form: Literal["linear", "finetune"], method: str, task: str, *, is_transformer: bool) -> Recipe:
    """Look up what the released scripts do.

    Args:
        form: linear or finetune.
        method: that trained the network.
        task: name of the task.
        is_transformer: whether the network is one.

    Raises:
        ConfigInvalid: no such script is published.
    """
    group = next((g for begin, g in GROUPS.items() if task.startswith(begin)), None)
    make = _linear if form == "linear" else _finetune
    found = None if group is None else make(method, group, is_transformer=is_transformer)
    if found is None:
        raise ConfigInvalid(
            f"{form}_as_published of {method or 'a network of an unknown method'} on {task}",
            expected=f"a method of the published table on one of {', '.join(GROUPS)}",
            remedy="judge it by `linear` or `finetune`, which are for every network and task",
        )
    return found


def linear_as_published(trial: Trial) -> Prediction:
    """Train a linear layer as the scripts of the network's method do.

    Raises:
        ConfigInvalid: no such script is published.
    """
    return _run("linear", trial)


def finetune_as_published(trial: Trial) -> Prediction:
    """Fine-tune as the scripts of the network's method do, with their defects.

    Raises:
        ConfigInvalid: no such script is published.
    """
    return _run("finetune", trial)


def _run(form: Literal["linear", "finetune"], trial: Trial) -> Prediction:
    is_transformer = trial.backbone.patch is not None
    return run_recipe(trial, published_recipe(form, trial.method, trial.task, is_transformer=is_transformer))


def require_linear(method: str, task: str, is_transformer: bool) -> None:
    """Raise unless a linear probe of a method on a task is published.

    Raises:
        ConfigInvalid: it is not.
    """
    published_recipe("linear", method, task, is_transformer=is_transformer)


def require_finetune(method: str, task: str, is_transformer: bool) -> None:
    """Raise unless a fine-tuning of a method on a task is published.

    Raises:
        ConfigInvalid: it is not.
    """
    published_recipe("finetune", method, task, is_transformer=is_transformer)
