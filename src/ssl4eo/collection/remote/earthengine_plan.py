# SPDX-License-Identifier: Apache-2.0
"""Which requests read scenes on a grid, within the limits of Earth Engine; arithmetic only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from ssl4eo.collection.remote.cloud_masks import cloud_mask
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.service import Product, Scene
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
    strips: tuple[tuple[int, int], ...]
    """(first row, rows) of each request."""
    mask: str = ""
    """Band with the cloud mask, empty where another part has it or there is none."""
    mask_kind: str = ""
    mask_collection: str = ""
    """Collection that has the mask, in an image of the same index; empty for the scene itself."""
    num_scenes: int = 1
    """That share each request."""

    @property
    def pixel_bytes(self) -> int:
        """Of one pixel of all bands of all scenes, uncompressed."""
        return self.num_scenes * _pixel_bytes(len(self.bands), self.dtype, has_mask=bool(self.mask))

    @property
    def num_bytes(self) -> int:
        """Of all answers, uncompressed."""
        return self.pixel_bytes * self.size**2 + _HEADER_BYTES * len(self.strips)


@dataclass(frozen=True)
class Plan:
    """All requests of a read of scenes."""

    crs: str
    left: int
    """Western edge of the pixels [m]."""
    top: int
    """Northern edge of the pixels [m]."""
    parts: tuple[Part, ...]
    """Finest first."""


def batches(scenes: Sequence[Scene], product: Product, grid: PatchGrid) -> list[list[int]]:
    """Put the numbers of scenes together that may share requests: those on the same pixels, within the limit of bands.

    Raises:
        ConfigInvalid: no scene fits into a request.
    """
    most = max(len(bands) for _, bands in product.form.groups) + 2
    alike: dict[bool, list[int]] = {}
    for number, scene in enumerate(scenes):
        alike.setdefault(scene.crs == grid.crs, []).append(number)
    step = max(MAX_BANDS // most, 1)
    return [numbers[i : i + step] for numbers in alike.values() for i in range(0, len(numbers), step)]


def plan_read(crs: str, product: Product, grid: PatchGrid, *, num_scenes: int = 1) -> Plan:
    """Plan one request a resolution, more where the patch is large; the cloud mask goes with the grid that it is of.

    Args:
        crs: reference system of the scenes.
        product: that they are of.
        grid: of the patch.
        num_scenes: that share each request.

    Raises:
        ConfigInvalid: a patch that is too wide, or too many bands.
        UnknownName: no such kind of mask.
    """
    beside = _edge_beside(product.collection) if crs == grid.crs else 0
    carrier = _mask_carrier(product)
    parts = tuple(_part(product, grid, resolution, carrier, num_scenes) for resolution in product.form.resolutions)
    return Plan(grid.crs, grid.left + beside, grid.top - beside, parts)


def _edge_beside(collection: str) -> int:
    return next((beside for start, beside in EDGE_BESIDE.items() if collection.startswith(start)), 0)


def _mask_carrier(product: Product) -> int:
    """Give the grid that the mask is read on [m]: its own, or the finest where no band has that; 0 without a mask."""
    if not product.mask:
        return 0
    own = cloud_mask(product.mask_kind).resolution
    return own if own in product.form.resolutions else product.form.base


def _part(product: Product, grid: PatchGrid, resolution: int, carrier: int, num_scenes: int) -> Part:
    bands = {name: product.bands[name] for name in product.form.bands_at(resolution)}
    dtype = "float32" if modality(product.modality).unit != "DN" else "uint16"
    size = grid.num_pixels(resolution)
    collection, _, band = product.mask.rpartition("/") if resolution == carrier else ("", "", "")
    return Part(
        resolution,
        bands,
        dtype,
        size,
        _strips(size, len(bands), dtype, has_mask=bool(band), num_scenes=num_scenes),
        mask=band,
        mask_kind=product.mask_kind if band else "",
        mask_collection=collection,
        num_scenes=num_scenes,
    )


def _pixel_bytes(num_bands: int, dtype: str, *, has_mask: bool) -> int:
    return num_bands * np.dtype(dtype).itemsize + 1 + 2 * has_mask  # the share observed is a byte, the mask uint16


def _strips(size: int, num_bands: int, dtype: str, *, has_mask: bool, num_scenes: int) -> tuple[tuple[int, int], ...]:
    """Cut a grid into as few requests as the limits allow."""
    bands = num_scenes * (num_bands + 1 + has_mask)
    if size > MAX_SIDE or bands > MAX_BANDS:
        raise ConfigInvalid(
            f"{bands} bands of {size} px a side",
            expected=f"{MAX_BANDS} bands and {MAX_SIDE} px at most, as Earth Engine has it",
            remedy="take smaller patches",
        )
    row = size * (num_scenes * _pixel_bytes(num_bands, dtype, has_mask=has_mask) + bands)
    height = min(MAX_BYTES // row, size)
    if height < 1:
        raise ConfigInvalid(f"rows of {row} bytes", expected=f"{MAX_BYTES} at most", remedy="take smaller patches")
    return tuple((first, min(height, size - first)) for first in range(0, size, height))
