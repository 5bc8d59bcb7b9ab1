# SPDX-License-Identifier: Apache-2.0
"""Reads pictures that are all of one kind into images, for any source that is made of such files.

What the bands are the user states, unless the files tell: 8-bit red, green, blue is S2RGB, and descriptions that fit
exactly one modality are believed. The usual size, type and number of bands is that of most files; others are refused
one by one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl4eo.collection.gaps import Gaps
from ssl4eo.collection.offset import check_option, settle_offset, tagged_offset, unstated
from ssl4eo.collection.picture import (
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
from ssl4eo.errors import ConfigInvalid, SourceInvalid, unknown_name
from ssl4eo.form import DTYPES, Form
from ssl4eo.sample import Image
from ssl4eo.sensors import MODALITIES, RGB
from ssl4eo.sensors import modality as known_modality

_COLORS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Reading:
    """What a file gives."""

    image: Image
    centre: tuple[float, float] | None
    """Longitude and latitude [deg], None where the file does not place it on Earth."""
    gaps: Gaps | None
    """What the file says was not observed, None where that is nothing."""


class PictureReader:
    """Makes images of files.

    Args:
        paths: of all files; some are looked at to find what is usual.
        modality: what they are of; None where they tell.
        bands: in file order, in any known spelling; None where the files tell.
        offset: that Sentinel-2 values contain, 0 or 1000 [DN]; None where the tags of every file tell.

    Raises:
        ConfigInvalid: the options are missing, do not fit the files or each other.
        SourceInvalid: not a single file can be read.
        UnknownName: no such modality or band.
    """

    def __init__(
        self, paths: Sequence[Path], *, modality: str | None, bands: Sequence[str] | None, offset: int | None
    ) -> None:
        self._offset = offset
        check_option(offset)
        self._kind = usual_kind(paths)
        self.shape = (self._kind.height, self._kind.width)
        path, header = _typical(paths, self._kind)
        name, self._bands, self._is_named = _settle_bands(path, header, modality, bands)
        self.form = Form.gridded(name, bands=self._bands, dtype=_stored_dtype(name, self._kind.dtype))
        is_dn = known_modality(name).unit == "DN"
        if is_dn and offset is None and tagged_offset(header.tags) is None:
            raise unstated([(read_picture(path, self._kind, fill=True), self._bands)])

    def read(self, path: Path, *, time: dt.datetime | None = None) -> Reading:
        """Read one file.

        What it says was not observed is 0 and the image is not valid.

        Args:
            path: of the file; its name without suffix is that of the product.
            time: of the acquisition [UTC], None where nobody tells.

        Raises:
            SourceInvalid: it cannot be read, is of another size, type or number of bands, describes other bands, is
                below zero, or contradicts the offset.
        """
        name = self.form.modality
        is_dn = known_modality(name).unit == "DN"
        picture = read_picture(path, self._kind, dtypes=("uint16", "int16") if is_dn else (), fill=True)
        if self._is_named and named_bands(picture.header, name, path) is None:
            raise SourceInvalid(f"{path} does not describe its bands", expected="descriptions, as the first file has")
        ordered = in_canonical_order(picture, name, self._bands, is_stated=not self._is_named)
        pixels = as_unsigned(ordered, path)
        image = Image(
            name,
            {self.form.base: pixels},
            time=time,
            product=path.stem,
            crs=picture.header.crs,
            transform=picture.header.transform,
            offset=settle_offset(self._offset, picture, pixels, self.form.bands) if is_dn else 0,
            kept=self.form,
            valid=picture.gaps is None,
        )
        return Reading(image, picture.centre, picture.gaps)


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
    described = ", ".join(name or "(nothing)" for name in header.names) if any(header.names) else "nothing"
    raise ConfigInvalid(
        f"{path} has {header.kind}, described as {described}"
        + (f", which fits {' and '.join(found)}" if found else ""),
        expected="to be told what the bands are",
        remedy=f"state {'--modality and ' if modality is None else ''}--bands in file order, such as "
        f"--modality {modality or 'S2L2A'} --bands {_example(modality, header.kind.count)}",
    )


def _example(modality: str | None, count: int) -> str:
    """Name bands as a user would have to: all of them where the number fits."""
    known = known_modality(modality or "S2L2A").bands
    return " ".join(known if len(known) == count else known[:count])


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
            "multiply reflectance of 0 to 1 by 10,000 and state --offset 0, leave digital numbers as they are; round, "
            "write uint16, 0 where there is nothing: at most half a step of the product's own is lost"
        )
    return ""
