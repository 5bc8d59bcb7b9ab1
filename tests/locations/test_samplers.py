# SPDX-License-Identifier: Apache-2.0
"""Samplers of the sphere, polygons and land: uniform by area, with holes, across the antimeridian, around poles."""

from __future__ import annotations

import math

import geopandas
import numpy as np
import pytest
import shapely
from pyproj import Geod

from ssl4eo.errors import DataMissing, SourceInvalid
from ssl4eo.locations.antimeridian import cut
from ssl4eo.locations.polygons import InPolygons, in_polygons, land_parts, on_land, spherical_area
from ssl4eo.locations.sphere import OnSphere


def drawn(sampler, count, seed=0):
    """Longitudes and latitudes of candidates."""
    rng = np.random.default_rng(seed)
    return np.array([sampler.draw(rng, 0)[:2] for _ in range(count)]).T


def within(polygon):
    return InPolygons(list(shapely.get_parts(cut(polygon))), options={})


def assert_share(found, expected, count, deviations=4):
    """A share of draws lies within 4 standard deviations of what it should be."""
    assert abs(found - expected) < deviations * math.sqrt(expected * (1 - expected) / count)


def test_the_sphere_is_drawn_by_area():
    """A quarter lies north of 30 degrees, a twelfth in 30 degrees of longitude; even latitudes would give a third."""
    count = 20_000

    lons, lats = drawn(OnSphere(), count)

    assert_share((lats > 30).mean(), 1 / 4, count)
    assert_share((lats < 0).mean(), 1 / 2, count)
    assert_share((lons > 150).mean(), 1 / 12, count)


def test_two_polygons_are_drawn_by_their_areas():
    """5 degrees by 5 at the equator and at 60 north: 1 to 0.46 on the ground; evenly on the map would be 1 to 1."""
    low, high = shapely.box(0, 0, 5, 5), shapely.box(100, 60, 105, 65)
    count = 8_000

    _, lats = drawn(within(shapely.MultiPolygon([low, high]).geoms[0]), 10)
    assert (lats < 5).all()
    _, lats = drawn(InPolygons([low, high], options={}), count)

    north = spherical_area(high) / (spherical_area(low) + spherical_area(high))
    assert north == pytest.approx(0.312, abs=0.005)
    assert_share((lats > 50).mean(), north, count)


def test_within_a_tall_polygon_density_follows_the_ground():
    """From 0 to 60 degrees north half of the points lie below asin(sin(60) / 2) = 25.66 degrees."""
    _, lats = drawn(within(shapely.box(0, 0, 10, 60)), 8_000)

    assert_share((lats < 25.66).mean(), 1 / 2, 8_000)


def test_holes_and_outsides_stay_empty():
    """An L with a hole: every point lies in it."""
    shape = shapely.Polygon(
        [(0, 0), (4, 0), (4, 1), (1, 1), (1, 4), (0, 4)], [[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)]]
    )

    lons, lats = drawn(within(shape), 2_000)

    assert shapely.contains_xy(shape, lons, lats).all()
    assert_share((lons > 1).mean(), spherical_area(shapely.box(1, 0, 4, 1)) / spherical_area(shape), 2_000)


CROSSING = shapely.box(170, -20, 190, -10)
"""Fiji and its sea, 20 degrees wide."""


@pytest.mark.parametrize(
    "polygon",
    [
        CROSSING,
        shapely.box(-190, -20, -170, -10),
        shapely.Polygon([(170, -20), (-170, -20), (-170, -10), (170, -10)]),
        shapely.Polygon([(-170, -10), (170, -10), (170, -20), (-170, -20)]),
    ],
    ids=["beyond 180", "beyond -180", "jumping", "jumping from the other side"],
)
def test_every_spelling_of_the_antimeridian_is_the_same_ground(polygon):
    """Two halves, and points on both sides."""
    halves = shapely.union_all([shapely.box(170, -20, 180, -10), shapely.box(-180, -20, -170, -10)])

    assert cut(polygon).symmetric_difference(halves).area == pytest.approx(0, abs=1e-9)
    lons, _ = drawn(within(polygon), 1_000)
    assert (np.abs(lons) >= 170).all()
    assert_share((lons > 0).mean(), 0.5, 1_000)


