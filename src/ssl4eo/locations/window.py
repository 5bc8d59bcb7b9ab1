# SPDX-License-Identifier: Apache-2.0
"""When to look: the windows of a place's seasons."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from ssl4eo.errors import ConfigInvalid
from ssl4eo.sample import require_utc


@dataclass(frozen=True)
class Range:
    """A stretch of time around the date that is wanted."""

    target: dt.datetime
    """[UTC]; what `nearest` is near to."""
    start: dt.datetime
    """[UTC], inclusive."""
    end: dt.datetime
    """[UTC], exclusive."""

    def __post_init__(self) -> None:
        """Refuse times without a zone and stretches that are none."""
        for time in (self.target, self.start, self.end):
            require_utc(time)
        if not self.start <= self.target <= self.end or self.start == self.end:
            raise ConfigInvalid(
                f"{self.start} to {self.end} around {self.target}", expected="start, target, end in order"
            )


@dataclass(frozen=True)
class Window:
    """One season of a place: an image within any of the ranges will do, say of one of two years."""

    ranges: tuple[Range, ...]
    """In order of preference; one at least."""

    def __post_init__(self) -> None:
        """Refuse windows without a range."""
        if not self.ranges:
            raise ConfigInvalid("a window without a range", expected="one at least")

    def range_of(self, time: dt.datetime) -> int | None:
        """Say in which range a time lies, the first that has it; None if in none."""
        return next((i for i, r in enumerate(self.ranges) if r.start <= time < r.end), None)
