# SPDX-License-Identifier: Apache-2.0
"""One loop for all protocols that train: epochs over labelled pixels, rates by schedule, a choice made on validation.

Order and views of an epoch come from (seed, epoch, position), so that the same seed gives the same scores and an
interrupted run goes on as if nothing had happened: after each epoch the whole state is kept, where there is a folder.
Frozen means frozen: neither the weights nor the statistics of a frozen network move, unless a published protocol asks
for the defect by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import logging
import math
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl4eo.errors import ConfigInvalid, SampleInvalid
from ssl4eo.evaluation.protocols.protocol import Trial
from ssl4eo.files import whole_or_told
from ssl4eo.loading.prefetch import prefetched
from ssl4eo.training.optimizer import OptimizerConfig, make_optimizer, set_rates
from ssl4eo.training.schedule import ScheduleConfig

log = logging.getLogger(__name__)

Schedule = Literal["cosine", "cosine_by_epoch", "steps", "exponential"]
STATE = "state.pt"


@dataclass(frozen=True)
class TuneConfig:
    """How a network or a head on it is trained."""

    epochs: int
    batch_size: int
    optimizer: OptimizerConfig
    schedule: Schedule = "cosine"
    """cosine: per step, after a warm-up; cosine_by_epoch: to 0, constant within an epoch; steps: times 0.1 at each
    milestone; exponential: times `gamma` after each epoch."""
    warmup_epochs: float = 0.0
    milestones: tuple[int, ...] = ()
    """Epochs."""
    gamma: float = 0.95
    frozen: bool = False
    """Train the head alone."""
    statistics_move: bool = False
    """Whether a frozen network's batch norms stay in training mode: a defect of published programs."""
    fixed_mode: bool = False
    """Whether a network that is trained stays in evaluation mode, as some published programs have it."""
    choose: Literal["best", "last"] = "best"
    """Which epoch is judged: the best on validation, or the last."""

    def shortened(self, epochs: int | None) -> TuneConfig:
        """Give this for another number of epochs, warm-up and milestones at the same share of it.

        Raises:
            ConfigInvalid: fewer than one.
        """
        if epochs is None or epochs == self.epochs:
            return self
        if epochs < 1:
            raise ConfigInvalid(f"{epochs} epochs", expected="1 or more")
        share = epochs / self.epochs
        return dataclasses.replace(
            self,
            epochs=epochs,
            warmup_epochs=self.warmup_epochs * share,
            milestones=tuple(round(m * share) for m in self.milestones),
        )

    def factor(self, step: int, *, steps_per_epoch: int) -> float:
        """Give the share of the peak learning rate at a step."""
        epoch = step // steps_per_epoch
        if self.schedule == "steps":
            return 0.1 ** sum(epoch >= milestone for milestone in self.milestones)
        if self.schedule == "exponential":
            return self.gamma**epoch
        if self.schedule == "cosine_by_epoch":
            return 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        curve = ScheduleConfig(warmup_epochs=self.warmup_epochs)
        return curve.factor(step, num_steps=self.epochs * steps_per_epoch, steps_per_epoch=steps_per_epoch)


class Examples(NamedTuple):
    """One batch: images as stored, targets, as the loss takes them."""

    images: tuple[Tensor, ...]
    """Each (B, C, S, S), in the source's unit; two of a change."""
    targets: Tensor


@dataclass(frozen=True, eq=False)
class Lesson:
    """What the loop trains."""

    model: nn.Module
    """With the network as `backbone`; everything that is not frozen is trained."""
    batches: Callable[[int], Iterable[Examples]]
    """Of an epoch, from 0."""
    steps_per_epoch: int
    loss: Callable[[nn.Module, Examples], Tensor]
    validate: Callable[[nn.Module], float]
    """Value on validation, the larger the better."""


@dataclass
class Course:
    """How far training is."""

    epoch: int
    curve: list[dict[str, float]]
    best: dict[str, Tensor] | None
    """Weights of the epoch that is best so far."""


