# SPDX-License-Identifier: Apache-2.0
"""The base map: the land that ships with the package, coarse in one file, finer in pieces of 30 degrees.

A file is little-endian: uint32 number of rings, uint32 points of each, then uint16 pairs (x, y) that run over the
piece from 0 to 65,535, x to the east, y to the north. Rings are filled by the even-odd rule.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from ssl4eo.locations.polygons import land_parts

PIECE = 30
"""Side of a piece [deg]."""
_COARSE = 0.15
"""The coarse outlines are off by this at most [deg]."""
_LEAST_AREA = 0.05
"""Smaller islands are left out of the coarse outlines [square deg]."""
_STEPS = 65_535


def piece_names() -> list[str]:
    """Give the names of all files: `world`, and column-row of each piece from the south-west."""
    return ["world", *(f"{i}-{j}" for j in range(180 // PIECE) for i in range(360 // PIECE))]


@lru_cache(maxsize=128)
def piece(name: str) -> bytes:
    """Make one of the files."""
    parts = np.array(land_parts(), dtype=object)
    if name == "world":
        large = parts[shapely.area(parts) > _LEAST_AREA]
        return _encode(shapely.simplify(large, _COARSE), (-180.0, -90.0, 180.0, 90.0))
    i, j = (int(word) for word in name.split("-"))
    box = (i * PIECE - 180.0, j * PIECE - 90.0, (i + 1) * PIECE - 180.0, (j + 1) * PIECE - 90.0)
    near = parts[shapely.intersects(shapely.envelope(parts), shapely.box(*box))]
    return _encode(shapely.clip_by_rect(near, *box), box)


def _encode(shapes: np.ndarray[tuple[int, ...], np.dtype[np.object_]], box: tuple[float, float, float, float]) -> bytes:
    rings: list[np.ndarray[tuple[int, ...], np.dtype[np.uint16]]] = []
    for polygon in shapely.get_parts(shapes):
        for ring in _rings(polygon):
            points = shapely.get_coordinates(ring)
            scaled = (points - box[:2]) / (box[2] - box[0], box[3] - box[1]) * _STEPS
            rings.append(np.clip(np.round(scaled), 0, _STEPS).astype("<u2"))
    head = np.array([len(rings), *map(len, rings)], "<u4").tobytes()
    return head + b"".join(ring.tobytes() for ring in rings)


def _rings(shape: BaseGeometry) -> list[BaseGeometry]:
    if not isinstance(shape, shapely.Polygon) or shape.is_empty:
        return []
    return [shape.exterior, *shape.interiors]
