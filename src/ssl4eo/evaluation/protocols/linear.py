# SPDX-License-Identifier: Apache-2.0
"""Linear probe: multinomial logistic regression on frozen features, its strength chosen on validation.

For items with any number of labels it is one binary regression a label, all of one strength, chosen by the micro
average precision on validation.

L-BFGS on features standardized by the training part, over a path of ten inverse strengths C, each started from
the one before. The C with the highest validation accuracy wins, of equals the strongest
regularization; then the probe is fitted once more on train and validation together, as the k-NN bank is. A
deterministic optimum stands where the reference trained a layer by SGD for 100 epochs with a learning rate
picked on the reported part.
Features of networks are so correlated that plain L-BFGS (scikit-learn's too) needs hundreds of iterations, so it
runs here in the principal axes, each scaled by its curvature: the same optimum in fewer steps.
Price: float64 copies of the features in memory.
Letters: N items, D dimensions, K classes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl4eo.errors import SampleInvalid
from ssl4eo.evaluation.metrics import THRESHOLD, weighted_precision
from ssl4eo.evaluation.protocols.protocol import Prediction, Supervision

log = logging.getLogger(__name__)

PATH: tuple[float, ...] = tuple(float(c) for c in np.logspace(-4, 4, 10))
"""Inverse strengths C, strongest regularization first: the loss is |w|^2 / 2 + C * sum of cross-entropies."""
MAX_ITERATIONS = 500
TOLERANCE = 1e-4
"""Largest entry of the gradient, in scaled axes, of the mean loss at which a fit counts as done."""


@dataclass(frozen=True, eq=False)
class Axes:
    """Standardizes features and turns them into the principal axes of the training features."""

    mean: Tensor
    scale: Tensor
    turn: Tensor
    """(D, D) orthogonal: penalty and optimum are the same in both."""
    variance: Tensor
    """(D,) of the standardized training features along each axis."""

    @classmethod
    def fit(cls, features: Tensor) -> Axes:
        """Measure (N, D) float64; a dimension that is constant is only centred."""
        mean, std = features.mean(dim=0), features.std(dim=0, correction=0)
        constant = std <= 1e-12 * features.abs().amax(dim=0)
        scale = torch.where(constant, 1.0, std)
        standard = (features - mean) / scale
        variance, turn = torch.linalg.eigh(standard.T @ standard / len(standard))
        return cls(mean, scale, turn, variance.clamp_min(0.0))

    def __call__(self, features: Tensor) -> Tensor:
        """Standardize and turn (N, D)."""
        return (features - self.mean) / self.scale @ self.turn


@dataclass(frozen=True, eq=False)
class Weights:
    """A linear map in the principal axes."""

    matrix: Tensor
    """(D, K)."""
    bias: Tensor
    """(K,), not regularized."""
    converged: bool

    is_binary: bool = False
    """Whether each column is a regression of its own."""

    def logits(self, turned: Tensor) -> Tensor:
        """Give (N, K) of turned features (N, D)."""
        return turned @ self.matrix + self.bias

    def probabilities(self, turned: Tensor) -> Tensor:
        """Give (N, K) of turned features (N, D): rows sum to 1 unless each column stands alone."""
        logits = self.logits(turned)
        return logits.sigmoid() if self.is_binary else logits.softmax(dim=1)


@dataclass(frozen=True)
class Choice:
    """The strength that was chosen and how every other did."""

    c: float
    values: tuple[float, ...]
    """Accuracy, or micro average precision of labels, on validation, in order of PATH."""
    unconverged: tuple[float, ...]
    """Values of C whose fit was stopped before it was done."""


def linear(seen: Supervision, test: Tensor) -> Prediction:
    """Choose C on validation, fit on everything labelled, predict.

    Raises:
        SampleInvalid: fewer than two classes in the training part, or features that are not finite.
    """
    train, validation, wanted = (_double(f) for f in (seen.train, seen.validation, test))
    choice = choose_strength(train, seen.train_labels, validation, seen.validation_labels)
    everything, labels = torch.cat([train, validation]), torch.cat([seen.train_labels, seen.validation_labels])
    axes, (known, targets) = Axes.fit(everything), _targets(labels)
    weights = fit_weights(axes(everything), targets, axes.variance, c=choice.c)
    scores = torch.zeros(len(wanted), seen.num_classes, dtype=torch.float64)
    if labels.ndim == 2:
        scores += labels.double().mean(dim=0)  # of labels that none or all have: there is nothing to learn
    scores[:, known] = weights.probabilities(axes(wanted))
    settings = {
        "C": choice.c,
        "path": list(PATH),
        f"validation_{'accuracy' if labels.ndim == 1 else 'micro_map'}": list(choice.values),
        "unconverged": list(choice.unconverged),
        "converged": weights.converged,
        "fitted_on": "train and validation",
        "standardized": True,
    }
    predicted = scores.argmax(dim=1) if labels.ndim == 1 else (scores >= THRESHOLD).long()
    return Prediction(predicted, scores, settings)


def _targets(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Give the classes that are there and targets over them alone: (N,) indices, or (N, K) float64 of labels.

    A label that all items have or none has is not to be learned: it is left out, and scores 1 or 0.
    """
    if labels.ndim == 1:
        known, targets = labels.unique(return_inverse=True)
        return known, targets
    share = labels.double().mean(dim=0)
    known = ((share > 0) & (share < 1)).nonzero()[:, 0]
    return known, labels[:, known].double()


