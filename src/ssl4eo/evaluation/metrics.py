# SPDX-License-Identifier: Apache-2.0
"""What predictions are worth, over the whole test part, with intervals from resampling its items.

Values are torchmetrics' for labels and counted from one confusion matrix for classes and maps. Intervals are percentile
intervals of a bootstrap over items, 95 % (Efron 1979): the spread from drawing other test items, not from training
again. Beside them stands what the published programs report: the mean over batches of a value of each batch.
Letters: N items, K classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from ssl4eo.errors import SampleInvalid

NUM_RESAMPLES = 10_000
"""Of shares of items, which are binomial draws."""
NUM_WEIGHTED = 1000
"""Of values that are computed anew for each resample."""
MOST_SORTED = 2_000_000_000
"""Scores that are looked at in all resamples of a precision curve; more items are resampled less often."""
THRESHOLD = 0.5
"""Score from which a label counts as predicted."""
PUBLISHED_BATCH = 64
"""Items over which the published programs compute a value before they average."""

Interval = tuple[float, float]
Confusion = NDArray[np.int64]


@dataclass(frozen=True)
class Measure:
    """A value, 0 to 1, and its spread."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True, eq=False)
class Measured:
    """All that is measured of a protocol on a task."""

    main: str
    """Name of the measure that stands in tables."""
    measures: Mapping[str, Measure]
    by_class: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    """Values of each class by name of the measure; NaN for a class without items."""
    confusion: Confusion | None = None
    """(K, K) counts, true class by predicted class."""


def confusion_matrix(labels: NDArray[np.int64], predicted: NDArray[np.int64], *, num_classes: int) -> Confusion:
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


def measure_classes(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], *, num_classes: int, seed: int = 0
) -> Measured:
    """Judge predicted classes (N,) against true ones (N,): accuracy over items and averaged over classes.

    Args:
        labels: true classes.
        predicted: predicted classes.
        num_classes: K.
        seed: of the bootstrap.
    """
    confusion = confusion_matrix(labels, predicted, num_classes=num_classes)
    right, total, guessed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    recall = _share(right, total)
    f1 = _share(2 * right, total + guessed)
    interval = bootstrap_interval(int(right.sum()), int(total.sum()), seed=seed)
    hits = (labels == predicted).astype(np.float64)
    return Measured(
        main="accuracy",
        measures={
            "accuracy": Measure(float(right.sum() / total.sum()), interval),
            "average_accuracy": Measure(
                float(np.nanmean(recall)), _resampled(labels, hits, num_classes=num_classes, seed=seed)
            ),
            "macro_f1": Measure(float(np.nanmean(f1))),
            "accuracy_of_batches": Measure(_mean_over_batches(len(hits), lambda part: float(hits[part].mean()))),
        },
        by_class={"recall": _plain(recall), "f1": _plain(f1)},
        confusion=confusion,
    )


def _resampled(labels: NDArray[np.int64], hits: NDArray[np.float64], *, num_classes: int, seed: int) -> Interval:
    """Give the interval of the mean recall: hits of each class are binomial draws, given how many it has."""
    rng = np.random.default_rng(seed)
    total = np.bincount(labels, minlength=num_classes)
    right = np.bincount(labels, weights=hits, minlength=num_classes)
    held = total > 0
    draws = rng.binomial(total[held], (right / np.maximum(total, 1))[held], size=(NUM_WEIGHTED, int(held.sum())))
    return _percentiles((draws / total[held]).mean(axis=1))


def bootstrap_interval(num_right: int, num_items: int, *, seed: int, level: float = 0.95) -> Interval:
    """Give the percentile bootstrap interval of a share.

    Drawing `num_items` items with replacement and counting the right ones is a binomial draw, so no item is
    copied. With no or only right items the interval is a point: the bootstrap knows nothing beyond its items.
    """
    rng = np.random.default_rng(seed)
    shares = rng.binomial(num_items, num_right / num_items, size=NUM_RESAMPLES) / num_items
    return _percentiles(shares, level=level)


