# SPDX-License-Identifier: Apache-2.0
"""What every source of samples can do: list ids without reading pixels, read one by id.

Random access by id is all that resuming, parallel packing and retrying need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ssl4eo.sample import Provenance, Sample

__all__ = ["Provenance", "Source"]


class Source(Protocol):
    """A collection of locations whose samples can be read one by one."""

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from."""
        ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that every sample has."""
        ...

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every patch on the 10 m grid [px]."""
        ...

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
