# SPDX-License-Identifier: Apache-2.0
"""A search finds what covers the point in the ranges: each product once, in order, with few requests."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
from collections.abc import Iterator

import pytest
from stac_scenes import TIME, Clock, around, make_truth, publish, service
from stac_server import StacServer

from ssl4eo.collection.remote.stac.searching import MOST_INTERVALS, intervals
from ssl4eo.errors import SampleInvalid, ServiceFailed, UnknownName
from ssl4eo.locations.window import Range
from ssl4eo.sample import Location

POINT = (11.58, 48.14)
HERE = Location("a", *POINT)
DAY = dt.timedelta(days=1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StacServer]:
    """Run a stand-in whose scenes have no pixels: nothing is read here."""
    monkeypatch.setattr("stac_scenes.raster", lambda *_, **__: b"")
    with StacServer() as stand_in:
        yield stand_in


def days(server: StacServer, *numbers: float, host: str = "planetary-computer", modality: str = "S2L2A") -> list[str]:
    """Publish a scene a day; give the products."""
    truths = [make_truth(*POINT, modality=modality, time=TIME + n * DAY) for n in numbers]
    for truth in truths:
        publish(server, host, truth)
    return [truth.product for truth in truths]


def test_scenes_come_in_order_of_time_each_product_once(server: StacServer) -> None:
    """Whatever the order of the items, and though one of them is listed twice."""
    names = days(server, 3, -2, 5, 0)
    server.items.append(server.items[0])
    stac = service(server)

    scenes = stac.search(HERE, [around()], stac.product("S2L2A"))

    assert [scene.product for scene in scenes] == [names[i] for i in (1, 3, 0, 2)]


def test_a_range_has_its_start_and_not_its_end(server: StacServer) -> None:
    """STAC's intervals are closed, ours are half open."""
    first, *_, last = days(server, 0, 1, 2)
    stac = service(server)

    scenes = stac.search(HERE, [Range(TIME, TIME, TIME + 2 * DAY)], stac.product("S2L2A"))

    assert next(scene.product for scene in scenes) == first
    assert last not in [scene.product for scene in scenes]
    assert len(scenes) == 2


def test_what_lies_between_the_ranges_is_left_out(server: StacServer) -> None:
    """Near ranges are asked for as one."""
    names = days(server, 0, 5, 10)
    stac = service(server)
    ranges = [around(TIME, 2), around(TIME + 10 * DAY, 2)]

    scenes = stac.search(HERE, ranges, stac.product("S2L2A"))

    assert [scene.product for scene in scenes] == [names[0], names[2]]
    assert len(server.paths("/search")) == 1


def test_the_landing_page_is_read_once(server: StacServer) -> None:
    """Later searches take one request each."""
    days(server, 0)
    stac = service(server)

    for _ in range(5):
        stac.search(HERE, [around()], stac.product("S2L2A"))

    assert [asked.path for asked in server.asked] == ["/v1", *["/v1/search"] * 5]
    assert all(asked.headers["user-agent"].startswith("ssl4eo/") for asked in server.asked)


def test_far_ranges_take_a_request_each_and_never_more_than_the_bound() -> None:
    """Twenty seasons over five years become eight intervals that hold them all."""
    ranges = [around(TIME + 91 * i * DAY, 15) for i in range(20)]

    joined = intervals(ranges)

    assert len(intervals(ranges[:4])) == 4
    assert len(joined) == MOST_INTERVALS
    assert all(any(start <= r.start and r.end <= end for start, end in joined) for r in ranges)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(joined))


@pytest.mark.parametrize(
    ("shifts", "count"), [((0,), 1), ((0, 5), 1), ((0, 39), 1), ((0, 41), 2), ((0, 365), 2), ((365, 0, 3), 2)]
)
def test_ranges_that_overlap_or_nearly_touch_are_one_interval(shifts: tuple[int, ...], count: int) -> None:
    """Ten days on either side, twenty days of a gap are bridged."""
    assert len(intervals([around(TIME + n * DAY) for n in shifts])) == count


