# SPDX-License-Identifier: Apache-2.0
"""One HTTP request at a time, and the patience between two of them.

Redirects are followed by hand: never from https to http, never to another scheme. A failure that may pass is `Again`;
`Patience` counts those that brought nothing new, tells each and sleeps after it: exponential back-off with jitter, or
what Retry-After asks for. Sleeping is a function that tests replace. What the bytes mean is the matter of `body.py`.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import urllib.parse
import urllib.request
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import urllib3
import urllib3.exceptions

from ssl4eo import __version__
from ssl4eo.errors import DownloadFailed
from ssl4eo.statuses import PASSING_STATUSES, retry_after

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_REDIRECTS = 10
MAX_PAGE = 64 << 20
"""Bytes of a listing or a form; more is no page."""


class Again(Exception):
    """A failure that may pass: a drop, a stall, a busy server."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        """Seconds that the server asked for; None: it asked for none."""


class NoSuchName(Again):
    """The name of a server that has not answered yet cannot be resolved: no network, or a wrong name."""


class Stopped(Exception):
    """The download as a whole was called off: another file failed for good, or the user interrupted it."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How long to go on with a server that does not do its part."""

    attempts: int = 8
    """Failures in a row, without a new byte between them, before giving up."""
    name_attempts: int = 3
    """The same where the server's name cannot be resolved and the server never answered: most often there is no network
    at all, and who waits for it wants to know. A network that goes away during a download may come back."""
    first_wait: float = 1.0
    """Seconds before the second try; each further wait is twice the one before."""
    longest_wait: float = 60.0
    """Seconds that a wait of ours ends at."""
    longest_asked: float = 900.0
    """Seconds that a server may ask for with Retry-After; more ends the download with a message."""
    sleep: Callable[[float], object] | None = None
    """Waits for seconds; None: a wait that ends when the client is stopped."""
    jitter: Callable[[], float] = random.random
    """Between 0 and 1: keeps parallel downloads from knocking together."""


