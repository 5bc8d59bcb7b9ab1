# SPDX-License-Identifier: Apache-2.0
"""A picture of several bands in one file (GeoTIFF, PNG, JPEG), checked before its pixels are read.

Stands beside geotiff.py, which reads one band a file. Tells what the file says of itself and reads all of it or
nothing: a picture that ends early is an error here, not a gray lower half. It moves bands into canonical order by name
and changes no value; if asked to it puts 0 where a file says that nothing was observed (gaps.py). Price: the format is
that of the file's name, a PNG called .tif is refused.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ssl4eo.collection.gaps import Gaps, fill_gaps
from ssl4eo.collection.geotiff import Band, centre, spell_crs
from ssl4eo.collection.losses import require_all_blocks, watch_losses
from ssl4eo.errors import SourceInvalid, UnknownName
from ssl4eo.sample import Transform
from ssl4eo.sensors import canonical_band, modality

FORMATS: Mapping[str, str] = {".tif": "GTiff", ".tiff": "GTiff", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""GDAL drivers by suffix; no other driver is ever tried, as some follow links that a file contains."""

PROBES = 200
"""Files that are looked at to find what is usual in a folder."""


@dataclass(frozen=True)
class Kind:
    """What must be the same for all pictures of a source."""

    count: int
    """Number of bands."""
    height: int
    width: int
    dtype: str
    """NumPy name; several where bands differ, which nothing accepts."""

    def __str__(self) -> str:
        """Say it in words."""
        bands = f"{self.count} band{'' if self.count == 1 else 's'}"
        return f"{bands} of {self.height} x {self.width} px, {self.dtype}"


