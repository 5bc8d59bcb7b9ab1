# SPDX-License-Identifier: Apache-2.0
"""Learning rates and other numbers as functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssl4eo.errors import ConfigInvalid


@dataclass(frozen=True)
class ScheduleConfig:
    """Linear warm-up, then half a cosine, per iteration.

    Deliberate difference: published schedules begin at a rate of 0, so that the first step moves nothing; here the
    first of w steps of a warm-up has 1 / (w + 1) of the peak, and the step after the last one the peak.
    """

    warmup_epochs: float = 0.0
    """Epochs of the linear rise to the peak; the first of its w steps has 1 / (w + 1) of it."""
    final_fraction: float = 0.0
    """Share of the peak that is left at the end."""

    def __post_init__(self) -> None:
        """Refuse negative warm-ups and finals above the peak."""
        if not 0 <= self.warmup_epochs < math.inf or not 0 <= self.final_fraction <= 1:
            raise ConfigInvalid(f"schedule is {self}", expected="warmup_epochs >= 0 and final_fraction from 0 to 1")

    def factor(self, step: int, *, num_steps: int, steps_per_epoch: int) -> float:
        """Give the share of the peak learning rate for a step from 0 to num_steps - 1.

        Of w steps of warm-up each has (s + 1) / (w + 1), and the step after them 1; the cosine is
        1/2 (1 + cos(pi t)), t from 0 to 1 over the rest.
        """
        warmup = self.warmup_epochs * steps_per_epoch
        if step < warmup:
            return (step + 1) / (warmup + 1)
        share = (step - warmup) / max(1.0, num_steps - warmup)
        return self.final_fraction + (1 - self.final_fraction) * 0.5 * (1 + math.cos(math.pi * share))


def cosine(start: float, end: float, share: float) -> float:
    """Go from `start` at share 0 to `end` at share 1 along half a cosine."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