def test_a_hole_across_the_antimeridian_is_cut_out():
    """Wherever its ring is written."""
    outer = [(170, -20), (-170, -20), (-170, -10), (170, -10)]
    hole = [(-179, -16), (179, -16), (179, -14), (-179, -14)]

    assert cut(shapely.Polygon(outer, [hole])).area == pytest.approx(20 * 10 - 2 * 2)


@pytest.mark.parametrize(("edge", "sign"), [(60, 1), (-70, -1)])
def test_a_ring_around_a_pole_encloses_it(edge, sign):
    """A cap of 24 vertices, closed by a jump."""
    ring = [(lon, edge) for lon in range(-180, 180, 15)]

    cap = cut(shapely.Polygon(ring))

    assert cap.symmetric_difference(shapely.box(-180, edge, 180, sign * 90)).area == pytest.approx(0, abs=1e-9)


def test_a_ring_around_a_pole_with_the_pole_cut_out():
    """What is left is a belt."""
    belt = shapely.Polygon([(lon, 60) for lon in range(-180, 180, 15)], [[(lon, 80) for lon in range(-180, 180, 15)]])

    assert cut(belt).symmetric_difference(shapely.box(-180, 60, 180, 80)).area == pytest.approx(0, abs=1e-9)


def test_a_box_around_the_world_stays_one():
    """Its edges are 360 degrees long, which is no jump."""
    assert cut(shapely.box(-180, -90, 180, 90)).area == 360 * 180


@pytest.mark.parametrize(
    "polygon",
    [shapely.box(10, 40, 12, 43), shapely.Polygon([(0, 0), (30, 10), (10, 50)]), shapely.box(-180, -90, 180, 90)],
)
def test_spherical_areas_agree_with_sums_over_fine_edges(polygon):
    """Strips of a hundredth of a degree, added up."""
    south, north = polygon.bounds[1], polygon.bounds[3]
    edges = np.linspace(south, north, 2001)
    middles = (edges[1:] + edges[:-1]) / 2
    widths = [polygon.intersection(shapely.LineString([(-180, m), (180, m)])).length for m in middles]
    heights = np.diff(np.sin(np.radians(edges)))

    expected = 6371.0088**2 * float(np.sum(np.radians(widths) * heights))

    assert spherical_area(polygon) == pytest.approx(expected, rel=1e-5)


def test_land_is_land():
    """Cities are on it, oceans and the Caspian Sea are not, across the antimeridian and at the pole."""
    parts = land_parts()
    shapely.prepare(parts)
    dry = {"Moscow": (37.6, 55.75), "Chukotka": (-175, 66), "Wrangel": (179.5, 71.2), "South Pole": (0, -89.9)}
    wet = {"Atlantic": (-30, 0), "Pacific": (180, 0), "Caspian": (50.5, 41), "Arctic": (0, 89)}

    assert all(shapely.contains_xy(parts, *point).sum() == 1 for point in dry.values())
    assert not any(shapely.contains_xy(parts, *point).any() for point in wet.values())
    assert all(part.is_valid for part in parts)


def test_land_has_the_area_of_land():
    """146.6 million km2: the 149 of the textbooks without ice shelves and the Caspian Sea."""
    assert on_land().area_km2 == pytest.approx(146.6e6, rel=2e-3)


def test_land_is_drawn_on_land_by_area():
    """Antarctica gets its share."""
    parts = land_parts()
    antarctic = sum(spherical_area(part) for part in parts if part.bounds[3] < -60) / sum(map(spherical_area, parts))

    lons, lats = drawn(on_land(), 4_000)

    assert all(any(shapely.contains_xy(p, *point) for p in parts) for point in zip(lons[:50], lats[:50], strict=True))
    assert_share((lats < -60).mean(), antarctic, 4_000)


def test_a_draw_that_never_hits_gives_up():
    """None, not a loop without end: a sliver within a box a hundred thousand times its size."""
    sliver = shapely.Polygon([(0, 0), (10, 10), (10, 10.0001)])

    assert within(sliver).draw(np.random.default_rng(0), 0) is None


