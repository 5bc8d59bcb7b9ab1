# SPDX-License-Identifier: Apache-2.0
"""Readings while training: a backbone judged on the validation part of a task, never on its test part.

k-NN, a linear probe, and spread and rank of the backbone's own features: the collapse alarm of the loop sees
embeddings behind the head only. The probe is the linear protocol at one fixed strength, fitted to the bank: a tenth
of its cost, and no choice is made on the part that is reported. The final score comes from `ssl4eo evaluate`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid
from ssl4eo.evaluation.features import Precision, extract
from ssl4eo.evaluation.protocols.knn import NUM_NEIGHBORS, predict_knn
from ssl4eo.evaluation.protocols.linear import PATH, Axes, fit_weights
from ssl4eo.evaluation.tasks.task import Task, hash_order
from ssl4eo.training.monitor import effective_rank, feature_std

MAX_BANK = 2000
"""Most training items that are compared with."""
STRENGTH = PATH[3]
"""Inverse strength C of the linear probe, 0.046."""


@dataclass(frozen=True)
class Reading:
    """How a backbone does."""

    knn: float
    """Accuracy on validation, 0 to 1."""
    linear: float | None
    """The same of the linear probe, None where it was not asked for."""
    feature_std: float
    """Spread of the features of the bank, see `training.monitor`."""
    effective_rank: float
    """Of the features of the bank."""


NO_READING = Reading(math.nan, None, math.nan, math.nan)
"""Of a process that leaves judging to another one."""


class OnlineProbe:
    """Callable on a backbone: a reading on validation.

    Compares with the same items of the train part each time. Leaves the backbone as it was (mode of every
    layer, statistics, gradients) and draws no random numbers, so a run is the same with and without it.
    """

    def __init__(
        self,
        task: Task,
        *,
        linear: bool = True,
        max_bank: int = MAX_BANK,
        batch_size: int = 64,
        precision: Precision = "32",
    ) -> None:
        """Pick the bank.

        Args:
            task: what to judge on.
            linear: fit the linear probe too.
            max_bank: training items to compare with at most; the ones with the smallest hash are taken.
            batch_size: items at a time.
            precision: of the forward pass.

        Raises:
            ConfigInvalid: fewer items in the bank than neighbors that vote.
        """
        train = task.part("train")
        order = np.argsort(hash_order(train.ids, salt="online"), kind="stable")
        self._bank = train.take(np.sort(order[:max_bank]))
        if len(self._bank) < NUM_NEIGHBORS:
            raise ConfigInvalid(
                f"{len(self._bank)} training items of {task.name} for k-NN while training",
                expected=f"{NUM_NEIGHBORS} or more",
                remedy="use more items, or train without the reading",
            )
        self._queries = task.part("validation")
        self._num_classes = task.num_classes
        self._linear = linear
        self._batch_size = batch_size
        self._precision: Precision = precision
        self.name = task.name
        self.part = "validation"

    @property
    def num_bank(self) -> int:
        """Number of items compared with."""
        return len(self._bank)

    @property
    def num_queries(self) -> int:
        """Number of items judged; one item is 1 / num_queries of the accuracy."""
        return len(self._queries)

    def __call__(self, backbone: Backbone) -> Reading:
        """Judge a backbone as it is now."""
        bank, queries = (
            extract(backbone, part, batch_size=self._batch_size, precision=self._precision)
            for part in (self._bank, self._queries)
        )
        labels = torch.from_numpy(self._bank.labels)
        predicted, _ = predict_knn(bank, labels, queries, num_classes=self._num_classes)
        return Reading(
            knn=self._accuracy(predicted),
            linear=self._accuracy(predict_linear(bank, labels, queries)) if self._linear else None,
            feature_std=feature_std(bank),
            effective_rank=effective_rank(bank),
        )

    def _accuracy(self, predicted: Tensor) -> float:
        return float((predicted.numpy() == self._queries.labels).mean())


def predict_linear(bank: Tensor, labels: Tensor, queries: Tensor, *, c: float = STRENGTH) -> Tensor:
    """Fit the linear probe to a bank (N, D) at one strength, and predict the classes (M,) of queries (M, D).

    Args:
        bank: finite features.
        labels: (N,) int64; classes that do not occur are not predicted.
        queries: finite features.
        c: inverse strength, see `evaluation.protocols.linear.PATH`.
    """
    known, targets = labels.unique(return_inverse=True)
    axes = Axes.fit(bank.double())
    weights = fit_weights(axes(bank.double()), targets, axes.variance, c=c)
    return known[weights.logits(axes(queries.double())).argmax(dim=1)]
