# SPDX-License-Identifier: Apache-2.0
"""Tables of places: written and read back, read from lists of others, refused with the line that is wrong."""

from __future__ import annotations

import json

import geopandas
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely

from ssl4eo.errors import ConfigInvalid, DataMissing, SampleInvalid, SourceInvalid, TargetExists
from ssl4eo.locations.geojson import write_geojson
from ssl4eo.locations.place import Place
from ssl4eo.locations.reading import read_places, read_table_of
from ssl4eo.locations.table import KEY, PlaceTable, write_table


def table():
    return PlaceTable(
        ids=["0000000", "0000000", "0000001", "lake.a"],
        attempts=np.array([0, 1, 0, 0]),
        draws=np.array([0, 3, 1, 0]),
        lons=np.array([1.5, -179.9999999, 2.0, 180.0]),
        lats=np.array([48.0, 80.0, -33.3333333, -80.0]),
        facts={"city": ["Zürich", "a,b", 'c"d', ""], "stratum": [1, 2, 3, 4], "height": [0.5, 1.5, -2.5, 1e-9]},
        record={"seed": 5, "options": {"sampler": "cities", "table": "Städte.csv"}},
    )


def assert_same(one, other, *, record=True):
    assert list(one.ids) == list(other.ids)
    for name in ("attempts", "draws", "lons", "lats"):
        assert (getattr(one, name) == getattr(other, name)).all()
    assert {k: list(v) for k, v in one.facts.items()} == {k: list(v) for k, v in other.facts.items()}
    assert not record or dict(one.record) == dict(other.record)


@pytest.mark.parametrize("name", ["a.parquet", "a.geoparquet", "a.csv"])
def test_what_is_written_is_read(tmp_path, name):
    """Every column, value and fact; the record too, but in a CSV."""
    write_table(tmp_path / name, table())

    assert_same(read_table_of(tmp_path / name), table(), record=not name.endswith("csv"))


def test_places_have_their_points_in_order_with_their_facts(tmp_path):
    """By id."""
    write_table(tmp_path / "a.parquet", table())

    places = read_places(tmp_path / "a.parquet")

    assert [(p.id, p.points) for p in places] == [
        ("0000000", ((1.5, 48.0), (-179.9999999, 80.0))),
        ("0000001", ((2.0, -33.3333333),)),
        ("lake.a", ((180.0, -80.0),)),
    ]
    assert places[0].facts_of(1) == {"city": "a,b", "stratum": 2, "height": 1.5}


def test_geopandas_reads_the_table(tmp_path):
    """As GeoParquet in longitude and latitude, the points where the columns say."""
    write_table(tmp_path / "a.parquet", table())

    frame = geopandas.read_parquet(tmp_path / "a.parquet")

    assert frame.crs.to_authority() == ("OGC", "CRS84")
    assert frame.geometry.x.tolist() == frame["lon"].tolist() == table().lons.tolist()
    assert frame.geometry.y.tolist() == table().lats.tolist()
    assert json.loads(pq.read_schema(tmp_path / "a.parquet").metadata[KEY])["seed"] == 5


def test_geojson_has_every_point(tmp_path):
    """With id, attempt and facts; geopandas reads it."""
    write_geojson(tmp_path / "a.geojson", table())

    frame = geopandas.read_file(tmp_path / "a.geojson")

    assert frame["id"].tolist() == table().ids
    assert frame["attempt"].tolist() == [0, 1, 0, 0]
    assert frame["city"].tolist() == table().facts["city"]
    assert frame.geometry.x.tolist() == pytest.approx(table().lons.tolist())


@pytest.mark.parametrize("name", ["a.parquet", "a.csv"])
def test_nothing_is_overwritten(tmp_path, name):
    """What stands there stays."""
    (tmp_path / name).write_text("mine")

    with pytest.raises(TargetExists):
        write_table(tmp_path / name, table())

    assert (tmp_path / name).read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_other_names_are_refused(tmp_path):
    """A table is Parquet or CSV."""
    with pytest.raises(ConfigInvalid, match=r"a table called a\.txt"):
        write_table(tmp_path / "a.txt", table())


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    """The disk fills up in the middle."""

    def full(*args, **kwargs):
        args[1].write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)

    with pytest.raises(OSError, match="cannot be written"):
        write_table(tmp_path / "a.parquet", table())
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_table_is_refused(tmp_path):
    """A byte in the middle of the data: page checksums tell."""
    path = tmp_path / "a.parquet"
    write_table(path, table())
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)

    with pytest.raises(SourceInvalid, match="no whole table of places"):
        read_table_of(path)


