# SPDX-License-Identifier: Apache-2.0
"""Files of embeddings made of given vectors, as `ssl4eo embed` writes them."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ssl4eo.contract import network_input
from ssl4eo.likeness.embeddings import Embeddings, open_embeddings
from ssl4eo.likeness.table import FORMAT, GROUP_ROWS, embedding_column, embedding_schema, write_table


def make_embeddings(
    path: Path,
    vectors: NDArray[np.float32],
    *,
    locations: Sequence[str] | None = None,
    seasons: Sequence[int] | None = None,
    points: Sequence[tuple[float, float]] | None = None,
    name: str = "random.resnet18.s2l1c",
    **network: object,
) -> Embeddings:
    """Write vectors (N, D), by default one place a row at (i, 0), and open the file; `network` is told of it too."""
    count = len(vectors)
    contract = network_input("S2L1C").to_json()
    record = {
        "format": FORMAT,
        "kind": "embeddings",
        "checkpoint": {"name": name, "sha256": None, "method": "untrained", "image_size": 224, **network},
        "contract": contract,
        "source": {"title": "made up", "synthetic": True, "modality": "S2L1C", "identity": "none"},
        "config": {"seasons": "all"},
        "versions": {},
    }
    schema = embedding_schema(vectors.shape[1], "float32", record, None)
    points = [(i % 180, 0.0) for i in range(count)] if points is None else points
    columns = {
        "location": pa.array([f"{i:07d}" for i in range(count)] if locations is None else list(locations)),
        "season": pa.array([0] * count if seasons is None else list(seasons), pa.int32()),
        "modality": pa.array(["S2L1C"] * count),
        "time": pa.nulls(count, pa.timestamp("ms", tz="UTC")),
        "geometry": pa.array([struct.pack("<BIdd", 1, 1, *point) for point in points], pa.binary()),
        "valid": pa.array([True] * count),
        "checkpoint": pa.array([name] * count),
        "checkpoint_sha256": pa.nulls(count, pa.string()),
        "contract": pa.array([json.dumps(contract)] * count),
        "embedding": embedding_column(vectors, schema),
    }
    table = pa.table(columns, schema=schema)
    write_table(path, schema, (table.slice(start, GROUP_ROWS) for start in range(0, count, GROUP_ROWS)))
    return open_embeddings(path)
