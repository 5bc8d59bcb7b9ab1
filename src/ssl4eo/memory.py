# SPDX-License-Identifier: Apache-2.0
"""Memory of this process that is freed and wanted again a moment later."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Let the C library keep what is freed, for the rest of this process and its forks, instead of giving it back.

    Every step of a training on a CPU frees its activations and asks for as much again. Given back, each page is
    cleared and mapped anew when touched: up to half a million times in a step of ResNet-50 (16 views of 224 px), up
    to a fifth of the time (benchmarks/results/step.md). The price: memory stays at its peak until the process ends,
    so this is for commands, not for libraries.

    Returns:
        Whether it was done: only glibc has it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(_M_TRIM_THRESHOLD, -1)) and bool(mallopt(_M_MMAP_MAX, 0))
