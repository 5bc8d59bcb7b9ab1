# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from earthengine_graph import Graph, Refused
from earthengine_server import EarthEngineServer
from remote_places import DAYS, JUNE, MUNICH, around

from ssl4eo.collection.remote.earthengine import EarthEngine
from ssl4eo.collection.remote.earthengine_expressions import joined_expression, pixels_expression, search_expression
from ssl4eo.collection.remote.earthengine_plan import plan_read
from ssl4eo.collection.remote.earthengine_products import MODALITIES, earthengine_product
from ssl4eo.collection.remote.earthengine_session import session_for
from ssl4eo.collection.remote.earthengine_templates import read_text, search_text
from ssl4eo.collection.remote.patch_grid import patch_grid
from ssl4eo.collection.remote.service import Scene
from ssl4eo.sample import Location

CHOICES = [
    *((name, {}) for name in MODALITIES),
    ("S1GRD", {"orbit": "ascending"}),
    ("S2L1C", {"mask": "probability", "harmonized": False}),
]


@pytest.fixture
def initialized(ee_service: EarthEngine) -> None:
    """Let the client library know its algorithms."""
    session_for(ee_service.account, ee_service.retry)


def expressions(name: str, choice: dict[str, Any]) -> Iterator[Any]:
    product = earthengine_product(name, **choice)
    yield search_expression(MUNICH, [around(JUNE), around(JUNE + 91 * DAYS)], product)
    for part in plan_read("EPSG:32632", product, patch_grid(11.58, 48.14, base=product.form.base)).parts:
        yield pixels_expression(
            "a/b",
            part.bands,
            dtype=part.dtype,
            mask=part.mask,
            mask_kind=part.mask_kind,
            mask_asset=f"{part.mask_collection}/b" if part.mask_collection else "",
        )


def invocations(node: Any) -> Iterator[dict[str, Any]]:
    """Walk through all calls of algorithms in an encoded expression."""
    if isinstance(node, dict):
        if "functionInvocationValue" in node:
            yield node["functionInvocationValue"]
        for inner in node.values():
            yield from invocations(inner)
    if isinstance(node, list):
        for inner in node:
            yield from invocations(inner)


@pytest.mark.parametrize(("name", "choice"), CHOICES, ids=str)
def test_every_algorithm_and_argument_is_in_the_library_s_list(
    initialized: None, name: str, choice: dict[str, Any]
) -> None:
    """The list that the client library ships has all names and arguments; none that is required lacks."""
    from ee import serializer

    listed = json.loads(resources.files("ee").joinpath("tests/algorithms.json").read_text())["algorithms"]
    known = {a["name"].removeprefix("algorithms/"): a.get("arguments", []) for a in listed}
    seen = 0
    for expression in expressions(name, choice):
        for call in invocations(serializer.encode(expression, for_cloud_api=True)):
            arguments = known[call["functionName"]]
            given = set(call.get("arguments", {}))
            assert given <= {a["argumentName"] for a in arguments}
            assert given >= {a["argumentName"] for a in arguments if not a.get("optional")}
            seen += 1
    assert seen > 30


@pytest.mark.parametrize(("name", "choice"), CHOICES, ids=str)
def test_expressions_survive_the_library_s_own_serialization(
    initialized: None, name: str, choice: dict[str, Any]
) -> None:
    """Encoded, decoded by the library and encoded again they are the same; a search fits in a few kilobytes."""
    from ee import deserializer, serializer

    for expression in expressions(name, choice):
        encoded = serializer.encode(expression, for_cloud_api=True)
        again = serializer.encode(deserializer.decode(encoded), for_cloud_api=True)

        assert again == encoded
        assert len(json.dumps(encoded)) < 10_000


def test_no_algorithm_resamples(initialized: None) -> None:
    """Neither reprojection nor interpolation is asked for: what comes is the nearest pixel."""
    from ee import serializer

    called = {
        call["functionName"]
        for name, choice in CHOICES
        for expression in expressions(name, choice)
        for call in invocations(serializer.encode(expression, for_cloud_api=True))
    }

    assert not called & {"Image.resample", "Image.reproject", "Image.reduceResolution", "Image.clip"}


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"functionName": "Image.improve", "arguments": {}}, "not found"),
        ({"functionName": "Image.load", "arguments": {"name": {"constantValue": "x"}}}, "Unrecognized argument"),
        ({"functionName": "Image.load", "arguments": {}}, "is required"),
        ({"functionName": "Image.load", "arguments": {"id": {"constantValue": "x"}}}, "'x' not found"),
        ({"functionName": "Image.blend", "arguments": {k: {"constantValue": 0} for k in ("bottom", "top")}}, "has no"),
    ],
)
def test_the_stand_in_refuses_what_it_does_not_know(node: dict[str, Any], message: str) -> None:
    """Unknown algorithms, arguments and assets, and algorithms that it was never taught."""
    with pytest.raises(Refused, match=message):
        Graph({}).evaluate({"result": "0", "values": {"0": {"functionInvocationValue": node}}})


