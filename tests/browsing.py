# SPDX-License-Identifier: Apache-2.0
"""Debian's Chromium, driven by Playwright, for whatever this project shows on a page.

Every test claims that the console stayed silent and that no request left this machine's loopback. Import
`browser`, `visit` or `hosting`; a module is skipped with a clear word where there is no browser.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import shutil
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: no test in a browser")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]  # fmt: skip
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for the tests of a module."""
    playwright.expect.set_options(timeout=30_000)  # a busy machine is no failure
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def visiting(browser: Any, wait: Callable[[Any], None] = lambda page: None) -> Generator[Open]:
    """Open addresses, each in a fresh profile; at the end hold what happened against the claims of every test.

    Args:
        browser: the fixture.
        wait: returns once a page is drawn.
    """
    used: list[tuple[str, Any]] = []
    noise, hosts, origins = [], set(), set()

    def asked(request: Any) -> None:
        address = urlsplit(request.url)
        hosts.add(address.hostname)
        origins.add(f"{address.scheme}://{address.netloc}")

    listeners = {
        "console": lambda message: noise.append(f"{message.type}: {message.text}"),
        "pageerror": lambda error: noise.append(f"error: {error}"),
        "request": asked,
    }

    def opened(url: str, *, ready: bool = True, **options: Any) -> Any:
        chosen = {"viewport": {"width": 1280, "height": 800}, **options}
        page = _fresh_page(browser, chosen)
        used.append((json.dumps(chosen), page))
        for event, listener in listeners.items():
            page.on(event, listener)
        page.goto(url)
        if ready:
            wait(page)
        return page

    opened.noise = noise  # type: ignore[attr-defined]
    yield opened
    told = list(noise)  # before requests are cut off that a busy machine has not answered yet
    for key, page in used:
        for event, listener in listeners.items():
            page.remove_listener(event, listener)
        _give_back(browser, key, page, origins)
    assert told == [], told  # this module is not rewritten by pytest: say what there was
    assert hosts - {None} == {"127.0.0.1"}, hosts  # pictures inside of a page have no host


_IDLE: weakref.WeakKeyDictionary[Any, dict[str, list[Any]]] = weakref.WeakKeyDictionary()
"""Of each browser, pages that nobody has open, by the options of their profile: a new one costs a second or two."""


def _fresh_page(browser: Any, options: dict[str, Any]) -> Any:
    """Give a page of a profile that keeps nothing of another test."""
    idle = _IDLE.setdefault(browser, {}).get(json.dumps(options))
    return idle.pop() if idle else browser.new_context(**options).new_page()


def _give_back(browser: Any, key: str, page: Any, origins: set[str]) -> None:
    """Take from a page and its profile all that a test can have left there, and keep them for the next one."""
    if page.is_closed():
        page.context.close()
        return
    page.unroute_all()
    page.set_default_timeout(30_000)
    page.mouse.move(0, 0)
    page.goto("about:blank")
    session = page.context.new_cdp_session(page)
    for origin in origins:
        session.send("Storage.clearDataForOrigin", {"origin": origin, "storageTypes": "all"})
    session.send("Network.clearBrowserCache")
    session.send("Page.resetNavigationHistory")
    session.detach()
    _IDLE[browser].setdefault(key, []).append(page)


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Open an address of static pages, and wait until they have all they ask for; see `visiting`."""
    with visiting(browser, wait=lambda page: page.wait_for_load_state("networkidle")) as opened:
        yield opened


@contextlib.contextmanager
def hosting(folder: Path) -> Generator[str]:
    """Serve a folder as any web host would."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        del args
