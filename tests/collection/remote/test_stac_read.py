# SPDX-License-Identifier: Apache-2.0
"""Pixels that come out of a STAC catalog are those of the scene, at their place, in our units."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ground_truth import TARGET_DB, Truth, resolution_of, whole_targets
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.warp import transform as warp_points
from rasterio.windows import Window
from remote_places import read_one
from stac_scenes import L1C, L2A, OLI, around, encode, make_truth, publish, raster, service, stored
from stac_server import StacServer

from ssl4eo.collection.remote.patch_grid import PatchGrid, patch_grid
from ssl4eo.collection.remote.service import Patch
from ssl4eo.errors import SourceInvalid
from ssl4eo.sample import Location

MUNICH = (11.58, 48.14)
SANTIAGO = (-70.67, -33.45)


@pytest.fixture
def server() -> Iterator[StacServer]:
    """Run a stand-in that wants signatures and keys."""
    with StacServer() as stand_in:
        stand_in.signed, stand_in.s3 = "/store", "/eodata"
        yield stand_in


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have keys for CDSE."""
    monkeypatch.setenv("CDSE_S3_ACCESS_KEY", "KEY")
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", "SECRET")


def collect(
    server: StacServer,
    truth: Truth,
    point: tuple[float, float] = MUNICH,
    *,
    host: str = "planetary-computer",
    grid: PatchGrid | None = None,
    properties: dict[str, Any] | None = None,
    **how: Any,
) -> tuple[Patch, PatchGrid]:
    """Publish a scene, find it and read it."""
    publish(server, host, truth, **(properties or {}))
    server.signed = "" if host.startswith("earth-search") else server.signed
    stac = service(server, host, **how)
    product = stac.product(truth.modality)
    (scene,) = stac.search(Location("a", *point), [around(truth.time)], product)
    grid = grid or patch_grid(*point)
    patch = read_one(stac, scene, product, grid)
    stac.close()
    return patch, grid


def require_equal(patch: Patch, truth: Truth, grid: PatchGrid, bands: tuple[str, ...], *, offset: bool = False) -> None:
    """Compare all bands with the scene's own values."""
    for band in bands:
        size = grid.num_pixels(resolution_of(band))
        expected = truth.plane(band, grid.left, grid.top, size, offset=offset)
        np.testing.assert_array_equal(patch.image.band(band), expected, err_msg=band)


@pytest.mark.parametrize("point", [MUNICH, SANTIAGO, (5.32, 60.39), (179.98, -16.5)])
@pytest.mark.parametrize("baseline", [300, 400])
def test_values_are_those_of_the_scene_in_every_band(
    server: StacServer, point: tuple[float, float], baseline: int
) -> None:
    """Native resolution, in both hemispheres, in Norway's wide zone, beside the antimeridian; the offset taken away."""
    truth = make_truth(*point, baseline=baseline)

    patch, grid = collect(server, truth, point)

    require_equal(patch, truth, grid, L2A)
    assert (patch.image.offset, patch.image.baseline, patch.observed, patch.resampling) == (0, baseline, 1.0, "")
    assert (patch.image.crs, patch.image.transform) == (grid.crs, grid.transform(10))
    assert patch.image.product == truth.product


@pytest.mark.parametrize(("modality", "bands"), [("S2L1C", L1C), ("S2L2A", L2A)])
def test_jpeg_2000_out_of_s3_has_the_same_values(server: StacServer, modality: str, bands: tuple[str, ...]) -> None:
    """CDSE stores JP2; requests carry a signature of AWS."""
    truth = make_truth(*MUNICH, modality=modality, baseline=510)

    patch, grid = collect(server, truth, host="cdse")

    require_equal(patch, truth, grid, bands)
    assert all("x-amz-date" in asked.headers for asked in server.paths("^/eodata"))


@pytest.mark.parametrize(("choice", "offset", "keeps"), [("harmonize", 0, False), ("keep", 1000, True)])
def test_the_offset_is_harmonized_or_kept_by_choice_and_recorded(
    server: StacServer, choice: str, offset: int, keeps: bool
) -> None:
    """Values and record say the same."""
    truth = make_truth(*MUNICH, baseline=509)

    patch, grid = collect(server, truth, offset=choice)

    assert patch.image.offset == offset
    require_equal(patch, truth, grid, L2A, offset=keeps)


def test_harmonized_values_end_at_zero(server: StacServer) -> None:
    """Darker than the offset becomes 0, as in Earth Engine's harmonized collections, and counts as observed."""
    truth = make_truth(*MUNICH, baseline=400)
    item = publish(server, "planetary-computer", truth)
    pixels = stored(truth, "B02")[0]
    pixels[:] = 900
    transform = Affine(10, 0, truth.left, 0, -10, truth.top)
    server.files[item["assets"]["B02"]["href"].removeprefix(server.root)] = encode(
        pixels, driver="GTiff", crs=truth.crs, transform=transform, nodata=0
    )
    stac = service(server)
    product = stac.product("S2L2A")
    (scene,) = stac.search(Location("a", *MUNICH), [around()], product)

    patch = read_one(stac, scene, product, patch_grid(*MUNICH))

    assert not patch.image.band("B02").any()
    assert patch.observed == 1.0


