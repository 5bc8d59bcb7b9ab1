# SPDX-License-Identifier: Apache-2.0
"""Pictures of several bands, one file an item (GeoTIFF, PNG, JPEG), as a source of pixels whose contract is told.

Read one by one when they are asked for; bands come in canonical order, values as stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.picture import Kind, as_unsigned, in_canonical_order, read_picture
from ssl4eo.contract import Contract
from ssl4eo.form import Form
from ssl4eo.sensors import modality


class PicturePixels:
    """Pictures of one size, type and number of bands as a source with one season.

    int16 digital numbers are read as uint16 of the same values; what is below zero is refused.
    """

    synthetic = False
    num_seasons = 1

    def __init__(self, root: Path, files: Sequence[str], *, title: str, contract: Contract, kind: Kind) -> None:
        """Take files; nothing is read.

        Args:
            root: folder that they lie in.
            files: paths below the root.
            title: what they are.
            contract: what their values mean, bands in the order of the files.
            kind: size, type and number of bands that each must have.

        Raises:
            ConfigInvalid: values of this type cannot be of the contract's modality and scaling.
        """
        self.root = root
        self.files = tuple(files)
        self.title = title
        self._kind = kind
        self._file_bands = contract.bands
        ordered = tuple(band for band in modality(contract.modality).bands if band in contract.bands)
        self.contract: Contract = replace(contract, bands=ordered)
        dtype = "uint16" if kind.dtype == "int16" else kind.dtype
        self.form = Form.gridded(contract.modality, bands=ordered, dtype=dtype, scaling=contract.scaling)

    @property
    def identity(self) -> str:
        """Hash of contract, names and sizes."""
        rows = [str(self.contract), *(f"{file} {(self.root / file).stat().st_size}" for file in self.files)]
        return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.files)

    def id_of(self, index: int) -> str:
        """Give the path of a picture below the folder."""
        return self.files[index]

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read a picture: (band, y, x) on the finest grid of its modality.

        Raises:
            SourceInvalid: it is missing, unreadable, of another size, type or number of bands, describes other bands
                or is below zero.
        """
        del season, resolutions  # a picture has one date and one grid
        further = ("uint16", "int16") if self._kind.dtype in ("uint16", "int16") else ()
        picture = read_picture(self.root / self.files[index], self._kind, dtypes=further)
        ordered = in_canonical_order(picture, self.contract.modality, self._file_bands, is_stated=True)
        return {self.form.base: as_unsigned(ordered, picture.path)}
