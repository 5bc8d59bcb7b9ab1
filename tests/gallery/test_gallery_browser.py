# SPDX-License-Identifier: Apache-2.0
"""The gallery in a real browser, Debian's Chromium driven by Playwright: served, and as a static site under a sub-path.

Every test also claims that the console stayed silent and that no request left this machine's loopback.
"""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pytest
import rasterio
from gallery_stage import (
    COUNT,
    FORMS,
    HOSTILE,
    NOWHERE,
    PROVENANCE,
    SEASONS,
    SIZE,
    damage_chunk,
    extend_table,
    make_sample,
    serving,
    write_archive,
)  # fmt: skip

from browsing import NEEDS_CHROMIUM, Open, browser, hosting, playwright, visiting  # noqa: F401 - a fixture
from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.gallery.server import Opening
from ssl4eo.gallery.site import Offer
from ssl4eo.gallery.write import write_site

pytestmark = NEEDS_CHROMIUM
LONG = "x" * 128
"""The longest id that there may be."""
PLACELESS = (7, 19, 31)
"""Places without coordinates of the archive with hard labels: `NOWHERE` and those made like it."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("browsed") / "a.zarr")


@pytest.fixture(scope="module")
def served(archive: Path) -> Iterator[str]:
    with serving(Opening(archive)) as url:
        yield url


@pytest.fixture(scope="module")
def static(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    root = tmp_path_factory.mktemp("host")
    write_site(open_archive(archive), root / "some/where/site", offer=Offer(("true-color", "swir"), ("shared",)))
    with hosting(root) as url:
        yield f"{url}some/where/site/"


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Open an address and wait until its page is drawn."""
    with visiting(browser, wait) as opened:
        yield opened


def wait(page: Any, state: str = "") -> None:
    """Wait until a page says that it is drawn."""
    selector = f"html[data-ready='{state}']" if state else "html[data-ready]:not([data-ready=''])"
    page.wait_for_selector(selector, state="attached")


def words(page: Any) -> Any:
    return page.locator(".list h2")


def expect(locator: Any) -> Any:
    return playwright.expect(locator)


@pytest.fixture(params=["served", "static"])
def url(request: pytest.FixtureRequest) -> str:
    """The address of the gallery, served in one run of a test and static in the other."""
    return request.getfixturevalue(request.param)


def test_the_map_loads_colors_filters_and_keeps_it_in_the_link(url: str, visit: Open) -> None:
    """12 places, one nowhere; a split taken away; a reload and a shared link show the same."""
    page = visit(url)
    expect(words(page)).to_have_text("11 of 12 places in view")
    expect(page.locator(".places a")).to_have_count(12)  # the list also has the place that no map shows

    page.select_option("#color", label="split")
    chip = page.get_by_role("button", name="train")
    chip.click()
    expect(words(page)).to_have_text("4 of 12 places in view")  # 0, 3, 6, 9 are test
    expect(page.get_by_role("button", name="train")).to_have_attribute("aria-pressed", "false")
    page.fill("#from", "2020-07-05")
    page.locator("#from").dispatch_event("change")
    expect(words(page)).to_have_text("2 of 12 places in view")  # images of July 7 and 10

    link = page.url
    assert "hide=label-0%3A1" in link
    other = visit(link)
    expect(words(other)).to_have_text("2 of 12 places in view")
    expect(other.locator("#from")).to_have_value("2020-07-05")
    other.click("#clear")
    expect(words(other)).to_have_text("11 of 12 places in view")


