# SPDX-License-Identifier: Apache-2.0
"""Evaluates the expressions that Earth Engine's client sends: the few algorithms that we use, everything else refused.

Names and arguments are checked against the list of algorithms that the client library ships. Types are kept awkward on
purpose: what the real service may widen (unmask, reduce) is widened here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from earthengine_assets import Asset, Grid, Plane


class Refused(Exception):
    """The service answers with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@cache
def algorithm_list() -> dict[str, Any]:
    """Give the answer to `algorithms.list`, as the client library ships it for its own tests."""
    return json.loads(resources.files("ee").joinpath("tests/algorithms.json").read_text())


@cache
def _signatures() -> dict[str, dict[str, bool]]:
    """By algorithm its arguments: name -> whether it may be left out."""
    return {
        a["name"].removeprefix("algorithms/"): {
            g["argumentName"]: g.get("optional", False) for g in a.get("arguments", [])
        }
        for a in algorithm_list()["algorithms"]
    }


@dataclass(frozen=True)
class Picture:
    """An image: bands that can be evaluated on a grid."""

    bands: dict[str, Callable[[Grid], Plane]]
    asset: Asset | None = None


@dataclass(frozen=True)
class Feature:
    """A feature; its geometry is a point or nothing."""

    properties: dict[str, Any]
    geometry: Any = None