def choose_strength(train: Tensor, labels: Tensor, validation: Tensor, validation_labels: Tensor) -> Choice:
    """Fit the path on train and take the C with the best value on validation, of equals the smallest.

    Args:
        train: (N, D) float64, not standardized.
        labels: (N,), or (N, K) of 0 and 1.
        validation: (V, D) float64, not standardized.
        validation_labels: (V,) or (V, K).

    Raises:
        SampleInvalid: fewer than two classes in `labels`, or no label that some items have and others do not.
    """
    known, targets = _targets(labels)
    if len(known) < 3 - labels.ndim:
        raise SampleInvalid(f"training labels of {len(known)} classes", expected="2 or more")
    axes = Axes.fit(train)
    train, validation = axes(train), axes(validation)
    weights, values, unconverged = None, [], []
    for c in PATH:
        weights = fit_weights(train, targets, axes.variance, c=c, start=weights)
        if not weights.converged:
            unconverged.append(c)
        values.append(_value(weights, validation, validation_labels, known))
    return Choice(PATH[int(np.argmax(values))], tuple(values), tuple(unconverged))


def _value(weights: Weights, turned: Tensor, labels: Tensor, known: Tensor) -> float:
    """Give the accuracy, or the micro average precision, of validation features."""
    if labels.ndim == 1:
        return float((known[weights.logits(turned).argmax(dim=1)] == labels).double().mean())
    truth = labels[:, known].numpy()
    return weighted_precision(truth.ravel(), weights.probabilities(turned).numpy().ravel()) if truth.any() else 0.0


def fit_weights(
    turned: Tensor, targets: Tensor, variance: Tensor, *, c: float, start: Weights | None = None
) -> Weights:
    """Minimize the mean cross-entropy + |w|^2 / (2 C N), which is the loss of PATH divided by C N.

    An axis of variance v has the curvature v / K + 1 / (C N) at w = 0, v / 4 + 1 / (C N) for labels; in units of its
    root all are alike.

    Args:
        turned: (N, D) float64, in principal axes, of mean 0.
        targets: (N,) int64, each of 0 to K - 1 at least once; or (N, K) float64 of 0 and 1, a regression each.
        variance: (D,) along each axis.
        c: inverse strength.
        start: weights to begin with, None for zeros.
    """
    is_binary, penalty = targets.ndim == 2, 1 / (c * len(turned))
    num_classes = targets.shape[1] if is_binary else int(targets.max()) + 1
    spread = 4 if is_binary else num_classes
    unit = (variance / spread + penalty).rsqrt()[:, None]  # (D, 1)
    bias_unit = spread**0.5
    if start is None:
        zero = torch.zeros(len(variance) + 1, num_classes, dtype=turned.dtype)
        matrix, bias = zero[:-1], zero[-1]
    else:
        matrix, bias = start.matrix / unit, start.bias / bias_unit
    scaled = turned * unit.T  # (N, D)
    matrix, bias = (v.detach().clone().requires_grad_() for v in (matrix, bias))
    optimizer = torch.optim.LBFGS(
        [matrix, bias],
        max_iter=MAX_ITERATIONS,
        max_eval=2 * MAX_ITERATIONS,
        tolerance_grad=TOLERANCE,
        tolerance_change=0.0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = scaled @ matrix + bias_unit * bias
        if is_binary:
            entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(targets)
        else:
            entropy = F.cross_entropy(logits, targets)
        value = entropy + penalty / 2 * (unit * matrix).square().sum()
        value.backward()
        return value.detach()

    with torch.enable_grad():
        optimizer.step(loss)  # pyright: ignore[reportArgumentType] - annotated for floats, documented for tensors
        loss()
    steepest = max(float(v.grad.abs().max()) for v in (matrix, bias) if v.grad is not None)
    converged = steepest <= TOLERANCE
    if not converged:
        log.warning("the linear probe with C = %.3g stopped at a gradient of %.1e (%.0e)", c, steepest, TOLERANCE)
    return Weights(unit * matrix.detach(), bias_unit * bias.detach(), converged, is_binary)


def _double(features: Tensor) -> Tensor:
    values = features.detach().cpu().double()
    if not torch.isfinite(values).all():
        raise SampleInvalid("features hold NaN or infinity", expected="finite features")
    return values