def test_cloud_modality_box_and_columns_filter(served: str, visit: Open) -> None:
    """Each filter alone, counted by hand; together they are all required."""
    page = visit(served)
    page.locator("#cloud").fill("0.1")
    page.locator("#cloud").dispatch_event("change")
    expect(words(page)).to_have_text("3 of 12 places in view")  # 0, 0.05, 0.1
    page.click("#clear")
    page.check("#valid")
    expect(words(page)).to_have_text("10 of 12 places in view")
    page.select_option("#modality", "S1GRD")  # its images are all valid
    expect(words(page)).to_have_text("11 of 12 places in view")
    page.click("#clear")
    page.fill("#box", "-61, -21, -44, -14")
    page.keyboard.press("Enter")
    expect(words(page)).to_have_text("2 of 12 places in view")
    page.fill("#box", "nonsense")
    page.keyboard.press("Tab")
    expect(page.locator("#box")).to_have_attribute("aria-invalid", "true")
    page.click("#clear")
    page.select_option("#where", label="name")
    page.get_by_label("name contains").fill("PLACE 1")
    page.keyboard.press("Tab")
    expect(words(page)).to_have_text("2 of 12 places in view")  # place 10 and place 11
    page.click("#clear")
    page.select_option("#where", label="max_cloud_S2L2A")
    page.get_by_label("max_cloud_S2L2A at least").fill("0.5")
    page.keyboard.press("Tab")
    expect(words(page)).to_have_text("2 of 12 places in view")


def test_panning_changes_what_is_in_view_and_a_click_opens_a_place(served: str, visit: Open) -> None:
    """Arrows move the map; a click on the only point opens its page."""
    page = visit(f"{served}#/map?at=-16,-60,6")
    expect(words(page)).to_have_text("1 of 12 places in view")

    page.focus("#map")
    page.keyboard.press("Shift+ArrowUp")
    expect(words(page)).to_have_text("0 of 12 places in view")
    expect(page.locator(".places a")).to_have_count(1)  # the one without coordinates

    page.goto(f"{served}#/map?at=-20,-60,7")
    page.reload()
    wait(page)
    box = page.locator("#map").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    wait(page, "place 0000000")
    expect(page.get_by_role("heading", level=1)).to_have_text("Location 0000000")


def test_a_place_shows_seasons_by_modalities_and_changes_the_composite(url: str, visit: Open) -> None:
    """Two rows of two pictures that load; the composite is in the link, and a reload keeps it."""
    page = visit(f"{url}#/place/0000005")
    pictures = page.locator(".seasons img")
    expect(pictures).to_have_count(4)
    expect(pictures.nth(2)).to_have_attribute("alt", "Sentinel-2 L2A, 2020-01-06, true color")

    page.select_option("#composite-S2L2A", "swir")
    expect(pictures.nth(2)).to_have_attribute("src", re.compile("S2L2A-0-swir-shared.webp"))
    page.reload()
    wait(page, "place 0000005")
    expect(page.locator("#composite-S2L2A")).to_have_value("swir")
    for k in range(4):
        pictures.nth(k).scroll_into_view_if_needed()
        expect(pictures.nth(k)).to_be_visible()
        assert pictures.nth(k).evaluate("image => image.decode().then(() => image.naturalWidth)") == 24
    page.locator("summary", has_text="Histograms").nth(1).click()
    expect(page.locator(".band")).to_have_count(12)
    expect(page.get_by_role("img", name="Histogram of B04, red")).to_be_visible()
    page.get_by_role("link", name="Next").click()
    wait(page, "place 0000006")
    expect(page.locator("#composite-S2L2A")).to_have_value("swir")


def test_pixels_can_be_taken_away(url: str, archive: Path, visit: Open) -> None:
    """GeoTIFF and NumPy under names that say what they are, with the archive's values."""
    page = visit(f"{url}#/place/0000005")
    image = open_archive(archive).read("S2L2A", location="0000005", season=1)

    with page.expect_download() as caught:
        page.get_by_role("link", name="GeoTIFF of S2L2A season 1, 20 m bands").click()
    assert caught.value.suggested_filename == "0000005-S2L2A-1-20m.tif"
    with rasterio.open(caught.value.path()) as file:
        np.testing.assert_array_equal(file.read(), image.pixels[20])
        assert file.crs.to_epsg() == 32633
    with page.expect_download() as caught:
        page.get_by_role("link", name="NumPy file of S2L2A season 1").click()
    with np.load(io.BytesIO(Path(caught.value.path()).read_bytes()), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["60m"], image.pixels[60])


