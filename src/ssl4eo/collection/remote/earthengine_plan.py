# SPDX-License-Identifier: Apache-2.0
"""Which requests read scenes on a grid, within the limits of Earth Engine; arithmetic only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ssl4eo.collection.remote.cloud_masks import cloud_mask
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.service import Product
from ssl4eo.errors import ConfigInvalid
from ssl4eo.sensors import modality

MAX_BYTES = 48 << 20
"""Uncompressed bytes of one request; the service counts one more a pixel and band, for masks."""
MAX_SIDE = 32768
"""Pixels on an axis of a request."""
MAX_BANDS = 1024
"""Bands of a request."""
EDGE_BESIDE: Mapping[str, int] = MappingProxyType({"LANDSAT/": 15})
"""By the start of a collection's name how far east and south of a multiple of 60 m its pixels start [m]."""

_HEADER_BYTES = 512
"""Of the array file and HTTP, about."""


@dataclass(frozen=True)
class Part:
    """One grid of a read."""

    resolution: int
    """[m]."""
    bands: Mapping[str, str]
    """Our name -> the service's."""
    dtype: str
    """That values come in: uint16 or float32."""
    size: int
    """Width and height [px]."""
    mask: str = ""
    """Band with the cloud mask, empty where another part has it or there is none."""
    mask_kind: str = ""
    mask_collection: str = ""
    """Collection that has the mask, in an image of the same index; empty for the scene itself."""

    @property
    def num_bands(self) -> int:
        """Those of the scene, the share observed, the mask."""
        return len(self.bands) + 1 + bool(self.mask)

    @property
    def pixel_bytes(self) -> int:
        """Of one pixel of all bands, uncompressed."""
        return len(self.bands) * np.dtype(self.dtype).itemsize + 1 + 2 * bool(self.mask)  # observed uint8, mask uint16


@dataclass(frozen=True)
class Plan:
    """What is read of a scene, and where."""

    crs: str
    left: int
    """Western edge of the pixels [m]."""
    top: int
    """Northern edge of the pixels [m]."""
    parts: tuple[Part, ...]
    """Finest first."""


@dataclass(frozen=True)
class Request:
    """What one grid is asked for: any scenes of any products that lie on the same pixels."""

    left: int
    """Western edge of the pixels [m]."""
    top: int
    """Northern edge of the pixels [m]."""
    resolution: int
    """[m]."""
    size: int
    """Width and height [px]."""
    layers: tuple[tuple[int, Part], ...]
    """(number of the scene among those that are read, what is read of it)."""
    strips: tuple[tuple[int, int], ...]
    """(first row, rows) of each request that is sent."""

    @property
    def num_bytes(self) -> int:
        """Of all answers, uncompressed."""
        return sum(part.pixel_bytes for _, part in self.layers) * self.size**2 + _HEADER_BYTES * len(self.strips)


def requests_for(plans: Sequence[Plan]) -> list[Request]:
    """Put what lies on the same pixels together, within the limits of the service.

    Args:
        plans: of each scene, for itself.

    Raises:
        ConfigInvalid: a part that fits into no request.
    """
    alike: dict[tuple[int, int, int, int], list[tuple[int, Part]]] = {}
    for number, plan in enumerate(plans):
        for part in plan.parts:
            alike.setdefault((plan.left, plan.top, part.resolution, part.size), []).append((number, part))
    return [Request(*key, tuple(some), _strips(key[3], some)) for key, all_ in alike.items() for some in _fitting(all_)]


def _fitting(layers: Sequence[tuple[int, Part]]) -> Iterator[list[tuple[int, Part]]]:
    """Cut layers where they would have more bands than a request may."""
    some: list[tuple[int, Part]] = []
    for layer in layers:
        if some and sum(part.num_bands for _, part in [*some, layer]) > MAX_BANDS:
            yield some
            some = []
        some.append(layer)
    yield some


def plan_read(crs: str, product: Product, grid: PatchGrid) -> Plan:
    """Plan the reading of a scene, a part a resolution; the cloud mask goes with the grid that it is of.

    Args:
        crs: reference system of the scene.
        product: that it is of.
        grid: of the patch.

    Raises:
        UnknownName: no such kind of mask.
    """
    beside = _edge_beside(product.collection) if crs == grid.crs else 0
    carrier = _mask_carrier(product)
    parts = tuple(_part(product, grid, resolution, carrier) for resolution in product.form.resolutions)
    return Plan(grid.crs, grid.left + beside, grid.top - beside, parts)


def _edge_beside(collection: str) -> int:
    return next((beside for start, beside in EDGE_BESIDE.items() if collection.startswith(start)), 0)


def _mask_carrier(product: Product) -> int:
    """Give the grid that the mask is read on [m]: its own, or the finest where no band has that; 0 without a mask."""
    if not product.mask:
        return 0
    own = cloud_mask(product.mask_kind).resolution
    return own if own in product.form.resolutions else product.form.base


def _part(product: Product, grid: PatchGrid, resolution: int, carrier: int) -> Part:
    collection, _, band = product.mask.rpartition("/") if resolution == carrier else ("", "", "")
    return Part(
        resolution,
        {name: product.bands[name] for name in product.form.bands_at(resolution)},
        "float32" if modality(product.modality).unit != "DN" else "uint16",
        grid.num_pixels(resolution),
        mask=band,
        mask_kind=product.mask_kind if band else "",
        mask_collection=collection,
    )


def _strips(size: int, layers: Sequence[tuple[int, Part]]) -> tuple[tuple[int, int], ...]:
    """Cut a grid into as few requests as the limits allow."""
    bands = sum(part.num_bands for _, part in layers)
    if size > MAX_SIDE or bands > MAX_BANDS:
        raise ConfigInvalid(
            f"{bands} bands of {size} px a side",
            expected=f"{MAX_BANDS} bands and {MAX_SIDE} px at most, as Earth Engine has it",
            remedy="take smaller patches",
        )
    row = size * (sum(part.pixel_bytes for _, part in layers) + bands)
    height = min(MAX_BYTES // row, size)
    if height < 1:
        raise ConfigInvalid(f"rows of {row} bytes", expected=f"{MAX_BYTES} at most", remedy="take smaller patches")
    return tuple((first, min(height, size - first)) for first in range(0, size, height))
