# SPDX-License-Identifier: Apache-2.0
"""What needs all places at once: nearest places, outliers and the plane, computed once and kept beside the file.

`E.parquet.likeness.npz` holds them under the SHA-256 of E.parquet; another content is never shown for it. Places are
compared, not rows: the mean of the unit vectors of a place's dates. Time grows with the square of the places.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import WriteFailed
from ssl4eo.files import file_sha256, whole_or_told
from ssl4eo.likeness.embeddings import Embeddings
from ssl4eo.likeness.outliers import outlier_scores
from ssl4eo.likeness.plane import plane
from ssl4eo.likeness.search import mean_by_place, nearest_places

log = logging.getLogger(__name__)

NEIGHBOURS = 10
"""Nearest places of each place."""
_VERSION = "likeness 1"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Of all P places, in the order of `Embeddings.places`."""

    nearest: NDArray[np.int64]
    """Numbers of the nearest places (P, k), most alike first; -1 where there are no more."""
    outliers: NDArray[np.float32]
    """Mean distance to them (P,), see `outliers.py`; NaN without any."""
    plane: NDArray[np.float32]
    """Position in the plane (P, 2), -1 to 1; NaN for a place whose vectors are zeros."""


def prepare(embeddings: Embeddings, *, progress: Progress | None = None) -> Prepared:
    """Read what an earlier call has kept, or compute and keep it.

    Args:
        embeddings: of one network.
        progress: told (places compared, places in all).

    Raises:
        SourceInvalid: the file is damaged.
        DataMissing: FAISS or openTSNE is not installed.
    """
    path = kept_beside(embeddings.path)
    key = f"{_VERSION} {file_sha256(embeddings.path)}"
    kept = _read(path, key, len(embeddings.places))
    if kept is not None:
        return kept
    means = mean_by_place(embeddings.vectors(unit=True), embeddings.place_of)
    nearest, similarities = nearest_places(means, np.arange(len(means)), NEIGHBOURS, progress=progress)
    prepared = Prepared(nearest, outlier_scores(similarities), plane(means))
    try:
        with whole_or_told(path) as partial, partial.open("wb") as stream:
            np.savez(stream, key=np.array(key), nearest=nearest, outliers=prepared.outliers, plane=prepared.plane)
    except WriteFailed as error:
        log.warning("%s; it will be computed again the next time", error)
    return prepared


def kept_beside(path: Path) -> Path:
    """Name the file that results are kept in."""
    return path.with_name(f"{path.name}.likeness.npz")


def _read(path: Path, key: str, count: int) -> Prepared | None:
    """Read what is kept, None where it is of another content or damaged."""
    try:
        with np.load(path, allow_pickle=False) as data:
            if str(data["key"]) != key:
                return None
            kept = Prepared(data["nearest"], data["outliers"], data["plane"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    fits = kept.nearest.shape[:1] == kept.outliers.shape == (count,) and kept.plane.shape == (count, 2)
    return kept if fits else None
