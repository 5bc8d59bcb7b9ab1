# SPDX-License-Identifier: Apache-2.0
"""What a file of embeddings must be, and whether its locations lie where those of something else do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ssl4eo.errors import SourceInvalid

if TYPE_CHECKING:  # which opens its files by the checks of this module
    from ssl4eo.likeness.embeddings import Embeddings

SAME_PLACE_DEG = 1e-6
"""How far a location may lie from where it is elsewhere [deg]: 0.1 m."""
_ANEW = "write it anew with `ssl4eo embed`, one file for each network"
_KEY = ["location", "season", "modality"]


def require_consistent(embeddings: Embeddings) -> None:
    """Refuse a file without rows, with vectors of another length than its record says, or with a row twice.

    Reads the three columns that name a row, a third of a second for a million of them.

    Raises:
        SourceInvalid: it is such a file, or damaged.
    """
    path, recorded = str(embeddings.path), embeddings.record["checkpoint"].get("features")
    if not len(embeddings):
        raise SourceInvalid(f"{path} holds no rows", expected="one location at least", remedy=_ANEW, path=path)
    if recorded is not None and recorded != embeddings.num_features:
        raise SourceInvalid(
            f"{path} holds vectors of {embeddings.num_features} values",
            expected=f"{recorded}, as its record says of the network",
            remedy=_ANEW,
            path=path,
        )
    counts = embeddings.columns(_KEY).group_by(_KEY, use_threads=False).aggregate([([], "count_all")])
    several = counts.filter(pc.field("count_all") > 1)
    if several.num_rows:
        row = several.slice(0, 1).to_pylist()[0]
        season = "" if row["season"] is None else f" season {row['season']}"
        raise SourceInvalid(
            f"{path} holds {row['location']}{season} of {row['modality']} {row['count_all']} times",
            expected="each location, season and modality once",
            remedy=_ANEW,
            path=path,
        )


def require_points(
    embeddings: Embeddings, rows: NDArray[np.int64], points: NDArray[np.float64], *, place: Path, remedy: str
) -> None:
    """Refuse rows whose locations lie elsewhere: running numbers are the same in every archive, points are not.

    Args:
        embeddings: that are looked at.
        rows: of them (n,).
        points: longitude and latitude where they should lie [deg] (n, 2); NaN where nobody knows.
        place: file or archive that says so.
        remedy: what to do.

    Raises:
        SourceInvalid: one lies elsewhere.
    """
    theirs = embeddings.points[rows]
    moved = np.flatnonzero(~np.isclose(points, theirs, rtol=0, atol=SAME_PLACE_DEG, equal_nan=True).all(axis=1))
    if len(moved):
        i = int(moved[0])
        raise SourceInvalid(
            f"{embeddings.path} has location {embeddings.locations[rows[i]]} at {_spell(theirs[i])}",
            expected=f"{_spell(points[i])}, as in {place}",
            remedy=remedy,
            path=str(embeddings.path),
        )


def _spell(point: NDArray[np.float64]) -> str:
    return "no coordinates" if np.isnan(point).any() else f"{point[0]:.5f}, {point[1]:.5f}"
