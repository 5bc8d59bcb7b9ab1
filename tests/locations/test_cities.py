# SPDX-License-Identifier: Apache-2.0
"""Cities: tables of them read strictly, the largest, and points around them that are meters on the ground."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pyproj import Geod

from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid
from ssl4eo.locations.cities import AroundCities, Cities, City, largest

GEOD = Geod(ellps="WGS84")
SIMPLEMAPS = (
    '"city","city_ascii","lat","lng","country","iso2","iso3","admin_name","capital","population","id"\n'
    '"Tōkyō","Tokyo","35.6897","139.6922","Japan","JP","JPN","Tōkyō","primary","37732000","1392685764"\n'
    '"Hamlet","Hamlet","10","20","Nowhere","NW","NWH","","","8436.5","2"\n'
    '"Jakarta","Jakarta","-6.1750","106.8275","Indonesia","ID","IDN","Jakarta","primary","33756000","1360771077"\n'
    '"Ghost","Ghost","0","0","Nowhere","NW","NWH","","","","3"\n'
    '"Town","Town","11","21","Nowhere","NW","NWH","","","84000","4"\n'
)
"""As simplemaps writes it; numbers of the middle rows are made up."""


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "worldcities.csv"
    path.write_text(SIMPLEMAPS, encoding="utf-8")
    return path


def test_the_largest_come_first_and_decimals_stay_decimals(table, caplog):
    """8436.5 people are fewer than 84000; the published reader made 84365 of them. No number, no city."""
    with caplog.at_level("INFO"):
        cities = largest(table, 4)

    assert [(city.name, city.population) for city in cities.rows] == [
        ("Tokyo", 37732000),
        ("Jakarta", 33756000),
        ("Town", 84000),
        ("Hamlet", 8436.5),
    ]
    assert (cities.rows[0].lon, cities.rows[0].lat) == (139.6922, 35.6897)
    assert "1 cities" in caplog.text
    assert json.loads(json.dumps(cities.source)).keys() == {"table", "sha256", "cities"}


@pytest.mark.parametrize("head", ["lon,lat,population", "Longitude,LATITUDE,pop", "\ufefflng , lat , population"])
def test_other_spellings_of_columns_are_known(tmp_path, head):
    """Upper or lower case, with blanks or a byte order mark."""
    path = tmp_path / "a.csv"
    path.write_text(f"{head}\n10.5, -3, 7\n", encoding="utf-8")

    assert largest(path, 1).rows == (City("line 2", 10.5, -3.0, 7.0),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("name,lat,population\nA,1,2\n", "none for longitude"),
        ("lon,lat,population\n1,2,3\n1,91,3\n", "line 3 of .* has latitude '91'"),
        ("lon,lat,population\n1,2,1_000\n", "line 2 of .* has population '1_000'"),
        ('lon,lat,population\n1,2,"37,732,000"\n', "line 2 of .* has population '37,732,000'"),
        ("lon,lat,population\n1,2,nan\n", "line 2 of .* has population 'nan'"),
        ("lon,lat,population\n1,2,-5\n", "line 2 of .* has population -5"),
        ("lon,lat,population\n1\n", "line 2 of .* has latitude ''"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, text, message):
    """With the line."""
    path = tmp_path / "a.csv"
    path.write_text(text)

    with pytest.raises(SourceInvalid, match=message):
        largest(path, 1)


def test_a_zip_is_no_table(tmp_path):
    """The file of simplemaps comes in one."""
    path = tmp_path / "worldcities.zip"
    path.write_bytes(b"PK\x03\x04\xff\xfe")

    with pytest.raises(SourceInvalid, match="unzip it"):
        largest(path, 1)
    with pytest.raises(DataMissing, match="cannot be read"):
        largest(tmp_path / "none.csv", 1)


@pytest.mark.parametrize("count", [0, 5])
def test_more_cities_than_there_are_are_refused(table, count):
    """The table has four with a population."""
    with pytest.raises(ConfigInvalid):
        largest(table, count)


def test_geonames_is_at_hand():
    """The largest cities of the package's table, in order, where they lie."""
    cities = largest("geonames", 200).rows

    populations = [city.population for city in cities]
    assert populations == sorted(populations, reverse=True)
    (tokyo,) = [city for city in cities if city.name == "Tokyo"]
    assert (tokyo.lon, tokyo.lat) == pytest.approx((139.7, 35.7), abs=0.1)


def around(lon, lat, sigma_km=50.0):
    return AroundCities(Cities((City("a", lon, lat, 1.0),), {}), sigma_km=sigma_km)


@pytest.mark.parametrize(("lon", "lat"), [(10.0, 0.0), (10.0, 60.0), (10.0, 80.0), (180.0, 45.0), (-179.9, 70.0)])
def test_offsets_are_isotropic_on_the_ground(lon, lat):
    """50 km east-west as well as north-south, at any latitude; degrees would give 8.7 km east-west at 80 north."""
    rng = np.random.default_rng(0)
    count = 4000

    points = np.array([around(lon, lat).draw(rng, 0)[:2] for _ in range(count)])

    assert (np.abs(points[:, 0]) <= 180).all()
    azimuth, _, distance = GEOD.inv(np.full(count, lon), np.full(count, lat), *points.T)
    east, north = distance * np.sin(np.radians(azimuth)), distance * np.cos(np.radians(azimuth))
    for offset in (east, north):
        assert offset.std() == pytest.approx(50_000, rel=0.05)
        assert abs(offset.mean()) < 4 * 50_000 / count**0.5
    assert abs(np.corrcoef(east, north)[0, 1]) < 0.06


def test_cities_are_drawn_alike():
    """Whatever their population, by the numbers that are given."""
    cities = Cities(tuple(City(str(k), 10.0 * k, 0.0, 10.0**k) for k in range(4)), {})
    rng = np.random.default_rng(0)

    origins = [AroundCities(cities, sigma_km=1).draw(rng, 0).origin for _ in range(4000)]

    assert np.bincount(origins) == pytest.approx([1000] * 4, rel=0.12)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_deviations_are_refused(sigma):
    """At the door."""
    with pytest.raises(ConfigInvalid, match="sigma_km"):
        around(0.0, 0.0, sigma)
