# SPDX-License-Identifier: Apache-2.0
"""Memory for a batch: on a worker such as the run can see."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from ssl4eo.errors import OutOfMemory
from ssl4eo.memory import is_shortage


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Tensor:
    """Make room for views, on a worker in memory that the run can see: else sending them would copy them."""
    if get_worker_info() is None:  # NumPy asks for large pages, torch does not: touching small ones took a fifth
        return torch.from_numpy(np.empty(shape, dtype))
    kind = torch.from_numpy(np.empty(0, dtype)).dtype
    # default_collate does the same; torch has no public name for it.
    num_bytes = math.prod(shape) * dtype.itemsize
    try:
        storage = torch.UntypedStorage._new_shared(num_bytes)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    except RuntimeError as error:
        if not is_shortage(error):
            raise
        raise OutOfMemory(
            f"no shared memory for a batch of {num_bytes / 1e6:.0f} MB{_left()}",
            expected="room for the batches that loading processes make ahead, two of each and one in use",
            remedy="start the container with --ipc=host or a larger --shm-size, or use --engine.num_workers 0, which "
            "needs none",
        ) from error
    return torch.empty(0, dtype=kind).set_(storage, 0, shape)  # pyright: ignore[reportCallIssue] - untyped is right


def _left() -> str:
    """Say how much shared memory there is, where the system has it in a folder."""
    try:
        found = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return ""
    free, whole = (blocks * found.f_frsize / 1e6 for blocks in (found.f_bavail, found.f_blocks))
    return f": {free:.0f} of {whole:.0f} MB are free in {_SHARED_MEMORY}"


_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - it is only measured; containers have 64 MB of it where nobody asks for more
