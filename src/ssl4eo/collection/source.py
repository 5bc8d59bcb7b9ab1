# SPDX-License-Identifier: Apache-2.0
"""What every source of samples can do: list ids without reading pixels, read one by id.

Random access by id is all that resuming, parallel packing and retrying need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

from ssl4eo.errors import Ssl4eoError
from ssl4eo.form import Form
from ssl4eo.sample import Provenance, Sample

__all__ = ["AnySource", "Distrusts", "KeepsWork", "Parcel", "Provenance", "Source", "StreamSource", "is_stream"]


class Described(Protocol):
    """What a source of samples says of all of them."""

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from."""
        ...

    @property
    def forms(self) -> tuple[Form, ...]:
        """Form of each modality; every sample has all of them."""
        ...

    @property
    def masks(self) -> Mapping[str, bool]:
        """By name the masks that every sample has: True where each season has its own."""
        ...

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every patch on the finest grid [px]."""
        ...


class Source(Described, Protocol):
    """A collection of locations whose samples can be read one by one."""

    def ids(self) -> Sequence[str]:
        """List the location ids in the source's order, without reading pixels."""
        ...

    def read(self, location: str) -> Sample:
        """Read one sample.

        Raises:
            SourceInvalid: files are missing, unreadable or not what they claim.
            SampleInvalid: the pixels break the rules of a sample.
            LocationMissing: no such id.
        """
        ...


@dataclass(frozen=True)
class Parcel:
    """The raw bytes of one location, as a stream hands them out."""

    location: str
    payload: Any
    """Whatever `StreamSource.read` makes a sample of; goes to worker processes."""
    cursor: Mapping[str, Any]
    """Plain values: where to go on after this location."""
    is_repeat: bool = False
    """Whether the location has come before; set by who reads the stream, then the payload is not opened."""


class StreamSource(Described, Protocol):
    """A collection that can only be read from front to back, such as an archive file that is being downloaded.

    Finding the parcels is one process's work; making samples of them is done in parallel.
    """

    @property
    def identity(self) -> str:
        """Name that stays the same as long as the stream does."""
        ...

    def parcels(self, cursor: Mapping[str, Any] | None) -> Iterator[Parcel]:
        """Give the locations in order, from the start or from a cursor of an earlier run."""
        ...

    def open(self, parcel: Parcel) -> Sample:
        """Make the sample of a parcel; needs no open file of the stream.

        Raises:
            SourceInvalid, SampleInvalid: as `Source.read`.
        """
        ...


@runtime_checkable
class KeepsWork(Protocol):
    """A source that keeps something on disk by which an interrupted run goes on faster."""

    def use_work_folder(self, folder: Path) -> None:
        """Keep it in this folder, which need not exist yet, and goes when all is packed."""
        ...


@runtime_checkable
class Distrusts(Protocol):
    """A stream whose errors can say that bytes which it gave before were wrong."""

    def distrust(self, error: Ssl4eoError) -> Callable[[Mapping[str, Any]], bool] | None:
        """Forget what is kept of them; give the test of cursors that lie before them, None if the error is another."""
        ...


AnySource = Source | StreamSource


def is_stream(source: AnySource) -> TypeGuard[StreamSource]:
    """Say whether a source can only be read from front to back."""
    return hasattr(type(source), "parcels")
