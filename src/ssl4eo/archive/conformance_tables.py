# SPDX-License-Identifier: Apache-2.0
"""Conformance of what lies beside the pixels: tables, times, contracts, the list of what was left out.

Reads the files with pyarrow and the chunk decoder, not through `Archive`, which would refuse at the first mistake.
What only the source knows is not checked: `valid`, and offset 0 at baseline 04.00 or later (harmonized products).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ssl4eo.archive import codecs
from ssl4eo.archive.arrays import NO_TIME
from ssl4eo.archive.conformance import Subject, refuse, require_equal
from ssl4eo.archive.layout import LOCATIONS, SKIPPED, images_table
from ssl4eo.archive.records import RESERVED
from ssl4eo.archive.tables import GROUP_LOCATIONS, IMAGE_SCHEMA
from ssl4eo.contract import Contract
from ssl4eo.files import read_jsonl
from ssl4eo.sample import Location

LABEL_TYPES = (pa.int64(), pa.float64(), pa.string())
_POINT_BYTES = 21
_CRS = re.compile(r"|EPSG:[1-9]\d*|[A-Z][A-Z0-9_]*\s*\[.*\]\s*", re.DOTALL)
"""Empty, an EPSG code, or what has the look of WKT 1 or 2: a key word and brackets."""
BASELINES = range(100, 10_000)
"""ESA processing baselines: 01.00 to 99.99."""


def location_table(subject: Subject) -> str:
    """One row a location: unique valid ids, points as WKB, labels of the three types, row groups of 4096."""
    table = pq.read_table(subject.path / LOCATIONS, page_checksum_verification=True)
    require_equal("the first columns", tuple(table.column_names[:2]), RESERVED)
    require_equal("the number of rows", table.num_rows, subject.layout.num_locations)
    require_equal("the type of id", table.schema.field("id").type, pa.string())
    require_equal("the type of geometry", table.schema.field("geometry").type, pa.binary())
    for name in table.column_names[2:]:
        if table.schema.field(name).type not in LABEL_TYPES:
            raise refuse(f"label {name} is {table.schema.field(name).type}, expected int64, double or string")
    ids = table.column("id").to_pylist()
    if len(set(ids)) != len(ids):
        raise refuse(f"{len(ids) - len(set(ids))} ids come twice")
    for name in ids:
        Location(name)
    for point in table.column("geometry").to_pylist():
        if point is not None and (len(point) != _POINT_BYTES or point[:5] != b"\x01\x01\x00\x00\x00"):
            raise refuse(f"a geometry of {len(point)} bytes, expected null or a little-endian WKB point")
    _require_groups(subject, LOCATIONS, GROUP_LOCATIONS)
    return f"{len(ids)} ids, {len(table.column_names) - 2} label columns"


def geoparquet(subject: Subject) -> str:
    """The location table carries the GeoParquet 1.1 metadata of a column of points."""
    metadata = pq.read_schema(subject.path / LOCATIONS).metadata or {}
    geo = json.loads(metadata[b"geo"])
    require_equal("version", geo["version"], "1.1.0")
    require_equal("primary_column", geo["primary_column"], "geometry")
    column = geo["columns"]["geometry"]
    require_equal("encoding", (column["encoding"], column["geometry_types"]), ("WKB", ["Point"]))
    return "GeoParquet 1.1.0, WKB points"


def image_tables(subject: Subject) -> str:
    """One row an image, by location and season, in the order of the index, with metadata that can be."""
    ids = _ids(subject)
    seasons = subject.layout.spec.num_seasons
    for modality in subject.layout.bands:
        name = images_table(modality)
        table = pq.read_table(subject.path / name, page_checksum_verification=True)
        found = [(f.name, f.type, f.nullable) for f in table.schema]
        require_equal(f"the columns of {name}", found, [(f.name, f.type, f.nullable) for f in IMAGE_SCHEMA])
        require_equal(f"the number of rows of {name}", table.num_rows, len(ids) * seasons)
        if table.column("location").to_pylist() != [i for i in ids for _ in range(seasons)]:
            raise refuse(f"the locations of {name} are not those of {LOCATIONS}, each {seasons} times")
        if table.column("season").to_pylist() != list(range(seasons)) * len(ids):
            raise refuse(f"the seasons of {name} are not 0 to {seasons - 1} for each location")
        _require_metadata(name, table)
        _require_groups(subject, name, GROUP_LOCATIONS * seasons)
    return f"{len(ids) * seasons} images of {len(subject.layout.bands)} modalities"


def _require_metadata(name: str, table: pa.Table) -> None:
    for transform in table.column("transform").to_pylist():
        if transform is not None and not (len(transform) == 6 and np.isfinite(transform).all()):
            raise refuse(f"a transform of {name} is {transform}, expected six finite numbers")
    for crs in table.column("crs").unique().to_pylist():
        if not _CRS.fullmatch(crs):
            raise refuse(f"a crs of {name} is {crs[:80]!r}, expected nothing, EPSG:<code> or WKT")
    for baseline in table.column("baseline").unique().to_pylist():
        if baseline is not None and baseline not in BASELINES:
            raise refuse(f"a baseline of {name} is {baseline}, expected null or {BASELINES[0]} to {BASELINES[-1]}")


def times(subject: Subject) -> str:
    """Times of a location ascend and differ, unknown ones aside; nothing is stored past the last location."""
    known = 0
    for modality in subject.layout.bands:
        values = _times(subject, modality)
        length = subject.layout.num_locations
        if (values[length:] != NO_TIME).any():
            raise refuse(f"{modality}/time has values past location {length - 1}")
        for index, row in enumerate(values[:length].tolist()):
            told = [v for v in row if v != NO_TIME]
            if told != sorted(told):
                raise refuse(f"the {modality} times of location number {index} do not ascend: {row}")
            if len(set(told)) != len(told):
                raise refuse(f"two {modality} seasons of location number {index} have the same time: {row}")
            known += len(told)
    return f"{known} times"


def contracts(subject: Subject) -> str:
    """The contract of a modality is that of its form, with the offset that its images have."""
    for form in subject.layout.spec.forms:
        data = subject.document(f"{form.modality}/zarr.json")["attributes"]["contract"]
        offsets = set(pq.read_table(subject.path / images_table(form.modality), columns=["offset"])[0].to_pylist())
        wanted = form.contract(min(offsets)).to_json()
        if len(offsets) > 1:
            wanted["offset"] = None
        require_equal(f"the contract of {form.modality}", data, wanted)
        Contract.from_json({**data, "offset": min(offsets)})
    return "; ".join(str(form.contract()) for form in subject.layout.spec.forms)


def skipped(subject: Subject) -> str:
    """What was left out is told by id and reason, and is not stored."""
    stored, number = set(_ids(subject)), 0
    for number, row in enumerate(read_jsonl(subject.path / SKIPPED), 1):
        require_equal(f"the fields of line {number}", sorted(row), ["location", "reason"])
        if row["location"] in stored:
            raise refuse(f"{row['location']} is both stored and left out")
    return f"{number} lines"


def _ids(subject: Subject) -> list[str]:
    return pq.read_table(subject.path / LOCATIONS, columns=["id"])[0].to_pylist()


def _times(subject: Subject, modality: str) -> NDArray[np.int64]:
    array = subject.layout.times[modality]
    parts = [codecs.decode_chunk((subject.path / n).read_bytes(), array.chunk, "int64") for n in array.files]
    return np.concatenate(parts).astype(np.int64)


def _require_groups(subject: Subject, name: str, size: int) -> None:
    """Row groups let a reader find a row without reading the table."""
    metadata = pq.read_metadata(subject.path / name)
    found = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    wanted = [min(size, metadata.num_rows - start) for start in range(0, metadata.num_rows, size)]
    require_equal(f"the row groups of {name}", found, wanted)


CHECKS: tuple[Callable[[Subject], str], ...] = (location_table, geoparquet, image_tables, times, contracts, skipped)
