# SPDX-License-Identifier: Apache-2.0
"""Points uniform by area within polygons: those of a file, or the land that ships with the package.

Overlapping polygons are joined first, so that no ground counts twice. A part is chosen by the area of its bounding box,
a point drawn in the box, and both are drawn again if the point lies outside the part: uniform over all parts without
computing an area. The price is draws that miss, about two of three for the continents.
"""

from __future__ import annotations

import itertools
import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import shapely

from ssl4eo.errors import DataMissing, SourceInvalid
from ssl4eo.files import file_sha256
from ssl4eo.locations.antimeridian import cut
from ssl4eo.locations.sampler import TRIES, Candidate
from ssl4eo.locations.sphere import EARTH_RADIUS, Box

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from shapely.geometry.base import BaseGeometry

log = logging.getLogger(__name__)

LAND = Path(__file__).with_name("land.parquet")
"""Natural Earth 1:50 million, public domain; LAND.md beside it tells how it was made."""


class InPolygons:
    """Points within polygons.

    Args:
        parts: polygons in longitude and latitude [deg, WGS 84] that do not overlap, within -180 to 180.
        options: name and origin, for the record.
    """

    def __init__(self, parts: Sequence[shapely.Polygon], *, options: Mapping[str, Any]) -> None:
        self._parts = sorted(parts, key=lambda part: part.bounds)  # whatever order a library joins them in
        self._options = dict(options)
        shapely.prepare(self._parts)
        self._boxes = [Box(*part.bounds) for part in self._parts]
        self._heaps = list(itertools.accumulate(box.area_km2 for box in self._boxes))

    @property
    def options(self) -> Mapping[str, Any]:
        """Name, file, and its hash."""
        return self._options

    @property
    def facts(self) -> Mapping[str, Sequence[int | float | str]]:
        """Nothing is known of a point."""
        return {}

    @property
    def area_km2(self) -> float | None:
        """Ground of all parts [km2]."""
        return sum(map(spherical_area, self._parts))

    def draw(self, rng: np.random.Generator, number: int) -> Candidate | None:
        """Draw a point, None if TRIES points lie outside."""
        del number  # any place may lie anywhere
        last = len(self._parts) - 1
        for _ in range(TRIES):
            chosen = min(bisect_right(self._heaps, rng.random() * self._heaps[-1]), last)
            lon, lat = self._boxes[chosen].draw(rng)
            if shapely.contains_xy(self._parts[chosen], lon, lat):
                return Candidate(lon, lat)
        return None


def spherical_area(polygon: shapely.Polygon) -> float:
    """Compute the area on the sphere [km2] of a polygon whose edges are straight in longitude and latitude.

    It is the integral of sin(latitude) over longitude around the rings: along an edge from a to b, with middle latitude
    m and half difference h, (lon_b - lon_a) sin(m) sin(h) / h.

    >>> round(spherical_area(shapely.box(-180, -90, 180, 90)) / 1e6, 3)
    510.066
    """
    return EARTH_RADIUS**2 * (_under(polygon.exterior) - sum(_under(hole) for hole in polygon.interiors))


def _under(ring: BaseGeometry) -> float:
    lon, lat = np.radians(shapely.get_coordinates(ring)).T
    middle, half = (lat[1:] + lat[:-1]) / 2, (lat[1:] - lat[:-1]) / 2
    return abs(float(np.sum(np.diff(lon) * np.sin(middle) * np.sinc(half / np.pi))))


def on_land() -> InPolygons:
    """Make the sampler of the land that ships with the package.

    Natural Earth 1:50 million: lakes count as land but for the Caspian Sea, and coasts are right to about 1 km; smaller
    islands and inlets are absent. Antarctica is land, though UTM ends at 80 degrees south.
    """
    return InPolygons(land_parts(), options={"sampler": "land", "land": "Natural Earth 1:50 million"})


