# SPDX-License-Identifier: Apache-2.0
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from ssl4eo.errors import SampleInvalid
from ssl4eo.evaluation.protocols import linear as module
from ssl4eo.evaluation.protocols.linear import PATH, Axes, choose_strength, fit_weights, linear
from ssl4eo.evaluation.protocols.protocol import Supervision


def _blobs(num: int, *, seed: int, spread: float = 0.3, num_classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around the corners of a simplex, far from the origin and of unequal scale."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % num_classes
    points = np.eye(5)[labels] + spread * rng.normal(size=(num, 5))
    values = points * [1, 10, 0.1, 1, 1] + 7
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))


def _seen(*, spread: float = 0.3, num_classes: int = 3) -> Supervision:
    train, validation = (_blobs(n, seed=s, spread=spread, num_classes=num_classes) for n, s in ((90, 0), (30, 1)))
    return Supervision(*train, *validation, num_classes)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_separable_classes_are_told_apart(num_classes: int) -> None:
    """Points around the corners of a simplex are no riddle for a linear map."""
    test, labels = _blobs(60, seed=2, spread=0.05, num_classes=num_classes)

    prediction = linear(_seen(spread=0.05, num_classes=num_classes), test)

    assert torch.equal(prediction.labels, labels)
    np.testing.assert_allclose(prediction.scores.sum(1).numpy(), 1.0, rtol=1e-12)
    assert prediction.scores.shape == (60, num_classes)


def test_choice_of_strength_is_the_best_on_validation_and_the_strongest_of_equals() -> None:
    """The chosen C is the first of the largest validation accuracies along the path."""
    prediction = linear(_seen(spread=0.6), _blobs(10, seed=2)[0])

    accuracies = prediction.settings["validation_accuracy"]
    assert len(accuracies) == len(PATH) == 10
    assert prediction.settings["C"] == PATH[accuracies.index(max(accuracies))]


