# SPDX-License-Identifier: Apache-2.0
"""The way from Earth Engine's client library to the network: one HTTP request, no second try.

The library takes anything with `request` of httplib2. Ours keeps connections for all threads, has time limits, refuses
bodies that end early or never, and counts what came over the network by thread. Statuses are the library's matter.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters

from ssl4eo.errors import ConfigInvalid

MAX_BODY = 96 << 20
"""Bytes of an answer; the service sends 48 MB at most, and adds little."""
_CHUNK = 1 << 18


class _Session(requests.Session):
    """Asks the environment for proxies and certificates once a host: that took a tenth of the time of a request."""

    def __init__(self) -> None:
        super().__init__()
        self._settings: dict[str, Any] = {}

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> dict[str, Any]:
        """Give what `requests` gives for the first address of a host; all requests here have the same options."""
        host = urlsplit(str(url)).netloc
        if host not in self._settings:
            self._settings[host] = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return self._settings[host]


class Transport:
    """Connections of one process. Safe to use from threads."""

    def __init__(self, *, connections: int, connect_timeout: float, read_timeout: float) -> None:
        """Make a transport.

        Args:
            connections: kept open.
            connect_timeout: until a connection stands [s].
            read_timeout: without a single byte before the connection counts as stalled [s].
        """
        self._session = _Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)
        self._timeout = (connect_timeout, read_timeout)
        self._local = threading.local()

    @property
    def num_bytes(self) -> int:
        """Bytes of bodies that came to the calling thread so far, as they were on the network."""
        return getattr(self._local, "num_bytes", 0)

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        redirections: int | None = None,
        connection_type: Any = None,
    ) -> tuple[Any, bytes]:
        """Send a request and read the answer, in the manner of httplib2.

        Raises:
            TimeoutError: nothing came for too long.
            ConnectionError: no connection, or it ended before the answer did.
            ConfigInvalid: the address is none.
        """
        del redirections, connection_type  # the service has none; ours
        import httplib2  # pyright: ignore[reportMissingTypeStubs]

        try:
            with self._session.request(
                method, uri, data=body, headers=headers, timeout=self._timeout, stream=True, allow_redirects=False
            ) as answer:
                content = self._read(answer)
                told: Any = httplib2.Response({**answer.headers, "status": str(answer.status_code)})
                return told, content
        except requests.exceptions.Timeout as error:
            raise TimeoutError(str(error)) from error
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise ConfigInvalid(f"{uri[:200]!r} is no web address", expected="https://...") from error
        except requests.exceptions.RequestException as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error

    def _read(self, answer: requests.Response) -> bytes:
        chunks: list[bytes] = []
        length = 0
        try:
            for chunk in answer.iter_content(_CHUNK):
                chunks.append(chunk)
                length += len(chunk)
                if length > MAX_BODY:
                    raise ConnectionError(f"an answer of more than {MAX_BODY} bytes")
        finally:
            self._local.num_bytes = self.num_bytes + int(answer.raw.tell())
        return b"".join(chunks)