@pytest.mark.parametrize(("flag", "subtracted"), [(True, 0), (False, 1000)])
def test_earth_search_tells_by_a_flag_whether_the_offset_is_gone(
    server: StacServer, flag: bool, subtracted: int
) -> None:
    """With the flag the stored values are those without the offset."""
    truth = make_truth(*MUNICH, baseline=400)
    served = dataclasses.replace(truth, baseline=300) if flag else truth

    patch, grid = collect(
        server,
        served,
        host="earth-search",
        properties={"earthsearch:boa_offset_applied": flag, "s2:processing_baseline": "04.00"},
    )

    assert (patch.image.offset, patch.image.baseline) == (0, 400)
    require_equal(patch, truth, grid, L2A)
    assert subtracted in (0, 1000)


def test_pixels_that_contradict_the_flag_are_refused(server: StacServer) -> None:
    """Earth Search has items whose offset was taken away though they say it was not (its issue 71)."""
    truth = make_truth(*MUNICH, baseline=300)

    with pytest.raises(SourceInvalid, match=r"cannot contain \+1000 DN, as its item says: .* of B0\d lie below 900"):
        collect(
            server,
            truth,
            host="earth-search",
            properties={"earthsearch:boa_offset_applied": False, "s2:processing_baseline": "04.00"},
        )


def test_a_target_lies_within_a_tenth_of_a_pixel_of_its_place_in_every_band(server: StacServer) -> None:
    """The bright rectangle that is painted into every band comes back where it was painted."""
    patch, grid = collect(server, make_truth(*MUNICH))

    for band in L2A:
        assert farthest_target(patch.image.band(band) > 7000, grid, resolution_of(band)) < 0.1, band


