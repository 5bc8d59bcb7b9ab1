# SPDX-License-Identifier: Apache-2.0
"""The words of unpacking: places, units of work, what a layout must be able to do, what is left out.

A worker makes a unit under partial names or in memory; the parent process alone gives final names, in order. So a
killed run leaves whole units and things that the next run sweeps away, whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ssl4eo.archive.reader import Archive
from ssl4eo.errors import ContractMismatch, SampleInvalid, ShardCorrupt
from ssl4eo.sample import Image

BROKEN = (ShardCorrupt, SampleInvalid, ContractMismatch)
"""What a single location may fail with: the others can still be unpacked."""

Errors = Literal["raise", "skip"]
"""What a broken location does: stops, or is left out and noted in skipped.jsonl."""


@dataclass(frozen=True)
class Place:
    """One location of an archive and the name that it gets."""

    index: int
    """In the archive."""
    id: str
    name: str
    """In the target: its id, padded to 7 digits or numbered anew where the layout wants it."""


@dataclass(frozen=True)
class Unit:
    """Some places that one worker makes."""

    number: int
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Made:
    """What a worker hands to the parent process."""

    parts: Mapping[str, Any]
    """By name of the place whatever the sink of the layout keeps; all of them, or those not left out."""
    skipped: Mapping[str, str] = field(default_factory=dict[str, str])
    """By id the reason why a location was left out."""


@dataclass(frozen=True)
class Plan:
    """What is taken out of an archive, and where it goes; travels to every worker once."""

    archive: Archive
    out: Path
    modalities: tuple[str, ...]
    seasons: tuple[int, ...]
    """Positions, ascending."""

    def images(self, place: Place) -> dict[str, tuple[Image, ...]]:
        """Read all chosen images of a place, by modality in order of time.

        Raises:
            ShardCorrupt: stored bytes are missing or fail their checksum.
        """
        return {
            name: tuple(self.archive.read(name, location=place.index, season=season) for season in self.seasons)
            for name in self.modalities
        }


class Sink(Protocol):
    """The parent's side of a layout: knows what is there, gives final names."""

    def missing(self, unit: Unit) -> tuple[Place, ...]:
        """Give the places of a unit that are not there yet."""
        ...

    def keep(self, unit: Unit, made: Made) -> None:
        """Put what a worker has made in its place."""
        ...


class Layout(Protocol):
    """One way to write images that somebody else reads."""

    @property
    def unit_locations(self) -> int:
        """Locations of a unit."""
        ...

    def options(self, plan: Plan) -> Mapping[str, Any]:
        """Plain values of what is done, asked for or by default: a run that goes on must have the same."""
        ...

    @property
    def ids(self) -> str:
        """Which names locations can have: one of names.ID_RULES."""
        ...

    def check(self, plan: Plan) -> None:
        """Refuse an archive or a choice that this layout cannot carry.

        Raises:
            ConfigInvalid, ContractMismatch: it cannot; says what to do instead.
        """
        ...

    def make(self, plan: Plan, unit: Unit, errors: Errors) -> Made:
        """Do the work of a unit, in a worker process.

        Raises:
            ShardCorrupt, SampleInvalid, ContractMismatch: a location is broken and errors="raise".
        """
        ...

    def sink(self, plan: Plan, places: Sequence[Place]) -> AbstractContextManager[Sink]:
        """Open the parent's side; the caller holds the lock."""
        ...
