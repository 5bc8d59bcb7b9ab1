# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes whose every pixel is a pure function of (band, ground, product): what stand-ins of services serve.

Two stand-ins that share this file serve the same values, and a test knows what must come back without asking either.
All numbers are integers until the last step, so that there is nothing to round differently.

The ground is told in meters of a UTM zone. A pixel of resolution r is square and starts at multiples of r (all of them
divide 60, Landsat apart, see `PHASE_30`); its value depends on its own column and row only, so any point inside of it
gives the same answer. `Truth` is one scene; `Truth.plane` gives the pixels of a band on any grid of its own resolution:

* reflectance: 200 to 5,200 DN, fields of 300 m that all bands and the radar share, grain of one pixel that none share;
* `TARGET`: a bright rectangle of 120 m by 180 m that repeats every 2,400 m, so that each patch of 2,640 m shows one
  whole: it tells shifts, flips and swaps of axes apart, in every band and in both polarizations;
* clouds: blocks of 600 m, by product, told alike by SCL (20 m), QA60 (60 m) and the cloud probability (10 m);
* coverage: the tile, less what lies west of a slanted swath edge where there is one; whole pixels of 60 m, alike in all
  bands. Digital numbers outside are 0, decibels NaN; a service masks them;
* radar: multiples of 1/64 dB between -28 and 2 dB, targets brighter, none of them 0 dB unless `zero_db` asks for it.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.warp import transform as warp_points

from ssl4eo.sensors import BANDS

FIELD_M = 300
"""Side of the fields that all bands share [m]."""
CLOUD_M = 600
"""Side of the blocks that are cloud, shadow or clear [m]."""
COVER_M = 60
"""Coverage is decided for whole blocks of this side [m]."""
TARGET_PERIOD_M = 2400
"""A target repeats at multiples of this in the zone [m]."""
TARGET = (660, 1020, 780, 1200)
"""West, south, east, north of a target above a multiple of the period [m]; multiples of 60."""
TARGET_DN = 9000
"""Of a target in every optical band, without the offset; the brightest other pixel has 5,200."""
TARGET_DB = {"VV": 12.0, "VH": 8.0}
"""Of a target [dB]; the brightest other pixel has 2."""
PHASE_30 = 15
"""USGS puts the centers of 30 m pixels on multiples of 30 m: their edges lie 15 m beside [m]."""
TILE_M = 109_800
"""Width and height of a Sentinel-2 tile [m]."""

SCL_VEGETATION, SCL_SHADOW, SCL_CLOUD, SCL_CIRRUS = 4, 3, 9, 10
QA60_OPAQUE, QA60_CIRRUS = 1 << 10, 1 << 11
PROBABILITY = {"clear": 3, "shadow": 8, "cloud": 95, "cirrus": 70}
"""Cloud probability [%] by kind of block."""
MASKS = {"SCL": 20, "QA60": 60, "probability": 10}
"""Resolution of each mask [m]."""

Ints = NDArray[np.int64]


def _mixed(*numbers: Ints | int) -> NDArray[np.uint64]:
    """Give 64 well-mixed bits of integers that broadcast (finalizer of splitmix64)."""
    state = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        for number in numbers:
            z = np.asarray(number, np.int64).astype(np.uint64) + state
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = (z ^ (z >> np.uint64(31))) + np.uint64(0x9E3779B97F4A7C15)
    return np.asarray(state)


def _drawn(below: int, *numbers: Ints | int) -> Ints:
    """Give integers from 0 to below - 1."""
    return (_mixed(*numbers) % np.uint64(below)).astype(np.int64)


def code_of(text: str) -> int:
    """Give 32 bits of a text."""
    return zlib.crc32(text.encode())


