# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import pytest

from ssl4eo.collection.remote.earthengine_plan import MAX_BANDS, MAX_BYTES, plan_read, requests_for
from ssl4eo.collection.remote.earthengine_products import earthengine_product
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.errors import ConfigInvalid
from ssl4eo.form import Form

ZONE = "EPSG:32632"


def grid(size: int = 264, base: int = 10) -> PatchGrid:
    return PatchGrid("EPSG:32632", 600_000, 5_400_000, size, base)


@pytest.mark.parametrize(
    ("name", "mask", "carrier", "asset"),
    [
        ("S2L1C", "qa60", 60, ""),
        ("S2L2A", "scl", 20, ""),
        ("S2L1C", "probability", 10, "COPERNICUS/S2_CLOUD_PROBABILITY"),
        ("S2L1C", "", 0, ""),
    ],
)
def test_the_mask_comes_with_the_grid_that_it_is_of(name: str, mask: str, carrier: int, asset: str) -> None:
    """No request of its own: one a resolution in any case."""
    plan = plan_read(ZONE, earthengine_product(name, mask=mask), grid())

    assert [part.resolution for part in plan.parts] == [10, 20, 60]
    assert [part.resolution for part in plan.parts if part.mask] == ([carrier] if carrier else [])
    assert {part.mask_collection for part in plan.parts if part.mask} == ({asset} if carrier else set())
    assert all(request.strips == ((0, request.size),) for request in requests_for([plan]))


def test_bytes_are_those_of_a_patch() -> None:
    """By hand: four bands of 2 bytes and one of 1 at 264 px, six at 132 px, three and a mask of 2 bytes at 44 px."""
    plan = plan_read(ZONE, earthengine_product("S2L1C"), grid())

    assert [request.num_bytes - 512 for request in requests_for([plan])] == [264**2 * 9, 132**2 * 13, 44**2 * 9]


@pytest.mark.parametrize("size", [264, 2640, 10_560, 32_766])
def test_no_request_is_larger_than_allowed(size: int) -> None:
    """Counting a byte a pixel and band for masks, as the service does; strips cover each row once."""
    product = earthengine_product("S2L1C")

    for request in requests_for([plan_read(ZONE, product, grid(size))] * 3):
        parts = [part for _, part in request.layers]
        row = request.size * sum(part.pixel_bytes + len(part.bands) + 1 + bool(part.mask) for part in parts)
        assert len(parts) == 3
        assert all(height * row <= MAX_BYTES for _, height in request.strips)
        rows = [first + n for first, height in request.strips for n in range(height)]
        assert rows == list(range(request.size))


def test_products_share_the_requests_of_a_resolution() -> None:
    """Radar and both levels of optics: one a resolution; Landsat starts 15 m beside and has its own; bands are few."""
    products = [earthengine_product(name) for name in ("S1GRD", "S2L1C", "S2L2A")]
    plans = [plan_read(ZONE, product, grid()) for product in products for _ in range(4)]

    requests = requests_for(plans)

    assert [(r.resolution, len(r.layers)) for r in requests] == [(10, 12), (20, 8), (60, 8)]
    beside = plan_read(ZONE, earthengine_product("L8TOA"), grid(264, 30))
    assert len(requests_for([plans[0], beside])) == 2
    many = requests_for(plans[4:5] * 400)
    assert all(sum(part.num_bands for _, part in request.layers) <= MAX_BANDS for request in many)
    assert sorted(n for r in many if r.resolution == 10 for n, _ in r.layers) == list(range(400))


def test_a_patch_that_is_too_wide_is_refused() -> None:
    """Strips cannot be narrower than the patch."""
    with pytest.raises(ConfigInvalid, match="32768 px at most"):
        requests_for([plan_read(ZONE, earthengine_product("S2L1C"), grid(32_772))])


def test_landsat_is_read_where_its_pixels_are_in_its_own_zone_only() -> None:
    """15 m south-east; on a grid of another zone nothing is gained by it."""
    product = earthengine_product("L8TOA")

    own = plan_read(ZONE, product, grid(264, 30))
    other = plan_read("EPSG:32633", product, grid(264, 30))

    assert (own.left, own.top) == (600_015, 5_399_985)
    assert (other.left, other.top) == (600_000, 5_400_000)
    assert own.parts[0].dtype == "float32"


def test_a_mask_without_a_grid_of_its_own_comes_with_the_finest() -> None:
    """SCL sampled at 10 m, where no 20 m band is asked for."""
    form = Form.native("S2L2A", bands=("B02", "B01"))

    plan = plan_read(ZONE, replace(earthengine_product("S2L2A"), form=form), grid())

    assert [part.resolution for part in plan.parts if part.mask] == [10]
