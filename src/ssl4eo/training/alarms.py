# SPDX-License-Identifier: Apache-2.0
"""When to cry: readings that stay bad raise one alarm, not one at each step.

Four kinds of watch share the rule: collapse (monitor.py), bounds on what a method logs, a loss that explodes, a device
that waits for its data. Here are the rule and the last three; who is told is the journal's affair.
Price: what heals and breaks again within a few readings is told late or not at all.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PATIENCE = 3
"""Readings in a row outside of a bound before the alarm."""


class Patience:
    """Speaks at the n-th bad reading in a row, once; a good reading starts the count again."""

    def __init__(self, readings: int) -> None:
        """Speak at the `readings`-th bad reading."""
        self._readings, self.bad = readings, 0

    def hear(self, reason: str | None) -> str | None:
        """Take a reading, None for a good one; give the reason when it is time to speak."""
        self.bad = self.bad + 1 if reason else 0
        return reason if self.bad == self._readings else None


@dataclass(frozen=True)
class Bound:
    """Where a number that a method logs has to stay."""

    least: float
    """Values below count as bad."""
    meaning: str
    """What a bad value says."""


BOUNDS: Mapping[str, Bound] = MappingProxyType(
    {
        "target_std": Bound(1e-2, "the teacher's targets are the same for all samples"),
        "teacher_entropy": Bound(1e-2, "the teacher gives all weight to one output"),
    }
)
"""By the name of a metric. target_std: mean standard deviation of normalized targets over positions, about 1 when
healthy; teacher_entropy: mean entropy of the teacher's output for an image [nats]."""


class MetricWatch:
    """Compares what a method logs with BOUNDS; metrics of other names are let pass."""

    def __init__(self, bounds: Mapping[str, Bound] = BOUNDS) -> None:
        """Watch these bounds."""
        self._bounds = bounds
        self._patience = {name: Patience(PATIENCE) for name in bounds}

    def state(self) -> dict[str, int]:
        """Give the bad readings in a row by metric, for a checkpoint."""
        return {name: patience.bad for name, patience in self._patience.items()}

    def load_state(self, state: Mapping[str, int]) -> None:
        """Go on from another watch's `state`; metrics that are new since then start at none."""
        for name, patience in self._patience.items():
            patience.bad = int(state.get(name, 0))

    def check(self, metrics: Mapping[str, float]) -> list[str]:
        """Take the metrics of a logged step; give the alarms that are due."""
        alarms: list[str] = []
        for name, bound in self._bounds.items():
            if name not in metrics:
                continue
            value = metrics[name]
            bad = not math.isfinite(value) or value < bound.least
            reason = f"{name} is {value:.3g}, expected {bound.least:g} or more: {bound.meaning}" if bad else None
            spoken = self._patience[name].hear(reason)
            alarms += [spoken] if spoken else []
        return alarms


FAR, OUT_OF_ALL = 10.0, 100.0
"""Times the first loss of a run that its loss is far above it, and so far that one reading is enough."""


class LossWatch:
    """Speaks when the loss is far above where the run began: a rate too large, values that are no measurements.

    No method of ours begins far from where it ends: losses are logarithms of numbers of choices, or errors of values
    of about 1. A first loss below 1 counts as 1.
    """

    def __init__(self) -> None:
        """Take the first loss that is heard as the beginning."""
        self._first: float | None = None
        self._patience = Patience(PATIENCE)
        self._good, self._told = 0, False

    def state(self) -> dict[str, float]:
        """Give the first loss and the bad readings in a row, for a checkpoint."""
        return {} if self._first is None else {"first": self._first, "bad": self._patience.bad}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Go on from another watch's `state`."""
        if state:
            self._first, self._patience.bad = float(state["first"]), int(state["bad"])

    def check(self, loss: float) -> str | None:
        """Take the loss of a logged step; give the alarm if it is due: not anew before a few readings were good."""
        if self._first is None:
            self._first = max(1.0, loss)
        share = loss / self._first
        reason = f"the loss is {share:.0f} times what it was when the run began: {_EXPLODED}"
        is_due = self._patience.hear(reason if share > FAR else None) is not None or share > OUT_OF_ALL
        self._good = 0 if share > FAR else self._good + 1
        was_told = self._told and self._good < PATIENCE
        self._told = was_told or is_due
        return reason if is_due and not was_told else None


_EXPLODED = (
    "lower optimizer.lr, or take back what was changed of the recipe; if it comes and goes, look at the values of the "
    "data with `ssl4eo stats`"
)

STARVED = 0.25
"""Share of the time of the last steps that the device may wait for its data."""
FED = 0.15
"""Share below which the alarm may speak anew."""
WINDOW = 50
"""Steps that the share is taken over."""


class StarvationWatch:
    """Speaks when the device waits for the loader, and not again before it was fed for a while."""

    def __init__(self, *, num_workers: int, window: int = WINDOW) -> None:
        """Judge over the last `window` steps; `num_workers` is for the remedy."""
        self._steps: deque[tuple[float, float]] = deque(maxlen=window)
        self._num_workers = num_workers
        self._starved = False

    @property
    def share(self) -> float:
        """Share of waiting over the last steps, 0 to 1; 0 before the first."""
        waited, worked = (sum(column) for column in zip(*self._steps, strict=True)) if self._steps else (0.0, 0.0)
        return waited / max(waited + worked, 1e-12)

    def add(self, waited: float, worked: float) -> None:
        """Take the time that a step waited for its batch, and that it took then [s]."""
        self._steps.append((waited, worked))

    def check(self) -> str | None:
        """Give the alarm if it is due: the window is full and the device waits too much of it."""
        if self._starved:
            self._starved = self.share >= FED
            return None
        self._starved = len(self._steps) == self._steps.maxlen and self.share > STARVED
        return self._words() if self._starved else None

    def _words(self) -> str:
        return (
            f"the device waits for data {100 * self.share:.0f} % of the time, expected {100 * STARVED:.0f} % or less: "
            f"raise engine.num_workers above {self._num_workers} where there are cores, pack the archive with "
            "--profile fast, or let `ssl4eo doctor` say which stage is slow"
        )