def farthest_target(bright: np.ndarray[Any, Any], grid: PatchGrid, resolution: int) -> float:
    """Give the largest distance [px] of a target's center of mass from where it was painted."""
    (east, north), *_ = whole_targets(grid.bounds)
    half = (60, 90)
    left, top = (round(v) // resolution for v in (east - half[0] - grid.left, grid.top - north - half[1]))
    margin = 2
    rows = slice(max(top - margin, 0), top + 180 // resolution + margin)
    columns = slice(max(left - margin, 0), left + 120 // resolution + margin)
    y, x = np.nonzero(bright[rows, columns])
    x_m = grid.left + (x.mean() + columns.start + 0.5) * resolution
    y_m = grid.top - (y.mean() + rows.start + 0.5) * resolution
    return max(abs(x_m - east), abs(y_m - north)) / resolution


@pytest.mark.parametrize(("east", "south"), [(2700, 0), (-2700, 2700), (0, -2760), (5400, 0)])
def test_beyond_the_edge_of_a_tile_pixels_are_zero_and_counted(server: StacServer, east: int, south: int) -> None:
    """A window that hangs out of the raster is filled, and `observed` says how much is not."""
    truth = make_truth(*MUNICH, east=east, south=south)
    publish(server, "planetary-computer", truth)
    stac = service(server)
    product = stac.product("S2L2A")
    server.items[0]["geometry"] = {"type": "Point", "coordinates": list(MUNICH)}  # the footprint lies
    (scene,) = stac.search(Location("a", *MUNICH), [around()], product)
    grid = patch_grid(*MUNICH)

    patch = read_one(stac, scene, product, grid)

    require_equal(patch, truth, grid, L2A)
    covered = truth.plane("B02", grid.left, grid.top, 264) != 0
    assert patch.observed == pytest.approx(covered.mean())
    assert patch.observed < 1
    assert (patch.cloud is None) == (patch.observed == 0)


def test_a_swath_edge_inside_of_the_tile_is_not_observed(server: StacServer) -> None:
    """Stored zeros are no observation."""
    truth = make_truth(*MUNICH, swath_m=3300)

    patch, grid = collect(server, truth)

    require_equal(patch, truth, grid, L2A)
    covered = truth.plane("B02", grid.left, grid.top, 264) != 0
    assert patch.observed == pytest.approx(covered.mean())
    assert 0.2 < patch.observed < 0.8


@pytest.mark.parametrize("percent", [0, 10, 60, 100])
def test_the_cloud_share_is_that_of_the_pixels_of_the_patch(server: StacServer, percent: int) -> None:
    """Shadow, cloud and cirrus of the scene classification, of the observed pixels; the scene's own share differs."""
    truth = make_truth(*MUNICH, cloud_percent=percent, swath_m=2400)

    patch, grid = collect(server, truth)

    classes = truth.plane("SCL", grid.left, grid.top, 132)
    assert patch.cloud == pytest.approx(np.isin(classes, (3, 8, 9, 10))[classes != 0].mean())


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # of rasterio with affine 3.1
@pytest.mark.parametrize("seed", range(12))
def test_windows_are_those_that_rasterio_reads_from_a_local_file(server: StacServer, seed: int) -> None:
    """Any snapped grid of any size, inside or over the edge: rasterio's boundless window of the file is the oracle."""
    rng = np.random.default_rng(seed)
    truth = make_truth(*MUNICH)
    size = int(rng.integers(1, 50)) * 6
    left, top = (int(v) * 60 for v in rng.integers(-30, 90, 2))
    grid = PatchGrid(truth.crs, truth.left + left, truth.top - top, size)

    patch, _ = collect(server, truth, grid=grid)

    for band in ("B02", "B8A", "B09"):
        step = resolution_of(band)
        with MemoryFile(raster(truth, band)) as memory, memory.open() as file:
            window = Window(left // step, top // step, size * 10 // step, size * 10 // step)
            expected = file.read(1, window=window, boundless=True, fill_value=0)
        np.testing.assert_array_equal(patch.image.band(band), expected)


def test_linear_power_becomes_decibels(server: StacServer) -> None:
    """gamma0 of Planetary Computer; the nodata value becomes NaN, 0 dB stays 0 dB."""
    truth = make_truth(*MUNICH, modality="S1RTC", swath_m=3000, zero_db=True)

    patch, grid = collect(server, truth)

    for band in ("VV", "VH"):
        expected = truth.plane(band, grid.left, grid.top, 264)
        np.testing.assert_allclose(patch.image.band(band), expected, rtol=0, atol=2e-5)  # float32 of the power
        assert (patch.image.band(band) == 0).any()
    assert patch.observed == pytest.approx(1 - np.isnan(expected).mean())
    assert patch.cloud is None


def test_power_that_is_not_above_zero_has_no_decibels(server: StacServer) -> None:
    """A power of 0 is NaN, not minus infinity, though it was observed."""
    truth = make_truth(*MUNICH, modality="S1RTC")
    item = publish(server, "planetary-computer", truth)
    pixels = stored(truth, "VV")[0]
    pixels[:, ::2] = 0
    transform = Affine(10, 0, truth.left, 0, -10, truth.top)
    server.files[item["assets"]["vv"]["href"].removeprefix(server.root)] = encode(
        pixels, driver="GTiff", crs=truth.crs, transform=transform, nodata=-32768
    )
    stac = service(server)
    product = stac.product("S1RTC")
    (scene,) = stac.search(Location("a", *MUNICH), [around()], product)

    patch = read_one(stac, scene, product, patch_grid(*MUNICH))

    assert np.isnan(patch.image.band("VV")).mean() == 0.5
    assert np.isfinite(patch.image.band("VH")).all()
    assert patch.observed == 1.0


def test_a_tile_of_another_zone_is_refused_where_the_own_zone_has_one(server: StacServer) -> None:
    """Every point of Sentinel-2 lies in a tile of its own zone: nothing is resampled."""
    point = (6.01, 48.1)
    truth = make_truth(*point, crs="EPSG:32631")

    with pytest.raises(SourceInvalid, match=r"asset B\w\w of S2A.* lies on pixels of \d+ x \d+ m in EPSG:32631"):
        collect(server, truth, point)


def test_a_tile_of_another_zone_is_read_on_a_grid_of_that_zone(server: StacServer) -> None:
    """Who chooses the grid by the scene's zone gets the pixels as they are."""
    point = (6.01, 48.1)
    truth = make_truth(*point, crs="EPSG:32631")
    grid = patch_grid(*point, crs="EPSG:32631")

    patch, _ = collect(server, truth, point, grid=grid)

    require_equal(patch, truth, grid, L2A)


def test_a_raster_that_lies_half_a_pixel_beside_the_grid_is_refused(server: StacServer) -> None:
    """There are no half-pixel shifts."""
    truth = dataclasses.replace(make_truth(*MUNICH), left=689_225)

    with pytest.raises(SourceInvalid, match="edges on multiples"):
        collect(server, truth)


def test_radar_of_another_zone_is_interpolated_onto_the_grid_without_a_shift(server: StacServer) -> None:
    """The target comes back within a tenth of a pixel of where it lies on the ground; the patch says `bilinear`."""
    point = (6.01, 48.1)
    truth = make_truth(*point, modality="S1RTC", crs="EPSG:32631")

    patch, grid = collect(server, truth, point)

    assert patch.resampling == "bilinear"
    assert patch.observed == 1.0
    corner = grid_corner(grid)
    shown = [t for t in whole_targets(corner) if all(abs(v) < 1100 for v in from_center(t, grid))]
    assert shown
    bright = 10 ** (patch.image.band("VV").astype(np.float64) / 10) - 10 ** (2 / 10)
    weights = np.where(patch.image.band("VV") > 3, bright, 0)
    for target in shown:
        x, y = from_center(target, grid)
        column, row = 132 + x / 10, 132 - y / 10
        rows, columns = (slice(int(v) - 14, int(v) + 15) for v in (row, column))
        box = weights[rows, columns]
        axis = np.arange(29) + 0.5
        assert abs(np.average(axis + columns.start, weights=box.sum(0)) - column) < 0.1
        assert abs(np.average(axis + rows.start, weights=box.sum(1)) - row) < 0.1
    assert patch.image.band("VV").max() == pytest.approx(TARGET_DB["VV"], abs=0.01)


def grid_corner(grid: PatchGrid) -> tuple[int, int, int, int]:
    """Give bounds in zone 31 that hold a grid."""
    west, south, east, north = grid.bounds
    xs, ys = warp_points(grid.crs, "EPSG:32631", [west, east, west, east], [south, south, north, north])[:2]
    return int(min(xs)), int(min(ys)), int(max(xs)), int(max(ys))


def from_center(point: tuple[float, float], grid: PatchGrid) -> tuple[float, float]:
    """Give a point of zone 31 as meters east and north of a grid's center."""
    xs, ys = warp_points("EPSG:32631", grid.crs, [point[0]], [point[1]])[:2]
    west, south, east, north = grid.bounds
    return xs[0] - (west + east) / 2, ys[0] - (south + north) / 2


def test_landsat_is_moved_by_half_a_pixel_and_stretched_to_8_bits(server: StacServer) -> None:
    """USGS grids lie 15 m beside ours: each pixel is the mean of four, then the published stretch of SSL4EO-L."""
    truth = make_truth(*MUNICH, modality="L8SR", cloud_percent=30)

    patch, grid = collect(server, truth)

    assert (patch.resampling, patch.image.band("SR_B4").shape) == ("bilinear", (88, 88))
    pixels, _, _ = stored(truth, "SR_B4")
    column, row = (grid.left - truth.left + 15) // 30, (truth.top - grid.top + 15) // 30
    four = [pixels[row + i - 1 : row + i + 87, column + j - 1 : column + j + 87] for i in (0, 1) for j in (0, 1)]
    mean = np.mean(np.asarray(four, np.float64), axis=0)
    stretched = np.clip((mean - 7272.7) * 255 / (18181.8 - 7272.7), 0, 255)
    np.testing.assert_allclose(patch.image.band("SR_B4"), stretched, rtol=0, atol=0.51)
    assert patch.image.pixels[30].shape == (len(OLI), 88, 88)
    assert patch.cloud is not None
    assert 0.1 < patch.cloud < 0.6


def test_a_user_may_ask_for_some_bands_only(server: StacServer) -> None:
    """A product with fewer bands reads fewer assets."""
    truth = make_truth(*MUNICH)
    publish(server, "planetary-computer", truth)
    stac = service(server)
    whole = stac.product("S2L2A")
    from ssl4eo.form import Form

    form = Form.native("S2L2A", bands=("B02", "B11"))
    product = dataclasses.replace(
        whole, form=form, bands={b: whole.bands[b] for b in form.bands}, mask="", mask_kind=""
    )
    (scene,) = stac.search(Location("a", *MUNICH), [around()], product)

    patch = read_one(stac, scene, product, patch_grid(*MUNICH))

    assert patch.image.form.bands == ("B02", "B11")
    assert len({asked.path for asked in server.paths("^/store")}) == 2


def test_one_request_for_the_header_and_one_for_the_pixels(server: StacServer) -> None:
    """Each asset is opened once; neighboring tiles are one range; small files come with their header."""
    patch, _ = collect(server, make_truth(*MUNICH))

    asked = server.paths("^/store")
    by_path: dict[str, list[str]] = {}
    for request in asked:
        by_path.setdefault(request.path, []).append(request.range)
    assert len(by_path) == 13
    assert all(ranges[0] == "bytes=0-32767" and len(ranges) <= 3 for ranges in by_path.values())
    assert patch.num_bytes == sum(request.num_bytes for request in asked)


def test_the_time_is_the_start_of_the_acquisition(server: StacServer) -> None:
    """Radar items tell a start beside a middle."""
    truth = make_truth(*MUNICH, modality="S1RTC")
    middle = (truth.time + dt.timedelta(seconds=12)).isoformat()

    patch, _ = collect(server, truth, properties={"datetime": middle})

    assert patch.image.time == truth.time
