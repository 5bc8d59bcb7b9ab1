# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from ssl4eo.errors import ConfigInvalid, SampleInvalid
from ssl4eo.evaluation.protocols import knn as module
from ssl4eo.evaluation.protocols.knn import knn, predict_knn, score_knn
from ssl4eo.evaluation.protocols.protocol import Supervision


def oracle(train: np.ndarray, labels: np.ndarray, test: np.ndarray, k: int, t: float, num_classes: int) -> np.ndarray:
    """The rule in float64 NumPy, one item at a time: scores (M, K), not divided by their sum."""
    train, test = (a.astype(np.float64) for a in (train, test))
    out = np.zeros((len(test), num_classes))
    for m, query in enumerate(test):
        cosine = [float(query @ row / (np.linalg.norm(query) * np.linalg.norm(row))) for row in train]
        for n in sorted(range(len(train)), key=lambda n: -cosine[n])[:k]:
            out[m, labels[n]] += math.exp(cosine[n] / t)
    return out


def _random(num: int, dimensions: int, seed: int) -> torch.Tensor:
    return torch.randn(num, dimensions, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 1.0), (20, 0.07), (50, 0.5)])
def test_scores_equal_an_independent_oracle(k: int, temperature: float, dtype: torch.dtype) -> None:
    """Scores are the oracle's divided by their sum; labels its largest."""
    train, test = _random(50, 8, 0).to(dtype), _random(30, 8, 1).to(dtype)
    labels = torch.arange(50) % 4
    expected = oracle(train.numpy(), labels.numpy(), test.numpy(), k, temperature, 4)

    predicted, scores = predict_knn(train, labels, test, num_classes=4, k=k, temperature=temperature)

    # float32 similarities carry 1e-7, divided by T = 0.07 in the exponent: 1e-5 of the score at most.
    rtol, atol = (1e-4, 1e-6) if dtype == torch.float32 else (1e-10, 1e-14)
    np.testing.assert_allclose(scores.numpy(), expected / expected.sum(1, keepdims=True), rtol=rtol, atol=atol)
    np.testing.assert_array_equal(predicted.numpy(), expected.argmax(1))


def test_two_far_neighbors_outvote_one_near_one_only_when_the_temperature_is_high() -> None:
    """Worked by hand: cosines 1, 0.6, 0.6; exp(1/T) against 2 exp(0.6/T)."""
    train = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8]], dtype=torch.float64)
    labels, query = torch.tensor([0, 1, 1]), torch.tensor([[2.0, 0.0]], dtype=torch.float64)

    sharp, sharp_scores = predict_knn(train, labels, query, num_classes=2, k=3, temperature=0.07)
    soft, soft_scores = predict_knn(train, labels, query, num_classes=2, k=3, temperature=1.0)

    near, far = math.exp(1 / 0.07), 2 * math.exp(0.6 / 0.07)
    assert sharp.tolist() == [0]
    assert sharp_scores[0, 0] == pytest.approx(near / (near + far), rel=1e-10)
    near, far = math.exp(1.0), 2 * math.exp(0.6)
    assert soft.tolist() == [1]
    assert soft_scores[0, 1] == pytest.approx(far / (near + far), rel=1e-10)


def test_neighbors_beyond_k_do_not_vote() -> None:
    """With k = 1 only the nearest counts, however many others there are."""
    train = torch.tensor([[1.0, 0.0], [0.9, 0.5], [0.9, 0.5], [0.9, 0.5]])
    labels = torch.tensor([0, 1, 1, 1])

    _, scores = predict_knn(train, labels, torch.tensor([[1.0, 0.0]]), num_classes=2, k=1, temperature=10.0)

    assert scores.tolist() == [[1.0, 0.0]]


def test_neighbors_that_tie_for_the_last_place_share_it() -> None:
    """Worked by hand: three equal rows for two places vote two thirds each."""
    train = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    labels = torch.tensor([0, 1, 1, 0])

    for order in ([0, 1, 2, 3], [2, 1, 0, 3], [3, 1, 2, 0]):
        _, scores = predict_knn(train[order], labels[order], torch.tensor([[1.0, 0.0]]), num_classes=2, k=2)
        np.testing.assert_allclose(scores.numpy(), [[1 / 3, 2 / 3]], rtol=1e-12)


def test_features_of_zeros_vote_for_the_share_of_each_class() -> None:
    """A network that gives nothing is as good as the class frequencies, not as the first rows."""
    labels = torch.tensor([0] * 5 + [1] * 15)

    predicted, scores = predict_knn(torch.zeros(20, 3), labels, torch.zeros(2, 3), num_classes=2, k=4)

    np.testing.assert_allclose(scores.numpy(), [[0.25, 0.75]] * 2, rtol=1e-12)
    assert predicted.tolist() == [1, 1]


def test_equal_scores_give_the_smallest_class() -> None:
    """A tie between classes has one answer."""
    train = torch.tensor([[1.0, 0.0], [1.0, 0.0]])

    predicted, _ = predict_knn(train, torch.tensor([1, 0]), torch.tensor([[1.0, 0.0]]), num_classes=2, k=2)

    assert predicted.tolist() == [0]