def _noisy(num: int, *, noise: float, dimensions: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Items of which one dimension tells the class, as far as the noise lets it."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num, dimensions))
    labels = (values[:, 0] + noise * rng.normal(size=num) > 0).astype(np.int64)
    return torch.from_numpy(values), torch.from_numpy(labels)


def test_strength_is_chosen_on_validation_not_on_train() -> None:
    """Where memorizing noisy labels hurts validation, the choice is strong; on train it would be weak."""
    train, labels = _noisy(150, noise=1.5, dimensions=100, seed=0)
    validation, wanted = _noisy(400, noise=0.0, dimensions=100, seed=1)

    honest = choose_strength(train, labels, validation, wanted)
    fooled = choose_strength(train, labels, train, labels)

    assert max(fooled.values) == 1.0  # almost as many dimensions as items: anything can be memorized
    assert honest.values[PATH.index(fooled.c)] < max(honest.values)
    assert honest.c < fooled.c


def test_choice_follows_the_validation_labels() -> None:
    """Other validation labels give another choice: validation is what decides."""
    train, labels = _noisy(80, noise=1.0, dimensions=60, seed=0)

    memorized = choose_strength(train, labels, train, labels)
    contrary = choose_strength(train, labels, train, 1 - labels)

    assert memorized.c != contrary.c


def test_test_features_do_not_influence_the_choice() -> None:
    """Settings and scores of an item are the same whatever else is in the test part."""
    seen = _seen(spread=0.6)
    test, _ = _blobs(60, seed=2, spread=0.6)

    together, alone = linear(seen, test), linear(seen, test[:7])

    assert together.settings == alone.settings
    np.testing.assert_allclose(together.scores[:7].numpy(), alone.scores.numpy(), rtol=1e-10)


def test_order_of_training_items_changes_nothing() -> None:
    """An optimum does not know the order of its items."""
    seen, (test, _) = _seen(spread=0.6), _blobs(60, seed=2, spread=0.6)
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    shuffled = replace(seen, train=seen.train[order], train_labels=seen.train_labels[order])

    first, second = linear(seen, test), linear(shuffled, test)

    assert first.settings == second.settings
    assert torch.equal(first.labels, second.labels)
    np.testing.assert_allclose(first.scores.numpy(), second.scores.numpy(), rtol=0, atol=1e-6)


def test_scale_and_offset_of_features_change_nothing() -> None:
    """Features are standardized, so their unit does not matter."""
    seen, (test, _) = _seen(spread=0.6), _blobs(60, seed=2, spread=0.6)
    gain, bias = torch.tensor([8.0, 0.5, 32.0, 2.0, 1.0]), torch.tensor([0.0, 4.0, -2.0, 1.0, 16.0])

    first = linear(seen, test)
    second = linear(
        replace(seen, train=seen.train * gain + bias, validation=seen.validation * gain + bias), test * gain + bias
    )

    assert first.settings["C"] == second.settings["C"]
    # adding the offset in float32 costs up to 1e-5 of a small feature
    np.testing.assert_allclose(first.scores.numpy(), second.scores.numpy(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("c", [PATH[0], 0.5, 30.0])
@pytest.mark.parametrize("num_classes", [3, 5])
def test_probabilities_equal_scikit_learn(num_classes: int, c: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same loss, another program, without our turn and scaling of the axes."""
    monkeypatch.setattr(module, "TOLERANCE", 1e-8)
    features, labels = _blobs(90, seed=0, spread=0.8, num_classes=num_classes)
    mixed = features.double() @ torch.from_numpy(np.random.default_rng(1).normal(size=(5, 5)) * [1, 1, 1, 1, 0.01])
    axes = Axes.fit(mixed)

    weights = fit_weights(axes(mixed), labels, axes.variance, c=c)

    standard = StandardScaler().fit_transform(mixed.numpy())
    expected = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(standard, labels.numpy()).predict_proba(standard)
    assert weights.converged
    # Both stop at a gradient of 1e-8 of the mean loss; the weakest curvature, 1 / (C N), magnifies it to 3e-5.
    np.testing.assert_allclose(weights.logits(axes(mixed)).softmax(1).numpy(), expected, rtol=1e-4, atol=1e-6)


def test_start_does_not_decide_the_optimum() -> None:
    """The loss is convex: from the weights of another strength the path comes to the same place."""
    features, labels = _blobs(90, seed=0, spread=0.6)
    axes = Axes.fit(features.double())
    turned = axes(features.double())

    cold = fit_weights(turned, labels, axes.variance, c=1.0)
    warm = fit_weights(turned, labels, axes.variance, c=1.0, start=fit_weights(turned, labels, axes.variance, c=100.0))

    # Where the gradient is below TOLERANCE in scaled axes, shares are right to about as much.
    torch.testing.assert_close(
        cold.logits(turned).softmax(1), warm.logits(turned).softmax(1), rtol=0, atol=10 * module.TOLERANCE
    )


def test_final_fit_uses_train_and_validation() -> None:
    """A class that only the validation part shows rarely is still predicted: it was fitted on too."""
    seen = _seen(spread=0.05)
    few = seen.train_labels != 2
    few[2] = True  # one item of class 2 stays in train
    test, labels = _blobs(60, seed=2, spread=0.05)

    prediction = linear(replace(seen, train=seen.train[few], train_labels=seen.train_labels[few]), test)

    assert torch.equal(prediction.labels, labels)
    assert prediction.settings["fitted_on"] == "train and validation"


def test_axes_are_centred_uncorrelated_and_of_the_told_variance() -> None:
    """Measured on the features they were fitted to; lengths of standardized features are kept."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(3, [1, 100, 1e-3], size=(50, 3)) @ [[1, 1, 0], [0, 1, 0], [0, 0, 1]])
    axes = Axes.fit(features)

    turned = axes(features)

    standard = (features - features.mean(0)) / features.std(0, correction=0)
    torch.testing.assert_close(turned.mean(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-10)
    torch.testing.assert_close(turned.T @ turned / 50, torch.diag(axes.variance), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(turned.norm(dim=1), standard.norm(dim=1), rtol=1e-10, atol=1e-10)


def test_constant_dimension_is_only_centred() -> None:
    """A dead feature becomes 0, not NaN or noise blown up."""
    features = torch.stack([torch.full((20,), 0.1), torch.arange(20.0)], dim=1).double()
    axes = Axes.fit(features)

    turned = axes(features)

    assert torch.isfinite(turned).all()
    torch.testing.assert_close(turned.norm(dim=1), ((features[:, 1] - 9.5) / features[:, 1].std(correction=0)).abs())


def test_more_dimensions_than_items_are_no_trouble() -> None:
    """Axes without variance are held at zero by the penalty alone."""
    train, labels = _noisy(20, noise=0.0, dimensions=50, seed=0)
    axes = Axes.fit(train)

    weights = fit_weights(axes(train), labels, axes.variance, c=1.0)

    assert weights.converged
    assert weights.matrix[axes.variance < 1e-10].abs().max() < 1e-6


def test_fit_that_did_not_converge_is_logged_and_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two iterations are too few, and the record says so."""
    monkeypatch.setattr(module, "MAX_ITERATIONS", 2)

    with caplog.at_level(logging.WARNING):
        prediction = linear(_seen(spread=0.6), _blobs(10, seed=2)[0])

    assert "the linear probe with C = " in caplog.text
    assert "stopped at a gradient of" in caplog.text
    assert prediction.settings["unconverged"]


def test_fit_that_converged_is_recorded_as_such(caplog: pytest.LogCaptureFixture) -> None:
    """With the iterations that we allow nothing is logged."""
    with caplog.at_level(logging.WARNING):
        prediction = linear(_seen(spread=0.6), _blobs(10, seed=2)[0])

    assert prediction.settings["unconverged"] == []
    assert prediction.settings["converged"] is True
    assert not caplog.records


def test_one_class_is_refused() -> None:
    """There is nothing to tell apart."""
    seen = _seen()

    with pytest.raises(SampleInvalid, match="training labels of 1 classes"):
        linear(replace(seen, train_labels=torch.zeros_like(seen.train_labels)), seen.validation)


def test_values_that_are_not_finite_are_refused() -> None:
    """NaN in features stops before any fit."""
    seen = _seen()

    with pytest.raises(SampleInvalid, match="NaN"):
        linear(replace(seen, train=seen.train.clone().fill_(float("nan"))), seen.validation)


def _labelled(count, *, seed):
    """Make features (N, 12) and three labels of them: frequent, rare, and one that nobody has."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 12))
    first = features[:, 0] + 0.7 * rng.normal(size=count) > 0
    second = features[:, 1] + 0.7 * rng.normal(size=count) > 1.2
    labels = np.stack([first, second, np.zeros(count)], axis=1).astype(np.int64)
    return torch.from_numpy(features), torch.from_numpy(labels)


@pytest.mark.parametrize("c", [0.01, 1.0])
def test_labels_have_the_optimum_of_a_binary_regression_each(c):
    """Coefficients are scikit-learn's, label by label."""
    features, labels = _labelled(300, seed=0)
    axes = Axes.fit(features)

    weights = fit_weights(axes(features), labels[:, :2].double(), axes.variance, c=c)

    standard = ((features - axes.mean) / axes.scale).numpy()
    found = (axes.turn @ weights.matrix).numpy()
    for column in range(2):
        model = LogisticRegression(C=c, tol=1e-10, max_iter=10_000).fit(standard, labels[:, column].numpy())
        np.testing.assert_allclose(found[:, column], model.coef_[0], atol=2e-3)
        np.testing.assert_allclose(weights.bias[column], model.intercept_[0], atol=2e-3)


def test_labels_are_predicted_each_for_itself():
    """Scores need not sum to 1; a label that nobody has scores 0; the choice is by average precision."""
    (train, known), (validation, wanted), (test, truth) = (
        _labelled(n, seed=s) for n, s in ((300, 0), (100, 1), (400, 2))
    )

    prediction = linear(Supervision(train, known, validation, wanted, num_classes=3), test)

    assert prediction.scores.shape == prediction.labels.shape == (400, 3)
    assert not prediction.scores[:, 2].any()
    assert len(prediction.settings["validation_micro_map"]) == len(PATH)
    for column, least in ((0, 0.85), (1, 0.55)):
        assert average_precision_score(truth[:, column], prediction.scores[:, column]) > least
    np.testing.assert_array_equal(prediction.labels, prediction.scores >= 0.5)


def test_a_label_that_all_items_have_scores_one_and_one_that_none_has_zero() -> None:
    """There is nothing to learn of either."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 3, generator=generator)
    labels = torch.stack([torch.ones(40), torch.zeros(40), (features[:, 0] > 0)], dim=1).long()
    seen = Supervision(features[:30], labels[:30], features[30:], labels[30:], 3)

    prediction = linear(seen, features)

    assert prediction.scores[:, 0].tolist() == [1.0] * 40
    assert prediction.scores[:, 1].tolist() == [0.0] * 40
    assert prediction.labels[:, 0].all()