@pytest.mark.parametrize(
    ("ids", "attempts"),
    [(["a", "a"], [0, 0]), (["a", "b", "a"], [0, 0, 0]), (["a"], [1]), (["a", "a"], [0, 2]), (["a", "b"], [0, 1])],
)
def test_tables_that_contradict_themselves_are_refused(ids, attempts):
    """A place in pieces, attempts that do not count from 0."""
    count = len(ids)
    with pytest.raises(SampleInvalid):
        PlaceTable(ids, np.array(attempts), np.zeros(count, int), np.zeros(count), np.zeros(count))


def test_facts_of_a_place_are_none_or_one_for_each_point():
    """Two points and one record of facts do not fit."""
    with pytest.raises(SampleInvalid, match="facts of 1 points"):
        Place("a", ((0.0, 0.0), (1.0, 1.0)), point_facts=({"city": "a"},))
    assert Place("a", ((0.0, 0.0),), {"country": "b"}).facts_of() == {"country": "b"}


def read(tmp_path, text):
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    return read_table_of(path)


def test_the_published_center_coordinates_are_read(tmp_path):
    """`idx, lon, lat` without names; ids become 7 digits, points stay as they are."""
    found = read(tmp_path, "17,11.123456789,48.5\n0, -70.25 , -33.5\n\n250000,179.5,0\n")

    assert list(found.ids) == ["0000017", "0000000", "0250000"]
    assert found.lons.tolist() == [11.123456789, -70.25, 179.5]
    assert found.draws.tolist() == [-1, -1, -1]
    assert found.record["options"]["sampler"] == "matched"


def test_checked_locations_are_read_as_the_reference_does(tmp_path, caplog):
    """The last row of an id counts, and flag 0 has no image."""
    with caplog.at_level("INFO"):
        found = read(tmp_path, "0,1.0,1.0,1\n1,2.0,2.0,0\n2,3.0,3.0,2\n0,4.0,4.0,2\n3,5.0,5.0,1\n3,6.0,6.0,0\n")

    assert list(zip(found.ids, found.lons.tolist(), strict=True)) == [("0000002", 3.0), ("0000000", 4.0)]
    assert "2 rows" in caplog.text


@pytest.mark.parametrize("head", ["id,lon,lat", "IDX,LNG,Lat", "lat,longitude,index,lon", "\ufeffid,lon,lat"])
def test_names_of_columns_are_known(tmp_path, head):
    """Upper or lower case, in any order, with a byte order mark."""
    row = {"id": "7", "idx": "7", "index": "7", "lon": "1.5", "lng": "1.5", "longitude": "9", "lat": "2.5"}
    cells = ",".join(row[name.strip("\ufeff").lower()] for name in head.split(","))

    found = read(tmp_path, f"{head}\n{cells}\n")

    assert (found.ids[0], found.lons[0], found.lats[0]) == ("0000007", 1.5, 2.5)


def test_further_columns_are_facts(tmp_path):
    """As whole numbers, numbers, or text; ids that are no numbers stay."""
    found = read(tmp_path, "id,lon,lat,year,share,name\na.1,1,1,2020,0.5,x\nb-2,2,2,2021,1,y\n")

    assert list(found.ids) == ["a.1", "b-2"]
    assert found.facts == {"year": [2020, 2021], "share": [0.5, 1.0], "name": ["x", "y"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,lon,lat\n", "holds no place"),
        ("1,2\n", "line 1 of .* has 2 values"),
        ("1,2,3,1,5\n", "line 1 of .* has 5 values"),
        ("1,2,3\n2,2\n", "line 2 of .* has 2 values; expected 3"),
        ("1,2,3\n\n2,x,3\n", "line 3 of .* has longitude 'x'"),
        ("1,2,3\n2,181,3\n", "line 2 of .* has longitude '181'"),
        ("1,2,3\n2,3,91\n", "line 2 of .* has latitude '91'"),
        ("1,2,3\n2,3,nan\n", "line 2 of .* has latitude 'nan'"),
        ("1,2,3\n2,3,85\n", "line 2 of .* has latitude 85; expected -80 to 84"),
        ("1,2,3\n1,3,4\n", "line 2 of .* has id 0000001 once more"),
        ("1,2,3\n a/b ,3,4\n", "line 2 of .* has location id 'a/b'"),
        ("1,2,3\n,3,4\n", "line 2 of .* has location id ''"),
        ("1,2,3,1\n2,3,4,7\n", "line 2 of .* has flag '7'"),
        ("1,2,3,0\n", "holds no place"),
        ("name,x,y\na,1,2\n", "none for id, lon, lat"),
        ("id,lon,lat\n1,2,3\n1,3,4\n", "line 3 of .* has id 0000001 once more"),
        ("id,lon,lat\n1,2\n", "line 2 of .* has latitude ''"),
        ("id,attempt,lon,lat\n1,0,2,3\n1,2,3,4\n", "has attempt 2 of place 0000001"),
    ],
)
def test_rows_that_are_wrong_are_refused_with_their_line(tmp_path, text, message):
    """What was found, in which line."""
    with pytest.raises(SourceInvalid, match=message):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_told(tmp_path):
    """By its name."""
    with pytest.raises(DataMissing, match="no file"):
        read_places(tmp_path / "none.csv")


