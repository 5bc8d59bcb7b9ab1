# SPDX-License-Identifier: Apache-2.0
"""How long the gallery of 250,000 locations takes to show itself, in a real browser on loopback.

Makes a synthetic archive of that many places with tiny patches (the tables are what counts: ids, points, dates,
labels), serves it, and measures in Chromium: from the address to the drawn map with its list, then a column of color, a filter
of dates on the whole world, a view of a city, a search by id, a page of a place; and the bytes and requests of each.

    python benchmarks/bench_gallery.py --archive /somewhere/big.zarr --chromium /usr/bin/chromium
"""

from __future__ import annotations

import argparse
import datetime as dt
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.form import Form
from ssl4eo.sample import Image, Location, Provenance, Sample

SIZE, SEASONS, START = 6, 4, dt.datetime(2020, 1, 1, 10, tzinfo=dt.UTC)
FORM = Form.native("S2RGB")


def make_archive(path: Path, count: int) -> None:
    """Write synthetic places: clustered around 10,000 centers as cities are, 4 dates, 5 labels."""
    rng = np.random.default_rng(0)
    centers = np.stack([rng.uniform(-180, 180, 10_000), np.degrees(np.arcsin(rng.uniform(-0.8, 0.9, 10_000)))], 1)
    points = centers[rng.integers(0, len(centers), count)] + rng.normal(0, 0.5, (count, 2))
    lons, lats = (points[:, 0] + 180) % 360 - 180, np.clip(points[:, 1], -89, 89)
    days, clouds, classes = rng.integers(0, 80, (count, SEASONS)), rng.random(count), rng.integers(0, 10, count)
    pixels = [{10: rng.integers(1, 255, (3, SIZE, SIZE)).astype(np.uint8)} for _ in range(64)]
    about = Provenance("simulated table: synthetic places for the benchmark", synthetic=True, licence="CC0-1.0")
    with ArchiveWriter(path, forms=(FORM,), num_seasons=SEASONS, shape=(SIZE, SIZE), provenance=about) as writer:
        for i in range(count):
            images = tuple(
                Image(
                    "S2RGB", pixels[(i + s) % 64], time=START + dt.timedelta(days=91 * s + int(days[i, s])), kept=FORM
                )
                for s in range(SEASONS)
            )
            labels = {
                "split": "train" if i % 10 else "test", "max_cloud_S2RGB": float(clouds[i]), "scene": int(classes[i]),
                "height": float(i % 997), "city": f"city {i % 5000}",
            }  # fmt: skip
            place = Location(f"{i:07d}", float(lons[i]), float(lats[i]))
            writer.append(Sample(place, {"S2RGB": images}, labels=labels))
        writer.finish()


class Meter:
    """Counts what a page asks for, and times until it says that it is drawn."""

    def __init__(self, page) -> None:
        self.page, self.requests, self.bytes = page, 0, 0
        page.on("requestfinished", self._count)

    def _count(self, request) -> None:
        self.requests += 1
        self.bytes += request.sizes()["responseBodySize"]

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
        meter.measure("color by cloud share", lambda: page.select_option("#color", label="max_cloud_S2RGB"))
        meter.measure("zoom to a country", lambda: page.goto(f"{url}#/map?at=48,10,6"))
        meter.measure("open a place", lambda: page.goto(f"{url}#/place/0123456"))
        meter.measure(
            "whole world, filtered by date", lambda: page.goto(f"{url}#/map?at=20,0,2&from=2020-06-01&to=2020-06-30")
        )
        meter.measure(
            "the same by class as well",
            lambda: page.goto(f"{url}#/map?at=20,0,2&from=2020-06-01&to=2020-06-30&color=label-2"),
        )
        meter.measure("a second visit: first view again", lambda: page.goto(f"{url}?again"))
        start = time.perf_counter()
        page.fill("#search", "01999")
        page.locator("#results a").first.wait_for()
        print(f"| search by the beginning of an id | {time.perf_counter() - start:.2f} | | |")
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--count", type=int, default=250_000)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    if not options.archive.exists():
        start = time.perf_counter()
        make_archive(options.archive, options.count)
        print(f"archive of {options.count} places made in {time.perf_counter() - start:.0f} s", file=sys.stderr)
    command = [sys.executable, "-m", "ssl4eo.cli", "gallery", str(options.archive), "--serve", "--port", "0"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        print(f"server ready after {time.perf_counter() - start:.1f} s")
        try:
            measure(url, options.chromium)
        finally:
            server.terminate()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    print(f"largest process: {peak:,.0f} MB")


if __name__ == "__main__":
    main()
