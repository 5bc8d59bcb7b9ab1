# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, jaccard_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from ssl4eo.errors import SampleInvalid
from ssl4eo.evaluation.metrics import (
    bootstrap_interval,
    confusion_matrix,
    map_confusion,
    measure_change,
    measure_classes,
    measure_labels,
    measure_maps,
    weighted_precision,
)


def _draws(num: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.choice(4, size=num, p=[0.6, 0.2, 0.15, 0.05])
    return labels, np.where(rng.random(num) < 0.7, labels, rng.integers(0, 4, num))


def test_hand_worked_case() -> None:
    """Three of class 0 with two right, one of class 1 wrong: 2/4 overall, (2/3 + 0) / 2 on average."""
    measured = measure_classes(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 0]), num_classes=2)

    assert measured.measures["accuracy"].value == 0.5
    assert measured.measures["average_accuracy"].value == pytest.approx(1 / 3)
    assert measured.by_class["recall"] == pytest.approx((2 / 3, 0.0))
    assert measured.confusion.tolist() == [[2, 1], [1, 0]]


def test_counts_equal_scikit_learn() -> None:
    """Confusion and balanced accuracy are the library's."""
    labels, predicted = _draws()

    measured = measure_classes(labels, predicted, num_classes=4)

    np.testing.assert_array_equal(measured.confusion, sklearn_confusion(labels, predicted))
    assert measured.measures["average_accuracy"].value == pytest.approx(
        balanced_accuracy_score(labels, predicted), rel=1e-12
    )
    assert measured.measures["accuracy"].value == pytest.approx((labels == predicted).mean(), rel=1e-12)


def test_order_of_items_changes_nothing() -> None:
    """Metrics are of the whole set."""
    labels, predicted = _draws()
    order = np.random.default_rng(1).permutation(len(labels))

    first, second = (
        measure_classes(a, b, num_classes=4) for a, b in ((labels, predicted), (labels[order], predicted[order]))
    )

    same = ("accuracy", "average_accuracy", "macro_f1")  # the published mean over batches does depend on it
    assert [first.measures[name] for name in same] == [second.measures[name] for name in same]


def test_class_without_items_counts_in_no_mean() -> None:
    """A class that is not there has no recall, and the average is of the others."""
    measured = measure_classes(np.array([0, 1]), np.array([0, 0]), num_classes=3)

    assert np.isnan(measured.by_class["recall"][2])
    assert measured.measures["average_accuracy"].value == 0.5


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


def _scored(num: int = 300, num_labels: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random((num, num_labels)) < [0.5, 0.3, 0.1, 0.05, 0.02]).astype(np.int64)
    return labels, np.round((0.3 * labels + 0.7 * rng.random(labels.shape)), 2)  # rounded: scores tie


def test_average_precision_and_f1_equal_scikit_learn() -> None:
    """Micro and macro, with tied scores, of the whole set."""
    labels, scores = _scored()

    measured = measure_labels(labels, scores)

    values = {name: measure.value for name, measure in measured.measures.items()}
    for how in ("micro", "macro"):
        expected = average_precision_score(labels, scores, average=how)
        assert values[f"{how}_map"] == pytest.approx(expected, rel=1e-6)
        assert values[f"{how}_f1"] == pytest.approx(f1_score(labels, scores >= 0.5, average=how), rel=1e-6)
    np.testing.assert_allclose(
        measured.by_class["average_precision"], average_precision_score(labels, scores, average=None), rtol=1e-6
    )
    assert measured.main == "micro_map"


def test_mean_over_batches_is_another_number() -> None:
    """What the published programs report: average precision of batches of 64, averaged by their items."""
    labels, scores = _scored()

    value = measure_labels(labels, scores).measures["micro_map_of_batches"].value

    starts = range(0, 300, 64)
    batches = [average_precision_score(labels[i : i + 64], scores[i : i + 64], average="micro") for i in starts]
    assert value == pytest.approx(np.average(batches, weights=[64, 64, 64, 64, 44]), rel=1e-9)
    assert value != pytest.approx(average_precision_score(labels, scores, average="micro"), rel=1e-4)


def test_weighted_precision_is_that_of_copied_items() -> None:
    """Hand-worked: right, wrong, right gives (1 + 2/3) / 2; weights copy."""
    assert weighted_precision(np.array([1, 0, 1]), np.array([0.9, 0.8, 0.7])) == pytest.approx((1 + 2 / 3) / 2)
    labels, scores = (values[:, 0] for values in _scored())
    weights = np.random.default_rng(2).integers(0, 4, len(labels))
    copied = average_precision_score(np.repeat(labels, weights), np.repeat(scores, weights))
    assert weighted_precision(labels, scores, weights.astype(float)) == pytest.approx(copied, rel=1e-9)


