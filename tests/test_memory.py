# SPDX-License-Identifier: Apache-2.0
"""Freed memory is used again; what there is not enough of is told."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys

import pytest

from ssl4eo.errors import OutOfMemory, SampleInvalid
from ssl4eo.memory import is_shortage, shortage, telling_shortage

FAULTS = """
import resource, sys
from ssl4eo.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    text = b"x" * (64 << 20)
    del text
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(choice):
    """Count the pages that are mapped when 64 MiB are asked for a second time, whatever glibc is told around here."""
    around = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    run = subprocess.run([sys.executable, "-c", FAULTS, choice], check=True, capture_output=True, text=True, env=around)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_is_asked_for_again_is_there():
    """Without it every page is mapped anew; pages have 4 KiB, or 64 on some machines."""
    assert faults("keep") < 100
    assert faults("give back") > 1000


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError("Unable to allocate 128. GiB for an array"), "Unable to allocate 128. GiB for an array"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "CUDA error: out of memory CUDA"),
        (RuntimeError("unable to mmap 9 bytes from file <x>: Cannot allocate memory (12)"), "unable to mmap 9 bytes"),
        (RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_1>: No space left"), "unable to all"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB, max"), "MPS backend out of memory (MPS alloc"),
    ],
)
def test_whoever_refuses_is_understood(error, told):
    """Python, NumPy, and what lies below torch, in one error that is a MemoryError."""
    assert shortage(error).startswith(told)

    with pytest.raises(OutOfMemory, match=r"no memory for the table.*: a smaller one") as raised, in_work():
        raise error
    assert isinstance(raised.value, MemoryError)
    assert raised.value.__cause__ is error


def in_work():
    """Do something that takes memory."""
    return telling_shortage("the table", lambda: "a smaller one")


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2"), OSError(12, "Cannot allocate memory"), ValueError()])
def test_other_errors_pass(error):
    """Unchanged; the system's own have a number and are told by it."""
    assert not is_shortage(error)
    with pytest.raises(type(error)) as raised, in_work():
        raise error
    assert raised.value is error


def test_our_own_word_for_it_passes():
    """The innermost knows best what there was no room for."""
    error = OutOfMemory("no memory for a batch")
    with pytest.raises(OutOfMemory) as raised, in_work():
        raise error
    assert raised.value is error
    with pytest.raises(SampleInvalid), in_work():
        raise SampleInvalid("out of memory is what this place is called")


def test_garbage_is_looked_for_while_tests_run():
    """Tests are collected without (conftest.py at the root)."""
    assert gc.isenabled()
