# SPDX-License-Identifier: Apache-2.0
"""Which rows are like one: exact search by cosine, dates of the same place told apart from other places.

By FAISS (Douze et al. 2024): inner products of unit vectors in float32. Above FLAT_ROWS the scan runs over a copy in
float16, which takes half the memory traffic, and its candidates are judged again in float32; how far float16 may be off
is bounded, and as many candidates are taken as that bound asks for, so that the answer stays exact.
One scan is cut into shards, since FAISS uses one core a query.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import ConfigInvalid, DataMissing
from ssl4eo.likeness.embeddings import Embeddings

FLAT_ROWS = 200_000
"""Rows up to which float32 is scanned directly."""
HALF_ERROR = 2.0**-10
"""How far a product of two unit vectors may be off if one is rounded to float16: 2^-11, and as much to spare."""
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
    """Exact search in embeddings, kept in memory: 4 bytes a value, and above FLAT_ROWS 2 more."""

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
            season: the date that is compared; None: the first row of the location.
            k: how many to give, fewer where there are no more.
            by_place: give each place once, by the date that is most alike; else every date counts.
            own: let other dates of the same place in; without, other places only.

        Raises:
            LocationMissing: no such location in the embeddings.
            ConfigInvalid: fewer than one neighbour, or a season that it has no row of.
        """
        rows = self.embeddings.rows_of(location)
        if season is not None:
            rows = rows[self.embeddings.seasons[rows] == season]
        if not len(rows):
            held = sorted(set(self.embeddings.seasons.tolist()) - {-1})
            raise ConfigInvalid(
                f"season {season} of {location}", expected=f"one of {held}" if held else "none: rows are means"
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
        """Find what is like any vector (D,) of the same network.

        Args:
            vector: of any length but 0.
            k: how many.
            by_place: give each place once.
            leave_out: location whose rows are left out.
            row: one more that is left out.
        """
        if k < 1:
            raise ConfigInvalid(f"{k} neighbours", expected="1 or more")
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
        """Give the cosines between all rows of one location (S, S): how much its dates differ."""
        own = self.vectors[self.embeddings.rows_of(location)]
        return own @ own.T

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
            seen.add(place)
            yield Neighbour(number, place, int(seasons[number]), float(similarity))

    @cached_property
    def _rows_a_place(self) -> int:
        return int(np.bincount(self.embeddings.place_of).max())


class Scan:
    """The nearest of some unit vectors to one, by looking at all of them."""

    def __init__(self, vectors: NDArray[np.float32], *, half: bool | None = None) -> None:
        """Build the index.

        Args:
            vectors: of length 1 (N, D), not copied.
            half: scan in float16; None: above FLAT_ROWS.
        """
        self._vectors = vectors
        self._half = len(vectors) > FLAT_ROWS if half is None else half
        self._index = _sharded(vectors, half=self._half)

    def search(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Give rows (k,) and cosines (k,), most alike first; of equal ones the first row first.

        Args:
            query: unit vector (D,).
            k: at most the number of vectors.
        """
        num_rows = len(self._vectors)
        reach = min(num_rows, 2 * k + 64) if self._half else min(num_rows, k + 1)
        while True:
            products, rows = self._index.search(query[None], reach)
            rows, products = rows[0], products[0]
            exact = self._vectors[rows] @ query if self._half else products
            order = np.lexsort((rows, -exact))[:k]
            # What is not among the candidates has at most the last product, give or take the error of float16.
            slack = HALF_ERROR if self._half else 0.0
            if reach == num_rows or exact[order[-1]] > products[-1] + slack:
                return rows[order], exact[order].clip(-1, 1)
            reach = min(num_rows, 4 * reach)


def _sharded(vectors: NDArray[np.float32], *, half: bool) -> Any:
    """Put vectors into a FAISS index for each core, or one where they are few."""
    faiss = require_faiss()
    num_rows, width = vectors.shape
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    num_shards = max(1, min(cores, num_rows // SHARD_ROWS))
    shards = faiss.IndexShards(width, True, True)  # noqa: FBT003 - threaded, with successive ids
    for part in np.array_split(np.arange(num_rows), num_shards):
        metric = faiss.METRIC_INNER_PRODUCT
        rounded = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, metric)
        index = rounded if half else faiss.IndexFlatIP(width)
        index.add(vectors[part[0] : part[-1] + 1])
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
        k: how many; where other groups have fewer rows, the rest is -1 and -1.
        progress: told (rows done, rows in all).
    """
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
        out_products[start:stop, :width] = np.where(kept, np.take_along_axis(products, order, axis=1), -1)
        if progress is not None:
            progress(stop, len(vectors))
    return out_rows, out_products


def require_faiss() -> Any:
    """Import FAISS.

    Raises:
        DataMissing: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise DataMissing("FAISS is not installed", expected="it", remedy="pip install 'ssl4eo[gallery]'") from error
    return faiss


def mean_by_place(vectors: NDArray[np.float32], place_of: NDArray[np.int64]) -> NDArray[np.float32]:
    """Average unit vectors (N, D) over the rows of each place and scale to length 1 again: (P, D).

    Args:
        vectors: of length 1.
        place_of: number of the place of each row (N,), 0 to P - 1, each at least once.
    """
    if len(place_of) and np.array_equal(place_of, np.arange(len(place_of))):
        return vectors
    order = np.argsort(place_of, kind="stable")
    firsts = np.flatnonzero(np.diff(place_of[order], prepend=-1))
    sums = np.add.reduceat(vectors[order], firsts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.maximum(lengths, np.float32(1e-12))
