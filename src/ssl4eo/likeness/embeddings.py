# SPDX-License-Identifier: Apache-2.0
"""Reading a file of embeddings: its record at once, columns when first asked for, vectors as a stream or whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ssl4eo.contract import InputContract, contract_from_json
from ssl4eo.errors import DataMissing, LocationMissing, SourceInvalid
from ssl4eo.likeness.checks import require_consistent
from ssl4eo.likeness.table import GROUP_ROWS, PLAIN_COLUMNS, read_record

log = logging.getLogger(__name__)

MEAN = -1
"""Season of a row that is the mean over seasons."""
_MOST_NAMED = 5
"""Rows without a length that a warning names."""


class Embeddings:
    """A file of embeddings, opened by `open_embeddings`."""

    def __init__(self, path: Path, schema: pa.Schema, num_rows: int) -> None:
        self.path = path
        self.record: dict[str, Any] = read_record(path, schema)
        """Checkpoint, contract, source, config and versions, as plain values."""
        self._num_rows = num_rows
        self._is_warned = False
        self.num_features: int = schema.field("embedding").type.list_size
        """Length D of an embedding."""

    def __len__(self) -> int:
        """Count the rows."""
        return self._num_rows

    def __repr__(self) -> str:
        """Say what is in it."""
        return f"<Embeddings {self.path}: {len(self)} x {self.num_features}, {self.checkpoint}>"

    @property
    def checkpoint(self) -> str:
        """Name of the network, as it was asked for."""
        return str(self.record["checkpoint"]["name"])

    @property
    def sha256(self) -> str | None:
        """Of the network's file, None for an untrained one."""
        return self.record["checkpoint"]["sha256"]

    @property
    def contract(self) -> InputContract:
        """What the network was fed."""
        return contract_from_json(self.record["contract"])

    @property
    def synthetic(self) -> bool:
        """Say whether no satellite saw the pixels."""
        return bool(self.record["source"]["synthetic"])

    @cached_property
    def locations(self) -> tuple[str, ...]:
        """Location of each row."""
        return tuple(self._column("location").to_pylist())

    @cached_property
    def seasons(self) -> NDArray[np.int32]:
        """Season of each row (N,); MEAN for a mean over seasons."""
        return self._column("season").fill_null(MEAN).to_numpy().astype(np.int32)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Say of each row whether its pixels were observed (N,)."""
        return self._column("valid").to_numpy().astype(bool)

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Locations, each once, in the order of their first row."""
        return tuple(dict.fromkeys(self.locations))

    @cached_property
    def place_of(self) -> NDArray[np.int64]:
        """Position in `places` of each row (N,)."""
        number = {name: i for i, name in enumerate(self.places)}
        return np.fromiter((number[name] for name in self.locations), np.int64, len(self))

    @cached_property
    def points(self) -> NDArray[np.float64]:
        """Longitude and latitude of each row [deg] (N, 2); NaN where nobody knows."""
        points = np.full((len(self), 2), np.nan)
        for i, wkb in enumerate(self._column("geometry").to_pylist()):
            if wkb is not None:
                points[i] = np.frombuffer(wkb, "<f8" if wkb[0] else ">f8", 2, offset=5)
        return points

    def rows_of(self, location: str) -> NDArray[np.int64]:
        """Give the rows of a location.

        Raises:
            LocationMissing: it has none.
        """
        if location not in self._number:
            raise LocationMissing(
                f"{self.path} has no embedding of {location!r}",
                expected=f"one of {len(self.places)} ids, {self.places[0]} to {self.places[-1]}",
                location=location,
            )
        return np.flatnonzero(self.place_of == self._number[location])

    @cached_property
    def _number(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.places)}

    def batches(self, rows: int = GROUP_ROWS) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Give (number of the first row, vectors (n, D)) for up to `rows` rows at a time, as they were computed.

        Raises:
            SourceInvalid: a stored page is damaged, or a value is not finite; the message names the row.
        """
        start = 0
        try:
            with pq.ParquetFile(self.path, page_checksum_verification=True) as file:
                for batch in file.iter_batches(rows, columns=["embedding"]):
                    flat = batch.column(0).flatten().to_numpy(zero_copy_only=False)
                    vectors = flat.astype(np.float32, copy=False).reshape(len(batch), self.num_features)
                    self._require_finite(vectors, start)
                    yield start, vectors
                    start += len(vectors)
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, SourceInvalid):
                raise
            raise self._damaged(error) from error

    def check(self) -> None:
        """Read everything once.

        Raises:
            SourceInvalid: a stored page is damaged, or a value is not finite.
        """
        for _ in self.batches():
            pass
        for name in PLAIN_COLUMNS:
            self._column(name)

    def vectors(self, *, unit: bool = False) -> NDArray[np.float32]:
        """Give all vectors (N, D).

        Args:
            unit: scaled to length 1, so that products are cosines; a vector of zeros stays one, and is warned of.

        Raises:
            SourceInvalid: as `batches`.
        """
        out = np.empty((len(self), self.num_features), np.float32)
        for start, vectors in self.batches():
            out[start : start + len(vectors)] = unit_rows(vectors) if unit else vectors
        if unit:
            self._warn_of_zeros(np.flatnonzero(~has_length(out)))
        return out

    def _warn_of_zeros(self, rows: NDArray[np.int64]) -> None:
        """Tell which rows have no direction, once."""
        if not len(rows) or self._is_warned:
            return
        self._is_warned = True
        named = ", ".join(self._spell(int(row)) for row in rows[:_MOST_NAMED])
        more = " and others" if len(rows) > _MOST_NAMED else ""
        log.warning(
            "%s: %d of %d rows are vectors of zeros, which are like nothing and left out: %s%s",
            self.path, len(rows), len(self), named, more,
        )  # fmt: skip

    def _spell(self, row: int) -> str:
        season = int(self.seasons[row])
        return self.locations[row] + ("" if season == MEAN else f" season {season}")

    def _require_finite(self, vectors: NDArray[np.float32], start: int) -> None:
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            row = start + int(bad[0])
            raise SourceInvalid(
                f"row {row} of {self.path} ({self.locations[row]}) is not finite",
                expected="finite values",
                remedy="remove the file and write it anew with `ssl4eo embed`",
                path=str(self.path),
            )

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Read some columns.

        Raises:
            SourceInvalid: a stored page is damaged.
        """
        try:
            return pq.read_table(self.path, columns=list(names), page_checksum_verification=True)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._damaged(error) from error

    def _column(self, name: str) -> pa.ChunkedArray:
        return self.columns([name]).column(name)

    def _damaged(self, error: Exception) -> SourceInvalid:
        return SourceInvalid(
            f"{self.path} cannot be read ({' '.join(str(error).split())[:200]})",
            expected="the bytes that were written",
            remedy="copy the file again, or remove it and write it anew with `ssl4eo embed`",
            path=str(self.path),
        )


