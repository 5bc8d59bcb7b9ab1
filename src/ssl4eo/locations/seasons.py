# SPDX-License-Identifier: Apache-2.0
"""When to look: rules that give each place the windows of its seasons.

A rule is a frozen dataclass; `windows` is a function of (place, latitude, seed) and nothing else. Windows of a place
are in order of time by their targets and do not overlap, so that no image can stand for two seasons, unless
`overlap` allows it. All days begin at 00:00 UTC; a window of +- 15 days is 30 days long, its end exclusive.
"""

from __future__ import annotations

import calendar
import contextlib
import datetime as dt
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, Protocol

from ssl4eo.errors import ConfigInvalid
from ssl4eo.locations.streams import stream
from ssl4eo.locations.window import Range, Window

PUBLISHED_DATES = (dt.date(2021, 9, 22), dt.date(2021, 6, 21), dt.date(2021, 3, 20), dt.date(2020, 12, 21))
PUBLISHED_DAYS = 15
PUBLISHED_SHIFT = 364
"""Source: the downloader of SSL4EO-S12, all modes of its first version."""


class SeasonRule(Protocol):
    """What gives the windows of a place."""

    def windows(self, place: str, *, lat: float, seed: int = 0) -> tuple[Window, ...]:
        """Give the windows of a place, in order of time.

        Args:
            place: id.
            lat: latitude [deg].
            seed: of what a rule draws.
        """
        ...


@dataclass(frozen=True)
class AroundDates:
    """Windows around the same dates everywhere, in one year or several."""

    dates: tuple[dt.date, ...]
    days: int = 30
    """Before and after each date."""
    years: tuple[int, ...] = (0,)
    """Years added to a date, in order of preference: (0, -1) also takes the year before. 29 February may become 28."""
    overlap: bool = False

    def __post_init__(self) -> None:
        """Refuse rules without windows, or whose windows overlap."""
        _require_days(self.days)
        _require_some(years=self.years)
        with _on_calendar(f"dates {', '.join(map(str, self.dates))} with {self.years} years added to each"):
            self.windows("0", lat=0.0)

    def windows(self, place: str, *, lat: float, seed: int = 0) -> tuple[Window, ...]:
        """Give the same windows to every place."""
        del place, lat, seed
        windows = (Window(tuple(_around(_years_later(d, n), self.days) for n in self.years)) for d in self.dates)
        return _in_order(windows, overlap=self.overlap)


@dataclass(frozen=True)
class Published:
    """The rule of SSL4EO-S12: four dates, all moved back by one random number of days a place."""

    dates: tuple[dt.date, ...] = PUBLISHED_DATES
    days: int = PUBLISHED_DAYS
    """Before and after each date."""
    most_shift: int = PUBLISHED_SHIFT
    """The shift is uniform on 0 to this [days], both inclusive."""
    overlap: bool = False

    def __post_init__(self) -> None:
        """Refuse rules without windows, or whose windows overlap."""
        _require_days(self.days)
        if self.most_shift < 0:
            raise ConfigInvalid(f"a shift of up to {self.most_shift} days", expected="0 or more")
        with _on_calendar(f"dates {', '.join(map(str, self.dates))} moved back by up to {self.most_shift} days"):
            for date in self.dates:
                _around(date - dt.timedelta(days=self.most_shift), self.days)
            self.windows("0", lat=0.0)

    def shift(self, place: str, *, seed: int = 0) -> dt.timedelta:
        """Draw by how much the dates of a place are moved back."""
        rng = stream(seed, place=place, attempt=0, use="season shift")
        return dt.timedelta(days=int(rng.integers(self.most_shift, endpoint=True)))

    def windows(self, place: str, *, lat: float, seed: int = 0) -> tuple[Window, ...]:
        """Give the windows of a place; latitude does not matter."""
        del lat
        shift = self.shift(place, seed=seed)
        return _in_order((Window((_around(date - shift, self.days),)) for date in self.dates), overlap=self.overlap)


SeasonName = Literal["winter", "spring", "summer", "autumn"]
SEASONS: tuple[SeasonName, ...] = ("winter", "spring", "summer", "autumn")
"""A year of seasons, from winter on, in either hemisphere."""

STARTS: Mapping[str, tuple[tuple[int, int], ...]] = MappingProxyType(
    {
        "meteorological": ((12, 1), (3, 1), (6, 1), (9, 1)),
        "astronomical": ((12, 21), (3, 20), (6, 21), (9, 22)),
    }
)
"""By calendar the month and day on which northern winter, spring, summer and autumn begin. Solstices and equinoxes of
2000 to 2050 lie within a day of these."""


