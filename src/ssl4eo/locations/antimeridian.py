# SPDX-License-Identifier: Apache-2.0
"""Polygons across the antimeridian or around a pole, cut so that they are plain polygons in longitude and latitude.

Files spell such polygons in three ways: cut already (RFC 7946), with longitudes beyond 180, or with a jump from 179 to
-179. The jump is told from a wide polygon by its length: an edge of more than 180 and less than 360 degrees goes the
short way. The price: a polygon that really has such an edge must have a vertex within it. An edge of exactly 360
degrees, as of a box around the world, stays as it is. Edges are straight in longitude and latitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

_TURNS = range(-2, 3)


def cut(polygon: shapely.Polygon) -> BaseGeometry:
    """Give the same ground within -180 to 180 degrees of longitude, as a polygon or several.

    A ring that goes once around the Earth encloses the pole that it comes nearest to.
    """
    rings = [_unwrapped(shapely.get_coordinates(ring)) for ring in (polygon.exterior, *polygon.interiors)]
    exterior, *holes = (_within(_closed(ring)) for ring in rings)
    return exterior.difference(shapely.union_all(holes)) if holes else exterior


def _unwrapped(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Continue longitudes beyond 180 degrees in place of jumping; ring is (N, 2), closed."""
    step = np.diff(ring[:, 0])
    is_jump = (np.abs(step) > 180) & (np.abs(step) < 360)
    turns = np.concatenate([[0.0], np.cumsum(np.where(is_jump, -360 * np.sign(step), 0.0))])
    return np.column_stack([ring[:, 0] + turns, ring[:, 1]])


def _closed(ring: NDArray[np.float64]) -> BaseGeometry:
    """Make a polygon of a ring, by way of the pole if it ends a turn from where it began."""
    if abs(ring[-1, 0] - ring[0, 0]) > 180:
        pole = 90.0 if ring[:, 1].max() > -ring[:, 1].min() else -90.0
        ring = np.concatenate([ring, [[ring[-1, 0], pole], [ring[0, 0], pole], ring[0]]])
    return shapely.make_valid(shapely.Polygon(ring))


def _within(polygon: BaseGeometry) -> BaseGeometry:
    """Shift what lies beyond 180 degrees, either way, by whole turns."""
    west, _, east, _ = polygon.bounds
    if west >= -180 and east <= 180:
        return polygon
    pieces = (
        translate(polygon.intersection(shapely.box(360 * k - 180, -90, 360 * k + 180, 90)), -360 * k) for k in _TURNS
    )
    return shapely.union_all([piece for piece in pieces if piece.area > 0])