GRID = {
    "dimensions": {"width": 4, "height": 4},
    "affineTransform": {"scaleX": 10, "shearX": 0, "translateX": 0, "shearY": 0, "scaleY": -10, "translateY": 0},
    "crsCode": "EPSG:32632",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crsCode": "UTM 32"}, "could not be parsed"),
        ({"affineTransform": GRID["affineTransform"] | {"scaleX": 0}}, "cannot be inverted"),
        ({"affineTransform": {"scaleX": 10}}, "Invalid value at 'grid'"),
        ({"dimensions": {"width": 0, "height": 4}}, "cannot be inverted"),
        ({"dimensions": {"width": 32769, "height": 1}}, "must be less than or equal to 32768"),
        ({"dimensions": {"width": 4096, "height": 4097}}, r"Total request size \(50343936 bytes\)"),
    ],
)
def test_the_stand_in_refuses_grids_as_the_service_does(
    ee_service: EarthEngine, ee_server: EarthEngineServer, change: dict[str, Any], message: str
) -> None:
    """Asked by the client library itself, past our own checks."""
    import ee

    session_for(ee_service.account, ee_service.retry)
    image = ee.Image(0).toUint16()

    with pytest.raises(ee.EEException, match=message):
        ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": GRID | change})
    assert ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": GRID}).shape == (4, 4)
    with pytest.raises(ee.EEException, match="no band named"):
        ee.data.computePixels({"expression": image, "fileFormat": "NUMPY_NDARRAY", "grid": GRID, "bandIds": ["B1"]})


@pytest.mark.parametrize(("name", "choice"), CHOICES, ids=str)
def test_a_filled_template_is_the_expression_that_the_library_would_make(
    initialized: None, name: str, choice: dict[str, Any]
) -> None:
    """Read back and serialized by the library both are the same text; the second set of ids is not the first."""
    from ee import deserializer, serializer

    product = earthengine_product(name, **choice)
    for part in plan_read("EPSG:32632", product, patch_grid(11.58, 48.14, base=product.form.base)).parts:
        for ids in (("a", 'b "c"'), ("d", "e")):
            scenes = [
                Scene(i, name, JUNE, None, "EPSG:32632", None, 0, handle={"asset": f"s/{i}", "index": i}) for i in ids
            ]
            images = [
                pixels_expression(
                    f"s/{i}",
                    part.bands,
                    dtype=part.dtype,
                    mask=part.mask,
                    mask_kind=part.mask_kind,
                    mask_asset=f"{part.mask_collection}/{i}" if part.mask_collection else "",
                    suffix=f"_{number}",
                )
                for number, i in enumerate(ids)
            ]
            expected = serializer.toJSON(joined_expression(images))

            sent = json.loads(read_text([(part, scene) for scene in scenes]))

            assert serializer.toJSON(deserializer.decodeCloudApi(sent)) == expected


@pytest.mark.parametrize("place", [MUNICH, Location("w", -70.0, 0.0)], ids=lambda p: p.id)
@pytest.mark.parametrize("count", [1, 2, 12])
@pytest.mark.parametrize(("name", "choice"), CHOICES[:3], ids=str)
def test_a_filled_search_is_the_expression_that_the_library_would_make(
    initialized: None, name: str, choice: dict[str, Any], count: int, place: Location
) -> None:
    """Filters, point and all ranges; twelve of them have more numbers than one digit tells."""
    from ee import deserializer, serializer

    product = earthengine_product(name, **choice)
    ranges = [around(JUNE + 30 * n * DAYS) for n in range(count)]
    expected = serializer.toJSON(search_expression(place, ranges, product))

    sent = json.loads(search_text(place, ranges, [product]))

    assert serializer.toJSON(deserializer.decodeCloudApi(sent)) == expected
