# SPDX-License-Identifier: Apache-2.0
"""k-NN while training: a cheap reading of a backbone on the validation part of a task, never on its test part."""

from __future__ import annotations

import numpy as np
import torch

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid
from ssl4eo.evaluation.features import Precision, extract
from ssl4eo.evaluation.protocols.knn import NUM_NEIGHBORS, predict_knn
from ssl4eo.evaluation.tasks.task import Task, hash_order

MAX_BANK = 2000
"""Most training items that are compared with."""


class OnlineKnn:
    """Callable on a backbone: accuracy on validation, 0 to 1.

    Compares with the same items of the train part each time. Leaves the backbone as it was (mode of every
    layer, statistics, gradients) and draws no random numbers, so a run is the same with and without it.
    """

    def __init__(
        self, task: Task, *, max_bank: int = MAX_BANK, batch_size: int = 64, precision: Precision = "32"
    ) -> None:
        """Pick the bank.

        Args:
            task: what to judge on.
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

    def __call__(self, backbone: Backbone) -> float:
        """Judge a backbone as it is now."""
        bank, queries = (
            extract(backbone, part, batch_size=self._batch_size, precision=self._precision)
            for part in (self._bank, self._queries)
        )
        predicted, _ = predict_knn(bank, torch.from_numpy(self._bank.labels), queries, num_classes=self._num_classes)
        return float((predicted.numpy() == self._queries.labels).mean())