class Graph:
    """One expression."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._assets = assets
        self.called: list[str] = []
        """Algorithms in the order of evaluation."""

    def evaluate(self, expression: dict[str, Any]) -> Any:
        """Give the value of an expression.

        Raises:
            Refused: it is none, or something in it is unknown.
        """
        self._values = expression["values"]
        self._planes: dict[tuple[str, str, int], Plane] = {}
        return self._node(self._values[expression["result"]], {})

    def _node(self, node: dict[str, Any], scope: dict[str, Any]) -> Any:  # noqa: PLR0911 - one for each kind of node
        ((kind, inner),) = node.items()
        if kind == "constantValue":
            return inner
        if kind == "arrayValue":
            return [self._node(n, scope) for n in inner["values"]]
        if kind == "dictionaryValue":
            return {key: self._node(n, scope) for key, n in inner["values"].items()}
        if kind == "argumentReference":
            return scope[inner]
        if kind == "valueReference":
            return self._node(self._values[inner], scope)
        if kind == "functionDefinitionValue":
            names, body = inner["argumentNames"], self._values[inner["body"]]
            return lambda *given: self._node(body, scope | dict(zip(names, given, strict=True)))
        if kind == "functionInvocationValue":
            given = {key: self._node(n, scope) for key, n in inner.get("arguments", {}).items()}
            return self._invoke(inner["functionName"], given)
        raise Refused(400, f"Invalid JSON payload received. Unknown name {kind!r}")

    def _invoke(self, name: str, given: dict[str, Any]) -> Any:
        signature = _signatures().get(name)
        if signature is None:
            raise Refused(400, f"Algorithm '{name}' not found.")
        for argument in given:
            if argument not in signature:
                raise Refused(400, f"{name}: Unrecognized argument: '{argument}'.")
        for argument, optional in signature.items():
            if not optional and argument not in given:
                raise Refused(400, f"{name}: Parameter '{argument}' is required.")
        action = _ALGORITHMS.get(name)
        if action is None:
            raise Refused(501, f"the stand-in has no {name}")
        self.called.append(name)
        return action(self, **given)

    def _picture(self, asset: Asset) -> Picture:
        return Picture({n: lambda grid, n=n: self._plane(asset, n, grid) for n in asset.bands}, asset)

    def _plane(self, asset: Asset, name: str, grid: Grid) -> Plane:
        key = (asset.id, name, id(grid))  # the grid lives as long as this graph
        if key not in self._planes:
            self._planes[key] = asset.read(name, grid)
        return self._planes[key]

    def _load(self, id: str) -> Picture:  # noqa: A002 - the algorithm's own word
        asset = self._assets.get(id)
        if asset is None:
            raise Refused(
                400, f"Image.load: Image asset '{id}' not found (does not exist or caller does not have access)."
            )
        return self._picture(asset)

    def _load_collection(self, id: str) -> list[Picture]:  # noqa: A002
        found = [self._picture(a) for a in self._assets.values() if a.collection == id]
        if not found:
            raise Refused(
                400,
                f"ImageCollection.load: ImageCollection asset '{id}' not found (does not exist or caller does not have "
                "access).",
            )
        return found


def _property(picture: Picture, name: str) -> Any:
    assert picture.asset is not None
    return picture.asset.index if name == "system:index" else picture.asset.properties.get(name)


def _filter_intersects(_: Graph, leftField: str, rightValue: Feature) -> Any:  # noqa: N803 - the algorithm's names
    assert leftField == ".all"
    return lambda picture: picture.asset.outlines(*rightValue.geometry)


def _filter_date(_: Graph, leftValue: tuple[int, int], rightField: str) -> Any:  # noqa: N803
    return lambda picture: leftValue[0] <= _property(picture, rightField) < leftValue[1]


def _filter_contains(_: Graph, leftField: str, rightValue: Any) -> Any:  # noqa: N803
    return lambda picture: rightValue in (_property(picture, leftField) or [])


def _select(_: Graph, input: Picture, bandSelectors: list[Any], newNames: list[str] | None = None) -> Picture:  # noqa: A002, N803
    names = list(input.bands)
    chosen: list[str] = []
    for selector in bandSelectors:
        if isinstance(selector, int):
            chosen.append(names[selector])
        elif selector in names:
            chosen.append(selector)
        else:
            raise Refused(
                400, f"Image.select: Band pattern '{selector}' did not match any bands. Available bands: {names}"
            )
    return Picture({new: input.bands[old] for old, new in zip(chosen, newNames or chosen, strict=True)}, input.asset)


def _mask(_: Graph, image: Picture) -> Picture:
    def band(of: Callable[[Grid], Plane]) -> Callable[[Grid], Plane]:
        def evaluated(grid: Grid) -> Plane:
            mask = of(grid)[1]
            return mask.astype(np.float32), np.ones_like(mask)

        return evaluated

    return Picture({name: band(of) for name, of in image.bands.items()}, image.asset)


def _reduce(_: Graph, image: Picture, reducer: str) -> Picture:
    assert reducer == "min"

    def evaluated(grid: Grid) -> Plane:
        planes = [of(grid) for of in image.bands.values()]
        return np.min([v for v, _ in planes], 0).astype(np.float64), np.logical_or.reduce([m for _, m in planes])

    return Picture({"min": evaluated}, image.asset)


def _unmask(_: Graph, input: Picture, value: Picture, sameFootprint: bool = True) -> Picture:  # noqa: A002, N803
    if sameFootprint:
        raise Refused(501, "the stand-in has no footprints that stay")
    (fill,) = value.bands.values()

    def band(of: Callable[[Grid], Plane]) -> Callable[[Grid], Plane]:
        def evaluated(grid: Grid) -> Plane:
            values, mask = of(grid)
            wide = np.int32 if values.dtype.kind in "iu" else np.float64
            return np.where(mask, values, fill(grid)[0]).astype(wide), np.ones_like(mask)

        return evaluated

    return Picture({name: band(of) for name, of in input.bands.items()}, input.asset)


def _mapped(action: Callable[[Plane], Plane]) -> Callable[[Picture], Picture]:
    return lambda image: Picture(
        {n: lambda grid, of=of: action(of(grid)) for n, of in image.bands.items()}, image.asset
    )


def _cast(dtype: str) -> Callable[..., Picture]:
    def cast(plane: Plane) -> Plane:
        values = plane[0]
        if np.dtype(dtype).kind == "u":
            values = np.clip(values, 0, np.iinfo(dtype).max)
        return values.astype(dtype), plane[1]

    return lambda _, value: _mapped(cast)(value)


def _greater(_: Graph, image1: Picture, image2: Picture) -> Picture:
    (other,) = image2.bands.values()
    return Picture(
        {
            n: lambda grid, of=of: ((of(grid)[0] > other(grid)[0]).astype(np.uint8), of(grid)[1])
            for n, of in image1.bands.items()
        },
        image1.asset,
    )


def _constant(_: Graph, value: float) -> Picture:
    return Picture({"constant": lambda grid: (np.full(grid[1].shape, value), np.ones(grid[1].shape, bool))})


def _copy_properties(_: Graph, destination: Feature, source: Picture, properties: list[str]) -> Feature:
    found = {name: _property(source, name) for name in properties}
    return Feature(destination.properties | {k: v for k, v in found.items() if v is not None})


_ALGORITHMS: dict[str, Callable[..., Any]] = {
    "Image.load": Graph._load,
    "ImageCollection.load": Graph._load_collection,
    "Collection.filter": lambda _, collection, filter: [p for p in collection if filter(p)],  # noqa: A006
    "Collection.merge": lambda _, collection1, collection2: [*collection1, *collection2],
    "Collection.map": lambda _, collection, baseAlgorithm: [baseAlgorithm(p) for p in collection],  # noqa: N803
    "DateRange": lambda _, start, end: (start, end),
    "Filter.dateRangeContains": _filter_date,
    "Filter.or": lambda _, filters: lambda picture: any(f(picture) for f in filters),
    "Filter.equals": lambda _, leftField, rightValue: lambda p: _property(p, leftField) == rightValue,  # noqa: N803
    "Filter.listContains": _filter_contains,
    "Filter.intersects": _filter_intersects,
    "GeometryConstructors.Point": lambda _, coordinates: tuple(coordinates),
    "Feature": lambda _, geometry=None, metadata=None: Feature(dict(metadata or {}), geometry),
    "Element.get": lambda _, object, property: _property(object, property),  # noqa: A006
    "Element.copyProperties": _copy_properties,
    "Image.projection": lambda _, image: image.asset.truth.crs,
    "Projection.crs": lambda _, projection: projection,
    "Image.select": _select,
    "Image.rename": lambda _, input, names: Picture(dict(zip(names, input.bands.values(), strict=True)), input.asset),  # noqa: A006
    "Image.mask": _mask,
    "Image.reduce": _reduce,
    "Reducer.min": lambda _: "min",
    "Image.gt": _greater,
    "Image.constant": _constant,
    "Image.unmask": _unmask,
    "Image.addBands": lambda _, dstImg, srcImg: Picture(dstImg.bands | srcImg.bands, dstImg.asset),  # noqa: N803
    "Image.toUint16": _cast("uint16"),
    "Image.toByte": _cast("uint8"),
    "Image.toFloat": _cast("float32"),
}
