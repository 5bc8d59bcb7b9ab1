# SPDX-License-Identifier: Apache-2.0
"""What a run tells: a log of JSON lines for programs, a display for people, event files for TensorBoard.

The log is the record; the other two repeat it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ssl4eo.files import append_jsonl
from ssl4eo.training.display import Display
from ssl4eo.training.events import Events
from ssl4eo.training.monitor import Health

LOG = "log.jsonl"
DIVERGED = "diverged.json"
"""The batches around a step at which something was not finite."""
DAMAGED = "damaged.jsonl"
"""The stored images that could not be read and were replaced."""


class Journal:
    """Writes RUN/log.jsonl and shows the run on stderr, for the length of a `with` block."""

    def __init__(
        self,
        run: Path,
        *,
        first_step: int,
        num_steps: int,
        batch_size: int,
        quiet: bool,
        tensorboard: bool = False,
        mute: bool = False,
    ) -> None:
        """Start counting at `first_step`; draw no bar if `quiet`, say and write nothing at all if `mute`."""
        self.alarms: list[str] = []
        self.run, self._path = run, run / LOG
        self._mute = mute
        self._batch_size = batch_size
        self._mark = (time.perf_counter(), first_step)
        self._display = Display(first_step=first_step, num_steps=num_steps, quiet=quiet or mute)
        self._events = Events(run, first_step=first_step) if tensorboard and not mute else None

    def __enter__(self) -> Self:
        """Show the run."""
        self._display.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the display away, close the event files."""
        self._display.__exit__(kind, error, trace)
        if self._events is not None:
            self._events.close()

    def row(self, kind: str, step: int, epoch: float, **values: Any) -> None:
        """Append one line to the log."""
        if self._mute:
            return
        append_jsonl(self._path, {"kind": kind, "step": step, "epoch": round(epoch, 4), **values})

    def step(
        self,
        step: int,
        epoch: float,
        loss: float,
        *,
        lr: float,
        health: Health,
        metrics: Mapping[str, float],
        stages: Mapping[str, float],
    ) -> None:
        """Log a step.

        Args:
            step: steps done.
            epoch: epochs done.
            loss: of the step.
            lr: learning rate.
            health: of the embeddings.
            metrics: what the method and the optimizer tell of the step.
            stages: rates of the stages and share of waiting since the last line.
        """
        now = time.perf_counter()
        rate = (step - self._mark[1]) * self._batch_size / max(1e-9, now - self._mark[0])
        self._mark = (now, step)
        values: dict[str, float | None] = {"loss": loss, "lr": lr, "images_per_second": round(rate, 2)}
        readings = {"feature_std": health.feature_std, "effective_rank": health.effective_rank, "rankme": health.rankme}
        values |= {name: value if math.isfinite(value) else None for name, value in readings.items()}
        values |= {name: round(value, 4) for name, value in stages.items()} | dict(metrics)
        self.row("step", step, epoch, **values)
        if self._events is not None:
            self._events.add("step", step, values)
        waiting = stages.get("waiting_share")
        self._display.show(
            loss=f"loss {loss:.3f}",
            rate=f"{rate:.0f} img/s",
            waiting="" if waiting is None else f"waiting {100 * waiting:.0f} %",
        )

    def alarm(self, step: int, epoch: float, message: str) -> None:
        """Log an alarm and print it in red."""
        if self._mute:
            return
        self.alarms.append(message)
        self.row("alarm", step, epoch, message=message)
        self._display.alarm(f"at step {step}: {message}")

    def probe(
        self, step: int, epoch: float, *, knn: float, linear: float | None, feature_std: float, effective_rank: float
    ) -> None:
        """Log a reading of the backbone on validation; the time it took does not count as training."""
        health = {"feature_std": feature_std, "effective_rank": effective_rank}
        self.row("knn", step, epoch, accuracy=knn, task="validation", **health)
        self._display.show(knn=f"k-NN {100 * knn:.1f} %")
        if linear is not None:
            self.row("probe", step, epoch, accuracy=linear, task="validation", protocol="linear")
            self._display.show(linear=f"linear {100 * linear:.1f} %")
        if self._events is not None:
            self._events.add("probe", step, {"knn": knn, "linear": linear, **health})
        self._mark = (time.perf_counter(), step)

    def advance(self, step: int) -> None:
        """Say that `step` steps are done."""
        self._display.advance(step)
