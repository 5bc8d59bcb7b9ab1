# SPDX-License-Identifier: Apache-2.0
"""Pack again and again in forks of one interpreter, killed at the n-th step; the script of test_kill.py.

A step is a flush, a rename, a removal, a new folder, a file opened for writing, or half of a write: the process group
is killed before it, or between two halves, so also a torn file is left. Prints one JSON object a line.
"""

from __future__ import annotations

import fcntl
import io
import json
import mmap
import multiprocessing
import os
import random
import shutil
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tiny_source import TinySource, tree

from ssl4eo import processes
from ssl4eo.archive.verify import verify_archive
from ssl4eo.packing.pack import pack

STEPS = ("fsync", "rename", "replace", "mkdir", "unlink", "rmdir", "truncate")


class Steps:
    """A counter that all processes of a run share; kills them all when it gets to `kill_at`."""

    def __init__(self, kill_at: int) -> None:
        self._kill_at = kill_at
        self._memory = mmap.mmap(-1, 8)
        self._lock = multiprocessing.get_context("fork").Lock()

    @property
    def count(self) -> int:
        """Steps so far."""
        return struct.unpack("q", self._memory[:8])[0]

    def take(self) -> None:
        """Count one."""
        with self._lock:
            count = self.count + 1
            self._memory[:8] = struct.pack("q", count)
            if count == self._kill_at:
                os.killpg(0, signal.SIGKILL)
                signal.pause()


class Torn:
    """A file whose writes come in halves."""

    def __init__(self, stream: Any, steps: Steps) -> None:
        self._stream, self._steps = stream, steps

    def __getattr__(self, name: str) -> Any:
        """Do everything else as the file does."""
        return getattr(self._stream, name)

    def __enter__(self) -> Self:
        """Open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self._stream.close()

    def write(self, data: Any) -> int:
        """Write half, take a step, write the rest."""
        half = self._stream.write(data[: len(data) // 2])
        self._stream.flush()
        self._steps.take()
        return half + self._stream.write(data[len(data) // 2 :])


def _stepping(real: Callable[..., Any], steps: Steps) -> Callable[..., Any]:
    def step(*args: Any, **keywords: Any) -> Any:
        steps.take()
        return real(*args, **keywords)

    return step


def install(steps: Steps) -> None:
    """Let this process and its forks take steps."""
    for name in STEPS:
        setattr(os, name, _stepping(getattr(os, name), steps))
    real_open = io.open

    def open_torn(file: Any, mode: str = "r", *args: Any, **keywords: Any) -> Any:
        if not set(mode) & set("wa+"):
            return real_open(file, mode, *args, **keywords)
        steps.take()
        return Torn(real_open(file, mode, *args, **keywords), steps)

    io.open = open_torn


def run(target: Path, *, workers: int, start: str, kill_at: int = 0) -> tuple[int, int]:
    """Pack in a fork; give its exit code (negative: the signal) and the steps taken. Waits until all workers ended."""
    steps = Steps(kill_at)
    alive, held = os.pipe()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os.close(alive)
        install(steps)
        if start == "fork":
            context = multiprocessing.get_context("fork")
            processes.multiprocessing.get_context = lambda _: context
        pack(TinySource(), target, workers=workers)
        os._exit(0)
    os.close(held)
    status = os.waitpid(child, 0)[1]
    while os.read(alive, 1):  # ends when the last process of the group has gone
        pass
    os.close(alive)
    _wait_for_lock(target)
    return os.waitstatus_to_exitcode(status), steps.count


def _wait_for_lock(target: Path) -> None:
    """Wait until a killed worker has let go of the lock: a process that ends may close the pipe before it."""
    for lock in target.parent.glob(f"{target.name}.partial/*lock*"):
        with lock.open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)


def trial(target: Path, wanted: dict[str, bytes], *, workers: int, start: str, moments: list[int]) -> dict[str, Any]:
    """Kill at each moment in turn, then pack to the end."""
    codes = []
    for moment in moments:
        if not target.exists():
            codes.append(run(target, workers=workers, start=start, kill_at=moment)[0])
            if target.exists() and codes[-1] and tree(target) != wanted:
                return {"codes": codes, "same": False, "why": "something unfinished got the final name"}
    if not target.exists():
        codes.append(run(target, workers=workers, start=start)[0])
    row = {"codes": codes, "same": tree(target) == wanted, "whole": verify_archive(target).is_whole}
    shutil.rmtree(target)
    return row


def tell(row: dict[str, Any]) -> None:
    """Print a line, at once: a fork would print what waits in the buffer again."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def main(root: Path, workers: int, start: str, number: int, seed: int) -> None:
    """Make the uninterrupted archive, then the trials."""
    code, total = run(root / "wanted.zarr", workers=workers, start=start)
    assert code == 0, code
    wanted = tree(root / "wanted.zarr")
    rng = random.Random(seed)
    tell({"total": total})
    for i in range(number):
        # the first kills are spread over the whole run, one in each part of it; where the second ones come is chance
        stage = rng.randint(1 + i * total // number, (i + 1) * total // number)
        moments = [stage, *(rng.randint(1, total) for _ in range(i % 2))]
        row = trial(root / f"{i}.zarr", wanted, workers=workers, start=start, moments=moments)
        tell({"moments": moments, **row})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
