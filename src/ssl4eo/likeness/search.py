# SPDX-License-Identifier: Apache-2.0
"""Which rows are like one: exact search by cosine, dates of the same place told apart from other places.

By FAISS (Douze et al. 2024): inner products of unit vectors in float32. Above FLAT_VALUES the scan runs over sketches:
the SKETCH main directions of the data and the length of the rest, from which Cauchy and Schwarz bound each cosine from
above. Rows are judged in full from the largest bound down, until no bound is left that reaches the k-th cosine: the
answer is exact, and each query reads some hundred bytes a row in place of thousands. Where the bounds do not part the
rows (features without main directions), all rows are judged in full.
One scan is cut into shards, since FAISS uses one core a query.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import ConfigInvalid, DataMissing, SampleInvalid
from ssl4eo.likeness.embeddings import Embeddings, has_length

FLAT_VALUES = 2**25
"""Rows times features up to which all are scanned in full."""
SKETCH = 62
"""Main directions in a sketch; with two more values it fills whole registers."""
SAMPLE = 50_000
"""Rows that the main directions are taken from."""
MOST_JUDGED = 8192
"""Rows that are judged by their bounds before all are judged in full."""
ROUNDING = 1e-5
"""What rounding may add to a product of float32."""
SHARD_ROWS = 50_000
BLOCK = 1024
"""Queries at a time where all rows are compared with all."""


@dataclass(frozen=True)
class Neighbour:
    """A row that is like the one asked for."""

    row: int
    location: str
    season: int
    """MEAN for a mean over seasons."""
    similarity: float
    """Cosine, -1 to 1."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        season = None if self.season < 0 else self.season
        return {"location": self.location, "season": season, "similarity": round(self.similarity, 6)}


class Likeness:
    """Exact search in embeddings, kept in memory: 8 bytes a value, above FLAT_VALUES 4 and 256 a row."""

    def __init__(self, embeddings: Embeddings) -> None:
        """Load all vectors, scaled to length 1.

        Raises:
            SourceInvalid: the file is damaged.
            DataMissing: FAISS is not installed.
        """
        self.embeddings = embeddings
        self.vectors = embeddings.vectors(unit=True)
        self._index = Scan(self.vectors)

    def like(
        self, location: str, *, season: int | None = None, k: int = 10, by_place: bool = True, own: bool = False
    ) -> list[Neighbour]:
        """Find what is like a place.

        Args:
            location: id.
            season: the date that is compared; None: the first row of the location that is no vector of zeros.
            k: how many to give, fewer where there are no more.
            by_place: give each place once, by the date that is most alike; else every date counts.
            own: let other dates of the same place in; without, other places only.

        Raises:
            LocationMissing: no such location in the embeddings.
            ConfigInvalid: fewer than one neighbour, or a season that it has no row of.
            SampleInvalid: its vectors are zeros.
        """
        rows = self.embeddings.rows_of(location)
        if season is not None:
            rows = rows[self.embeddings.seasons[rows] == season]
        if not len(rows):
            held = sorted(set(self.embeddings.seasons.tolist()) - {-1})
            raise ConfigInvalid(
                f"season {season} of {location}", expected=f"one of {held}" if held else "none: rows are means"
            )
        rows = rows[has_length(self.vectors[rows])]
        if not len(rows):
            when = "" if season is None else f" at season {season}"
            raise SampleInvalid(
                f"{location}{when} has a vector of zeros in {self.embeddings.path}",
                expected="features that differ from zero: nothing is like this",
                remedy=f"look at its images with `ssl4eo show ... {location}`",
                location=location,
            )
        return self.like_vector(
            self.vectors[rows[0]], k=k, by_place=by_place, row=int(rows[0]), leave_out=None if own else location
        )

    def like_vector(
        self,
        vector: NDArray[np.float32],
        *,
        k: int = 10,
        by_place: bool = True,
        leave_out: str | None = None,
        row: int | None = None,
    ) -> list[Neighbour]:
        """Find what is like any vector (D,) of the same network; nothing is like one of zeros.

        Args:
            vector: of any length.
            k: how many.
            by_place: give each place once.
            leave_out: location whose rows are left out.
            row: one more that is left out.
        """
        if k < 1:
            raise ConfigInvalid(f"{k} neighbours", expected="1 or more")
        if not vector.any():
            return []
        query = (vector / np.linalg.norm(vector.astype(np.float64))).astype(np.float32)
        num_rows, reach = len(self.embeddings), k + 1 + self._rows_a_place
        while True:
            reach = min(reach, num_rows)
            rows, similarities = self._index.search(query, reach)
            found = list(self._chosen(rows, similarities, by_place=by_place, leave_out=leave_out, row=row))
            if len(found) >= k or reach == num_rows:
                return found[:k]
            reach *= 4

    def own_similarities(self, location: str) -> NDArray[np.float32]:
        """Give the cosines between all rows of one location (S, S): how much its dates differ; 0 of zeros."""
        own = self.vectors[self.embeddings.rows_of(location)]
        return (own @ own.T).clip(-1, 1)

    def _chosen(
        self, rows: NDArray[np.int64], similarities: NDArray[np.float32], *, by_place: bool, leave_out: str | None,
        row: int | None,
    ) -> Iterator[Neighbour]:  # fmt: skip
        locations, seasons = self.embeddings.locations, self.embeddings.seasons
        seen = set[str]()
        for number, similarity in zip(rows.tolist(), similarities.tolist(), strict=True):
            place = locations[number]
            if place == leave_out or number == row or (by_place and place in seen):
                continue
            if not self.vectors[number].any():  # its products of 0 would be more than those of opposite vectors
                continue
            seen.add(place)
            yield Neighbour(number, place, int(seasons[number]), float(similarity))

    @cached_property
    def _rows_a_place(self) -> int:
        return int(np.bincount(self.embeddings.place_of).max())


