# SPDX-License-Identifier: Apache-2.0
"""Where and when: coordinates, map grid, dates and product ids of one made-up location.

Points fall on real land, dates and ids have the published form, so that everything downstream
(maps, UTM zones, season windows) sees plausible metadata; no product of that id exists.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from ssl4eo.collection.synthetic.chance import Stream
from ssl4eo.sample import Transform

# Boxes of land (west, south, east, north) [deg]; rough, with lakes and bays in them.
_LAND = (
    (-1, 44, 6, 49),
    (7, 48, 22, 54),
    (-7, 38, -1, 42),
    (12, 57, 16, 62),
    (24, 46, 40, 54),
    (40, 51, 58, 57),
    (64, 50, 86, 56),
    (72, 17, 82, 28),
    (99, 14, 105, 20),
    (104, 26, 116, 36),
    (122, 42, 128, 50),
    (-120, 42, -104, 52),
    (-102, 32, -82, 46),
    (-80, 40, -74, 47),
    (-105, 19, -99, 26),
    (-64, -36, -58, -27),
    (-56, -24, -44, -12),
    (-73, -8, -60, 2),
    (-10, 8, 8, 14),
    (28, -16, 36, -4),
    (22, -32, 29, -24),
    (33, -2, 38, 8),
    (117, -34, 122, -31),
    (142, -37, 149, -26),
    (172, -44, 173, -42),
)


@dataclass(frozen=True)
class Place:
    """A point on Earth with its map grid and its seasons."""

    lon: float
    lat: float
    crs: str
    transform: Transform
    tile: str
    """Sentinel-2 tile, 5 characters."""
    winter: float
    """How strong the seasons are, 0 in the tropics to 1 above 45 degrees."""


@dataclass(frozen=True)
class Visit:
    """One date: what two satellites saw within a few days, and the light of the day."""

    optical: dt.datetime
    """Start of the Sentinel-2 acquisition [UTC]."""
    radar: dt.datetime
    """Start of the Sentinel-1 acquisition [UTC]."""
    optical_product: str
    radar_product: str
    year_part: float
    """0 to 1 since the midwinter of this hemisphere."""
    sun_height: float
    """Sine of the elevation of the sun."""


def place(chance: Stream, size: int) -> Place:
    """Draw a point on land and lay a 10 m grid of `size` px around it."""
    west, south, east, north = chance.choose(_LAND)
    lon = round(chance.number(west, east), 6)
    lat = round(chance.number(south, north), 6)
    zone = math.floor((lon + 180) / 6) % 60 + 1
    easting, northing = utm(lon, lat, zone)
    left = math.floor((easting - size * 5) / 10) * 10.0
    top = math.floor((northing + size * 5) / 10) * 10.0
    crs = f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"
    strength = min(1.0, max(0.0, (abs(lat) - 12) / 33))
    return Place(lon, lat, crs, (10.0, 0.0, left, 0.0, -10.0, top), _tile(zone, lat, easting, northing), strength)


def utm(lon: float, lat: float, zone: int) -> tuple[float, float]:
    """Project a point [deg, WGS 84] to easting and northing [m] of a UTM zone, within 1 mm.

    Source: Krueger's series to third order in n, as in Karney 2011, section 3.
    """
    n = 1 / (2 * 298.257223563 - 1)
    radius = 6378137 / (1 + n) * (1 + n * n / 4 + n**4 / 64)
    alpha = (n / 2 - 2 / 3 * n**2 + 5 / 16 * n**3, 13 / 48 * n**2 - 3 / 5 * n**3, 61 / 240 * n**3)
    phi, delta = math.radians(lat), math.radians(lon - (zone * 6 - 183))
    e = 2 * math.sqrt(n) / (1 + n)
    t = math.sinh(math.atanh(math.sin(phi)) - e * math.atanh(e * math.sin(phi)))
    xi = math.atan2(t, math.cos(delta))
    eta = math.atanh(math.sin(delta) / math.sqrt(1 + t * t))
    x, y = eta, xi
    for j, a in enumerate(alpha, start=1):
        x += a * math.cos(2 * j * xi) * math.sinh(2 * j * eta)
        y += a * math.sin(2 * j * xi) * math.cosh(2 * j * eta)
    north = 0.0 if lat >= 0 else 10_000_000.0
    return round(500_000 + 0.9996 * radius * x, 3), round(north + 0.9996 * radius * y, 3)


def _tile(zone: int, lat: float, easting: float, northing: float) -> str:
    band = "CDEFGHJKLMNPQRSTUVWX"[min(19, math.floor((lat + 80) / 8))]
    column = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")[zone % 3][math.floor(easting / 100_000) - 1]
    row = "ABCDEFGHJKLMNPQRSTUV"[(math.floor(northing / 100_000) + (5 if zone % 2 == 0 else 0)) % 20]
    return f"{zone:02d}{band}{column}{row}"


def visits(chance: Stream, where: Place, num_seasons: int, *, rising: bool) -> tuple[Visit, ...]:
    """Draw the dates of a location: 91 days apart, give or take 8, from a random day of a year on.

    `rising`: the radar passes northward, in the evening.
    """
    start = dt.datetime(2019, 12, 1, tzinfo=dt.UTC) + dt.timedelta(days=chance.integer(0, 366))
    orbit = chance.integer(27_000, 32_000)
    rising = chance.happens(0.5)
    return tuple(
        _visit(chance, where, start + dt.timedelta(days=91 * i), orbit + 1327 * i, rising) for i in range(num_seasons)
    )


def _visit(chance: Stream, where: Place, about: dt.datetime, orbit: int, radar_hour: float) -> Visit:
    day = about + dt.timedelta(days=chance.integer(-8, 9))
    optical = _at_local_hour(chance, day, where.lon, 10.5)
    radar = _at_local_hour(chance, day + dt.timedelta(days=chance.integer(-6, 7)), where.lon, radar_hour)
    made = optical + dt.timedelta(seconds=chance.integer(2, 900))
    end = radar + dt.timedelta(seconds=25)
    sensing = f"{optical:%Y%m%dT%H%M%S}_{made:%Y%m%dT%H%M%S}_T{where.tile}"
    cycle = f"{orbit:06d}_{chance.integer(0x30000, 0x50000):06X}_{chance.integer(0, 0x10000):04X}"
    grd = f"S1{chance.choose('AB')}_IW_GRDH_1SDV_{radar:%Y%m%dT%H%M%S}_{end:%Y%m%dT%H%M%S}_{cycle}"
    year_part = _year_part(optical, where.lat)
    return Visit(optical, radar, sensing, grd, year_part, _sun_height(year_part, abs(where.lat)))


def _at_local_hour(chance: Stream, day: dt.datetime, lon: float, hour: float) -> dt.datetime:
    seconds = math.floor((hour - lon / 15) * 3600) + chance.integer(-1200, 1200)
    return day.replace(hour=0, minute=0, second=0) + dt.timedelta(seconds=seconds)


def _year_part(time: dt.datetime, lat: float) -> float:
    days = time.timetuple().tm_yday + 10 + (0 if lat >= 0 else 182.5)
    return (days / 365.25) % 1.0


def _sun_height(year_part: float, lat: float) -> float:
    """Sine of the sun's elevation 1.5 hours before noon; `lat` counts towards the pole of this hemisphere."""
    tilt = math.radians(-23.44 * math.cos(2 * math.pi * year_part))
    phi = math.radians(lat)
    height = math.sin(phi) * math.sin(tilt) + math.cos(phi) * math.cos(tilt) * math.cos(math.radians(22.5))
    return round(max(0.17, height), 6)
