# SPDX-License-Identifier: Apache-2.0
"""Locations in the order of a quadtree, cut into blocks: a view of the map loads the blocks and columns that it shows.

The whole world is told by cells, counts on a grid with the mean (or the most common value) of each column, so that
the first view of any archive is some ten kilobytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.gallery.columns import NO_CODE, Column, Places

BLOCK = 4096
"""Locations in a block at most."""
CELL_LEVEL = 7
"""Cells are the tiles of this zoom level: 2.8 degrees of longitude."""
IDS = 4096
"""Ids in a file of the sorted list."""
LAST_LATITUDE = 85.0511
"""The map ends here [deg]."""
_DEPTH = 16


def mercator(lons: NDArray[np.float64], lats: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give x and y of the Web Mercator map, each 0 to 1, y from north to south; NaN stays NaN."""
    bounded = np.radians(np.clip(lats, -LAST_LATITUDE, LAST_LATITUDE))
    return (lons + 180) / 360, 0.5 - np.arcsinh(np.tan(bounded)) / (2 * np.pi)


def _tile(values: NDArray[np.float64], level: int) -> NDArray[np.int64]:
    return np.clip(np.nan_to_num(values) * (1 << level), 0, (1 << level) - 1).astype(np.int64)


def _interleaved(x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.int64]:
    out = np.zeros_like(x)
    for bit in range(_DEPTH):
        out |= ((x >> bit) & 1) << (2 * bit) | ((y >> bit) & 1) << (2 * bit + 1)
    return out


class Blocks:
    """The places of an archive as the files that the front end loads."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._placed = np.isfinite(places.lons) & np.isfinite(places.lats)
        x, y = mercator(places.lons, places.lats)
        self._x, self._y = _tile(x, _DEPTH), _tile(y, _DEPTH)
        codes = np.where(self._placed, _interleaved(self._x, self._y), np.iinfo(np.int64).max)
        self.order: NDArray[np.int64] = np.argsort(codes, kind="stable")
        """(position in blocks,): the index in the archive; those without coordinates last."""
        self.columns = {column.key: column for column in places.columns}

    @cached_property
    def rows(self) -> list[NDArray[np.int64]]:
        """By block the indices of its locations; none of them mixes locations with and without coordinates."""
        placed = int(self._placed.sum())
        parts = [self.order[:placed], self.order[placed:]]
        return [part[i : i + BLOCK] for part in parts for i in range(0, len(part), BLOCK)]

    def describe(self) -> list[dict[str, Any]]:
        """Give count and bounding box (west, south, east, north; None without coordinates) of each block."""
        return [{"count": len(rows), "box": self._box(rows)} for rows in self.rows]

    def _box(self, rows: NDArray[np.int64]) -> list[float] | None:
        if not self._placed[rows[0]]:
            return None
        lons, lats = self.places.lons[rows], self.places.lats[rows]
        return [round(float(v), 5) for v in (lons.min(), lats.min(), lons.max(), lats.max())]

    def position(self, block: int) -> bytes:
        """Give longitudes, then latitudes of a block [deg], float32."""
        rows = self.rows[block]
        return np.stack([self.places.lons[rows], self.places.lats[rows]]).astype("<f4").tobytes()

    def ids(self, block: int) -> bytes:
        """Give the ids of a block as JSON."""
        return _json([self.places.ids[i] for i in self.rows[block]])

    def column(self, block: int, key: str) -> bytes:
        """Give a column of a block: slot after slot in the column's type, little-endian.

        Raises:
            KeyError: no such column, or one of text.
        """
        column = self._typed(key)
        return column.values[:, self.rows[block]].astype(np.dtype(column.dtype).newbyteorder("<")).tobytes()

    def text(self, block: int, key: str) -> bytes:
        """Give a column of text of a block as JSON.

        Raises:
            KeyError: no such column, or one that is no text.
        """
        column = self.columns[key]
        if column.kind != "text":
            raise KeyError(key)
        return _json(column.values[0, self.rows[block]].tolist())

    def _typed(self, key: str) -> Column:
        column = self.columns[key]
        if column.kind == "text":
            raise KeyError(key)
        return column

    @cached_property
    def _cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Give the indices of placed locations by cell, where each cell begins, and the number of cells."""
        shift = _DEPTH - CELL_LEVEL
        rows = self.order[: int(self._placed.sum())]  # of a quadtree: cells are contiguous
        codes = _interleaved(self._x[rows] >> shift, self._y[rows] >> shift)
        starts = np.flatnonzero(np.diff(codes, prepend=-1))
        return rows, starts, len(starts)

    @cached_property
    def cells(self) -> bytes:
        """Longitudes, latitudes (means, [deg]) and counts of all cells, float32, one after the other."""
        rows, starts, count = self._cells
        if not count:
            return b""
        sizes = np.diff(starts, append=len(rows))
        means = [np.add.reduceat(v[rows], starts) / sizes for v in (self.places.lons, self.places.lats)]
        return np.stack([*means, sizes]).astype("<f4").tobytes()

    def cell_column(self, key: str) -> bytes:
        """Give mean or, of categories, the most common code of each cell, slot after slot, NaN for nothing.

        float32; float64 of a column of float64.
        """
        column, (rows, starts, count) = self._typed(key), self._cells
        if not count:
            return b""
        made = np.stack([_summed(column, slot[rows], starts) for slot in column.values])
        return made.astype("<f8" if column.dtype == "float64" else "<f4").tobytes()

    @cached_property
    def sorted_ids(self) -> list[str]:
        """All ids, sorted as JavaScript sorts them: by code unit."""
        return sorted(self.places.ids)

    def id_files(self) -> list[str]:
        """Give the first id of each file of the sorted list."""
        return self.sorted_ids[::IDS]

    def id_file(self, number: int) -> bytes:
        """Give a part of the sorted list of ids as JSON.

        Raises:
            IndexError: there is no such file.
        """
        if number * IDS >= len(self.sorted_ids):
            raise IndexError(number)
        return _json(self.sorted_ids[number * IDS : (number + 1) * IDS])


def _summed(column: Column, values: NDArray[Any], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    if column.kind == "category":
        return _most_common(values.astype(np.int64), starts)
    known = np.isfinite(values) if column.kind == "number" else values != NO_CODE
    sums = np.add.reduceat(np.where(known, values, 0).astype(np.float64), starts)
    counts = np.add.reduceat(known.astype(np.int64), starts)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _most_common(codes: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    cell = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(codes)))
    pairs, counts = np.unique(cell * (NO_CODE + 1) + codes, return_counts=True)
    order = np.lexsort((-pairs, counts))  # the last of each cell wins: most common, then the smallest code
    best = np.zeros(len(starts), np.int64)
    best[pairs[order] // (NO_CODE + 1)] = pairs[order] % (NO_CODE + 1)
    return np.where(best == NO_CODE, np.nan, best)


def _json(value: Sequence[Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
