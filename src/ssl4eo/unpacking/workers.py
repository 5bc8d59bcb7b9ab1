# SPDX-License-Identifier: Apache-2.0
"""Who does the work of unpacking: this process, or some processes on this machine."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass

from ssl4eo.processes import AHEAD, check_workers, in_order, process_pool, shared
from ssl4eo.unpacking.work import Errors, Layout, Made, Plan, Unit


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

    Close the generator: it ends the workers, so that nobody writes to the target after that.

    Raises:
        ConfigInvalid: fewer than one worker.
        WorkerLost: a worker died.
    """
    check_workers(workers)
    if workers == 1:
        return ((unit, job.make(unit)) for unit in units)
    return _in_processes(job, units, workers)


def _in_processes(job: Job, units: Iterable[Unit], workers: int) -> Generator[tuple[Unit, Made]]:
    with process_pool(workers, job) as executor:
        yield from in_order(lambda unit: executor.submit(_make_here, unit), units, ahead=AHEAD * workers)


def _make_here(unit: Unit) -> Made:
    return shared().make(unit)
