# SPDX-License-Identifier: Apache-2.0
"""Ranges of bytes of an asset, checked: the range that was asked for, all of it, of the file that it was before.

Here it is decided what a failure means: busy, dropped, cut short (again, later); refused signature (renew once, go on);
vanished, changed, shorter than its own index (the scene is not usable: `SourceInvalid`); refused for good or patience
at an end (`ServiceFailed`). Messages name product and asset.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import urllib3
import urllib3.exceptions

from ssl4eo.collection.remote.stac.access import Access, Address
from ssl4eo.collection.remote.stac.connections import Connections
from ssl4eo.collection.remote.stac.patience import Again, Pace
from ssl4eo.errors import ServiceFailed, SourceInvalid
from ssl4eo.statuses import PASSING_STATUSES, retry_after

MOST_BROKEN = 3
"""Answers that are cut short or no range, in the same way each time, before the file counts as broken: a network that
drops does not drop at the same byte."""

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


@dataclass(frozen=True)
class Asset:
    """One raster of one scene."""

    product: str
    key: str
    """As the item calls it."""
    href: str
    collection: str

    def __str__(self) -> str:
        """Name it in messages."""
        return f"asset {self.key} of {self.product}"


@dataclass(frozen=True)
class Piece:
    """Bytes of a file, and what they belong to."""

    data: bytes
    total: int
    """Bytes of the whole file."""
    etag: str


class _Refused(Exception):
    """A signature or key that was not accepted."""

    def __init__(self, status: int, address: Address) -> None:
        super().__init__(status)
        self.status = status
        self.address = address


class _Broken(Again):
    """An answer that is not what was asked for."""


class Store:
    """The assets of one catalog. Safe to use from threads."""

    def __init__(self, access: Access, pace: Pace, connections: Connections) -> None:
        self._access = access
        self._pace = pace
        self._connections = connections

    def fetch(self, asset: Asset, first: int, size: int) -> Piece:
        """Fetch a range; less than `size` bytes only where the file ends.

        Raises:
            SourceInvalid: the file is gone, ends before the range, or answers are broken each time.
            ServiceFailed: refused or unreachable after all retries.
        """
        renewed = False
        broken = Counter[str]()

        def once() -> Piece:
            try:
                return self._once(asset, first, size)
            except _Broken as error:
                broken[error.reason] += 1
                if broken[error.reason] == MOST_BROKEN:
                    raise _invalid(asset, f"is broken: {error.reason}, each time", "whole answers") from error
                raise

        while True:
            try:
                return self._pace.run(once, str(asset))
            except _Refused as error:
                if renewed or not self._access.renew(error.address, asset.collection):
                    raise ServiceFailed(
                        f"{asset} is refused with status {error.status}",
                        expected="access",
                        remedy="check the keys, who pays, and the clock of this machine (docs/stac.md)",
                        product=asset.product,
                        asset=asset.key,
                        kind="denied",
                    ) from error
                renewed = True

    def _once(self, asset: Asset, first: int, size: int) -> Piece:
        address = self._access.address(asset.href, asset.collection, f"bytes={first}-{first + size - 1}")
        try:
            response = self._connections.get(address.url, address.headers)
        except urllib3.exceptions.LocationValueError as error:
            raise _invalid(asset, f"has address {asset.href!r}", "https:// or s3://") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Again(f"{type(error).__name__}") from error  # its text would hold the signature
        with response:  # a body that was read to its end has given its connection back by then
            _require_range(asset, response, address, first)
            return _read(response, first, size)


def _require_range(asset: Asset, response: urllib3.BaseHTTPResponse, address: Address, first: int) -> None:
    status = response.status
    if status in PASSING_STATUSES:
        raise Again(f"status {status}", retry_after(response.headers.get("Retry-After")))
    if status in (401, 403):
        raise _Refused(status, address)
    if status in (404, 410):
        raise _invalid(asset, f"is gone: status {status}", "the file that the search found")
    if status == 416:
        raise _invalid(asset, f"ends before byte {first}", "a whole file")
    if status == 200:
        raise _Broken("a page in place of a range of bytes")
    if status != 206:
        raise ServiceFailed(
            f"{asset} is answered with status {status}", expected="206", product=asset.product, asset=asset.key
        )


def _read(response: urllib3.BaseHTTPResponse, first: int, size: int) -> Piece:
    match = _RANGE.match(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != first:
        raise _Broken("another range of bytes than asked for")
    total = int(match[3])
    wanted = min(first + size, total) - first
    try:
        data = response.read(wanted + 1)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Again(f"a body cut short ({type(error).__name__})") from error
    if len(data) != wanted:
        raise _Broken(f"a body of {len(data)} bytes in place of {wanted}")
    return Piece(data, total, response.headers.get("ETag", ""))


def _invalid(asset: Asset, found: str, expected: str) -> SourceInvalid:
    return SourceInvalid(
        f"{asset} {found}",
        expected=expected,
        remedy="take another scene",
        product=asset.product,
        asset=asset.key,
    )
