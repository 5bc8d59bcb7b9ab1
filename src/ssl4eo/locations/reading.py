# SPDX-License-Identifier: Apache-2.0
"""Places out of files: our tables, CSV files with or without a header, GeoParquet of others. Ids are kept.

Without a header a CSV has `id, lon, lat`, as the published center coordinates, or `id, lon, lat, flag`, as
checked_locations.csv of the reference: there flag 0 says that no image was found, so those rows are left out, and the
last row of an id counts. Everywhere else an id that stands twice is refused. Numbers become ids of 7 digits.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl4eo.errors import DataMissing, SampleInvalid, SourceInvalid
from ssl4eo.files import file_sha256
from ssl4eo.grid import UTM_NORTH, UTM_SOUTH
from ssl4eo.locations.place import Place, spelled_id
from ssl4eo.locations.rows import Row, find_columns, read_rows
from ssl4eo.locations.table import TABLE_SUFFIXES, Fact, PlaceTable, is_own, plain_facts, read_own
from ssl4eo.sample import Location

log = logging.getLogger(__name__)

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "idx", "index", "location"),
    "lon": ("lon", "lng", "long", "longitude"),
    "lat": ("lat", "latitude"),
}
"""Spellings of the columns."""
_FLAGS = ("0", "1", "2")
"""No suitable image, newly sampled, matched. Source: the downloader of SSL4EO-S12."""


def read_places(path: Path) -> list[Place]:
    """Read places from a file; see `read_table_of`."""
    return read_table_of(path).places()


def read_table_of(path: Path) -> PlaceTable:
    """Read the table of places in a file.

    Raises:
        DataMissing: no such file.
        SourceInvalid: not such a table, or a row that is wrong; names its line.
    """
    if not path.is_file():
        raise DataMissing(f"no file {path}", expected="places as GeoParquet or CSV", path=str(path))
    if path.suffix not in TABLE_SUFFIXES:
        return _from_csv(path)
    return read_own(path) if is_own(path) else _from_geoparquet(path)


def _from_csv(path: Path) -> PlaceTable:
    rows = list(read_rows(path))
    if not rows:
        raise SourceInvalid(f"{path} is empty", expected="rows of id, lon, lat", path=str(path))
    head = rows[0]
    if not _is_header(head):
        return _without_header(path, rows)
    columns = find_columns(head, NAMES)
    where = {cell.lower(): number for number, cell in enumerate(head.cells)}
    others = {name: where[name] for name in ("attempt", "draw") if name in where}
    facts = {n: c for c, n in enumerate(head.cells) if n and c not in columns.values() and c not in others.values()}
    points = [(row, _place(row, *columns.values())) for row in rows[1:]]
    attempts = [int(row.number(others["attempt"], "attempt")) if "attempt" in others else 0 for row, _ in points]
    draws = [int(row.number(others["draw"], "draw")) if "draw" in others else -1 for row, _ in points]
    values = {name: _typed([_cell(row, column) for row, _ in points]) for name, column in facts.items()}
    _require_once(zip((row for row, _ in points), (location.id for _, location in points), attempts, strict=True))
    return _table(path, [location for _, location in points], attempts=attempts, draws=draws, facts=values)


def _is_header(row: Row) -> bool:
    """Say whether the second and third cell are no numbers: points are there in files without a header."""
    for cell in row.cells[1:3]:
        with contextlib.suppress(ValueError):
            float(cell)
            return False
    return True


def _without_header(path: Path, rows: Sequence[Row]) -> PlaceTable:
    width = len(rows[0].cells)
    if width not in (3, 4):
        raise rows[0].wrong(
            f"has {width} values and no names of columns",
            "id, lon, lat or id, lon, lat, flag",
            "write a first line with names",
        )
    found: dict[str, Location] = {}
    num_without = 0
    for row in rows:
        if len(row.cells) != width:
            raise row.wrong(f"has {len(row.cells)} values", f"{width}, as the first line")
        location = _place(row, 0, 1, 2)
        if width == 4 and row.cells[3] not in _FLAGS:
            raise row.wrong(f"has flag {row.cells[3]!r}", " or ".join(_FLAGS))
        if width == 3 and location.id in found:
            raise row.wrong(f"has id {location.id} once more", "each id once")
        found.pop(location.id, None)
        if width == 4 and row.cells[3] == "0":
            num_without += 1
            continue
        found[location.id] = location
    if num_without:
        log.info("%d rows of %s have flag 0, no image was found there: left out", num_without, path)
    return _table(path, list(found.values()))


def _place(row: Row, place: int, lon: int, lat: int) -> Location:
    """Read id and point of a row."""
    point = row.point(lon, lat)
    name = row.cells[place] if place < len(row.cells) else ""
    try:
        location = Location(spelled_id(name), *point)
    except SampleInvalid as error:
        raise row.wrong(f"has {error.found}", error.expected) from error
    if not UTM_SOUTH <= point[1] <= UTM_NORTH:
        raise row.wrong(
            f"has latitude {point[1]:g}", f"{UTM_SOUTH:g} to {UTM_NORTH:g}, where UTM is defined", "leave it out"
        )
    return location


def _cell(row: Row, column: int) -> str:
    return row.cells[column] if column < len(row.cells) else ""


def _typed(cells: Sequence[str]) -> Sequence[Fact]:
    """Read a column as whole numbers, else as numbers, else as text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return [kind(cell) for cell in cells]
    return cells