@dataclass(frozen=True)
class Calendar:
    """Seasons of the year where the place lies: southern winter is June to August.

    A year of seasons goes from winter to autumn. In the north that of 2021 begins in December 2020, in the south in
    June 2021, so that the first window is winter everywhere. The equator counts as north.
    """

    years: tuple[int, ...]
    """In order of preference: those after the first are alternatives."""
    kind: Literal["meteorological", "astronomical"] = "meteorological"
    names: tuple[SeasonName, ...] = SEASONS
    """Which seasons."""
    days: int | None = None
    """Before and after the middle of a season; None for all of it."""
    overlap: bool = False

    def __post_init__(self) -> None:
        """Refuse rules without windows, or whose windows overlap."""
        if self.days is not None:
            _require_days(self.days)
        _require_some(years=self.years)
        unknown = [name for name in self.names if name not in SEASONS]
        if unknown or len(set(self.names)) < len(self.names) or self.kind not in STARTS:
            raise ConfigInvalid(
                f"{self.kind} seasons {', '.join(self.names)}",
                expected=f"{' or '.join(STARTS)}, some of {', '.join(SEASONS)}",
            )
        with _on_calendar(f"seasons of {', '.join(map(str, self.years))}"):
            for lat in (-1.0, 1.0):
                self.windows("0", lat=lat)

    def windows(self, place: str, *, lat: float, seed: int = 0) -> tuple[Window, ...]:
        """Give the windows of a place; only the sign of its latitude matters."""
        del place, seed
        windows = (Window(tuple(self._range(name, year, lat) for year in self.years)) for name in self.names)
        return _in_order(windows, overlap=self.overlap)

    def _range(self, name: SeasonName, year: int, lat: float) -> Range:
        """Count quarters from northern winter of a year on; those of the south begin two later."""
        quarter = SEASONS.index(name) + (0 if lat >= 0 else 2)
        start, end = self._start(year, quarter), self._start(year, quarter + 1)
        middle = start + (end - start) / 2
        if self.days is None:
            return Range(middle, start, end)
        margin = dt.timedelta(days=self.days)
        return Range(middle, middle - margin, middle + margin)

    def _start(self, year: int, quarter: int) -> dt.datetime:
        turns, which = divmod(quarter, 4)
        month, day = STARTS[self.kind][which]
        return _midnight(dt.date(year + turns - (which == 0), month, day))


@dataclass(frozen=True)
class Even:
    """A period cut into equal windows, whatever grows there: any number of dates."""

    start: dt.date
    end: dt.date
    """Exclusive."""
    count: int
    days: float | None = None
    """Before and after the middle of a part; None for all of it."""
    overlap: bool = False

    def __post_init__(self) -> None:
        """Refuse rules without windows, or whose windows overlap."""
        if self.days is not None:
            _require_days(self.days)
        if self.count < 1 or self.start >= self.end:
            raise ConfigInvalid(
                f"{self.count} windows from {self.start} to {self.end}",
                expected="1 or more, and a start before the end",
            )
        with _on_calendar(f"windows of {self.days} days around parts of {self.start} to {self.end}"):
            self.windows("0", lat=0.0)

    def windows(self, place: str, *, lat: float, seed: int = 0) -> tuple[Window, ...]:
        """Give the same windows to every place."""
        del place, lat, seed
        begin, period = _midnight(self.start), self.end - self.start
        parts = range(self.count)
        middles = [begin + period * (2 * number + 1) / (2 * self.count) for number in parts]
        if self.days is None:
            edges = [begin + period * number / self.count for number in (*parts, self.count)]
            ranges = [Range(m, a, b) for m, (a, b) in zip(middles, pairwise(edges), strict=True)]
        else:
            half = dt.timedelta(days=self.days)
            ranges = [Range(middle, middle - half, middle + half) for middle in middles]
        return _in_order((Window((r,)) for r in ranges), overlap=self.overlap)


RULES: Mapping[str, type[SeasonRule]] = MappingProxyType(
    {"published": Published, "dates": AroundDates, "calendar": Calendar, "even": Even}
)
"""By name all rules."""


@contextlib.contextmanager
def _on_calendar(wanted: str) -> Generator[None]:
    """Tell windows that no calendar has as what they are."""
    try:
        yield
    except ConfigInvalid:
        raise
    except (ValueError, OverflowError) as error:
        raise ConfigInvalid(f"{wanted}: {error}", expected="days of the years 1 to 9999") from error


def _midnight(date: dt.date) -> dt.datetime:
    return dt.datetime(date.year, date.month, date.day, tzinfo=dt.UTC)


def _around(date: dt.date, days: int) -> Range:
    target, margin = _midnight(date), dt.timedelta(days=days)
    return Range(target, target - margin, target + margin)


def _years_later(date: dt.date, years: int) -> dt.date:
    """Give the same day of another year.

    >>> _years_later(dt.date(2020, 2, 29), -1), _years_later(dt.date(2020, 2, 29), 4)
    (datetime.date(2019, 2, 28), datetime.date(2024, 2, 29))
    """
    year = date.year + years
    return date.replace(year=year, day=min(date.day, calendar.monthrange(year, date.month)[1]))


def _in_order(windows: Iterable[Window], *, overlap: bool) -> tuple[Window, ...]:
    """Sort windows by their first targets and check that none of their ranges overlap."""
    ordered = tuple(sorted(windows, key=lambda window: window.ranges[0].target))
    _require_some(seasons=ordered)
    ranges = sorted((r for window in ordered for r in window.ranges), key=lambda r: r.start)
    for earlier, later in pairwise(ranges):
        if later.start < earlier.end and not overlap:
            raise ConfigInvalid(
                f"windows from {earlier.start:%Y-%m-%d} to {earlier.end:%Y-%m-%d} and from {later.start:%Y-%m-%d} to "
                f"{later.end:%Y-%m-%d} overlap",
                expected="windows apart, so that no image is taken twice",
                remedy="fewer days, other dates or years (in Python, overlap=True allows it)",
            )
    return ordered


def _require_days(days: float) -> None:
    if not days > 0:
        raise ConfigInvalid(f"windows of {days} days before and after", expected="more than 0")


def _require_some(**values: Sequence[object]) -> None:
    for name, given in values.items():
        if not given:
            raise ConfigInvalid(f"no {name}", expected="one or more")
