# SPDX-License-Identifier: Apache-2.0
"""Points uniform on the sphere: the same number on each square kilometer, at any latitude.

Longitude and the sine of latitude are uniform (Archimedes). Latitudes are geodetic and taken as those of a sphere:
on the ellipsoid the density differs by 0.7 % between equator and poles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl4eo.locations.sampler import Candidate

EARTH_RADIUS = 6371.0088
"""Mean radius [km] (IUGG)."""


@dataclass(frozen=True)
class Box:
    """A part of the sphere between two meridians and two parallels."""

    west: float = -180.0
    """[deg]"""
    south: float = -90.0
    """[deg]"""
    east: float = 180.0
    """[deg], more than west."""
    north: float = 90.0
    """[deg], more than south."""

    @property
    def area_km2(self) -> float:
        """Its ground [km2]."""
        height = math.sin(math.radians(self.north)) - math.sin(math.radians(self.south))
        return EARTH_RADIUS**2 * math.radians(self.east - self.west) * height

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """Draw longitude and latitude [deg], uniform by area."""
        across, up = rng.random(), rng.random()
        low, high = math.sin(math.radians(self.south)), math.sin(math.radians(self.north))
        lat = math.degrees(math.asin(low + up * (high - low)))
        return self.west + across * (self.east - self.west), lat


@dataclass(frozen=True)
class OnSphere:
    """Points anywhere, sea and land."""

    box: Box = Box()

    @property
    def options(self) -> Mapping[str, Any]:
        """Name."""
        return {"sampler": "sphere"}

    @property
    def facts(self) -> Mapping[str, Sequence[int | float | str]]:
        """Nothing is known of a point."""
        return {}

    @property
    def area_km2(self) -> float | None:
        """Ground of the sphere [km2]."""
        return self.box.area_km2

    def draw(self, rng: np.random.Generator, number: int) -> Candidate | None:
        """Draw a point."""
        del number  # any place may lie anywhere
        return Candidate(*self.box.draw(rng))
