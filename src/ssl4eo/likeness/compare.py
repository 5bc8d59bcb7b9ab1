# SPDX-License-Identifier: Apache-2.0
"""Do two networks find the same places alike? Overlap of neighbours by place and overall, and linear CKA.

Overlap is the mutual k-NN alignment of Huh et al., The Platonic Representation Hypothesis (ICML 2024), equation 11: the
share of the k nearest places that both networks name; k / (P - 1) is what chance gives among P places.
CKA is linear centered kernel alignment of Kornblith et al., Similarity of Neural Network Representations Revisited
(ICML 2019), section 3, in its form over features: 1 for representations that differ by a rotation and a scale.
Both are of places (the mean of unit vectors over the dates of each), so that files with other seasons compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import ConfigInvalid
from ssl4eo.likeness.checks import require_points
from ssl4eo.likeness.embeddings import Embeddings, has_length
from ssl4eo.likeness.search import mean_by_place, nearest_places

NEIGHBOURS = 10
_BLOCK = 8192
_REMEDY = "embed the same archive with both networks"


@dataclass(frozen=True, eq=False)
class Comparison:
    """How much two networks agree on the places that both have seen."""

    places: tuple[str, ...]
    """P of them, in the order of the first file; without those of which a network gives zeros."""
    k: int
    overlap_of: NDArray[np.float32]
    """By place the share of its k nearest places that both name (P,), 0 to 1."""
    cka: float
    """Linear CKA, 0 to 1; NaN where one network gives the same for all places."""

    @property
    def overlap(self) -> float:
        """Mean of `overlap_of`: mutual k-NN alignment."""
        return float(self.overlap_of.mean(dtype=np.float64))

    @property
    def chance(self) -> float:
        """Overlap of two networks that know nothing of each other."""
        return self.k / (len(self.places) - 1)

    def to_json(self) -> dict[str, Any]:
        """Give plain values, places apart."""
        cka = None if np.isnan(self.cka) else round(self.cka, 6)
        rows = {"places": len(self.places), "k": self.k, "overlap": round(self.overlap, 6)}
        return {**rows, "chance": round(self.chance, 6), "cka": cka}


def compare(first: Embeddings, second: Embeddings, *, k: int = NEIGHBOURS) -> Comparison:
    """Compare the embeddings of two networks.

    Args:
        first: of one network.
        second: of another, of the same archive or of one that shares places with it: the same ids at the same points.
        k: neighbours of each place; fewer where there are not so many.

    Raises:
        ConfigInvalid: fewer than three common places, or fewer than one neighbour.
        SourceInvalid: a file is damaged, or a place of the same id lies elsewhere.
    """
    if k < 1:
        raise ConfigInvalid(f"{k} neighbours", expected="1 or more")
    _require_same_places(first, second)
    known = set(second.places)
    places = tuple(name for name in first.places if name in known)
    one, two = (_of_places(item, places) for item in (first, second))
    told = has_length(one) & has_length(two)
    if not told.all():
        one, two = one[told], two[told]
        places = tuple(name for name, is_told in zip(places, told.tolist(), strict=True) if is_told)
    if len(places) < 3:
        raise ConfigInvalid(
            f"{len(places)} places in both {first.path} and {second.path}", expected="three at least", remedy=_REMEDY
        )
    k = min(k, len(places) - 2)
    everyone = np.arange(len(places))
    return Comparison(
        places, k, overlap_by_row(nearest_places(one, everyone, k)[0], nearest_places(two, everyone, k)[0]),
        linear_cka(one, two),
    )  # fmt: skip


def overlap_by_row(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.float32]:
    """Give the share of common neighbours of each row (N,) of two lists (N, k); -1 is nobody.

    >>> overlap_by_row(np.array([[1, 2], [0, 2]]), np.array([[2, 3], [2, 0]])).tolist()
    [0.5, 1.0]
    """
    shared = np.zeros(len(first), np.int64)
    for column in range(first.shape[1]):
        shared += (second == first[:, column, None]).any(axis=1) & (first[:, column] >= 0)
    return (shared / first.shape[1]).astype(np.float32)


def linear_cka(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Give linear CKA of features (N, D) and (N, E) of the same items, in float64; NaN where one is constant."""
    means = [values.mean(axis=0, dtype=np.float64) for values in (first, second)]
    width, other = first.shape[1], second.shape[1]
    cross, own, own_too = np.zeros((width, other)), np.zeros((width, width)), np.zeros((other, other))
    for start in range(0, len(first), _BLOCK):
        x, y = (v[start : start + _BLOCK] - mean for v, mean in zip((first, second), means, strict=True))
        cross += x.T @ y
        own += x.T @ x
        own_too += y.T @ y
    below = np.linalg.norm(own) * np.linalg.norm(own_too)
    return float(np.linalg.norm(cross) ** 2 / below) if below > 0 else float("nan")


def _require_same_places(first: Embeddings, second: Embeddings) -> None:
    """Refuse files whose common ids are those of different places, as running numbers of two archives are."""
    row_of: dict[str, int] = {}
    for row, name in enumerate(second.locations):
        row_of.setdefault(name, row)
    rows = np.array([row for row, name in enumerate(first.locations) if name in row_of], np.int64)
    points = second.points[[row_of[first.locations[row]] for row in rows.tolist()]]
    require_points(first, rows, points.reshape(-1, 2), place=second.path, remedy=_REMEDY)


def _of_places(embeddings: Embeddings, places: tuple[str, ...]) -> NDArray[np.float32]:
    means = mean_by_place(embeddings.vectors(unit=True), embeddings.place_of)
    if places == embeddings.places:
        return means
    number = {name: i for i, name in enumerate(embeddings.places)}
    return means[[number[name] for name in places]]
