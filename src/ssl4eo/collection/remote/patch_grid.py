# SPDX-License-Identifier: Apache-2.0
"""The ground under a collected patch: a square in the UTM zone of its point, on the pixel grids of the agencies.

Sentinel-2 tiles start at multiples of 60 m in their zone, so that 10, 20 and 60 m pixels share their edges. A patch
snaps to the same multiples: reading it resamples nothing, all bands and modalities of a location share one outer edge,
and there are no half pixels to shift by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rasterio.warp import transform as warp_points

from ssl4eo.errors import ConfigInvalid, SampleInvalid
from ssl4eo.grid import SNAP, UTM_NORTH, UTM_SOUTH, size_at
from ssl4eo.sample import Transform


@dataclass(frozen=True)
class PatchGrid:
    """A square on the ground."""

    crs: str
    """`EPSG:326xx` or `EPSG:327xx`."""
    left: int
    """Western edge [m], a multiple of the snap."""
    top: int
    """Northern edge [m], likewise."""
    size: int
    """Width and height [px of `base`]."""
    base: int = 10
    """Resolution that the size is told in [m]."""

    @property
    def extent(self) -> int:
        """Width and height [m]."""
        return self.size * self.base

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """West, south, east, north [m in the crs]."""
        return self.left, self.top - self.extent, self.left + self.extent, self.top

    def num_pixels(self, resolution: int) -> int:
        """Width and height in pixels of a resolution [m]."""
        return size_at(resolution, self.size, self.base)

    def transform(self, resolution: int) -> Transform:
        """Affine of the grid of a resolution [m]."""
        return (float(resolution), 0.0, float(self.left), 0.0, -float(resolution), float(self.top))


def utm_zone(lon: float, lat: float) -> str:
    """Give the UTM zone of a point, with the exceptions of Norway and Svalbard, which Sentinel-2's tiles follow.

    >>> utm_zone(11.58, 48.14), utm_zone(-70.67, -33.45), utm_zone(5.32, 60.39), utm_zone(180.0, 0.0)
    ('EPSG:32632', 'EPSG:32719', 'EPSG:32632', 'EPSG:32601')

    Raises:
        SampleInvalid: beyond 84 degrees north or 80 degrees south, where UTM ends.
    """
    if not UTM_SOUTH <= lat <= UTM_NORTH:
        raise SampleInvalid(f"latitude {lat}", expected=f"{UTM_SOUTH:g} to {UTM_NORTH:g} degrees, where UTM is defined")
    lon = (lon + 180) % 360 - 180
    zone = int((lon + 180) // 6) + 1
    if 56 <= lat < 64 and 3 <= lon < 12:
        zone = 32
    elif lat >= 72 and 0 <= lon < 42:
        zone = next(z for z, east in ((31, 9), (33, 21), (35, 33), (37, 42)) if lon < east)
    return f"EPSG:{32600 + zone if lat >= 0 else 32700 + zone}"


def patch_grid(
    lon: float, lat: float, *, size: int = 264, base: int = 10, snap: int = SNAP, crs: str | None = None
) -> PatchGrid:
    """Make the grid of a patch whose center lies within half a snap of a point, on each axis.

    Args:
        lon: longitude [deg, WGS 84].
        lat: latitude [deg, WGS 84].
        size: width and height [px of `base`].
        base: resolution that the size is told in [m].
        snap: edges are multiples of this [m]; the coarsest band's resolution.
        crs: another UTM zone than the point's own, as a tile that overlaps two zones may have.

    Raises:
        ConfigInvalid: a size that is no whole number of snaps.
        SampleInvalid: a point where UTM is not defined.
    """
    if size < 1 or (size * base) % snap:
        raise ConfigInvalid(
            f"patches of {size} px of {base} m",
            expected=f"a multiple of {snap} m, so that the coarsest pixels stay whole",
        )
    zone = utm_zone(lon, lat) if crs is None else crs
    xs, ys = warp_points("EPSG:4326", zone, [lon], [lat])[:2]
    half = size * base / 2
    return PatchGrid(zone, left=_snapped(xs[0] - half, snap), top=_snapped(ys[0] + half, snap), size=size, base=base)


def _snapped(value: float, snap: int) -> int:
    return math.floor(value / snap + 0.5) * snap
