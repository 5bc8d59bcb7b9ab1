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

from ssl4eo.collection.offset import tagged_offset
from ssl4eo.collection.picture import Kind, Picture, as_unsigned, in_canonical_order, named_bands, read_picture
from ssl4eo.contract import Contract
from ssl4eo.errors import SourceInvalid
from ssl4eo.form import Form
from ssl4eo.sensors import modality


class PicturePixels:
    """Pictures of one size, type and number of bands as a source with one season.

    int16 digital numbers are read as uint16 of the same values; what is below zero is refused. What a file says of its
    own bands and offset must agree with the contract.
    """

    synthetic = False
    num_seasons = 1

    def __init__(
        self,
        root: Path,
        files: Sequence[str],
        *,
        title: str,
        contract: Contract,
        kind: Kind,
        by_description: bool = False,
    ) -> None:
        """Take files; nothing is read.

        Args:
            root: folder that they lie in.
            files: paths below the root.
            title: what they are.
            contract: what their values mean, bands in the order of the files.
            kind: size, type and number of bands that each must have.
            by_description: nobody but the files tells their contract, so each of them must, and in its own order.

        Raises:
            ConfigInvalid: values of this type cannot be of the contract's modality and scaling.
        """
        self.root = root
        self.files = tuple(files)
        self.title = title
        self._kind = kind
        self._by_description = by_description
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
                or another offset, or is below zero.
        """
        del season, resolutions  # a picture has one date and one grid
        further = ("uint16", "int16") if self._kind.dtype in ("uint16", "int16") else ()
        is_dn = self.contract.unit == "DN"  # decibels have no value for what nobody saw: 0 dB is a bright one
        picture = read_picture(self.root / self.files[index], self._kind, dtypes=further, fill=is_dn)
        name = self.contract.modality
        if self._by_description and named_bands(picture.header, name, picture.path) is None:
            raise SourceInvalid(
                f"{picture.path} does not describe its bands",
                expected=f"descriptions such as {' '.join(self._file_bands)}, as the other files have",
                remedy="mend the file, or tell what all files are in a contract.json",
                path=str(picture.path),
            )
        self._check_offset(picture)
        ordered = in_canonical_order(picture, name, self._file_bands, is_stated=not self._by_description)
        return {self.form.base: as_unsigned(ordered, picture.path)}

    def _check_offset(self, picture: Picture) -> None:
        if self.contract.unit != "DN":
            return
        told = tagged_offset(picture.header.tags)
        if told != self.contract.offset and (told is not None or self._by_description):
            raise SourceInvalid(
                f"{picture.path} " + ("does not tell its offset" if told is None else f"has tags of offset {told} DN"),
                expected=f"offset {self.contract.offset} DN",
                remedy="keep files of one offset only",
                path=str(picture.path),
            )
