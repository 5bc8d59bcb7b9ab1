# SPDX-License-Identifier: Apache-2.0
"""How good predictions are, over a whole part at once: never a mean over batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import SampleInvalid

NUM_RESAMPLES = 10_000


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Right predictions, counted in four ways."""

    overall: float
    """Share of items that are right, 0 to 1."""
    average: float
    """Mean of the recalls: every class counts alike."""
    recall: tuple[float, ...]
    """For each class the share of its items that are right; NaN for a class without items."""
    confusion: NDArray[np.int64]
    """(K, K) counts, true class by predicted class."""
    interval: tuple[float, float]
    """Bootstrap interval of `overall`, 95 %: the spread from drawing other test items, not from training again."""


def confusion_matrix(labels: NDArray[np.int64], predicted: NDArray[np.int64], *, num_classes: int) -> NDArray[np.int64]:
    """Count (K, K) items by true class (row) and predicted class (column).

    Raises:
        SampleInvalid: no items, shapes that differ, or classes out of range.
    """
    if labels.shape != predicted.shape or labels.ndim != 1 or not labels.size:
        raise SampleInvalid(
            f"labels {labels.shape} and predictions {predicted.shape}", expected="two of one shape (N,), N > 0"
        )
    for name, values in (("labels", labels), ("predictions", predicted)):
        if values.min() < 0 or values.max() >= num_classes:
            raise SampleInvalid(f"{name} {values.min()} to {values.max()}", expected=f"0 to {num_classes - 1}")
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def measure_accuracy(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], *, num_classes: int, seed: int = 0
) -> Accuracy:
    """Judge predictions (N,) against labels (N,).

    Args:
        labels: true classes.
        predicted: predicted classes.
        num_classes: K.
        seed: of the bootstrap.
    """
    confusion = confusion_matrix(labels, predicted, num_classes=num_classes)
    right, total = np.diag(confusion), confusion.sum(axis=1)
    recall = np.divide(right, total, out=np.full(num_classes, np.nan), where=total > 0)
    return Accuracy(
        overall=float(right.sum() / total.sum()),
        average=float(np.nanmean(recall)),
        recall=tuple(float(r) for r in recall),
        confusion=confusion,
        interval=bootstrap_interval(int(right.sum()), int(total.sum()), seed=seed),
    )


def bootstrap_interval(num_right: int, num_items: int, *, seed: int, level: float = 0.95) -> tuple[float, float]:
    """Give the percentile bootstrap interval of a share.

    Drawing `num_items` items with replacement and counting the right ones is a binomial draw, so no item is
    copied. With no or only right items the interval is a point: the bootstrap knows nothing beyond its items.
    Source: Efron 1979.
    """
    rng = np.random.default_rng(seed)
    shares = rng.binomial(num_items, num_right / num_items, size=NUM_RESAMPLES) / num_items
    low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
