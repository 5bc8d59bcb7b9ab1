# SPDX-License-Identifier: Apache-2.0
"""Weighted k-NN on frozen features: no training, nothing to choose.

The score of class c is the sum of exp(cosine / T) over those of the k nearest neighbors that are of class c; of label c
where an item has any number of labels, the same mean of the neighbors' labels.
Source: Wu et al. 2018, section 3.4, in the form of DINO (Caron et al. 2021): k = 20, T = 0.07.
Two differences, neither of which moves a prediction that was unique: scores are divided by their sum, and
neighbors that tie for the last places share them, so that the order of the bank does not decide.
Memory stays bounded: test features are compared in chunks.
Letters: N bank, M test features, B test features of a chunk, D dimensions, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl4eo.errors import ConfigInvalid, SampleInvalid
from ssl4eo.evaluation.metrics import THRESHOLD
from ssl4eo.evaluation.protocols.protocol import Prediction, Supervision

NUM_NEIGHBORS = 20
TEMPERATURE = 0.07
CHUNK_ELEMENTS = 1 << 25
"""Similarities held at a time: 128 MiB as float32."""


def knn(seen: Supervision, test: Tensor) -> Prediction:
    """Predict with everything labelled as the bank: train and validation part together."""
    bank = torch.cat([seen.train, seen.validation])
    labels = torch.cat([seen.train_labels, seen.validation_labels])
    if labels.ndim == 2:
        scores = score_knn(bank, labels.double(), test)
        predicted = (scores >= THRESHOLD).long()
    else:
        predicted, scores = predict_knn(bank, labels, test, num_classes=seen.num_classes)
    return Prediction(predicted, scores, {"k": NUM_NEIGHBORS, "temperature": TEMPERATURE, "similarity": "cosine"})


def predict_knn(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    *,
    num_classes: int,
    k: int = NUM_NEIGHBORS,
    temperature: float = TEMPERATURE,
) -> tuple[Tensor, Tensor]:
    """Predict the class of each test feature from its nearest neighbors by cosine.

    Args:
        train_features: (N, D) float, finite; a row of zeros is equally far from everything.
        train_labels: (N,) int64, 0 to num_classes - 1.
        test_features: (M, D) float, finite.
        num_classes: K.
        k: neighbors that vote, 1 to N.
        temperature: T, above 0; the smaller, the more the nearest count.

    Returns:
        Labels (M,) int64, of equal scores the smallest, and scores (M, K) float64 whose rows sum to 1.

    Raises:
        ConfigInvalid: k or temperature out of range.
        SampleInvalid: shapes that do not fit, labels out of range, values that are not finite.
    """
    if len(train_labels) and not (train_labels.min() >= 0 and train_labels.max() < num_classes):
        raise SampleInvalid(
            f"labels {int(train_labels.min())} to {int(train_labels.max())} for {num_classes} classes",
            expected=f"0 to {num_classes - 1}",
        )
    one_hot = F.one_hot(train_labels, num_classes).double()  # (N, K)
    scores = score_knn(train_features, one_hot, test_features, k=k, temperature=temperature)
    # NumPy promises the first of equal maxima, torch does not.
    labels = torch.from_numpy(scores.cpu().numpy().argmax(axis=1)).to(scores.device)
    return labels, scores


def score_knn(
    train_features: Tensor,
    targets: Tensor,
    test_features: Tensor,
    *,
    k: int = NUM_NEIGHBORS,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Give the weighted mean of the targets of the nearest neighbors by cosine: (M, K) float64.

    Args:
        train_features: (N, D) float, finite; a row of zeros is equally far from everything.
        targets: (N, K) float64, one-hot classes or any number of labels.
        test_features: (M, D) float, finite.
        k: neighbors that vote, 1 to N.
        temperature: T, above 0.

    Raises:
        ConfigInvalid: k or temperature out of range.
        SampleInvalid: shapes that do not fit, values that are not finite.
    """
    _check(train_features, targets, test_features)
    if not 1 <= k <= len(train_features):
        raise ConfigInvalid(
            f"k = {k} neighbors of {len(train_features)} training features",
            expected=f"1 to {len(train_features)}",
            remedy="use more training items, or a smaller k",
        )
    if not 0 < temperature < float("inf"):
        raise ConfigInvalid(f"temperature {temperature}", expected="a number above 0")
    bank = F.normalize(train_features, dim=1)  # (N, D)
    queries = F.normalize(test_features, dim=1)  # (M, D)
    chunk = max(1, CHUNK_ELEMENTS // len(bank))
    parts = [_vote(part @ bank.T, targets, k, temperature) for part in queries.split(chunk)]
    return torch.cat(parts) if parts else targets[:0]


def _vote(similarity: Tensor, one_hot: Tensor, k: int, temperature: float) -> Tensor:
    """Turn similarities (B, N) into scores (B, K)."""
    nearest, index = similarity.topk(k, dim=1)  # (B, k)
    weight = _weight(nearest, nearest[:, :1], temperature)
    scores = (weight[:, :, None] * one_hot[index]).sum(dim=1)  # (B, K)
    total = weight.sum(dim=1, keepdim=True)
    last = nearest[:, -1:]
    tied = ((similarity >= last).sum(dim=1) > k).nonzero()[:, 0]  # more candidates than places
    for row in tied.tolist():
        scores[row], total[row] = _vote_with_ties(similarity[row], one_hot, k, temperature)
    return scores / total


def _vote_with_ties(similarity: Tensor, one_hot: Tensor, k: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Score one row (N,) in which the places left at the last similarity are shared equally; and its weight in all."""
    last = similarity.topk(k).values[-1]
    above, at = similarity > last, similarity == last
    share = above.double() + at.double() * ((k - above.sum()) / at.sum())
    weight = share * _weight(similarity, similarity.max(), temperature)
    return weight @ one_hot, weight.sum()


def _weight(similarity: Tensor, largest: Tensor, temperature: float) -> Tensor:
    """Give exp(s / T) up to a factor that is common to a row, so that no temperature overflows."""
    return torch.exp((similarity.double() - largest.double()) / temperature)


def _check(train: Tensor, targets: Tensor, test: Tensor) -> None:
    if train.ndim != 2 or targets.shape[:1] != train.shape[:1] or test.ndim != 2 or test.shape[1:] != train.shape[1:]:
        raise SampleInvalid(
            f"features {tuple(train.shape)} and {tuple(test.shape)}, labels {tuple(targets.shape)}",
            expected="(N, D), (M, D) and one label row for each of the N",
        )
    for name, values in (("training", train), ("test", test)):
        if not torch.isfinite(values).all():
            raise SampleInvalid(f"{name} features hold NaN or infinity", expected="finite features")
