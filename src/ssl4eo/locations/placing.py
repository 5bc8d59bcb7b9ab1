# SPDX-License-Identifier: Apache-2.0
"""Draw the points of all places: first one for each, in the order of ids, then the spare ones, all apart.

Spares come after all first points, so that asking for more places or other spares moves no first point that was placed
before. A candidate depends on (seed, id, number of the draw) alone; whether it is taken depends on the points taken
before it. Drawing is a loop with a bound: what cannot be placed is an error that tells how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl4eo.environment import version
from ssl4eo.errors import ConfigInvalid
from ssl4eo.grid import UTM_NORTH, UTM_SOUTH
from ssl4eo.locations.sampler import Candidate, Sampler
from ssl4eo.locations.spacing import Neighbors, Spacing
from ssl4eo.locations.streams import Streams
from ssl4eo.locations.table import PlaceTable

DIGITS = 7
"""Decimals of longitude and latitude [deg], 1 cm: machines whose libraries round sines otherwise agree."""
SPARES = 3
MOST_DRAWS = 1000
"""Draws for one point before drawing gives up."""
MOST_PLACES = 10**7
"""Ids have 7 digits."""
_JAM = 0.547
"""Share of an area that discs cover which are dropped at random until no other fits (Feder 1980)."""
_PACKAGES = ("ssl4eo", "numpy", "pyproj", "shapely")
_EVERY = 1000


@dataclass(frozen=True)
class Drawing:
    """What is drawn, apart from the sampler."""

    count: int
    """Places."""
    spacing: Spacing
    """Least distance between any two points."""
    seed: int = 0
    spares: int = SPARES
    """Further points a place, tried where its first shows no suitable image."""
    first: int = 0
    """Number of the first place, its id without leading zeros."""
    most_draws: int = MOST_DRAWS
    """For one point."""

    def __post_init__(self) -> None:
        """Refuse counts that are none, and ids of more than 7 digits."""
        if self.count < 1 or self.spares < 0 or self.first < 0 or self.most_draws < 1:
            raise ConfigInvalid(
                f"{self.count} places from {self.first} with {self.spares} spares, {self.most_draws} draws",
                expected="1 place or more, 1 draw or more, others 0 or more",
            )
        if self.first + self.count > MOST_PLACES:
            raise ConfigInvalid(f"{self.count} places from {self.first}", expected=f"ids below {MOST_PLACES}")

    @property
    def num_points(self) -> int:
        """Points of all places."""
        return self.count * (1 + self.spares)


def room_for(sampler: Sampler, spacing: Spacing) -> int | None:
    """Estimate how many points fit, drawn at random; None where the sampler or the spacing sets no limit."""
    if sampler.area_km2 is None or spacing.meters == 0:
        return None
    disc = np.pi * (spacing.meters / 2000) ** 2
    return max(1, int(_JAM * sampler.area_km2 / disc))


def place_id(number: int) -> str:
    """Give the id of a place.

    >>> place_id(17)
    '0000017'
    """
    return f"{number:07d}"


def draw(
    sampler: Sampler, drawing: Drawing, *, progress: Callable[[int, int | None], None] | None = None
) -> PlaceTable:
    """Draw all points.

    Args:
        sampler: where points may lie.
        drawing: how many, how far apart.
        progress: is told (placed, all).

    Raises:
        ConfigInvalid: a point found no room in `most_draws` draws; tells how many were placed.
    """
    placer = _Placer(sampler, drawing)
    taken: list[tuple[int, int, int, Candidate]] = []
    for attempt in range(1 + drawing.spares):
        for number in range(drawing.first, drawing.first + drawing.count):
            found = placer.place(number)
            if found is None:
                raise placer.full(len(taken), number)
            taken.append((number, attempt, *found))
            if progress is not None and len(taken) % _EVERY == 0:
                progress(len(taken), drawing.num_points)
    if progress is not None:
        progress(len(taken), drawing.num_points)
    taken.sort(key=lambda row: row[:2])
    return _table(sampler, drawing, taken)


class _Placer:
    """Places one point after the other."""

    def __init__(self, sampler: Sampler, drawing: Drawing) -> None:
        self._sampler = sampler
        self._drawing = drawing
        self._streams = Streams(drawing.seed, use="place")
        self._neighbors = Neighbors(drawing.spacing)
        self._next = [0] * drawing.count
        """By place the number of its next draw."""
        self.last: Candidate | None = None
        """What was drawn last where UTM is defined."""
        self.num_outside = 0
        """Draws where it is not."""

    def place(self, number: int) -> tuple[int, Candidate] | None:
        """Draw until a candidate of a place is free; give the number of its draw, and it. None: there was none."""
        index, place = number - self._drawing.first, place_id(number)
        start = self._next[index]
        for used in range(start, start + self._drawing.most_draws):
            candidate = self._sampler.draw(self._streams.at(place, used), number)
            if candidate is None:
                continue
            lon, lat = round(candidate.lon, DIGITS), round(candidate.lat, DIGITS)
            if not UTM_SOUTH <= lat <= UTM_NORTH:
                self.num_outside += 1
                continue
            self.last = candidate
            if self._neighbors.take(lon, lat):
                self._next[index] = used + 1
                return used, Candidate(lon, lat, candidate.origin)
        return None

    def full(self, num_placed: int, number: int) -> ConfigInvalid:
        """Make the error of a place for which there was no room."""
        if self.last is None and self.num_outside:
            return _outside(self._drawing.most_draws)
        part = {name: column[self.last.origin] for name, column in self._sampler.facts.items()} if self.last else {}
        return _full(self._sampler, self._drawing, num_placed, number, part)


def _outside(count: int) -> ConfigInvalid:
    return ConfigInvalid(
        f"none of {count} draws lies between {UTM_SOUTH:g} and {UTM_NORTH:g} degrees, where UTM is defined",
        expected="an area that does",
    )


def _full(sampler: Sampler, drawing: Drawing, num_placed: int, number: int, part: Mapping[str, Any]) -> ConfigInvalid:
    primaries, spares = min(num_placed, drawing.count), max(0, num_placed - drawing.count)
    room = None if part else room_for(sampler, drawing.spacing)  # of the whole area, not of the part that is full
    told = f" ({', '.join(f'{name} {value}' for name, value in part.items())})" if part else ""
    return ConfigInvalid(
        f"place {place_id(number)}{told} found no free point in {drawing.most_draws} draws: {primaries} of "
        f"{drawing.count} "
        f"places and {spares} of {drawing.count * drawing.spares} spare points were placed, "
        f"{drawing.spacing.meters:.0f} m apart",
        expected="room for all of them" + (f" (there is some for about {room} points)" if room else ""),
        remedy="fewer places or spares, a smaller spacing, or a larger area",
    )


def _table(sampler: Sampler, drawing: Drawing, taken: list[tuple[int, int, int, Candidate]]) -> PlaceTable:
    origins = np.array([candidate.origin for *_, candidate in taken])
    return PlaceTable(
        ids=[place_id(number) for number, *_ in taken],
        attempts=np.array([attempt for _, attempt, *_ in taken]),
        draws=np.array([used for _, _, used, _ in taken]),
        lons=np.array([candidate.lon for *_, candidate in taken]),
        lats=np.array([candidate.lat for *_, candidate in taken]),
        facts={name: np.asarray(column)[origins].tolist() for name, column in sampler.facts.items()},
        record=record_of(sampler.options, drawing),
    )


def record_of(options: Mapping[str, Any], drawing: Drawing) -> dict[str, Any]:
    """Give what decided the points, as plain values: with it the drawing can be repeated."""
    return {
        "options": dict(options),
        "seed": drawing.seed,
        "count": drawing.count,
        "first": drawing.first,
        "spares": drawing.spares,
        "spacing_m": drawing.spacing.meters,
        "metric": drawing.spacing.metric,
        "most_draws": drawing.most_draws,
        "versions": {name: version(name) for name in _PACKAGES},
    }
