# SPDX-License-Identifier: Apache-2.0
"""How far points must lie apart, and which points that were placed lie too near.

`no_overlap`: a patch of S meters snaps to multiples of 60 m of its UTM zone, so all of it lies within a square of
S + 60 around the point: within (S + 60) / sqrt(2) grid meters. A grid meter is 1 / 0.9996 m on the ground at most. Two
patches cannot meet if their points are twice that apart on the ground, (S + 60) sqrt(2) / 0.9996, whatever their zones
and however they are turned against each other. For S = 2640 that is 3820 m. It is more than two patches side by side
in one zone need (2700 m): the price of one number that holds everywhere.

`as_published`: 1.5 times half the width, 1980 m for S = 2640, in the published metric: a degree is 111.195 km on both
axes, without a wrap at 180 degrees. Patches then overlap by up to a quarter on an axis, more away from the equator.

Points are kept in a hash of cells twice as wide as the distance, so that 8 cells hold all that can be too near. Cells
are of space, not of a map: the antimeridian and the poles are nothing special there.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from ssl4eo.errors import ConfigInvalid
from ssl4eo.grid import SNAP, UTM_LEAST_SCALE

_GEOD = Geod(ellps="WGS84")
_E2 = _GEOD.es
_PUBLISHED_DEGREE = 2 * math.pi * 6371000 / 360
"""[m], R = 6371 km; Source: SSL4EO-S12's km2deg."""
_LARGEST_M = 1e6
"""Distances above are no spacing of patches."""

Xyz = tuple[float, float, float]


@dataclass(frozen=True)
class Metric:
    """How distances are measured."""

    embed: Callable[[float, float], Xyz]
    """From longitude and latitude [deg] into space [m], where no two points are farther apart than by `distance`."""
    distance: Callable[[float, float, float, float], float]
    """From lon, lat, lon, lat [deg] to meters."""


def _geocentric(lon: float, lat: float) -> Xyz:
    """Give earth-centered coordinates of a point on the ellipsoid [m]: the chord is shorter than the geodesic."""
    phi, lam = math.radians(lat), math.radians(lon)
    up, across = math.sin(phi), math.cos(phi)
    normal = _GEOD.a / math.sqrt(1 - _E2 * up * up)
    return normal * across * math.cos(lam), normal * across * math.sin(lam), normal * (1 - _E2) * up


def _geodesic(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    return _GEOD.inv(lon_a, lat_a, lon_b, lat_b)[2]


def _published_plane(lon: float, lat: float) -> Xyz:
    return lon * _PUBLISHED_DEGREE, lat * _PUBLISHED_DEGREE, 0.0


def _published_distance(lon_a: float, lat_a: float, lon_b: float, lat_b: float) -> float:
    return math.hypot(lon_a - lon_b, lat_a - lat_b) * _PUBLISHED_DEGREE


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "ellipsoid": Metric(_geocentric, _geodesic),
        "published": Metric(_published_plane, _published_distance),
    }
)


@dataclass(frozen=True)
class Spacing:
    """Least distance between points."""

    meters: float
    """[m]; 0: none."""
    metric: str = "ellipsoid"
    """A name of METRICS."""

    def __post_init__(self) -> None:
        """Refuse distances that are none."""
        if not 0 <= self.meters <= _LARGEST_M:
            raise ConfigInvalid(f"spacing {self.meters:g} m", expected=f"0 to {_LARGEST_M:g} m")


def no_overlap(patch_m: float) -> Spacing:
    """Give the spacing at which no two patches of a width [m] can overlap.

    >>> round(no_overlap(2640).meters, 1)
    3819.9
    """
    return Spacing((_patch(patch_m) + SNAP) * math.sqrt(2) / UTM_LEAST_SCALE)


def as_published(patch_m: float) -> Spacing:
    """Give the spacing of the published locations for patches of a width [m].

    >>> as_published(2640)
    Spacing(meters=1980.0, metric='published')
    """
    return Spacing(1.5 * _patch(patch_m) / 2, "published")


def _patch(width: float) -> float:
    if not 0 < width < _LARGEST_M:
        raise ConfigInvalid(f"patches of {width:g} m", expected=f"more than 0 and less than {_LARGEST_M:g} m")
    return width


class Neighbors:
    """Points that were kept, all apart from each other."""

    def __init__(self, spacing: Spacing) -> None:
        self._least = spacing.meters
        self._metric = METRICS[spacing.metric]
        self._newest: dict[tuple[int, int, int], int] = {}
        """By cell the number of its newest point."""
        self._older = array("q")
        """By point the number of the point before it in its cell, -1 for none."""
        self._space = array("d")
        """x, y, z of all points."""
        self._ground = array("d")
        """Longitude, latitude of all points."""

    def take(self, lon: float, lat: float) -> bool:
        """Keep a point unless one that was kept lies nearer than the spacing; say whether it was kept."""
        if self._least == 0:
            return True
        x, y, z = self._metric.embed(lon, lat)
        if self._is_near(x, y, z, lon, lat):
            return False
        width = 2 * self._least
        cell = (math.floor(x / width), math.floor(y / width), math.floor(z / width))
        self._older.append(self._newest.get(cell, -1))
        self._newest[cell] = len(self._older) - 1
        self._space.extend((x, y, z))
        self._ground.extend((lon, lat))
        return True

    def _is_near(self, x: float, y: float, z: float, lon: float, lat: float) -> bool:
        """Look into the 2 x 2 x 2 cells that a ball around the point touches."""
        least, width, square = self._least, 2 * self._least, self._least**2
        space, older, newest = self._space, self._older, self._newest
        west, south, low = (math.floor((v - least) / width) for v in (x, y, z))
        for cell in product((west, west + 1), (south, south + 1), (low, low + 1)):
            at = newest.get(cell, -1)
            while at >= 0:
                dx, dy, dz = space[3 * at] - x, space[3 * at + 1] - y, space[3 * at + 2] - z
                if dx * dx + dy * dy + dz * dz < square and self._distance(at, lon, lat) < least:
                    return True
                at = older[at]
        return False

    def _distance(self, at: int, lon: float, lat: float) -> float:
        return self._metric.distance(self._ground[2 * at], self._ground[2 * at + 1], lon, lat)


def nearest(lons: NDArray[np.float64], lats: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Give of each point the distance to its nearest neighbor on the ellipsoid [m], and which one that is.

    Args:
        lons: (N,) [deg].
        lats: (N,) [deg].

    Returns:
        (N,) meters, infinite for a single point, and (N,) indices.
    """
    from scipy.spatial import KDTree

    if len(lons) < 2:
        return np.full(len(lons), np.inf), np.zeros(len(lons), np.intp)
    space = np.array([_geocentric(lon, lat) for lon, lat in zip(lons.tolist(), lats.tolist(), strict=True)])
    found = np.asarray(KDTree(space).query(space, k=2)[1])  # (N, 2)
    own = found[:, 0] == np.arange(len(lons))
    others = np.where(own, found[:, 1], found[:, 0])  # of two equal points either may come first
    return _GEOD.inv(lons, lats, lons[others], lats[others])[2], others