def _require_once(rows: Iterable[tuple[Row, str, int]]) -> None:
    seen: set[tuple[str, int]] = set()
    for row, place, attempt in rows:
        if (place, attempt) in seen:
            raise row.wrong(f"has id {place} once more", "each id once, or with another attempt")
        seen.add((place, attempt))


def _table(
    path: Path,
    locations: Sequence[Location],
    *,
    attempts: Sequence[int] | None = None,
    draws: Sequence[int] | None = None,
    facts: Mapping[str, Sequence[Any]] | None = None,
) -> PlaceTable:
    if not locations:
        raise SourceInvalid(f"{path} holds no place", expected="one or more", path=str(path))
    count = len(locations)
    try:
        return PlaceTable(
            ids=[location.id for location in locations],
            attempts=np.array(attempts if attempts is not None else [0] * count),
            draws=np.array(draws if draws is not None else [-1] * count),
            lons=np.array([location.lon for location in locations], np.float64),
            lats=np.array([location.lat for location in locations], np.float64),
            facts=plain_facts(facts or {}),
            record={"options": {"sampler": "matched", "file": path.name, "sha256": file_sha256(path)}},
        )
    except SampleInvalid as error:
        raise SourceInvalid(f"{path} has {error.found}", expected=error.expected, path=str(path)) from error


def _from_geoparquet(path: Path) -> PlaceTable:
    import geopandas

    try:
        frame = geopandas.read_parquet(path)
    except Exception as error:  # pyarrow and geopandas each raise their own
        raise SourceInvalid(
            f"{path} cannot be read as GeoParquet ({' '.join(str(error).split())[:200]})",
            expected="points with an id",
            remedy="write it by geopandas, or as CSV with id, lon, lat",
            path=str(path),
        ) from error
    name = next((column for column in frame.columns if column.lower() in NAMES["id"]), None)
    if name is None or frame.crs is None or set(frame.geom_type.fillna("nothing")) != {"Point"}:
        kinds = ", ".join(sorted(set(frame.geom_type.fillna("nothing"))))
        raise SourceInvalid(
            f"{path} has columns {', '.join(map(str, frame.columns))[:200]}, reference system {frame.crs}, and {kinds}",
            expected=f"points in a reference system, and a column {' or '.join(NAMES['id'])}",
            path=str(path),
        )
    points = frame.geometry.to_crs("EPSG:4326")
    cells = zip(frame[name].tolist(), points.x.tolist(), points.y.tolist(), strict=True)
    rows = [Row(path, number, list(map(str, values))) for number, values in enumerate(cells, 1)]
    locations = [_place(row, 0, 1, 2) for row in rows]
    _require_once(zip(rows, (location.id for location in locations), [0] * len(rows), strict=True))
    others = frame.drop(columns=[name, frame.geometry.name])
    return _table(path, locations, facts={str(column): others[column].tolist() for column in others.columns})
