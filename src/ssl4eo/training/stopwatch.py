# SPDX-License-Identifier: Apache-2.0
"""Where the time goes: seconds by stage between two readings, on the host's clock or the device's.

A GPU works behind the program's back, so the host's clock would count its work as waiting. There, moments are events
in the device's own stream, and the time between the end of one step and the arrival of the next batch is what the
device was idle. Events are read when a line of the log is due, never at each step.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

import torch


class Clock(Protocol):
    """Marks moments and measures between them."""

    def now(self) -> Any:
        """Mark a moment."""
        ...

    def seconds(self, first: Any, last: Any) -> float:
        """Measure from one moment to a later one [s]; may wait until the device has passed it."""
        ...


class HostClock:
    """The clock of a device that works while the program waits: a CPU."""

    def now(self) -> float:
        """Read the clock."""
        return time.perf_counter()

    def seconds(self, first: float, last: float) -> float:
        """Subtract."""
        return last - first


class CudaClock:
    """Events in the current stream of a GPU."""

    def now(self) -> torch.cuda.Event:
        """Put an event behind all work that was given so far."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, first: torch.cuda.Event, last: torch.cuda.Event) -> float:
        """Wait for the later event, then subtract."""
        last.synchronize()
        return first.elapsed_time(last) / 1000


def clock_of(device: torch.device) -> Clock:
    """Give the clock that tells when a device worked."""
    return CudaClock() if device.type == "cuda" else HostClock()


class Stopwatch:
    """Adds up spans by stage."""

    def __init__(self, clock: Clock) -> None:
        """Start with nothing."""
        self._clock = clock
        self._spans: dict[str, list[tuple[Any, Any]]] = {}

    def now(self) -> Any:
        """Mark a moment."""
        return self._clock.now()

    def add(self, stage: str, first: Any, last: Any) -> None:
        """Note that a stage went on from one moment to another."""
        self._spans.setdefault(stage, []).append((first, last))

    def read(self) -> dict[str, list[float]]:
        """Give the spans of each stage since the last reading [s], in order; forget them."""
        spans, self._spans = self._spans, {}
        return {name: [self._clock.seconds(*span) for span in rows] for name, rows in spans.items()}
