# SPDX-License-Identifier: Apache-2.0
"""The site builds strict, asks no other host for anything, shows every page, and documents what it lists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import griffe
import pytest

from browsing import NEEDS_CHROMIUM, Open, browser, hosting, playwright, visit  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[2]
_LOADED = re.compile(
    r"<(?:script|img|iframe|source|audio|video)\b[^>]*?\bsrc=\"?([^\"\s>]+)|<link\b[^>]*?>", re.IGNORECASE
)
_HREF = re.compile(r"\bhref=\"?([^\"\s>]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make docs` builds it."""
    out = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def loaded(page: str) -> list[str]:
    """Give the addresses that a browser asks for when it shows a page."""
    found: list[str] = []
    for match in _LOADED.finditer(page):
        if match[1]:
            found.append(match[1])
        elif "stylesheet" in match[0] or "icon" in match[0] or "preload" in match[0]:
            found += _HREF.findall(match[0])
    return found


def test_no_request_leaves_the_site(site: Path) -> None:
    """Scripts, styles, icons and pictures of every page lie beside it, and style sheets name no other host."""
    for page in site.rglob("*.html"):
        for address in loaded(page.read_text(encoding="utf-8")):
            if not address.startswith("data:"):
                assert not re.match(r"(https?:)?//", address), f"{page.name}: {address}"
                path = address.partition("?")[0].partition("#")[0]
                place = site / path[1:] if path.startswith("/") else page.parent / path
                assert place.is_file(), f"{page.name}: {address}"
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"url\(\s*['\"]?(https?:)?//|@import\s+['\"]?(https?:)?//", text), sheet.name


def test_an_address_elsewhere_would_be_found() -> None:
    """The search above can find something."""
    assert loaded('<script src="https://unpkg.com/x"></script>') == ["https://unpkg.com/x"]
    assert loaded('<link rel="stylesheet" href="//fonts.example/a.css">') == ["//fonts.example/a.css"]
    assert loaded('<a href="https://example.org">a link is no request</a>') == []


def test_every_page_and_every_measurement_is_in_the_navigation(site: Path) -> None:
    """A page that nobody can find from the start is not there."""
    start = (site / "index.html").read_text(encoding="utf-8")
    pages = [p.relative_to(ROOT / "docs").with_suffix(".html") for p in (ROOT / "docs").rglob("*.md")]
    pages += [Path("benchmarks") / p.with_suffix(".html").name for p in (ROOT / "benchmarks/results").glob("*.md")]
    reached = set(_HREF.findall(start))
    for page in pages:  # the navigation of the start page has the pages of its own part only; tabs have their first
        text = (site / page).read_text(encoding="utf-8")
        assert page.name in _HREF.findall(text) or page.as_posix() in reached or "md-nav__link--active" in text, page


def test_the_repositorys_links_lead_to_the_sites_pages(site: Path) -> None:
    """A measurement is linked as a file of the repository and found on the site."""
    page = (site / "results.html").read_text(encoding="utf-8")

    assert 'href="benchmarks/learning.html"' in page
    assert "../benchmarks/results" not in page


def test_whatever_the_reference_lists_is_documented() -> None:
    """Each object on the API pages has a docstring, and so has each public class, function and property of it.

    Fields without one are not shown but in the signature of their class: their names say it.
    """
    names = [
        name
        for page in sorted((ROOT / "docs/api").glob("*.md"))
        for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    package = griffe.load("ssl4eo", search_paths=[ROOT / "src"])
    bare: list[str] = []
    for name in names:
        bare += undocumented(package[name.removeprefix("ssl4eo").removeprefix(".")] if "." in name else package)

    assert len(names) > 40
    assert not bare, f"no docstring: {', '.join(bare)}"


def undocumented(found: griffe.Object | griffe.Alias) -> list[str]:
    """Name an object and its public members that have no docstring."""
    if found.is_alias:
        return []
    silent = found.is_attribute and "property" not in found.labels
    bare = [] if found.docstring or silent else [found.path]
    if found.is_module or found.is_class:
        for name, member in found.members.items():
            if not (name.startswith("_") or member.is_alias or member.is_module):
                bare += undocumented(member)
    return bare


@NEEDS_CHROMIUM
def test_the_start_page_leads_somewhere_and_its_search_finds(site: Path, visit: Open) -> None:
    """In a browser: no error, no request elsewhere, and a word of the reference is found."""
    with hosting(site) as url:
        page = visit(f"{url}index.html")
        assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        page.keyboard.press("s")
        page.keyboard.type("solarize")
        found = page.locator(".md-search-result__link[href*='views.html?h=solarize']").first
        found.click()
        page.wait_for_url(re.compile(r"/views\.html\?h=solarize"))
        playwright.expect(page.locator("article")).to_contain_text("solarize")
        page.wait_for_load_state("networkidle")
        phone = visit(f"{url}tutorial.html", viewport={"width": 360, "height": 740})
        assert phone.evaluate("document.documentElement.scrollWidth") <= 360
