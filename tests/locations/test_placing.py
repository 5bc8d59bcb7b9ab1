# SPDX-License-Identifier: Apache-2.0
"""Placing: points that belong to their ids, all apart, first points before spare ones, and an honest end."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from ssl4eo.errors import ConfigInvalid
from ssl4eo.locations.cities import AroundCities, Cities, City
from ssl4eo.locations.placing import Drawing, draw, place_id, room_for
from ssl4eo.locations.polygons import InPolygons
from ssl4eo.locations.sampler import Candidate
from ssl4eo.locations.spacing import Spacing, as_published, nearest, no_overlap
from ssl4eo.locations.sphere import Box, OnSphere
from ssl4eo.locations.streams import stream

CROWDED = Cities(tuple(City(f"c{k}", lon, lat, 1.0) for k, (lon, lat) in enumerate([(179.9, 70.0), (10.0, 48.0)])), {})
"""Two cities, one at the antimeridian, with so little room that draws are often refused."""


def crowded(count, **options):
    return draw(AroundCities(CROWDED, sigma_km=20), Drawing(count, no_overlap(2640), **options))


def rows(table, first=None):
    """Id, attempt, draw, lon, lat of each point."""
    columns = (table.ids, table.attempts.tolist(), table.draws.tolist(), table.lons.tolist(), table.lats.tolist())
    return [row for row in zip(*columns, strict=True) if first is None or (row[1] == 0) is first]


def test_all_points_lie_apart():
    """First and spare ones, across the antimeridian, though many draws were refused."""
    table = crowded(100, spares=2)

    assert len(table) == 300
    assert table.draws.sum() > 1.2 * (0 + 1 + 2) * 100
    assert {lon > 0 for lon in table.lons[np.abs(table.lons) > 170]} == {True, False}
    assert nearest(table.lons, table.lats)[0].min() >= no_overlap(2640).meters


def test_the_published_spacing_lets_points_be_nearer():
    """In its own metric, 1980 m."""
    table = draw(AroundCities(CROWDED, sigma_km=20), Drawing(150, as_published(2640), spares=0))

    degrees = np.hypot(table.lons[:, None] - table.lons, table.lats[:, None] - table.lats) + 360 * np.eye(150)
    assert degrees.min() * 2 * np.pi * 6371 / 360 >= 1.98
    assert nearest(table.lons, table.lats)[0].min() < 1980


def test_a_point_is_that_of_its_stream():
    """What was drawn follows from seed, id and number of the draw alone."""
    sampler = AroundCities(CROWDED, sigma_km=20)

    for place, _, used, lon, lat in rows(crowded(30, seed=9)):
        candidate = sampler.draw(stream(9, place=place, attempt=used, use="place"), int(place))
        assert (lon, lat) == (round(candidate.lon, 7), round(candidate.lat, 7))


def test_more_places_move_none_of_the_first_points():
    """Those of 40 are the first 40 of 100; the spare ones may move."""
    assert rows(crowded(100), first=True)[:40] == rows(crowded(40), first=True)


def test_more_spares_move_nothing():
    """Points of two spares are there again with three."""
    assert set(rows(crowded(50, spares=2))) < set(rows(crowded(50, spares=3)))


def test_a_later_first_id_draws_the_same_candidates():
    """Places 20 to 29 alone: each that was not in the way of others is where it was among 30."""
    among = {row[0]: row for row in rows(crowded(30), first=True)}
    alone = rows(crowded(10, first=20), first=True)

    assert [row[0] for row in alone] == [place_id(n) for n in range(20, 30)]
    assert all(row == among[row[0]] for row in alone if among[row[0]][2] == 0)
    assert sum(row == among[row[0]] for row in alone) >= 5


def test_seeds_differ_and_repeat():
    """The same seed twice, another one."""
    assert rows(crowded(20, seed=1)) == rows(crowded(20, seed=1))
    assert not set(rows(crowded(20, seed=1))) & set(rows(crowded(20, seed=2)))


def test_points_beyond_utm_are_drawn_again():
    """None above 84 north or below 80 south."""
    for box in (Box(south=70.0), Box(north=-70.0)):
        table = draw(OnSphere(box), Drawing(200, Spacing(0), spares=0))
        assert (table.lats >= -80).all()
        assert (table.lats <= 84).all()
        assert table.draws.max() > 0


def test_facts_are_those_of_each_point():
    """The city that a point was drawn around, which differs among the points of a place."""
    table = crowded(30)

    places = table.places()

    assert len(places) == 30
    for place in places:
        for attempt, (lon, _) in enumerate(place.points):
            assert place.facts_of(attempt) == {"city": "c1" if 0 < lon < 90 else "c0"}
    assert any(len({place.facts_of(k)["city"] for k in range(4)}) == 2 for place in places)


SQUARE = InPolygons([shapely.box(10, 48, 10.1, 48.1)], options={})
"""7.4 by 11.1 km."""


def test_what_cannot_be_placed_is_told_with_how_far_it_came():
    """Patches of 2640 m at 3820 m: some find room, 40 do not."""
    with pytest.raises(ConfigInvalid) as caught:
        draw(SQUARE, Drawing(40, no_overlap(2640), most_draws=50))

    text = str(caught.value)
    assert "found no free point in 50 draws" in text
    assert "of 40 places and 0 of 120 spare points were placed, 3820 m apart" in text
    num_placed = int(text.split("draws: ")[1].split(maxsplit=1)[0])
    assert 2 <= num_placed <= 12
    assert f"place {place_id(num_placed)} " in text
    assert f"about {room_for(SQUARE, no_overlap(2640))} points" in text


def test_spares_that_find_no_room_are_told_apart():
    """All places were placed, some spares."""
    with pytest.raises(ConfigInvalid, match=r"2 of 2 places and \d+ of 60 spare points"):
        draw(SQUARE, Drawing(2, no_overlap(2640), spares=30, most_draws=50))


def test_the_part_that_is_full_is_named():
    """The room of the whole area says nothing of a stratum or a city."""
    with pytest.raises(ConfigInvalid, match=r"place \d+ \(.*\) found no free point") as caught:
        draw(AroundCities(CROWDED), Drawing(200, no_overlap(26400), most_draws=10))

    assert "there is some for" not in str(caught.value)


def test_an_area_north_of_utm_is_told():
    """Nobody who draws there should look for room."""

    class Polar:
        options, facts, area_km2 = {}, {}, 5e5

        def draw(self, rng, number):
            return Candidate(0.0, 88.0, 0)

    with pytest.raises(ConfigInvalid, match=r"none of 7 draws lies between -80 and 84"):
        draw(Polar(), Drawing(1, Spacing(0), most_draws=7))


def test_a_sampler_that_never_hits_ends():
    """By the bound on draws."""

    class Never:
        options, facts, area_km2 = {}, {}, None

        def draw(self, rng, number):
            return None

    with pytest.raises(ConfigInvalid, match="0 of 1 places"):
        draw(Never(), Drawing(1, Spacing(0), most_draws=7))


def test_room_is_that_of_random_discs():
    """As many as fill 54.7 % of a million km2: 4771 discs of 11.9 km; none where nothing limits them."""

    class Flat(OnSphere):
        area_km2 = 1e6

    spacing = Spacing(12_083.0)
    assert room_for(Flat(), spacing) == int(0.547 * 1e6 / (np.pi * 6.0415**2))
    assert room_for(Flat(), Spacing(0)) is None
    assert room_for(AroundCities(CROWDED), spacing) is None


def test_progress_is_told_to_the_end():
    """In steps, then all."""
    told = []

    draw(OnSphere(), Drawing(1500, Spacing(0), spares=0), progress=lambda done, total: told.append((done, total)))

    assert told == [(1000, 1500), (1500, 1500)]


def test_coordinates_are_rounded_to_a_centimeter():
    """So that machines that round sines otherwise agree."""

    class Fixed(OnSphere):
        def draw(self, rng, number):
            return Candidate(1.23456789, -179.99999999 / 10, 0)

    table = draw(Fixed(), Drawing(1, Spacing(0), spares=0))

    assert (table.lons[0], table.lats[0]) == (1.2345679, -18.0)


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"spares": -1}, {"first": -1}, {"most_draws": 0}, {"first": 9_999_999, "count": 2}]
)
def test_impossible_counts_are_refused(options):
    """At the door."""
    with pytest.raises(ConfigInvalid):
        Drawing(**{"count": 1, "spacing": Spacing(0), **options})
