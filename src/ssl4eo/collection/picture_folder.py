# SPDX-License-Identifier: Apache-2.0
"""Any folder of equally sized pictures as a source: flat, or with one folder a class; GeoTIFF, PNG and JPEG.

Every picture is a location with one season, all bands on one grid. What the bands are the user states, unless the
files tell: 8-bit red, green, blue is S2RGB, and descriptions that fit exactly one modality are believed.
The usual size, type and number of bands is that of most files; others are refused one by one. Nothing tells a time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ssl4eo.collection.offset import check_option, settle_offset, tagged_offset, unstated
from ssl4eo.collection.picture import (
    FORMATS,
    Header,
    Kind,
    as_unsigned,
    in_canonical_order,
    look,
    named_bands,
    read_picture,
    spell_band,
    usual_kind,
)
from ssl4eo.collection.product_folders import first_entries
from ssl4eo.collection.products import FOLDERS, is_id
from ssl4eo.collection.source import Provenance
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid, unknown_name
from ssl4eo.form import DTYPES, Form
from ssl4eo.sample import ID_PATTERN, Image, Location, Sample
from ssl4eo.sensors import MODALITIES, RGB
from ssl4eo.sensors import modality as known_modality

log = logging.getLogger(__name__)

_ID = re.compile(ID_PATTERN)
_COLORS = ("red", "green", "blue")


def is_picture_folder(root: Path) -> bool:
    """Say whether a folder holds pictures, or folders with pictures that are not locations of another layout."""
    entries = first_entries(root)
    classes = [e for e in entries if e.is_dir() and e.name not in FOLDERS and not is_id(e.name)]
    return any(is_picture(e) for e in entries) or any(is_picture(e) for c in classes for e in first_entries(c))


def is_picture(path: Path) -> bool:
    """Say whether a name is that of a picture."""
    return path.suffix.lower() in FORMATS and not path.name.startswith(".") and path.is_file()


class PictureFolder:
    """Pictures of a folder.

    Args:
        root: the folder.
        modality: what the pictures are of; None where the files tell.
        bands: in file order, in any known spelling; None where the files tell.
        offset: that Sentinel-2 values contain, 0 or 1000 [DN]; None where the tags of every file tell.
        provenance: of a known data set; None for what the folder tells.

    Raises:
        DataMissing: no such folder, or no pictures in it.
        ConfigInvalid: the options are missing, do not fit the files or each other.
        SourceInvalid: pictures both in the folder and in folders below, or not a single one can be read.
        UnknownName: no such modality or band.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        modality: str | None = None,
        bands: Sequence[str] | None = None,
        offset: int | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        self.root = Path(root)
        self.num_seasons = 1
        self._offset = offset
        self._provenance = provenance
        check_option(offset)
        paths = [self.root / file for file in self._files.values()]
        self._kind = usual_kind(paths)
        self.shape = (self._kind.height, self._kind.width)
        path, header = _typical(paths, self._kind)
        name, self._bands, self._is_named = _settle_bands(path, header, modality, bands)
        self._form = Form.gridded(name, bands=self._bands, dtype=_stored_dtype(name, self._kind.dtype))
        is_dn = known_modality(name).unit == "DN"
        if is_dn and offset is None and tagged_offset(header.tags) is None:
            raise unstated([(read_picture(path, self._kind, fill=True), self._bands)])

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, as far as anybody tells."""
        return self._provenance or Provenance(
            title=f"folder of pictures {self.root.absolute().name}",
            synthetic=False,
            licence="that of the pictures",
            details={"root": self.root.absolute().name},
        )

    @property
    def forms(self) -> tuple[Form, ...]:
        """All bands on one grid."""
        return (self._form,)

    @property
    def masks(self) -> Mapping[str, bool]:
        """None."""
        return {}

    @cached_property
    def _files(self) -> dict[str, str]:
        """By id the path of a picture below the root."""
        files = _list_files(self.root)
        counts = Counter(Path(file).stem for file in files)
        return {_make_id(file, is_unique=counts[Path(file).stem] == 1): file for file in files}

    def ids(self) -> Sequence[str]:
        """List the ids, in the order of paths: names without suffix where these are unique and valid."""
        return tuple(self._files)

    def read(self, location: str) -> Sample:
        """Read one picture; labels are its path `file` and, where there are class folders, `class`.

        What the file says was not observed is 0 and the image is not valid; labels `nodata_<modality>` and
        `unobserved_<modality>` tell what stood there and in which share of the pixels.

        Raises:
            LocationMissing: there is no such id.
            SourceInvalid: it cannot be read, is of another size, type or number of bands, describes other bands, is
                below zero, or contradicts the offset.
        """
        if location not in self._files:
            raise LocationMissing(f"no location {location}", expected="an id out of ids()", location=location)
        file = self._files[location]
        name = self._form.modality
        is_dn = known_modality(name).unit == "DN"
        picture = read_picture(self.root / file, self._kind, dtypes=("uint16", "int16") if is_dn else (), fill=True)
        if self._is_named and named_bands(picture.header, name, picture.path) is None:
            raise SourceInvalid(
                f"{picture.path} does not describe its bands", expected="descriptions, as the first file has"
            )
        ordered = in_canonical_order(picture, name, self._bands, is_stated=not self._is_named)
        pixels = as_unsigned(ordered, picture.path)
        image = Image(
            name,
            {self._form.base: pixels},
            product=Path(file).stem,
            crs=picture.header.crs,
            transform=picture.header.transform,
            offset=settle_offset(self._offset, picture, pixels, self._form.bands) if is_dn else 0,
            kept=self._form,
            valid=picture.gaps is None,
        )
        lon, lat = picture.centre or (None, None)
        text = os.fsencode(file).decode("utf-8", "backslashreplace")  # names need not be text; columns are
        folder, _, _ = text.rpartition("/")
        labels: dict[str, int | float | str] = {"file": text, "class": folder} if folder else {"file": text}
        if picture.gaps is not None:
            labels |= picture.gaps.labels(name)
        return Sample(Location(location, lon, lat), {name: (image,)}, labels)


def _list_files(root: Path) -> list[str]:
    """List pictures by their paths below the root, sorted."""
    if not root.is_dir():
        raise DataMissing(f"there is no folder {root}", expected="a folder of pictures", path=str(root))
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    flat = [entry.name for entry in entries if is_picture(entry)]
    classes = [entry for entry in entries if entry.is_dir()]
    nested = [f"{c.name}/{entry.name}" for c in classes for entry in sorted(c.iterdir()) if is_picture(entry)]
    if flat and nested:
        raise SourceInvalid(
            f"{root} holds pictures ({flat[0]}) and folders with pictures ({nested[0]})",
            expected="the one or the other",
            remedy="name one of the folders",
            path=str(root),
        )
    if not flat and not nested:
        raise DataMissing(
            f"{root} holds no pictures, nor do its folders",
            expected=f"files {', '.join(FORMATS)}",
            remedy="name the folder that holds the pictures or the class folders",
            path=str(root),
        )
    return flat or nested


def _make_id(file: str, *, is_unique: bool) -> str:
    """Make an id of the name of a file; one that is invalid or not alone gets a part of the path's hash."""
    stem = Path(file).stem
    if is_unique and _ID.fullmatch(stem):
        return stem
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", stem).lstrip("._-")[:110] or "picture"
    return f"{safe}-{hashlib.sha256(file.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def _typical(paths: Sequence[Path], kind: Kind) -> tuple[Path, Header]:
    """Find the first picture of a kind."""
    for path in paths:
        try:
            header = look(path)
        except SourceInvalid:
            continue
        if header.kind == kind:
            return path, header
    raise AssertionError("the usual kind is that of some file")


