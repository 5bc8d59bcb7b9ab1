# SPDX-License-Identifier: Apache-2.0
"""What several processes know together: rows of all of them, means over all of them. One process is the same code.

Results are without gradient: what is gathered here are keys, centres and statistics of teachers.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def num_processes() -> int:
    """Count the processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Give the number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@torch.no_grad()
def gather_rows(rows: Tensor) -> Tensor:
    """Stack the rows (B, ...) of all processes in order of their rank: (P * B, ...)."""
    if num_processes() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(num_processes())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


@torch.no_grad()
def sum_over_processes(values: Tensor) -> Tensor:
    """Add a tensor over all processes; the same shape."""
    if num_processes() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total


@torch.no_grad()
def mean_over_processes(values: Tensor) -> Tensor:
    """Average a tensor over all processes; the same shape."""
    return sum_over_processes(values) / num_processes()


def gather_objects(value: T) -> list[T]:
    """List a plain value of all processes in order of their rank; slow, for what is rarely asked."""
    values = [value] * num_processes()
    if num_processes() > 1:
        dist.all_gather_object(values, value)
    return values
