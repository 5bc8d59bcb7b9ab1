# SPDX-License-Identifier: Apache-2.0
"""Everything this package raises on purpose, as one tree.

    Ssl4eoError
    |-- UnknownName          (LookupError)        a name that is in none of our tables
    |-- ConfigInvalid        (ValueError)         options that cannot work, alone or together
    |-- ContractMismatch     (ValueError)         values of another kind than the consumer expects
    |-- SampleInvalid        (ValueError)         a location, image or sample that breaks its own rules
    |-- SourceInvalid        (OSError)            a foreign file that is missing, unreadable or lies
    |-- NoImagery            (LookupError)        no suitable image was taken of a place in its seasons
    |-- DataMissing          (FileNotFoundError)  something the user named is not there
    |-- TargetExists         (FileExistsError)    we would overwrite something
    |-- Busy                 (BlockingIOError)    another process is writing there
    |-- WriteFailed          (OSError)            the disk is full or refuses the write; what was there is kept
    |-- ArchiveInvalid       (ValueError)         not an archive, or one of another version
    |-- ShardCorrupt         (OSError)            stored bytes that fail their checksum
    |-- LocationMissing      (LookupError)        an id or index that the archive does not hold
    |-- CheckpointInvalid    (ValueError)         a checkpoint that is not ours, cut short, or of another recipe
    |-- WorkerLost           (RuntimeError)       a worker process died
    |-- DownloadFailed       (OSError)            a server that refuses, stays away, or does not serve what it said
    |-- ServiceFailed        (ConnectionError)    a service of imagery that refuses or stays away after all retries
    |-- ChecksumMismatch     (ValueError)         every byte came, and they are not the published ones
    |-- TrainingDiverged     (ArithmeticError)    loss or weights are no longer finite
    |-- OutOfMemory          (MemoryError)        the host or the device has no room for what was asked
    `-- RunStopped           (InterruptedError)   a signal asked a run to end; it left a checkpoint

A message has three parts: what was found, what was expected, what to do.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any


class Ssl4eoError(Exception):
    """Base of all errors of this package.

    `found`, `expected` and `remedy` are the three parts of the message; `where` holds
    data such as `location=` or `path=` for programs that catch the error.
    """

    told: bool = False
    """Another process of the same run prints this error."""

    def __init__(self, found: str = "", *, expected: str = "", remedy: str = "", **where: Any) -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected
        self.remedy = remedy
        self.where = where

    def __str__(self) -> str:
        """Join the parts into one readable line."""
        text = self.found
        if self.expected:
            text += f"; expected {self.expected}"
        if self.remedy:
            text += f": {self.remedy}"
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive the way from a worker process: builtin bases would lose the keywords."""
        return (_rebuild, (type(self), self.found, self.expected, self.remedy, self.where))


def _rebuild(kind: type[Ssl4eoError], found: str, expected: str, remedy: str, where: dict[str, Any]) -> Ssl4eoError:
    return kind(found, expected=expected, remedy=remedy, **where)


class UnknownName(Ssl4eoError, LookupError):
    """A name that is in none of our tables."""


class ConfigInvalid(Ssl4eoError, ValueError):
    """Options that cannot work, alone or together."""


class ContractMismatch(Ssl4eoError, ValueError):
    """Values of another kind than the consumer expects."""


class SampleInvalid(Ssl4eoError, ValueError):
    """A location, image or sample that breaks its own rules."""


class SourceInvalid(Ssl4eoError, OSError):
    """A foreign file that is missing, unreadable, or not what its name says."""


class NoImagery(Ssl4eoError, LookupError):
    """No suitable image was taken of a place in its seasons: another try gives the same."""


class DataMissing(Ssl4eoError, FileNotFoundError):
    """Something the user named is not there."""


class TargetExists(Ssl4eoError, FileExistsError):
    """The target exists and would be overwritten."""


class Busy(Ssl4eoError, BlockingIOError):
    """Another process is writing to the same target."""


class WriteFailed(Ssl4eoError, OSError):
    """The disk is full, or refuses the write; what was there before is kept."""


class ArchiveInvalid(Ssl4eoError, ValueError):
    """Not an archive of this package, or one of a version it cannot read."""


class ShardCorrupt(Ssl4eoError, OSError):
    """Stored bytes that are missing, cut short, or fail their checksum."""


class LocationMissing(Ssl4eoError, LookupError):
    """An id, index or season that the archive does not hold."""


class CheckpointInvalid(Ssl4eoError, ValueError):
    """A checkpoint that is not ours, is cut short, or belongs to another recipe."""


class WorkerLost(Ssl4eoError, RuntimeError):
    """A process that did part of the work died."""


class DownloadFailed(Ssl4eoError, OSError):
    """A server that refuses, stays away, or does not serve what it said; parts that came are kept."""


class ServiceFailed(Ssl4eoError, ConnectionError):
    """A service of imagery that refuses or stays away after all retries; nothing that was collected is lost."""


class ChecksumMismatch(Ssl4eoError, ValueError):
    """A file whose checksum is not the published one; nothing stands under the final name."""


class TrainingDiverged(Ssl4eoError, ArithmeticError):
    """Loss or weights are no longer finite."""


class OutOfMemory(Ssl4eoError, MemoryError):
    """The host or the device has no room for what was asked of it."""


class RunStopped(Ssl4eoError, InterruptedError):
    """A signal asked a run to end; it finished its step and left a checkpoint."""


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60


def shown(value: object) -> str:
    """Write a value of somebody else's into a message: as Python does, without its middle where it is long.

    >>> shown("0000017"), len(shown("x" * 5000))
    ("'0000017'", 60)
    """
    return _BRIEF.repr(value)


def foreign_options(layout: str, foreign: Iterable[str], known: Iterable[str]) -> ConfigInvalid:
    """Make the error for options that a layout does not have.

    >>> str(foreign_options("raw", ["rule"], ["renumber"]))
    'layout raw has no option rule; it has renumber: leave out rule'
    """
    listed = ", ".join(foreign)
    return ConfigInvalid(
        f"layout {layout} has no option {listed}; it has {', '.join(known) or 'none'}", remedy=f"leave out {listed}"
    )


MOST_NAMED = 30
"""Names that a message lists; of a longer table it gives the nearest only."""
MOST_NEAR = 3
"""Names that a message proposes of a longer table."""


def unknown_name(kind: str, name: object, known: Iterable[str], *, lister: str = "", others: str = "") -> UnknownName:
    """Make the error for a name that is not in a table, with the nearest ones as a remedy.

    Args:
        kind: what the table holds.
        name: that was asked for.
        known: all names of the table.
        lister: command that prints them, for a table too long for a message.
        others: names that are in no table, in words.

    >>> str(unknown_name("modality", "S2L1D", ["S2L1C", "S1GRD"]))
    "no modality is called 'S2L1D'; expected one of S2L1C, S1GRD: did you mean S2L1C?"
    """
    known = list(known)
    is_long = len(known) > MOST_NAMED
    near = difflib.get_close_matches(str(name), known, n=MOST_NEAR if is_long else 1, cutoff=0.5)
    remedy = f"did you mean {' or '.join(near)}?" if near else ""
    expected = f"one of {', '.join(known)}"
    if is_long:
        expected = f"one of {len(known)} names" + (f" that `{lister}` lists" if lister else "")
    if others:
        expected += f", {others}"
    return UnknownName(f"no {kind} is called {name!r}", expected=expected, remedy=remedy)
