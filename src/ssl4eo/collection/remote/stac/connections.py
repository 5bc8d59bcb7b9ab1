# SPDX-License-Identifier: Apache-2.0
"""Connections to the stores of one service: urllib3, with the environment's proxies, without retries of its own."""

from __future__ import annotations

import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping

import urllib3

from ssl4eo import __version__
from ssl4eo.collection.remote.metering import count_request

_NO_RETRIES = urllib3.Retry(total=None, connect=0, read=0, redirect=5, status=0, other=0)


class Connections:
    """Connections by proxy. Safe to use from threads."""

    def __init__(self, *, most: int, connect_timeout: float = 30.0, read_timeout: float = 60.0) -> None:
        """Keep connections.

        Args:
            most: kept open to one host.
            connect_timeout: until a connection stands [s].
            read_timeout: without a single byte before a connection counts as stalled [s].
        """
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._most = most
        self._managers: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def get(self, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """Send a GET; the body is not read, and the response must be closed by the caller."""
        count_request()
        sent = {"user-agent": f"ssl4eo/{__version__}", "accept-encoding": "identity", **headers}
        return self._manager(url).request(
            "GET", url, headers=sent, preload_content=False, decode_content=False, retries=_NO_RETRIES,
            timeout=self._timeout,
        )  # fmt: skip

    def _manager(self, url: str) -> urllib3.PoolManager:
        parts = urllib.parse.urlsplit(url)
        proxy = urllib.request.getproxies().get(parts.scheme, "")
        if proxy and urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = ""
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = (
                    urllib3.ProxyManager(proxy, maxsize=self._most)
                    if proxy
                    else urllib3.PoolManager(maxsize=self._most)
                )
            return self._managers[proxy]
