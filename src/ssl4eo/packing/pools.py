# SPDX-License-Identifier: Apache-2.0
"""Who does the work: this process, some processes on this machine, or a Dask cluster.

Each gives results in the order of its tasks and looks only a few tasks ahead, so that little waits on the disk.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from ssl4eo.errors import DataMissing, WorkerLost
from ssl4eo.packing.work import Job, Task, encode
from ssl4eo.processes import AHEAD, check_workers, in_order, process_pool, shared


class Pool(Protocol):
    """Does tasks of one job."""

    def encode(self, tasks: Iterable[Task]) -> Iterator[int]:
        """Encode tasks; give the numbers of their segments, in order."""
        ...

    def run(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Apply a function to items; give results in order."""
        ...


_Submit = Callable[..., Any]
Run = Callable[[Callable[..., Any], Iterable[Any]], Iterator[Any]]
"""Applies a function of (shared value, item) to items; gives results in order."""


class Inline:
    """Everything in this process."""

    def __init__(self, job: Job, tick: Callable[[int], None]) -> None:
        self._job, self._tick = job, tick

    def encode(self, tasks: Iterable[Task]) -> Iterator[int]:
        """Encode tasks one after the other; ticks after each location."""
        return (encode(self._job, task, self._tick) for task in tasks)

    def run(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Apply a function."""
        return map(function, items)


class _Submitting:
    """Results of what is submitted elsewhere, in order."""

    def __init__(
        self, submit: _Submit, encode_task: Callable[[Task], Any], *, workers: int, tick: Callable[[int], None]
    ) -> None:
        """Say how to start a function, and how to start to encode a task; both give futures."""
        self._submit, self._encode_task = submit, encode_task
        self._ahead, self._tick = max(2, AHEAD * workers), tick

    def encode(self, tasks: Iterable[Task]) -> Iterator[int]:
        """Encode tasks; ticks after each of them."""
        for task, number in in_order(self._encode_task, tasks, ahead=self._ahead):
            yield number
            self._tick(len(task.items))

    def run(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Apply a function."""
        pairs = in_order(lambda item: self._submit(function, item), items, ahead=self._ahead)
        return (result for _, result in pairs)


def _in_processes(executor: ProcessPoolExecutor, workers: int, tick: Callable[[int], None]) -> Pool:
    return _Submitting(executor.submit, lambda task: executor.submit(_encode_here, task), workers=workers, tick=tick)


def _encode_here(task: Task) -> int:
    return encode(shared(), task)


def _on_dask(client: Any, job: Job, workers: int, tick: Callable[[int], None]) -> Pool:
    submit = partial(client.submit, pure=False)
    scattered = client.scatter(job, broadcast=True)
    return _Submitting(submit, lambda task: submit(encode, scattered, task), workers=workers, tick=tick)


@contextlib.contextmanager
def open_pool(
    job: Job, *, workers: int, dask: str | None, tick: Callable[[int], None], threads: bool = False
) -> Generator[Pool]:
    """Start workers for a job and end them with the block.

    Args:
        job: what they work on.
        workers: processes on this machine; 1 works in this process.
        dask: address of a scheduler, `local` for a cluster of `workers` processes on this machine, None without Dask.
        tick: called with the number of locations whenever some are done.
        threads: workers are threads of this process, for work that waits for a network.

    Raises:
        ConfigInvalid: fewer than one worker.
        DataMissing: Dask is not installed, or no scheduler answers.
        WorkerLost: a worker died.
    """
    check_workers(workers)
    if dask is not None:
        with _dask_client(dask, workers) as client:
            yield _on_dask(client, job, workers, tick)
    elif threads:
        with _threads(workers) as executor:
            yield _Submitting(
                executor.submit, lambda task: executor.submit(encode, job, task), workers=workers, tick=tick
            )
    elif workers == 1:
        yield Inline(job, tick)
    else:
        with process_pool(workers, job) as executor:
            yield _in_processes(executor, workers, tick)


@contextlib.contextmanager
def open_run(workers: int, dask: str | None, *, value: object = None) -> Generator[Run]:
    """Give a function that works as `map` does, wherever the work is done; starts little ahead, so that it stops soon.

    Args:
        workers: processes on this machine; 1 works in this process.
        dask: address of a scheduler, `local` for a cluster of `workers` processes on this machine, None without Dask.
        value: handed to each call as its first argument; travels once to each process.

    Raises:
        ConfigInvalid: fewer than one worker.
        DataMissing: Dask is not installed, or no scheduler answers.
        WorkerLost: a worker died.
    """
    check_workers(workers)
    if dask is not None:
        with _dask_client(dask, workers) as client:
            scattered = client.scatter(value, broadcast=True, hash=False)
            ahead = AHEAD * max(1, sum(client.nthreads().values()))

            def start(function: Callable[..., Any], item: Any) -> Any:
                return client.submit(function, scattered, item, pure=False)

            yield _ahead(start, ahead)
    elif workers == 1:
        yield lambda function, items: (function(value, item) for item in items)
    else:
        with process_pool(workers, value) as executor:
            yield _ahead(lambda function, item: executor.submit(_call_shared, function, item), AHEAD * workers)


def _ahead(start: Callable[..., Any], ahead: int) -> Run:
    def run(function: Callable[..., Any], items: Iterable[Any]) -> Iterator[Any]:
        return (result for _, result in in_order(lambda item: start(function, item), items, ahead=ahead))

    return run


def _call_shared(function: Callable[..., Any], item: Any) -> Any:
    return function(shared(), item)


@contextlib.contextmanager
def _threads(workers: int) -> Generator[ThreadPoolExecutor]:
    """Start threads; on an error what has not begun is dropped, what is under way ends by itself."""
    executor = ThreadPoolExecutor(workers)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _dask_client(address: str, workers: int) -> Generator[Any]:
    try:
        from distributed import Client, KilledWorker, LocalCluster

        logging.getLogger("distributed").setLevel(logging.ERROR)  # importing it has set another level
    except ImportError as error:
        raise DataMissing("Dask is not installed", expected="it", remedy="pip install 'ssl4eo[dask]'") from error
    with contextlib.ExitStack() as stack:
        try:
            place: Any = address
            if address == "local":
                place = stack.enter_context(
                    LocalCluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0")
                )
            client = stack.enter_context(Client(place, timeout="30s"))
        except (OSError, ValueError) as error:
            raise DataMissing(
                f"no Dask scheduler answers at {address} ({error})",
                expected="host:port of a running scheduler, or `local`",
                remedy="start one with `dask scheduler` and `dask worker`",
            ) from error
        try:
            yield client
        except KilledWorker as error:
            raise WorkerLost(
                f"a Dask worker died ({error})",
                expected="workers that live until the end",
                remedy="give workers more memory, or run fewer of them, and run again: it goes on",
            ) from error
