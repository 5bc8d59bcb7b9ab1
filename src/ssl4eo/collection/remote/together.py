# SPDX-License-Identifier: Apache-2.0
"""Asking a service for several products at once, where it can do that; one after the other where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.service import Patch, Price, Product, Scene, Service
from ssl4eo.errors import SourceInvalid
from ssl4eo.locations.window import Range
from ssl4eo.sample import Location

Wanted = Sequence[tuple[Sequence[Scene], Product]]
"""Scenes to read and the product that they are of."""


@runtime_checkable
class Joining(Protocol):
    """A service whose requests may be for several products."""

    def search_together(
        self, location: Location, ranges: Sequence[Range], products: Sequence[Product]
    ) -> list[list[Scene]]:
        """Search for several products; see `Service.search`."""
        ...

    def read_together(self, wanted: Wanted, grid: PatchGrid) -> list[list[Patch | SourceInvalid]]:
        """Read scenes of several products; see `Service.read`."""
        ...

    def price_together(self, products: Sequence[Product], grid: PatchGrid, *, num_scenes: int) -> tuple[Price, Price]:
        """Estimate a search, and the reading of so many scenes of each; see `Service.price`."""
        ...


def search_all(
    service: Service, location: Location, ranges: Sequence[Range], products: Sequence[Product]
) -> list[list[Scene]]:
    """Search for products; scenes of each."""
    if isinstance(service, Joining):
        return service.search_together(location, ranges, products)
    return [service.search(location, ranges, product) for product in products]


def read_all(service: Service, wanted: Wanted, grid: PatchGrid) -> list[list[Patch | SourceInvalid]]:
    """Read scenes; patches, or why there is none, of each product."""
    if isinstance(service, Joining):
        return service.read_together(wanted, grid)
    return [service.read(scenes, product, grid) for scenes, product in wanted]


def price_all(service: Service, products: Sequence[Product], grid: PatchGrid, *, num_scenes: int) -> Price:
    """Estimate a search for products and the reading of so many scenes of each."""
    if isinstance(service, Joining):
        search, read = service.price_together(products, grid, num_scenes=num_scenes)
        return search + read
    total = Price(0, 0)
    for product in products:
        search, read = service.price(product, grid, num_scenes=num_scenes)
        total = total + search + read
    return total