class Client:
    """Connections, time limits and patience, shared by all files of a download. Safe to use from threads."""

    def __init__(
        self,
        *,
        connect_timeout: float = 30.0,
        read_timeout: float = 60.0,
        retry: Retry | None = None,
        connections: int = 16,
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        """Make a client.

        Args:
            connect_timeout: until a connection stands [s].
            read_timeout: without a single byte before the connection counts as stalled [s].
            retry: patience with failures.
            connections: kept open to one server.
            proxies: by scheme; None: those of the environment (https_proxy, no_proxy).
        """
        self.retry = retry or Retry()
        self.stop = threading.Event()
        """Set to end all downloads of this client at their next chunk; `cancel` does not wait for that one."""
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._options: dict[str, Any] = {"maxsize": connections, "block": False, "retries": False}
        self._proxies = proxies
        self._managers: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._answers: weakref.WeakSet[urllib3.BaseHTTPResponse] = weakref.WeakSet()
        self._known = set[str]()  # servers that have answered

    def cancel(self) -> None:
        """End all downloads of this client now, also those that wait for a byte of a stalled server."""
        self.stop.set()
        with self._lock:
            answers = list(self._answers)
        for answer in answers:
            with contextlib.suppress(AttributeError, ValueError, OSError):  # closed already, or urllib3 before 2.3
                answer.shutdown()

    def wait(self, seconds: float) -> None:
        """Sleep, and end at once when stopped.

        Raises:
            Stopped: the client was stopped.
        """
        (self.retry.sleep or self.stop.wait)(seconds)
        self.require_running()

    def require_running(self) -> None:
        """Raise if this client was stopped.

        Raises:
            Stopped: it was.
        """
        if self.stop.is_set():
            raise Stopped

    def request(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        """Send a request and follow redirects; the body is not read, and must be closed by the caller.

        Raises:
            Again: no answer, or one that may be another next time.
            DownloadFailed: an address that no retry mends.
        """
        sent = {"User-Agent": f"ssl4eo/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
        here = url
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(method, here, sent)
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                with self._lock:
                    self._answers.add(response)
                if self.stop.is_set():  # cancelled before it was known
                    response.close()
                    raise Stopped
                return response
            response.close()
            target = join_url(here, location)
            if here.startswith("https:") and not target.startswith("https:"):
                raise DownloadFailed(
                    f"{url} leads to {target[:300]}",
                    expected="https all the way",
                    remedy="do not use this source",
                    url=url,
                )
            here = target
        raise DownloadFailed(f"{url} redirects more than {MAX_REDIRECTS} times", expected="a file at the end", url=url)

    def get_page(self, url: str, headers: Mapping[str, str] | None = None) -> tuple[str, urllib3.BaseHTTPResponse]:
        """Read a text of moderate size, with retries; give it with the (closed) response that has its headers.

        Raises:
            DownloadFailed: it does not come, or is longer than a page.
        """
        patience = Patience(self, url)
        while True:
            try:
                response = self.request("GET", url, headers)
                try:
                    require_ok(response, url)
                    data = read_some(response, MAX_PAGE + 1)
                finally:
                    response.close()
            except Again as failure:
                patience.wait(failure)
                continue
            if len(data) > MAX_PAGE:
                raise DownloadFailed(f"{url} is longer than {MAX_PAGE} bytes", expected="a listing or a form", url=url)
            return data.decode("utf-8", errors="replace"), response

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        self.require_running()
        try:
            scheme, host = urllib.parse.urlsplit(url).scheme, host_of(url)
        except ValueError:
            scheme = host = ""
        if scheme not in ("http", "https"):
            raise DownloadFailed(f"{url[:300]!r} is no web address", expected="https://...", url=url)
        try:
            response = self._manager(url).request(
                method, url, headers=dict(headers), redirect=False, preload_content=False, decode_content=False,
                retries=False, timeout=self._timeout,
            )  # fmt: skip
        except (urllib3.exceptions.LocationValueError, urllib3.exceptions.SSLError) as error:
            raise DownloadFailed(
                f"{url[:300]} cannot be asked ({error})",
                expected="a valid address and certificate",
                remedy="check the address, the clock and the certificates of this machine",
                url=url,
            ) from error
        except urllib3.exceptions.NameResolutionError as error:
            kind = Again if host in self._known else NoSuchName
            raise kind(f"the name {host} cannot be resolved") from error
        except urllib3.exceptions.HTTPError as error:
            raise Again(f"{type(error).__name__}: {error}") from error
        self._known.add(host)
        return response

    def _manager(self, url: str) -> urllib3.PoolManager:
        """Give the connections for a URL: through a proxy if the environment names one for it."""
        parts = urllib.parse.urlsplit(url)
        proxies = urllib.request.getproxies() if self._proxies is None else self._proxies
        proxy = proxies.get(parts.scheme, "")
        if self._proxies is None and proxy and urllib.request.proxy_bypass(parts.hostname or ""):
            proxy = ""
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = (
                    urllib3.ProxyManager(proxy, **self._options) if proxy else urllib3.PoolManager(**self._options)
                )
            return self._managers[proxy]


def join_url(base: str, address: str) -> str:
    """Resolve an address that a server gave.

    Raises:
        DownloadFailed: it is none.
    """
    try:
        return urllib.parse.urljoin(base, address)
    except ValueError as error:
        raise DownloadFailed(f"{base} leads to {address[:300]!r}", expected="a web address", url=base) from error


def host_of(url: str) -> str:
    """Name the server of an address, without what may be secret in it.

    >>> host_of("https://example.org:8080/a?token=b")
    'example.org'

    Raises:
        ValueError: it is no address.
    """
    return urllib.parse.urlsplit(url).hostname or ""


class Patience:
    """Counts failures in a row, tells them and sleeps between them."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url
        self._failures = 0

    def progressed(self) -> None:
        """Start counting anew: something new came."""
        self._failures = 0

    def wait(self, failure: Again) -> None:
        """Tell a failure and sleep after it.

        Raises:
            DownloadFailed: there were too many in a row, or the server asks for too long a wait.
        """
        retry = self._client.retry
        self._failures += 1
        is_name = isinstance(failure, NoSuchName)
        attempts = min(retry.attempts, retry.name_attempts) if is_name else retry.attempts
        if self._failures >= attempts:
            raise DownloadFailed(
                f"{self._url} failed {self._failures} times in a row, at last with: {failure.reason}",
                expected="an answer",
                remedy="look whether this machine is online and the name is right; what came so far is kept"
                if is_name
                else "run the same command again later; what came so far is kept",
                url=self._url,
            ) from failure
        if failure.wait is not None and failure.wait > retry.longest_asked:
            raise DownloadFailed(
                f"{self._url} asks to come back in {failure.wait:.0f} s ({failure.reason})",
                expected=f"at most {retry.longest_asked:.0f} s",
                remedy="run the same command again then; what came so far is kept",
                url=self._url,
            ) from failure
        ours = min(retry.first_wait * 2 ** (self._failures - 1), retry.longest_wait) * (0.5 + 0.5 * retry.jitter())
        seconds = ours if failure.wait is None else failure.wait
        tried = f"{self._failures + 1} of {attempts} in {seconds:.0f} s"
        log.info("%s: try %s: %s", host_of(self._url), tried, failure.reason)
        self._client.wait(seconds)


def with_patience(action: Callable[[], T], client: Client, url: str) -> T:
    """Do something until it is done or patience ends.

    Raises:
        DownloadFailed: it failed too often, or for good.
    """
    patience = Patience(client, url)
    while True:
        try:
            return action()
        except Again as failure:
            patience.wait(failure)


def require_ok(response: urllib3.BaseHTTPResponse, url: str) -> None:
    """Raise unless the status is 2xx.

    Raises:
        Again: the status may be another next time.
        DownloadFailed: it will not.
    """
    if 200 <= response.status < 300:
        return
    if response.status in PASSING_STATUSES:
        raise Again(f"status {response.status}", retry_after(response.headers.get("Retry-After")))
    remedies = {
        401: "the server wants a login: fetch it by hand",
        403: "the server wants a login or has closed this file: look at its page",
        404: "the file has moved: look at its page, and report it so that the table is mended",
        410: "the file is gone: look at its page, and report it so that the table is mended",
    }
    raise DownloadFailed(
        f"{url} answers with status {response.status}",
        expected="200 or 206",
        remedy=remedies.get(response.status, "look at the address in a browser"),
        url=url,
        status=response.status,
    )


def read_some(response: urllib3.BaseHTTPResponse, most: int) -> bytes:
    """Read a body up to `most` bytes.

    Raises:
        Again: the connection broke before the end.
    """
    try:
        return response.read(most)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise Again(f"{type(error).__name__}: {error}") from error
