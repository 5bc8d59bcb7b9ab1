# SPDX-License-Identifier: Apache-2.0
"""The compressed 8-bit release of SSL4EO-S12 as a source: GeoTIFF files with JPEG (quality 75) inside.

    <root>/{s1,s2c,s2a}/<id>/<product>/<band>.tif         one band a file, at native size or all of 264 px
    <root>/{s1,s2c,s2a}/<id>/<product>/all_bands.tif      all bands at 264 px
    <root>/{s1,s2c,s2a}/<id>/<product>.tif                the same

Which of these it is, the first readable product of each modality tells. The values are those that JPEG gives back,
kept as the 8-bit form that they were made by; the files do not say which that was, so it is an option with the
published default, and a wrong one cannot be found out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.picture import Kind, Picture, in_canonical_order, look, read_picture
from ssl4eo.collection.product_folders import (
    ProductFolders,
    choose_folders,
    first_entries,
    first_locations,
    product_name,
    sentinel_time,
)
from ssl4eo.collection.products import FOLDERS
from ssl4eo.collection.published import VOID_IDS
from ssl4eo.collection.source import Provenance
from ssl4eo.eightbit import require_rule
from ssl4eo.errors import SourceInvalid
from ssl4eo.form import Form
from ssl4eo.grid import BASE_RESOLUTION, size_at
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import PATCH_SIZE_M, modality, published_band

_SIZE = PATCH_SIZE_M // BASE_RESOLUTION
ALL_BANDS = "all_bands.tif"
RULE = "uint8_sigma2:published_rounded"
"""The 8-bit rule that the release is described by."""


def is_compressed(root: Path) -> bool:
    """Say whether a folder has the folders of the raw layout with 8-bit files in them.

    Where the names are those of the raw layout the header of a file decides.
    """
    for folder in FOLDERS:
        for place in first_locations(root / folder):
            for product in first_entries(place):
                if _is_tif(product) or (product / ALL_BANDS).is_file():
                    return True
                kinds = {_dtype(entry) for entry in first_entries(product) if _is_tif(entry)} - {""}
                if kinds:
                    return kinds == {"uint8"}
    return False


def _dtype(path: Path) -> str:
    try:
        return look(path).kind.dtype
    except SourceInvalid:
        return ""


def _is_tif(path: Path) -> bool:
    return path.suffix.lower() == ".tif" and path.is_file()


def _is_product(path: Path) -> bool:
    return path.is_dir() or _is_tif(path)


class CompressedLayout:
    """Locations of the compressed 8-bit release.

    Args:
        root: folder that holds s1, s2c, s2a or some of them.
        num_seasons: products that each location must have, 4 as published; None for the most common number found.
        modalities: those to read, None for all that have a folder.
        rule: 8-bit rule that the values were made by, see eightbit.RULES.

    Raises:
        DataMissing: no such folder, or none of the modalities in it.
        ConfigInvalid: fewer than one season asked for, or no modality.
        UnknownName: a modality that the layout does not have, or no such rule.
        ContractMismatch: a rule that does not fit one of the modalities, such as uint8_10k for Sentinel-1.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        num_seasons: int | None = None,
        modalities: Sequence[str] | None = None,
        rule: str = RULE,
    ) -> None:
        self.root = Path(root)
        self.rule = rule
        require_rule(rule)
        folders = choose_folders(self.root, {name: self.root / f for f, name in FOLDERS.items()}, modalities)
        self.modalities = tuple(folders)
        self.shape = (_SIZE, _SIZE)
        for name in self.modalities:
            Form.gridded(name, scaling=rule)  # refuses a rule that does not fit
        self._folders = ProductFolders(
            folders, is_product=_is_product, time_of=sentinel_time, num_seasons=num_seasons, void=VOID_IDS
        )

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, and what they went through."""
        return Provenance(
            title="compressed 8-bit release of SSL4EO-S12 v1",
            synthetic=False,
            licence="that of the source: CC-BY-4.0 for SSL4EO-S12 as published; contains Copernicus Sentinel data",
            details={"root": self.root.absolute().name, "compression": "lossy JPEG, quality 75", "rule": self.rule},
        )

    @property
    def forms(self) -> tuple[Form, ...]:
        """The 8-bit form of each modality, at native resolution or on one grid as its files are."""
        return tuple(self._forms.values())

    @cached_property
    def _forms(self) -> dict[str, Form]:
        return {name: self._form(name) for name in self.modalities}

    def _form(self, name: str) -> Form:
        native = Form.native(name)
        for product in self._folders.some_products(name):
            if _is_tif(product) or (product / ALL_BANDS).is_file():
                break
            try:
                kind = look(_band_file(product, native.groups[-1][1][0])).kind
            except SourceInvalid:
                continue
            if kind.width < _SIZE:
                return Form(name, native.groups, "uint8", self.rule)
            break
        return Form.gridded(name, scaling=self.rule)

    @property
    def masks(self) -> Mapping[str, bool]:
        """None."""
        return {}

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        return self._folders.num_seasons

    def ids(self) -> Sequence[str]:
        """List the ids of 7 digits that any modality has a folder for, ascending, without the void ones."""
        return self._folders.ids

    def read(self, location: str) -> Sample:
        """Read all seasons of all modalities of one location.

        Raises:
            LocationMissing: no modality has this id, or it is void.
            SourceInvalid: a folder, season or band is missing, double, unreadable or of another size or type.
        """
        self._folders.require(location)
        images: dict[str, tuple[Image, ...]] = {}
        points: list[tuple[float, float]] = []
        for name in self.modalities:
            row: list[Image] = []
            for time, path in self._folders.products(name, location):
                pixels, first = _read_product(path, self._forms[name])
                row.append(
                    Image(
                        name,
                        pixels,
                        time=time,
                        product=product_name(path),
                        crs=first.header.crs,
                        transform=first.header.transform,
                        kept=self._forms[name],
                    )
                )
                points += [first.centre] if first.centre is not None else []
            images[name] = tuple(row)
        lon, lat = points[0] if points else (None, None)
        return Sample(Location(location, lon, lat), images)


def _read_product(product: Path, form: Form) -> tuple[dict[int, NDArray[np.generic]], Picture]:
    """Read all bands of a product, by resolution, and its first file."""
    whole = product if _is_tif(product) else product / ALL_BANDS
    if whole.is_file():
        if len(form.groups) > 1:
            raise SourceInvalid(
                f"{whole} has all bands on one grid",
                expected="one file a band at native size, as the first product has",
                remedy="pack the two kinds apart",
                path=str(whole),
            )
        bands = modality(form.modality).bands
        picture = read_picture(whole, Kind(len(bands), _SIZE, _SIZE, "uint8"))
        return {form.base: in_canonical_order(picture, form.modality, bands)}, picture
    pixels: dict[int, NDArray[np.generic]] = {}
    first: Picture | None = None
    for resolution, bands in form.groups:
        size = size_at(resolution, _SIZE)
        read = [read_picture(_band_file(product, band), Kind(1, size, size, "uint8")) for band in bands]
        pixels[resolution] = np.concatenate([picture.pixels for picture in read])
        first = first or read[0]
    assert first is not None, "every modality has bands"
    return pixels, first


def _band_file(product: Path, band: str) -> Path:
    return product / f"{published_band(band)}.tif"
