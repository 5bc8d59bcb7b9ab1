# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo like`: what embeddings say is alike, what is like nothing else, and whether two networks agree."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssl4eo.errors import ConfigInvalid

log = logging.getLogger(__name__)


def run(
    embeddings: Path,
    location: str | None = None,
    *,
    k: int = 10,
    season: int | None = None,
    every_date: bool = False,
    outliers: bool = False,
    compare: Path | None = None,
    json: bool = False,
) -> int:
    """Find the places that look like one, those that look like no other, or compare two networks.

    Args:
        embeddings: file of `ssl4eo embed`
        location: id of the place whose like is wanted
        k: how many to list, or of compare how many neighbours count
        season: date of the location that is compared; without it the first in the file
        every_date: list every date of a place, also of the location itself, in place of each place once
        outliers: list the places whose nearest other places are farthest
        compare: another file of embeddings of the same places: say how many neighbours both name
        json: print the result as JSON

    Returns:
        Exit status 0.
    """
    wanted = [location is not None, outliers, compare is not None]
    if sum(wanted) != 1:
        raise ConfigInvalid(
            "no question" if not any(wanted) else "more than one question",
            expected="one of a location, --outliers and --compare",
        )
    if location is not None:
        _tell(_alike(embeddings, location, k, season, every_date=every_date), json=json)
        return 0
    if season is not None or every_date:
        raise ConfigInvalid("--season or --every-date without a location", expected="a location with them")
    if compare is not None:
        facts = _compared(embeddings, compare, k)
        if json:
            sys.stdout.write(dumps(facts, indent=2) + "\n")
        else:  # a fact a line: names that differ at their ends only are not to be shortened
            _print(Table(show_header=False), facts.items())
        return 0
    _tell(_outliers(embeddings, k), json=json)
    return 0


def _alike(path: Path, location: str, k: int, season: int | None, *, every_date: bool) -> list[dict[str, Any]]:
    from ssl4eo.likeness.embeddings import open_embeddings
    from ssl4eo.likeness.search import Likeness

    likeness = Likeness(open_embeddings(path))
    found = likeness.like(location, season=season, k=k, by_place=not every_date, own=every_date)
    if not found:
        log.warning("nothing else in %s can be compared with %s: it holds no other place with features", path, location)
    return [row.to_json() for row in found]


def _outliers(path: Path, k: int) -> list[dict[str, Any]]:
    from ssl4eo.likeness.embeddings import has_length, open_embeddings
    from ssl4eo.likeness.outliers import NEIGHBOURS, distance_of, order_of, outlier_scores
    from ssl4eo.likeness.search import mean_by_place, nearest_places

    if k < 1:
        raise ConfigInvalid(f"{k} places", expected="1 or more", remedy="name another --k")
    embeddings = open_embeddings(path)
    means = mean_by_place(embeddings.vectors(unit=True), embeddings.place_of)
    _, products = nearest_places(means, np.arange(len(means)), NEIGHBOURS)
    scores = outlier_scores(products)
    if len(means) == 1:
        log.warning("%s holds a single place: there is nothing that it differs from", path)
    order = order_of(scores, has_length(means))[:k]
    return [{"location": embeddings.places[i], "distance": distance_of(float(scores[i]))} for i in order.tolist()]


def _compared(first: Path, second: Path, k: int) -> dict[str, Any]:
    from ssl4eo.likeness.compare import compare
    from ssl4eo.likeness.embeddings import open_embeddings
    from ssl4eo.likeness.names import network_names

    one, two = open_embeddings(first), open_embeddings(second)
    names = dict(zip(("first", "second"), network_names([one, two]), strict=True))
    return {**names, **compare(one, two, k=k).to_json()}


def _tell(rows: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        sys.stdout.write(dumps(rows, indent=2) + "\n")
        return
    if not rows:  # a table of nothing is an empty line
        return
    _print(Table(*rows[0]), (row.values() for row in rows))


def _print(table: Table, rows: Iterable[Iterable[object]]) -> None:
    for row in rows:
        table.add_row(*map(_spell, row))
    for column in table.columns:
        column.overflow = "fold"  # the end of an id or a name is what tells it apart
    Console(soft_wrap=True).print(table)


def _spell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else escape(str(value))
