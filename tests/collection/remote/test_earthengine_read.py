# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import io
from dataclasses import replace

import earthengine_server
import numpy as np
import pytest
from earthengine_assets import landsat_values
from earthengine_server import EarthEngineServer
from ground_scenes import scenes_at
from ground_truth import TARGET_DB, Truth, is_target, whole_targets
from rasterio.warp import transform as warp_points
from remote_places import EDGE, JUNE, MUNICH, PLACES, SANTIAGO, around, read_one

from ssl4eo.collection.remote import earthengine_plan
from ssl4eo.collection.remote.earthengine import EarthEngine
from ssl4eo.collection.remote.earthengine_answers import planes_of, share_observed
from ssl4eo.collection.remote.earthengine_failures import Broken
from ssl4eo.collection.remote.earthengine_products import earthengine_product
from ssl4eo.collection.remote.patch_grid import PatchGrid, patch_grid, utm_zone
from ssl4eo.collection.remote.service import Patch, Product, Scene
from ssl4eo.errors import SourceInvalid
from ssl4eo.form import Form
from ssl4eo.sample import Location
from ssl4eo.sensors import modality

SENTINEL = ("S1GRD", "S2L1C", "S2L2A")


def grid_at(place: Location, **options: object) -> PatchGrid:
    assert place.lon is not None
    assert place.lat is not None
    return patch_grid(place.lon, place.lat, **options)  # type: ignore[arg-type]


def truth_at(place: Location, name: str, **facts: object) -> Truth:
    assert place.lon is not None
    assert place.lat is not None
    return scenes_at(place.lon, place.lat, [JUNE], modalities=(name,), **facts)[0]  # type: ignore[arg-type]


def only_scene(service: EarthEngine, place: Location, product: Product) -> Scene:
    (scene,) = service.search(place, [around(JUNE)], product)
    return scene


def fetch(service: EarthEngine, place: Location, product: Product, grid: PatchGrid) -> Patch:
    return read_one(service, only_scene(service, place, product), product, grid)


def expected(truth: Truth, band: str, grid: PatchGrid, resolution: int, *, offset: bool = False) -> np.ndarray:
    return truth.plane(band, grid.left, grid.top, grid.num_pixels(resolution), offset=offset)


@pytest.mark.parametrize("name", SENTINEL)
@pytest.mark.parametrize("place", PLACES, ids=lambda p: utm_zone(p.lon, p.lat))
def test_every_band_has_the_values_of_the_ground(
    ee_service: EarthEngine, ee_server: EarthEngineServer, place: Location, name: str
) -> None:
    """All bands come bit for bit, at their own resolution, in zones north and south."""
    truth = truth_at(place, name)
    ee_server.add(truth)
    grid = grid_at(place)

    patch = fetch(ee_service, place, ee_service.product(name), grid)

    for resolution, bands in patch.image.form.groups:
        for band in bands:
            np.testing.assert_array_equal(patch.image.band(band), expected(truth, band, grid, resolution))
    assert (patch.observed, patch.image.valid, patch.image.crs) == (1.0, True, utm_zone(place.lon, place.lat))
    assert patch.image.transform == grid.transform(10)


@pytest.mark.parametrize("name", SENTINEL)
def test_the_painted_target_lies_within_a_tenth_of_a_pixel(
    ee_service: EarthEngine, ee_server: EarthEngineServer, name: str
) -> None:
    """In every band the centroid of the bright pixels is the target's center, by the image's own transform."""
    ee_server.add(truth_at(MUNICH, name))
    grid = grid_at(MUNICH)
    (x, y), *_ = whole_targets(grid.bounds)

    image = fetch(ee_service, MUNICH, ee_service.product(name), grid).image

    assert image.transform is not None
    left, top = image.transform[2], image.transform[5]
    for resolution, bands in image.form.groups:
        for band in bands:
            plane = image.band(band).astype(np.float64)
            rows, columns = np.nonzero(plane > (TARGET_DB[band] - 1 if band in TARGET_DB else 8000))
            east, north = left + resolution * (columns + 0.5), top - resolution * (rows + 0.5)
            near = (abs(east - x) < 300) & (abs(north - y) < 300)
            assert abs(east[near].mean() - x) < 0.1 * resolution
            assert abs(north[near].mean() - y) < 0.1 * resolution
            assert near.sum() == 120 * 180 / resolution**2