def test_hostile_text_stays_text(url: str, visit: Open) -> None:
    """Provenance, products, labels and an id of the address that are HTML: shown, never run."""
    page = visit(f"{url}#/place/0000001")
    expect(page.locator("#brand")).to_have_text(f"tiny {HOSTILE}")
    expect(page.locator("td", has_text="<script>")).to_have_text(HOSTILE)
    assert page.locator("main script, main img[src=x], header img").count() == 0
    page.goto(f"{url}#/about")
    wait(page, "about")
    assert HOSTILE in page.locator("table").first.inner_text()
    page.goto(f"{url}#/map?color=label-2")
    wait(page)
    assert page.locator("script").count() == 3  # the page's own
    assert page.title().startswith("Map")
    page.goto(f"{url}#/{HOSTILE}")
    expect(page.get_by_role("heading", level=1)).to_have_text("No such page")


def test_an_id_that_is_not_there_is_told(served: str, visit: Open) -> None:
    """The address may say anything; the page says what is wrong and leads back."""
    page = visit(f"{served}#/place/..%2F..%2Fetc", ready=False)
    expect(page.get_by_role("alert")).to_contain_text("no 'place/")
    page.get_by_role("link", name="Back to the map").click()
    expect(words(page)).to_have_text("11 of 12 places in view")
    assert [line for line in visit.noise if "404" not in line] == []
    visit.noise.clear()  # the browser's own line about the 404


def test_a_damaged_picture_says_what_is_wrong(archive: Path, tmp_path: Path, visit: Open) -> None:
    """The page of a place in a broken archive: the others are shown, the damaged ones told in words."""
    copy = tmp_path / "b.zarr"
    shutil.copytree(archive, copy)
    shard = next((copy / "S2L2A/10m/bands").glob("c.*"))
    shard.write_bytes(shard.read_bytes()[:100])
    with serving(Opening(copy)) as url:
        page = visit(f"{url}#/place/0000005")
        expect(page.locator(".frame .wrong").nth(2)).to_contain_text("ssl4eo verify")
        expect(page.locator(".seasons img").first).to_be_visible()
        page.close()
    assert all("500" in line for line in visit.noise)
    visit.noise.clear()


def test_an_archive_that_cannot_be_read_has_a_page_that_says_so(tmp_path: Path, visit: Open) -> None:
    """In the browser too, without a script."""
    (tmp_path / "empty.zarr").mkdir()
    with serving(Opening(tmp_path / "empty.zarr")) as url:
        page = visit(url, ready=False)
        expect(page.get_by_role("alert")).to_contain_text("empty.zarr")
        page.close()
    visit.noise.clear()  # the browser's own line about the 503


def test_the_keyboard_alone_finds_and_opens_a_place(served: str, visit: Open) -> None:
    """Skip link, search, list: everything has the focus in turn, and the focus follows to the new page."""
    page = visit(served)
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.id") == "search"
    page.keyboard.type("0000009")
    expect(page.locator("#results a")).to_have_text("0000009")
    page.keyboard.press("Enter")
    wait(page, "place 0000009")
    assert page.evaluate("() => document.activeElement.id") == "main"
    expect(page.locator("#status")).to_have_text("Location 0000009")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Back to the map")).to_be_focused()
    page.keyboard.press("Enter")
    expect(words(page)).to_have_text("11 of 12 places in view")
    page.locator(".places a").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("html[data-ready^='place']", state="attached")


def test_an_answer_that_comes_late_does_not_replace_a_later_one(served: str, visit: Open) -> None:
    """The ids for the first letters arrive after those for the whole id: what is typed now is shown."""
    page, held = visit(served), []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/data/ids/0.json", hold)
    with page.expect_request("**/data/ids/0.json"):
        page.fill("#search", "0000")
    page.fill("#search", "1.5, 2.5")
    expect(page.locator("#results button")).to_have_text("Go to 1.5, 2.5")

    with page.expect_request_finished(lambda request: request.url.endswith("/data/ids/0.json")):
        held[0].continue_()
    page.evaluate("() => new Promise(requestAnimationFrame)")  # the page has taken the answer

    expect(page.locator("#results button")).to_have_text("Go to 1.5, 2.5")
    assert page.locator("#results a").count() == 0


