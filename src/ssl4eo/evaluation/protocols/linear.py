# SPDX-License-Identifier: Apache-2.0
"""Linear probe: multinomial logistic regression on frozen features, its strength chosen on validation.

scikit-learn's L-BFGS on features standardized by the training part, over a path of ten inverse strengths C,
each started from the one before. The C with the highest validation accuracy wins, of equals the
strongest regularization; then the probe is fitted once more on train and validation together,
as the k-NN bank is. A deterministic optimum stands where the reference trained a layer by SGD for 100
epochs with a learning rate picked on the reported part.
Price: float64 copies of the features in memory.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from ssl4eo.errors import SampleInvalid
from ssl4eo.evaluation.protocols.protocol import Prediction, Supervision

log = logging.getLogger(__name__)

PATH: tuple[float, ...] = tuple(float(c) for c in np.logspace(-4, 4, 10))
"""Inverse strengths C, strongest regularization first: the loss is |w|^2 / 2 + C * sum of cross-entropies."""
MAX_ITERATIONS = 1000
TOLERANCE = 1e-4
"""Largest entry of the gradient of the mean loss at which a fit counts as done."""

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Standardizer:
    """Brings features to mean 0 and standard deviation 1, as measured on training features."""

    mean: Matrix
    scale: Matrix

    @classmethod
    def fit(cls, features: Matrix) -> Standardizer:
        """Measure (N, D); a dimension that is constant is only centred."""
        std = features.std(axis=0)
        constant = std <= 1e-12 * np.abs(features).max(axis=0, initial=0.0)
        return cls(features.mean(axis=0), np.where(constant, 1.0, std))

    def __call__(self, features: Matrix) -> Matrix:
        """Standardize (N, D)."""
        return (features - self.mean) / self.scale


@dataclass(frozen=True)
class Choice:
    """The strength that was chosen and how every other did."""

    c: float
    accuracies: tuple[float, ...]
    """On validation, in order of PATH."""
    unconverged: tuple[float, ...]
    """Values of C whose fit was stopped before it was done."""


def linear(seen: Supervision, test: Tensor) -> Prediction:
    """Choose C on validation, fit on everything labelled, predict.

    Raises:
        SampleInvalid: fewer than two classes in the training part, or features that are not finite.
    """
    train, validation, wanted = (_matrix(f) for f in (seen.train, seen.validation, test))
    labels, validation_labels = (_labels(v) for v in (seen.train_labels, seen.validation_labels))
    choice = choose_strength(train, labels, validation, validation_labels)
    everything = np.concatenate([train, validation])
    standardize = Standardizer.fit(everything)
    model = _model()
    converged = _fit(model, choice.c, standardize(everything), np.concatenate([labels, validation_labels]))
    shares = np.zeros((len(wanted), seen.num_classes))
    if len(wanted):
        shares[:, model.classes_] = model.predict_proba(standardize(wanted))
    settings = {
        "C": choice.c,
        "path": list(PATH),
        "validation_accuracy": list(choice.accuracies),
        "unconverged": list(choice.unconverged),
        "converged": converged,
        "fitted_on": "train and validation",
        "standardized": True,
    }
    return Prediction(torch.from_numpy(shares.argmax(axis=1)), torch.from_numpy(shares), settings)


def choose_strength(train: Matrix, labels: Labels, validation: Matrix, validation_labels: Labels) -> Choice:
    """Fit the path on train and take the C with the best validation accuracy, of equals the smallest.

    Args:
        train: (N, D) not standardized.
        labels: (N,).
        validation: (V, D) not standardized.
        validation_labels: (V,).
    """
    if len(np.unique(labels)) < 2:
        raise SampleInvalid(f"training labels of {len(np.unique(labels))} classes", expected="2 or more")
    standardize = Standardizer.fit(train)
    train, validation = standardize(train), standardize(validation)
    model, accuracies, unconverged = _model(), [], []
    for c in PATH:
        if not _fit(model, c, train, labels):
            unconverged.append(c)
        accuracies.append(float((model.predict(validation) == validation_labels).mean()))
    return Choice(PATH[int(np.argmax(accuracies))], tuple(accuracies), tuple(unconverged))


def _model() -> Any:
    return LogisticRegression(tol=TOLERANCE, max_iter=MAX_ITERATIONS, warm_start=True)


def _fit(model: Any, c: float, features: Matrix, labels: Labels) -> bool:
    """Fit in place; say whether it converged, and log where it did not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model.set_params(C=c).fit(features, labels)
    stopped = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    for other in (w for w in caught if w not in stopped):
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    if stopped:
        log.warning("the linear probe with C = %.3g did not converge in %d iterations", c, MAX_ITERATIONS)
    return not stopped


def _matrix(features: Tensor) -> Matrix:
    values = features.detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise SampleInvalid("features hold NaN or infinity", expected="finite features")
    return values


def _labels(labels: Tensor) -> Labels:
    return labels.cpu().numpy()
