# SPDX-License-Identifier: Apache-2.0
"""Places, windows and a service as a source of samples: reading a location is fetching it.

A place is tried at its points in order; a point is given up when a season has no scene that will do, never because a
service refused. All images of a location lie on one grid, in one UTM zone. Seasons of an archive are in order of time:
where windows have several years, `season_order` tells which of the windows each of them is.
What makes no sample tells two cases apart: nothing suitable was seen there (NoImagery, final), or scenes are listed and
cannot be read (SourceInvalid, worth another try). A service that stays away raises ServiceFailed and ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssl4eo.collection.remote.coregistration import coregistration
from ssl4eo.collection.remote.metering import counted
from ssl4eo.collection.remote.patch_grid import PatchGrid, patch_grid, utm_zone
from ssl4eo.collection.remote.selection import Acquisition, Choice, acquisitions, candidates, group_modalities
from ssl4eo.collection.remote.service import Patch, Product, Scene, Service
from ssl4eo.collection.remote.taking import Filling, Seasons
from ssl4eo.collection.remote.together import read_all, search_all
from ssl4eo.errors import ConfigInvalid, LocationMissing, NoImagery
from ssl4eo.form import Form
from ssl4eo.locations.place import Place
from ssl4eo.locations.window import Range, Window
from ssl4eo.sample import Image, Location, Provenance, Sample

Windows = Callable[[str, float], Sequence[Window]]
"""Gives the windows of a place's seasons from its id and latitude; picklable."""


@dataclass
class Meter:
    """Counts what reading one location took."""

    requests: int = 0
    """Sent, tries in vain included."""
    num_bytes: int = 0
    """Of patches."""
    attempts: int = 0
    """Points of the place."""
    answers: int = 0
    """Searches and reads that the service answered."""


