# SPDX-License-Identifier: Apache-2.0
"""Likeness in the gallery: files as served and as written, refusals, and the pages in a real browser."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gallery_stage import serving

import ssl4eo
from browsing import NEEDS_CHROMIUM, browser, hosting, visiting  # noqa: F401 - a fixture
from ssl4eo.archive.reader import open_archive
from ssl4eo.cli import main
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.embedding.embed import embed_archive
from ssl4eo.errors import DataMissing, SourceInvalid
from ssl4eo.gallery.likeness import LikenessFiles
from ssl4eo.gallery.server import Opening
from ssl4eo.gallery.site import Offer, Site, folder_of
from ssl4eo.gallery.write import write_site
from ssl4eo.packing.pack import pack

SEVERAL = "html[data-picked]:not([data-picked='0']):not([data-picked='1'])"
"""A page that shows several places as picked."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Fourteen places at two dates, seen by two untrained networks, and the static site of them."""
    folder = tmp_path_factory.mktemp("alike")
    planet = SyntheticPlanet(14, seed=3, num_seasons=2, size=66, modalities=("S2L1C",))
    pack(planet, folder / "a.zarr", statistics=False)
    for seed, name in enumerate(("one", "two")):
        embed_archive("random.resnet18.s2l1c", folder / "a.zarr", folder / f"{name}.parquet", image_size=32,
                      workers=1, seed=seed)  # fmt: skip
    offer = Offer(
        ("true-color",),
        ("shared",),
        pixels=False,
        embeddings=tuple(str(folder / f"{n}.parquet") for n in ("one", "two")),
    )
    archive = open_archive(folder / "a.zarr")
    write_site(archive, folder / "site", offer=offer)
    return folder, archive, offer


def test_a_place_is_told_its_like_with_every_date(stage):
    """The file of a location equals the search in Python; own dates are a matrix of ones on its diagonal."""
    folder, archive, offer = stage
    name = archive.ids[4]

    told = json.loads(Site(archive, offer=offer).resource(f"{folder_of(name)}/like-0.json").content)

    likeness = ssl4eo.Likeness(ssl4eo.open_embeddings(folder / "one.parquet"))
    for season in range(2):
        expected = [row.to_json() for row in likeness.like(name, season=season, k=12)]
        assert told["rows"][season] == {"season": season, "like": expected}
        assert name not in {row["location"] for row in expected}
    np.testing.assert_allclose(np.diag(told["own"]), 1, atol=1e-3)


def test_planes_lie_in_the_order_of_the_blocks(stage):
    """Each location's point is that of `prepared`; within 0 to 1."""
    folder, archive, offer = stage
    site = Site(archive, offer=offer)

    points = np.frombuffer(site.resource("data/likeness/1/0.bin").content, "<f4").reshape(2, -1)
    ids = json.loads(site.resource("data/blocks/0/ids.json").content)

    prepared, places = site.alike().prepared(1), ssl4eo.open_embeddings(folder / "two.parquet").places
    expected = prepared.plane[[places.index(name) for name in ids]] / 2 + 0.5
    np.testing.assert_allclose(points.T, expected, atol=1e-6)
    assert (points >= 0).all()
    assert (points <= 1).all()


def test_outliers_and_agreement_are_columns_and_a_summary(stage):
    """Listed from the largest distance; agreement of a network with itself is whole."""
    folder, archive, offer = stage
    site = Site(archive, offer=offer)

    summary = json.loads(site.resource("data/likeness.json").content)

    distances = [row["distance"] for row in summary["sets"][0]["outliers"]]
    assert distances == sorted(distances, reverse=True)
    assert len(distances) == 14
    assert [row["name"] for row in summary["sets"]] == ["random.resnet18.s2l1c", "random.resnet18.s2l1c, seed 1"]
    assert 0 < summary["agreement"]["overlap"] <= 1
    assert {"unlike-0", "unlike-1", "agreement"} <= set(site.blocks.columns)
    same = LikenessFiles(archive, [folder / "one.parquet"] * 2)
    assert json.loads(same.summary())["agreement"]["overlap"] == 1


def test_a_static_site_has_what_the_server_gives(stage):
    """Every file of likeness, byte for byte; the record names no folder of this machine."""
    folder, archive, offer = stage
    site = Site(archive, offer=offer)

    paths = [path for path in site.shared_paths() if "likeness" in path and path.startswith("data/")]
    paths += [path for name in archive.ids for path in site.location_paths(name) if "/like-" in path]

    assert len(paths) == 1 + 2 * len(site.blocks.rows) + 2 * 14
    for path in paths:
        assert (folder / "site" / path).read_bytes() == site.resource(path).content, path
    assert str(folder) not in (folder / "site" / "record.json").read_text()


