# SPDX-License-Identifier: Apache-2.0
"""The processes of a run as one: what the first does for all, what one knows and all must, and how all end.

Only the first process reads and writes the run's folder; its errors reach all, are raised by all and printed once.
What is exchanged here goes between the hosts (gloo) at every step, also where gradients go between GPUs: no device
is waited for, and a process that dies is noticed at once by its closed connection.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
import torch.distributed as dist

from ssl4eo.errors import RunStopped, Ssl4eoError, TrainingDiverged, WorkerLost
from ssl4eo.pretraining.fabric import Fabric

T = TypeVar("T")

TIMEOUT = dt.timedelta(minutes=30)
"""How long processes wait for one another: longer than the first one ever judges or writes alone."""

_SIGNS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")
"""What the messages of a broken connection contain; torch has no class for them under gloo."""


class Together:
    """All processes of a run, seen from one of them; one process alone is the same code."""

    def __init__(self, fabric: Fabric) -> None:
        """Open the exchange between hosts; every process must."""
        self.rank, self.num_processes = fabric.global_rank, fabric.world_size
        self._group: Any = None
        if self.num_processes > 1:
            self._group = dist.new_group(backend="gloo", timeout=TIMEOUT)

    @property
    def is_first(self) -> bool:
        """Say whether this process reads, writes and speaks for all."""
        return self.rank == 0

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say of an error whether others print it, or whether it is only the echo of one."""
        if isinstance(error, RunStopped | TrainingDiverged):  # all processes raise these at the same step
            error.told = not self.is_first
        elif self.num_processes > 1 and _is_lost(error):
            raise WorkerLost(
                f"process {self.rank} of {self.num_processes} lost another one",
                expected="all to run to the end",
                remedy="see what that one said, and run the same command again with --resume",
            ) from error

    def first_alone(self, action: Callable[[], T]) -> T:
        """Let the first process act; all wait, and get its result or its error.

        The result is sent to all: a plain, small value.
        """
        if self._group is None:
            return action()
        outcome: list[Any] = [None, None]
        if self.is_first:
            try:
                outcome[0] = action()
            except BaseException as error:
                dist.broadcast_object_list([None, _to_send(error)], src=0, group=self._group)
                raise
        dist.broadcast_object_list(outcome, src=0, group=self._group)
        if outcome[1] is not None:
            outcome[1].told = True
            raise outcome[1]
        return outcome[0]

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Say of each flag whether it is up in any process."""
        if self._group is None:
            return flags
        values = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(values, dist.ReduceOp.MAX, group=self._group)
        return tuple(bool(v) for v in values)


def _to_send(error: BaseException) -> Ssl4eoError:
    """Make what the other processes raise for an error that this one prints."""
    if isinstance(error, Ssl4eoError):
        return error
    return WorkerLost(f"the first process ended by {type(error).__name__}: {error}")


def _is_lost(error: BaseException | None) -> bool:
    if isinstance(error, Ssl4eoError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in _SIGNS)
