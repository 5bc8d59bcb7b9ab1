# SPDX-License-Identifier: Apache-2.0
"""Seasons: windows worked out by hand, leap years, year ends, hemispheres, seeds, overlaps."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl4eo.errors import ConfigInvalid
from ssl4eo.locations.seasons import PUBLISHED_DATES, RULES, AroundDates, Calendar, Even, Published


def day(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def spans(windows, which=0):
    """Start and end of a range of each window, as text."""
    return [(f"{w.ranges[which].start:%Y-%m-%d}", f"{w.ranges[which].end:%Y-%m-%d}") for w in windows]


def targets(windows):
    return [f"{w.ranges[0].target:%Y-%m-%d}" for w in windows]


def test_dates_are_put_in_order_of_time():
    """Each is 30 days before to 30 days after, from midnight to midnight."""
    rule = AroundDates((dt.date(2021, 9, 22), dt.date(2020, 12, 21), dt.date(2021, 3, 20)))

    windows = rule.windows("a", lat=0.0)

    assert targets(windows) == ["2020-12-21", "2021-03-20", "2021-09-22"]
    assert spans(windows) == [
        ("2020-11-21", "2021-01-20"),
        ("2021-02-18", "2021-04-19"),
        ("2021-08-23", "2021-10-22"),
    ]


def test_further_years_are_alternatives_of_the_same_window():
    """The year before is a second range, as in the published downloader for any collection."""
    (window,) = AroundDates((dt.date(2021, 6, 21),), days=30, years=(0, -1)).windows("a", lat=0.0)

    assert [f"{r.target:%Y-%m-%d}" for r in window.ranges] == ["2021-06-21", "2020-06-21"]
    assert window.range_of(day("2020-07-20")) == 1
    assert window.range_of(day("2021-07-21")) is None  # the end is exclusive


@pytest.mark.parametrize(
    ("years", "target", "start", "end"),
    [(0, "2020-02-29", "2020-02-28", "2020-03-01"), (-1, "2019-02-28", "2019-02-27", "2019-03-01")],
)
def test_the_day_that_a_year_lacks_becomes_the_day_before(years, target, start, end):
    """29 February of 2020 is 28 February of 2019."""
    windows = AroundDates((dt.date(2020, 2, 29),), days=1, years=(years,)).windows("a", lat=0.0)

    assert targets(windows) == [target]
    assert spans(windows) == [(start, end)]


def test_a_window_passes_over_29_february():
    """15 days before 10 March are the 24th in a leap year, the 23rd in another."""
    assert spans(AroundDates((dt.date(2020, 3, 10),), days=15).windows("a", lat=0.0))[0][0] == "2020-02-24"
    assert spans(AroundDates((dt.date(2021, 3, 10),), days=15).windows("a", lat=0.0))[0][0] == "2021-02-23"


def test_the_published_rule_without_a_shift():
    """Four dates, 15 days either way."""
    windows = Published(most_shift=0).windows("0000017", lat=48.0, seed=3)

    assert targets(windows) == ["2020-12-21", "2021-03-20", "2021-06-21", "2021-09-22"]
    assert spans(windows) == [
        ("2020-12-06", "2021-01-05"),
        ("2021-03-05", "2021-04-04"),
        ("2021-06-06", "2021-07-06"),
        ("2021-09-07", "2021-10-07"),
    ]


def test_the_published_shift_moves_all_four_dates_of_a_place():
    """By the same 0 to 364 days, so that images are of 2019-12-08 to 2021-10-06."""
    rule = Published()
    shifts = set()
    for number in range(4000):
        place = f"{number:07d}"
        windows = rule.windows(place, lat=0.0)
        shift = rule.shift(place)
        assert [w.ranges[0].target + shift for w in windows] == [day(d.isoformat()) for d in sorted(PUBLISHED_DATES)]
        shifts.add(shift.days)

    assert (min(shifts), max(shifts)) == (0, 364)
    earliest = day("2020-12-21") - dt.timedelta(days=364 + 15)
    assert earliest == day("2019-12-08")


def test_the_shift_belongs_to_seed_and_place():
    """Same seed and place: same shift, wherever the place lies; others differ."""
    rule = Published()

    assert rule.windows("0000001", lat=50.0, seed=7) == Published().windows("0000001", lat=-50.0, seed=7)
    assert len({rule.shift("0000001", seed=seed) for seed in range(20)}) > 10
    assert len({rule.shift(f"{n:07d}", seed=7) for n in range(20)}) > 10


def test_the_shift_of_known_places_stays():
    """Values of the first release: a new one must not move them."""
    assert [Published().shift(f"{n:07d}", seed=0).days for n in range(4)] == KNOWN_SHIFTS


KNOWN_SHIFTS = [73, 324, 185, 237]


def test_meteorological_seasons_of_the_north():
    """Winter of 2021 begins in December 2020."""
    windows = Calendar((2021,)).windows("a", lat=48.0)

    assert spans(windows) == [
        ("2020-12-01", "2021-03-01"),
        ("2021-03-01", "2021-06-01"),
        ("2021-06-01", "2021-09-01"),
        ("2021-09-01", "2021-12-01"),
    ]
    assert targets(windows) == ["2021-01-15", "2021-04-16", "2021-07-17", "2021-10-16"]


def test_meteorological_seasons_of_the_south():
    """Winter of 2021 begins in June 2021; autumn ends in May 2022."""
    assert spans(Calendar((2021,)).windows("a", lat=-33.0)) == [
        ("2021-06-01", "2021-09-01"),
        ("2021-09-01", "2021-12-01"),
        ("2021-12-01", "2022-03-01"),
        ("2022-03-01", "2022-06-01"),
    ]


def test_astronomical_seasons_begin_at_solstices_and_equinoxes():
    """In both hemispheres."""
    rule = Calendar((2021,), kind="astronomical")

    assert spans(rule.windows("a", lat=48.0)) == [
        ("2020-12-21", "2021-03-20"),
        ("2021-03-20", "2021-06-21"),
        ("2021-06-21", "2021-09-22"),
        ("2021-09-22", "2021-12-21"),
    ]
    assert spans(rule.windows("a", lat=-48.0))[0] == ("2021-06-21", "2021-09-22")


@pytest.mark.parametrize(("lat", "start"), [(0.0, "2021-06-01"), (1e-9, "2021-06-01"), (-1e-9, "2021-12-01")])
def test_the_equator_counts_as_north(lat, start):
    """Summer is June there, and December a hair farther south."""
    assert spans(Calendar((2021,), names=("summer",)).windows("a", lat=lat))[0][0] == start


def test_a_winter_with_29_february_is_a_day_longer():
    """91 days, its middle at noon."""
    (leap,) = Calendar((2020,), names=("winter",)).windows("a", lat=1.0)
    (other,) = Calendar((2021,), names=("winter",)).windows("a", lat=1.0)

    assert (leap.ranges[0].end - leap.ranges[0].start).days == 91
    assert leap.ranges[0].target == day("2020-01-15T12:00")
    assert (other.ranges[0].end - other.ranges[0].start).days == 90


def test_days_around_the_middle_of_a_season():
    """10 days either way of 15 January; another year as an alternative."""
    (window,) = Calendar((2021, 2022), names=("winter",), days=10).windows("a", lat=1.0)

    assert spans([window]) == [("2021-01-05", "2021-01-25")]
    assert spans([window], 1) == [("2022-01-05", "2022-01-25")]


def test_windows_stay_in_order_of_time_whatever_the_order_of_names():
    """In the south spring comes before summer of the same year of seasons."""
    windows = Calendar((2021,), names=("summer", "spring")).windows("a", lat=-1.0)

    assert [start for start, _ in spans(windows)] == ["2021-09-01", "2021-12-01"]


def test_even_windows_cut_a_period():
    """A year of 365 days in five parts of 73 days."""
    windows = Even(dt.date(2021, 1, 1), dt.date(2022, 1, 1), 5).windows("a", lat=0.0)

    assert [start for start, _ in spans(windows)] == [
        "2021-01-01",
        "2021-03-15",
        "2021-05-27",
        "2021-08-08",
        "2021-10-20",
    ]
    assert windows[-1].ranges[0].end == day("2022-01-01")
    assert windows[0].ranges[0].target == day("2021-02-06T12:00")


def test_even_windows_of_given_length():
    """366 days in two parts, 10 days either way of 1 April 12:00 and 1 October 12:00."""
    windows = Even(dt.date(2020, 1, 1), dt.date(2021, 1, 1), 2, days=10).windows("a", lat=0.0)

    assert [w.ranges[0].target for w in windows] == [day("2020-04-01T12:00"), day("2020-10-01T12:00")]
    assert windows[0].ranges[0].start == day("2020-03-22T12:00")


@given(count=st.integers(1, 400), length=st.integers(1, 4000))
def test_even_windows_meet_and_fill_the_period(count, length):
    """To the microsecond, for any count."""
    start = dt.date(2015, 7, 1)
    end = start + dt.timedelta(days=length)

    ranges = [w.ranges[0] for w in Even(start, end, count).windows("a", lat=0.0)]

    assert len(ranges) == count
    assert (ranges[0].start, ranges[-1].end) == (day("2015-07-01"), day(end.isoformat()))
    assert all(a.end == b.start for a, b in pairwise(ranges))


DECEMBER, JUNE = dt.date(2021, 12, 21), dt.date(2021, 6, 21)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda **k: AroundDates((DECEMBER, dt.date(2022, 1, 20)), days=30, **k), "overlap"),
        (lambda **k: AroundDates((JUNE, JUNE.replace(year=2020)), days=30, years=(0, -1), **k), "overlap"),
        (lambda **k: AroundDates((JUNE,), days=200, years=(0, -1), **k), "overlap"),
        (lambda **k: Published(days=60, **k), "overlap"),
        (lambda **k: Calendar((2021,), days=60, **k), "overlap"),
        (lambda **k: Even(dt.date(2021, 1, 1), dt.date(2022, 1, 1), 12, days=20, **k), "overlap"),
    ],
)
def test_windows_overlap_only_if_asked(make, message):
    """One image could stand for two seasons."""
    with pytest.raises(ConfigInvalid, match=message):
        make()

    assert make(overlap=True).windows("a", lat=1.0)


def test_windows_that_touch_do_not_overlap():
    """Ends are exclusive."""
    AroundDates((dt.date(2021, 6, 1), dt.date(2021, 6, 11)), days=5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: AroundDates(()),
        lambda: AroundDates((JUNE,), days=0),
        lambda: AroundDates((JUNE,), years=()),
        lambda: Published(days=-1),
        lambda: Published(most_shift=-1),
        lambda: Published(dates=()),
        lambda: Calendar(()),
        lambda: Calendar((2021,), names=("winter", "winter")),
        lambda: Calendar((2021,), names=("fall",)),
        lambda: Calendar((2021,), names=()),
        lambda: Calendar((2021,), kind="lunar"),
        lambda: Calendar((2021,), days=0),
        lambda: Even(JUNE, JUNE, 1),
        lambda: Even(JUNE, DECEMBER, 0),
        lambda: Even(JUNE, DECEMBER, 2, days=0),
    ],
)
def test_rules_without_windows_are_refused_at_the_door(make):
    """Before any place is asked for."""
    with pytest.raises(ConfigInvalid):
        make()


def test_all_rules_give_utc_in_order():
    """The conformance of every member of the table."""
    made = {
        "published": Published(),
        "dates": AroundDates(PUBLISHED_DATES),
        "calendar": Calendar((2021, 2020)),
        "even": Even(JUNE, DECEMBER, 7),
    }

    assert set(made) == set(RULES)
    for name, rule in made.items():
        assert isinstance(rule, RULES[name])
        for lat in (-80.0, 0.0, 84.0):
            windows = rule.windows("0000001", lat=lat, seed=1)
            times = [w.ranges[0].target for w in windows]
            assert times == sorted(times)
            assert all(t.utcoffset() == dt.timedelta(0) for t in times)
            assert windows == rule.windows("0000001", lat=lat, seed=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Calendar((99999,)),
        lambda: Calendar((0,)),
        lambda: AroundDates((dt.date(2021, 1, 1),), years=(9000,)),
        lambda: AroundDates((dt.date(1, 1, 1),)),
        lambda: Published(dates=(dt.date(1, 3, 1),)),
        lambda: Even(dt.date(1, 1, 1), dt.date(1, 2, 1), 1, days=40),
    ],
)
def test_days_of_no_calendar_are_refused(make):
    """Python's dates end at the years 1 and 9999."""
    with pytest.raises(ConfigInvalid, match="years 1 to 9999"):
        make()