def test_every_control_and_picture_has_a_name_and_pages_have_landmarks(served: str, visit: Open) -> None:
    """What a screen reader goes by: labels of all inputs, one main, one h1 or a labelled map."""
    for address in ("", "#/place/0000003", "#/about"):
        page = visit(served + address)
        assert page.locator("main").count() == 1
        assert page.locator("html").get_attribute("lang") == "en"
        unnamed = page.evaluate(
            """() => [...document.querySelectorAll("input, select, button, a[href], img")].filter((e) => !(
                e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim() || e.hasAttribute("alt") ||
                e.title)).map((e) => e.outerHTML)"""
        )
        assert unnamed == []
    assert page.locator("h1").count() == 1


def test_dark_and_light_follow_the_system_and_the_button(served: str, visit: Open) -> None:
    """The background changes; the choice outlives a reload."""
    page = visit(served, color_scheme="dark")
    paper = "() => getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(20, 24, 29)"
    page.click("#theme")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.reload()
    wait(page)
    assert page.evaluate(paper) == "rgb(255, 255, 255)"


def test_a_phone_of_360_pixels_needs_no_sideways_scrolling(served: str, visit: Open) -> None:
    """Map, place and about are as wide as the screen; targets are large enough to touch."""
    for address in ("#/place/0000003", "#/about", ""):
        page = visit(served + address, viewport={"width": 360, "height": 740}, has_touch=True)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    assert page.locator("#search").bounding_box()["height"] >= 30
    assert page.locator("#map").bounding_box()["width"] == 360


@pytest.mark.parametrize("width", [360, 1280])
def test_fields_stay_inside_of_their_sidebar(served: str, visit: Open, width: int) -> None:
    """Names of columns may be long: a field is as wide as its sidebar, not as its longest choice."""
    page = visit(served, viewport={"width": width, "height": 740})
    page.evaluate("() => { document.querySelector('.side select').options[0].textContent = 'x'.repeat(200); }")

    inner = page.locator(".side").bounding_box()
    for field in page.locator(".side select, .side input, .side button").all():
        box = field.bounding_box()
        assert box is None or box["x"] + box["width"] <= inner["x"] + inner["width"]


def test_only_what_is_on_the_screen_is_loaded(served: str, visit: Open) -> None:
    """A view of one place loads no column that it does not color by, and pictures of the list only."""
    page = visit("about:blank", ready=False)
    paths: list[str] = []
    page.on("request", lambda request: paths.append(urlsplit(request.url).path))
    page.goto(f"{served}#/map?at=-20,-60,6")
    wait(page)

    assert not [path for path in paths if "label-" in path or "dates-" in path or "info.json" in path]
    assert not [path for path in paths if "/data/ids/" in path]
    page.goto(f"{served}#/place/0000004")
    wait(page, "place 0000004")
    assert not [path for path in paths if path.endswith(("npz", "tif", "histograms.json"))]


def rewritten(page: Any, path: str, change: Callable[[Any], Any], *, there: bool = True) -> None:
    """Let the gallery answer a JSON file otherwise than it does; `there` is False for one that it does not have."""

    def answer(route: Any) -> None:
        if not there:
            route.fulfill(json=change(None))
            return
        found = route.fetch()
        route.fulfill(response=found, json=change(found.json()))

    page.route(f"**/{path}", answer)


def network(name: str, modality: str) -> dict[str, Any]:
    return {"name": name, "modality": modality, "method": None, "contract": "", "seasons": "all", "count": COUNT}


def alikes(*seasons: int | None) -> dict[str, Any]:
    """What a network says of a place: by date the same neighbour."""
    like = [{"location": "0000002", "season": seasons[0], "similarity": 0.5}]
    return {"rows": [{"season": s, "like": like} for s in seasons], "own": [[1.0] * len(seasons)] * len(seasons)}


def with_networks(page: Any, *rows: tuple[str, str, dict[str, Any]]) -> None:
    """Give the gallery networks: name, modality, and what each says of every place."""
    rewritten(page, "data/archive.json", lambda a: {**a, "likeness": [network(n, m) for n, m, _ in rows]})
    for number, (_, _, told) in enumerate(rows):
        rewritten(page, f"like-{number}.json", lambda _, told=told: told, there=False)


