# SPDX-License-Identifier: Apache-2.0
"""The report's page in a real browser: everything shows under its own policy, by mouse, by keyboard, on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from report_records import config_json, knn_row, score_row, step_row, write_run
from test_inside import EVIL, recording

from browsing import NEEDS_CHROMIUM, Open, browser, hosting, playwright, visit  # noqa: F401 - fixtures
from ssl4eo.report.write import write_report

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A report of two runs of the same name, of which one was recorded."""
    folder = tmp_path_factory.mktemp("shown")
    log = [*(step_row(n, 3 - n / 10) for n in range(1, 21)), knn_row(10, 0.5), knn_row(20, 0.6)]
    scores = [score_row(0.4 + 0.2 * trained, pretrained=trained, seed=s) for trained in (False, True) for s in (0, 1)]
    runs = [write_run(folder / place / "run", config=config_json(), log=log, scores=scores) for place in ("a", "b")]
    recording(runs[0])
    write_report(runs, folder / "out", title=f"Two runs {EVIL}")
    with hosting(folder / "out") as address:
        yield f"{address}report.html"


def test_every_picture_is_drawn_and_nothing_runs(url: str, visit: Open) -> None:
    """The policy of the page lets its own pictures and style through, and a title of a script is text."""
    page = visit(url)

    pictures = page.locator("img")
    assert pictures.count() > 8
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("[...document.images].every(i => i.alt.length > 10)")
    playwright.expect(page.locator("h1")).to_have_text(f"Two runs {EVIL}")
    assert page.locator("script").count() == 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(247, 248, 250)"  # the style of the page, not the browser's own white


def test_dark_is_dark(url: str, visit: Open) -> None:
    """Text and ground swap, and figures stay on white, as they are drawn."""
    page = visit(url, color_scheme="dark")

    def lightness(selector: str, what: str) -> float:
        color = page.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{what}")
        return sum(map(int, color.removeprefix("rgb(").removesuffix(")").split(","))) / 765

    assert lightness("body", "backgroundColor") < 0.15
    assert lightness("h2", "color") > 0.8
    assert lightness("figure", "backgroundColor") == 1


def test_a_phone_scrolls_down_only(url: str, visit: Open) -> None:
    """Wide figures and tables scroll inside of their frames."""
    page = visit(url, viewport={"width": 360, "height": 740})

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("[...document.querySelectorAll('.scroll')].some(s => s.scrollWidth > s.clientWidth)")


def test_the_keyboard_reaches_what_scrolls_and_what_opens(url: str, visit: Open) -> None:
    """Tab goes through all frames and details, and the focus is seen; Enter closes."""
    page = visit(url)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.evaluate("document.querySelectorAll('.scroll, summary').forEach((e, i) => { e.dataset.number = i; })")
    wanted = set(map(str, range(page.locator("[data-number]").count())))

    for _ in range(3 * len(wanted)):  # the browser also stops at what scrolls of its own accord
        page.keyboard.press("Tab")
        at = page.evaluate("document.activeElement.dataset.number")
        if at in wanted:
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            wanted.remove(at)

    assert not wanted
    summary = page.locator("summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert not page.evaluate("document.querySelector('details').open")