def measure_labels(labels: NDArray[np.int64], scores: NDArray[np.float64], *, seed: int = 0) -> Measured:
    """Judge scores of labels (N, K) against true ones (N, K), 0 or 1: mean average precision and F1.

    Micro: over all pairs of item and label. Macro: the mean over the labels that some item has.

    Args:
        labels: which labels each item has.
        scores: how likely each label is, 0 to 1.
        seed: of the bootstrap.

    Raises:
        SampleInvalid: no items, shapes that differ, scores that are not finite, or no item has a label.
    """
    # Here: it takes two seconds to load, and starting a run of pre-training loads this module.
    from torchmetrics.functional.classification import multilabel_average_precision, multilabel_f1_score

    _check_labels(labels, scores)
    held = labels.any(axis=0)
    wanted, truth = torch.from_numpy(scores[:, held]), torch.from_numpy(labels[:, held])
    each = np.full(labels.shape[1], np.nan)
    count = int(held.sum())
    if count == 1:  # torchmetrics wants two labels or more
        each[held] = weighted_precision(labels[:, held].ravel(), scores[:, held].ravel())
        micro, f1 = float(each[held][0]), float(_f1(truth[:, 0], wanted[:, 0] >= THRESHOLD))
        micro_f1, macro_f1 = f1, f1
    else:
        each[held] = multilabel_average_precision(wanted, truth, count, average="none").numpy()
        micro = float(multilabel_average_precision(wanted, truth, count, average="micro"))
        micro_f1, macro_f1 = (
            float(multilabel_f1_score((wanted >= THRESHOLD).long(), truth, count, average=how))
            for how in ("micro", "macro")
        )
    everything = labels.astype(np.float64)
    return Measured(
        main="micro_map",
        measures={
            "micro_map": Measure(micro, _precision_interval(everything[:, held], scores[:, held], seed=seed)),
            "macro_map": Measure(float(np.nanmean(each))),
            "micro_f1": Measure(micro_f1),
            "macro_f1": Measure(macro_f1),
            "micro_map_of_batches": Measure(
                _mean_over_batches(len(labels), lambda part: _micro(everything[part], scores[part]))
            ),
        },
        by_class={"average_precision": _plain(each)},
    )