def test_places_like_one_tell_the_dates_of_the_sensor_that_the_network_saw(served: str, visit: Open) -> None:
    """Sentinel-1 flew at other dates than Sentinel-2, of which the network is; a network alone is named, too."""
    page = visit("about:blank", ready=False)
    with_networks(page, ("net", "S2L2A", alikes(0, 1)))
    about = {"valid": True, "contract": "", "product": "", "crs": "", "transform": None, "baseline": None}
    radar = [{**about, "time": f"1999-0{month}-01T00:00:00+00:00"} for month in (1, 2)]
    rewritten(page, "info.json", lambda info: {**info, "images": {**info["images"], "S1GRD": radar}})
    page.goto(f"{served}#/place/0000005")

    expect(page.locator("#like-date option")).to_have_text(["2020-01-06", "2020-07-06"])
    expect(page.locator("#own-0 thead th")).to_have_text(["2020-01-06", "2020-07-06"])
    expect(page.locator("#like h3")).to_have_text("net")


@pytest.mark.parametrize(("date", "is_told"), [("1", False), ("7", True), ("", True), ("July", True)])
def test_a_date_of_a_link_that_no_network_saw_is_told(served: str, visit: Open, date: str, is_told: bool) -> None:
    """The first is shown in its place, until another is chosen."""
    page = visit("about:blank", ready=False)
    with_networks(page, ("net", "S2L2A", alikes(0, 1)))
    page.goto(f"{served}#/place/0000005?date={date}")
    fault = page.locator("#like-fault")

    expect(page.locator("#like-date")).to_have_value("0" if is_told else "1")
    words = f"No network has an embedding of this place in season “{date}”; shown is season 0."
    expect(fault).to_have_text(words if is_told else "")
    expect(fault).to_be_visible() if is_told else expect(fault).to_be_hidden()
    page.select_option("#like-date", "1")
    expect(fault).to_be_hidden()


