# SPDX-License-Identifier: Apache-2.0
"""What each loading process is reading, so that the death of one can be told by name."""

from __future__ import annotations

import os

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from ssl4eo.loading.sampler import Item


class ReadingNow:
    """Items by worker, in memory that outlives it."""

    def __init__(self) -> None:
        """Begin without workers."""
        self._slots: Tensor | None = None

    def share(self, num_workers: int) -> None:
        """Prepare for workers that are to be started."""
        self._slots = torch.full((num_workers, 3), -1, dtype=torch.int64).share_memory_()

    def note(self, item: Item | None) -> None:
        """Note what this process reads from now on; None for nothing."""
        worker = get_worker_info()
        if worker is not None and self._slots is not None:
            epoch, index = (-1, -1) if item is None else item
            self._slots[worker.id] = torch.tensor((os.getpid(), epoch, index))

    def by(self, pids: set[int]) -> list[Item]:
        """Give the items that these processes were reading."""
        rows: list[list[int]] = [] if self._slots is None else self._slots.tolist()
        return [(epoch, index) for pid, epoch, index in rows if pid in pids and index >= 0]
