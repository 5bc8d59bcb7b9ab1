# SPDX-License-Identifier: Apache-2.0
"""Places in the plane: t-SNE by openTSNE, of all places or of a sample with the rest placed among it.

t-SNE (van der Maaten and Hinton 2008) keeps neighbours together; distances between groups and their sizes mean
nothing. openTSNE (Policar et al. 2024) interpolates forces by FFT (Linderman et al. 2019), so that time grows with the
number of points and not its square; neighbours come from our exact search. Above FIT_PLACES a sample is fitted and each
other place lies at the median of its nearest in the sample, where openTSNE would begin to move it: the map is that of
the sample, and a group that the sample misses has no place of its own. The seed is fixed and one thread is used: a map
is the same each time on one kind of processor.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import DataMissing
from ssl4eo.likeness.embeddings import has_length
from ssl4eo.likeness.search import nearest_places, require_faiss

FIT_PLACES = 20_000
"""Places that are fitted; of more, as many are drawn by a fixed seed."""
PERPLEXITY = 30.0
FEWEST = 8
"""Places that t-SNE needs; fewer are laid on a circle in their order, and the caller should say so."""
_PLACED_AT_ONCE = 20_000
_NEAREST = 15
_BY_FFT = 10_000
"""Places from which on interpolation is faster than the tree of Barnes and Hut, as openTSNE has it."""
_COLLAPSED = 1e-10


def plane(
    vectors: NDArray[np.float32],
    *,
    seed: int = 0,
    fit: int = FIT_PLACES,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Lay out unit vectors (P, D) in the plane: (P, 2), each axis within -1 to 1; NaN for vectors of zeros.

    Args:
        vectors: of length 1, or zeros.
        seed: of the sample and of the layout.
        fit: places that are fitted, the rest is placed.
        progress: told (places laid out, places in all).

    Raises:
        DataMissing: openTSNE or FAISS is not installed.
    """
    known = has_length(vectors)
    if not known.all():
        everyone = np.full((len(vectors), 2), np.nan, np.float32)
        everyone[known] = plane(vectors[known], seed=seed, fit=fit, progress=progress)
        return everyone
    if len(vectors) < FEWEST or float(vectors.var(axis=0, dtype=np.float64).sum()) < _COLLAPSED:
        return _circle(len(vectors))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:fit])
    fitted = _fit(vectors[chosen], seed)
    out = np.empty((len(vectors), 2), np.float32)
    out[chosen] = fitted
    others = np.setdiff1d(np.arange(len(vectors)), chosen)
    for start in range(0, len(others), _PLACED_AT_ONCE):
        some = others[start : start + _PLACED_AT_ONCE]
        out[some] = _place(vectors[some], vectors[chosen], fitted)
        if progress is not None:
            progress(len(chosen) + start + len(some), len(vectors))
    return _within(out)


def _fit(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    tsne = _library()
    count = len(vectors)
    k = min(count - 1, int(3 * min(PERPLEXITY, (count - 1) / 3)))
    rows, products = nearest_places(vectors, np.arange(count), k)
    neighbours = tsne.nearest_neighbors.PrecomputedNeighbors(rows, _distances(products))
    affinities = tsne.affinity.PerplexityBasedNN(
        knn_index=neighbours, perplexity=min(PERPLEXITY, k / 3), method="precomputed", n_jobs=1, random_state=seed
    )
    start = tsne.initialization.pca(vectors.astype(np.float64), random_state=seed, svd_solver="arpack")
    method = "bh" if count < _BY_FFT else "fft"
    embedding = tsne.TSNE(n_jobs=1, random_state=seed, negative_gradient_method=method).fit(
        affinities=affinities, initialization=start
    )
    return np.asarray(embedding, np.float32)


def _place(
    vectors: NDArray[np.float32], sample: NDArray[np.float32], fitted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Put vectors (M, D) at the median of their nearest in the sample."""
    index = require_faiss().IndexFlatIP(sample.shape[1])
    index.add(sample)
    _, rows = index.search(vectors, min(_NEAREST, len(sample)))
    return np.median(fitted[rows], axis=1).astype(np.float32)


def _distances(products: NDArray[np.float32]) -> NDArray[np.float64]:
    """Turn cosines of unit vectors into Euclidean distances."""
    return np.sqrt(np.maximum(2 - 2 * products.astype(np.float64), 0))


def _within(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale to -1 to 1, both axes alike."""
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    return ((points - middle) / max(float(np.abs(points - middle).max()), 1e-12)).astype(np.float32)


def _circle(count: int) -> NDArray[np.float32]:
    angles = 2 * np.pi * np.arange(count) / max(count, 1)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def _library() -> Any:
    logging.getLogger("openTSNE").setLevel(logging.ERROR)  # it tells that affinities are given
    try:
        for part in ("affinity", "initialization", "nearest_neighbors"):
            import_module(f"openTSNE.{part}")
        return import_module("openTSNE")
    except ImportError as error:
        raise DataMissing("openTSNE is not installed", expected="it", remedy="pip install 'ssl4eo[gallery]'") from error
