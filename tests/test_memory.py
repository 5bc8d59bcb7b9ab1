# SPDX-License-Identifier: Apache-2.0
"""Freed memory is used again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

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
