# SPDX-License-Identifier: Apache-2.0
"""One band of one product as a GeoTIFF, checked: one channel, the right type and size, readable to the end."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.warp import transform as reproject

from ssl4eo.collection.losses import require_all_blocks, watch_losses
from ssl4eo.errors import SourceInvalid
from ssl4eo.sample import Transform

_VIRTUAL = re.compile(r"/vsimem/[^'\s:,]*")
"""What GDAL calls a file in memory."""


@dataclass(frozen=True, eq=False)
class Band:
    """Pixels (y, x) of a file and where they lie."""

    pixels: NDArray[np.generic]
    crs: str
    """EPSG code or WKT, empty where the file has none."""
    transform: Transform | None


def read_band(file: Path | bytes | None, label: str, *, dtype: str, size: int) -> Band:
    """Read a single-band GeoTIFF of `size` x `size` pixels.

    Args:
        file: its path or its content, None where it is missing.
        label: its name in messages.
        dtype: NumPy name of the type it must have.
        size: height and width that it must have [px].

    Raises:
        SourceInvalid: the file is missing, unreadable, cut short, or of another shape or type.
    """
    if file is None or (isinstance(file, Path) and not file.is_file()):
        raise SourceInvalid(f"no file {label}", expected="one file a band", remedy="fetch it again", path=label)
    try:
        if isinstance(file, Path):
            return _read(file, label, dtype, size)
        with MemoryFile(file, filename=label.rpartition("/")[2]) as memory:
            return _read(memory.name, label, dtype, size)
    except (RasterioError, OSError) as error:
        if isinstance(error, SourceInvalid):
            raise
        reason = _VIRTUAL.sub(lambda _: label, " ".join(str(error.__cause__ or error).split()))
        raise SourceInvalid(
            f"{label} cannot be read ({reason})",
            expected="a whole GeoTIFF",
            remedy="fetch it again",
            path=label,
        ) from error


def _read(place: Path | str, label: str, dtype: str, size: int) -> Band:
    with warnings.catch_warnings(), watch_losses() as losses:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # then there is no transform: None says so
        with rasterio.open(place, driver="GTiff") as file:
            found = (file.count, file.height, file.width, *file.dtypes)
            _require(label, found, (1, size, size, dtype))
            pixels = file.read(1)
            require_all_blocks(file, pixels[None])
            if losses:
                raise OSError(losses[0])
            placed = file.crs is not None or not file.transform.is_identity
            a, b, c, d, e, f = file.transform[:6]
            transform = (a, b, c, d, e, f) if placed else None
            return Band(pixels, spell_crs(file.crs), transform)


def _require(label: str, found: tuple[object, ...], expected: tuple[object, ...]) -> None:
    if found != expected:
        raise SourceInvalid(
            f"{label} has {_words(found)}",
            expected=_words(expected),
            remedy="fetch it again, or convert it to what was published",
            path=label,
        )


def _words(profile: tuple[object, ...]) -> str:
    count, height, width, *dtypes = profile
    return f"{count} band{'' if count == 1 else 's'} of {height} x {width} px, {', '.join(str(d) for d in dtypes)}"


def spell_crs(crs: CRS | None) -> str:
    """Give the EPSG code of a reference system, WKT where it has none, nothing where there is none."""
    return "" if crs is None else _spell_wkt(crs.to_wkt())


@lru_cache(maxsize=256)
def _spell_wkt(wkt: str) -> str:
    """Give the EPSG code where there is one; looking for it costs milliseconds, zones are few."""
    return CRS.from_wkt(wkt).to_string()


def centre(band: Band) -> tuple[float, float] | None:
    """Give the centre (lon, lat) [deg] of a band, None where the file does not place it on Earth."""
    if band.transform is None or not band.crs:
        return None
    a, b, c, d, e, f = band.transform
    height, width = band.pixels.shape
    x, y = a * width / 2 + b * height / 2 + c, d * width / 2 + e * height / 2 + f
    try:
        (lon,), (lat,), *_ = reproject(CRS.from_user_input(band.crs), CRS.from_epsg(4326), [x], [y])
    except (CRSError, RasterioError):
        return None
    on_earth = math.isfinite(lon) and math.isfinite(lat) and abs(lon) <= 180 and abs(lat) <= 90
    return (lon, lat) if on_earth else None
