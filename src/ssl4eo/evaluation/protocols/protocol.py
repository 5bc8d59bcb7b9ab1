# SPDX-License-Identifier: Apache-2.0
"""What a protocol may see and what it gives: features and labels in, predictions out.

The labels of the test part are no field here, so no protocol can be tuned on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Supervision:
    """Labelled features: all that a protocol learns from."""

    train: Tensor
    """(N, D) float32."""
    train_labels: Tensor
    """(N,) int64."""
    validation: Tensor
    """(V, D) float32, for choices; learned from as well once they are made."""
    validation_labels: Tensor
    """(V,) int64."""
    num_classes: int


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a protocol says of the test features."""

    labels: Tensor
    """(M,) int64."""
    scores: Tensor
    """(M, K) float64, share of each class; rows sum to 1."""
    settings: Mapping[str, Any]
    """Every number that was used or chosen, as plain values."""


Protocol = Callable[[Supervision, Tensor], Prediction]
"""(labelled features, test features (M, D)) -> predictions."""
