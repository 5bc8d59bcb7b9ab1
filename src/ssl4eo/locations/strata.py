# SPDX-License-Identifier: Apache-2.0
"""Points by stratum: each class of a raster (land cover, biome) gets its share of the places.

A class is dealt to each place by its number, not drawn: multiples of the golden ratio fill 0 to 1 evenly, so that the
shares hold to within a few places for any count, and a place keeps its class in all of its points. Within a class
points are uniform by area. The raster is read whole, at MOST_CELLS at most: a finer one is thinned out by nearest
neighbor, which is told.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Proj, Transformer

from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid
from ssl4eo.files import file_sha256
from ssl4eo.locations.sampler import Candidate
from ssl4eo.locations.sphere import EARTH_RADIUS

log = logging.getLogger(__name__)

MOST_CELLS = 2**24
"""Cells of the grid that is kept: 7 km on the equator for the whole Earth."""
_GOLDEN = (math.sqrt(5) - 1) / 2
_MOST_DISTORTION = 0.02
"""Areas of a projection may differ by this share within the raster."""


@dataclass(frozen=True)
class _Grid:
    """Classes on a north-up grid."""

    values: NDArray[np.integer[Any]]  # (row, column)
    is_known: NDArray[np.bool_]  # (row, column)
    left: float
    top: float
    width: float
    """Of a cell, in units of the reference system."""
    height: float
    crs: str


class ByStratum:
    """Points within classes of a raster.

    Args:
        path: of a raster of whole numbers, in degrees or in a projection that keeps areas.
        shares: of each class, summing to 1 after division by their sum; empty: all classes of the raster, equally.
        most_cells: that are kept.

    Raises:
        DataMissing: no such file.
        SourceInvalid: no raster of classes, or one whose reference system does not fit.
        ConfigInvalid: shares of classes that the raster does not have, or that are no shares.
    """

    def __init__(self, path: Path, *, shares: Mapping[int, float] | None = None, most_cells: int = MOST_CELLS) -> None:
        self._grid = _read(path, most_cells)
        self._source = {"raster": path.name, "sha256": file_sha256(path), "shape": list(self._grid.values.shape)}
        there = np.unique(self._grid.values[self._grid.is_known]).tolist()
        self._shares = _settled(shares or dict.fromkeys(there, 1.0), there)
        self._bounds = np.cumsum(list(self._shares.values())).tolist()
        self._is_geographic = CRS(self._grid.crs).is_geographic
        self._to_degrees = Transformer.from_crs(self._grid.crs, "EPSG:4326", always_xy=True)
        self._classes = list(self._shares)
        self._cells = [np.flatnonzero((self._grid.values == k) & self._grid.is_known) for k in self._classes]
        self._heaps = [np.cumsum(self._row_areas[cells // self._grid.values.shape[1]]) for cells in self._cells]

    @cached_property
    def _row_areas(self) -> NDArray[np.float64]:
        """Ground of a cell of each row [km2]."""
        grid = self._grid
        if not self._is_geographic:
            return np.full(
                grid.values.shape[0],
                grid.width * grid.height * CRS(grid.crs).axis_info[0].unit_conversion_factor ** 2 / 1e6,
            )
        edges = np.sin(np.radians(np.clip(grid.top - grid.height * np.arange(grid.values.shape[0] + 1), -90, 90)))
        return EARTH_RADIUS**2 * math.radians(grid.width) * -np.diff(edges)

    @property
    def options(self) -> Mapping[str, Any]:
        """Name, raster, shares."""
        return {"sampler": "strata", **self._source, "shares": {str(k): v for k, v in self._shares.items()}}

    @property
    def facts(self) -> Mapping[str, Sequence[int | float | str]]:
        """The class."""
        return {"stratum": self._classes}

    @property
    def area_km2(self) -> float | None:
        """Ground of the classes [km2]."""
        return float(sum(heap[-1] for heap in self._heaps))

    def draw(self, rng: np.random.Generator, number: int) -> Candidate | None:
        """Draw a point of the class that is dealt to a place."""
        origin = min(bisect_right(self._bounds, (number + 0.5) * _GOLDEN % 1), len(self._bounds) - 1)
        heap, (pick, across, down) = self._heaps[origin], rng.random(3).tolist()
        chosen = min(int(np.searchsorted(heap, pick * heap[-1], side="right")), len(heap) - 1)
        row, column = divmod(int(self._cells[origin][chosen]), self._grid.values.shape[1])
        x = self._grid.left + (column + across) * self._grid.width
        if self._is_geographic:
            high, low = (math.sin(math.radians(self._grid.top - (row + k) * self._grid.height)) for k in (0, 1))
            lon, lat = x, math.degrees(math.asin(high + down * (low - high)))
        else:
            lon, lat = self._to_degrees.transform(x, self._grid.top - (row + down) * self._grid.height)
        return Candidate((lon + 180) % 360 - 180, lat, origin)


def parse_shares(texts: Sequence[str]) -> dict[int, float]:
    """Read shares as the command line has them.

    >>> parse_shares(["10=0.5", "20=1"])
    {10: 0.5, 20: 1.0}

    Raises:
        ConfigInvalid: not class=share.
    """
    try:
        return {int(name): float(share) for name, share in (text.split("=") for text in texts)}
    except ValueError as error:
        raise ConfigInvalid(f"shares {' '.join(texts)}", expected="class=share, such as 10=0.5 20=0.5") from error


def _settled(shares: Mapping[int, float], there: Sequence[int]) -> dict[int, float]:
    """Check shares and divide them by their sum."""
    absent = sorted(set(shares) - set(there))
    if absent:
        raise ConfigInvalid(
            f"shares of {', '.join(map(str, absent))}, which the raster does not have",
            expected=f"some of {', '.join(map(str, there))[:200]}",
        )
    total = sum(shares.values())
    if not all(math.isfinite(share) and share > 0 for share in shares.values()):
        raise ConfigInvalid(
            f"shares {shares}", expected="numbers more than 0", remedy="leave out classes without a share"
        )
    return {name: shares[name] / total for name in sorted(shares)}


def _read(path: Path, most_cells: int) -> _Grid:
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.errors import RasterioError

    if not path.is_file():
        raise DataMissing(f"no file {path}", expected="a raster of classes", path=str(path))
    try:
        with rasterio.open(path) as raster:
            step = max(1.0, math.sqrt(raster.width * raster.height / most_cells))
            shape = (math.ceil(raster.height / step), math.ceil(raster.width / step))
            values = raster.read(1, out_shape=shape, resampling=Resampling.nearest)
            is_known = raster.read_masks(1, out_shape=shape, resampling=Resampling.nearest) > 0
            transform, crs = raster.transform, raster.crs
            wide, high = raster.width / shape[1], raster.height / shape[0]
    except RasterioError as error:
        raise SourceInvalid(
            f"{path} cannot be read as a raster ({error})", expected="a GeoTIFF", path=str(path)
        ) from error
    if step > 1:
        log.info("%s is thinned out to %d x %d cells by nearest neighbor", path, *shape[::-1])
    _require_classes(path, values, is_known)
    _require_north_up(path, crs, transform)
    grid = _Grid(values, is_known, transform.c, transform.f, transform.a * wide, -transform.e * high, crs.to_wkt())
    _require_even(path, grid)
    return grid


def _require_classes(path: Path, values: NDArray[Any], is_known: NDArray[np.bool_]) -> None:
    if values.dtype.kind not in "iu":
        raise SourceInvalid(f"{path} holds {values.dtype}", expected="classes as whole numbers", path=str(path))
    if not is_known.any():
        raise SourceInvalid(f"{path} holds nothing but nodata", expected="classes", path=str(path))


def _require_north_up(path: Path, crs: Any, transform: Any) -> None:
    if crs is None or transform.b or transform.d or transform.a <= 0 or transform.e >= 0:
        raise SourceInvalid(
            f"{path} has reference system {crs} and transform {tuple(transform)[:6]}",
            expected="a reference system, and rows from north to south",
            remedy="warp it, say by gdalwarp -t_srs EPSG:4326 -r near",
            path=str(path),
        )


def _require_even(path: Path, grid: _Grid) -> None:
    """Refuse reference systems in which cells differ in area without our knowing by how much."""
    crs = CRS(grid.crs)
    rows, columns = grid.values.shape
    if crs.is_geographic:
        south = grid.top - rows * grid.height
        if grid.top > 90 + grid.height or south < -90 - grid.height or columns * grid.width > 360 + grid.width:
            raise SourceInvalid(
                f"{path} reaches from {south:g} to {grid.top:g} degrees north", expected="-90 to 90", path=str(path)
            )
        return
    xs, ys = np.meshgrid(
        grid.left + grid.width * columns * np.linspace(0, 1, 7)[1:-1],
        grid.top - grid.height * rows * np.linspace(0, 1, 7)[1:-1],
    )
    projection = Proj(crs)
    lon, lat = projection(xs.ravel(), ys.ravel(), inverse=True)
    inside = np.isfinite(lon) & np.isfinite(lat)
    scale = np.asarray(projection.get_factors(lon[inside], lat[inside]).areal_scale)
    if not scale.size or scale.max() > scale.min() * (1 + _MOST_DISTORTION):
        raise SourceInvalid(
            f"{path} is in {crs.name}, where equal cells differ in area by more than {_MOST_DISTORTION:.0%}",
            expected="degrees, or a projection that keeps areas",
            remedy="warp it, say by gdalwarp -t_srs EPSG:6933 -r near",
            path=str(path),
        )
