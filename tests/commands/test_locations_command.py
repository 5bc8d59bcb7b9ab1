# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo locations`: results on stdout, exit statuses, tables, maps, and checks before any drawing."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import geopandas
import numpy as np
import pytest
from PIL import Image

from ssl4eo.cli import main
from ssl4eo.commands.locations import ACTIONS, build_parser
from ssl4eo.locations.reading import read_places, read_table_of
from ssl4eo.locations.spacing import nearest, no_overlap


def run(capsys, *arguments):
    assert main(["locations", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def refused(capsys, *arguments):
    """Exit status and message."""
    try:
        status = main(["locations", *map(str, arguments)])
    except SystemExit as ended:  # by the parser
        status = ended.code
    return status, capsys.readouterr().err


@pytest.mark.parametrize("word", ACTIONS.by_word)
def test_the_example_of_an_action_is_understood(word):
    """By its own parser."""
    arguments = ACTIONS.by_word[word].example.split()

    assert build_parser(arguments).parse_args(arguments).action == word


def test_places_around_cities(capsys, tmp_path):
    """100 places of 3 points each, apart, with their cities; the same again under another name."""
    for name in ("a.parquet", "b.parquet"):
        facts = json.loads(
            run(capsys, "draw", "--out", tmp_path / name, "--count", 100, "--cities", 500, "--spares", 2, "--json")
        )
    table = read_table_of(tmp_path / "a.parquet")

    assert facts["options"]["sampler"] == "cities"
    assert facts["points"] == len(table) == 300
    assert facts["spacing_m"] == no_overlap(2640).meters
    assert table.record["patch_m"] == 2640
    assert {"ssl4eo", "numpy", "pyproj", "shapely"} <= table.record["versions"].keys()
    assert nearest(table.lons, table.lats)[0].min() >= facts["spacing_m"]
    assert read_places(tmp_path / "a.parquet") == read_places(tmp_path / "b.parquet")


@pytest.mark.parametrize("around", ["land", "sphere"])
def test_places_on_land_and_anywhere(capsys, tmp_path, around):
    """As a CSV."""
    run(capsys, "draw", "--out", tmp_path / "a.csv", "--count", 20, "--around", around, "--spares", 0)

    assert len(read_places(tmp_path / "a.csv")) == 20


def test_places_in_polygons(capsys, tmp_path):
    """Of a GeoJSON file."""
    (tmp_path / "box.geojson").write_text(
        '{"type": "Polygon", "coordinates": [[[10, 40], [12, 40], [12, 42], [10, 42], [10, 40]]]}'
    )
    out = tmp_path / "a.parquet"

    run(capsys, "draw", "--out", out, "--count", 20, "--around", "polygons", "--polygons", tmp_path / "box.geojson")

    table = read_table_of(out)
    assert ((table.lons > 10) & (table.lons < 12) & (table.lats > 40) & (table.lats < 42)).all()


def test_places_by_stratum(capsys, tmp_path):
    """Of a raster, by given shares."""
    import rasterio
    from affine import Affine

    values = np.repeat(np.array([[1], [2]], np.uint8), 4, 1)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": "EPSG:4326", "height": 2, "width": 4}
    with rasterio.open(tmp_path / "a.tif", "w", transform=Affine(1, 0, 10, 0, -1, 50), **profile) as raster:
        raster.write(values, 1)
    out = tmp_path / "a.parquet"

    options = ("--around", "strata", "--raster", tmp_path / "a.tif", "--shares", "1=0.8", "2=0.2", "--spares", 0)
    run(capsys, "draw", "--out", out, "--count", 100, *options)

    strata = read_table_of(out).facts["stratum"]
    assert abs(strata.count(1) - 80) <= 2
    assert "stratum  1 " in run(capsys, "show", out)


def test_matched_places_keep_their_ids_and_tell_what_is_too_near(capsys, tmp_path):
    """The published center coordinates: two of three lie 1.1 km apart."""
    (tmp_path / "centers.csv").write_text("5,10,45\n7,10.014,45\n9,20,45\n")
    options = ("--around", "matched", "--points", tmp_path / "centers.csv")

    text = run(capsys, "draw", "--out", tmp_path / "a.parquet", *options)
    facts = json.loads(run(capsys, "draw", "--out", tmp_path / "b.parquet", *options, "--json"))

    assert "2 points lie so near to another that patches of 2640 m may overlap" in text
    assert (facts["near"], facts["count"]) == (2, 3)
    assert [place.id for place in read_places(tmp_path / "a.parquet")] == ["0000005", "0000007", "0000009"]


def test_a_plan_draws_nothing(capsys, tmp_path):
    """It tells counts, spacing and room."""
    out = tmp_path / "a.parquet"

    text = run(capsys, "draw", "--out", out, "--count", 250_000, "--around", "land", "--plan")
    facts = json.loads(run(capsys, "draw", "--out", out, "--count", 10**6, "--around", "land", "--plan", "--json"))

    assert "1000000 points" in text
    assert "TOO FEW" not in text
    assert not facts["written"]
    assert facts["room_for"] == pytest.approx(0.547 * 146.6e6 / (np.pi * 1.90996**2), rel=0.01)
    assert "TOO FEW" in run(capsys, "draw", "--out", out, "--count", 9 * 10**6, "--around", "land", "--plan")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def drawn(capsys, tmp_path):
    path = tmp_path / "places.parquet"
    run(capsys, "draw", "--out", path, "--count", 60, "--cities", 300, "--spares", 1)
    return path


def test_show_counts_and_measures(capsys, drawn):
    """As text and as JSON."""
    table = read_table_of(drawn)
    lats, first = table.lats[table.is_first], table.is_first

    text = run(capsys, "show", drawn)
    facts = json.loads(run(capsys, "show", drawn, "--json"))

    assert (facts["places"], facts["points"]) == (60, 120)
    assert sum(facts["latitudes"].values()) == 60
    assert facts["latitudes"]["30 to 60"] == int(((lats >= 30) & (lats < 60)).sum())
    assert facts["extent"] == [
        table.lons[first].min(),
        lats.min(),
        table.lons[first].max(),
        lats.max(),
    ]
    assert facts["nearest_of_all_points_m"]["least"] == pytest.approx(nearest(table.lons, table.lats)[0].min(), abs=0.1)
    assert sum(facts["facts"]["city"].values()) == 60
    assert facts["record"]["seed"] == 0
    assert "60, 120 points" in text
    assert "30 to 60" in text


def test_show_draws_a_map_and_writes_geojson(capsys, drawn, tmp_path):
    """A picture with land, sea and points in their colors; every point in the GeoJSON."""
    run(capsys, "show", drawn, "--map", tmp_path / "map.png", "--geojson", tmp_path / "a.geojson")

    pixels = np.asarray(Image.open(io.BytesIO((tmp_path / "map.png").read_bytes())).convert("RGB")).reshape(-1, 3)
    for color in ((0, 114, 178), (213, 94, 0), (223, 228, 234), (246, 248, 250)):
        assert (pixels == color).all(1).sum() > 30
    assert len(geopandas.read_file(tmp_path / "a.geojson")) == 120


def test_a_small_map_shows_its_surroundings(capsys, tmp_path):
    """One point, and points across the antimeridian."""
    for name, text in {"one": "1,11.5,48\n", "two": "1,179.9,-17\n2,-179.9,-17\n"}.items():
        (tmp_path / f"{name}.csv").write_text(text)
        run(capsys, "show", tmp_path / f"{name}.csv", "--map", tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["drw"], 2, "did you mean draw?"),
        (["draw", "--count", "3"], 2, "required: --out"),
        (["draw", "--out", "a.parquet"], 2, "--around cities without a count; expected --count PLACES"),
        (["draw", "--out", "a.txt", "--count", "3"], 2, "expected .parquet, .geoparquet or .csv"),
        (["draw", "--out", "a.csv", "--count", "0"], 2, "0 places"),
        (["draw", "--out", "a.csv", "--count", "3", "--around", "moon"], 2, "'cities', 'land'"),
        (["draw", "--out", "a.csv", "--count", "3", "--around", "polygons"], 2, "expected --polygons FILE"),
        (["draw", "--out", "a.csv", "--count", "3", "--around", "strata"], 2, "expected --raster FILE"),
        (["draw", "--out", "a.csv", "--around", "matched"], 2, "expected --points FILE"),
        (["draw", "--out", "a.csv", "--count", "3", "--around", "matched", "--points", "b"], 2, "the list has its own"),
        (["draw", "--out", "a.csv", "--count", "3", "--polygons", "b"], 2, "expected --around polygons"),
        (["draw", "--out", "a.csv", "--count", "3", "--shares", "1=2"], 2, "expected --around strata"),
        (["draw", "--out", "a.csv", "--count", "3", "--city_table", "none.csv"], 1, "none.csv cannot be read"),
        (["draw", "--out", "a.csv", "--count", "3", "--spacing", "far"], 2, "no_overlap"),
        (["draw", "--out", "a.csv", "--count", "3", "--spacing", "-1"], 2, "spacing -1 m"),
        (["draw", "--out", "a.csv", "--count", "3", "--patch_m", "0"], 2, "patches of 0 m"),
        (["draw", "--out", "a.csv", "--count", "3", "--map", "a.png"], 2, "--map is of show"),
        (["draw", "--out", "a.csv", "--count", "9", "--cities", "1", "--sigma_km", "1"], 2, "found no free point"),
        (["show", "none.parquet"], 1, "no file none.parquet"),
        (["show", "none.parquet", "--map", "a.jpg"], 2, "a name that ends in .png"),
        (["show", "none.parquet", "--geojson", "a.shp"], 2, "a name that ends in .geojson"),
    ],
)
def test_wrong_arguments_are_told(capsys, tmp_path, monkeypatch, arguments, status, message):
    """With what was expected, and nothing is written."""
    monkeypatch.chdir(tmp_path)

    found, told = refused(capsys, *arguments)

    assert found == status
    assert message in told
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(capsys, drawn, tmp_path):
    """Neither a table nor a map."""
    (tmp_path / "map.png").write_text("mine")

    assert refused(capsys, "draw", "--out", drawn, "--count", 3) == (
        1,
        f"ssl4eo: {drawn} exists; expected no table of places there yet: choose another name, or remove it yourself\n",
    )
    assert refused(capsys, "show", drawn, "--map", tmp_path / "map.png")[0] == 1
    assert (tmp_path / "map.png").read_text() == "mine"


def test_help_loads_nothing_heavy():
    """No NumPy, no geopandas: the answer is there at once."""
    program = (
        "from ssl4eo.cli import main; import sys\n"
        "try: main(['locations', 'draw', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit(' '.join({'numpy', 'geopandas', 'shapely', 'matplotlib', 'torch'} & sys.modules.keys()) or 0)"
    )

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    assert "--sigma_km" in ended.stdout
