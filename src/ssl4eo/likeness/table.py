# SPDX-License-Identifier: Apache-2.0
"""The file of embeddings: GeoParquet 1.1, one row a location and season, written and described here.

Readers that know nothing of us (geopandas, DuckDB, plain pyarrow) see a point, a fixed-size list of floats and the
facts that make it comparable: checkpoint, contract, modality. The full record lies in the file's metadata, as JSON
under `ssl4eo`. Rows come in groups of 4096, so that neither writing nor reading needs the whole table in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ssl4eo.errors import SourceInvalid
from ssl4eo.files import whole_or_told

FORMAT = 1
"""Version of the columns and of the record."""
RECORD = "ssl4eo"
"""Key of the record in the file's metadata."""
GROUP_ROWS = 4096
"""Rows in a row group: 32 MB of ResNet-50's 2048 features."""

DType = Literal["float32", "float16"]
VALUE_TYPES: Mapping[str, pa.DataType] = {"float32": pa.float32(), "float16": pa.float16()}
PLAIN_COLUMNS: Mapping[str, pa.DataType] = {
    "location": pa.string(),
    "season": pa.int32(),
    "modality": pa.string(),
    "time": pa.timestamp("ms", tz="UTC"),
    "geometry": pa.binary(),
    "valid": pa.bool_(),
    "checkpoint": pa.string(),
    "checkpoint_sha256": pa.string(),
    "contract": pa.string(),
}
"""All columns but `embedding`. Null: season and time of a mean over seasons, a point or a time that nobody knows, the
hash of an untrained network."""
NEVER_NULL = ("location", "modality", "valid", "checkpoint", "contract")


def embedding_schema(
    num_features: int, dtype: DType, record: Mapping[str, Any], bounds: list[float] | None
) -> pa.Schema:
    """Describe the columns and the metadata of a file.

    Args:
        num_features: length of an embedding.
        dtype: of its values.
        record: plain values, see docs/likeness.md.
        bounds: west, south, east, north of all points [deg], None where there are none.
    """
    geometry: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Point"] if bounds else []}
    if bounds:
        geometry["bbox"] = bounds
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    fields = [pa.field(name, kind, nullable=name not in NEVER_NULL) for name, kind in PLAIN_COLUMNS.items()]
    values = pa.field("element", VALUE_TYPES[dtype], nullable=False)
    fields.append(pa.field("embedding", pa.list_(values, num_features), nullable=False))
    return pa.schema(fields, metadata={"geo": json.dumps(geo), RECORD: json.dumps(record, ensure_ascii=False)})


def embedding_column(vectors: NDArray[np.generic], schema: pa.Schema) -> pa.Array:
    """Turn vectors (N, D) into the column `embedding`."""
    kind = schema.field("embedding").type
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), type=kind.value_type)
    return pa.FixedSizeListArray.from_arrays(flat, type=kind)


def write_table(path: Path, schema: pa.Schema, groups: Iterable[pa.Table]) -> None:
    """Write tables one after the other, each a row group; the file appears when it is whole.

    Raises:
        WriteFailed: the disk is full or refuses.
    """
    dictionaries: Any = [name for name in PLAIN_COLUMNS if name not in ("geometry", "time")]
    with (
        whole_or_told(path, (pa.ArrowInvalid,)) as partial,
        pq.ParquetWriter(
            partial,
            schema,
            compression="zstd",
            use_dictionary=dictionaries,
            write_page_checksum=True,
        ) as writer,
    ):
        for group in groups:
            writer.write_table(group, row_group_size=GROUP_ROWS)


def read_record(path: Path, schema: pa.Schema) -> dict[str, Any]:
    """Give the record of a file of embeddings, its columns checked.

    Raises:
        SourceInvalid: another kind of file, of another version, or without its columns.
    """
    try:
        record = json.loads((schema.metadata or {})[RECORD.encode()])
        kind, version = record["kind"], record["format"]
    except (KeyError, ValueError, TypeError) as error:
        raise _no_embeddings(path, "has no record of ours") from error
    if (kind, version) != ("embeddings", FORMAT):
        raise _no_embeddings(path, f"holds {kind} of version {version}")
    missing = [name for name in (*PLAIN_COLUMNS, "embedding") if name not in schema.names]
    if missing:
        raise _no_embeddings(path, f"has no column {' '.join(missing)}")
    values = schema.field("embedding").type
    if not pa.types.is_fixed_size_list(values) or values.value_type not in VALUE_TYPES.values():
        raise _no_embeddings(path, f"has embeddings of type {values}")
    return record


def _no_embeddings(path: Path, found: str) -> SourceInvalid:
    return SourceInvalid(
        f"{path} {found}",
        expected=f"embeddings of version {FORMAT}",
        remedy="write them with `ssl4eo embed`",
        path=str(path),
    )