def test_a_network_that_did_not_see_a_date_says_so(served: str, visit: Open) -> None:
    """Neighbours of another date do not stand under the wrong one, nor do they count as named by both."""
    page = visit("about:blank", ready=False)
    with_networks(page, ("all", "S2L2A", alikes(0, 1)), ("late", "S2L2A", alikes(1)), ("mean", "S2L2A", alikes(None)))
    page.goto(f"{served}#/place/0000005")
    columns = page.locator("#like .network")

    expect(columns.nth(1)).to_contain_text("has no embedding of this date")
    expect(columns.nth(1).locator(".alikes")).to_have_count(0)
    expect(columns.nth(2)).to_contain_text("mean over seasons")
    expect(columns.nth(2).locator(".alikes a")).to_have_count(1)
    page.select_option("#like-date", "1")
    expect(columns.nth(1).locator(".alikes .flag")).to_have_text("both")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Labels that are hard: clouds told in words, days as whole numbers of eight digits, many of them, fractions."""
    path = tmp_path_factory.mktemp("labelled") / "a.zarr"
    kinds = ("none", "thin", "thick")
    with ArchiveWriter(path, forms=FORMS, num_seasons=SEASONS, shape=(SIZE, SIZE), provenance=PROVENANCE) as writer:
        for number in range(40):
            sample = make_sample(number % COUNT)
            place = replace(sample.location, id=LONG if number == 39 else f"{number:07d}")
            labels = {
                "cloud_S2L2A": number / 20,
                "cloud_kind": kinds[number % 3],
                "day": 20200101 + number,
                "week": 20200101 + number % 3,
                "exact": 12345670.25 + number,
                "name": f"a ~ {number}",
            }
            writer.append(replace(sample, location=place, labels=labels))
        writer.finish()
    with serving(Opening(path)) as url:
        yield url


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("cloud=0.3", 7),  # 0 to 0.3 by 0.05
        ("where=label-2~20200105~20200107", 3),
        ("where=label-3~20200102~20200102", 13),
        ("where=label-4~12345681.25~12345681.25", 1),
        ("where=label-5~~ 1", 11),  # 1 and 10 to 19
        ("where=label-1~thin", 13),
    ],
)
def test_filters_of_hard_labels_count_right(labelled: str, visit: Open, query: str, count: int) -> None:
    """Clouds in words are no clouds in numbers; eight digits are kept; text may hold the mark that parts a filter."""
    page = visit(f"{labelled}#/map?{query}")

    placed = count - sum(1 for n in PLACELESS if wanted(query, n))
    expect(words(page)).to_have_text(f"{placed} of 40 places in view")


def wanted(query: str, number: int) -> bool:
    """Whether a place without coordinates passes a filter of the test above: the map does not count it."""
    return {"cloud=0.3": number <= 6, "where=label-2~20200105~20200107": 4 <= number <= 6,
            "where=label-3~20200102~20200102": number % 3 == 1, "where=label-4~12345681.25~12345681.25": number == 11,
            "where=label-5~~ 1": str(number).startswith("1"), "where=label-1~thin": number % 3 == 1}[query]  # fmt: skip


def test_numbers_of_many_digits_are_shown_as_they_are(labelled: str, visit: Open) -> None:
    """In the legend of classes, in the ends of a ramp, in the panel, and on the page of a place."""
    page = visit(f"{labelled}#/map?color=label-3&where=label-2~~")
    expect(page.locator(".legend .chip")).to_have_text([" 20200101", " 20200102", " 20200103"])
    page.select_option("#color", "label-2")
    expect(page.locator(".ramp > span")).to_have_text(["20200101", "20200140"])
    page.select_option("#color", "label-4")
    expect(page.locator(".ramp > span")).to_have_text(["12345670.25", "12345709.25"])
    page.select_option("#where", "label-3")
    expect(page.get_by_label("week at least")).to_have_attribute("placeholder", "20200101")
    page = visit(f"{labelled}#/place/0000011")
    expect(page.locator("tr", has_text="exact").locator("td")).to_have_text("12345681.25")


def test_text_with_the_mark_that_parts_a_filter_can_be_looked_for(labelled: str, visit: Open) -> None:
    """The link that the panel writes is read back as it was."""
    page = visit(labelled)
    page.select_option("#where", label="name")
    page.get_by_label("name contains").fill("~ 3")
    page.keyboard.press("Tab")
    expect(page.locator(".places a")).to_have_count(11)  # 3 and 30 to 39
    other = visit(page.url)
    expect(other.get_by_label("name contains")).to_have_value("~ 3")
    expect(other.locator(".places a")).to_have_count(11)


@pytest.mark.parametrize(
    ("query", "fault"),
    [("where=label-4~abc~", "exact: “abc” is not a number"), ("where=nothing~1~2", "no column nothing"),
     ("cloud=much&from=yesterday&in=1,2", "“yesterday” is not a date")],
)  # fmt: skip
def test_a_filter_of_a_link_that_cannot_be_read_is_told(labelled: str, visit: Open, query: str, fault: str) -> None:
    """It is left out, and the panel says which; clearing takes the words away."""
    page = visit(f"{labelled}#/map?{query}")

    expect(page.locator(".side [role=alert]")).to_contain_text(fault)
    expect(words(page)).to_have_text(f"{40 - len(PLACELESS)} of 40 places in view")
    page.click("#clear")
    expect(page.locator(".side [role=alert]")).to_be_hidden()


def test_a_long_id_makes_no_page_wider_than_a_phone(labelled: str, visit: Open) -> None:
    """Ids may have 128 characters."""
    page = visit(f"{labelled}#/place/{LONG}", viewport={"width": 360, "height": 740})

    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360


def test_the_next_place_keeps_what_was_chosen_on_this_page(served: str, visit: Open) -> None:
    """Composite and brightness, without a reload in between."""
    page = visit(f"{served}#/place/0000005")
    page.select_option("#composite-S2L2A", "swir")
    page.select_option("#stretch", "fixed")
    page.get_by_role("link", name="Next").click()
    wait(page, "place 0000006")

    expect(page.locator("#composite-S2L2A")).to_have_value("swir")
    expect(page.locator("#stretch")).to_have_value("fixed")


def test_a_place_without_coordinates_is_not_offered_on_the_map(served: str, visit: Open) -> None:
    """Another place is."""
    page = visit(f"{served}#/place/{NOWHERE}")
    expect(page.get_by_role("link", name="Show on the map")).to_have_count(0)
    page = visit(f"{served}#/place/0000001")
    expect(page.get_by_role("link", name="Show on the map")).to_have_count(1)


def test_likeness_of_a_single_place_is_a_page(served: str, visit: Open) -> None:
    """Its distance to others is not known: no number, no error."""
    page = visit("about:blank", ready=False)
    with_networks(page, ("net", "S2L2A", alikes(0)))
    row = {**network("net", "S2L2A"), "outliers": [{"id": "0000005", "distance": None}]}
    rewritten(page, "data/likeness.json", lambda _: {"sets": [row], "neighbours": 10, "agreement": None}, there=False)
    page.route("**/data/likeness/0/0.bin", lambda route: route.fulfill(body=bytes(4 * 2 * (COUNT - 1))))
    page.route("**/data/likeness/0/1.bin", lambda route: route.fulfill(body=bytes(4 * 2)))
    page.goto(f"{served}#/likeness")
    wait(page, "likeness")

    expect(page.locator("[aria-labelledby=outliers-title]")).to_contain_text("no other place to compare with")


def test_one_damaged_chunk_leaves_the_rest_of_a_place(archive: Path, tmp_path: Path, visit: Open) -> None:
    """Of four pictures the damaged one is told; histograms of the other date and sensor are drawn."""
    with serving(Opening(damage_chunk(archive, tmp_path / "b.zarr"))) as url:
        page = visit(f"{url}#/place/0000000")
        expect(page.locator(".frame .wrong").nth(2)).to_contain_text("ssl4eo verify")
        expect(page.locator(".seasons img").nth(3)).to_be_visible()
        assert page.locator(".seasons img").nth(3).evaluate("i => i.decode().then(() => i.naturalWidth)") == 24
        page.locator("summary", has_text="Histograms").nth(0).click()
        page.locator("summary", has_text="Histograms").nth(1).click()
        expect(page.locator(".band")).to_have_count(2 + 12)
        expect(page.locator(".histograms .wrong")).to_contain_text("season 0")
        page.close()
    assert all("500" in line for line in visit.noise)
    visit.noise.clear()


def test_the_page_of_a_broken_archive_has_the_style_of_the_gallery(tmp_path: Path, visit: Open) -> None:
    """Light and dark, as every page."""
    (tmp_path / "empty.zarr").mkdir()
    with serving(Opening(tmp_path / "empty.zarr")) as url:
        for scheme, paper in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 24, 29)")):
            page = visit(url, ready=False, color_scheme=scheme)
            assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == paper
            assert "system-ui" in page.evaluate("() => getComputedStyle(document.body).fontFamily")
            page.close()
    assert all("503" in line for line in visit.noise)
    visit.noise.clear()


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("in=1,,2,", "“1,,2,” is not a bounding box"),
        ("color=nope", "There is no column nope"),
        ("color=dates-S2L2A:9", "has no season 9"),
        ("mod=S9&from=2020-01-01", "There is no modality S9"),
        ("at=abc", "“abc” is not a view"),
        ("at=,,", "“,,” is not a view"),
        ("from=2021-01-01&to=2020-01-01", "Nothing is from 2021-01-01 to 2020-01-01"),
        ("where=label-1~5~1", "“5” to “1” is not a range"),
        ("hide=label-0:x", "does not name classes of split"),
        ("valid=yes", "“yes” is not 1"),
    ],
)
def test_every_option_of_a_link_that_cannot_be_read_is_told_and_left_out(
    served: str, visit: Open, query: str, fault: str
) -> None:
    """All places are shown, and clearing takes the words away."""
    page = visit(f"{served}#/map?{query}")

    expect(page.locator(".side [role=alert]")).to_contain_text(fault)
    expect(words(page)).to_have_text("11 of 12 places in view")
    page.click("#clear")
    expect(page.locator(".side [role=alert]")).to_be_hidden()


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("stretch=loud", "There is no brightness “loud”; shown is shared."),
        ("stretch=fixed&c-S2L2A=violet", "Sentinel-2 L2A has no composite “violet”; shown is true color."),
        ("c-S9=ndvi", "There is no modality S9."),
    ],
)
def test_a_choice_that_a_place_does_not_have_is_told(served: str, visit: Open, query: str, fault: str) -> None:
    """Until it is no longer in the address."""
    page = visit(f"{served}#/place/0000000?{query}")
    faults = page.locator("#faults")
    expect(faults).to_have_text(re.compile(re.escape(fault), re.IGNORECASE))
    page.select_option("#stretch", "own")
    page.select_option("#composite-S2L2A", "ndvi")
    expect(faults).to_be_visible() if "S9" in query else expect(faults).to_be_hidden()


def test_a_view_that_cannot_be_read_is_told_until_the_map_moves(served: str, visit: Open) -> None:
    """Then the address has another one."""
    page = visit(f"{served}#/map?at=1,2")
    expect(page.locator(".side [role=alert]")).to_contain_text("“1,2” is not a view")
    page.focus("#map")
    page.keyboard.press("ArrowUp")
    expect(page.locator(".side [role=alert]")).to_be_hidden()


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Truth values of the 12 places: true of 0, 3, 6, 9, unknown of 1, else false; and a column that no map shows."""
    path = write_archive(tmp_path_factory.mktemp("truths") / "a.zarr")
    is_clear = [None if n == 1 else n % 3 == 0 for n in range(COUNT)]
    extend_table(path, is_clear=pa.array(is_clear), tags=pa.array([[HOSTILE]] * COUNT))
    with serving(Opening(path)) as url:
        yield url


