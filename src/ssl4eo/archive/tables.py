# SPDX-License-Identifier: Apache-2.0
"""The Parquet tables of an archive: one row a location (GeoParquet), one row an image.

Written as a stream, 4096 locations a row group, so that neither writing nor reading one row needs the whole table.
GeoParquet 1.1 is written directly (a point is 21 bytes of WKB), so that packing does not import geopandas.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ssl4eo.files import atomic_path

GROUP_LOCATIONS = 4096
"""Locations in a row group."""

IMAGE_SCHEMA = pa.schema(
    [
        pa.field("location", pa.string(), nullable=False),
        pa.field("season", pa.int32(), nullable=False),
        pa.field("product", pa.string(), nullable=False),
        pa.field("baseline", pa.int32()),
        pa.field("offset", pa.int32(), nullable=False),
        pa.field("crs", pa.string(), nullable=False),
        pa.field("transform", pa.list_(pa.float64())),
        pa.field("valid", pa.bool_(), nullable=False),
    ]
)
_ARROW = {"int": pa.int64(), "float": pa.float64(), "str": pa.string()}
_POINT = struct.Struct("<BIdd")


def write_locations(path: Path, records: Iterable[Mapping[str, Any]], kinds: Mapping[str, str]) -> None:
    """Write the location table.

    Args:
        path: of the new file.
        records: as `records.location_record` gives them.
        kinds: label columns and their types; a location without a label has null.
    """
    columns = {"id": pa.string(), "geometry": pa.binary(), **{name: _ARROW[kind] for name, kind in kinds.items()}}
    geometry = {"encoding": "WKB", "geometry_types": ["Point"]}
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    schema = pa.schema(columns.items(), metadata={"geo": json.dumps(geo)})
    rows = (
        {"id": record["id"], "geometry": _wkb(record["lon"], record["lat"]), **record["labels"]} for record in records
    )
    _write(path, rows, schema, GROUP_LOCATIONS)


def _wkb(lon: float | None, lat: float | None) -> bytes | None:
    return None if lon is None else _POINT.pack(1, 1, lon, lat)


def write_images(path: Path, rows: Iterable[tuple[str, Sequence[Mapping[str, Any]]]], num_seasons: int) -> None:
    """Write the image table of one modality.

    Args:
        path: of the new file.
        rows: by location its id and, by season, what `records.image_record` gives; the time is kept elsewhere.
        num_seasons: of every location.
    """
    flat = (
        {"location": location, "season": season, **image}
        for location, images in rows
        for season, image in enumerate(images)
    )
    _write(path, flat, IMAGE_SCHEMA, GROUP_LOCATIONS * num_seasons)


def _write(path: Path, rows: Iterator[Mapping[str, Any]], schema: pa.Schema, group: int) -> None:
    with (
        atomic_path(path) as partial,
        pq.ParquetWriter(partial, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        while chunk := list(islice(rows, group)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema), row_group_size=group)


class ImageTable:
    """One modality's image table, read by row group; holds no open file."""

    def __init__(self, path: Path, num_seasons: int) -> None:
        self._path = path
        self._group = GROUP_LOCATIONS * num_seasons
        self._cached: tuple[int, pa.Table] | None = None

    def row(self, number: int) -> dict[str, Any]:
        """Give a row, counted location by location, season by season."""
        group, offset = divmod(number, self._group)
        cached = self._cached
        if cached is None or cached[0] != group:
            with pq.ParquetFile(self._path, page_checksum_verification=True) as file:
                cached = (group, file.read_row_group(group))
            self._cached = cached
        return cached[1].slice(offset, 1).to_pylist()[0]


def read_column(path: Path, column: str) -> pa.ChunkedArray:
    """Read one column of a table."""
    return pq.read_table(path, columns=[column], page_checksum_verification=True).column(column)


def column_names(path: Path) -> list[str]:
    """List the columns of a table."""
    return list(pq.read_schema(path).names)


def num_rows(path: Path) -> int:
    """Count the rows of a table."""
    return pq.read_metadata(path).num_rows
