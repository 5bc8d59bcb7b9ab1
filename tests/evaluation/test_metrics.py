# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from ssl4eo.errors import SampleInvalid
from ssl4eo.evaluation.metrics import bootstrap_interval, confusion_matrix, measure_accuracy


def _draws(num: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.choice(4, size=num, p=[0.6, 0.2, 0.15, 0.05])
    return labels, np.where(rng.random(num) < 0.7, labels, rng.integers(0, 4, num))


def test_hand_worked_case() -> None:
    """Three of class 0 with two right, one of class 1 wrong: 2/4 overall, (2/3 + 0) / 2 on average."""
    measured = measure_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 0]), num_classes=2)

    assert measured.overall == 0.5
    assert measured.average == pytest.approx(1 / 3)
    assert measured.recall == pytest.approx((2 / 3, 0.0))
    assert measured.confusion.tolist() == [[2, 1], [1, 0]]


def test_counts_equal_scikit_learn() -> None:
    """Confusion and balanced accuracy are the library's."""
    labels, predicted = _draws()

    measured = measure_accuracy(labels, predicted, num_classes=4)

    np.testing.assert_array_equal(measured.confusion, sklearn_confusion(labels, predicted))
    assert measured.average == pytest.approx(balanced_accuracy_score(labels, predicted), rel=1e-12)
    assert measured.overall == pytest.approx((labels == predicted).mean(), rel=1e-12)


def test_order_of_items_changes_nothing() -> None:
    """Metrics are of the whole set."""
    labels, predicted = _draws()
    order = np.random.default_rng(1).permutation(len(labels))

    first, second = (
        measure_accuracy(a, b, num_classes=4) for a, b in ((labels, predicted), (labels[order], predicted[order]))
    )

    assert first.overall == second.overall
    assert first.interval == second.interval


def test_class_without_items_counts_in_no_mean() -> None:
    """A class that is not there has no recall, and the average is of the others."""
    measured = measure_accuracy(np.array([0, 1]), np.array([0, 0]), num_classes=3)

    assert np.isnan(measured.recall[2])
    assert measured.average == 0.5


def test_interval_is_that_of_resampling_items() -> None:
    """The interval agrees with exact binomial quantiles and with copying items about."""
    low, high = bootstrap_interval(350, 500, seed=0)

    exact = binom.ppf([0.025, 0.975], 500, 0.7) / 500
    right = np.arange(500) < 350
    rng = np.random.default_rng(1)
    copied = np.quantile([right[rng.integers(0, 500, 500)].mean() for _ in range(2000)], [0.025, 0.975])
    # One item is 0.002; 10,000 and 2,000 resamples leave an uncertainty of about one and two items.
    np.testing.assert_allclose([low, high], exact, atol=0.003)
    np.testing.assert_allclose([low, high], copied, atol=0.007)


def test_interval_is_a_function_of_the_seed() -> None:
    """The same seed gives the same interval."""
    assert bootstrap_interval(7, 10, seed=3) == bootstrap_interval(7, 10, seed=3)


def test_interval_of_only_right_items_is_a_point() -> None:
    """The bootstrap knows nothing beyond its items."""
    assert bootstrap_interval(10, 10, seed=0) == (1.0, 1.0)
    assert bootstrap_interval(0, 10, seed=0) == (0.0, 0.0)


def test_values_that_do_not_fit_are_refused() -> None:
    """Empty sets, other shapes and unknown classes have no accuracy."""
    for labels, predicted in (([], []), ([0, 1], [0]), ([0, 2], [0, 1]), ([0, 1], [0, -1])):
        with pytest.raises(SampleInvalid):
            confusion_matrix(np.array(labels, np.int64), np.array(predicted, np.int64), num_classes=2)