def write(path, geometries, crs="EPSG:4326"):
    frame = geopandas.GeoDataFrame(geometry=geometries, crs=crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


@pytest.mark.parametrize("name", ["a.geojson", "a.gpkg", "a.parquet", "a.shp"])
def test_any_form_of_file_gives_the_same_points(tmp_path, name):
    """GeoJSON, GeoPackage, GeoParquet, shapefile; the same seed."""
    shapes = [shapely.box(0, 0, 1, 1), shapely.MultiPolygon([shapely.box(5, 5, 6, 6), shapely.box(8, 8, 9, 9)])]

    points = drawn(in_polygons(write(tmp_path / name, shapes)), 50)

    assert (points == drawn(InPolygons([shapely.box(k, k, k + 1, k + 1) for k in (0, 5, 8)], options={}), 50)).all()


def test_ground_that_two_polygons_share_counts_once(tmp_path):
    """Two boxes of which one lies in the other: uniform on the larger."""
    path = write(tmp_path / "a.geojson", [shapely.box(0, 0, 4, 1), shapely.box(0, 0, 1, 1)])

    lons, _ = drawn(in_polygons(path), 4_000)

    assert_share((lons < 1).mean(), 0.25, 4_000)


def test_projected_polygons_become_degrees(tmp_path):
    """A square of 100 km in UTM zone 32, and a disc around the South Pole in polar meters."""
    square = in_polygons(
        write(tmp_path / "a.gpkg", [shapely.box(450_000, 5_300_000, 550_000, 5_400_000)], "EPSG:32632")
    )
    disc = in_polygons(write(tmp_path / "b.gpkg", [shapely.Point(0, 0).buffer(1_000_000)], "EPSG:3031"))

    assert square.area_km2 == pytest.approx(10_000, rel=0.01)
    _, lats = drawn(disc, 500)
    assert lats.max() < -80
    assert lats.min() < -89
    assert disc.area_km2 == pytest.approx(math.pi * 1000**2, rel=0.05)


def test_a_polygon_that_crosses_itself_is_mended(tmp_path):
    """A bow tie is two triangles."""
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])

    lons, lats = drawn(in_polygons(write(tmp_path / "a.geojson", [bow])), 500)

    assert (np.abs(lats - 1) <= np.abs(lons - 1) + 1e-9).all()


@pytest.mark.parametrize(
    ("geometries", "crs", "message"),
    [
        ([shapely.Point(0, 0)], "EPSG:4326", "holds Point; expected polygons"),
        ([shapely.box(0, 0, 1, 1), shapely.LineString([(0, 0), (1, 1)])], "EPSG:4326", "holds LineString"),
        ([shapely.Polygon()], "EPSG:4326", "holds no polygon"),
        ([None], "EPSG:4326", "holds no polygon"),
        ([shapely.Polygon([(0, 0), (1, 1), (0, 0)])], "EPSG:4326", "without any area"),
        ([shapely.box(450_000, 5_300_000, 550_000, 5_400_000)], "EPSG:4326", "wrong reference system"),
        ([shapely.box(0, 0, 1, 1)], None, "does not say its reference system"),
    ],
)
def test_files_that_are_no_polygons_in_degrees_are_refused(tmp_path, geometries, crs, message):
    """With what was found, and what to do."""
    path = write(tmp_path / "a.parquet", geometries, crs)

    with pytest.raises(SourceInvalid, match=message):
        in_polygons(path)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    """None there, none that GDAL knows, a table without geometry."""
    (tmp_path / "a.geojson").write_text("lake")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")

    with pytest.raises(DataMissing, match="no file"):
        in_polygons(tmp_path / "none.geojson")
    with pytest.raises(SourceInvalid, match="cannot be read as polygons"):
        in_polygons(tmp_path / "a.geojson")
    with pytest.raises(SourceInvalid, match="no geometry"):
        in_polygons(tmp_path / "a.csv")


def test_the_geodesic_area_of_a_box_is_near_the_spherical_one():
    """Within the 0.7 % that sphere and ellipsoid differ by."""
    box = shapely.segmentize(shapely.box(10, 45, 12, 47), 0.05)

    assert spherical_area(box) == pytest.approx(
        abs(Geod(ellps="WGS84").geometry_area_perimeter(box)[0]) / 1e6, rel=7e-3
    )