def open_embeddings(path: Path | str) -> Embeddings:
    """Open a file that `ssl4eo embed` wrote; reads its metadata and which rows it has, no vectors.

    Raises:
        DataMissing: there is no such file.
        SourceInvalid: it is cut short or something else than embeddings, has no rows or one twice, or vectors of
            another length than its record says.
    """
    path = Path(path).absolute()
    if not path.is_file():
        raise DataMissing(f"no file {path}", expected="embeddings, as `ssl4eo embed` writes them", path=str(path))
    try:
        with pq.ParquetFile(path) as file:
            embeddings = Embeddings(path, file.schema_arrow, file.metadata.num_rows)
    except pa.ArrowInvalid as error:
        raise SourceInvalid(
            f"{path} is no Parquet file ({' '.join(str(error).split())[:200]})",
            expected="embeddings, as `ssl4eo embed` writes them",
            path=str(path),
        ) from error
    require_consistent(embeddings)
    return embeddings


def has_length(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say which vectors (N, D) have a direction (N,): one of zeros, as a blank image may give, is like nothing."""
    return np.asarray(vectors.any(axis=1), np.bool_)


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale finite vectors (N, D) to length 1; those of zeros stay as they are.

    >>> unit_rows(np.array([[3, 4], [0, 0]], np.float32)).round(1).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
