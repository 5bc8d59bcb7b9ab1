# SPDX-License-Identifier: Apache-2.0
"""A service of the synthetic planet: the whole way of collecting, offline.

A revisit every five days, for each a scene with a cloud share of its own; its pixels are those of the synthetic planet
for a number that the place's point decides. No satellite saw them, and neighboring patches have nothing in common.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ssl4eo.collection.remote.patch_grid import PatchGrid, utm_zone
from ssl4eo.collection.remote.service import Patch, Price, Product, Scene
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.errors import SourceInvalid, unknown_name
from ssl4eo.form import Form
from ssl4eo.locations.window import Range
from ssl4eo.sample import Image, Location
from ssl4eo.sensors import modality

REVISIT_DAYS = 5
_MODALITIES = ("S1GRD", "S2L1C", "S2L2A")
_EPOCH = dt.datetime(2015, 7, 1, 10, 30, tzinfo=dt.UTC)
_NUM_PLACES = 10_000_000

PRODUCTS: Mapping[str, Product] = MappingProxyType(
    {
        name: Product(
            name,
            collection=f"synthetic/{name}",
            bands={band: band for band in modality(name).bands},
            form=Form.native(name),
            cloud_property="" if name == "S1GRD" else "cloud",
            licence="CC0-1.0",
            remarks="synthetic: no satellite saw it",
        )
        for name in _MODALITIES
    }
)


@dataclass(frozen=True)
class SyntheticService:
    """Scenes without end of a planet that does not exist."""

    seed: int = 0

    @property
    def name(self) -> str:
        """As in the table of services."""
        return f"synthetic planet, seed {self.seed}"

    @property
    def settings(self) -> str:
        """None: the name tells the seed."""
        return ""

    def product(self, modality: str) -> Product:
        """Give a product of the planet.

        Raises:
            UnknownName: neither Sentinel-1 GRD nor Sentinel-2 L1C or L2A.
        """
        if modality not in PRODUCTS:
            raise unknown_name("modality of the synthetic planet", modality, PRODUCTS)
        return PRODUCTS[modality]

    def search(self, location: Location, ranges: Sequence[Range], product: Product) -> list[Scene]:
        """List the revisits within the ranges."""
        lon, lat = location.lon or 0.0, location.lat or 0.0
        index = _number(f"{self.seed} {lon:.6f} {lat:.6f}") % _NUM_PLACES
        crs, radar = utm_zone(lon, lat), product.modality == "S1GRD"
        days = sorted({day for r in ranges for day in _revisits(r)})
        scenes: list[Scene] = []
        for day in days:
            time = _EPOCH + dt.timedelta(days=day, hours=7 if radar else 0)
            chance = _number(f"{index} {day}")
            cloud = None if radar else (chance % 1000) / 1000
            identity = f"SYN_{product.modality}_{time:%Y%m%dT%H%M%S}_{index:07d}"
            handle = {"index": index, "season": chance % 4}
            scenes.append(Scene(identity, product.modality, time, cloud, crs, None if radar else 301, 0, handle=handle))
        return scenes

    def read(self, scenes: Sequence[Scene], product: Product, grid: PatchGrid) -> list[Patch | SourceInvalid]:
        """Make the pixels."""
        return [_patch(self.seed, scene, product, grid) for scene in scenes]

    def price(self, product: Product, grid: PatchGrid, *, num_scenes: int) -> tuple[Price, Price]:
        """Count what a service would send; nothing is sent."""
        size = sum(
            len(bands) * grid.num_pixels(r) ** 2 * (4 if product.form.dtype == "float32" else 2)
            for r, bands in product.form.groups
        )
        return Price(1, 2_000), Price(num_scenes, num_scenes * size)


def _revisits(stretch: Range) -> range:
    first = (stretch.start - _EPOCH) / dt.timedelta(days=REVISIT_DAYS)
    last = (stretch.end - _EPOCH) / dt.timedelta(days=REVISIT_DAYS)
    return range(-int(-first // 1) * REVISIT_DAYS, -int(-last // 1) * REVISIT_DAYS, REVISIT_DAYS)


def _patch(seed: int, scene: Scene, product: Product, grid: PatchGrid) -> Patch:
    planet = SyntheticPlanet(_NUM_PLACES, seed=seed, size=grid.size, modalities=(product.modality,))
    seen = planet.read(f"{scene.handle['index']:07d}").images[product.modality][scene.handle["season"]]
    image: Image = replace(
        seen, time=scene.time, product=scene.product, crs=grid.crs, transform=grid.transform(grid.base)
    )
    return Patch(image, observed=1.0, cloud=None, num_bytes=sum(a.nbytes for a in image.pixels.values()))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
