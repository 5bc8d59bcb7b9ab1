# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from earthengine_server import EarthEngineServer, Fault
from ground_scenes import scenes_at
from ground_truth import Truth
from remote_places import DAYS, FIJI, JUNE, MUNICH, SANTIAGO, around

from ssl4eo.collection.remote.earthengine import EarthEngine
from ssl4eo.collection.remote.earthengine_products import earthengine_product
from ssl4eo.errors import ConfigInvalid, ServiceFailed, UnknownName
from ssl4eo.locations.window import Range
from ssl4eo.sample import Location

SEASONS = [JUNE + 91 * n * DAYS for n in range(4)]


def truths(times: list[dt.datetime], name: str = "S2L1C", place: Location = MUNICH, **facts: object) -> list[Truth]:
    return scenes_at(place.lon, place.lat, times, modalities=(name,), **facts)  # type: ignore[arg-type]


def test_one_request_finds_the_scenes_of_all_seasons(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """Four ranges are one request, in order of time, and scenes between the ranges do not come."""
    inside = truths(SEASONS[::-1])
    between = truths([time + 30 * DAYS for time in SEASONS])
    ee_server.add(*between, *inside)

    scenes = ee_service.search(MUNICH, [around(time) for time in SEASONS], ee_service.product("S2L1C"))

    assert [scene.product for scene in scenes] == [truth.product for truth in reversed(inside)]
    assert [scene.time for scene in scenes] == SEASONS
    assert ee_server.count("value") == 1
    assert ee_server.count("pixels") == 0


def test_a_scene_is_told_in_full(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """Agency's id, time, cloud share, zone, baseline, orbit; the handle is plain values."""
    (truth,) = truths([JUNE], "S2L2A", SANTIAGO, baseline=509, cloud_percent=37, orbit="ascending")
    ee_server.add(truth)

    (scene,) = ee_service.search(SANTIAGO, [around(JUNE)], ee_service.product("S2L2A"))

    assert (scene.product, scene.modality, scene.time) == (truth.product, "S2L2A", JUNE)
    assert (scene.cloud, scene.crs, scene.baseline) == (0.37, "EPSG:32719", 509)
    assert (scene.offset, scene.orbit) == (0, "ascending")
    assert all(isinstance(value, str) for value in scene.handle.values())


def test_the_answer_is_small(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """Of an image seven properties come back at most, not its hundred and all bands."""
    ee_server.add(*truths([JUNE]))
    ee_service.search(MUNICH, [around(JUNE)], ee_service.product("S2L1C"))

    called = next(asked.called for asked in ee_server.asked if asked.kind == "value")

    assert called.count("Element.copyProperties") == 1
    assert called[-1] == "Element.copyProperties"


def test_ranges_hold_their_start_and_not_their_end(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """A scene at the very end of a range is not in it."""
    ee_server.add(*truths([JUNE, JUNE + DAYS]))

    scenes = ee_service.search(MUNICH, [Range(JUNE, JUNE, JUNE + DAYS)], ee_service.product("S2L1C"))

    assert [scene.time for scene in scenes] == [JUNE]


def test_only_scenes_that_have_the_point_come(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """Scenes of other places stay away, also across the antimeridian."""
    ee_server.add(*truths([JUNE], place=FIJI), *truths([JUNE], place=MUNICH))

    product = ee_service.product("S2L1C")

    assert len(ee_service.search(FIJI, [around(JUNE)], product)) == 1
    assert ee_service.search(Location("4", -179.9, 10.0), [around(JUNE)], product) == []


def test_filters_of_radar_are_the_service_s(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """Other modes and polarizations never come; an orbit can be chosen."""
    down, up = truths([JUNE], "S1GRD")[0], truths([JUNE + DAYS], "S1GRD", orbit="ascending")[0]
    ee_server.add(down, up)
    for index, wrong in enumerate([{"instrumentMode": "EW"}, {"transmitterReceiverPolarisation": ["VV"]}]):
        asset = ee_server.assets[f"COPERNICUS/S1_GRD/{down.product}"]
        other = replace(asset, index=f"other{index}", properties=asset.properties | wrong)
        ee_server.assets[other.id] = other

    def found(orbit: str) -> list[str]:
        product = earthengine_product("S1GRD", orbit=orbit)
        return [scene.product for scene in ee_service.search(MUNICH, [around(JUNE)], product)]

    assert found("") == [down.product, up.product]
    assert found("ascending") == [up.product]
    assert found("descending") == [down.product]


def test_granules_of_one_product_are_told_apart(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """Before December 2016 several images share a product id: their indices stand for it."""
    (truth,) = truths([JUNE])
    ee_server.add(truth)
    (asset,) = (a for a in list(ee_server.assets.values()) if a.collection == "COPERNICUS/S2_HARMONIZED")
    ee_server.assets["other"] = replace(asset, index="another_granule")

    scenes = ee_service.search(MUNICH, [around(JUNE)], ee_service.product("S2L1C"))

    assert sorted(scene.product for scene in scenes) == sorted([asset.index, "another_granule"])


def test_a_scene_without_its_baseline_is_refused_where_the_offset_depends_on_it(
    ee_service: EarthEngine, ee_server: EarthEngineServer
) -> None:
    """No guess: harmonized values need no baseline, the others do."""
    ee_server.add(*truths([JUNE]))
    for asset in ee_server.assets.values():
        asset.properties.pop("PROCESSING_BASELINE", None)

    assert ee_service.search(MUNICH, [around(JUNE)], ee_service.product("S2L1C"))[0].baseline is None
    with pytest.raises(ServiceFailed, match="does not tell its processing baseline"):
        ee_service.search(MUNICH, [around(JUNE)], earthengine_product("S2L1C", harmonized=False))


def test_no_scenes_are_an_answer_and_no_error(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """An empty list, at once."""
    ee_server.add(*truths([JUNE]))

    assert ee_service.search(MUNICH, [around(JUNE + 100 * DAYS)], ee_service.product("S2L1C")) == []
    assert ee_server.count("value") == 1


def test_a_collection_that_is_not_there_is_no_empty_answer(
    ee_service: EarthEngine, ee_server: EarthEngineServer
) -> None:
    """A wrong name is an error that says so, at once."""
    product = replace(ee_service.product("S2L1C"), collection="COPERNICUS/S3")

    with pytest.raises(ServiceFailed, match=r"'COPERNICUS/S3' not found.*check the name"):
        ee_service.search(MUNICH, [around(JUNE)], product)
    assert ee_server.count("value") == 1


def test_an_answer_without_scenes_in_it_is_tried_again(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """Bytes that are no answer are no empty answer."""
    ee_server.add(*truths([JUNE]))
    broken = (b"", b"{}", b'{"result": null}', b'{"result": {"features": [{"id": "0"}]}}', b"<html>")
    ee_server.fail("value", *(Fault(body=body) for body in broken))

    assert len(ee_service.search(MUNICH, [around(JUNE)], ee_service.product("S2L1C"))) == 1
    assert ee_server.count("value") == len(broken) + 1


@pytest.mark.parametrize("name", ["S1RTC", "S2RGB", "S3"])
def test_what_it_does_not_have_is_told(ee_service: EarthEngine, name: str) -> None:
    """Other modalities are refused, with what there is."""
    with pytest.raises(UnknownName, match="S2L1C"):
        ee_service.product(name)
    with pytest.raises(UnknownName):
        earthengine_product(name)


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("S1GRD", {"orbit": "sideways"}),
        ("S2L1C", {"mask": "scl"}),
        ("S2L2A", {"mask": "omnicloudmask"}),
        ("L8TOA", {"satellite": "7"}),
    ],
)
def test_choices_that_are_none_are_refused(name: str, choice: dict[str, str]) -> None:
    """SCL exists in L2A only, Landsat 7 is no Landsat 8."""
    with pytest.raises(UnknownName):
        earthengine_product(name, **choice)  # type: ignore[arg-type]


def test_a_search_without_a_point_or_a_time_is_refused(ee_service: EarthEngine) -> None:
    """Both are needed."""
    product = ee_service.product("S2L1C")

    for place, ranges in ((Location("1"), [around(JUNE)]), (MUNICH, [])):
        with pytest.raises(ConfigInvalid, match="a point and one range"):
            ee_service.search(place, ranges, product)


def test_several_products_are_found_in_one_request(ee_service: EarthEngine, ee_server: EarthEngineServer) -> None:
    """The scenes of each are those that a search of its own finds."""
    names = ("S1GRD", "S2L1C", "S2L2A")
    ee_server.add(*scenes_at(11.58, 48.14, [JUNE, JUNE + 5 * DAYS], modalities=names))
    products = [ee_service.product(name) for name in names]

    together = ee_service.search_together(MUNICH, [around(JUNE)], products)

    assert ee_server.count("value") == 1
    assert together == [ee_service.search(MUNICH, [around(JUNE)], product) for product in products]
    assert [len(scenes) for scenes in together] == [2, 2, 2]


def test_products_whose_common_search_is_refused_are_searched_alone(
    ee_service: EarthEngine, ee_server: EarthEngineServer
) -> None:
    """Too many scenes for one answer are few enough for each; a collection that is not there is named."""
    names = ("S1GRD", "S2L2A")
    ee_server.add(*scenes_at(11.58, 48.14, [JUNE], modalities=names))
    products = [ee_service.product(name) for name in names]
    ee_server.fail(
        "value", Fault(status=400, message="Collection query aborted after accumulating over 5000 elements.")
    )

    together = ee_service.search_together(MUNICH, [around(JUNE)], products)

    assert [len(scenes) for scenes in together] == [1, 1]
    assert ee_server.count("value") == 3
    with pytest.raises(ServiceFailed, match=r"search for S1GRD at .*NOWHERE.*not found"):
        ee_service.search_together(MUNICH, [around(JUNE)], [replace(products[0], collection="NOWHERE"), products[1]])
