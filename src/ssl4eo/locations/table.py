# SPDX-License-Identifier: Apache-2.0
"""The table of places: a row a point, as GeoParquet or CSV, with what decided the points beside them.

Columns: `id`, `attempt` (0 the first point, then the spare ones), `draw` (number of the draw that gave it, -1 for
points of a list), `lon`, `lat`, `geometry`, then facts. GeoParquet 1.1 is written directly: any reader opens it, ours
without geopandas. How it was drawn stands in the schema's metadata as JSON, under `ssl4eo`; a CSV has no place for it.
"""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import ConfigInvalid, SampleInvalid, SourceInvalid
from ssl4eo.files import require_absent, whole_or_told
from ssl4eo.locations.place import Place

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

KEY = b"ssl4eo"
COLUMNS = ("id", "attempt", "draw", "lon", "lat")
TABLE_SUFFIXES = (".parquet", ".geoparquet")
_GROUP = 65536
"""Rows of a row group."""

Fact = int | float | str
_KINDS = frozenset({bool, int, float, str})
_INTEGERS = range(-(2**63), 2**63)


@dataclass(frozen=True, eq=False)
class PlaceTable:
    """Points of places, those of a place together and in the order in which they are tried."""

    ids: Sequence[str]
    """By row the id of its place."""
    attempts: NDArray[np.int64]
    """(N,), from 0 for each place."""
    draws: NDArray[np.int64]
    """(N,), -1 for points that were not drawn."""
    lons: NDArray[np.float64]
    """(N,) [deg, WGS 84]"""
    lats: NDArray[np.float64]
    """(N,) [deg, WGS 84]"""
    facts: Mapping[str, Sequence[Fact]] = field(default_factory=dict[str, Sequence[Fact]])
    """Further columns."""
    record: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What decided the points, as plain values; empty where that is not known."""

    def __post_init__(self) -> None:
        """Refuse places in pieces, and attempts that do not count from 0."""
        expected = 0
        seen: set[str] = set()
        previous = None
        for place, attempt in zip(self.ids, self.attempts.tolist(), strict=True):
            expected = expected + 1 if place == previous else 0
            if attempt != expected or (attempt == 0 and place in seen):
                raise SampleInvalid(
                    f"attempt {attempt} of place {place}",
                    expected="attempts 0, 1, 2, ... of a place in rows one after the other, each once",
                )
            seen.add(place)
            previous = place

    def __len__(self) -> int:
        """Count the points."""
        return len(self.ids)

    @property
    def is_first(self) -> NDArray[np.bool_]:
        """(N,), True for the first point of a place."""
        return self.attempts == 0

    def places(self) -> list[Place]:
        """Give the places, in the order of the table."""
        points = list(zip(self.lons.tolist(), self.lats.tolist(), strict=True))
        names = tuple(self.facts)
        known = [dict(zip(names, values, strict=True)) for values in zip(*self.facts.values(), strict=True)]
        places: list[Place] = []
        starts = [*np.flatnonzero(self.is_first).tolist(), len(self)]
        for start, end in pairwise(starts):
            places.append(Place(self.ids[start], tuple(points[start:end]), point_facts=tuple(known[start:end])))
        return places


def require_writable_name(path: Path) -> None:
    """Refuse names that are neither Parquet nor CSV, and files that are there.

    Raises:
        ConfigInvalid: another suffix.
        TargetExists: it is there.
    """
    if path.suffix not in (*TABLE_SUFFIXES, ".csv"):
        raise ConfigInvalid(f"a table called {path.name}", expected=f"{', '.join(TABLE_SUFFIXES)} or .csv")
    require_absent(path, "table of places")


def write_table(path: Path, table: PlaceTable) -> None:
    """Write a table, whole or not at all: GeoParquet, or CSV by the name's end.

    Raises:
        ConfigInvalid: another suffix.
        TargetExists: the file is there.
        WriteFailed: the disk is full or refuses.
    """
    require_writable_name(path)
    if path.suffix == ".csv":
        _write_csv(path, table)
        return
    import pyarrow.parquet as pq

    with whole_or_told(path) as partial:
        pq.write_table(_arrow(table), partial, compression="zstd", row_group_size=_GROUP, write_page_checksum=True)


def _arrow(table: PlaceTable) -> pa.Table:
    import pyarrow as pa
    import shapely

    geometry = {"encoding": "WKB", "geometry_types": ["Point"]}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    columns = {
        "id": pa.array(table.ids, pa.string()),
        "attempt": pa.array(table.attempts, pa.int32()),
        "draw": pa.array(table.draws, pa.int32()),
        "lon": pa.array(table.lons, pa.float64()),
        "lat": pa.array(table.lats, pa.float64()),
        "geometry": pa.array(shapely.to_wkb(shapely.points(table.lons, table.lats)), pa.binary()),
        **{name: pa.array(column) for name, column in table.facts.items()},
    }
    metadata = {b"geo": json.dumps(geo), KEY: json.dumps(dict(table.record), ensure_ascii=False)}
    return pa.table(columns).replace_schema_metadata(metadata)


def _write_csv(path: Path, table: PlaceTable) -> None:
    rows = zip(
        table.ids, table.attempts.tolist(), table.draws.tolist(), table.lons.tolist(), table.lats.tolist(), strict=True
    )
    with whole_or_told(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*COLUMNS, *table.facts])
        facts = zip(*table.facts.values(), strict=True) if table.facts else iter([()] * len(table))
        writer.writerows([*row, *known] for row, known in zip(rows, facts, strict=True))


def is_own(path: Path) -> bool:
    """Say whether a Parquet file is a table that this module wrote."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return KEY in (pq.read_schema(path).metadata or {})
    except (pa.ArrowException, OSError):
        return False


def read_own(path: Path) -> PlaceTable:
    """Read a table that `write_table` wrote as GeoParquet.

    Raises:
        SourceInvalid: it is damaged, or contradicts itself.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, page_checksum_verification=True)
        record = json.loads(table.schema.metadata[KEY])
        columns = {name: table.column(name) for name in table.column_names if name != "geometry"}
        own = {name: columns.pop(name) for name in COLUMNS}
        return PlaceTable(
            ids=own["id"].to_pylist(),
            attempts=own["attempt"].to_numpy().astype(np.int64),
            draws=own["draw"].to_numpy().astype(np.int64),
            lons=own["lon"].to_numpy(),
            lats=own["lat"].to_numpy(),
            facts=plain_facts({name: column.to_pylist() for name, column in columns.items()}),
            record=record,
        )
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise SourceInvalid(
            f"{path} is no whole table of places ({' '.join(str(error).split())[:200]})",
            expected="one that `ssl4eo locations draw` wrote",
            remedy="draw it again: the same seed gives the same places",
            path=str(path),
        ) from error


def plain_facts(columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Fact]]:
    """Give the columns that an archive can keep, truth values as 0 and 1; the others are told and left out.

    What it cannot keep would fail each place when all of its pixels are there.
    """
    kept: dict[str, Sequence[Fact]] = {}
    for name, values in columns.items():
        if set(map(type, values)) <= _KINDS and all(map(_is_bounded, values)):
            kept[name] = [int(v) if isinstance(v, bool) else v for v in values]
        else:
            log.info("column %s is no column of finite numbers or texts without gaps: left out", name)
    return kept


def _is_bounded(value: Fact) -> bool:
    return isinstance(value, str) or (math.isfinite(value) if isinstance(value, float) else value in _INTEGERS)