def test_interval_of_precision_is_that_of_copying_items() -> None:
    """Items are drawn with all their labels."""
    labels, scores = _scored()
    rng = np.random.default_rng(5)

    low, high = measure_labels(labels, scores).measures["micro_map"].interval

    draws = [rng.integers(0, 300, 300) for _ in range(1000)]
    copied = [average_precision_score(labels[d], scores[d], average="micro") for d in draws]
    np.testing.assert_allclose([low, high], np.quantile(copied, [0.025, 0.975]), atol=0.006)


def test_label_that_no_item_has_is_left_out_of_means() -> None:
    """It has no average precision."""
    labels, scores = _scored()
    labels[:, 4] = 0

    measured = measure_labels(labels, scores)

    assert np.isnan(measured.by_class["average_precision"][4])
    expected = average_precision_score(labels[:, :4], scores[:, :4], average="macro")
    assert measured.measures["macro_map"].value == pytest.approx(expected, rel=1e-6)


def test_one_label_alone_is_measured() -> None:
    """All averages are its own."""
    labels, scores = (values[:, :1] for values in _scored())

    values = {name: m.value for name, m in measure_labels(labels, scores).measures.items()}

    assert values["micro_map"] == values["macro_map"] == pytest.approx(average_precision_score(labels, scores))
    assert values["micro_f1"] == values["macro_f1"] == pytest.approx(f1_score(labels, scores >= 0.5))


def _maps(num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, num_classes, (6, 8, 8)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, num_classes, truth.shape))
    truth[:, 0] = 255
    return truth, predicted.astype(np.uint8)


def test_iou_equals_scikit_learn_and_a_hand_worked_matrix() -> None:
    """Pixels of 255 count nowhere; 2 of 3 right of class 0, 1 of 2 of class 1: IoU 2/4 and 1/3."""
    truth, predicted = _maps(4)
    confusions = np.stack([map_confusion(t, p, num_classes=4) for t, p in zip(truth, predicted, strict=True)])

    measured = measure_maps(confusions)

    judged = truth != 255
    expected = jaccard_score(truth[judged], predicted[judged], average=None)
    np.testing.assert_allclose(measured.by_class["iou"], expected, rtol=1e-12)
    assert measured.measures["mean_iou"].value == pytest.approx(expected.mean(), rel=1e-12)
    hand = map_confusion(np.array([0, 0, 0, 1, 1], np.uint8), np.array([0, 0, 1, 1, 0], np.uint8), num_classes=2)
    assert hand.tolist() == [[2, 1], [1, 1]]
    assert measure_maps(hand[None]).by_class["iou"] == pytest.approx((2 / 4, 1 / 3))


def test_class_without_pixels_is_left_out_of_the_mean() -> None:
    """Predicted or not."""
    confusion = np.array([[[2, 0, 1], [0, 3, 0], [0, 0, 0]]])

    measured = measure_maps(confusion)

    assert np.isnan(measured.by_class["iou"][2])
    assert measured.measures["mean_iou"].value == pytest.approx((2 / 3 + 1) / 2)


def test_change_is_judged_by_its_own_class() -> None:
    """Precision, recall and F1 of scikit-learn; no change found at all is 0, not an error."""
    truth, predicted = _maps(2)
    confusions = np.stack([map_confusion(t, p, num_classes=2) for t, p in zip(truth, predicted, strict=True)])

    measured = measure_change(confusions)

    judged = truth != 255
    assert measured.measures["f1"].value == pytest.approx(f1_score(truth[judged], predicted[judged]))
    assert measured.measures["iou"].value == pytest.approx(jaccard_score(truth[judged], predicted[judged]))
    low, high = measured.measures["f1"].interval
    assert low < measured.measures["f1"].value < high
    nothing = measure_change(np.array([[[5, 0], [3, 0]]])).measures
    assert (nothing["f1"].value, nothing["precision"].value, nothing["recall"].value) == (0, 0, 0)


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.ones((2, 2)), np.ones((2, 3))),
        (np.full((2, 2), 2), np.ones((2, 2))),
        (np.ones((2, 2)), np.full((2, 2), np.nan)),
        (np.zeros((2, 2)), np.ones((2, 2))),
    ],
)
def test_labels_that_cannot_be_judged_are_refused(labels, scores) -> None:
    """Empty, of another shape, not 0 or 1, not finite, nothing to find."""
    with pytest.raises(SampleInvalid):
        measure_labels(labels.astype(np.int64), scores.astype(np.float64))


def test_maps_that_cannot_be_judged_are_refused() -> None:
    """Of another shape, with a class that is not there, without a judged pixel."""
    with pytest.raises(SampleInvalid, match="a predicted map"):
        map_confusion(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), num_classes=2)
    with pytest.raises(SampleInvalid, match="predicted class 7"):
        map_confusion(np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8), num_classes=2)
    with pytest.raises(SampleInvalid, match="no pixel"):
        measure_maps(np.zeros((3, 2, 2), np.int64))