def tune(lesson: Lesson, config: TuneConfig, trial: Trial) -> list[dict[str, float]]:
    """Train a model in place; it ends with the weights of the chosen epoch. Gives a row for each epoch.

    Raises:
        SampleInvalid: the loss is not finite.
    """
    model, device = lesson.model, next(lesson.model.parameters()).device
    if config.frozen:
        backbone_of(model).requires_grad_(requires_grad=False)
    optimizer = make_optimizer(config.optimizer, model.named_parameters(), fused=False)
    key = _key(config, trial, lesson)
    course = _resume(trial.folder, key, model, optimizer) or Course(0, [], None)
    for epoch in range(course.epoch, config.epochs):
        _set_modes(model, config)
        losses: list[float] = []
        for number, batch in enumerate(prefetched(lesson.batches(epoch))):
            step = epoch * lesson.steps_per_epoch + number
            lr = config.optimizer.peak(config.batch_size) * config.factor(step, steps_per_epoch=lesson.steps_per_epoch)
            set_rates(optimizer, lr=lr, weight_decay=config.optimizer.weight_decay)
            torch.manual_seed(_seed(trial.seed, step))
            with torch.autocast(device.type, torch.bfloat16, enabled=trial.precision == "bf16"):
                loss = lesson.loss(model, batch)
            _require_finite(loss, epoch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # pyright: ignore[reportUnknownMemberType] - torch's
            optimizer.step()
            losses.append(float(loss.detach()))
            if trial.progress is not None:
                trial.progress(step + 1, config.epochs * lesson.steps_per_epoch)
        value = lesson.validate(model)
        if config.choose == "best" and value > max((row["validation"] for row in course.curve), default=-math.inf):
            course.best = {name: v.detach().clone() for name, v in model.state_dict().items()}
        course.curve.append({"epoch": epoch + 1, "loss": float(np.mean(losses)), "validation": value})
        course.epoch = epoch + 1
        _keep(trial.folder, key, course, model, optimizer)
    if course.best is not None:
        model.load_state_dict(course.best)
    model.eval()
    return course.curve


def forget(folder: Path) -> None:
    """Remove what an interrupted run would go on from, once its score is written."""
    if (folder / STATE).is_file():
        (folder / STATE).unlink()
        folder.rmdir()


def judged_epoch(curve: list[dict[str, float]], config: TuneConfig) -> int:
    """Give the epoch, from 1, whose weights are judged."""
    if config.choose == "last":
        return len(curve)
    return 1 + int(np.argmax([row["validation"] for row in curve]))


def backbone_of(model: nn.Module) -> nn.Module:
    """Give the network below a head."""
    backbone = model.backbone
    assert isinstance(backbone, nn.Module), "models of protocols have one"
    return backbone


def order_of(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Give the order of an epoch: a permutation of `count` positions."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def batches_of(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut an order into batches; a last one of a single item joins the one before, for batch norm needs two."""
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    return [order[start:stop] for start, stop in itertools.pairwise([*starts, len(order)])]


def _set_modes(model: nn.Module, config: TuneConfig) -> None:
    model.train()
    if (config.frozen and not config.statistics_move) or config.fixed_mode:
        backbone_of(model).eval()


def _seed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.sha256(f"tune:{seed}:{step}".encode()).digest()[:7], "big")


def _require_finite(loss: Tensor, epoch: int) -> None:
    if not torch.isfinite(loss):
        raise SampleInvalid(
            f"the loss is {float(loss.detach())} in epoch {epoch + 1}",
            expected="a finite one",
            remedy="the learning rate is too high for this network, or its pixels are not what its contract says",
        )


def _key(config: TuneConfig, trial: Trial, lesson: Lesson) -> str:
    """Hash what a state is of: only a run of the same kind goes on from it."""
    shapes = {name: list(value.shape) for name, value in lesson.model.state_dict().items()}
    parts = [(part.ids, hashlib.sha256(part.labels.tobytes()).hexdigest()) for part in (trial.train, trial.validation)]
    source = trial.train.source
    pixels = [source.identity, str(source.contract), str(trial.backbone.contract)]
    facts = [dataclasses.asdict(config), trial.seed, trial.task, trial.precision, parts, pixels, shapes]
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def _keep(folder: Path | None, key: str, course: Course, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    state = {"key": key, **vars(course), "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    with whole_or_told(folder / STATE, (RuntimeError,)) as partial:
        torch.save(state, partial)


def _resume(folder: Path | None, key: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> Course | None:
    if folder is None or not (folder / STATE).is_file():
        return None
    try:
        state: Mapping[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
        if state["key"] != key:
            log.warning("%s is of a run with other settings: begun anew", folder / STATE)
            return None
    except (OSError, EOFError, RuntimeError, KeyError, pickle.UnpicklingError):
        log.warning("%s cannot be read: begun anew", folder / STATE)
        return None
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    log.info("going on after epoch %d", state["epoch"])
    return Course(state["epoch"], list(state["curve"]), state["best"])
