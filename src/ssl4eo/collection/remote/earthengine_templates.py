# SPDX-License-Identifier: Apache-2.0
"""Expressions that differ in ids, points and dates only: made once by the client library, then filled in.

Building an expression for four seasons of a product costs the library more than sending it, and a collection sends the
same few expressions hundreds of thousands of times. What is sent is what the library makes of the expression, shared
parts written out where they are used.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

from ssl4eo.collection.remote.earthengine_expressions import (
    joined_expression,
    milliseconds,
    pixels_expression,
    require_searchable,
    search_of,
)
from ssl4eo.collection.remote.earthengine_plan import Part
from ssl4eo.collection.remote.service import Product, Scene
from ssl4eo.locations.window import Range
from ssl4eo.sample import Location

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_LON, _LAT = 0.123456789, 0.987654321
"""Stand for a point."""
_TIME = 987_654_321_000
"""Stands for the first of the times [ms since 1970], each further one is larger by 1."""
_Bands = tuple[tuple[str, str], ...]


def read_expression(part: Part, scenes: Sequence[Scene]) -> Any:
    """Give the expression of a part of a read: the bands of all scenes, their names ending in `_0`, `_1` and on.

    The library must be initialized first.
    """
    bands = tuple(part.bands.items())
    text = _template(bands, part.dtype, part.mask, part.mask_kind, bool(part.mask_collection), len(scenes))
    for number, scene in enumerate(scenes):
        text = text.replace(_image(number), _quoted(str(scene.handle["asset"])))
        text = text.replace(_mask(number), _quoted(f"{part.mask_collection}/{scene.handle['index']}"))
    return _encodable(json.loads(text))


@lru_cache(maxsize=256)
def _template(bands: _Bands, dtype: str, mask: str, mask_kind: str, has_mask_image: bool, num_scenes: int) -> str:
    from ee import serializer  # pyright: ignore[reportMissingTypeStubs]

    images = [
        pixels_expression(
            _image(number)[1:-1],
            dict(bands),
            dtype=dtype,
            mask=mask,
            mask_kind=mask_kind,
            mask_asset=_mask(number)[1:-1] if has_mask_image else "",
            suffix=f"_{number}",
        )
        for number in range(num_scenes)
    ]
    return json.dumps(serializer.encode(joined_expression(images), is_compound=False))


def listing_expression(location: Location, ranges: Sequence[Range], product: Product) -> Any:
    """Give the expression of a search, see `search_expression`.

    The library must be initialized first.

    Raises:
        ConfigInvalid: no ranges, or a location without a point.
    """
    require_searchable(location, ranges)
    filters = json.dumps(dict(product.filters), sort_keys=True)
    text = _search_template(product.collection, filters, product.cloud_property, len(ranges))
    whole = [min(r.start for r in ranges), max(r.end for r in ranges)]
    times = [*whole, *(time for r in ranges for time in (r.start, r.end))]
    for number in reversed(range(len(times))):
        text = text.replace(str(_TIME + number), str(milliseconds(times[number])))
    text = text.replace(repr(_LON), repr(float(location.lon or 0.0)))
    return _encodable(json.loads(text.replace(repr(_LAT), repr(float(location.lat or 0.0)))))


@lru_cache(maxsize=256)
def _search_template(collection: str, filters: str, cloud_property: str, num_ranges: int) -> str:
    from ee import serializer  # pyright: ignore[reportMissingTypeStubs]

    first = 2 if num_ranges > 1 else 0  # of one range the whole stretch is the range
    bounds = [_time(number) for number in (0, 1, *range(2, 2 + 2 * num_ranges))]
    ranges = [Range(bounds[i], bounds[i], bounds[i + 1]) for i in range(first, first + 2 * num_ranges, 2)]
    expression = search_of(
        (_LON, _LAT), (bounds[0], bounds[1]), ranges, collection, json.loads(filters), cloud_property
    )
    return json.dumps(serializer.encode(expression, is_compound=False))


def _time(number: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=_TIME + number)


def _image(number: int) -> str:
    return f'"<image {number}>"'


def _mask(number: int) -> str:
    return f'"<mask {number}>"'


def _quoted(text: str) -> str:
    return json.dumps(text)


def _encodable(tree: dict[str, Any]) -> Any:
    """Wrap a serialized expression so that the library takes it where it wants one of its own objects."""
    from ee import encodable  # pyright: ignore[reportMissingTypeStubs]

    class Filled(encodable.Encodable):
        def encode_cloud_value(self, encoder: Callable[[Any], Any]) -> Any:
            return _with_bodies(tree, lambda body: encoder(_encodable(body)))

    return Filled()


def _with_bodies(node: Any, referenced: Callable[[dict[str, Any]], str]) -> Any:
    """Put references in place of the bodies of functions: the service's format has them nowhere else."""
    if isinstance(node, list):
        return [_with_bodies(n, referenced) for n in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    inner = {key: _with_bodies(n, referenced) for key, n in cast("dict[str, Any]", node).items()}
    function = inner.get("functionDefinitionValue")
    if function is None or isinstance(function["body"], str):
        return inner
    return {"functionDefinitionValue": {**function, "body": referenced(function["body"])}}
