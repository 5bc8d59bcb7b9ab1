# SPDX-License-Identifier: Apache-2.0
"""What a run tells: a log of JSON lines for programs, a progress bar with rate and ETA for people."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ssl4eo.files import append_jsonl
from ssl4eo.training.monitor import Health

LOG = "log.jsonl"


class Journal:
    """Writes RUN/log.jsonl and draws the bar on stderr, for the length of a `with` block."""

    def __init__(
        self, run: Path, *, first_step: int, num_steps: int, batch_size: int, quiet: bool, mute: bool = False
    ) -> None:
        """Start counting at `first_step`; draw no bar if `quiet`, write nothing at all if `mute`."""
        self.alarms: list[str] = []
        self._mute = mute
        self._path = run / LOG
        self._batch_size = batch_size
        self._mark = (time.perf_counter(), first_step)
        self._console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("pre-training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or mute,
        )
        self._task = self._bar.add_task("", total=num_steps, completed=first_step, status="")
        self._status = {"loss": "", "rate": "", "knn": ""}

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def row(self, kind: str, step: int, epoch: float, **values: Any) -> None:
        """Append one line to the log."""
        if self._mute:
            return
        append_jsonl(self._path, {"kind": kind, "step": step, "epoch": round(epoch, 4), **values})

    def step(self, step: int, epoch: float, loss: float, *, lr: float, health: Health, **metrics: float) -> None:
        """Log a step, its rate since the last one, and an alarm if there is one."""
        now = time.perf_counter()
        rate = (step - self._mark[1]) * self._batch_size / max(1e-9, now - self._mark[0])
        self._mark = (now, step)
        self.row(
            "step",
            step,
            epoch,
            loss=loss,
            lr=lr,
            images_per_second=round(rate, 2),
            feature_std=health.feature_std,
            effective_rank=health.effective_rank,
            **metrics,
        )
        self._status |= {"loss": f"loss {loss:.3f}", "rate": f"{rate:.0f} img/s"}
        if health.alarm and not self._mute:
            self.alarms.append(health.alarm)
            self.row("alarm", step, epoch, message=health.alarm)
            self._console.print(f"[bold red]ALARM[/] at step {step}: {health.alarm} (loss {loss:.3f})", highlight=False)

    def probe(self, step: int, epoch: float, accuracy: float) -> None:
        """Log an online k-NN reading; the time it took does not count as training."""
        self.row("knn", step, epoch, accuracy=accuracy, task="validation")
        self._status["knn"] = f"k-NN {100 * accuracy:.1f} %"
        self._mark = (time.perf_counter(), step)

    def advance(self, step: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=step, status=" · ".join(s for s in self._status.values() if s))
