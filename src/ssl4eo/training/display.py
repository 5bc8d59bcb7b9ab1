# SPDX-License-Identifier: Apache-2.0
"""What people see of a run, on stderr: a bar on a terminal, else a plain line every half minute.

A log file or a batch system has no terminal; there a bar would print nothing for days.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_SECONDS = 30.0
"""Least time between plain lines [s]."""

Fields = dict[str, str]
"""What is shown by its place, in order."""


class Display:
    """Shows where a run is and how it does, for the length of a `with` block."""

    def __init__(
        self,
        *,
        first_step: int,
        num_steps: int,
        quiet: bool,
        console: Console | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Show nothing but alarms if `quiet`."""
        self._console = Console(file=sys.stderr) if console is None else console
        self._first, self._num_steps = first_step, num_steps
        self._now, self._started, self._last_line = now, now(), -LINE_SECONDS
        self._plain = not quiet and not self._console.is_terminal
        self._fields: Fields = dict.fromkeys(("loss", "rate", "knn", "linear", "waiting"), "")
        self._bar = Progress(
            TextColumn("pre-training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or self._plain,
        )
        self._task = self._bar.add_task("", total=num_steps, completed=first_step, status="")

    def __enter__(self) -> Self:
        """Show the bar."""
        self._started = self._now()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def show(self, **fields: str) -> None:
        """Change what is shown of loss, rate, knn, linear and waiting."""
        self._fields |= fields

    def advance(self, step: int) -> None:
        """Move to `step`; without a terminal print a line, if the last is old enough or this is the end."""
        if not self._plain:
            self._bar.update(self._task, completed=step, status=self._status())
            return
        now = self._now()
        if self._fields["loss"] and (now - self._last_line >= LINE_SECONDS or step == self._num_steps):
            self._last_line = now
            self._print(f"pre-training: step {step}/{self._num_steps} · {self._status()} · {self._left(step, now)}")

    def alarm(self, text: str) -> None:
        """Print a red line, quiet or not."""
        self._print(f"[bold red]ALARM[/] {escape(text)}")

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)

    def _status(self) -> str:
        return " · ".join(text for text in self._fields.values() if text)

    def _left(self, step: int, now: float) -> str:
        if step == self._num_steps:
            return "done"
        seconds = (now - self._started) / max(1, step - self._first) * (self._num_steps - step)
        return f"{span_words(seconds)} left"


def span_words(seconds: float) -> str:
    """Say a time in the two largest units that matter.

    >>> span_words(59), span_words(3599), span_words(7300)
    ('59 s', '59 min 59 s', '2 h 01 min')
    """
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole // 60 % 60:02d} min"