def test_order_of_the_bank_changes_nothing() -> None:
    """A permuted bank gives the same labels."""
    train, test, labels = _random(200, 16, 0), _random(50, 16, 1), torch.arange(200) % 5
    order = torch.randperm(200, generator=torch.Generator().manual_seed(2))

    first, scores = predict_knn(train, labels, test, num_classes=5)
    second, permuted = predict_knn(train[order], labels[order], test, num_classes=5)

    assert torch.equal(first, second)
    torch.testing.assert_close(scores, permuted, rtol=1e-4, atol=1e-6)


def test_length_of_features_changes_nothing() -> None:
    """Cosine knows directions only."""
    train, test, labels = _random(60, 8, 0).double(), _random(9, 8, 1).double(), torch.arange(60) % 3

    _, scores = predict_knn(train, labels, test, num_classes=3)
    _, scaled = predict_knn(train * torch.rand(60, 1).double().add(0.5), labels, test * 1e3, num_classes=3)

    torch.testing.assert_close(scores, scaled, rtol=1e-10, atol=1e-14)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One query at a time gives what all at once give."""
    train, test, labels = _random(40, 8, 0).double(), _random(17, 8, 1).double(), torch.arange(40) % 3
    _, whole = predict_knn(train, labels, test, num_classes=3)

    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 40)
    _, pieces = predict_knn(train, labels, test, num_classes=3)

    torch.testing.assert_close(whole, pieces, rtol=1e-10, atol=1e-14)


def test_small_temperature_does_not_overflow() -> None:
    """exp(1 / 0.0005) is beyond float64, its share is not."""
    train = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    _, scores = predict_knn(
        train, torch.tensor([1, 0]), torch.tensor([[1.0, 0.1]]), num_classes=2, k=2, temperature=5e-4
    )

    assert scores.tolist() == [[0.0, 1.0]]


def test_no_test_features_give_no_predictions() -> None:
    """An empty test set is no error of k-NN."""
    predicted, scores = predict_knn(_random(30, 4, 0), torch.arange(30) % 2, torch.empty(0, 4), num_classes=2)

    assert predicted.shape == (0,)
    assert scores.shape == (0, 2)


@pytest.mark.parametrize("k", [0, 31])
def test_k_out_of_range_is_refused(k: int) -> None:
    """There are 30 neighbors at most, and one at least."""
    with pytest.raises(ConfigInvalid, match=f"k = {k} neighbors of 30 .*expected 1 to 30"):
        predict_knn(_random(30, 4, 0), torch.arange(30) % 2, _random(2, 4, 1), num_classes=2, k=k)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_temperature_out_of_range_is_refused(temperature: float) -> None:
    """A temperature is a finite number above 0."""
    with pytest.raises(ConfigInvalid, match="temperature"):
        predict_knn(_random(30, 4, 0), torch.arange(30) % 2, _random(2, 4, 1), num_classes=2, temperature=temperature)


def test_values_that_do_not_fit_are_refused() -> None:
    """Shapes, labels and NaN are checked before anything is computed."""
    train, labels, test = _random(30, 4, 0), torch.arange(30) % 2, _random(2, 4, 1)

    with pytest.raises(SampleInvalid, match=r"\(N, D\)"):
        predict_knn(train, labels, _random(2, 5, 1), num_classes=2)
    with pytest.raises(SampleInvalid, match="labels 0 to 1 for 1 classes"):
        predict_knn(train, labels, test, num_classes=1)
    with pytest.raises(SampleInvalid, match="training features hold NaN"):
        predict_knn(train.clone().fill_(math.nan), labels, test, num_classes=2)
    with pytest.raises(SampleInvalid, match="test features hold NaN"):
        predict_knn(train, labels, test.clone().fill_(math.inf), num_classes=2)


def test_bank_is_train_and_validation_together() -> None:
    """Only the validation part holds class 1, and it is found."""
    seen = Supervision(
        train=torch.tensor([[1.0, 0.0]] * 15),
        train_labels=torch.zeros(15, dtype=torch.int64),
        validation=torch.tensor([[0.0, 1.0]] * 15),
        validation_labels=torch.ones(15, dtype=torch.int64),
        num_classes=2,
    )

    prediction = knn(seen, torch.tensor([[0.0, 2.0], [3.0, 0.0]]))

    assert prediction.labels.tolist() == [1, 0]
    assert prediction.settings["k"] == 20
    assert prediction.settings["temperature"] == 0.07


def test_labels_are_the_weighted_mean_of_those_of_the_neighbors():
    """Hand-worked: of three, the two nearest at cosine 1 and 0, T 1: weights e and 1."""
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    targets = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)

    scores = score_knn(bank, targets, torch.tensor([[2.0, 0.0]]), k=2, temperature=1.0)

    torch.testing.assert_close(scores, torch.tensor([[math.e / (math.e + 1), 1.0]], dtype=torch.float64))


def test_labels_of_items_without_any_stay_zero():
    """No neighbor has one: no division by nothing."""
    bank = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    seen = Supervision(bank, torch.zeros(30, 2, dtype=torch.long), bank[:5], torch.zeros(5, 2, dtype=torch.long), 2)

    prediction = knn(seen, bank[:3])

    assert prediction.scores.tolist() == [[0.0, 0.0]] * 3
    assert prediction.labels.tolist() == [[0, 0]] * 3
