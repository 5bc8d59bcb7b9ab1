# SPDX-License-Identifier: Apache-2.0
"""The seasons of a collection as options tell them: one rule of `locations.seasons`, for every place."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ssl4eo.errors import ConfigInvalid
from ssl4eo.locations.seasons import AroundDates, Calendar, Even, Published, SeasonRule
from ssl4eo.locations.window import Window

RuleName = Literal["published", "dates", "calendar", "even"]


@dataclass(frozen=True)
class PlaceWindows:
    """Gives the windows of a place; what `CollectedSource.windows` asks for."""

    rule: SeasonRule
    seed: int = 0

    def __call__(self, place: str, lat: float) -> Sequence[Window]:
        """Give the windows of a place at a latitude [deg]."""
        return self.rule.windows(place, lat=lat, seed=self.seed)

    @property
    def num_seasons(self) -> int:
        """Dates of every place."""
        return len(self("0", 0.0))


def season_rule(
    name: RuleName,
    *,
    dates: Sequence[str] = (),
    days: int | None = None,
    years: Sequence[int] = (),
    period: Sequence[str] = (),
    count: int | None = None,
) -> SeasonRule:
    """Make a rule of its options; those of other rules are refused.

    Args:
        name: of the rule.
        dates: of `dates`: YYYY-MM-DD.
        days: before and after each date; None as the rule has it.
        years: of `calendar` those of its seasons, in order of preference; of `dates` those added to each date.
        period: of `even`: first day, and the day after the last.
        count: of `even`: windows.

    Raises:
        ConfigInvalid: an option of another rule, one that lacks, or a date that is none.
    """
    given = {"dates": bool(dates), "years": bool(years), "period": bool(period), "count": count is not None}
    allowed = {"published": (), "dates": ("dates", "years"), "calendar": ("years",), "even": ("period", "count")}[name]
    foreign = [option for option, is_given in given.items() if is_given and option not in allowed]
    lacking = [option for option in allowed if not given[option] and (name, option) != ("dates", "years")]
    if foreign or lacking:
        words = [f"--{n.replace('count', 'num_seasons')}" for n in (*foreign, *lacking)]
        raise ConfigInvalid(
            f"seasons {name} {'with' if foreign else 'without'} {', '.join(words[: len(foreign) or None])}",
            expected=f"{', '.join(allowed) or 'no further option but days'} for {name}",
        )
    if name == "published":
        return Published(days=Published.days if days is None else days)
    if name == "dates":
        wanted = AroundDates.days if days is None else days
        return AroundDates(tuple(map(_date, dates)), days=wanted, years=tuple(years) or (0,))
    if name == "calendar":
        return Calendar(tuple(years), days=days)
    if len(period) != 2:
        raise ConfigInvalid(f"a period of {len(period)} dates", expected="first day, and the day after the last")
    return Even(_date(period[0]), _date(period[1]), count or 0, days=days)


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError as error:
        raise ConfigInvalid(f"date {text!r}", expected="YYYY-MM-DD") from error