@dataclass(frozen=True)
class Truth:
    """One synthetic scene."""

    product: str
    """The agency's product id; pixels depend on it."""
    modality: str
    """S2L1C, S2L2A, S1GRD, or a Landsat one."""
    crs: str
    """`EPSG:326xx` or `EPSG:327xx`."""
    left: int
    """Western edge [m], a multiple of 60 (of Landsat: and 15 more)."""
    top: int
    """Northern edge [m], likewise."""
    time: dt.datetime
    """Start of the acquisition [UTC]."""
    size_m: int = TILE_M
    """Width and height [m]."""
    cloud_percent: int = 10
    """Chance of a block to be cloud, and what the scene's properties tell [%]."""
    baseline: int = 300
    """ESA processing baseline; values contain +1000 DN from 400 on."""
    orbit: str = "descending"
    swath_m: int | None = None
    """Where given, west of a line that starts this far east of the upper left corner and leans one meter west for four
    meters south nothing was observed [m]."""
    zero_db: bool = False
    """Of radar: the first pixel north-west in each field is exactly 0 dB, and observed."""

    @property
    def offset(self) -> int:
        """Constant that the values contain as ESA delivers them [DN]."""
        return 1000 if self.modality.startswith("S2") and self.baseline >= 400 else 0

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """West, south, east, north [m]."""
        return self.left, self.top - self.size_m, self.left + self.size_m, self.top

    def covers(self, easting: Ints, northing: Ints) -> NDArray[np.bool_]:
        """Say where the scene was observed."""
        phase = self.left % COVER_M, self.top % COVER_M
        east = (easting - phase[0]) // COVER_M * COVER_M + phase[0]
        north = (northing - phase[1]) // COVER_M * COVER_M + phase[1]
        west, south, right, top = self.bounds
        inside = (east >= west) & (east < right) & (north >= south) & (north < top)
        if self.swath_m is None:
            return inside
        return inside & (east - west >= self.swath_m - (top - north) // 4)

    def covers_point(self, lon: float, lat: float) -> bool:
        """Say whether a point [deg, WGS 84] was observed."""
        xs, ys = warp_points("EPSG:4326", self.crs, [lon], [lat])[:2]
        return bool(self.covers(np.int64(np.floor(xs[0])), np.int64(np.floor(ys[0]))))

    def plane(
        self, band: str, left: int, top: int, size: int, *, resolution: int | None = None, offset: bool = True
    ) -> NDArray[np.generic]:
        """Give the pixels (y, x) of one band or mask on a grid of its own resolution.

        Args:
            band: our name (B8A, VV), or SCL (uint8), QA60 (uint16), probability (uint8).
            left: western edge [m], a multiple of the resolution.
            top: northern edge [m], likewise.
            size: width and height [px].
            resolution: None for the native one [m].
            offset: whether the +1000 DN stay in the values if the baseline has them.
        """
        step = resolution or resolution_of(band)
        easting = left + step * np.arange(size, dtype=np.int64)[None, :] + step // 2
        northing = top - step * np.arange(size, dtype=np.int64)[:, None] - step // 2
        return self.values(band, easting, northing, step, offset=offset)

    def values(
        self, band: str, easting: Ints, northing: Ints, resolution: int, *, offset: bool = True
    ) -> NDArray[np.generic]:
        """Give the values of a band at points [m in the crs] that broadcast: of the pixels that hold them."""
        covered = self.covers(easting, northing)
        if band in MASKS:
            return np.where(covered, _mask(band, self.kind(easting, northing)), 0).astype(_MASK_DTYPES[band])
        if band in TARGET_DB:
            return np.where(covered, self._decibels(band, easting, northing), np.nan).astype(np.float32)
        dn = self._reflectance(band, easting, northing, resolution) + (self.offset if offset else 0)
        return np.where(covered, dn, 0).astype(np.uint16)

    def kind(self, easting: Ints, northing: Ints) -> Ints:
        """Say what hides the ground: 0 nothing, 1 shadow, 2 opaque cloud, 3 cirrus."""
        roll = _drawn(100, easting // CLOUD_M, northing // CLOUD_M, code_of(self.product))
        share = self.cloud_percent
        clear = np.zeros_like(roll)
        hidden = np.where(roll < share // 4, 1, np.where(roll < share // 2, 3, 2))
        return np.where(roll < share, hidden, clear)

    def _reflectance(self, band: str, easting: Ints, northing: Ints, resolution: int) -> Ints:
        field = _drawn(4000, easting // FIELD_M, northing // FIELD_M)
        phase = PHASE_30 if resolution == 30 else 0
        column, row = (easting - phase) // resolution, (northing - phase) // resolution
        grain = _drawn(1000, column, row, code_of(band), code_of(self.product))
        season = code_of(self.product) % 200
        return np.where(is_target(easting, northing), TARGET_DN, 200 + field + grain + season)

    def _decibels(self, band: str, easting: Ints, northing: Ints) -> NDArray[np.float64]:
        field = _drawn(4000, easting // FIELD_M, northing // FIELD_M)
        grain = _drawn(320, easting // 10, northing // 10, code_of(band), code_of(self.product))
        floor = -20 * 64 if band == "VV" else -27 * 64
        steps = floor + field * 64 * 17 // 4000 + grain  # 1/64 dB
        steps = np.where(steps == 0, 1, steps)
        if self.zero_db:
            corner = (easting % FIELD_M < 10) & (northing % FIELD_M >= FIELD_M - 10)
            steps = np.where(corner, 0, steps)
        return np.where(is_target(easting, northing), TARGET_DB[band], steps / 64)


_MASK_DTYPES = {"SCL": np.uint8, "QA60": np.uint16, "probability": np.uint8}


def _mask(band: str, kind: Ints) -> Ints:
    table = {
        "SCL": (SCL_VEGETATION, SCL_SHADOW, SCL_CLOUD, SCL_CIRRUS),
        "QA60": (0, 0, QA60_OPAQUE, QA60_CIRRUS),  # it knows no shadows
        "probability": tuple(PROBABILITY[k] for k in ("clear", "shadow", "cloud", "cirrus")),
    }[band]
    return np.asarray(table, np.int64)[kind]


def resolution_of(band: str) -> int:
    """Give the native resolution of a Sentinel band or mask [m]."""
    return MASKS[band] if band in MASKS else BANDS[band].resolution


def is_target(easting: Ints, northing: Ints) -> NDArray[np.bool_]:
    """Say where the bright rectangles are."""
    east, north = easting % TARGET_PERIOD_M, northing % TARGET_PERIOD_M
    return (east >= TARGET[0]) & (east < TARGET[2]) & (north >= TARGET[1]) & (north < TARGET[3])


def whole_targets(bounds: tuple[int, int, int, int]) -> list[tuple[float, float]]:
    """List the centers (easting, northing) [m] of targets wholly inside of bounds: one at least in 2,640 m."""
    west, south, east, north = bounds
    period = TARGET_PERIOD_M
    return [
        (x + (TARGET[0] + TARGET[2]) / 2, y + (TARGET[1] + TARGET[3]) / 2)
        for x in range(west // period * period, east, period)
        for y in range(south // period * period, north, period)
        if west <= x + TARGET[0] and x + TARGET[2] <= east and south <= y + TARGET[1] and y + TARGET[3] <= north
    ]