def land_parts() -> list[shapely.Polygon]:
    """Read the land that ships with the package: polygons in longitude and latitude [deg]."""
    import pyarrow.parquet as pq

    return list(shapely.from_wkb(pq.read_table(LAND).column("geometry").to_numpy()))


def in_polygons(path: Path) -> InPolygons:
    """Make the sampler of a file of polygons: any that geopandas reads, in any reference system.

    Raises:
        DataMissing: no such file.
        SourceInvalid: not readable, without a reference system or with a wrong one, without polygons, or with others.
    """
    frame = _read(path)
    if frame.crs is None:
        raise SourceInvalid(
            f"{path} does not say its reference system", expected="one", remedy="set it, say by ogr2ogr -a_srs"
        )
    kinds = sorted(set(frame.geom_type.dropna()) - {"Polygon", "MultiPolygon"})
    if kinds:
        raise SourceInvalid(
            f"{path} holds {', '.join(kinds)}", expected="polygons", remedy="leave the others out, or buffer them"
        )
    shapes = shapely.force_2d(frame.geometry.to_crs("EPSG:4326").to_numpy())
    parts = list(shapely.get_parts(shapes[~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)]))
    if not parts:
        raise SourceInvalid(f"{path} holds no polygon", expected="one or more that are not empty", path=str(path))
    _require_degrees(path, parts, str(frame.crs))
    joined = shapely.union_all([cut(part) for part in _mended(parts)])
    polygons = [part for part in shapely.get_parts(joined) if part.geom_type == "Polygon" and part.area > 0]
    if not polygons:
        raise SourceInvalid(f"{path} holds polygons without any area", expected="some", path=str(path))
    return InPolygons(polygons, options={"sampler": "polygons", "file": path.name, "sha256": file_sha256(path)})


def _read(path: Path) -> GeoDataFrame:
    import geopandas

    if not path.is_file():
        raise DataMissing(f"no file {path}", expected="polygons: GeoJSON, GeoPackage, GeoParquet, ...", path=str(path))
    try:
        is_table = path.suffix in (".parquet", ".geoparquet")
        frame = cast("object", geopandas.read_parquet(path) if is_table else geopandas.read_file(path))
    except Exception as error:  # pyogrio, pyarrow and geopandas each raise their own
        raise SourceInvalid(
            f"{path} cannot be read as polygons ({' '.join(str(error).split())[:200]})",
            expected="GeoJSON, GeoPackage, GeoParquet, a shapefile or another form that GDAL reads",
            path=str(path),
        ) from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise SourceInvalid(f"{path} has no geometry", expected="polygons", path=str(path))
    return frame


def _require_degrees(path: Path, parts: Sequence[shapely.Polygon], crs: str) -> None:
    west, south, east, north = shapely.total_bounds(parts)
    if not (-360 <= west and east <= 540 and south >= -90 and north <= 90):  # noqa: SIM300 - NaN and infinity fail
        raise SourceInvalid(
            f"{path} reaches from {west:g}, {south:g} to {east:g}, {north:g} degrees when read as {crs}",
            expected="longitudes and latitudes",
            remedy="the file names a wrong reference system: set the right one, say by ogr2ogr -a_srs",
            path=str(path),
        )


def _mended(parts: Sequence[shapely.Polygon]) -> list[shapely.Polygon]:
    """Mend polygons that cross themselves, unless they do so by jumping at the antimeridian."""
    mended: list[shapely.Polygon] = []
    num_crossing = 0
    for part in parts:
        jumps = np.abs(np.diff(shapely.get_coordinates(part.exterior)[:, 0])) > 180
        num_crossing += bool(jumps.any())
        is_whole = part.is_valid or jumps.any()
        fixed = [part] if is_whole else shapely.get_parts(shapely.make_valid(part))
        mended += [piece for piece in fixed if piece.geom_type == "Polygon"]
    if num_crossing:
        log.info("%d polygons have edges over 180 degrees long: read as across the antimeridian", num_crossing)
    return mended
