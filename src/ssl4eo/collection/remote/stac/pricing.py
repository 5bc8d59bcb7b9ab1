# SPDX-License-Identifier: Apache-2.0
"""What searching and reading cost, estimated from the layout of the rasters."""

from __future__ import annotations

from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.service import Price, Product
from ssl4eo.collection.remote.stac.profile import Profile
from ssl4eo.collection.remote.stac.range_file import HEAD

ITEM_BYTES = 15_000
"""Of an item in an answer."""
ITEMS_A_SEARCH = 12
"""In a month over a point, about."""
MASK_RESOLUTION = 20


def price_of(profile: Profile, product: Product, grid: PatchGrid) -> tuple[Price, Price]:
    """Estimate one search of one interval, and one read.

    A window of n pixels touches 1 + (n - 1) / t tiles of t pixels on an axis, on average. Tiles of one row lie behind
    each other and are fetched as one.
    """
    resolutions = [resolution for resolution, names in product.form.groups for _ in names]
    if product.mask:
        resolutions.append(product.form.base if product.mask_kind == "landsat_qa" else MASK_RESOLUTION)
    total = Price(0, 0)
    for resolution in resolutions:
        axis = 1 + (grid.num_pixels(resolution) - 1) / profile.tile
        pixels = (axis * profile.tile) ** 2
        total += Price(1 + profile.hops + axis, HEAD + pixels * profile.bytes_per_pixel)
    return Price(1, ITEM_BYTES * ITEMS_A_SEARCH), total
