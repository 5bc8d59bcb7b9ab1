# SPDX-License-Identifier: Apache-2.0
"""Watching a run: what is read after each step, written to the journal, and able to stop it.

Loss and gradients of every step are looked at: on a CPU at once, on a GPU when a line of the log or a checkpoint is
due, since each look makes the device wait. Weights are looked at before they are kept: an update may break them though
its loss and its gradients were numbers. Everything else is read when a line is due.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor

from ssl4eo.archive.ledger import NotedImages
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.training_state import TrainingState
from ssl4eo.errors import TrainingDiverged
from ssl4eo.evaluation.online import Reading
from ssl4eo.files import write_json
from ssl4eo.loading.batches import Batch
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.methods.gather import num_processes, rank
from ssl4eo.methods.method import Method
from ssl4eo.pretraining.config import EngineConfig
from ssl4eo.pretraining.step import StepReport
from ssl4eo.training.alarms import LossWatch, MetricWatch, StarvationWatch
from ssl4eo.training.finite import first_not_finite
from ssl4eo.training.journal import DAMAGED, DIVERGED, LOG, Journal
from ssl4eo.training.monitor import CollapseMonitor
from ssl4eo.training.stopwatch import Stopwatch, clock_of

Probe = Callable[[Backbone], Reading]
"""Judges a backbone in passing."""

WAITING, STEPPING, PREPARING = "waiting", "stepping", "preparing"


@dataclass(frozen=True)
class Seen:
    """A step as the guard keeps it."""

    step: int
    loss: Tensor
    grad_norm: Tensor
    index: Tensor

    def to_json(self, source: PixelSource) -> dict[str, Any]:
        """Name its samples; numbers that are not finite become text."""
        index = self.index.tolist()
        numbers = {"loss": _number(self.loss), "grad_norm": _number(self.grad_norm)}
        return {"step": self.step, **numbers, "index": index, "ids": [source.id_of(i) for i in index]}


MOST_SKIPPED = 64
"""Updates in a row that a gradient scaler may skip: it halves its scale each time, from 65,536 to 3.6e-15."""


class LossGuard:
    """Finds the first loss or norm of gradients that is not finite among the steps since it last looked."""

    def __init__(self, *, scaled: bool) -> None:
        """Start with no step.

        Args:
            scaled: gradients are those of a gradient scaler (16-bit floats): it tries scales that are too large now
                and then, skips their updates itself, and moves no weight; `MOST_SKIPPED` in a row are none of these.
        """
        self._scaled = scaled
        self._seen: deque[Seen] = deque()
        self._skipped = 0
        self._counted = 0
        """Steps without a finite norm in a row, and the last step that was looked at."""

    @property
    def last(self) -> list[Seen]:
        """Give the last step, nothing before the first."""
        return list(self._seen)[-1:]

    def add(self, seen: Seen) -> None:
        """Remember a step; its loss stays on the device."""
        self._seen.append(seen)

    def find(self) -> list[Seen]:
        """Give the step that is not finite and the one before, whose update made its weights; else nothing.

        The last step is kept for the next look.
        """
        if not self._seen:
            return []
        losses = torch.isfinite(torch.stack([s.loss for s in self._seen])).tolist()
        norms = torch.isfinite(torch.stack([s.grad_norm for s in self._seen])).tolist()
        bad = (k for k, finite in enumerate(losses) if not (finite and self._allows(norms[k], self._seen[k].step)))
        first = next(bad, None)
        if first is not None:
            return list(self._seen)[max(0, first - 1) : first + 1]
        while len(self._seen) > 1:
            self._seen.popleft()
        return []

    def _allows(self, is_finite: bool, step: int) -> bool:
        """Say whether a norm, finite or not, may be that of a step; a step that is looked at twice counts once."""
        if step > self._counted:
            self._counted, self._skipped = step, 0 if is_finite else self._skipped + 1
        return is_finite or (self._scaled and self._skipped < MOST_SKIPPED)


@dataclass
class Watch:
    """Reads loss, embeddings, times and the backbone at their times."""

    engine: EngineConfig
    steps_per_epoch: int
    num_steps: int
    journal: Journal
    probe: Probe | None
    source: PixelSource
    device: torch.device
    last_loss: float = math.nan
    _monitor: CollapseMonitor = field(default_factory=CollapseMonitor)
    _metrics: MetricWatch = field(default_factory=MetricWatch)
    _loss: LossWatch = field(default_factory=LossWatch)
    _loading: Tensor = field(default_factory=lambda: torch.zeros(3, dtype=torch.float64))
    """Since the last line: seconds of reading, seconds of rendering, samples."""
    _saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Start the clocks."""
        self._guard = LossGuard(scaled=self.engine.precision == "16-mixed")
        self._watch = Stopwatch(clock_of(self.device))
        self._starvation = StarvationWatch(num_workers=self.engine.num_workers)
        self._arrived: Any = None
        self._damaged = NotedImages(self.journal.run / DAMAGED)
        self._told_damaged = self._damaged.count()
        """Damaged images that were told, or were there before."""

    def start(self, step: int, method: Method) -> None:
        """Judge the untrained network, where the run begins."""
        if step == 0:
            self._judge(0, method)

    def state(self) -> dict[str, Any]:
        """Give what a continued run judges by, for a checkpoint; its readings are then those of an undisturbed run."""
        return {"monitor": self._monitor.state(), "metrics": self._metrics.state(), "loss": self._loss.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from the `state` of a checkpoint; one that is older than this has none and changes nothing."""
        if state:
            self._monitor.load_state(state["monitor"])
            self._metrics.load_state(state["metrics"])
            self._loss.load_state(state.get("loss", {}))

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Pass batches on and note how long the device waited for each; starting the workers does not count."""
        asked = None
        while (batch := next(batches, None)) is not None:
            self._arrived = self._watch.now()
            self._watch.add(WAITING, self._arrived if asked is None else asked, self._arrived)
            yield batch
            asked = self._watch.now()

    def step(self, step: int, report: StepReport, batch: Batch, *, method: Method) -> None:
        """Read what is due after `step` steps.

        Raises:
            TrainingDiverged: loss or gradients are not finite; diverged.json and the log name the samples of the batch.
        """
        self._watch.add(STEPPING, self._arrived, self._watch.now())
        for span in report.preparing:
            self._watch.add(PREPARING, *span)
        self._loading += torch.cat([batch.seconds, torch.tensor([float(len(batch.index))], dtype=torch.float64)])
        self._monitor.add(report.embedding)
        self._guard.add(Seen(step, report.loss, report.grad_norm, batch.index))
        due = step % self.engine.log_every == 0 or self.ends_epoch(step)
        if due or self.device.type == "cpu":
            self._require_finite()
        if due:
            self._read(step, report)
        if self.ends_epoch(step) and (self._due(step, self.engine.probe_every) or step == self.num_steps):
            self._judge(step, method)
        self.journal.advance(step)

    def ends_epoch(self, step: int) -> bool:
        """Say whether `step` steps are whole epochs."""
        return step % self.steps_per_epoch == 0

    def saves(self, step: int) -> bool:
        """Say whether a checkpoint is due after `step` steps: by epochs, by this process's time, and at the end."""
        by_epoch = self.ends_epoch(step) and self._due(step, self.engine.save_every)
        by_time = time.monotonic() - self._saved >= 60 * self.engine.save_minutes
        return by_epoch or by_time or step == self.num_steps

    def before_saving(self, state: TrainingState) -> None:
        """Look at losses, gradients and weights before they are kept; every process does, once all agreed to save.

        Raises:
            TrainingDiverged: something is not finite; such weights are not kept.
        """
        self._require_finite()
        self.require_finite_weights(state.step, {"method": state.method, "optimizer": state.optimizer})
        self._saved = time.monotonic()

    def require_finite_weights(self, step: int, tensors: Mapping[str, Any]) -> None:
        """Look at nested tensors after `step` steps.

        Raises:
            TrainingDiverged: one is not finite: the update of the last step or of one before it did that.
        """
        name = first_not_finite(tensors)
        if name is not None:
            self._diverge(f"{name} is not finite", step, self._guard.last)

    def _due(self, step: int, every: int) -> bool:
        return every > 0 and (step // self.steps_per_epoch) % every == 0

    def _judge(self, step: int, method: Method) -> None:
        if self.probe is None or not self.engine.probe_every:
            return
        reading, epoch = self.probe(method.backbone), step / self.steps_per_epoch
        self.journal.probe(
            step,
            epoch,
            knn=reading.knn,
            linear=reading.linear,
            feature_std=reading.feature_std,
            effective_rank=reading.effective_rank,
        )

    def _require_finite(self) -> None:
        found = self._guard.find()
        if not found:
            return
        last = found[-1]
        loss = _number(last.loss)
        what = f"the norm of the gradients is {last.grad_norm:g}"
        if isinstance(loss, str):
            what = f"the loss is {loss}"
        elif self.engine.precision == "16-mixed":
            what += f" for {MOST_SKIPPED} steps in a row, none of which could move a weight,"
        self._diverge(what, last.step, found)

    def _diverge(self, what: str, step: int, found: list[Seen]) -> NoReturn:
        """Write down the batches around `step` and end the run."""
        rows = [seen.to_json(self.source) for seen in found]
        epoch = step / self.steps_per_epoch
        # Each process writes down its own samples: all see the same numbers, and who waits for others may wait long.
        path = self.journal.run / (DIVERGED if rank() == 0 else f"diverged.{rank()}.json")
        write_json(path, {"found": what, "step": step, "epoch": epoch, "batches": rows})
        last = {name: rows[-1][name] for name in ("loss", "index", "ids")} if rows else {}
        self.journal.row("diverged", step, epoch, found=what, **last)
        raise TrainingDiverged(
            f"{what} at step {step}",
            expected="a finite number",
            remedy=f"{self._remedy(step)}; {DIVERGED} names the samples of the batch and of the one before, as {LOG} "
            "does",
            step=step,
        )

    def _remedy(self, step: int) -> str:
        """Say what to change: before the first update no rate is to blame."""
        precise = "" if self.engine.precision == "32-true" else ", use engine.precision 32-true"
        if step <= 1:
            return f"no weight was moved yet: look at these images and at the options of the method{precise}"
        return f"lower optimizer.lr{precise}, or take back what was changed of the recipe (weight decay, temperature)"

    def _read(self, step: int, report: StepReport) -> None:
        epoch = step / self.steps_per_epoch
        self.last_loss = float(report.loss)
        metrics = {name: float(value) for name, value in report.metrics.items()}
        health = self._monitor.check()
        stages = self._stages()
        alarms = [health.alarm, *self._metrics.check(metrics), self._loss.check(self.last_loss)]
        alarms += [self._starvation.check()]
        metrics["grad_norm"] = float(report.grad_norm)
        self.journal.step(step, epoch, self.last_loss, lr=report.lr, health=health, metrics=metrics, stages=stages)
        for alarm in filter(None, alarms):
            self.journal.alarm(step, epoch, f"{alarm} (loss {self.last_loss:.3f})")
        self._tell_replaced(step, epoch)

    def _tell_replaced(self, step: int, epoch: float) -> None:
        """Tell of damaged images when their number has doubled; all processes note theirs in one file."""
        number = self._damaged.count()
        if number >= max(1, 2 * self._told_damaged):
            self._told_damaged = number
            self.journal.alarm(
                step,
                epoch,
                f"damaged images so far, each counted once, that others were taken for: {number} "
                f"({self.journal.run / DAMAGED} names them; of an archive `ssl4eo verify` finds all)",
            )

    def _stages(self) -> dict[str, float]:
        """Give the samples a second that each stage alone would do, and the share of waiting, since the last line."""
        spans = self._watch.read()
        waited, stepped, prepared = (spans.get(name, []) for name in (WAITING, STEPPING, PREPARING))
        for pair in zip(waited, stepped, strict=True):
            self._starvation.add(*pair)
        read, rendered, num_samples = self._loading.tolist()
        self._loading.zero_()
        loaders = max(1, self.engine.num_workers)
        computed = sum(stepped) - sum(prepared)
        rates = {
            "read_per_second": loaders * num_samples / max(read, 1e-9),
            "augment_per_second": loaders * num_samples / max(rendered, 1e-9),
            "photometric_per_second": num_samples / max(sum(prepared), 1e-9),
            "compute_per_second": num_samples / max(computed, 1e-9),
        }
        # As the images a second of the log: of all processes, which have equal shares.
        rates = {name: num_processes() * rate for name, rate in rates.items()}
        return rates | {"waiting_share": sum(waited) / max(sum(waited) + sum(stepped), 1e-9)}


def _number(value: Tensor) -> float | str:
    plain = float(value)
    return plain if math.isfinite(plain) else str(plain)
