# SPDX-License-Identifier: Apache-2.0
"""Which samples in which order: a pure function of seed and step, so that a run resumes at the next sample.

An epoch is a permutation of all items; the last incomplete batch of an epoch is left out, so that
every batch is full and queues stay aligned. The order of global batches does not depend on the
number of ranks: a batch is cut into parts (of gradient accumulation), each part into one slice a rank, so that what
the ranks compute together, stacked in their order, is what one process computes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from ssl4eo.errors import ConfigInvalid

Item = tuple[int, int]
"""(epoch, index of the sample)."""


@dataclass(frozen=True)
class Order:
    """The order of samples of a whole run."""

    num_items: int
    batch_size: int
    """Over all ranks."""
    seed: int

    def __post_init__(self) -> None:
        """Refuse batches that no epoch can fill."""
        if not 1 <= self.batch_size <= self.num_items:
            raise ConfigInvalid(
                f"a batch of {self.batch_size} from {self.num_items} items",
                expected="1 to the number of items",
                remedy="give it more data, or a smaller --engine.batch_size (and a --method.queue_size that is a "
                "multiple of it, where the method has a queue)",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of one epoch."""
        return self.num_items // self.batch_size

    def permutation(self, epoch: int) -> np.ndarray:
        """Give the items of one epoch in order."""
        key = np.array([(self.seed << 32) | (epoch & 0xFFFFFFFF), 0xFFFF_FFFF_FFFF], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).permutation(self.num_items)

    def batches(self, first_step: int, num_steps: int) -> Iterator[list[Item]]:
        """Yield the global batches of steps first_step to num_steps - 1."""
        step = first_step
        while step < num_steps:
            epoch, position = divmod(step, self.steps_per_epoch)
            order = self.permutation(epoch)
            while position < self.steps_per_epoch and step < num_steps:
                batch = order[position * self.batch_size : (position + 1) * self.batch_size]
                yield [(epoch, int(i)) for i in batch]
                position += 1
                step += 1


class ResumableBatches(Sampler[list[Item]]):
    """Batches of one rank from a given step on."""

    def __init__(
        self,
        order: Order,
        *,
        first_step: int,
        num_steps: int,
        rank: int = 0,
        world_size: int = 1,
        num_parts: int = 1,
    ) -> None:
        """Start at `first_step`; a batch is computed in `num_parts` parts, one after the other.

        Raises:
            ConfigInvalid: the batch cannot be shared out evenly.
        """
        if order.batch_size % (world_size * num_parts):
            raise ConfigInvalid(
                f"batch_size {order.batch_size} over {world_size} processes in {num_parts} parts",
                expected="a multiple of processes times parts",
            )
        self._order, self._num_parts = order, num_parts
        self._first, self._last = first_step, num_steps
        self._rank, self._world = rank, world_size

    def __len__(self) -> int:
        """Count the steps left."""
        return max(0, self._last - self._first)

    def __iter__(self) -> Iterator[list[Item]]:
        """Yield this rank's share of each batch."""
        for batch in self._order.batches(self._first, self._last):
            size = len(batch) // (self._world * self._num_parts)
            starts = [(part * self._world + self._rank) * size for part in range(self._num_parts)]
            yield [item for start in starts for item in batch[start : start + size]]
