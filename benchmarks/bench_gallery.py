# SPDX-License-Identifier: Apache-2.0
"""How long the gallery of 250,000 locations takes to show itself, in a real browser on loopback.

The table is simulated: ids, points, dates of four seasons and five labels of that many synthetic places; their pixels
are those of a small synthetic archive (24 places of 264 px), over and over. Measured in Chromium: from the address to
the drawn map with its list, then a column of color, a view of a country, a page of a place, a filter of dates on the
whole world, a search by id; and the bytes and requests of each. Not measured: reading the tables of a real archive.

    ssl4eo collect --out planet.zarr --num_locations 24
    python benchmarks/bench_gallery.py planet.zarr --chromium /usr/bin/chromium
"""

from __future__ import annotations

import argparse
import datetime as dt
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ssl4eo.archive.reader import open_archive
from ssl4eo.gallery.columns import Column, Places, label_column
from ssl4eo.gallery.server import Opening, listen, make_app, serve, url_of
from ssl4eo.gallery.site import Site, shard_of

SEASONS = 4


def simulate(count: int) -> Places:
    """Make the table of synthetic places: around 10,000 centers as cities are."""
    rng = np.random.default_rng(0)
    centers = np.stack([rng.uniform(-180, 180, 10_000), np.degrees(np.arcsin(rng.uniform(-0.8, 0.9, 10_000)))], 1)
    points = centers[rng.integers(0, len(centers), count)] + rng.normal(0, 0.5, (count, 2))
    start = np.datetime64("2020-01-01", "D").astype(int)
    days = (start + 91 * np.arange(SEASONS)[:, None] + rng.integers(0, 80, (SEASONS, count))).astype(np.uint16)
    slots = tuple(f"season {i + 1}" for i in range(SEASONS))
    columns = [
        Column(f"dates-{name}", f"date, {name}", "date", days, slots, group="date", modality=name)
        for name in ("S1GRD", "S2L1C", "S2L2A")
    ]
    labels = {
        "split": np.where(np.arange(count) % 10, "train", "test").astype(object),
        "max_cloud_S2L2A": rng.random(count),
        "scene": rng.integers(0, 10, count),
        "height": rng.normal(300, 200, count),
        "city": np.array([f"city {i % 5000}" for i in range(count)], dtype=object),
    }
    columns += [label_column(f"label-{i}", name, values) for i, (name, values) in enumerate(labels.items())]
    lons, lats = (points[:, 0] + 180) % 360 - 180, np.clip(points[:, 1], -89, 89)
    return Places([f"{i:07d}" for i in range(count)], lons, lats, tuple(columns))


class SimulatedSite(Site):
    """A site whose every location has the pixels of one of the archive's."""

    def location(self, shard: str, location: str) -> str:
        """Give the archive's location that stands for another."""
        assert shard == shard_of(location)
        return self.archive.ids[int(location) % len(self.archive)]


def serve_simulated(archive: Path, count: int) -> None:
    """Serve until a signal ends it; print the address when the table is there."""
    start = time.perf_counter()
    opening = Opening(archive, lambda path: SimulatedSite(open_archive(path), places=simulate(count)))
    opening.site().warm()
    print(f"table of {count} places made, cut and warmed up in {time.perf_counter() - start:.1f} s", file=sys.stderr)
    bound = listen("127.0.0.1", 0)
    print(url_of(bound), flush=True)
    serve(make_app(opening), bound)


class Meter:
    """Counts what a page asks for, and times until it says that it is drawn."""

    def __init__(self, page) -> None:
        self.page, self.requests, self.bytes = page, 0, 0
        page.on("response", self._count)

    def _count(self, response) -> None:
        self.requests += 1
        self.bytes += int(response.headers.get("content-length", 0)) if response.status == 200 else 0

    def measure(self, what: str, act) -> None:
        """Print seconds until the page is drawn, requests and bytes until it is quiet."""
        self.page.evaluate("() => { document.documentElement.dataset.ready = ''; }")
        self.requests = self.bytes = 0
        start = time.perf_counter()
        act()
        self.page.wait_for_selector("html[data-ready]:not([data-ready=''])", state="attached", timeout=120_000)
        seconds = time.perf_counter() - start
        self.page.wait_for_timeout(1500)  # what comes after the map: thumbnails of the list
        print(f"| {what} | {seconds:.2f} | {self.requests} | {self.bytes / 1000:,.0f} |", flush=True)


def measure(url: str, chromium: str) -> None:
    from playwright.sync_api import sync_playwright

    print("| step | seconds | requests | kB |\n|---|---|---|---|")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.set_default_timeout(120_000)
        meter = Meter(page)
        page.goto("about:blank")
        meter.measure("first view: map and list", lambda: page.goto(url))
        meter.measure("color by cloud share", lambda: page.select_option("#color", label="max_cloud_S2L2A"))
        meter.measure("zoom to a country", lambda: page.goto(f"{url}#/map?at=48,10,6"))
        meter.measure("open a place", lambda: page.goto(f"{url}#/place/0123456"))
        world = f"{url}#/map?at=20,0,2&mod=S2L2A&from=2020-06-01&to=2020-06-30"
        meter.measure("whole world, filtered by dates of a modality", lambda: page.goto(world))
        meter.measure("the same, colored by class", lambda: page.goto(f"{world}&color=label-2"))
        meter.measure("a second visit: first view again", lambda: page.goto(f"{url}?again"))
        start = time.perf_counter()
        page.fill("#search", "01999")
        page.locator("#results a").first.wait_for()
        print(f"| search by the beginning of an id | {time.perf_counter() - start:.2f} | | |")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--count", type=int, default=250_000)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--serve", action="store_true", help="only serve")
    options = parser.parse_args()
    if options.serve:
        serve_simulated(options.archive, options.count)
        return
    print(f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, {options.count} places")
    command = [sys.executable, __file__, str(options.archive), "--count", str(options.count), "--serve"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            measure(server.stdout.readline().strip(), options.chromium)
            status = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
            print("server's memory at its most:", next(r for r in status.splitlines() if r.startswith("VmHWM")))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
