# SPDX-License-Identifier: Apache-2.0
"""Collecting through both stand-ins: the same archive from either, and from either through every fault."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import earthengine_server
import numpy as np
import pytest
from both_services import Meddling, TwoSeasons, content, source_of, truths
from earthengine_helpers import Sleeper, service_at
from earthengine_server import EarthEngineServer
from ground_scenes import scenes_at
from ground_truth import TARGET_DB, whole_targets
from stac_scenes import Clock, local, publish
from stac_server import StacServer

import ssl4eo
from ssl4eo.collecting.collect import collect
from ssl4eo.collecting.ledger import Ledger, ledger_path
from ssl4eo.collection.remote.earthengine import EarthEngine
from ssl4eo.collection.remote.earthengine_products import earthengine_product
from ssl4eo.collection.remote.selection import Choice
from ssl4eo.collection.remote.stac.service import StacService
from ssl4eo.errors import ConfigInvalid, DataMissing
from ssl4eo.sample import Sample

COUNT = 4
OPTICAL = {"S2L2A": earthengine_product("S2L2A")}


@pytest.fixture
def stac_server() -> Iterator[StacServer]:
    """Give a STAC stand-in."""
    with StacServer() as server:
        yield server


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give the archive of an undisturbed catalog at another address, which is nowhere in it."""
    target = tmp_path_factory.mktemp("calm") / "a.zarr"
    with StacServer() as server:
        for scene in truths(COUNT):
            publish(server, "planetary-computer", scene)
        stac = planetary(server)
        collect(source_of(stac, COUNT, {"S2L2A": stac.product("S2L2A")}), target, threads=1)
    return content(target)