def _settle_bands(
    path: Path, header: Header, modality: str | None, bands: Sequence[str] | None
) -> tuple[str, tuple[str, ...], bool]:
    """Give modality and bands in file order, and whether descriptions in the files told them."""
    if bands is not None:
        return _stated_bands(path, header, modality, bands)
    is_rgb = header.kind.dtype == "uint8" and header.colors == _COLORS
    if modality in (None, "S2RGB") and is_rgb:
        return "S2RGB", RGB, False
    candidates = MODALITIES if modality is None else {known_modality(modality).name: None}
    found = {name: named for name in candidates if (named := _described(path, header, name)) is not None}
    if len(found) == 1:
        return *next(iter(found.items())), True
    described = ", ".join(name or "(nothing)" for name in header.names)
    raise ConfigInvalid(
        f"{path} has {header.kind}, described as {described}"
        + (f", which fits {' and '.join(found)}" if found else ""),
        expected="to be told what the bands are",
        remedy="state --modality and --bands in file order, such as --modality S2L2A --bands B2 B3 B4 B8",
    )


def _described(path: Path, header: Header, name: str) -> tuple[str, ...] | None:
    """Give the bands of a modality that the descriptions name, None where they or the type do not fit."""
    if _fitting_dtype(name, header.kind.dtype) is None:
        return None
    try:
        return named_bands(header, name, path)
    except SourceInvalid:
        return None


def _stated_bands(
    path: Path, header: Header, modality: str | None, bands: Sequence[str]
) -> tuple[str, tuple[str, ...], bool]:
    if modality is None:
        raise ConfigInvalid("bands without a modality", expected="both", remedy="state --modality, such as S2L2A")
    known = known_modality(modality)
    spelled = [(band, spell_band(modality, band)) for band in bands]
    for band, name in spelled:
        if name is None:
            raise unknown_name(f"band of {modality}", band, known.bands)
    names = tuple(name for _, name in spelled if name is not None)
    if len(set(names)) != len(names) or len(names) != header.kind.count:
        raise ConfigInvalid(
            f"{len(names)} bands ({' '.join(names)}) for {path} with {header.kind}",
            expected="each band of the file once, in file order",
        )
    return modality, names, False


def _fitting_dtype(name: str, dtype: str) -> str | None:
    """Give the type that values of a file are stored in, None where they cannot be of this modality."""
    stored = "uint16" if dtype == "int16" else dtype
    return stored if stored in DTYPES[known_modality(name).unit] else None


def _stored_dtype(name: str, dtype: str) -> str:
    stored = _fitting_dtype(name, dtype)
    if stored is None:
        unit = known_modality(name).unit
        raise ConfigInvalid(
            f"pictures of type {dtype} for {name}",
            expected=f"{' or '.join(DTYPES[unit])} ({unit})",
            remedy=_remedy(unit, dtype),
        )
    return stored


def _remedy(unit: str, dtype: str) -> str:
    """Say how pictures of another type become what an archive holds."""
    if dtype == "uint8":
        return "8-bit pictures in red, green, blue are S2RGB"
    if unit == "DN" and dtype.startswith("float"):
        return (
            "multiply reflectance of 0 to 1 by 10,000, round, write it as uint16, 0 where there is nothing, and state "
            "--offset 0: at most half a step of the product's own is lost"
        )
    return ""
