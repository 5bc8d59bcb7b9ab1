# SPDX-License-Identifier: Apache-2.0
"""Spacing: the hash against all pairs, the antimeridian, 80 degrees north, and patches that really do not meet."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from pyproj import Geod, Transformer

from ssl4eo.collection.remote.patch_grid import patch_grid
from ssl4eo.errors import ConfigInvalid
from ssl4eo.locations.spacing import METRICS, Neighbors, Spacing, as_published, nearest, no_overlap

GEOD = Geod(ellps="WGS84")


def crowd(lon, lat, spread_m, count, seed):
    """Points around one, some of them beyond 180 degrees."""
    rng = np.random.default_rng(seed)
    azimuths, distances = rng.uniform(0, 360, count), spread_m * np.sqrt(rng.random(count))
    lons, lats, _ = GEOD.fwd(np.full(count, lon), np.full(count, lat), azimuths, distances)
    return list(zip(lons.tolist(), lats.tolist(), strict=True))


def greedy(points, distance, least):
    """Keep points as an oracle does that looks at all pairs."""
    kept = []
    for point in points:
        if all(distance(*point, *other) >= least for other in kept):
            kept.append(point)
    return kept


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("lon", "lat"), [(11.5, 48.0), (180.0, 0.0), (-180.0, 70.0), (25.0, 80.0), (0.0, 0.0)])
@pytest.mark.parametrize("least", [1980.0, 50_000.0])
def test_the_hash_keeps_what_all_pairs_keep(metric, lon, lat, least):
    """Anywhere, for both metrics."""
    points = crowd(lon, lat, 10 * least, 300, seed=int(least))
    neighbors = Neighbors(Spacing(least, metric))

    kept = [point for point in points if neighbors.take(*point)]

    assert kept == greedy(points, METRICS[metric].distance, least)
    assert 20 < len(kept) < 300


def test_neighbors_across_the_antimeridian_are_near():
    """2.2 km apart, though longitudes differ by 360 degrees; the published metric misses them."""
    ours, published = Neighbors(Spacing(3000)), Neighbors(Spacing(3000, "published"))

    assert ours.take(179.99, 0.0)
    assert published.take(179.99, 0.0)
    assert not ours.take(-179.99, 0.0)
    assert published.take(-179.99, 0.0)


def test_a_degree_of_longitude_is_short_at_80_north():
    """19.4 km: near for 20 km and free for 19; on the equator 111 km."""
    for least, is_free in ((20_000, False), (19_000, True)):
        neighbors = Neighbors(Spacing(least))
        neighbors.take(10.0, 80.0)
        assert neighbors.take(11.0, 80.0) is is_free
    equator = Neighbors(Spacing(111_000))
    equator.take(10.0, 0.0)
    assert equator.take(11.0, 0.0)


def test_the_published_threshold_by_hand():
    """1980 m are 0.017807 degrees on either axis, at any latitude."""
    spacing = as_published(2640)
    assert spacing == Spacing(1980.0, "published")
    for lat in (0.0, 80.0):
        for step, is_free in ((0.01780, False), (0.01781, True)):
            for east, north in ((step, 0.0), (0.0, step)):
                neighbors = Neighbors(spacing)
                neighbors.take(10.0, lat)
                assert neighbors.take(10.0 + east, lat + north) is is_free


def test_the_distance_is_exact_where_the_chord_is_shorter():
    """At 500 km the chord is 129 m shorter than the geodesic: a point between both is free."""
    lon, lat, _ = GEOD.fwd(10.0, 45.0, 30.0, 500_050.0)
    neighbors = Neighbors(Spacing(500_000))
    neighbors.take(10.0, 45.0)

    chord = math.dist(METRICS["ellipsoid"].embed(10.0, 45.0), METRICS["ellipsoid"].embed(lon, lat))

    assert chord < 500_000
    assert neighbors.take(lon, lat)


@pytest.mark.parametrize(("lon", "lat"), [(0.0, 0.0), (123.4, -56.7), (-179.9, 83.9), (45.0, 90.0)])
def test_space_agrees_with_proj(lon, lat):
    """Earth-centered coordinates to a micrometer."""
    expected = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True).transform(lon, lat, 0.0)

    assert METRICS["ellipsoid"].embed(lon, lat) == pytest.approx(expected, abs=1e-6)


def outline(lon, lat, size_m):
    """The patch around a point as a polygon of longitude and latitude, its edges with many points."""
    grid = patch_grid(lon, lat, size=size_m // 10)
    square = shapely.segmentize(shapely.box(*grid.bounds), size_m / 50)
    to_degrees = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    return np.column_stack(to_degrees.transform(*shapely.get_coordinates(square).T))


def overlap(a, b, size_m):
    """Ground that two patches share [m2], on a plane around the first point."""
    plane = Transformer.from_crs("EPSG:4326", f"+proj=aeqd +lon_0={a[0]} +lat_0={a[1]} +ellps=WGS84", always_xy=True)
    one, other = (shapely.Polygon(np.column_stack(plane.transform(*outline(*p, size_m).T))) for p in (a, b))
    return one.intersection(other).area


@pytest.mark.parametrize(
    ("lon", "lat"),
    [(9.0, 0.0), (6.0, 0.0), (12.0, 48.0), (12.0, 83.9), (180.0, 60.0), (3.0, 60.0), (9.0, 75.0), (33.0, -79.0)],
)
@pytest.mark.parametrize("size_m", [2640, 600])
def test_patches_at_the_spacing_never_meet(lon, lat, size_m):
    """In one zone, across zones turned against each other, in Norway and Svalbard, whatever the direction and snap."""
    least = no_overlap(size_m).meters
    rng = np.random.default_rng(int(1000 * abs(lon) + lat + size_m))
    for azimuth in [45.0, 135.0, *rng.uniform(0, 360, 6)]:
        a = (lon + rng.uniform(-0.02, 0.02), lat + rng.uniform(-0.02, 0.02))
        a = ((a[0] + 180) % 360 - 180, a[1])
        b = GEOD.fwd(*a, azimuth, least)[:2]
        assert overlap(a, b, size_m) == 0


def test_patches_at_the_published_spacing_meet():
    """The same measure sees an overlap where there is one: 25 % side by side."""
    a = (9.0, 45.0)
    b = GEOD.fwd(*a, 90.0, 1980.0)[:2]

    assert overlap(a, b, 2640) / 2640**2 == pytest.approx(0.25, abs=0.03)


def test_the_nearest_neighbor_is_that_of_all_pairs():
    """Distances to a millimeter, over the antimeridian, also of points that coincide."""
    points = [*crowd(180.0, 75.0, 50_000, 120, seed=1), (20.0, 0.0), (20.0, 0.0)]
    lons, lats = np.array(points).T

    distances, others = nearest(lons, lats)

    for number, point in enumerate(points):
        expected = min(GEOD.inv(*point, *other)[2] for k, other in enumerate(points) if k != number)
        assert distances[number] == pytest.approx(expected, abs=1e-3)
        assert others[number] != number


def test_a_single_point_has_no_neighbor():
    """Its distance is infinite."""
    assert np.isinf(nearest(np.array([1.0]), np.array([2.0]))[0]).all()


def test_without_a_spacing_everything_is_free():
    """Also the same point twice."""
    neighbors = Neighbors(Spacing(0))

    assert neighbors.take(1.0, 1.0)
    assert neighbors.take(1.0, 1.0)


@pytest.mark.parametrize(
    "make", [lambda: Spacing(-1), lambda: Spacing(math.nan), lambda: no_overlap(0), lambda: as_published(math.inf)]
)
def test_impossible_distances_are_refused(make):
    """At the door."""
    with pytest.raises(ConfigInvalid):
        make()