@dataclass(frozen=True)
class Header:
    """What a file says of its pixels."""

    kind: Kind
    names: tuple[str, ...]
    """Description of each band, empty where there is none."""
    colors: tuple[str, ...]
    """Colour of each band as the format has it, such as red."""
    tags: Mapping[str, str]
    crs: str
    """EPSG code or WKT, empty where the file has none."""
    transform: Transform | None


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels (band, y, x) of a file, in its own order, and what it says of them."""

    path: Path
    pixels: NDArray[np.generic]
    header: Header
    gaps: Gaps | None = None
    """What was not observed and is 0 therefore; None where nothing is known to be, or nobody asked."""

    @property
    def centre(self) -> tuple[float, float] | None:
        """Centre (lon, lat) [deg], None where the file does not place it on Earth."""
        return centre(Band(self.pixels[0], self.header.crs, self.header.transform))


def look(path: Path) -> Header:
    """Read what a file says of its pixels, without reading them.

    Raises:
        SourceInvalid: the file is missing or not of the format of its name.
    """
    with _opened(path) as file:
        return _header(file)


def read_picture(path: Path, kind: Kind, *, dtypes: Sequence[str] = (), fill: bool = False) -> Picture:
    """Read all bands of a file.

    Args:
        path: of the file.
        kind: what it must be.
        dtypes: further types that are accepted.
        fill: put 0 where a GeoTIFF says that nothing was observed, and tell what (`gaps`).

    Raises:
        SourceInvalid: the file is missing, unreadable, cut short, or of another size, type or number of bands.
    """
    with _opened(path) as file:
        header = _header(file)
        if replace(header.kind, dtype=kind.dtype) != kind or header.kind.dtype not in (kind.dtype, *dtypes):
            raise SourceInvalid(
                f"{path} has {header.kind}",
                expected=" or ".join([str(kind), *(dtype for dtype in dtypes if dtype != kind.dtype)]),
                remedy="fetch it again, or convert it to what the others are",
                path=str(path),
            )
        if file.driver == "PNG":
            _require_whole_png(path)
        pixels = _jpeg_pixels(path) if file.driver == "JPEG" else file.read()
        gaps = None
        if file.driver == "GTiff":
            if fill:  # first: GDAL gives blocks that were never written as nodata, and these must be found as well
                pixels, gaps = fill_gaps(file, pixels)
            require_all_blocks(file, pixels)
        return Picture(path, pixels, header, gaps)


def usual_kind(paths: Sequence[Path]) -> Kind:
    """Find the most common kind by looking at some files, spread evenly.

    Raises:
        SourceInvalid: none of them can be read.
    """
    counts: Counter[Kind] = Counter()
    error: SourceInvalid | None = None
    for path in paths[:: max(1, len(paths) // PROBES)]:
        try:
            counts[look(path).kind] += 1
        except SourceInvalid as broken:
            error = error or broken
    if not counts:
        raise error or SourceInvalid("no pictures", expected="one or more")
    return max(counts, key=lambda kind: (counts[kind], str(kind)))


@contextlib.contextmanager
def _opened(path: Path) -> Generator[Any]:
    if not path.is_file():
        raise SourceInvalid(f"no file {path}", expected="a picture", remedy="fetch it again", path=str(path))
    driver = FORMATS.get(path.suffix.lower(), "GTiff")
    try:
        with warnings.catch_warnings(), watch_losses() as losses:
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # then there is no transform: None says so
            with rasterio.open(path, driver=driver) as file:
                yield file
            if losses:
                raise OSError(losses[0])
    except UnicodeEncodeError as error:
        name = os.fsencode(path).decode("utf-8", "backslashreplace")
        raise SourceInvalid(
            f"{name} has a name that is no UTF-8, which GDAL cannot open",
            expected="a name of text",
            remedy="rename it",
            path=name,
        ) from error
    except (RasterioError, OSError) as error:
        if isinstance(error, SourceInvalid):
            raise
        raise SourceInvalid(
            f"{path} cannot be read ({error.__cause__ or error})",
            expected=f"a whole {driver.replace('GTiff', 'GeoTIFF')}",
            remedy="fetch it again",
            path=str(path),
        ) from error


def _require_whole_png(path: Path) -> None:
    """Check the checksums of all chunks: GDAL gives the lines that a cut-short PNG lacks as zeros, without a word."""
    try:
        with PIL.Image.open(path, formats=["PNG"]) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError) as error:
        raise SourceInvalid(
            f"{path} cannot be read ({error})", expected="a whole PNG", remedy="fetch it again", path=str(path)
        ) from error


def _jpeg_pixels(path: Path) -> NDArray[np.uint8]:
    """Decode a JPEG as Pillow, torchvision and OpenCV do: GDAL interpolates colours otherwise, 20 levels apart."""
    with PIL.Image.open(path, formats=["JPEG"]) as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _header(file: Any) -> Header:
    placed = file.crs is not None or not file.transform.is_identity
    a, b, c, d, e, f = file.transform[:6]
    return Header(
        kind=Kind(file.count, file.height, file.width, ", ".join(dict.fromkeys(file.dtypes))),
        names=tuple(name or "" for name in file.descriptions),
        colors=tuple(color.name for color in file.colorinterp),
        tags=file.tags(),
        crs=spell_crs(file.crs),
        transform=(a, b, c, d, e, f) if placed else None,
    )


def spell_band(modality_name: str, spelling: str) -> str | None:
    """Translate a foreign spelling into one of a modality's bands, None where it is none of them.

    >>> spell_band("S2L1C", "B8a"), spell_band("L8TOA", "b1"), spell_band("S2L2A", "B10")
    ('B8A', 'B1', None)
    """
    bands = modality(modality_name).bands
    if spelling.upper() in bands:
        return spelling.upper()
    try:
        name = canonical_band(spelling)
    except UnknownName:
        return None
    return name if name in bands else None


def named_bands(header: Header, modality_name: str, path: Path) -> tuple[str, ...] | None:
    """Give the bands that the descriptions in a file name, in file order; None where they name none.

    Raises:
        SourceInvalid: they name some bands of the modality and something else, or one twice.
    """
    found = [spell_band(modality_name, name) for name in header.names]
    names = tuple(name for name in found if name is not None)
    if not names:
        return None
    if len(set(names)) != len(header.names):
        raise SourceInvalid(
            f"{path} describes its bands as {', '.join(name or '(nothing)' for name in header.names)}",
            expected=f"distinct bands of {modality_name}, or no descriptions",
            remedy="mend the descriptions",
            path=str(path),
        )
    return names


def in_canonical_order(
    picture: Picture, modality_name: str, bands: Sequence[str], *, is_stated: bool = False
) -> NDArray[np.generic]:
    """Move the bands of a picture into canonical order.

    Args:
        picture: as it was read.
        modality_name: what it is of.
        bands: in file order, as its publisher or the user says; descriptions in the file tell a better order.
        is_stated: the user says so: then descriptions that say otherwise are refused.

    Raises:
        SourceInvalid: the file describes other bands.
    """
    named = named_bands(picture.header, modality_name, picture.path)
    if named is not None and (named != tuple(bands) if is_stated else set(named) != set(bands)):
        raise SourceInvalid(
            f"{picture.path} describes its bands as {' '.join(named)}",
            expected=" ".join(bands),
            remedy="state the bands that it has" if is_stated else "fetch it again, or mend the descriptions",
            path=str(picture.path),
        )
    order = list(named or bands)
    return picture.pixels[[order.index(b) for b in modality(modality_name).bands if b in order]]


def as_unsigned(pixels: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    """Turn int16 digital numbers into uint16 of the same values; other types are given back as they are.

    Raises:
        SourceInvalid: values below zero, which uint16 cannot hold.
    """
    if pixels.dtype != np.int16:
        return pixels
    lowest = int(pixels.min())
    if lowest < 0:
        raise SourceInvalid(
            f"{path} has values below zero (down to {lowest} DN)",
            expected="digital numbers from 0 to 32767",
            remedy="leave it out, or find out what they mean: clipping them would change the data; a value that stands "
            "for nodata is taken where the nodata tag of a GeoTIFF names it",
            path=str(path),
        )
    return pixels.astype(np.uint16)