@pytest.mark.parametrize(("ends", "count"), [("1~1", 4), ("0~0", 6), ("0~1", 10), ("~0", 6)])
def test_truth_values_filter(truths: str, visit: Open, ends: str, count: int) -> None:
    """False is 0 and true is 1; what is unknown passes no filter, number 7 is nowhere."""
    page = visit(f"{truths}#/map?where=label-3~{ends}")

    expect(words(page)).to_have_text(f"{count} of 12 places in view")


def test_truth_values_are_chosen_in_the_panel_and_color_the_map(truths: str, visit: Open) -> None:
    """The link is read back; a column that the map leaves out is told on the page about the archive."""
    page = visit(truths)
    page.select_option("#color", label="is_clear")
    expect(page.locator(".legend .chip")).to_have_text([" False", " True"])
    page.select_option("#where", label="is_clear")
    page.get_by_label("is_clear is").select_option("true")
    expect(words(page)).to_have_text("4 of 12 places in view")
    other = visit(page.url)
    expect(other.get_by_label("is_clear is")).to_have_value("1")
    expect(words(other)).to_have_text("4 of 12 places in view")
    about = visit(f"{truths}#/about")
    expect(about.locator(".wrong")).to_have_text(re.compile("leaves out column tags: .* neither text nor numbers"))