@dataclass(frozen=True, eq=False)
class CollectedSource:
    """A `Source` that fetches."""

    service: Service
    places: Mapping[str, Place]
    windows: Windows
    products: Mapping[str, Product]
    """By modality, in the order of the archive."""
    provenance: Provenance
    num_seasons: int
    choice: Choice = field(default_factory=Choice)
    size: int = 264
    """Width and height on the finest grid [px]."""
    base: int = 10
    """Resolution of the finest grid [m]."""
    snap: int = 60

    def __post_init__(self) -> None:
        """Refuse what cannot be done, before anything is asked.

        Raises:
            ConfigInvalid: sizes that leave no whole pixels, or a limit of clouds in the patch without a mask.
        """
        patch_grid(0.0, 0.0, size=self.size, base=self.base, snap=self.snap)
        for group in group_modalities(tuple(self.products)):
            optical = [name for name in group if self.products[name].cloud_property]
            if optical and self.choice.max_patch_cloud is not None and not any(self.products[n].mask for n in optical):
                raise ConfigInvalid(
                    f"a limit of clouds in the patch for {' '.join(optical)}, which has no mask at {self.service.name}",
                    expected="a product with a cloud mask, such as S2L2A beside it",
                    remedy="leave out the limit, or add such a product",
                )

    @property
    def forms(self) -> tuple[Form, ...]:
        """Form of each modality."""
        return tuple(product.form for product in self.products.values())

    @property
    def masks(self) -> Mapping[str, bool]:
        """None are kept."""
        return {}

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every patch on the finest grid [px]."""
        return self.size, self.size

    def ids(self) -> Sequence[str]:
        """List the places."""
        return tuple(self.places)

    def read(self, location: str) -> Sample:
        """Fetch one location.

        Raises:
            NoImagery: at none of its points is there a suitable scene for every season.
            SourceInvalid: scenes that would do cannot be read.
            ServiceFailed: the service refuses or is unreachable.
            LocationMissing: no such place.
        """
        return self.fetch(location, Meter())

    def fetch(self, location: str, meter: Meter) -> Sample:
        """Fetch one location and count what it takes, also where nothing comes of it."""
        if location not in self.places:
            raise LocationMissing(f"no place {location}", expected="one of the table", location=location)
        with counted() as counter:
            try:
                return self._at_any_point(location, meter)
            finally:
                meter.requests += counter.requests

    def _at_any_point(self, location: str, meter: Meter) -> Sample:
        place, reasons = self.places[location], list[str]()
        for attempt in range(len(place.points)):
            meter.attempts = attempt + 1
            try:
                return self._at(place, attempt, meter)
            except NoImagery as error:
                reasons.append(error.found)
        raise NoImagery(
            f"location {location}: {'; '.join(f'point {i}: {why}' for i, why in enumerate(reasons))}",
            expected="a suitable scene for each of its seasons at one of its points",
            remedy="widen the windows, allow more clouds, or draw more spare points",
            location=location,
        )

    def _at(self, place: Place, attempt: int, meter: Meter) -> Sample:
        point = place.location(attempt)
        windows = self.windows(place.id, point.lat or 0.0)
        ranges = [r for window in windows for r in window.ranges]
        lists = search_all(self.service, point, ranges, list(self.products.values()))
        found = dict(zip(self.products, lists, strict=True))
        meter.answers += 1
        reason = ""
        for crs in _zones(point, found):
            grid = patch_grid(
                point.lon or 0.0, point.lat or 0.0, size=self.size, base=self.base, snap=self.snap, crs=crs
            )
            try:
                patches, filled = self._fill(grid, windows, found, meter)
            except NoImagery as error:
                reason = reason or error.found
            else:
                order = sorted(range(len(windows)), key=lambda number: filled[number].start)
                several = any(len(window.ranges) > 1 for window in windows)
                return _sample(place, attempt, point, grid, patches, order=order, tell_order=several)
        raise NoImagery(reason, expected="a scene for each season")

    def _fill(
        self, grid: PatchGrid, windows: Sequence[Window], found: Mapping[str, Sequence[Scene]], meter: Meter
    ) -> tuple[dict[str, list[Patch]], list[Range]]:
        """Find a patch of every modality for every window on one grid, and the range of each window they are of."""
        groups: list[Seasons] = []
        for group in group_modalities(tuple(self.products)):
            fitting = {name: [s for s in found[name] if _fits(s, self.products[name], grid)] for name in group}
            joined = acquisitions(fitting, group)
            lists = [candidates(window, joined, self.choice) for window in windows]
            groups.append(Seasons({name: self.products[name] for name in group}, lists, self.choice))
        filling = Filling(groups)
        # nothing was read so far: every season of every instrument has a candidate
        while any(chosen := filling.next()):
            self._read(groups, chosen, grid, meter)
        out = {name: row for seasons in groups for name, row in seasons.patches().items()}
        filled = [window.ranges[filling.ranges[number]] for number, window in enumerate(windows)]
        return {name: out[name] for name in self.products}, filled

    def _read(
        self, groups: Sequence[Seasons], chosen: Sequence[Mapping[int, Acquisition]], grid: PatchGrid, meter: Meter
    ) -> None:
        """Read what the seasons of all instruments have chosen, together."""
        pairs = [(seasons, some) for seasons, some in zip(groups, chosen, strict=True) if some]
        wanted = [
            (seasons.scenes(name, some), seasons.products[name]) for seasons, some in pairs for name in seasons.products
        ]
        answers = iter(read_all(self.service, wanted, grid))
        meter.answers += 1
        for seasons, some in pairs:
            read = {name: next(answers) for name in seasons.products}
            meter.num_bytes += sum(p.num_bytes for row in read.values() for p in row if isinstance(p, Patch))
            seasons.settle(some, read)


def _zones(point: Location, found: Mapping[str, Sequence[Scene]]) -> list[str]:
    """List the zones to try: the point's own, then those that scenes near a border come in."""
    own = utm_zone(point.lon or 0.0, point.lat or 0.0)
    others = {s.crs for scenes in found.values() for s in scenes if s.crs.startswith(("EPSG:326", "EPSG:327"))}
    return [own, *sorted(others - {own})]


def _fits(scene: Scene, product: Product, grid: PatchGrid) -> bool:
    """Say whether a scene can be read on a grid without resampling; radar is resampled by its service anyhow."""
    return product.form.dtype != "uint16" or scene.crs in ("", grid.crs)


def _sample(
    place: Place,
    attempt: int,
    point: Location,
    grid: PatchGrid,
    patches: Mapping[str, Sequence[Patch]],
    *,
    order: Sequence[int],
    tell_order: bool,
) -> Sample:
    """Put the patches of all seasons in order of time, the same order for all modalities."""
    labels: dict[str, Any] = {**place.facts_of(attempt), "attempt": attempt, "crs": grid.crs}
    images: dict[str, tuple[Image, ...]] = {}
    for name, row in patches.items():
        # where windows overlap, order of windows and order of images need not agree
        images[name] = tuple(sorted((row[number].image for number in order), key=lambda image: str(image.time)))
        clouds = [p.cloud for p in row if p.cloud is not None]
        if clouds:
            labels[f"max_cloud_{name}"] = float(np.round(max(clouds), 6))
    if tell_order:
        labels["season_order"] = " ".join(map(str, order))
    labels |= coregistration(images)
    return Sample(point, images, labels)
