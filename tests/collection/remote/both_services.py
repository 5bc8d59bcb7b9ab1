# SPDX-License-Identifier: Apache-2.0
"""The same synthetic scenes behind both stand-ins, and collections from either."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ground_truth import Truth
from stac_scenes import TIME, make_truth

from ssl4eo.collection.remote.collected import CollectedSource
from ssl4eo.collection.remote.selection import Choice
from ssl4eo.collection.remote.service import Product, Scene, Service
from ssl4eo.locations.place import Place
from ssl4eo.locations.window import Range, Window
from ssl4eo.sample import Provenance

SEASONS = (TIME, TIME + dt.timedelta(days=91))
SMALL = 24
"""Width of a patch [px]."""
TILE_M = 1_200
"""Width of a tile around it [m]."""


@dataclass(frozen=True)
class TwoSeasons:
    """Ten days around each of two dates."""

    later: dt.timedelta = dt.timedelta(0)

    def __call__(self, place: str, lat: float) -> Sequence[Window]:
        """Give the windows of any place."""
        half = dt.timedelta(days=10)
        return tuple(
            Window((Range(date, date - half, date + half),)) for date in (season + self.later for season in SEASONS)
        )


def places(count: int) -> dict[str, Place]:
    """Places along a parallel, one a degree; nine are in three zones of UTM."""
    return {f"{i:07d}": Place(f"{i:07d}", ((10.0 + i, 48.0),), {"city": f"c{i}"}) for i in range(count)}


def truths(count: int, modality: str = "S2L2A", *, minutes: int = 0, **facts: Any) -> list[Truth]:
    """Make one scene a place and season; times differ, as the ids of one acquisition do."""
    return [
        make_truth(
            *place.points[0],
            modality=modality,
            time=season + dt.timedelta(minutes=number + minutes),
            **{"size_m": TILE_M, **facts},
        )
        for number, place in enumerate(places(count).values())
        for season in SEASONS
    ]


def source_of(service: Any, count: int, modalities: Mapping[str, Product], *, size: int = SMALL) -> CollectedSource:
    """Put places, seasons and a service together."""
    provenance = Provenance("collected for a test", synthetic=True, licence="CC0-1.0")
    return CollectedSource(
        service, places(count), TwoSeasons(), modalities, provenance, num_seasons=2,
        choice=Choice(max_scene_cloud=1.0), size=size,
    )  # fmt: skip


class Meddling:
    """A service that does something after each search."""

    def __init__(self, service: Service, after: Callable[[list[Scene]], object]) -> None:
        self._service, self._after = service, after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._service, name)
        return self._meddled(real) if name == "search_together" else real

    def _meddled(self, search: Callable[..., list[list[Scene]]]) -> Callable[..., list[list[Scene]]]:
        def meddled(*args: Any) -> list[list[Scene]]:
            found = search(*args)
            for scenes in found:
                self._after(scenes)
            return found

        return meddled

    def search(self, *args: Any) -> list[Scene]:
        """Search, then meddle."""
        found = self._service.search(*args)
        self._after(found)
        return found


def content(folder: Path) -> dict[str, bytes]:
    """All files of an archive but those that hold the time of writing."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "checksums.json" and path != folder / "zarr.json"
    }
