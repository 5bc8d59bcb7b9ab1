# SPDX-License-Identifier: Apache-2.0
"""Spans by stage, on any clock."""

from __future__ import annotations

import torch

from ssl4eo.training.stopwatch import HostClock, Stopwatch, clock_of


class Ticks:
    """A clock that moves when it is read."""

    def __init__(self):
        """Start at zero."""
        self.time, self.measured = 0, 0

    def now(self):
        """Move on by one second."""
        self.time += 1
        return self.time

    def seconds(self, first, last):
        """Subtract, and count how often somebody asks."""
        self.measured += 1
        return float(last - first)


def test_spans_are_given_by_stage_in_order_and_forgotten():
    """By hand, on ticks."""
    watch = Stopwatch(Ticks())
    marks = [watch.now() for _ in range(4)]
    watch.add("a", marks[0], marks[1])
    watch.add("b", marks[1], marks[3])
    watch.add("a", marks[0], marks[3])

    assert watch.read() == {"a": [1.0, 3.0], "b": [2.0]}
    assert watch.read() == {}


def test_nothing_is_measured_before_it_is_read():
    """On a GPU each measurement would wait for the device."""
    clock = Ticks()
    watch = Stopwatch(clock)
    watch.add("a", watch.now(), watch.now())

    assert clock.measured == 0


def test_host_clock_goes_forward():
    """A later moment is later."""
    clock = clock_of(torch.device("cpu"))
    first, last = clock.now(), clock.now()

    assert isinstance(clock, HostClock)
    assert clock.seconds(first, last) >= 0
