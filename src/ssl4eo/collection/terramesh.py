# SPDX-License-Identifier: Apache-2.0
"""TerraMesh as GeoTIFF files as a source: `<root>/{S1RTC,S1GRD,S2L1C,S2L2A,S2RGB}/<id>.tif`, labels beside them.

One season; all bands of a modality in one file on the 10 m grid, Sentinel-2 as int16, Sentinel-1 in dB. Other folders
with 8-bit files of one band and the same names, such as LULC, become masks. Files of one id must lie on one grid.
Scenes differ in whether they contain the +1000 DN, even L1C and L2A of one id do: see offset.py for what that means.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.offset import check_option, settle_offset, tagged_offset, unstated
from ssl4eo.collection.picture import (
    Header,
    Kind,
    Picture,
    as_unsigned,
    in_canonical_order,
    read_picture,
    usual_kind,
)
from ssl4eo.collection.product_folders import choose_folders, first_entries, invalid
from ssl4eo.collection.source import Provenance
from ssl4eo.errors import LocationMissing, SourceInvalid
from ssl4eo.form import Form
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import modality

log = logging.getLogger(__name__)

MODALITIES = ("S1RTC", "S1GRD", "S2L1C", "S2L2A", "S2RGB")
"""Modalities that TerraMesh has folders of, by the same names."""

_EVIDENCE = 2
"""Files a modality that an error about the offset tells of."""


def is_terramesh(root: Path) -> bool:
    """Say whether a folder has GeoTIFF files directly in a folder that is called like a modality of TerraMesh."""
    return any(_is_tif(entry) for name in MODALITIES for entry in first_entries(root / name))


def _is_tif(path: Path) -> bool:
    return path.suffix.lower() == ".tif" and path.is_file()


class TerraMesh:
    """Locations of TerraMesh.

    Args:
        root: folder that holds the folders of the modalities.
        modalities: those to read, None for all that are there.
        offset: that the Sentinel-2 values contain, 0 or 1000 [DN]; None where the tags of every file tell.

    Raises:
        DataMissing: no such folder, or none of the modalities in it.
        ConfigInvalid: the offset is not stated and the files do not tell it, or it is neither 0 nor 1000.
        SourceInvalid: not a single file can be read.
        UnknownName: a modality that TerraMesh does not have.
    """

    def __init__(self, root: Path | str, *, modalities: Sequence[str] | None = None, offset: int | None = None) -> None:
        self.root = Path(root)
        self.offset = offset
        self.num_seasons = 1
        check_option(offset)
        self._folders = choose_folders(self.root, {name: self.root / name for name in MODALITIES}, modalities)
        self.modalities = tuple(self._folders)
        first = self.modalities[0]
        kind = usual_kind(self._files(first))
        self.shape = (kind.height, kind.width)
        self.forms = tuple(Form.gridded(name) for name in self.modalities)
        self.masks: Mapping[str, bool] = self._find_masks()
        if offset is None:
            self._require_offset()

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from."""
        details: dict[str, str | int] = {"root": self.root.absolute().name}
        if self.offset is not None:
            details["stated_offset"] = self.offset
        return Provenance(
            title="TerraMesh",
            synthetic=False,
            licence="that of the source: CC-BY-SA-4.0 for TerraMesh as published; contains Copernicus Sentinel data",
            details=details,
        )

    def _files(self, name: str) -> list[Path]:
        return sorted(path for path in (self.root / name).iterdir() if _is_tif(path) and path.name[0] != ".")

    def _require_offset(self) -> None:
        evidence: list[tuple[Picture, Sequence[str]]] = []
        for name in self.modalities:
            if modality(name).unit == "DN":
                readable = (picture for path in self._files(name) if (picture := self._try(name, path)) is not None)
                evidence += [(picture, modality(name).bands) for picture in islice(readable, _EVIDENCE)]
        if any(tagged_offset(picture.header.tags) is None for picture, _ in evidence):
            raise unstated(evidence)

    def _try(self, name: str, path: Path) -> Picture | None:
        try:
            return self._read(name, path)
        except SourceInvalid:
            return None

    def _find_masks(self) -> dict[str, bool]:
        """Find the folders of labels; they have one plane for all seasons."""
        found: dict[str, bool] = {}
        for folder in sorted(path for path in self.root.iterdir() if path.is_dir() and path.name not in MODALITIES):
            if self._is_labels(folder):
                found[folder.name] = False
            elif not folder.name.startswith("."):
                log.warning("%s is left out: it is neither a modality nor 8-bit labels of the same size", folder)
        return found

    def _is_labels(self, folder: Path) -> bool:
        try:
            return usual_kind(self._files(folder.name)) == Kind(1, *self.shape, "uint8")
        except SourceInvalid:
            return False

    @cached_property
    def _ids(self) -> tuple[str, ...]:
        return tuple(sorted({path.stem for name in self.modalities for path in self._files(name)}))

    def ids(self) -> Sequence[str]:
        """List the names of files that any modality has, ascending."""
        return self._ids

    def read(self, location: str) -> Sample:
        """Read all modalities and masks of one location.

        Raises:
            LocationMissing: there is no such id.
            SourceInvalid: a file is missing, unreadable, of another size, type or number of bands, on another grid
                than the others, below zero, or contradicts the offset.
        """
        if location not in self._ids:
            raise LocationMissing(f"no location {location}", expected="an id out of ids()", location=location)
        pictures = {name: self._read(name, self.root / name / f"{location}.tif") for name in self.modalities}
        labels = {name: self._read(name, self.root / name / f"{location}.tif") for name in self.masks}
        _require_one_grid(location, {**pictures, **labels})
        images = {name: (self._image(name, picture),) for name, picture in pictures.items()}
        masks = {name: np.asarray(picture.pixels[0], np.uint8) for name, picture in labels.items()}
        points = [point for picture in pictures.values() if (point := picture.centre) is not None]
        lon, lat = points[0] if points else (None, None)
        gaps = {name: picture.gaps for name, picture in pictures.items() if picture.gaps is not None}
        facts = {label: value for name, gap in gaps.items() for label, value in gap.labels(name).items()}
        return Sample(Location(location, lon, lat), images, labels=facts, masks=masks)

    def _read(self, name: str, path: Path) -> Picture:
        if name in self.modalities:
            known = modality(name)
            kind = Kind(len(known.bands), *self.shape, known.dtype)
            return read_picture(path, kind, dtypes=("int16",) if known.unit == "DN" else (), fill=True)
        return read_picture(path, Kind(1, *self.shape, "uint8"))

    def _image(self, name: str, picture: Picture) -> Image:
        form = Form.gridded(name)
        ordered = in_canonical_order(picture, name, modality(name).bands)
        pixels: NDArray[np.generic] = as_unsigned(ordered, picture.path)
        is_dn = modality(name).unit == "DN"
        return Image(
            name,
            {form.base: pixels},
            time=_time(picture.header),
            product=picture.path.stem,
            crs=picture.header.crs,
            transform=picture.header.transform,
            offset=settle_offset(self.offset, picture, pixels, form.bands) if is_dn else 0,
            kept=form,
            valid=picture.gaps is None,
        )


def _require_one_grid(location: str, pictures: Mapping[str, Picture]) -> None:
    """Raise where files of one location say that they lie elsewhere; those that do not say are believed."""
    places = {
        name: (picture.header.crs, picture.header.transform)
        for name, picture in pictures.items()
        if picture.header.transform is not None
    }
    if len(set(places.values())) > 1:
        listed = "; ".join(f"{name} {crs} {transform}" for name, (crs, transform) in places.items())
        raise invalid(location, f"files on several grids ({listed})", "one grid", "leave out the one that is elsewhere")


def _time(header: Header) -> dt.datetime | None:
    """Read the tag `datetime`, as TerraMesh writes it: ISO 8601 in UTC, with nanoseconds."""
    try:
        time = dt.datetime.fromisoformat(header.tags.get("datetime", "")[:26])
    except ValueError:
        return None
    return time.replace(tzinfo=dt.UTC) if time.tzinfo is None else time.astimezone(dt.UTC)
