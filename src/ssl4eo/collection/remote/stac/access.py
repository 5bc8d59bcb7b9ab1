# SPDX-License-Identifier: Apache-2.0
"""From the address in an item to one that answers: signatures of Planetary Computer, keys of S3, or as it is.

Tokens are kept for each collection until shortly before they end. How long one lives is told by the host's own clock
(its Date header), so a wrong clock here neither uses dead tokens nor asks for one each time. A token that the store
refuses is renewed by the first thread that notices; the others take the new one.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import os
import threading
import urllib.parse
from dataclasses import dataclass, field

import urllib3
import urllib3.exceptions

from ssl4eo.collection.remote.stac import s3
from ssl4eo.collection.remote.stac.connections import Connections
from ssl4eo.collection.remote.stac.patience import Again, Pace, kind_of
from ssl4eo.collection.remote.stac.profile import Catalog
from ssl4eo.errors import ConfigInvalid, ServiceFailed
from ssl4eo.statuses import PASSING_STATUSES, retry_after

MARGIN_S = 120.0
"""A token counts as ended this long before it does [s]."""
SHORTEST_S = 30.0
"""A new token is used this long at least, unless it is refused [s]."""


@dataclass(frozen=True)
class Address:
    """Where a range of bytes is asked for."""

    url: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    token: str = ""
    """In the url, empty where none is needed."""


@dataclass(frozen=True)
class _Token:
    text: str
    ends: float
    """On the clock of `Retry` [s]."""


class Access:
    """Addresses of one catalog's assets. Safe to use from threads."""

    def __init__(self, catalog: Catalog, pace: Pace, connections: Connections) -> None:
        self._catalog = catalog
        self._pace = pace
        self._connections = connections
        self._tokens: dict[str, _Token] = {}
        self._lock = threading.Lock()

    def address(self, href: str, collection: str, byte_range: str) -> Address:
        """Give the address of an asset's bytes.

        Args:
            href: as the item has it.
            collection: that the item is of.
            byte_range: Range header.

        Raises:
            ConfigInvalid: a bucket that the catalog does not describe, or no keys for it.
            ServiceFailed: no token is given.
        """
        parts = urllib.parse.urlsplit(href)
        if parts.scheme == "s3":
            return self._object(parts.netloc, parts.path.lstrip("/"), byte_range)
        if not self._needs_token(parts.hostname or ""):
            return Address(href, {"range": byte_range})
        token = self._token(collection)
        return Address(f"{href}{'&' if parts.query else '?'}{token}", {"range": byte_range}, token)

    def renew(self, address: Address, collection: str) -> bool:
        """Drop a token that was refused; False where the address had none."""
        with self._lock:
            held = self._tokens.get(collection)
            if held is not None and held.text == address.token:
                del self._tokens[collection]
        return bool(address.token)

    def _needs_token(self, host: str) -> bool:
        ends = self._catalog.signed_hosts
        return bool(self._catalog.token_url) and (not ends or any(host.endswith(end) for end in ends))

    def _object(self, name: str, key: str, byte_range: str) -> Address:
        bucket = self._catalog.buckets.get(name)
        if bucket is None:
            raise ConfigInvalid(
                f"catalog {self._catalog.name} leads to s3://{name}",
                expected=f"one of the buckets {', '.join(self._catalog.buckets) or 'none'}",
                remedy="describe the bucket in the catalog",
            )
        url = s3.object_url(bucket, name, key)
        extra = {"range": byte_range} | ({"x-amz-request-payer": "requester"} if bucket.requester_pays else {})
        keys = s3.credentials(bucket, name)
        return Address(
            url, s3.signed_headers(url, keys, region=bucket.region, now=dt.datetime.now(dt.UTC), extra=extra)
        )

    def _token(self, collection: str) -> str:
        with self._lock:  # one thread asks, the others wait for its token
            held = self._tokens.get(collection)
            if held is None or held.ends <= self._pace.retry.clock():
                url = self._catalog.token_url.format(collection=urllib.parse.quote(collection))
                held = self._pace.run(lambda: self._ask(url), f"a token from {url}", is_inner=True)
                self._tokens[collection] = held
            return held.text

    def _ask(self, url: str) -> _Token:
        key = os.environ.get(self._catalog.key_variable, "") if self._catalog.key_variable else ""
        headers = {self._catalog.key_header: key} if key else {}
        try:
            response = self._connections.get(url, headers)
            with response:
                status, data = response.status, response.read()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Again(f"{type(error).__name__}: {error}") from error
        if status in PASSING_STATUSES:
            raise Again(f"status {status}", retry_after(response.headers.get("Retry-After")))
        if status != 200:
            raise ServiceFailed(
                f"{url} answers with status {status}",
                expected="200 and a token",
                remedy="look at the catalog's entry",
                kind=kind_of(status),
            )
        try:
            page = json.loads(data)
            text, expiry = str(page["token"]), dt.datetime.fromisoformat(page["msft:expiry"])
        except (ValueError, KeyError, TypeError) as error:
            raise Again(f"no token in the answer ({error!r})") from error
        life = max((expiry - _now_of(response)).total_seconds() - MARGIN_S, SHORTEST_S)
        return _Token(text, self._pace.retry.clock() + life)


def _now_of(response: urllib3.BaseHTTPResponse) -> dt.datetime:
    """Give the host's own time, ours where it tells none."""
    try:
        return email.utils.parsedate_to_datetime(response.headers.get("Date", "")).astimezone(dt.UTC)
    except ValueError:
        return dt.datetime.now(dt.UTC)
