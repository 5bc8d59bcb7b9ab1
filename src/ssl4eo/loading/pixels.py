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
from ssl4eo.contract import InputContract, fuse
from ssl4eo.form import AnyForm, fuse_forms


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
    def contract(self) -> InputContract:
        """What the values mean."""
        ...

    @property
    def form(self) -> AnyForm:
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
    """One modality of an archive, or several joined by +, of all locations or some of them.

    Several are read at the same location and the same number of the season. That number is a position in time among the
    acquisitions of each satellite: radar and optical image of a season are as far apart as the archive has them.
    """

    def __init__(self, path: Path, modality_name: str, *, indices: NDArray[np.int64] | None = None) -> None:
        """Open an archive.

        Args:
            path: of the archive.
            modality_name: what to read, such as S2L1C or S2L1C+S1GRD.
            indices: positions of the locations to keep, None for all.

        Raises:
            ArchiveInvalid, DataMissing: no readable archive.
            UnknownName: the archive has no such modality.
            ContractMismatch: the images of a modality contain different offsets, or two modalities share a band.
        """
        self.archive = open_archive(path)
        self._modalities = modality_name.split("+")
        self.contract = fuse([self.archive.contract(name) for name in self._modalities])
        self.form = fuse_forms([self.archive.form(name) for name in self._modalities])
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
    def identity(self) -> str:
        """Hash of the archive's checksums and of the chosen positions."""
        return self._identity(self._indices)

    def identity_of(self, ids: Sequence[str]) -> str:
        """Give the identity that these locations of the archive have; empty where it lacks one."""
        positions = {name: position for position, name in enumerate(self.archive.ids)}
        if not positions.keys() >= set(ids):
            return ""
        return self._identity(np.array([positions[name] for name in ids], np.int64))

    def _identity(self, indices: NDArray[np.int64]) -> str:
        digest = hashlib.sha256((self.archive.path / CHECKSUMS).read_bytes())
        digest.update("+".join(self._modalities).encode() + np.ascontiguousarray(indices, dtype="<i8").tobytes())
        return digest.hexdigest()

    @property
    def num_seasons(self) -> int:
        """Number of dates of every location."""
        return self.archive.num_seasons

    @property
    def num_held(self) -> int:
        """Number of locations of the archive, those that are left out among them."""
        return len(self.archive)

    @property
    def is_part(self) -> bool:
        """Say whether locations of the archive are left out."""
        return len(self) < self.num_held

    def __len__(self) -> int:
        """Count the locations."""
        return len(self._indices)

    def blank(self) -> list[tuple[str, int]]:
        """List the images, as id and season, that show nothing but zeros; only those that packing flagged are read."""
        flagged = sorted({place for name in self._modalities for place in self.archive.flagged(name)})
        items = {int(location): item for item, location in enumerate(self._indices)}
        mine = [(items[location], season) for location, season in flagged if location in items]
        return [
            (self.id_of(i), season) for i, season in mine if not any(p.any() for p in self.pixels(i, season).values())
        ]

    def id_of(self, index: int) -> str:
        """Give the id of a location."""
        return self.archive.ids[int(self._indices[index])]

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read one location and season at native resolution; bands of several modalities part after part."""
        location = int(self._indices[index])
        if len(self.form.parts) == 1:
            return self.archive.read_pixels(self._modalities[0], index=location, season=season, resolutions=resolutions)
        wanted = [r for r, _ in self.form.groups if resolutions is None or r in resolutions]
        reads = [
            self.archive.read_pixels(
                part.modality, index=location, season=season, resolutions=[r for r in wanted if r in part.resolutions]
            )
            for part in self.form.parts
        ]
        return {r: np.concatenate([read[r] for read in reads if r in read], dtype=self.form.dtype) for r in wanted}
