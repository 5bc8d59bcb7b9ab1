# SPDX-License-Identifier: Apache-2.0
"""What every sampler does: give a candidate point from random numbers. Spacing and ids are not its concern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

TRIES = 100
"""Points that a sampler tries within one draw before it gives the draw up."""


class Candidate(NamedTuple):
    """A point that may become one of a place."""

    lon: float
    """[deg, WGS 84], -180 to 180."""
    lat: float
    """[deg, WGS 84]."""
    origin: int = 0
    """Row of the sampler's facts: which city, which stratum."""


class Sampler(Protocol):
    """A rule by which points are drawn."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Its name and all that decides what it draws, as plain values."""
        ...

    @property
    def facts(self) -> Mapping[str, Sequence[int | float | str]]:
        """Columns of what is known of a candidate, by its `origin`; empty where nothing is."""
        ...

    @property
    def area_km2(self) -> float | None:
        """Ground that candidates lie on [km2], None where it has no edge."""
        ...

    def draw(self, rng: np.random.Generator, number: int) -> Candidate | None:
        """Draw a candidate.

        Args:
            rng: of this draw alone; nothing else decides, but
            number: of the place, from 0, by which strata are dealt out.

        Returns:
            None where TRIES points of this draw lay outside; the next draw has other numbers.
        """
        ...
