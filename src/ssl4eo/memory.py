# SPDX-License-Identifier: Apache-2.0
"""Memory of this process: freed and wanted again a moment later, or not enough of it."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from collections.abc import Callable, Generator

from ssl4eo.errors import OutOfMemory, Ssl4eoError

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


_SHORTAGE = re.compile(
    "out of memory|(can't|cannot) allocate memory|unable to allocate shared memory|not enough memory|_ALLOC_FAILED",
    re.IGNORECASE,
)
"""What torch, CUDA and its libraries say; most of them are a plain RuntimeError."""


def is_shortage(error: BaseException) -> bool:
    """Say whether an error means that there was no room.

    >>> is_shortage(MemoryError()), is_shortage(RuntimeError("CUDA error: out of memory")), is_shortage(OSError())
    (True, True, False)
    """
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_SHORTAGE.search(str(error))))


def shortage(error: BaseException) -> str:
    """Say in a line how much was asked for, in the words of whoever refused it.

    >>> shortage(RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
    ...     "memory: you tried to allocate 800000 bytes. Error code 12 (Cannot allocate memory)"))
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 800000 bytes"
    >>> shortage(MemoryError())
    'MemoryError'
    """
    text = re.sub(r"^\[enforce fail[^]]*\] .*?\. ", "", " ".join(str(error).split()))
    sentences = re.split(r"(?<!\d)\.\s", text)  # "Unable to allocate 128. GiB" is NumPy's way to write a number
    asked = 2 if len(sentences) > 1 and sentences[1].startswith("Tried to allocate") else 1
    return ". ".join(sentences[:asked])[:200].rstrip(".") or type(error).__name__


@contextlib.contextmanager
def telling_shortage(doing: str, remedy: Callable[[], str]) -> Generator[None]:
    """Tell whatever memory there was not enough of as one error.

    Args:
        doing: what there was no room for, in words.
        remedy: gives what to do about it; called only then.

    Raises:
        OutOfMemory: in place of what torch, CUDA, NumPy or Python raise.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, Ssl4eoError) or not is_shortage(error):
            raise
        raise OutOfMemory(f"no memory for {doing} ({shortage(error)})", remedy=remedy()) from error