def _micro(labels: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    return weighted_precision(labels.ravel(), scores.ravel()) if labels.any() else 0.0


def _f1(truth: torch.Tensor, predicted: torch.Tensor) -> float:
    both = float((truth.bool() & predicted).sum())
    return 2 * both / max(1.0, float(truth.sum()) + float(predicted.sum()))


def weighted_precision(
    labels: NDArray[np.number], scores: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> float:
    """Give the average precision of scores (M,) for labels (M,), each counted `weights` (M,) times.

    The sum over distinct scores of precision times the step in recall, as scikit-learn defines it.
    """
    order = np.argsort(-scores, kind="stable")
    return _precision_of_sorted(
        labels[order].astype(np.float64), _ends(scores[order]), None if weights is None else weights[order]
    )


def _ends(ordered: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the last place of each run of equal scores."""
    return np.flatnonzero(np.append(np.diff(ordered) != 0, True))


def _precision_of_sorted(
    labels: NDArray[np.float64], ends: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> float:
    found = np.cumsum(labels if weights is None else labels * weights)[ends]
    seen = ends + 1.0 if weights is None else np.cumsum(weights)[ends]
    if found[-1] == 0:
        return 0.0
    precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
    return float((np.diff(found, prepend=0.0) * precision).sum() / found[-1])


def _precision_interval(labels: NDArray[np.float64], scores: NDArray[np.float64], *, seed: int) -> Interval:
    """Give the interval of the micro average precision: items are drawn, their pairs of labels go with them."""
    rng, (num_items, num_labels) = np.random.default_rng(seed), labels.shape
    order = np.argsort(-scores.ravel(), kind="stable")
    truth, ends, owner = labels.ravel()[order], _ends(scores.ravel()[order]), order // num_labels
    resamples = int(np.clip(MOST_SORTED // max(1, scores.size), 100, NUM_WEIGHTED))
    draws = (rng.multinomial(num_items, np.full(num_items, 1 / num_items)) for _ in range(resamples))
    return _percentiles(np.array([_precision_of_sorted(truth, ends, draw.astype(np.float64)[owner]) for draw in draws]))


def measure_maps(confusions: Confusion, *, seed: int = 0) -> Measured:
    """Judge predicted maps by the confusion of each item (N, K, K): intersection over union, of all pixels together.

    Classes that no test pixel has are left out of the means.

    Raises:
        SampleInvalid: no pixel is judged.
    """
    total = _total(confusions)
    iou, mean, accuracy = _iou(total), _mean_iou, _pixel_accuracy
    rng = np.random.default_rng(seed)
    draws = [_weighted(confusions, rng) for _ in range(NUM_WEIGHTED)]
    return Measured(
        main="mean_iou",
        measures={
            "mean_iou": Measure(mean(total), _percentiles(np.array([mean(d) for d in draws]))),
            "pixel_accuracy": Measure(accuracy(total), _percentiles(np.array([accuracy(d) for d in draws]))),
            "average_accuracy": Measure(float(np.nanmean(_share(np.diag(total), total.sum(axis=1))))),
        },
        by_class={"iou": _plain(iou)},
        confusion=total,
    )


def measure_change(confusions: Confusion, *, seed: int = 0) -> Measured:
    """Judge maps of change by the confusion of each item (N, 2, 2), change being class 1: F1 of all pixels together.

    Raises:
        SampleInvalid: no pixel is judged.
    """
    total = _total(confusions)
    rng = np.random.default_rng(seed)
    draws = [_change(_weighted(confusions, rng)) for _ in range(NUM_WEIGHTED)]
    names = ("f1", "precision", "recall", "iou")
    values = _change(total)
    measures = {
        name: Measure(values[n], _percentiles(np.array([draw[n] for draw in draws]))) for n, name in enumerate(names)
    }
    return Measured(
        main="f1", measures={**measures, "pixel_accuracy": Measure(_pixel_accuracy(total))}, confusion=total
    )


def map_confusion(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], *, num_classes: int) -> Confusion:
    """Count (K, K) the pixels of a map whose truth is a class; all others count nowhere.

    Raises:
        SampleInvalid: maps of different shape, or a predicted class out of range.
    """
    if truth.shape != predicted.shape:
        raise SampleInvalid(f"a predicted map {predicted.shape}", expected=f"{truth.shape}, as the true one")
    judged = truth < num_classes
    if predicted[judged].size and predicted[judged].max() >= num_classes:
        raise SampleInvalid(f"predicted class {predicted[judged].max()}", expected=f"0 to {num_classes - 1}")
    index = truth[judged].astype(np.int64) * num_classes + predicted[judged]
    return np.bincount(index, minlength=num_classes**2).reshape(num_classes, num_classes)


def _total(confusions: Confusion) -> Confusion:
    total = confusions.sum(axis=0)
    if not total.sum():
        raise SampleInvalid("no pixel of the test part is judged", expected="maps with classes")
    return total


def _weighted(confusions: Confusion, rng: np.random.Generator) -> Confusion:
    count = len(confusions)
    return np.tensordot(rng.multinomial(count, np.full(count, 1 / count)), confusions, axes=1)


def _iou(confusion: Confusion) -> NDArray[np.float64]:
    """Give the IoU of each class (K,), NaN for one that no pixel has."""
    right, true = np.diag(confusion), confusion.sum(axis=1)
    iou = _share(right, true + confusion.sum(axis=0) - right)
    return np.where(true > 0, iou, np.nan)


def _mean_iou(confusion: Confusion) -> float:
    iou = _iou(confusion)
    return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0


def _pixel_accuracy(confusion: Confusion) -> float:
    return float(np.trace(confusion) / max(1, confusion.sum()))


def _change(confusion: Confusion) -> tuple[float, float, float, float]:
    """Give F1, precision, recall and IoU of class 1; 0 where nothing is found."""
    both, missed, wrong = (float(confusion[place]) for place in ((1, 1), (1, 0), (0, 1)))
    return (
        2 * both / max(1.0, 2 * both + missed + wrong),
        both / max(1.0, both + wrong),
        both / max(1.0, both + missed),
        both / max(1.0, both + missed + wrong),
    )


def _mean_over_batches(count: int, value: Callable[[slice], float]) -> float:
    """Average values of batches of the published size, weighted by their items, as most published programs do."""
    parts = [slice(start, min(start + PUBLISHED_BATCH, count)) for start in range(0, count, PUBLISHED_BATCH)]
    return sum(value(part) * (part.stop - part.start) for part in parts) / count


def _share(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _plain(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


def _percentiles(values: NDArray[np.float64], *, level: float = 0.95) -> Interval:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_labels(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
    if labels.shape != scores.shape or labels.ndim != 2 or not labels.size:
        raise SampleInvalid(
            f"labels {labels.shape} and scores {scores.shape}", expected="two of one shape (N, K), N and K above 0"
        )
    if not np.isin(labels, (0, 1)).all():
        raise SampleInvalid(f"labels {labels.min()} to {labels.max()}", expected="0 and 1")
    if not np.isfinite(scores).all():
        raise SampleInvalid("scores hold NaN or infinity", expected="finite scores")
    if not labels.any():
        raise SampleInvalid("no item of the test part has a label", expected="some that have one")
