# SPDX-License-Identifier: Apache-2.0
"""Batches made ahead by other processes: their errors are those of this one, their end is seen to."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from ssl4eo.errors import SampleInvalid, Ssl4eoError, WorkerLost, shown
from ssl4eo.loading.batches import Batch, ViewDataset
from ssl4eo.loading.sampler import Item, ResumableBatches

NUM_NAMED = 5
"""Locations that an error names of a batch."""


@contextmanager
def telling_lost_workers(dataset: ViewDataset) -> Generator[None]:
    """Turn the death of a worker, told by a signal at any moment, into an error that names what it was reading.

    Raises:
        WorkerLost: a worker was killed.
    """
    try:
        yield
    except WorkerLost:
        raise
    except Exception as error:
        found = _death_told(error)
        if found is None:
            raise
        items = dataset.reading.by({int(pid) for pid in found[1].split(",")})
        locations = [dataset.source.id_of(index) for _, index in items]
        doing = f"read {', '.join(locations)}" if locations else "waited"
        end = found[2].split(". ")[0].rstrip(". ")  # what torch adds is advice that does not fit a run
        raise WorkerLost(
            f"a loading process{end} while it {doing}",
            expected="processes that live as long as the run",
            remedy=_after_a_death(by_itself="exit code" in end, is_placed=bool(locations)),
            locations=locations,
        ) from error


def _after_a_death(*, by_itself: bool, is_placed: bool) -> str:
    """Say what to do: one that ended by itself does it again, one that was killed may live the next time."""
    if by_itself:
        return "look for what ends the process in the source or the view: a resumed run would come to the same place"
    place = ", else look at that location" if is_placed else ""
    return f"resume; if it was out of memory, with fewer engine.num_workers{place}"


def _death_told(error: BaseException | None) -> re.Match[str] | None:
    """Find what torch says of a dead worker in an error or in what led to it.

    It says so in the handler of a signal, wherever the run is then: in the middle of a checkpoint, it fails the write.
    """
    told = None
    while error is not None:  # the innermost knows how it ended
        told = re.match(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)(.*)", str(error)) or told
        error = error.__cause__ or error.__context__
    return told


@dataclass(frozen=True)
class _Failed:
    """What a worker sends in place of a batch: torch would make a traceback the text of the error."""

    error: Ssl4eoError


class _Sending(Dataset[Batch | _Failed]):
    """A data set whose errors leave a worker as they are."""

    def __init__(self, dataset: ViewDataset) -> None:
        self._dataset = dataset

    def __getitems__(self, items: list[Item]) -> Batch | _Failed:
        try:
            return self._dataset.__getitems__(items)
        except Ssl4eoError as error:
            if get_worker_info() is None:
                raise
            return _Failed(error)
        except SystemExit as error:  # of a source or a view: without workers the run would end without a word
            exited = self._exited(items, error)
            if get_worker_info() is None:
                raise exited from error
            return _Failed(exited)

    def _exited(self, items: list[Item], error: SystemExit) -> SampleInvalid:
        """Name what was being made; without workers that is known of the whole batch only."""
        source = self._dataset.source
        reading = self._dataset.reading.by({os.getpid()}) or items
        locations = [source.id_of(index) for _, index in reading]
        named = ", ".join(locations[:NUM_NAMED]) + ", ..." * (len(locations) > NUM_NAMED)
        return SampleInvalid(
            f"the source or a view called sys.exit({'' if error.code is None else shown(error.code)}) at {named}",
            expected="pixels, views of them, or an error",
            remedy="let it raise an error that says what is wrong",
            locations=locations,
        )


def _identity(batch: Batch | _Failed) -> Batch | _Failed:
    return batch


def _serve_the_run(worker: int) -> None:
    """Let a worker outlive what asks its run to stop, so that the run can end its step and write a checkpoint.

    SLURM signals every process of a job. A second SIGTERM is obeyed: it comes from the run, of a worker that hangs.
    A run that is killed takes its workers along.
    """
    del worker
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    threading.Thread(target=_end_with_the_run, daemon=True).start()


def _end_with_the_run() -> None:
    """End this process when its run has ended, however it did.

    torch looks whether the parent of a worker still lives. Where workers come from a fork server, as they do from
    Python 3.14 on, that is the server, which lives as long as they do: after a kill -9 of the run both stayed for ever.
    """
    run = parent_process()
    assert run is not None, "a loader's worker was started by its run"
    run.join()
    os._exit(1)


def make_loader(dataset: ViewDataset, batches: ResumableBatches, *, num_workers: int, pin: bool) -> Generator[Batch]:
    """Yield batches in the sampler's order, read ahead by `num_workers` processes (0: in this one).

    Raises:
        Ssl4eoError: a sample cannot be made, as `ViewDataset` says, or a source or a view called sys.exit.
        WorkerLost: a worker was killed.
    """
    loader = DataLoader(
        _Sending(dataset),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_identity,  # pyright: ignore[reportArgumentType] - torch types it for lists; __getitems__ gives a batch
        worker_init_fn=_serve_the_run,
        pin_memory=pin,
        prefetch_factor=2 if num_workers else None,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the global generator
    )
    dataset.reading.share(num_workers)
    with telling_lost_workers(dataset):
        made = iter(loader)
        try:
            for batch in made:
                if isinstance(batch, _Failed):
                    raise batch.error
                yield batch
        finally:
            _end_workers(made)


def _end_workers(made: Any) -> None:
    """End the workers here and now.

    An error holds the frames that hold the iterator until Python ends; there it asks each worker once to end, by the
    signal that workers leave to the run, and waits for ever.
    """
    if hasattr(made, "_shutdown_workers"):  # torch has no public name for it; there is none without workers
        made._shutdown_workers()  # noqa: SLF001
