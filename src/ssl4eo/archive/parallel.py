# SPDX-License-Identifier: Apache-2.0
"""Work over the files of an archive in several processes, results in order.

For verify and statistics, which need no more than a function and its items; packing has a pool of its own that also
feeds workers. Processes are spawned, so nothing of the caller's threads and open files comes along, and end with the
caller, also when that is killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from typing import Any

from ssl4eo.archive.statistics import Run
from ssl4eo.errors import ConfigInvalid, WorkerLost

AHEAD = 4
"""Items under way for each worker."""


def begin_worker() -> None:
    """Prepare a worker process: leave Ctrl-C to the parent, end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a worker"

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@contextlib.contextmanager
def open_run(workers: int) -> Generator[Run]:
    """Give a function that works as `map` does, in `workers` processes; 1 is this one.

    Raises:
        ConfigInvalid: fewer than one worker.
        WorkerLost: a worker died.
    """
    if workers < 1:
        raise ConfigInvalid(f"{workers} workers", expected="1 or more")
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=begin_worker)
    try:
        yield partial(_in_order, executor, AHEAD * workers)
    except BrokenProcessPool as error:
        raise WorkerLost(
            "a worker process died",
            expected="workers that live until the end",
            remedy="often the system ended it for want of memory: run again with fewer --workers",
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _in_order(
    executor: ProcessPoolExecutor, ahead: int, function: Callable[[Any], Any], items: Iterable[Any]
) -> Iterator[Any]:
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(executor.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
