# SPDX-License-Identifier: Apache-2.0
"""A small stage for collecting: places, windows, and a service that fails on request."""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssl4eo.collection.remote.collected import CollectedSource
from ssl4eo.collection.remote.selection import Choice
from ssl4eo.collection.remote.synthetic import PRODUCTS, SyntheticService
from ssl4eo.errors import ServiceFailed, SourceInvalid
from ssl4eo.locations.place import Place
from ssl4eo.locations.window import Range, Window
from ssl4eo.sample import Provenance

PROVENANCE = Provenance("collected for a test", synthetic=True, licence="CC0-1.0")


@dataclass(frozen=True)
class TwoWindows:
    """Twenty days around two dates."""

    days: int = 10

    def __call__(self, place: str, lat: float) -> Sequence[Window]:
        """Give the windows of any place."""
        dates = (dt.datetime(2020, 3, 20, tzinfo=dt.UTC), dt.datetime(2020, 9, 22, tzinfo=dt.UTC))
        half = dt.timedelta(days=self.days)
        return tuple(Window((Range(date, date - half, date + half),)) for date in dates)


@dataclass(frozen=True)
class Faulty(SyntheticService):
    """A service with a plan of what goes wrong; counts what was asked."""

    vanished: frozenset[str] = frozenset()
    """Places (by longitude as text) whose scenes are listed and not there."""
    empty: frozenset[str] = frozenset()
    """Places that nothing was seen of."""
    refusals: Mapping[str, int] = field(default_factory=dict)
    """By longitude how often the service stays away before it answers."""
    asked: Counter = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def search(self, location, ranges, product):
        """As the planet, unless planned otherwise."""
        key = f"{location.lon:.2f}"
        with self.lock:
            self.asked[key] += 1
            if self.asked[key] <= self.refusals.get(key, 0):
                raise ServiceFailed("503", expected="an answer")
        if key in self.empty:
            return []
        scenes = super().search(location, ranges, product)
        for scene in scenes:
            scene.handle["key"] = key
        return scenes

    def read(self, scenes, product, grid):
        """As the planet, unless planned otherwise."""
        return [
            SourceInvalid(f"{s.product} is gone", expected="it") if s.handle["key"] in self.vanished else p
            for s, p in zip(scenes, super().read(scenes, product, grid), strict=True)
        ]


def places(count: int, *, spares: int = 1) -> dict[str, Place]:
    """Places along a parallel, spares one degree south each."""
    return {
        f"{i:07d}": Place(f"{i:07d}", tuple((10 + i / 4, 48.0 - k) for k in range(1 + spares)), {"city": f"c{i % 3}"})
        for i in range(count)
    }


def stage(count: int = 6, *, service=None, modalities=("S1GRD", "S2L2A"), size: int = 24, **options) -> CollectedSource:
    """A source of small patches."""
    return CollectedSource(
        service or SyntheticService(),
        places(count, spares=options.pop("spares", 1)),
        TwoWindows(),
        {name: PRODUCTS[name] for name in modalities},
        PROVENANCE,
        num_seasons=2,
        choice=Choice(max_scene_cloud=options.pop("max_scene_cloud", 1.0), **options),
        size=size,
    )


def content(folder: Path) -> dict[str, bytes]:
    """All files of an archive but those that hold the time of writing."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "checksums.json" and path != folder / "zarr.json"
    }
