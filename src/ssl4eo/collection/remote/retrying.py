# SPDX-License-Identifier: Apache-2.0
"""How long a request to any service is repeated, and how long each pause is."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

TOLD_AFTER = 4
"""Failures of one request after which a warning tells that a service stays away, some ten seconds after the first."""


def _drawn() -> float:
    return random.random()  # noqa: S311 - a function, as the bound method would travel with its state: same waits for all


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Patience with a service that does not do its part. Ours waits two minutes at least, five at most."""

    attempts: int = 10
    """Failures of one request before giving up."""
    first_wait: float = 1.0
    """Before the second try [s]; each further wait is twice the one before."""
    longest_wait: float = 60.0
    """That a wait of ours ends at [s]."""
    longest_asked: float = 900.0
    """That a service may ask for with Retry-After [s]; more ends the request."""
    sleep: Callable[[float], object] = time.sleep
    """Waits for seconds; a collector gives one that a signal ends."""
    clock: Callable[[], float] = time.monotonic
    """Seconds that never go back."""
    jitter: Callable[[], float] = _drawn
    """Between 0 and 1: keeps parallel requests from knocking together."""

    def longest_pause(self, failures: int) -> float:
        """Give the longest pause after so many failures in a row [s].

        >>> [Retry().longest_pause(n) for n in (1, 2, 8)]
        [1.0, 2.0, 60.0]
        """
        return min(self.first_wait * 2 ** (failures - 1), self.longest_wait)

    def pause(self, failures: int) -> float:
        """Draw the pause after so many failures in a row [s]: half of the longest to all of it."""
        return self.longest_pause(failures) * (0.5 + 0.5 * self.jitter())
