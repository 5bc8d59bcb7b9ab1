# SPDX-License-Identifier: Apache-2.0
"""Which places are like no other: the mean distance to the k nearest other places.

Source: Angiulli and Pizzuti, Fast Outlier Detection in High Dimensional Spaces (PKDD 2002), whose weight of a point is
the sum of the distances to its k nearest neighbours; here their mean, so that k does not change the scale. The distance
is 1 - cosine, 0 to 2. Unlike LOF it knows no local density: a place in a sparse region scores high, which is what one
looks for here (a broken image, a rare landscape). It says nothing about why.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 10
"""Neighbours that the score is the mean over."""


def outlier_scores(similarities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the mean distance to the neighbours found (N,); NaN for a row that has none.

    Args:
        similarities: cosines (N, k) as `nearest_places` gives them, -1 for neighbours that there are not.

    >>> outlier_scores(np.array([[1.0, 0.5], [0.0, -1.0]], np.float32)).tolist()
    [0.25, 1.0]
    """
    found = similarities > -1
    count = found.sum(axis=1)
    total = np.where(found, 1 - similarities, 0).sum(axis=1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)


def order_of(scores: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give the known places from the highest score down, a place without a score last.

    >>> order_of(np.array([0.1, np.nan, 0.3, np.nan], np.float32), np.array([True, True, True, False])).tolist()
    [2, 0, 1]
    """
    order = np.argsort(-np.nan_to_num(scores, nan=-1), kind="stable")
    return order[known[order]]


def distance_of(score: float) -> float | None:
    """Give a score as JSON can hold it, None for a place that is compared with none."""
    return None if np.isnan(score) else round(score, 6)
