# SPDX-License-Identifier: Apache-2.0
"""Pages that tests open one after another in the same window know nothing of each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from browsing import NEEDS_CHROMIUM, browser, hosting, visiting  # noqa: F401 - a fixture

pytestmark = NEEDS_CHROMIUM
LEFT = """() => [localStorage.length, sessionStorage.length, document.cookie, history.length, window.left ?? null]"""


def test_a_page_that_is_used_again_has_kept_nothing(browser: Any, tmp_path: Path) -> None:
    """Storage, cookies, history, routes, scripts' variables."""
    (tmp_path / "a.html").write_text("<link rel=icon href=data:,><title>a</title>", encoding="utf-8")
    with hosting(tmp_path) as url:
        with visiting(browser) as visit:
            first = visit(f"{url}a.html")
            fresh = first.evaluate(LEFT)
            first.route("**/a.html", lambda route: route.fulfill(body="answered by another test"))
            first.evaluate(
                "() => { localStorage.a = sessionStorage.a = 1; document.cookie = 'a=1'; window.left = 1;"
                " history.pushState(0, '', '#b'); }"
            )
            assert first.evaluate(LEFT) == [1, 1, "a=1", fresh[3] + 1, 1]
        (tmp_path / "a.html").write_text("<link rel=icon href=data:,><title>b</title>", encoding="utf-8")
        with visiting(browser) as visit:
            second = visit(f"{url}a.html")
            assert second is first
            assert second.title() == "b"
            assert second.evaluate(LEFT) == fresh
            assert visit(f"{url}a.html") is not second