def test_the_page_of_a_place_says_how_bright_its_pictures_are(archive: Path, tmp_path: Path, visit: Open) -> None:
    """An index has a range of its own; shared brightness tells its seasons, and where one cannot be read."""
    with serving(Opening(damage_chunk(archive, tmp_path / "b.zarr"))) as url:
        page = visit(f"{url}#/place/0000000")
        note = page.locator("#note-S2L2A")
        expect(note).to_have_text("Brightness shared over 1 of 2 seasons: the others cannot be read.")
        expect(page.locator("#note-S1GRD")).to_have_text("Brightness shared over 2 seasons.")
        page.select_option("#composite-S2L2A", "ndvi")
        expect(note).to_contain_text("Always drawn from -0.2 to 1")
        page.select_option("#composite-S2L2A", "band:B11")
        expect(note).to_have_text("Brightness shared over 2 seasons.")
        page.select_option("#stretch", "fixed")
        expect(note).to_have_text("")
        page.close()
    assert all("500" in line for line in visit.noise)
    visit.noise.clear()


def test_histograms_say_where_the_outermost_values_are(served: str, visit: Open) -> None:
    """They are counted in the bins at the ends."""
    page = visit(f"{served}#/place/0000005")
    page.locator("summary", has_text="Histograms").first.click()

    expect(page.locator(".histograms").first).to_contain_text("percentile 0.1 to 99.9")
    expect(page.locator(".histograms").first).to_contain_text("bins at the ends")
