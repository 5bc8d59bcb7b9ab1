# SPDX-License-Identifier: Apache-2.0
"""Patches as folders of single-band GeoTIFFs, `<patch>/<patch>_<band>.tif`, as a source of pixels.

BigEarthNet keeps them so, in version 2 below a folder for each scene. Files are opened when their pixels are asked
for; each must have the type and the size of its band.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.geotiff import read_band
from ssl4eo.contract import fuse, stored
from ssl4eo.form import Form, fuse_forms
from ssl4eo.grid import size_at
from ssl4eo.sensors import modality

_THREADS = 16
"""Looking into folders waits for the disk."""


def names_in(folder: Path) -> set[str]:
    """List a folder of half a million patches in a second: names only, no file is looked at."""
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


@dataclass(frozen=True)
class Patches:
    """Patches of one modality below a folder, in order."""

    modality: str
    folder: Path
    names: tuple[str, ...]
    scene_fields: int = 0
    """A patch lies in the folder of its scene, whose name is the patch's without so many last `_` fields; 0: it does
    not."""

    def path(self, name: str, ending: str) -> Path:
        """Give the path of `<name>_<ending>`."""
        folder = self.folder / name.rsplit("_", self.scene_fields)[0] if self.scene_fields else self.folder
        return folder / name / f"{name}_{ending}"

    def incomplete(self, *, labels: bool = False) -> set[str]:
        """List the patches that lack a file, or their folder: looks into every folder, a minute for half a million.

        Args:
            labels: whether the file of labels counts, too.
        """
        endings = [f"{band}.tif" for band in modality(self.modality).bands]
        endings += ["labels_metadata.json"] if labels else []

        def lacks(name: str) -> bool:
            try:
                held = names_in(self.path(name, "").parent)
            except OSError:
                return True
            return not all(f"{name}_{ending}" in held for ending in endings)

        with ThreadPoolExecutor(_THREADS) as pool:
            found = pool.map(lacks, self.names, chunksize=256)
            return {name for name, is_lacking in zip(self.names, found, strict=True) if is_lacking}

    def read(self, index: int, band: str, size: int) -> NDArray[np.generic]:
        """Read a band (y, x) whose modality has `size` px on its finest grid.

        Raises:
            SourceInvalid: the file is missing, unreadable, or of another type, size or number of bands.
        """
        known = modality(self.modality)
        file = self.path(self.names[index], f"{band}.tif")
        own = size_at(known.resolution(band), size, min(known.groups))
        return read_band(file, str(file), dtype=known.dtype, size=own).pixels


class PatchPixels:
    """Patches of one modality, or of several at the same place, as a source with one season."""

    synthetic = False
    num_seasons = 1

    def __init__(self, title: str, parts: Sequence[Patches], *, size: int) -> None:
        """Take patches without opening a file.

        Args:
            title: what they are.
            parts: one for each modality, of the same length and order.
            size: height and width on the finest grid [px].
        """
        assert len({len(part.names) for part in parts}) == 1
        self.title = title
        self.parts = tuple(parts)
        self.contract = fuse([stored(part.modality) for part in parts])
        self.form = fuse_forms([Form.native(part.modality) for part in parts])
        self._size = size

    @property
    def identity(self) -> str:
        """Hash of the names of all patches."""
        digest = hashlib.sha256()
        for part in self.parts:
            digest.update("\n".join((part.modality, *part.names, "")).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        """Count the patches."""
        return len(self.parts[0].names)

    def id_of(self, index: int) -> str:
        """Give the name of a patch, of its first modality."""
        return self.parts[0].names[index]

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read one patch at native resolution; bands of several modalities part after part.

        Raises:
            SourceInvalid: a file that is missing, unreadable, or of another type, size or number of bands.
        """
        del season  # a patch has one date
        wanted = [r for r, _ in self.form.groups if resolutions is None or r in resolutions]
        return {resolution: self._group(index, resolution) for resolution in wanted}

    def _group(self, index: int, resolution: int) -> NDArray[np.generic]:
        bands = [
            part.read(index, band, self._size)
            for part, form in zip(self.parts, self.form.parts, strict=True)
            for band in form.bands_at(resolution)
        ]
        return np.stack(bands, dtype=self.form.dtype)