class Scan:
    """The nearest of some unit vectors to one: no row is left out that could be among them."""

    def __init__(self, vectors: NDArray[np.float32], *, sketched: bool | None = None) -> None:
        """Build the index.

        Args:
            vectors: of length 1 (N, D), not copied.
            sketched: scan sketches first; None: above FLAT_VALUES.
        """
        self._vectors = vectors
        is_large = vectors.size > FLAT_VALUES if sketched is None else sketched
        self._sketch = Sketch(vectors) if is_large else None
        self._index = _sharded(vectors if self._sketch is None else self._sketch.of_rows(vectors))

    def search(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Give rows (k,) and cosines (k,), most alike first; of equal ones the first row first.

        Args:
            query: unit vector (D,).
            k: at most the number of vectors.
        """
        num_rows = len(self._vectors)
        is_flat = self._sketch is None
        wanted, constant = (query, 0.0) if self._sketch is None else self._sketch.of_query(query)
        reach = min(num_rows, k + 1 if is_flat else 4 * k + 64)
        while is_flat or reach <= MOST_JUDGED:
            bounds, rows = (found[0] for found in self._index.search(wanted[None], reach))
            cosines = bounds if is_flat else self._vectors[rows] @ query
            order = np.lexsort((rows, -cosines))[:k]
            # What is not among these rows has at most the last bound.
            if reach == num_rows or cosines[order[-1]] > bounds[-1] + constant + (0 if is_flat else ROUNDING):
                return rows[order], cosines[order].clip(-1, 1)
            reach = min(num_rows, 4 * reach)
        return _nearest(self._vectors @ query, k)


class Sketch:
    """Short vectors whose products are upper bounds of the products of unit vectors.

    With x - m = V y + rest, V orthonormal, m the mean: |x - q|^2 >= |y - y_q|^2 + (|rest| - |rest_q|)^2, and
    cosine = 1 - |x - q|^2 / 2. Written out, the bound is the product of (y, |rest|, -|x - m|^2 / 2) with
    (y_q, |rest_q|, 1) and a constant of the query.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Find the main directions of a sample, evenly spaced."""
        sample = vectors[:: max(1, len(vectors) // SAMPLE)].astype(np.float64)
        mean = sample.mean(axis=0)
        _, directions = np.linalg.eigh((sample - mean).T @ (sample - mean))
        self._mean = mean.astype(np.float32)
        self._axes = np.ascontiguousarray(directions[:, ::-1][:, :SKETCH], np.float32)

    def of_rows(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give the sketches (N, SKETCH + 2) of unit vectors (N, D)."""
        parts = [self._parts(vectors[i : i + SAMPLE]) for i in range(0, len(vectors), SAMPLE)]
        rows = [np.column_stack([main, rest, -square / 2]) for main, rest, square in parts]
        return np.concatenate(rows).astype(np.float32, copy=False)

    def of_query(self, query: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Give what a sketch is multiplied with (SKETCH + 2,), and what is to be added for the bound of the cosine."""
        main, rest, square = self._parts(query[None])
        return np.concatenate([main[0], rest, np.ones(1, np.float32)]), 1 - float(square[0]) / 2

    def _parts(
        self, vectors: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Give y (N, SKETCH), the length of the rest (N,) and the squared distance to the mean (N,)."""
        apart = vectors - self._mean
        main = apart @ self._axes
        square = np.einsum("nd,nd->n", apart, apart)
        rest = np.sqrt(np.maximum(square - np.einsum("nd,nd->n", main, main), 0))
        return main, rest, square


def _nearest(cosines: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Give the k largest of all cosines; of equal ones the first row first."""
    kth = np.partition(cosines, -k)[-k]
    rows = np.flatnonzero(cosines >= kth)
    rows = rows[np.lexsort((rows, -cosines[rows]))[:k]]
    return rows, cosines[rows].clip(-1, 1)


def _sharded(vectors: NDArray[np.float32]) -> Any:
    """Put vectors into a FAISS index for each core, or one where they are few."""
    faiss = require_faiss()
    num_rows, width = vectors.shape
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    num_shards = max(1, min(cores, num_rows // SHARD_ROWS))
    shards = faiss.IndexShards(width, True, True)  # noqa: FBT003 - threaded, with successive ids
    for part in np.array_split(np.arange(num_rows), num_shards):
        index = faiss.IndexFlatIP(width)
        index.add(np.ascontiguousarray(vectors[part[0] : part[-1] + 1]))
        shards.add_shard(index)
    return shards


def nearest_places(
    vectors: NDArray[np.float32],
    groups: NDArray[np.int64],
    k: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find for each unit vector the k most alike ones of other groups: rows (N, k) and cosines (N, k).

    Compares all with all, N * N * D multiplications, in blocks of 1024 queries.

    Args:
        vectors: of length 1 (N, D).
        groups: of each vector (N,); own ones are left out.
        k: how many; where other groups have fewer rows, the rest is -1 and -1. Vectors of zeros have no neighbours
            and are none.
        progress: told (rows done, rows in all).
    """
    known = np.flatnonzero(has_length(vectors))
    if len(known) < len(vectors):
        out_rows = np.full((len(vectors), k), -1, np.int64)
        out_products = np.full((len(vectors), k), -1, np.float32)
        if len(known):
            rows, products = nearest_places(vectors[known], groups[known], k, progress=progress)
            out_rows[known], out_products[known] = np.where(rows < 0, -1, known[rows]), products
        return out_rows, out_products
    faiss = require_faiss()
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    largest = int(np.bincount(groups).max())
    reach = min(len(vectors), k + largest)
    out_rows = np.full((len(vectors), k), -1, np.int64)
    out_products = np.full((len(vectors), k), -1, np.float32)
    for start in range(0, len(vectors), BLOCK):
        stop = min(start + BLOCK, len(vectors))
        products, rows = index.search(vectors[start:stop], reach)
        other = groups[rows] != groups[start:stop, None]
        order = np.argsort(~other, axis=1, kind="stable")[:, :k]  # others first, most alike first
        kept = np.take_along_axis(other, order, axis=1)
        width = order.shape[1]
        out_rows[start:stop, :width] = np.where(kept, np.take_along_axis(rows, order, axis=1), -1)
        out_products[start:stop, :width] = np.where(kept, np.take_along_axis(products, order, axis=1).clip(-1, 1), -1)
        if progress is not None:
            progress(stop, len(vectors))
    return out_rows, out_products


def require_faiss() -> Any:
    """Import FAISS.

    Raises:
        DataMissing: it is not installed.
    """
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which build it tries
    try:
        import faiss
    except ImportError as error:
        raise DataMissing("FAISS is not installed", expected="it", remedy="pip install 'ssl4eo[gallery]'") from error
    return faiss


def mean_by_place(vectors: NDArray[np.float32], place_of: NDArray[np.int64]) -> NDArray[np.float32]:
    """Average unit vectors (N, D) over the rows of each place and scale to length 1 again: (P, D).

    Vectors of zeros do not count; a place that has no others has one of zeros too.

    Args:
        vectors: of length 1, or zeros.
        place_of: number of the place of each row (N,), 0 to P - 1, each at least once.
    """
    if len(place_of) and np.array_equal(place_of, np.arange(len(place_of))):
        return vectors
    order = np.argsort(place_of, kind="stable")
    firsts = np.flatnonzero(np.diff(place_of[order], prepend=-1))
    sums = np.add.reduceat(vectors[order], firsts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.maximum(lengths, np.float32(1e-12))
