# SPDX-License-Identifier: Apache-2.0
"""Who does the work of unpacking: this process, or some processes on this machine.

As packing/pools.py, whose jobs are an archive's; unpacking stands beside it and knows nothing of it. Results come
in the order of the units, few of them wait at a time, and a worker ends with its parent, also when that is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait

from ssl4eo.errors import ConfigInvalid, WorkerLost
from ssl4eo.unpacking.work import Errors, Layout, Made, Plan, Unit

_AHEAD = 2
"""Units under way for each worker."""


@dataclass(frozen=True)
class Job:
    """What all units share; travels to every worker once."""

    layout: Layout
    plan: Plan
    errors: Errors

    def make(self, unit: Unit) -> Made:
        """Do the work of a unit."""
        return self.layout.make(self.plan, unit, self.errors)


def make_units(job: Job, units: Iterable[Unit], *, workers: int) -> Generator[tuple[Unit, Made]]:
    """Do units in `workers` processes, 1 being this one; give each with its result, in order.

    Close the generator: it waits for what is under way, so that nobody writes to the target after that.

    Raises:
        ConfigInvalid: fewer than one worker.
        WorkerLost: a worker died.
    """
    if workers < 1:
        raise ConfigInvalid(f"{workers} workers", expected="1 or more")
    if workers == 1:
        return ((unit, job.make(unit)) for unit in units)
    return _in_processes(job, units, workers)


def _in_processes(job: Job, units: Iterable[Unit], workers: int) -> Generator[tuple[Unit, Made]]:
    waiting: deque[tuple[Unit, Future[Made]]] = deque()
    with _processes(job, workers) as executor:
        for unit in units:
            waiting.append((unit, executor.submit(_make_here, unit)))
            if len(waiting) >= _AHEAD * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()


_job: list[Job] = []


def _start_worker(job: Job) -> None:
    """Prepare a worker process: remember the job, leave Ctrl-C to the parent, end with it."""
    _job[:] = [job]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a worker"

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _make_here(unit: Unit) -> Made:
    return _job[0].make(unit)


@contextlib.contextmanager
def _processes(job: Job, workers: int) -> Generator[ProcessPoolExecutor]:
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(job,)
    )
    try:
        yield executor
    except BrokenProcessPool as error:
        raise WorkerLost(
            "a worker process died",
            expected="workers that live until the end",
            remedy="often the system ended it for want of memory: run again with fewer --workers, it goes on",
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)  # waits for what is under way
