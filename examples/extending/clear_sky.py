# SPDX-License-Identifier: Apache-2.0
"""A service of one's own: another one, of which only clear scenes of one satellite's passes are listed.

A service lists scenes, reads them on a grid and says what that costs; seasons, spare points, retries, the ledger and
the archive are the library's. This one wraps the synthetic planet, so that it runs offline; around Earth Engine or a
STAC catalog it works the same. Run it with:
ssl4eo collect --places P.parquet --source examples/extending/clear_sky.py:clear_sky --modalities S2L2A --out A.zarr
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssl4eo.collecting.services import open_service
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.service import Patch, Price, Product, Scene, Service
from ssl4eo.errors import SourceInvalid
from ssl4eo.locations.window import Range
from ssl4eo.sample import Location

CLEAR = 0.1
"""Largest cloud share of a scene [0 to 1]."""


@dataclass(frozen=True)
class ClearSky:
    """A service without clouded scenes."""

    inner: Service

    @property
    def name(self) -> str:
        """Stands in the ledger and in the archive, which calls pixels synthetic where it begins with that word."""
        return f"{self.inner.name}, clear scenes only"

    @property
    def settings(self) -> str:
        """What else decides pixels, as text; a collection that was begun is gone on with by an equal one only."""
        return ""

    def product(self, modality: str) -> Product:
        """Give what there is of a modality."""
        return self.inner.product(modality)

    def search(self, location: Location, ranges: Sequence[Range], product: Product) -> list[Scene]:
        """List clear scenes; radar has no clouds."""
        scenes = self.inner.search(location, ranges, product)
        return [scene for scene in scenes if scene.cloud is None or scene.cloud <= CLEAR]

    def read(self, scenes: Sequence[Scene], product: Product, grid: PatchGrid) -> list[Patch | SourceInvalid]:
        """Read scenes."""
        return self.inner.read(scenes, product, grid)

    def price(self, product: Product, grid: PatchGrid, *, num_scenes: int) -> tuple[Price, Price]:
        """Estimate a search, and a read."""
        return self.inner.price(product, grid, num_scenes=num_scenes)


def clear_sky() -> ClearSky:
    """Open the service: what `--source FILE:clear_sky` calls."""
    return ClearSky(open_service("synthetic"))
