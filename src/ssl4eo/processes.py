# SPDX-License-Identifier: Apache-2.0
"""Some processes on this machine that apply functions to items, results in order.

Processes are spawned, not forked: nothing of the parent's threads and open files comes along. Only a few items are
under way for each, so that little waits in memory or on disk. A worker ends with its parent, also when that is killed,
and leaves Ctrl-C to it. The parent may take Ctrl-C as a wish: `wishing` lets what is under way be finished.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any

from ssl4eo.errors import ConfigInvalid, WorkerLost

log = logging.getLogger(__name__)

AHEAD = 2
"""Items under way for each worker."""

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""How to apply a function to items, in order: the builtin `map`, or that of a pool of processes."""


def check_workers(workers: int) -> None:
    """Raise unless there is a worker.

    Raises:
        ConfigInvalid: fewer than one.
    """
    if workers < 1:
        raise ConfigInvalid(f"{workers} workers", expected="1 or more")


_shared: list[Any] = []


def shared() -> Any:
    """Give, in a worker, what all its tasks share."""
    return _shared[0]


def _begin(value: object) -> None:
    """Prepare a worker process."""
    _shared[:] = [value]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a worker"

    def end_with_parent() -> None:
        wait([parent.sentinel])
        _leave()

    threading.Thread(target=end_with_parent, daemon=True).start()


def _leave(*_: object) -> None:
    """End this worker at once, whatever it is doing.

    Libraries hold semaphores here (numcodecs does); unless they are given back, Python warns of them when all is over.
    """
    atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - os._exit would skip them
    os._exit(1)


@contextlib.contextmanager
def process_pool(workers: int, value: object = None) -> Generator[ProcessPoolExecutor]:
    """Start processes, and end them with the block: on an error at once, whatever they are doing.

    Args:
        workers: number of processes.
        value: what `shared` gives in them; it travels once.

    Raises:
        ConfigInvalid: fewer than one worker.
        WorkerLost: a worker died.
    """
    check_workers(workers)
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(value,)
    )
    try:
        yield executor
    except BrokenProcessPool as error:
        raise WorkerLost(
            "a worker process died",
            expected="workers that live until the end",
            remedy="often the system ended it for want of memory: run again with fewer --workers",
        ) from error
    except BaseException:
        children = list((getattr(executor, "_processes", None) or {}).values())  # shutdown forgets them
        executor.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def in_order(start: Callable[[Any], Any], items: Iterable[Any], *, ahead: int) -> Generator[tuple[Any, Any]]:
    """Start items and give each with its result, in order.

    Args:
        start: gives a future for an item.
        items: taken only as far as needed.
        ahead: items under way.
    """
    waiting: deque[tuple[Any, Any]] = deque()
    for item in items:
        waiting.append((item, start(item)))
        if len(waiting) >= ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        yield first, future.result()


@contextlib.contextmanager
def open_run(workers: int) -> Generator[Run]:
    """Give a function that works as `map` does, in `workers` processes; 1 is this one.

    Raises:
        ConfigInvalid: fewer than one worker.
        WorkerLost: a worker died.
    """
    check_workers(workers)
    if workers == 1:
        yield map
        return
    with process_pool(workers) as executor:

        def run(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
            pairs = in_order(lambda item: executor.submit(function, item), items, ahead=2 * AHEAD * workers)
            return (result for _, result in pairs)

        yield run


@contextlib.contextmanager
def wishing(stop: Callable[[], None], under_way: str) -> Generator[None]:
    """Take SIGINT and SIGTERM as a wish to stop for the length of the block; a second one ends it at once.

    Args:
        stop: called with the first signal; whoever starts new work must look at it.
        under_way: what is finished in any case, for the message.
    """
    before: dict[int, Any] = {}

    def wish(number: int, _: object) -> None:
        stop()
        for n, handler in before.items():
            signal.signal(n, handler)
        log.warning("%s: %s under way are finished; once more ends at once", signal.Signals(number).name, under_way)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, wish)
    except ValueError:  # not in the main thread, where no signals arrive
        before.clear()
    try:
        yield
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