def test_a_shift_of_a_pixel_would_be_seen(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """The alignment test fails on a grid that is one pixel off: it can fail."""
    ee_server.add(truth_at(MUNICH, "S2L1C"))
    grid = grid_at(MUNICH)
    product = ee_service.product("S2L1C")

    right = fetch(ee_service, MUNICH, product, grid).image.band("B02")
    wrong = fetch(ee_service, MUNICH, product, replace(grid, left=grid.left + 10)).image.band("B02")

    assert not np.array_equal(right, wrong)
    np.testing.assert_array_equal(right[:, 1:], wrong[:, :-1])


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:32633"])
def test_a_scene_of_either_zone_is_read_untouched_on_a_grid_of_its_own(
    ee_service: EarthEngine, ee_server: EarthEngineServer, crs: str
) -> None:
    """At the edge of two zones a grid in the scene's zone gets the scene's own pixels."""
    truth = truth_at(EDGE, "S2L1C", crs=crs)
    ee_server.add(truth)
    product = ee_service.product("S2L1C")
    scene = only_scene(ee_service, EDGE, product)
    grid = grid_at(EDGE, crs=scene.crs)

    patch = read_one(ee_service, scene, product, grid)

    assert scene.crs == crs
    np.testing.assert_array_equal(patch.image.band("B01"), expected(truth, "B01", grid, 60))


@pytest.mark.parametrize("name", ["S1GRD", "S2L2A"])
def test_on_a_grid_of_another_zone_each_pixel_is_the_nearest(
    ee_service: EarthEngine, ee_server: EarthEngineServer, name: str
) -> None:
    """What is documented for scenes of the neighboring zone: the pixel that holds the center, no mixture of values."""
    truth = truth_at(EDGE, name, crs="EPSG:32632")
    ee_server.add(truth)
    grid = grid_at(EDGE)
    band = modality(name).groups[10][0]

    patch = fetch(ee_service, EDGE, ee_service.product(name), grid)

    step = np.arange(264) * 10 + 5.0
    x, y = np.meshgrid(grid.left + step, grid.top - step)
    east, north = (np.floor(v).astype(np.int64) for v in warp_points(grid.crs, truth.crs, x.ravel(), y.ravel())[:2])
    nearest = truth.values(band, east, north, 10).reshape(264, 264)
    assert grid.crs == "EPSG:32633"
    np.testing.assert_array_equal(patch.image.band(band), nearest)


@pytest.mark.parametrize(("swath", "beyond"), [(54_000, 0.0), (200_000, 1.0)])
@pytest.mark.parametrize("name", SENTINEL)
def test_unobserved_pixels_are_counted_and_filled(
    ee_service: EarthEngine, ee_server: EarthEngineServer, name: str, swath: int, beyond: float
) -> None:
    """West of a swath edge integers are 0 and decibels NaN, at every resolution, and `observed` is the share east."""
    truth = truth_at(MUNICH, name, swath_m=swath + 13_700)
    ee_server.add(truth)
    grid = grid_at(MUNICH)
    step = np.arange(264) * 10 + 5
    seen = truth.covers(grid.left + step[None, :], grid.top - step[:, None])

    patch = fetch(ee_service, MUNICH, ee_service.product(name), grid)

    assert patch.observed == seen.mean()
    assert (seen.mean() == 0) == (beyond == 1)
    assert not patch.image.valid
    for resolution, bands in patch.image.form.groups:
        for band in bands:
            np.testing.assert_array_equal(patch.image.band(band), expected(truth, band, grid, resolution))
    filled = patch.image.pixels[10][:, ~seen]
    assert np.isnan(filled).all() if name == "S1GRD" else not filled.any()


def test_the_edge_of_a_tile_is_an_edge(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """A patch that hangs over the tile has the part that the tile covers, in bands of all resolutions."""
    truth = truth_at(MUNICH, "S2L1C")
    grid = grid_at(MUNICH)
    moved = replace(truth, left=grid.left + 1260)
    ee_server.add(moved)

    patch = fetch(ee_service, MUNICH, ee_service.product("S2L1C"), grid)

    assert patch.observed == (2640 - 1260) / 2640
    assert not patch.image.band("B01")[:, :21].any()
    assert patch.image.band("B01")[:, 21:].all()


def test_zero_decibels_are_values_and_not_holes(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """Pixels of exactly 0 dB stay 0; only masked ones become NaN."""
    truth = truth_at(MUNICH, "S1GRD", zero_db=True)
    ee_server.add(truth)

    patch = fetch(ee_service, MUNICH, ee_service.product("S1GRD"), grid_at(MUNICH))

    assert patch.observed == 1
    assert not np.isnan(patch.image.pixels[10]).any()
    assert 60 < (patch.image.band("VV") == 0).sum() < 100


@pytest.mark.parametrize(
    ("name", "mask", "band", "hidden"),
    [
        ("S2L1C", "qa60", "QA60", lambda v: (v & 0b11 << 10) != 0),
        ("S2L1C", "probability", "probability", lambda v: v >= 50),
        ("S2L2A", "scl", "SCL", lambda v: np.isin(v, (3, 8, 9, 10))),
        ("S2L2A", "probability", "probability", lambda v: v >= 50),
    ],
)
def test_the_cloud_share_is_that_of_the_mask(
    ee_service: EarthEngine, ee_server: EarthEngineServer, name: str, mask: str, band: str, hidden: object
) -> None:
    """Each kind of mask gives the share of observed pixels of its own grid that are cloud or shadow."""
    truth = truth_at(MUNICH, name, cloud_percent=40, swath_m=67_700)
    ee_server.add(truth)
    grid = grid_at(MUNICH)
    product = earthengine_product(name, mask=mask)
    size = {"QA60": 44, "SCL": 132, "probability": 264}[band]
    step = 2640 // size
    values = truth.plane(band, grid.left, grid.top, size)
    centers = np.arange(size) * step + step // 2
    seen = truth.covers(grid.left + centers[None, :], grid.top - centers[:, None])

    patch = fetch(ee_service, MUNICH, product, grid)

    assert 0 < patch.observed < 1
    assert patch.cloud == pytest.approx(hidden(values[seen]).mean(), rel=1e-12)  # type: ignore[operator]
    assert ee_server.count("pixels") == 3


def test_without_a_mask_the_cloud_share_is_unknown(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """None is not zero: no mask, and QA60 in the years in which it was empty."""
    ee_server.add(truth_at(MUNICH, "S2L1C"), truth_at(MUNICH, "S1GRD"))
    late = replace(truth_at(MUNICH, "S2L1C"), time=JUNE.replace(year=2023))
    ee_server.add(late)
    grid = grid_at(MUNICH)
    qa60 = ee_service.product("S2L1C")
    (empty,) = ee_service.search(MUNICH, [around(late.time)], qa60)

    assert fetch(ee_service, MUNICH, earthengine_product("S2L1C", mask=""), grid).cloud is None
    assert fetch(ee_service, MUNICH, ee_service.product("S1GRD"), grid).cloud is None
    assert read_one(ee_service, empty, qa60, grid).cloud is None
    assert fetch(ee_service, MUNICH, qa60, grid).cloud is not None


@pytest.mark.parametrize(("name", "mask"), [("S2L1C", "QA60"), ("S2L2A", "SCL")])
def test_a_mask_with_holes_leaves_them_out(
    ee_service: EarthEngine, ee_server: EarthEngineServer, name: str, mask: str
) -> None:
    """Pixels that the bands have and the mask lacks are neither clear nor cloudy, and still observed."""
    truth = truth_at(MUNICH, name, cloud_percent=40)
    ee_server.add(truth)
    grid = grid_at(MUNICH)
    middle = grid.left + 1320
    (asset,) = (a for a in ee_server.assets.values() if a.collection == ee_service.product(name).collection)
    whole = asset.bands[mask].sample
    asset.bands[mask] = replace(asset.bands[mask], sample=lambda e, n: (whole(e, n)[0], e < middle))
    size = {"QA60": 44, "SCL": 132}[mask]
    western = truth.plane(mask, grid.left, grid.top, size)[:, : size // 2].astype(int)
    hidden = np.isin(western, (3, 9, 10)) if mask == "SCL" else western > 0

    patch = fetch(ee_service, MUNICH, ee_service.product(name), grid)

    assert patch.cloud == pytest.approx(hidden.mean(), rel=1e-12)
    assert patch.observed == 1


def test_a_pixel_is_observed_where_every_grid_has_it() -> None:
    """By hand: 4 px at 10 m, 2 at 20 m, 1 at 40 m; what one grid lacks the others cannot give."""
    fine = np.ones((4, 4), bool)
    coarse = np.array([[True, False], [True, True]])
    fine[3, 0] = False

    assert share_observed({10: fine}, 10) == 15 / 16
    assert share_observed({10: fine, 20: coarse}, 10) == 11 / 16
    assert share_observed({20: coarse, 10: fine, 40: np.ones((1, 1), bool)}, 10) == 11 / 16
    assert share_observed({10: fine, 40: np.zeros((1, 1), bool)}, 10) == 0


@pytest.mark.parametrize(("baseline", "offset"), [(300, 0), (400, 1000), (510, 1000)])
@pytest.mark.parametrize("name", ["S2L1C", "S2L2A"])
def test_the_offset_is_taken_away_or_told(
    ee_service: EarthEngine, ee_server: EarthEngineServer, name: str, baseline: int, offset: int
) -> None:
    """Harmonized values have none; the others have what their scene tells, and the two differ by just that."""
    ee_server.add(truth_at(MUNICH, name, baseline=baseline))
    grid = grid_at(MUNICH)

    harmonized = fetch(ee_service, MUNICH, earthengine_product(name), grid).image
    raw = fetch(ee_service, MUNICH, earthengine_product(name, harmonized=False), grid).image

    assert (harmonized.offset, raw.offset) == (0, offset)
    assert harmonized.baseline == raw.baseline == baseline
    np.testing.assert_array_equal(raw.pixels[10], harmonized.pixels[10] + offset)


@pytest.mark.parametrize("name", ["L8TOA", "L8SR"])
@pytest.mark.parametrize("place", [MUNICH, SANTIAGO], ids=["north", "south"])
def test_landsat_is_stretched_as_published_and_keeps_its_own_pixels(
    ee_service: EarthEngine, ee_server: EarthEngineServer, place: Location, name: str
) -> None:
    """The 8-bit forms of SSL4EO-L, worked out here for each pixel; edges where USGS has them, 15 m beside the patch."""
    truth = truth_at(place, name)
    ee_server.add(truth)
    grid = grid_at(place, base=30)
    step = np.arange(264, dtype=np.int64) * 30 + 15
    east, north = np.broadcast_arrays(grid.left + 15 + step[None, :], grid.top - 15 - step[:, None])

    image = fetch(ee_service, place, ee_service.product(name), grid).image

    assert image.transform == (30.0, 0.0, grid.left + 15.0, 0.0, -30.0, grid.top - 15.0)
    for band, (low, high, _) in modality(name).stretch.items():
        exact = 255 * (np.float32(landsat_values(truth, band, east, north)).astype(float) - low) / (high - low)
        np.testing.assert_array_equal(image.band(band), np.clip(np.floor(exact + 0.5), 0, 255))
    assert image.pixels[30].dtype == np.uint8
    assert is_target(east, north).any()


def test_any_collection_can_be_named(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """A user's product: some bands, on other grids than the native ones, without table."""
    truth = truth_at(MUNICH, "S2L2A")
    ee_server.add(truth)
    product = Product(
        modality="S2L2A",
        collection="COPERNICUS/S2_SR_HARMONIZED",
        bands={"B02": "B2", "B8A": "B8A"},
        form=Form.gridded("S2L2A", bands=("B02", "B8A"), resolution=20),
        mask="SCL",
        mask_kind="scl",
    )
    grid = grid_at(MUNICH)

    patch = fetch(ee_service, MUNICH, product, grid)

    np.testing.assert_array_equal(patch.image.band("B8A"), expected(truth, "B8A", grid, 20))
    assert patch.image.shape == (132, 132)
    assert patch.cloud is not None
    assert ee_server.count("pixels") == 1


def test_a_large_patch_comes_in_strips(
    ee_service: EarthEngine, ee_server: EarthEngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More bytes than a request may have are several requests, and the same pixels."""
    truth = truth_at(MUNICH, "S2L1C")
    ee_server.add(truth)
    product = replace(earthengine_product("S2L1C"), form=Form.native("S2L1C", bands=("B01", "B02", "B03")))
    grid = grid_at(MUNICH)
    for module in (earthengine_plan, earthengine_server):
        monkeypatch.setattr(module, "MAX_BYTES", 264 * 100 * (2 + 2 + 1 + 3))
    _, price = ee_service.price(product, grid, num_scenes=1)

    patch = fetch(ee_service, MUNICH, product, grid)

    assert ee_server.count("pixels") == price.requests == 3 + 1
    for band, resolution in (("B01", 60), ("B02", 10), ("B03", 10)):
        np.testing.assert_array_equal(patch.image.band(band), expected(truth, band, grid, resolution))


@pytest.mark.parametrize("name", SENTINEL)
def test_the_price_is_what_it_costs(ee_service: EarthEngine, ee_server: EarthEngineServer, name: str) -> None:
    """Requests as told, bytes within two percent."""
    ee_server.add(truth_at(MUNICH, name))
    grid = grid_at(MUNICH)
    product = ee_service.product(name)
    search, read = ee_service.price(product, grid, num_scenes=1)

    patch = fetch(ee_service, MUNICH, product, grid)

    assert ee_server.count("value") == search.requests == 1
    assert ee_server.count("pixels") == read.requests == len(product.form.groups)
    assert patch.num_bytes == pytest.approx(read.num_bytes, rel=0.02)


def test_a_band_that_is_not_there_is_the_scene_s_fault(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """An image without the band gives way to another scene; nothing is tried twice."""
    ee_server.add(truth_at(MUNICH, "S2L1C"))
    product = ee_service.product("S2L1C")
    scene = only_scene(ee_service, MUNICH, product)

    with pytest.raises(SourceInvalid, match="did not match any bands"):
        read_one(ee_service, scene, replace(product, mask="MSK_CLASSI"), grid_at(MUNICH))

    assert ee_server.count("pixels") == 3


def _file(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


WHOLE = _file(np.array([[(1, 2.5), (3, 4.5)]], [("B2_0", "<u2"), ("VV_1", "<f4")]))


def test_an_array_file_is_read_as_numpy_reads_it() -> None:
    """Fields of several types; also as others than NumPy may space and quote it."""
    other = WHOLE.replace(b"'descr': [(", b'"descr":[ (')
    for data in (WHOLE, other):
        planes = planes_of(data, ["VV_1", "B2_0"], (1, 2))

        np.testing.assert_array_equal(planes["B2_0"], [[1, 3]])
        np.testing.assert_array_equal(planes["VV_1"], np.float32([[2.5, 4.5]]))
        assert [planes[n].dtype for n in ("B2_0", "VV_1")] == [np.uint16, np.float32]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no array",
        WHOLE[:40],
        WHOLE[:-1],
        WHOLE + b"\0",
        WHOLE.replace(b"\x01\x00", b"\x02\x00", 1),
        WHOLE.replace(b"False", b"True "),
        WHOLE.replace(b"(1, 2)", b"(2, 1)"),
        WHOLE.replace(b"B2_0", b"B3_0"),
        _file(np.zeros((1, 2), np.uint16)),
        _file(np.array([[({},), ({},)]], [("B2_0", "O")])),
    ],
)
def test_bytes_that_are_no_such_array_are_broken(data: bytes) -> None:
    """Cut short, too long, of another version, order, shape or band; objects are never unpickled."""
    with pytest.raises(Broken):
        planes_of(data, ["B2_0", "VV_1"], (1, 2))
