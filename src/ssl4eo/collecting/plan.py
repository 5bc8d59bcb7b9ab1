# SPDX-License-Identifier: Apache-2.0
"""What a collection will ask for, before anything is fetched: counts, requests, bytes, hours.

An estimate with its assumptions beside it. It knows how many places, seasons and products there are and what a service
says one search and one read cost; how often points and scenes are refused nobody knows before, so it is an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssl4eo.collection.remote.collected import CollectedSource
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.together import price_all
from ssl4eo.errors import ConfigInvalid

LATENCY_S = 0.5
"""Of a request, from asking to the first byte [s]; assumed."""
BANDWIDTH = 10e6
"""[bytes a second]; assumed."""
STORED_SHARE = 0.75
"""Size of an archive relative to the pixels in it: 0.70 to 0.77 was measured on real Sentinel-2."""


@dataclass(frozen=True)
class Plan:
    """An estimate."""

    num_places: int
    num_points: int
    """Of all places together, spare ones included."""
    num_seasons: int
    images: Mapping[str, int]
    """By modality the images that will be stored."""
    requests: float
    num_bytes: float
    """Over the network."""
    archive_bytes: float
    hours: float
    assumptions: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "places": self.num_places, "points": self.num_points, "seasons": self.num_seasons,
            "images": dict(self.images), "requests": round(self.requests), "bytes": round(self.num_bytes),
            "archive_bytes": round(self.archive_bytes), "hours": round(self.hours, 3),
            "assumptions": list(self.assumptions),
        }  # fmt: skip


def make_plan(
    source: CollectedSource, *, threads: int, refusals: float = 0.3, latency_s: float = LATENCY_S,
    bandwidth: float = BANDWIDTH,
) -> Plan:  # fmt: skip
    """Estimate a collection.

    Args:
        source: what would be collected; no service is asked.
        threads: places under way at a time.
        refusals: points and scenes that are tried in vain, per one that is taken.
        latency_s: of a request [s].
        bandwidth: of all threads together [bytes a second].

    Raises:
        ConfigInvalid: numbers that cannot be.
    """
    if threads < 1 or refusals < 0 or latency_s < 0 or bandwidth <= 0:
        raise ConfigInvalid(
            f"{threads} threads, {refusals} refusals, {latency_s} s, {bandwidth} bytes a second",
            expected="one thread, and a bandwidth above 0",
        )
    count = len(source.places)
    grid = PatchGrid("EPSG:32631", 0, 0, source.size, source.base)
    total, pixels = price_all(source.service, list(source.products.values()), grid, num_scenes=source.num_seasons), 0.0
    for product in source.products.values():
        item = 4 if product.form.dtype == "float32" else 2
        pixels += source.num_seasons * sum(len(b) * grid.num_pixels(r) ** 2 * item for r, b in product.form.groups)
    total = total * (count * (1 + refusals))
    seconds = max(total.requests * latency_s / threads, total.num_bytes / bandwidth)
    return Plan(
        num_places=count,
        num_points=sum(len(place.points) for place in source.places.values()),
        num_seasons=source.num_seasons,
        images=dict.fromkeys(source.products, count * source.num_seasons),
        requests=total.requests,
        num_bytes=total.num_bytes,
        archive_bytes=count * pixels * STORED_SHARE,
        hours=seconds / 3600,
        assumptions=(
            f"{refusals:g} points or scenes are tried in vain for each that is taken",
            f"{latency_s:g} s a request, {threads} at a time, {bandwidth / 1e6:g} MB a second together",
            f"an archive has {STORED_SHARE:g} of the size of its pixels",
        ),
    )
