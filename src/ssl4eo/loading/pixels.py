# SPDX-License-Identifier: Apache-2.0
"""Where batches take pixels from: one protocol over archives and folders of images.

A source hands out native pixels of one item and one season, and labels where it has some.
It knows nothing of views.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.layout import CHECKSUMS
from ssl4eo.archive.reader import open_archive
from ssl4eo.contract import Contract
from ssl4eo.form import Form


class PixelSource(Protocol):
    """Items with one or more seasons of native pixels, safe to hand to worker processes."""

    @property
    def title(self) -> str:
        """Say what the pixels are; contains the word synthetic where they are."""
        ...

    @property
    def synthetic(self) -> bool:
        """Say whether no satellite saw them."""
        ...

    @property
    def contract(self) -> Contract:
        """What the values mean."""
        ...

    @property
    def form(self) -> Form:
        """Grids and type of the pixels."""
        ...

    @property
    def identity(self) -> str:
        """Hash that changes with the items: a run may only go on with the same ones."""
        ...

    @property
    def num_seasons(self) -> int:
        """Number of dates of every item."""
        ...

    def __len__(self) -> int:
        """Count the items."""
        ...

    def id_of(self, index: int) -> str:
        """Name an item by what its owner knows it by: the id of a location, the path of a picture."""
        ...

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read one item and season: by resolution [m] an array (band, y, x)."""
        ...


class ArchivePixels:
    """One modality of an archive, all locations or some of them."""

    def __init__(self, path: Path, modality_name: str, *, indices: NDArray[np.int64] | None = None) -> None:
        """Open an archive.

        Args:
            path: of the archive.
            modality_name: what to read.
            indices: positions of the locations to keep, None for all.

        Raises:
            ArchiveInvalid, DataMissing: no readable archive.
            UnknownName: the archive has no such modality.
        """
        self.archive = open_archive(path)
        self._modality = modality_name
        self.contract = self.archive.contract(modality_name)
        self._indices = np.arange(len(self.archive)) if indices is None else indices

    @property
    def title(self) -> str:
        """Title of the archive's provenance."""
        return self.archive.provenance.title

    @property
    def synthetic(self) -> bool:
        """Say whether no satellite saw the pixels."""
        return self.archive.provenance.synthetic

    @property
    def form(self) -> Form:
        """Grids and type of the archive's pixels."""
        return self.archive.form(self._modality)

    @property
    def identity(self) -> str:
        """Hash of the archive's checksums and of the chosen positions."""
        digest = hashlib.sha256((self.archive.path / CHECKSUMS).read_bytes())
        digest.update(self._modality.encode() + np.ascontiguousarray(self._indices, dtype="<i8").tobytes())
        return digest.hexdigest()

    @property
    def num_seasons(self) -> int:
        """Number of dates of every location."""
        return self.archive.num_seasons

    def __len__(self) -> int:
        """Count the locations."""
        return len(self._indices)

    def id_of(self, index: int) -> str:
        """Give the id of a location."""
        return self.archive.ids[int(self._indices[index])]

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read one location and season at native resolution."""
        return self.archive.read_pixels(
            self._modality, index=int(self._indices[index]), season=season, resolutions=resolutions
        )