@pytest.fixture(scope="module")
def ee_calm(ee_server: EarthEngineServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Give the archive of an undisturbed Earth Engine."""
    target = tmp_path_factory.mktemp("calm") / "a.zarr"
    with service_at(ee_server, Sleeper()) as service:
        ee_server.add(*truths(COUNT))
        collect(source_of(service, COUNT, OPTICAL), target, threads=1)
    return content(target)


def planetary(server: StacServer, **how: Any) -> StacService:
    return StacService(local(server, "planetary-computer", **how), retry=Clock().retry())


def reasons_of(target: Path) -> list[str]:
    """Why places failed, in full."""
    with Ledger.open(ledger_path(target)) as ledger:
        return [row["reason"] for row in ledger.rows("failed")]


def samples(path: Path) -> list[Sample]:
    archive = ssl4eo.open_archive(path)
    return [archive.sample(number) for number in range(len(archive))]


def require_same(one: Path, other: Path) -> None:
    """Compare everything that comes from the scenes."""
    for a, b in zip(samples(one), samples(other), strict=True):
        assert (a.location, a.labels) == (b.location, b.labels)
        assert list(a.images) == list(b.images)
        for name, images in a.images.items():
            for image, twin in zip(images, b.images[name], strict=True):
                for field in ("time", "product", "crs", "transform", "baseline", "offset"):
                    assert getattr(image, field) == getattr(twin, field), field
                for resolution, pixels in image.pixels.items():
                    np.testing.assert_array_equal(pixels, twin.pixels[resolution])


@pytest.mark.parametrize(
    ("count", "zones"), [(9, (32, 33, 34)), pytest.param(40, range(32, 40), marks=pytest.mark.slow)]
)
def test_places_are_the_same_from_both(
    ee_service: EarthEngine,
    ee_server: EarthEngineServer,
    stac_server: StacServer,
    tmp_path: Path,
    count: int,
    zones: Sequence[int],
) -> None:
    """L2A of two seasons, in several zones, with and without the offset of baseline 04.00: value by value."""
    older = count // 2
    scenes = [*truths(older, baseline=300), *truths(count, baseline=400)[2 * older :]]
    ee_server.add(*scenes)
    for scene in scenes:
        publish(stac_server, "planetary-computer", scene)
    stac = planetary(stac_server)

    collect(source_of(ee_service, count, OPTICAL), tmp_path / "ee.zarr", threads=4)
    collect(source_of(stac, count, {"S2L2A": stac.product("S2L2A")}), tmp_path / "stac.zarr", threads=4)

    require_same(tmp_path / "ee.zarr", tmp_path / "stac.zarr")
    found = samples(tmp_path / "ee.zarr")
    assert len(found) == count
    assert {s.images["S2L2A"][0].crs for s in found} == {f"EPSG:326{zone}" for zone in zones}
    assert {s.images["S2L2A"][0].baseline for s in found} == {300, 400}


def test_both_levels_are_the_same_from_both(
    ee_service: EarthEngine,
    ee_server: EarthEngineServer,
    stac_server: StacServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """L1C and L2A of one acquisition, as lossless JPEG 2000 from S3 on the one side."""
    scenes = [s for name in ("S2L1C", "S2L2A") for s in truths(3, name)]
    ee_server.add(*scenes)
    for scene in scenes:
        publish(stac_server, "cdse", scene)
    stac_server.s3 = "/eodata"
    monkeypatch.setenv("CDSE_S3_ACCESS_KEY", "KEY")
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", "SECRET")
    stac = StacService(local(stac_server, "cdse"), retry=Clock().retry())
    names = ("S2L1C", "S2L2A")
    products = {"S2L1C": earthengine_product("S2L1C", mask=""), "S2L2A": earthengine_product("S2L2A")}

    collect(source_of(ee_service, 3, products), tmp_path / "ee.zarr")
    collect(source_of(stac, 3, {name: stac.product(name) for name in names}), tmp_path / "stac.zarr")

    require_same(tmp_path / "ee.zarr", tmp_path / "stac.zarr")
    assert all(s.images["S2L1C"][0].time == s.images["S2L2A"][0].time for s in samples(tmp_path / "ee.zarr"))


def test_a_location_takes_four_requests(ee_service: EarthEngine, ee_server: EarthEngineServer, tmp_path: Path) -> None:
    """Three products of two seasons: one search, and a request a resolution for all that is there together."""
    names = ("S1GRD", "S2L1C", "S2L2A")
    for place_time in [s.time for s in truths(1)]:
        ee_server.add(*scenes_at(10.0, 48.0, [place_time], modalities=names))

    collect(source_of(ee_service, 1, {n: ee_service.product(n) for n in names}), tmp_path / "a.zarr")

    assert (ee_server.count("value"), ee_server.count("pixels")) == (1, 3)
    with Ledger.open(ledger_path(tmp_path / "a.zarr")) as ledger:
        assert ledger.totals().requests == 4


def test_the_ledger_counts_the_requests_that_a_catalog_was_sent(stac_server: StacServer, tmp_path: Path) -> None:
    """Searches, tokens and ranges in helping threads, and tries in vain; none is estimated."""
    for scene in truths(2):
        publish(stac_server, "planetary-computer", scene)
    stac = planetary(stac_server)
    stac_server.fail(r"B02", status=503, times=2)

    collect(source_of(stac, 2, {"S2L2A": stac.product("S2L2A")}), tmp_path / "a.zarr", threads=2)

    with Ledger.open(ledger_path(tmp_path / "a.zarr")) as ledger:
        assert ledger.totals().requests == len(stac_server.asked) > 50


def test_all_bands_of_all_modalities_lie_within_a_tenth_of_a_pixel(
    ee_service: EarthEngine, ee_server: EarthEngineServer, tmp_path: Path
) -> None:
    """From the service through selection, archive and back: centroids of a painted target in 27 bands, two seasons."""
    names = ("S1GRD", "S2L1C", "S2L2A")
    for season in [s.time for s in truths(1)]:
        ee_server.add(*scenes_at(10.0, 48.0, [season], modalities=names))
    products = {n: ee_service.product(n) for n in names}

    collect(source_of(ee_service, 1, products, size=264), tmp_path / "a.zarr")

    (sample,) = samples(tmp_path / "a.zarr")
    images = [image for row in sample.images.values() for image in row]
    (transform,) = {image.transform for image in images}
    assert transform is not None
    left, top = transform[2], transform[5]
    (x, y), *_ = whole_targets((int(left), int(top) - 2640, int(left) + 2640, int(top)))
    count = 0
    for image in images:
        for resolution, bands in image.form.groups:
            for band in bands:
                plane = image.band(band).astype(np.float64)
                rows, columns = np.nonzero(plane > (TARGET_DB[band] - 1 if band in TARGET_DB else 8000))
                east, north = left + resolution * (columns + 0.5), top - resolution * (rows + 0.5)
                near = (abs(east - x) < 300) & (abs(north - y) < 300)
                assert near.any()
                assert max(abs(east[near].mean() - x), abs(north[near].mean() - y)) < 0.1 * resolution
                count += 1
    assert count == 2 * (2 + 13 + 12)
    assert (sample.labels["s1_s2_shift_east"], sample.labels["s1_s2_shift_south"]) == (0, 0)
    assert float(sample.labels["s1_s2_correlation"]) > 0.2


STORM = {"status": 429, "message": "Too Many Requests: Request was rejected."}
EE_FAULTS = {
    "resets": [{"reset": True}] * 15,
    "truncated": [{"cut": 90}] * 15,
    "no answers": [{"body": b"no answer"}] * 5,
    "storm": [STORM] * 60,
    "away": [{"status": 503}] * 60,
}


@pytest.mark.parametrize("kind", ["value", "pixels"])
@pytest.mark.parametrize("name", EE_FAULTS)
def test_faults_of_earth_engine_lose_and_double_nothing(
    ee_calm: dict[str, bytes],
    ee_service: EarthEngine,
    ee_server: EarthEngineServer,
    tmp_path: Path,
    name: str,
    kind: str,
) -> None:
    """Byte for byte the archive of an undisturbed run; every place done once; nothing waits for real."""
    ee_server.add(*truths(COUNT))
    ee_server.fail(kind, *(earthengine_server.Fault(**fault) for fault in EE_FAULTS[name]))

    collect(source_of(ee_service, COUNT, OPTICAL), tmp_path / "a.zarr", threads=3, first_pause_s=0.001)

    assert not ee_server.faults[kind]
    assert content(tmp_path / "a.zarr") == ee_calm
    with Ledger.open(ledger_path(tmp_path / "a.zarr")) as ledger:
        totals = ledger.totals()
    assert (totals.counts["done"], totals.tries) == (COUNT, COUNT)


def test_tokens_that_expire_all_the_time_are_renewed(
    ee_calm: dict[str, bytes], ee_service: EarthEngine, ee_server: EarthEngineServer, tmp_path: Path
) -> None:
    """Before every read."""
    ee_server.add(*truths(COUNT))
    before = ee_server.num_tokens

    meddling = Meddling(ee_service, lambda _: ee_server.expire())
    collect(source_of(meddling, COUNT, OPTICAL), tmp_path / "a.zarr", threads=1)

    assert ee_server.num_tokens >= before + COUNT
    assert content(tmp_path / "a.zarr") == ee_calm


def test_a_scene_that_vanishes_costs_itself_only(
    ee_service: EarthEngine, ee_server: EarthEngineServer, sleeper: Sleeper, tmp_path: Path
) -> None:
    """The clearest scene of one season goes between search and read: the next one is taken, the other season stays."""
    ee_server.add(*truths(1, cloud_percent=0), *truths(1, minutes=1, cloud_percent=20))
    vanished: list[str] = []

    def vanish(found: list[Any]) -> None:
        vanished.append(found[0].product)
        del ee_server.assets[found[0].handle["asset"]]

    collect(source_of(Meddling(ee_service, vanish), 1, OPTICAL), tmp_path / "a.zarr")

    (sample,) = samples(tmp_path / "a.zarr")
    taken = [image.product for image in sample.images["S2L2A"]]
    assert vanished[0] not in taken
    assert [product[11:26] for product in taken] == ["20210621T101630", "20210920T101530"]
    assert sleeper.waits == []


STAC_FAULTS: dict[str, list[dict[str, Any]]] = {
    "resets": [{"reset": True, "times": 15}],
    # one length each time is a damaged file; so few that no request is cut at all of its tries
    "truncated": [{"cut": length} for length in range(80, 83)],
    "storm": [{"status": 429, "headers": {"Retry-After": "2"}, "times": 60}],
    "away": [{"status": 503, "times": 60}],
}


@pytest.mark.parametrize("where", ["/v1/search", "/store"])
@pytest.mark.parametrize("name", STAC_FAULTS)
def test_faults_of_a_catalog_lose_and_double_nothing(
    calm: dict[str, bytes], stac_server: StacServer, tmp_path: Path, name: str, where: str
) -> None:
    """Byte for byte the archive of an undisturbed run; every place done once."""
    for scene in truths(COUNT):
        publish(stac_server, "planetary-computer", scene)
    stac = planetary(stac_server)
    source = source_of(stac, COUNT, {"S2L2A": stac.product("S2L2A")})
    faults = [stac_server.fail(where, **fault) for fault in STAC_FAULTS[name]]

    report = collect(source, tmp_path / "a.zarr", threads=3, first_pause_s=0.001)

    assert not any(fault.times for fault in faults)
    assert report.is_finished, reasons_of(tmp_path / "a.zarr")
    assert content(tmp_path / "a.zarr") == calm
    with Ledger.open(ledger_path(tmp_path / "a.zarr")) as ledger:
        totals = ledger.totals()
    assert (totals.counts["done"], totals.tries) == (COUNT, COUNT)


@pytest.mark.parametrize("damage", ["garbage", "cut", "gone"])
def test_a_damaged_file_gives_way_to_the_next_scene_or_fails_the_place(
    stac_server: StacServer, tmp_path: Path, damage: str
) -> None:
    """One scene of two: the other is taken. Both: the place has failed, and is tried again when they are mended."""
    clear, cloudy = truths(1, cloud_percent=0), truths(1, minutes=1, cloud_percent=20)
    paths: list[str] = []
    for scene in (*clear, *cloudy):
        item = publish(stac_server, "planetary-computer", scene)
        paths.append(item["assets"]["B04"]["href"].removeprefix(stac_server.root))
    whole = dict(stac_server.files)
    stac = planetary(stac_server)
    source = source_of(stac, 1, {"S2L2A": stac.product("S2L2A")})

    def spoil(path: str) -> None:
        data = stac_server.files.pop(path)
        if damage != "gone":
            stac_server.files[path] = b"no raster" * 500 if damage == "garbage" else data[: len(data) // 2]

    spoil(paths[0])
    collect(source, tmp_path / "a.zarr")
    spoil(paths[2])
    report = collect(source, tmp_path / "b.zarr")

    (sample,) = samples(tmp_path / "a.zarr")
    assert [i.product for i in sample.images["S2L2A"]] == [cloudy[0].product, clear[1].product]
    assert not report.is_finished
    with Ledger.open(ledger_path(tmp_path / "b.zarr")) as ledger:
        (row,) = ledger.rows("failed")
    assert "B04" in row["reason"]
    stac_server.files.update(whole)
    assert collect(source, tmp_path / "b.zarr").is_finished
    assert [i.product for i in samples(tmp_path / "b.zarr")[0].images["S2L2A"]] == [s.product for s in clear]


def test_signatures_and_a_wrong_clock_change_nothing(
    calm: dict[str, bytes], stac_server: StacServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Addresses are signed and all signatures expire after each search; wall time jumps by twenty years."""
    for scene in truths(COUNT):
        publish(stac_server, "planetary-computer", scene)
    stac_server.signed = "/store"
    jumps, real = itertools.cycle((-10 * 365 * 86400, 10 * 365 * 86400)), time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    signing = planetary(stac_server, signed_hosts=(stac_server.root.removeprefix("http://"), "127.0.0.1"))

    # One thread: a token that ends twice during one read, as those of other threads' searches would, is a refusal.
    meddling = Meddling(signing, lambda _: stac_server.expire())
    collect(source_of(meddling, COUNT, {"S2L2A": signing.product("S2L2A")}), tmp_path / "a.zarr", threads=1)

    assert len(stac_server.tokens) > 1
    assert content(tmp_path / "a.zarr") == calm


def test_a_mask_that_tells_nothing_is_not_clear(
    ee_service: EarthEngine, ee_server: EarthEngineServer, tmp_path: Path
) -> None:
    """QA60 is empty in 2022: with a limit of clouds in the patch such scenes are refused, without one taken."""
    product = {"S2L1C": earthengine_product("S2L1C", mask="qa60")}
    later = dt.timedelta(days=365)
    for truth in truths(1, "S2L1C"):
        ee_server.add(
            dataclasses.replace(truth, time=truth.time + later, product=truth.product.replace("2021", "2022"))
        )
    source = source_of(ee_service, 1, product)
    source = dataclasses.replace(source, windows=TwoSeasons(later))
    limited = dataclasses.replace(source, choice=Choice(max_scene_cloud=1.0, max_patch_cloud=0.5))

    with pytest.raises(DataMissing, match="tells nothing of the patch"):
        collect(limited, tmp_path / "a.zarr")
    assert collect(source, tmp_path / "b.zarr").is_finished


def test_a_limit_of_clouds_needs_a_mask(ee_service: EarthEngine) -> None:
    """Radar has none and needs none."""
    without = {"S1GRD": ee_service.product("S1GRD"), "S2L1C": earthengine_product("S2L1C", mask="")}
    source = source_of(ee_service, 1, {"S1GRD": without["S1GRD"]})
    choice = Choice(max_patch_cloud=0.1)

    assert dataclasses.replace(source, choice=choice)
    with pytest.raises(ConfigInvalid, match="S2L1C, which has no mask at earthengine"):
        dataclasses.replace(source, choice=choice, products=without)
