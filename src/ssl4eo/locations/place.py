# SPDX-License-Identifier: Apache-2.0
"""A place to be collected: an id, its point, and spare points that stand in for it where nothing was seen.

All points of all places are drawn before anything is collected and keep their distance from each other, so that which
of them a place takes depends on the images alone: not on the number of workers, their order, or an interruption.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ssl4eo.errors import SampleInvalid
from ssl4eo.sample import Location


def spelled_id(name: str) -> str:
    """Write a number as an id of 7 digits, also one that a table with gaps has made a float; others stay.

    >>> spelled_id("17"), spelled_id("17.0"), spelled_id("paris_1")
    ('0000017', '0000017', 'paris_1')
    """
    whole = name.removesuffix(".0")
    return whole.zfill(7) if whole.isdecimal() and whole.isascii() else name


@dataclass(frozen=True)
class Place:
    """One id and where it may lie."""

    id: str
    points: tuple[tuple[float, float], ...]
    """(longitude, latitude) [deg, WGS 84] in the order in which they are tried; one at least."""
    facts: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])
    """What is known of it, whichever of its points is taken."""
    point_facts: tuple[Mapping[str, int | float | str], ...] = ()
    """What is known of each point: the city it was drawn around, its stratum; empty, or one for each."""

    def __post_init__(self) -> None:
        """Refuse places without a point, and points that are not on Earth."""
        if not self.points:
            raise SampleInvalid(f"place {self.id} has no point", expected="one at least")
        if len(self.point_facts) not in (0, len(self.points)):
            raise SampleInvalid(
                f"place {self.id} has facts of {len(self.point_facts)} points", expected=f"0 or {len(self.points)}"
            )
        for attempt, (lon, lat) in enumerate(self.points):
            if attempt == 0 or not (-180 <= lon <= 180 and -90 <= lat <= 90):  # a Location for each costs seconds
                self.location(attempt)

    def location(self, attempt: int = 0) -> Location:
        """Give the location of an attempt, from 0."""
        lon, lat = self.points[attempt]
        return Location(self.id, lon, lat)

    def facts_of(self, attempt: int = 0) -> dict[str, int | float | str]:
        """Give what is known of the place with the point of an attempt, from 0."""
        return {**self.facts, **(self.point_facts[attempt] if self.point_facts else {})}
