# SPDX-License-Identifier: Apache-2.0
"""Watching a run: what is read after each step, written to the journal, and able to stop it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import TrainingDiverged
from ssl4eo.loading.batches import Batch
from ssl4eo.methods.gather import gather_objects
from ssl4eo.methods.method import Method
from ssl4eo.pretraining.config import EngineConfig
from ssl4eo.pretraining.step import StepReport
from ssl4eo.training.journal import LOG, Journal
from ssl4eo.training.monitor import CollapseMonitor

Probe = Callable[[Backbone], float]
"""Judges a backbone in passing: accuracy, 0 to 1."""


@dataclass
class Watch:
    """Reads loss, embeddings and k-NN at their times."""

    engine: EngineConfig
    steps_per_epoch: int
    num_steps: int
    journal: Journal
    probe: Probe | None
    last_loss: float = math.nan
    _monitor: CollapseMonitor = field(default_factory=CollapseMonitor)
    _saved: float = field(default_factory=time.monotonic)

    def start(self, step: int, method: Method) -> None:
        """Judge the untrained network, where the run begins."""
        if step == 0:
            self._judge(0, method)

    def step(self, step: int, report: StepReport, batch: Batch, *, method: Method) -> None:
        """Read what is due after `step` steps.

        Raises:
            TrainingDiverged: the loss is not finite; the items of the batch are in the log.
        """
        self._monitor.add(report.embedding)
        if step % self.engine.log_every == 0 or self.ends_epoch(step):
            self._read(step, report, batch)
        if self.ends_epoch(step) and (self._due(step, self.engine.probe_every) or step == self.num_steps):
            self._judge(step, method)
        self.journal.advance(step)

    def ends_epoch(self, step: int) -> bool:
        """Say whether `step` steps are whole epochs."""
        return step % self.steps_per_epoch == 0

    def saves(self, step: int) -> bool:
        """Say whether a checkpoint is due after `step` steps: by epochs, by time, and at the end."""
        by_epoch = self.ends_epoch(step) and self._due(step, self.engine.save_every)
        by_time = time.monotonic() - self._saved >= 60 * self.engine.save_minutes
        if not (by_epoch or by_time or step == self.num_steps):
            return False
        self._saved = time.monotonic()
        return True

    def _due(self, step: int, every: int) -> bool:
        return every > 0 and (step // self.steps_per_epoch) % every == 0

    def _judge(self, step: int, method: Method) -> None:
        if self.probe is not None and self.engine.probe_every:
            self.journal.probe(step, step / self.steps_per_epoch, self.probe(method.backbone))

    def _read(self, step: int, report: StepReport, batch: Batch) -> None:
        epoch = step / self.steps_per_epoch
        self.last_loss = float(report.loss)
        if not math.isfinite(self.last_loss):
            index = [i for part in gather_objects(batch.index.tolist()) for i in part]  # all processes are here
            self.journal.row("diverged", step, epoch, index=index, loss=str(self.last_loss))
            raise TrainingDiverged(
                f"the loss is {self.last_loss} at step {step}",
                expected="a finite number",
                remedy=f"lower optimizer.lr or use engine.precision 32-true; {LOG} names the items of the batch",
                step=step,
            )
        metrics = {name: float(value) for name, value in report.metrics.items()}
        metrics["grad_norm"] = float(report.grad_norm)
        self.journal.step(step, epoch, self.last_loss, lr=report.lr, health=self._monitor.check(), **metrics)