def test_embeddings_of_another_archive_are_refused(stage, tmp_path, capsys):
    """Other ids, or the same running numbers at other points; the command says so with status 1 and serves nothing."""
    folder, archive, _ = stage
    pack(
        SyntheticPlanet(14, seed=4, num_seasons=2, size=66, modalities=("S2L1C",)),
        tmp_path / "b.zarr",
        statistics=False,
    )
    pack(
        SyntheticPlanet(2, seed=3, num_seasons=2, size=66, modalities=("S2L1C",)), tmp_path / "c.zarr", statistics=False
    )
    other, fewer = open_archive(tmp_path / "b.zarr"), open_archive(tmp_path / "c.zarr")
    assert other.ids == archive.ids

    with pytest.raises(SourceInvalid, match=r"at .*expected .*as in"):
        LikenessFiles(other, [folder / "one.parquet"])
    with pytest.raises(SourceInvalid, match="12 locations that"):
        LikenessFiles(fewer, [folder / "one.parquet"])
    assert main(["gallery", str(tmp_path / "b.zarr"), "--serve", "--embeddings", str(folder / "one.parquet")]) == 1
    assert "embeddings of this archive" not in capsys.readouterr().out
    with pytest.raises(DataMissing):
        Site(archive).resource("data/likeness.json")


@pytest.fixture(scope="module", params=["served", "static"])
def address(request, stage):
    """The gallery as a server and as files under a sub-path of a plain web host."""
    folder, archive, offer = stage
    if request.param == "served":
        with serving(Opening(archive.path, lambda path: Site(open_archive(path), offer=offer))) as url:
            yield url
        return
    with hosting(folder) as url:
        yield f"{url}site/"


@pytest.fixture
def page(browser, address):
    """A page at the gallery; every request stays on loopback and nothing is wrong in the console."""
    with visiting(browser) as visit:
        page = visit(address, viewport={"width": 1300, "height": 900})
        page.set_default_timeout(60_000)
        yield page


def ready(page, value):
    page.wait_for_selector(f"html[data-ready='{value}']")


@NEEDS_CHROMIUM
def test_the_pages_of_likeness_in_a_browser(page, address, stage, tmp_path):
    """Search by likeness, pick on both maps by click, box and lasso, a shared link reloaded, outliers opened."""
    _, archive, _ = stage
    name = archive.ids[2]
    page.goto(f"{address}#/place/{name}")
    page.wait_for_selector("#like .alikes a")
    lists = page.locator("#like .network")
    assert lists.count() == 2
    first = lists.nth(0).locator("a .name").first.inner_text()
    assert first != name
    page.select_option("#like-date", "1")
    page.wait_for_url("**date=1**")
    lists.nth(0).locator("a").first.click()
    page.wait_for_selector(f"h1:not(:text-is('Location {name}'))")
    ready(page, f"place {page.url.partition('#/place/')[2].partition('?')[0]}")
    assert name not in page.locator("h1").inner_text()

    page.goto(f"{address}#/likeness?pick={name}")
    page.reload()
    ready(page, "likeness")
    page.wait_for_selector("html[data-picked='1']")
    assert page.locator(".picked .name").inner_text() == name
    assert "in common" in page.locator("#agreement").inner_text()
    assert page.locator(".panel").count() == 3

    page.click("button[data-tool=lasso]")
    box = page.locator(".panel .map").nth(0).bounding_box()
    page.mouse.move(box["x"] + 4, box["y"] + 60)
    page.mouse.down()
    for x, y in ((0.99, 0.15), (0.99, 0.99), (0.01, 0.99)):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=6)
    page.mouse.up()
    page.wait_for_selector(SEVERAL)
    picked = page.locator(".picked .name").all_inner_texts()
    assert "area=0" in page.evaluate("location.hash")

    page.reload()
    page.wait_for_selector(SEVERAL)
    assert page.locator(".picked .name").all_inner_texts() == picked

    page.click("button[data-tool=box]")
    box = page.locator(".panel .map").nth(2).bounding_box()
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + box["height"] - 4, steps=4)
    page.mouse.up()
    page.wait_for_url("**area=world**")

    page.click("#nothing")
    page.wait_for_selector("html[data-picked='0']")
    page.select_option("#color", "unlike-0")
    page.wait_for_selector(".legendline .ramp")
    outlier = page.locator("[aria-labelledby=outliers-title] a").first
    wanted = outlier.locator(".name").inner_text()
    outlier.click()
    ready(page, f"place {wanted}")
