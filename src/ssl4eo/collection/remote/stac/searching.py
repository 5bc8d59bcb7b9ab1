# SPDX-License-Identifier: Apache-2.0
"""Asking the API for items, by pystac-client, at the pace of the host.

STAC knows one interval a request: ranges of time that overlap or nearly touch are asked for as one, all pages are
followed, and both are bounded. Items between the ranges are left out afterwards.
"""

from __future__ import annotations

import datetime as dt
import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests
import requests.adapters
from pystac_client import Client
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from ssl4eo import __version__
from ssl4eo.collection.remote.metering import count_request
from ssl4eo.collection.remote.stac.patience import Again, Pace, kind_of
from ssl4eo.collection.remote.stac.profile import Catalog
from ssl4eo.errors import ServiceFailed
from ssl4eo.locations.window import Range
from ssl4eo.statuses import PASSING_STATUSES, retry_after

MOST_INTERVALS = 8
"""Requests, beside further pages, for the ranges of one search."""
BRIDGED = dt.timedelta(days=20)
"""Ranges nearer than this are asked for as one."""
MOST_PAGES = 50
"""Pages of one interval that are followed."""
CONNECT_TIMEOUT_S = 30.0
"""Until a connection stands [s]."""

_CQL2 = {"eq": "=", "in": "in", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


class PacedIO(StacApiIO):
    """Requests of pystac-client, with the host's pace and our patience."""

    def __init__(self, pace: Pace, connections: int) -> None:
        super().__init__(headers={"User-Agent": f"ssl4eo/{__version__}"}, max_retries=None)
        self._pace = pace
        self._told = threading.local()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections, max_retries=0)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, adapter)
        self.session.hooks["response"].append(self._listen)

    def _listen(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self._told.wait = response.headers.get("Retry-After")

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """Send one request, again and again where that may help.

        Raises:
            ServiceFailed: refused or unreachable after all retries.
        """

        def once() -> str:
            self._told.wait = None
            count_request()
            try:
                text = StacApiIO.request(self, href, method, headers, parameters)
            except APIError as error:
                raise _judged(error, href, self._told.wait) from error
            if not text.lstrip().startswith("{"):
                raise Again(f"no JSON in the answer ({text[:40]!r})")
            return text

        return self._pace.run(once, href)


def _judged(error: APIError, href: str, wait: str | None) -> Exception:
    status: int | None = getattr(error, "status_code", None)
    if status is None or status in PASSING_STATUSES:
        return Again(f"status {status}" if status else str(error)[:200], retry_after(wait))
    return ServiceFailed(
        f"{href} answers with status {status} ({str(error)[:200]})",
        expected="200",
        remedy="look at the catalog's entry: address, collection, filters",
        kind=kind_of(status),
    )


def open_client(catalog: Catalog, pace: Pace, *, connections: int, read_timeout: float) -> Client:
    """Read the landing page of an API.

    Args:
        catalog: that the API is of.
        pace: of its host.
        connections: kept open.
        read_timeout: without a single byte before a connection counts as stalled [s].

    Raises:
        ServiceFailed: refused, unreachable, or no STAC API.
    """
    try:
        # Client.open sets the time limit of whatever it is given anew: without one here there would be none.
        stac_io = PacedIO(pace, connections)
        client = Client.open(catalog.api, stac_io=stac_io, timeout=(CONNECT_TIMEOUT_S, read_timeout))
    except (KeyError, ValueError, TypeError) as error:
        raise ServiceFailed(f"{catalog.api} is no STAC API ({error})", expected="its landing page") from error
    for name in catalog.conforms:
        client.add_conforms_to(name)
    return client


def intervals(ranges: Sequence[Range]) -> list[tuple[dt.datetime, dt.datetime]]:
    """Join ranges to few intervals: what overlaps or nearly touches, then the nearest until there are few enough."""
    joined: list[tuple[dt.datetime, dt.datetime]] = []
    for start, end in sorted((r.start, r.end) for r in ranges):
        if joined and start - joined[-1][1] <= BRIDGED:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    while len(joined) > MOST_INTERVALS:
        gaps = [(after[0] - before[1], i) for i, (before, after) in enumerate(itertools.pairwise(joined))]
        at = min(gaps)[1]
        joined[at : at + 2] = [(joined[at][0], joined[at + 1][1])]
    return joined


def items(
    client: Client,
    catalog: Catalog,
    *,
    collection: str,
    point: tuple[float, float],
    interval: tuple[dt.datetime, dt.datetime],
    filters: Mapping[str, Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    """List the items over a point (longitude, latitude) [deg] in an interval [UTC], page after page.

    Raises:
        ServiceFailed: refused, unreachable, no list of items, or pages without end.
    """
    conditions: dict[str, Any] = {}
    if filters and catalog.filter_language == "query":
        conditions = {"query": {name: dict(tests) for name, tests in filters.items()}}
    elif filters:
        conditions = {"filter": _cql2(filters), "filter_lang": "cql2-json"}
    search = client.search(
        method="POST",
        collections=[collection],
        intersects={"type": "Point", "coordinates": list(point)},
        datetime=list(interval),
        limit=catalog.page_size,
        **conditions,
    )
    try:
        for number, page in enumerate(search.pages_as_dicts()):
            if number == MOST_PAGES:
                raise ServiceFailed(
                    f"{catalog.api} gives more than {MOST_PAGES} pages", expected="fewer", remedy="narrow the ranges"
                )
            yield from page.get("features", [])
    except (KeyError, ValueError, TypeError) as error:
        raise ServiceFailed(f"{catalog.api} gives no list of items ({error!r})", expected="GeoJSON") from error


def _cql2(filters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Write conditions as CQL2.

    >>> _cql2({"platform": {"in": ["landsat-8"]}})
    {'op': 'and', 'args': [{'op': 'in', 'args': [{'property': 'platform'}, ['landsat-8']]}]}
    """
    tests = [
        {"op": _CQL2[test], "args": [{"property": name}, value]}
        for name, conditions in filters.items()
        for test, value in conditions.items()
    ]
    return {"op": "and", "args": tests}
