# SPDX-License-Identifier: Apache-2.0
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from ssl4eo.errors import SampleInvalid
from ssl4eo.evaluation.protocols import linear as module
from ssl4eo.evaluation.protocols.linear import PATH, Standardizer, choose_strength, linear
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


def test_strength_is_chosen_on_validation_not_on_train() -> None:
    """Where memorizing random training labels hurts validation, the choice is strong; on train it would be weak."""
    rng = np.random.default_rng(0)
    train = rng.normal(size=(60, 100))
    labels = (train[:, 0] + 1.5 * rng.normal(size=60) > 0).astype(np.int64)
    validation = rng.normal(size=(400, 100))
    wanted = (validation[:, 0] > 0).astype(np.int64)

    honest = choose_strength(train, labels, validation, wanted)
    fooled = choose_strength(train, labels, train, labels)

    assert max(fooled.accuracies) == 1.0  # more dimensions than items: anything can be memorized
    assert honest.accuracies[PATH.index(fooled.c)] < max(honest.accuracies)
    assert honest.c < fooled.c


def test_choice_follows_the_validation_labels() -> None:
    """Other validation labels give another choice: validation is what decides."""
    rng = np.random.default_rng(0)
    train = rng.normal(size=(80, 60))
    labels = (train[:, 0] + rng.normal(size=80) > 0).astype(np.int64)

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
    np.testing.assert_allclose(first.scores.numpy(), second.scores.numpy(), rtol=1e-6, atol=1e-9)


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


def test_probe_is_at_the_optimum_of_its_loss() -> None:
    """The gradient of |w|^2 / 2 + C * cross-entropy, written here in NumPy, vanishes at the fitted weights."""
    features, labels = (v.numpy() for v in _blobs(90, seed=0, spread=0.6))
    x = Standardizer.fit(features.astype(np.float64))(features)
    model, c = module._model(), 0.5

    assert module._fit(model, c, x, labels)

    logits = x @ model.coef_.T + model.intercept_
    share = np.exp(logits - logits.max(1, keepdims=True))
    error = share / share.sum(1, keepdims=True) - np.eye(3)[labels]
    gradient = model.coef_ / (c * 90) + error.T @ x / 90
    assert np.abs(gradient).max() < 2 * module.TOLERANCE
    assert np.abs(error.mean(0)).max() < 2 * module.TOLERANCE


def test_final_fit_uses_train_and_validation() -> None:
    """A class that only the validation part shows rarely is still predicted: it was fitted on too."""
    seen = _seen(spread=0.05)
    few = seen.train_labels != 2
    few[2] = True  # one item of class 2 stays in train
    test, labels = _blobs(60, seed=2, spread=0.05)

    prediction = linear(replace(seen, train=seen.train[few], train_labels=seen.train_labels[few]), test)

    assert torch.equal(prediction.labels, labels)
    assert prediction.settings["fitted_on"] == "train and validation"


def test_standardizer_gives_mean_zero_and_deviation_one() -> None:
    """Measured with NumPy on the features it was fitted to."""
    features = np.random.default_rng(0).normal(3, [1, 100, 1e-3], size=(50, 3))

    out = Standardizer.fit(features)(features)

    np.testing.assert_allclose(out.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(out.std(0), 1, rtol=1e-10)


def test_constant_dimension_is_only_centred() -> None:
    """A dead feature becomes 0, not NaN or noise blown up."""
    features = np.column_stack([np.full(20, 0.1), np.arange(20.0)])

    out = Standardizer.fit(features)(features)

    np.testing.assert_allclose(out[:, 0], 0, atol=1e-12)
    assert np.isfinite(out).all()


def test_fit_that_did_not_converge_is_logged_and_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two iterations are too few, and the record says so."""
    monkeypatch.setattr(module, "MAX_ITERATIONS", 2)

    with caplog.at_level(logging.WARNING):
        prediction = linear(_seen(spread=0.6), _blobs(10, seed=2)[0])

    assert "did not converge in 2 iterations" in caplog.text
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