@pytest.mark.parametrize("page_size", [1, 2, 3, 7])
def test_all_pages_are_followed(server: StacServer, page_size: int) -> None:
    """The host gives smaller pages than asked for."""
    names = days(server, *range(7))
    server.page_size = page_size
    stac = service(server)

    scenes = stac.search(HERE, [around()], stac.product("S2L2A"))

    assert [scene.product for scene in scenes] == names
    assert len(server.paths("/search")) == -(-7 // page_size)


def test_pages_without_end_are_not_followed(server: StacServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose next page is always the first one."""
    days(server, 0, 1)
    server.page_size = 1
    monkeypatch.setattr(StacServer, "find", lambda self, _: self.items[:1] * 10_000)
    stac = service(server)

    with pytest.raises(ServiceFailed, match="more than 50 pages"):
        stac.search(HERE, [around()], stac.product("S2L2A"))

    assert len(server.paths("/search")) == 51


def test_only_the_point_and_the_collection_are_searched(server: StacServer) -> None:
    """Scenes elsewhere and other collections are not asked for."""
    days(server, 0)
    days(server, 0, modality="S1RTC")
    publish(server, "planetary-computer", make_truth(12.9, 48.14, time=TIME + DAY))
    stac = service(server)

    (scene,) = stac.search(HERE, [around()], stac.product("S2L2A"))

    assert scene.modality == "S2L2A"
    body = server.paths("/search")[0].body
    assert body["intersects"] == {"type": "Point", "coordinates": list(POINT)}
    assert body["collections"] == ["sentinel-2-l2a"]


@pytest.mark.parametrize("lon", [180.0, -180.0, 179.999, -179.999])
def test_the_antimeridian_is_no_border(server: StacServer, lon: float) -> None:
    """A tile across it is found from either side."""
    publish(server, "planetary-computer", make_truth(180.0, -16.5))
    stac = service(server)

    assert len(stac.search(Location("a", lon, -16.5), [around()], stac.product("S2L2A"))) == 1


@pytest.mark.parametrize("host", ["planetary-computer", "cdse"])
def test_conditions_are_sent_in_the_language_of_the_host(server: StacServer, host: str) -> None:
    """As `query`, or as CQL2; the host applies them."""
    import dataclasses

    days(server, 0, 1, host=host)
    server.items[1]["properties"]["platform"] = "sentinel-2b"
    stac = service(server, host)
    product = dataclasses.replace(stac.product("S2L2A"), filters={"platform": {"in": ["sentinel-2a"]}})

    (scene,) = stac.search(HERE, [around()], product)

    assert scene.handle["platform"] == "sentinel-2a"
    sent = server.paths("/search")[0].body
    assert ("query" in sent, "filter" in sent) == (host != "cdse", host == "cdse")


def test_radar_of_another_mode_is_not_found(server: StacServer) -> None:
    """The table asks for IW."""
    days(server, 0, 1, modality="S1RTC")
    server.items[0]["properties"]["sar:instrument_mode"] = "EW"
    stac = service(server)

    (scene,) = stac.search(HERE, [around()], stac.product("S1RTC"))

    assert (scene.orbit, scene.cloud, scene.baseline, scene.offset) == ("descending", None, None, 0)


def test_of_an_acquisition_processed_again_the_newest_baseline_is_kept(
    server: StacServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are named in the handle and in the log."""
    for baseline, stamp in ((204, "20210621T120000"), (500, "20230101T120000"), (300, "20211001T120000")):
        name = f"S2A_MSIL2A_20210621T101530_N{baseline:04d}_R065_T32UPU_{stamp}"
        publish(server, "planetary-computer", make_truth(*POINT, baseline=baseline, product=name))
    stac = service(server)
    caplog.set_level(logging.INFO, "ssl4eo")

    (scene,) = stac.search(HERE, [around()], stac.product("S2L2A"))

    assert scene.baseline == 500
    assert [name[27:32] for name in scene.handle["supersedes"]] == ["N0204", "N0300"]
    assert "N0500" in caplog.text
    assert "which was processed before" in caplog.text


def test_two_data_strips_of_one_baseline_are_both_kept(server: StacServer) -> None:
    """A tile can be cut in two along the orbit: the products differ in their last field only."""
    for stamp in ("20210621T120000", "20210621T120500"):
        name = f"S2A_MSIL2A_20210621T101530_N0300_R065_T32UPU_{stamp}"
        publish(server, "planetary-computer", make_truth(*POINT, product=name))
    stac = service(server)

    assert len(stac.search(HERE, [around()], stac.product("S2L2A"))) == 2


def test_items_without_an_asset_or_a_time_are_left_out(server: StacServer) -> None:
    """Nothing could be read of them."""
    names = days(server, 0, 1, 2)
    del server.items[0]["assets"]["B07"]
    server.items[1]["assets"]["SCL"] = {"title": "no address"}
    stac = service(server)

    scenes = stac.search(HERE, [around()], stac.product("S2L2A"))

    assert [scene.product for scene in scenes] == names[2:]


def test_an_item_that_does_not_tell_its_offset_is_left_out(
    server: StacServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody guesses whether values contain +1000 DN; where the host took it away nothing needs to be told."""
    names = days(server, 0, 1, host="earth-search")
    for item in server.items:
        del item["properties"]["s2:processing_baseline"]
        item["properties"]["s2:product_uri"] = item["id"]
    server.items[1]["properties"]["earthsearch:boa_offset_applied"] = True
    stac = service(server, "earth-search")

    (scene,) = stac.search(HERE, [around()], stac.product("S2L2A"))

    assert (scene.product, scene.baseline, scene.offset) == (server.items[1]["id"], None, 0)
    assert "a baseline, which the +1000 DN depend on" in caplog.text
    assert len(names) == 2


@pytest.mark.parametrize(
    ("told", "share"), [(0, 0.0), (37.5, 0.375), (100, 1.0), (-1, None), (None, None), ("?", None)]
)
def test_a_cloud_share_that_is_none_is_none(server: StacServer, told: object, share: float | None) -> None:
    """Landsat tells -1 where it does not know."""
    days(server, 0)
    server.items[0]["properties"]["eo:cloud_cover"] = told
    stac = service(server)

    (scene,) = stac.search(HERE, [around()], stac.product("S2L2A"))

    assert scene.cloud == share


@pytest.mark.parametrize(("host", "baseline"), [("planetary-computer", 509), ("earth-search", 400), ("cdse", 511)])
def test_every_host_s_spelling_of_the_facts_is_read(server: StacServer, host: str, baseline: int) -> None:
    """Product id, baseline, reference system, clouds."""
    truth = make_truth(*POINT, baseline=baseline, cloud_percent=37)
    publish(server, host, truth)
    stac = service(server, host)

    (scene,) = stac.search(HERE, [around()], stac.product("S2L2A"))

    assert (scene.product, scene.baseline, scene.crs) == (truth.product, baseline, truth.crs)
    assert (scene.cloud, scene.time) == (0.37, truth.time)


def test_addresses_of_earth_search_that_lead_to_the_wrong_bucket_are_put_right(server: StacServer) -> None:
    """Its L1C items before July 2023 name the bucket of L2A."""
    days(server, 0, host="earth-search", modality="S2L1C")
    for asset in server.items[0]["assets"].values():
        asset["href"] = "s3://sentinel-s2-l2a/tiles/32/U/PU/2021/6/21/0/B02.jp2"
    stac = service(server, "earth-search")

    (scene,) = stac.search(HERE, [around()], stac.product("S2L1C"))

    assert set(scene.handle["hrefs"].values()) == {"s3://sentinel-s2-l1c/tiles/32/U/PU/2021/6/21/0/B02.jp2"}


@pytest.mark.parametrize(
    "how", [{"status": 429}, {"status": 503}, {"reset": True}, {"cut": 30}, {"body": b"<html>busy</html>"}]
)
@pytest.mark.parametrize("where", ["GET /v1 ", "/search"])
def test_a_busy_api_is_asked_again(server: StacServer, how: dict[str, object], where: str) -> None:
    """At the landing page and at a search."""
    days(server, 0)
    server.fail(where, times=3, **how)
    clock = Clock()
    stac = service(server, clock=clock)

    assert len(stac.search(HERE, [around()], stac.product("S2L2A"))) == 1
    assert clock.slept == [1, 2, 4]


def test_retry_after_of_the_api_is_heeded(server: StacServer) -> None:
    """As long as asked, on the first try after it."""
    days(server, 0)
    server.fail("/search", status=429, headers={"Retry-After": "30"})
    clock = Clock()
    stac = service(server, clock=clock)

    stac.search(HERE, [around()], stac.product("S2L2A"))

    assert sum(clock.slept) == pytest.approx(31)


def test_an_api_that_refuses_for_good_is_a_failed_service(server: StacServer) -> None:
    """A wrong filter is not asked nine times."""
    days(server, 0)
    server.fail("/search", status=400, times=100)
    stac = service(server)

    with pytest.raises(ServiceFailed, match="answers with status 400"):
        stac.search(HERE, [around()], stac.product("S2L2A"))

    assert len(server.paths("/search")) == 1


def test_an_api_that_stays_away_is_a_failed_service(server: StacServer) -> None:
    """After all retries."""
    server.fail("/v1", reset=True, times=1000)
    stac = service(server)

    with pytest.raises(ServiceFailed, match="failed 10 times"):
        stac.search(HERE, [around()], stac.product("S2L2A"))


def test_what_a_catalog_lacks_is_told_with_who_has_it(server: StacServer) -> None:
    """L1C is not on Planetary Computer; GRD is on the radar's own grid."""
    with pytest.raises(UnknownName, match="take it from Earth Engine, earth-search or cdse"):
        service(server).product("S2L1C")
    with pytest.raises(UnknownName, match=r"radar's own grid.*S1RTC from planetary-computer"):
        service(server, "earth-search").product("S1GRD")


def test_a_location_without_a_point_cannot_be_searched(server: StacServer) -> None:
    """Before anything is asked."""
    stac = service(server)

    with pytest.raises(SampleInvalid, match="no point"):
        stac.search(Location("a"), [around()], stac.product("S2L2A"))

    assert not server.asked
