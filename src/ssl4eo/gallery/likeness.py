# SPDX-License-Identifier: Apache-2.0
"""What the gallery shows of embeddings: places like one, the plane, outliers, how far two networks agree.

data/likeness.json                      the networks, their outliers, their agreement
data/likeness/{n}/{block}.bin           place in the plane of each location of a block: x, then y, float32, 0 to 1
place/{shard}/{id}/like-{n}.json        what network n thinks is like this place
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive
from ssl4eo.errors import SourceInvalid
from ssl4eo.gallery.columns import Column
from ssl4eo.likeness.checks import require_points
from ssl4eo.likeness.compare import linear_cka, overlap_by_row
from ssl4eo.likeness.embeddings import Embeddings, open_embeddings
from ssl4eo.likeness.names import network_names
from ssl4eo.likeness.outliers import distance_of, order_of
from ssl4eo.likeness.prepared import NEIGHBOURS, Prepared, prepare
from ssl4eo.likeness.search import Likeness, mean_by_place

ALIKE = 12
"""Places like one that are shown."""
OUTLIERS = 60
"""Places like no other that are listed."""

Progress = Callable[[int, int], None]


class LikenessFiles:
    """Makes the files of some embeddings of one archive; opens them at once, computes when first asked."""

    def __init__(self, archive: Archive, paths: Sequence[Path | str]) -> None:
        """Open the embeddings and check that they are of this archive.

        Raises:
            DataMissing: no such file.
            SourceInvalid: no embeddings, or those of another archive.
        """
        self._archive = archive
        self.sets = [open_embeddings(path) for path in paths]
        for embeddings in self.sets:
            require_places_of(embeddings, archive)
        self._names = network_names(self.sets)
        self._loading = threading.Lock()
        self._searches: dict[int, Likeness] = {}
        self._prepared: dict[int, Prepared] = {}

    def prepare(self, progress: Progress | None = None) -> None:
        """Compute what needs all places at once."""
        for number, embeddings in enumerate(self.sets):
            if number not in self._prepared:
                self._prepared[number] = prepare(embeddings, progress=progress)

    def prepared(self, number: int) -> Prepared:
        """Give what needs all places at once, of one network."""
        self.prepare()
        return self._prepared[number]

    def about(self) -> list[dict[str, Any]]:
        """Tell which networks there are."""
        return [
            {
                "name": name,
                "sha256": item.sha256,
                "method": item.record["checkpoint"].get("method"),
                "contract": str(item.contract),
                "modality": item.record["source"]["modality"],
                "seasons": item.record["config"]["seasons"],
                "features": item.num_features,
                "count": len(item.places),
            }
            for name, item in zip(self._names, self.sets, strict=True)
        ]

    def summary(self) -> bytes:
        """Tell networks, outliers and agreement as JSON."""
        sets = [{**row, "outliers": self._outliers(n)} for n, row in enumerate(self.about())]
        return _json({"sets": sets, "neighbours": NEIGHBOURS, "agreement": self._agreement})

    def _outliers(self, number: int) -> list[dict[str, Any]]:
        prepared, places = self.prepared(number), self.sets[number].places
        order = order_of(prepared.outliers, ~np.isnan(prepared.plane[:, 0]))[:OUTLIERS]
        return [{"id": places[i], "distance": distance_of(float(prepared.outliers[i]))} for i in order.tolist()]

    @cached_property
    def _agreement(self) -> dict[str, Any] | None:
        """How far the first two networks agree: mutual k-NN and linear CKA; None where they share too few places."""
        shares = self._overlap
        if shares is None:
            return None
        one, two = (mean_by_place(item.vectors(unit=True), item.place_of) for item in self.sets[:2])
        number = {name: i for i, name in enumerate(self.sets[1].places)}
        two, both = two[[number[name] for name in self.sets[0].places]], ~np.isnan(shares)
        cka = linear_cka(one[both], two[both])
        chance = NEIGHBOURS / (len(self.sets[0].places) - 1)
        known = None if np.isnan(cka) else round(cka, 4)
        return {"overlap": round(float(shares[both].mean()), 4), "chance": round(chance, 4), "cka": known}

    @cached_property
    def _overlap(self) -> NDArray[np.float32] | None:
        """Share of common neighbours of each place of the first network (P,), NaN where one of the two has no vector.

        None without a second network of these places, or without a place that both have a vector of.
        """
        if len(self.sets) < 2 or len(self.sets[0].places) < NEIGHBOURS + 2:
            return None
        first, second = self.sets[:2]
        if set(first.places) != set(second.places):
            return None
        number = {name: i for i, name in enumerate(first.places)}
        renamed = np.array([number[name] for name in second.places])  # the second's number -> the first's
        theirs = np.empty_like(self.prepared(1).nearest)
        theirs[renamed] = np.append(renamed, -1)[self.prepared(1).nearest]  # -1: no vector, no neighbours
        ours = self.prepared(0).nearest
        known = (ours[:, 0] >= 0) & (theirs[:, 0] >= 0)
        return np.where(known, overlap_by_row(ours, theirs), np.nan).astype(np.float32) if known.any() else None

    def columns(self) -> list[Column]:
        """Give outlier scores, and the agreement of two networks, as columns that the map can color and filter by."""
        columns = [
            self._column(n, f"unlike-{n}", f"distance to nearest places, {name}", self.prepared(n).outliers)
            for n, name in enumerate(self._names)
        ]
        if self._overlap is not None:
            columns.append(self._column(0, "agreement", "nearest places that both networks name", self._overlap))
        return columns

    def _column(self, number: int, key: str, title: str, values: NDArray[np.float32]) -> Column:
        every = np.full(len(self._archive), np.nan, np.float32)
        every[self._indices[number]] = values
        return Column(key, title, "number", every[None])

    def plane(self, number: int, rows: NDArray[np.int64]) -> bytes:
        """Give the places in the plane of some locations by their index in the archive; NaN without an embedding."""
        every = np.full((len(self._archive), 2), np.nan, np.float32)
        every[self._indices[number]] = self.prepared(number).plane / 2 + 0.5
        return np.ascontiguousarray(every[rows].T, dtype="<f4").tobytes()

    @cached_property
    def _indices(self) -> list[NDArray[np.int64]]:
        """By network the index in the archive of each of its places."""
        return [np.array([self._archive.index_of(name) for name in item.places], np.int64) for item in self.sets]

    def like(self, number: int, location: str) -> bytes:
        """Tell what is like a location as JSON: for each of its dates other places, and how alike its dates are."""
        embeddings = self.sets[number]
        if location not in self._known[number]:
            return _json({"rows": [], "own": []})
        search = self._search(number)
        rows = []
        for row in embeddings.rows_of(location).tolist():
            found = search.like_vector(search.vectors[row], k=ALIKE, leave_out=location)
            rows.append({"season": _season(embeddings, row), "like": [near.to_json() for near in found]})
        own = search.own_similarities(location).round(4).tolist()
        return _json({"rows": rows, "own": own})

    @cached_property
    def _known(self) -> list[frozenset[str]]:
        return [frozenset(item.places) for item in self.sets]

    def _search(self, number: int) -> Likeness:
        with self._loading:  # requests come in several threads
            if number not in self._searches:
                self._searches[number] = Likeness(self.sets[number])
            return self._searches[number]


def require_places_of(embeddings: Embeddings, archive: Archive) -> None:
    """Refuse embeddings whose locations are not those of an archive, by id and coordinates.

    Raises:
        SourceInvalid: they are not; running numbers alone prove nothing, so points are compared too.
    """
    known = {name: i for i, name in enumerate(archive.ids)}
    foreign = [name for name in embeddings.places if name not in known]
    remedy = f"embed this archive: ssl4eo embed --checkpoint ... --data {archive.path} --out ..."
    if foreign:
        raise SourceInvalid(
            f"{embeddings.path} has {len(foreign)} locations that {archive.path} does not hold, such as {foreign[0]}",
            expected="embeddings of this archive",
            remedy=remedy,
            path=str(embeddings.path),
        )
    points = archive.locations.geometry.get_coordinates(include_z=False).reindex(range(len(archive)))
    mine = points.to_numpy()[[known[name] for name in embeddings.locations]]
    require_points(embeddings, np.arange(len(embeddings)), mine, place=archive.path, remedy=remedy)


def _season(embeddings: Embeddings, row: int) -> int | None:
    season = int(embeddings.seasons[row])
    return None if season < 0 else season


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
