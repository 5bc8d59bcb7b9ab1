# SPDX-License-Identifier: Apache-2.0
"""Fetching one place as a worker does it: patient with a service that stays away, and leaving a note of what it took.

The note lies beside the segments until the one process that keeps the ledger has seen the segment; a place whose note
was left by a killed run is fetched again and its note replaced.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ssl4eo.collecting.ledger import Entry, Status
from ssl4eo.collection.remote.collected import CollectedSource, Meter
from ssl4eo.collection.remote.service import FINAL_KINDS
from ssl4eo.errors import NoImagery, RunStopped, SampleInvalid, ServiceFailed, SourceInvalid
from ssl4eo.files import write_json
from ssl4eo.form import Form
from ssl4eo.sample import Provenance, Sample

log = logging.getLogger(__name__)

NOTE_FOLDER = "notes"
"""Below the work folder of the archive."""
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
PLACE_TRIES = 6
"""Failures of one place, between each of which the service answered something else, before the place has failed."""


class Stop:
    """A wish to stop that all threads of this process see; in another process nobody wishes."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a fresh one."""
        return (Stop, ())

    def set(self) -> None:
        """Wish it."""
        self._event.set()

    def require_not(self) -> None:
        """Raise if it is wished.

        Raises:
            RunStopped: it is.
        """
        if self._event.is_set():
            raise RunStopped("stopped on request", remedy="run the same command again: it goes on")

    def wait(self, seconds: float) -> None:
        """Pause, or stop.

        Raises:
            RunStopped: it is wished meanwhile.
        """
        self._event.wait(seconds)
        self.require_not()


class Health:
    """How often the service answered anybody in this process; in another process nobody has asked yet."""

    def __init__(self) -> None:
        self.answers = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a fresh one."""
        return (Health, ())

    def add(self, answers: int) -> None:
        """Note answers."""
        with self._lock:
            self.answers += answers


@dataclass(frozen=True, eq=False)
class NotedSource:
    """A `Source` that fetches and notes."""

    source: CollectedSource
    notes: Path
    patience_s: float
    """How long a service may stay away before the run ends [s]."""
    stop: Stop = field(default_factory=Stop)
    first_pause_s: float = FIRST_PAUSE_S
    health: Health = field(default_factory=Health)

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from."""
        return self.source.provenance

    @property
    def forms(self) -> tuple[Form, ...]:
        """Form of each modality."""
        return self.source.forms

    @property
    def masks(self) -> Mapping[str, bool]:
        """Masks that every sample has."""
        return self.source.masks

    @property
    def num_seasons(self) -> int:
        """Number of dates."""
        return self.source.num_seasons

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width [px]."""
        return self.source.shape

    def ids(self) -> Sequence[str]:
        """List the places."""
        return self.source.ids()

    def read(self, location: str) -> Sample:
        """Fetch one location.

        Raises:
            NoImagery, SourceInvalid, SampleInvalid: see CollectedSource; noted. SourceInvalid also where the service
                fails at this place again and again and answers others meanwhile.
            ServiceFailed: the service stayed away for longer than the patience lasts, or will never do it.
            RunStopped: somebody wishes to stop; nothing was begun.
        """
        self.stop.require_not()
        meter, begin = Meter(), time.monotonic()
        status: Status = "done"
        reason = ""
        try:
            return self._patiently(location, meter)
        except NoImagery as error:
            status, reason = "skipped", error.found
            raise
        except (SourceInvalid, SampleInvalid) as error:
            status, reason = "failed", str(error)
            raise
        except BaseException:
            status = "pending"
            raise
        finally:
            if status != "pending":
                entry = Entry(
                    location, status, reason, meter.attempts, meter.requests, meter.num_bytes, time.monotonic() - begin
                )
                write_json(note_path(self.notes, location), asdict(entry))

    def _patiently(self, location: str, meter: Meter) -> Sample:
        waited, pause = 0.0, self.first_pause_s
        strikes, seen = 0, -1
        while True:
            before = meter.answers
            try:
                return self.source.fetch(location, meter)
            except ServiceFailed as error:
                failure = error
            finally:
                self.health.add(meter.answers - before)
            if waited >= self.patience_s or failure.where.get("kind") in FINAL_KINDS:
                raise failure
            if self.health.answers > seen:
                strikes, seen = strikes + 1, self.health.answers
            if strikes >= PLACE_TRIES:
                raise _given_up(location, failure) from failure
            log.warning("%s: %s; trying again in %.0f s", location, failure.found, pause)
            self.stop.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE_S)


def _given_up(location: str, error: ServiceFailed) -> SourceInvalid:
    """Make the failure of a place of that of its service, which answers everybody else."""
    return SourceInvalid(
        f"location {location}: {error.found}, and so {PLACE_TRIES} times while the service answered other requests",
        expected="an answer",
        remedy="run the same command again: it is tried once more",
        location=location,
    )


def note_path(notes: Path, location: str) -> Path:
    """Name the note of a place."""
    return notes / f"{location}.json"


def read_note(notes: Path, location: str) -> Entry | None:
    """Read a note, None where there is none that is whole."""
    try:
        return Entry(**json.loads(note_path(notes, location).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
