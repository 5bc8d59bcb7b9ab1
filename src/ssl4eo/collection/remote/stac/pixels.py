# SPDX-License-Identifier: Apache-2.0
"""The pixels of one asset on a patch's grid: an exact window where the grids agree, else resampled or refused.

Grids agree where the reference system is the same, pixels have the same size and edges coincide to a thousandth of a
pixel. Then nothing is interpolated. Otherwise the profile decides: `refuse` (Sentinel-2, where every point lies in a
tile of its own zone), `nearest`, or `bilinear`, which moves radar power and Landsat onto the grid without a shift.
Masks are always taken from the nearest pixel. Pixels without a value take no part in an interpolation.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import CRSError, RasterioError
from rasterio.transform import Affine
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window

from ssl4eo.collection.geotiff import spell_crs
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.stac.range_file import OPENING, Opener, RangeFile
from ssl4eo.collection.remote.stac.store import Asset, Store
from ssl4eo.errors import SourceInvalid

_DRIVERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\0\0\0\x0c": "JP2OpenJPEG",
}
"""By the first bytes of a file: no other driver of GDAL sees what a host sends."""
_ENVIRONMENT: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": False,
    # OpenJPEG's threads cannot see rasterio's openers and would leave their pixels unset.
    "GDAL_NUM_THREADS": 1,
}
_EXACT_PX = 1e-3
_MOST_OPENS = 40
_MARGIN_PX = 3
"""Pixels around a window that bilinear interpolation may look at."""


@dataclass(frozen=True, eq=False)
class Plane:
    """One asset on one grid."""

    pixels: NDArray[Any]
    """(y, x), as stored, float32 where interpolated; `nodata` where nothing was observed."""
    valid: NDArray[np.bool_]
    """(y, x), False where nothing was observed."""
    resampling: str
    """How it came there: empty, nearest or bilinear."""
    num_bytes: int
    num_requests: int


@dataclass(frozen=True)
class Target:
    """What an asset is put on."""

    grid: PatchGrid
    resolution: int
    """[m]"""
    nodata: float
    resampling: str
    """refuse, nearest or bilinear."""

    @property
    def transform(self) -> Affine:
        """From pixels to meters."""
        return Affine(*self.grid.transform(self.resolution))

    @property
    def size(self) -> int:
        """Width and height [px]."""
        return self.grid.num_pixels(self.resolution)


def read_plane(store: Store, asset: Asset, target: Target, pool: Executor) -> Plane:
    """Read an asset on a grid; what lies outside of it is `nodata`.

    Raises:
        SourceInvalid: it is gone, no raster, damaged, of several bands, not placed on Earth, or on another grid where
            that is refused.
        ServiceFailed: the store refuses or stays away.
    """
    file = RangeFile(store, asset, pool)
    try:
        with rasterio.Env(**_ENVIRONMENT):
            pixels, how = _read(file, target)
    except (RasterioError, CRSError, ValueError) as error:
        file.raise_error()
        reason = " ".join(str(error.__cause__ or error).split())
        raise _invalid(asset, f"cannot be read ({reason})", "a whole GeoTIFF or JPEG 2000") from error
    file.raise_error()
    valid = ~np.isnan(pixels) if math.isnan(target.nodata) else pixels != target.nodata
    return Plane(pixels, valid, how, file.num_bytes, file.num_requests)


def _read(file: RangeFile, target: Target) -> tuple[NDArray[Any], str]:
    dataset = _open(file)
    try:
        if dataset.count != 1 or dataset.crs is None:
            raise _invalid(
                file.asset,
                f"has {dataset.count} bands" + ("" if dataset.crs else " and no reference system"),
                "one band that is placed on Earth",
            )
        if _agrees(dataset, target):
            return _read_window(dataset, _window(dataset, target), target), ""
        if target.resampling == "refuse":
            raise _invalid(
                file.asset,
                f"lies on {_words(dataset)}",
                f"pixels of {target.resolution} m in {target.grid.crs}, edges on multiples of them",
            )
        return _read_warped(dataset, target), target.resampling
    finally:
        with OPENING:
            dataset.close()


def _open(file: RangeFile) -> Any:
    """Open a dataset from the bytes that are here; fetch what it misses and open it again."""
    driver = _DRIVERS.get(file.start(4))
    if driver is None:
        raise _invalid(file.asset, f"begins with {file.start(8)!r}", "a GeoTIFF or JPEG 2000")
    name = "asset.bin"  # the address may hold what GDAL takes for options
    for _ in range(_MOST_OPENS):
        dataset = None
        file.is_opening = True
        try:
            with OPENING:
                dataset = rasterio.open(f"/{name}", driver=driver, opener=Opener(file, name))
        except RasterioError:
            if file.missed is None:
                raise
        finally:
            file.is_opening = False
        if file.missed is None:
            return dataset
        if dataset is not None:
            with OPENING:
                dataset.close()
        file.fetch_missed()
    raise _invalid(file.asset, "has its header all over the file", "a header in one place")


def _agrees(dataset: Any, target: Target) -> bool:
    t = dataset.transform
    if (t.b, t.d) != (0, 0) or spell_crs(dataset.crs) != target.grid.crs:
        return False
    ours = target.transform
    shifts = ((ours.c - t.c) / target.resolution, (ours.f - t.f) / target.resolution)
    same_size = abs(t.a - target.resolution) < 1e-6 and abs(t.e + target.resolution) < 1e-6
    return same_size and all(abs(shift - round(shift)) <= _EXACT_PX for shift in shifts)


def _window(dataset: Any, target: Target) -> Window:
    ours, theirs = target.transform, dataset.transform
    column = round((ours.c - theirs.c) / target.resolution)
    row = round((theirs.f - ours.f) / target.resolution)
    return Window(column, row, target.size, target.size)  # type: ignore[call-arg]


def _read_window(dataset: Any, window: Window, target: Target) -> NDArray[Any]:
    """Read a window whose outside is nodata."""
    height, width = int(window.height), int(window.width)
    out = np.full((height, width), target.nodata, dataset.dtypes[0])
    top, left = max(int(window.row_off), 0), max(int(window.col_off), 0)
    bottom = min(int(window.row_off) + height, dataset.height)
    right = min(int(window.col_off) + width, dataset.width)
    if top < bottom and left < right:
        part = dataset.read(1, window=Window(left, top, right - left, bottom - top))  # type: ignore[call-arg]
        y, x = top - int(window.row_off), left - int(window.col_off)
        out[y : y + part.shape[0], x : x + part.shape[1]] = part
    return out


def _read_warped(dataset: Any, target: Target) -> NDArray[Any]:
    """Read the part under a grid and interpolate it in memory."""
    crs = CRS.from_string(target.grid.crs)
    west, south, east, north = transform_bounds(crs, dataset.crs, *target.grid.bounds, densify_pts=21)
    t = dataset.transform
    corners = [(west, north), (east, north), (west, south), (east, south)]
    back = ~t
    columns = [back.a * x + back.b * y + back.c for x, y in corners]
    rows = [back.d * x + back.e * y + back.f for x, y in corners]
    left, top = math.floor(min(columns)) - _MARGIN_PX, math.floor(min(rows)) - _MARGIN_PX
    width, height = math.ceil(max(columns)) + _MARGIN_PX - left, math.ceil(max(rows)) + _MARGIN_PX - top
    source = _read_window(dataset, Window(left, top, width, height), target)  # type: ignore[call-arg]
    is_mask = target.resampling == "nearest"
    out = np.full((target.size, target.size), target.nodata, source.dtype if is_mask else np.float32)
    reproject(
        source if is_mask else source.astype(np.float32),
        out,
        src_transform=Affine(t.a, t.b, t.c + left * t.a + top * t.b, t.d, t.e, t.f + left * t.d + top * t.e),
        src_crs=dataset.crs,
        src_nodata=target.nodata,
        dst_transform=target.transform,
        dst_crs=crs,
        dst_nodata=target.nodata,
        resampling=Resampling.nearest if is_mask else Resampling.bilinear,
    )
    return out


def _words(dataset: Any) -> str:
    t = dataset.transform
    return f"pixels of {t.a:g} x {-t.e:g} m in {spell_crs(dataset.crs)} from {t.c:.10g}, {t.f:.10g}"


def _invalid(asset: Asset, found: str, expected: str) -> SourceInvalid:
    return SourceInvalid(
        f"{asset} {found}", expected=expected, remedy="take another scene", product=asset.product, asset=asset.key
    )