def test_geoparquet_of_others_is_read(tmp_path):
    """Points in UTM with a column `idx`."""
    points = geopandas.GeoSeries([shapely.Point(11.5, 48.0), shapely.Point(12.0, 48.5)], crs="EPSG:4326")
    frame = geopandas.GeoDataFrame(
        {"idx": [3, 4], "kind": ["wood", "bog"], "gap": [1.0, float("nan")]}, geometry=points.to_crs("EPSG:32632")
    )
    frame.to_parquet(tmp_path / "a.parquet")

    found = read_table_of(tmp_path / "a.parquet")

    assert list(found.ids) == ["0000003", "0000004"]
    assert {name: list(column) for name, column in found.facts.items()} == {"kind": ["wood", "bog"]}
    assert found.lons == pytest.approx([11.5, 12.0], abs=1e-8)


def test_columns_that_no_label_can_hold_are_told_and_left_out(tmp_path, caplog):
    """Truth values become 0 and 1; dates, gaps and infinite numbers are left out, in a table of ours as well."""
    columns = {
        "id": ["a", "b"],
        "ok": [True, False],
        "seen": pd.to_datetime(["2021-01-01", "2021-02-01"]),
        "far": [1.0, float("inf")],
        "maybe": [True, None],
    }
    points = [shapely.Point(1, 1), shapely.Point(2, 2)]
    geopandas.GeoDataFrame(columns, geometry=points, crs="EPSG:4326").to_parquet(tmp_path / "a.parquet")
    with caplog.at_level("INFO"):
        found = read_table_of(tmp_path / "a.parquet")
    write_table(tmp_path / "own.parquet", found)
    own = pq.read_table(tmp_path / "own.parquet")
    pq.write_table(own.append_column("wet", [[False, True]]), tmp_path / "more.parquet")

    assert dict(found.facts) == {"ok": [1, 0]}
    assert type(found.places()[0].facts_of()["ok"]) is int
    assert [text.split()[1] for text in caplog.messages] == ["seen", "far", "maybe"]
    assert repr(dict(read_table_of(tmp_path / "more.parquet").facts)) == "{'ok': [1, 0], 'wet': [0, 1]}"


@pytest.mark.parametrize(
    ("columns", "geometry", "crs", "message"),
    [
        ({"name": ["a"]}, [shapely.Point(1, 1)], "EPSG:4326", "a column id"),
        ({"id": ["a"]}, [shapely.box(0, 0, 1, 1)], "EPSG:4326", "Polygon"),
        ({"id": ["a"]}, [None], "EPSG:4326", "nothing"),
        ({"id": ["a"]}, [shapely.Point(1, 1)], None, "reference system None"),
        ({"id": ["a"]}, [shapely.Point(1, 89)], "EPSG:4326", "line 1 of .* has latitude 89"),
        ({"id": ["a", "a"]}, [shapely.Point(1, 1), shapely.Point(2, 2)], "EPSG:4326", "has id a once more"),
    ],
)
def test_geoparquet_that_holds_no_points_with_ids_is_refused(tmp_path, columns, geometry, crs, message):
    """With what it holds."""
    geopandas.GeoDataFrame(columns, geometry=geometry, crs=crs).to_parquet(tmp_path / "a.parquet")

    with pytest.raises(SourceInvalid, match=message):
        read_table_of(tmp_path / "a.parquet")


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    """By its name it should be."""
    (tmp_path / "a.parquet").write_text("lake")

    with pytest.raises(SourceInvalid, match="cannot be read as GeoParquet"):
        read_places(tmp_path / "a.parquet")


@pytest.mark.parametrize("point", [(181.0, 0.0), (0.0, 91.0), (float("nan"), 0.0), (0.0, float("inf"))])
def test_every_point_of_a_place_is_on_earth(point):
    """The first and the spare ones."""
    for points in ((point,), ((0.0, 0.0), point)):
        with pytest.raises(SampleInvalid):
            Place("a", points)
