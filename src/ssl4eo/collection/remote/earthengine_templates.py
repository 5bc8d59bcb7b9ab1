# SPDX-License-Identifier: Apache-2.0
"""Expressions that differ in ids, points and dates only: serialized once by the client library, then filled in as text.

Building and serializing an expression for four seasons of three products costs the library more than sending it, and a
collection sends the same few expressions hundreds of thousands of times. What is sent is what the library makes of the
expression, with other constants in their places.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from ssl4eo.collection.remote.earthengine_expressions import (
    joined_expression,
    merged_searches,
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
_BLANK = re.compile(
    rf'"<(?:image|mask) \d+>"|\b(?:{re.escape(repr(_LON))}|{re.escape(repr(_LAT))}|{_TIME // 1000}\d{{3}})\b'
)
_Bands = tuple[tuple[str, str], ...]
_Layer = tuple[_Bands, str, str, str, bool]
"""Bands, type, band of the mask, its kind, whether it is of another image."""
_Search = tuple[str, str, str]
"""Collection, filters as JSON, property with the cloud share."""


@dataclass(frozen=True)
class _Template:
    """A text with blanks: text, blank, text, blank, ... text."""

    pieces: tuple[str, ...]

    @classmethod
    def of(cls, expression: Any) -> _Template:
        """Let the library serialize an expression, and cut it at its blanks."""
        from ee import serializer  # pyright: ignore[reportMissingTypeStubs]

        text = json.dumps(serializer.encode(expression, for_cloud_api=True), separators=(",", ":"))
        ends = [0, *(end for found in _BLANK.finditer(text) for end in found.span()), len(text)]
        return cls(tuple(text[first:end] for first, end in pairwise(ends)))

    def filled(self, values: Mapping[str, str]) -> str:
        """Put values into the blanks."""
        return "".join(values[piece] if number % 2 else piece for number, piece in enumerate(self.pieces))


def read_text(layers: Sequence[tuple[Part, Scene]]) -> str:
    """Give the expression of a request, serialized: bands of all layers, their names ending in `_0`, `_1` and on.

    The library must be initialized first.
    """
    values: dict[str, str] = {}
    for number, (part, scene) in enumerate(layers):
        values[_image(number)] = json.dumps(str(scene.handle["asset"]))
        values[_mask(number)] = json.dumps(f"{part.mask_collection}/{scene.handle['index']}")
    return _read_template(tuple(_layer(part) for part, _ in layers)).filled(values)


def _layer(part: Part) -> _Layer:
    return tuple(part.bands.items()), part.dtype, part.mask, part.mask_kind, bool(part.mask_collection)


@lru_cache(maxsize=256)
def _read_template(layers: tuple[_Layer, ...]) -> _Template:
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
        for number, (bands, dtype, mask, mask_kind, has_mask_image) in enumerate(layers)
    ]
    return _Template.of(joined_expression(images))


def search_text(location: Location, ranges: Sequence[Range], products: Sequence[Product]) -> str:
    """Give the expression of a search for several products, serialized; of one see `search_expression`.

    The library must be initialized first.

    Raises:
        ConfigInvalid: no ranges, or a location without a point.
    """
    require_searchable(location, ranges)
    whole = [min(r.start for r in ranges), max(r.end for r in ranges)]
    times = [*whole, *(time for r in ranges for time in (r.start, r.end))]
    values = {str(_TIME + number): str(milliseconds(time)) for number, time in enumerate(times)}
    values |= {repr(_LON): repr(float(location.lon or 0.0)), repr(_LAT): repr(float(location.lat or 0.0))}
    wanted = tuple((p.collection, json.dumps(dict(p.filters), sort_keys=True), p.cloud_property) for p in products)
    return _search_template(wanted, len(ranges)).filled(values)


@lru_cache(maxsize=256)
def _search_template(wanted: tuple[_Search, ...], num_ranges: int) -> _Template:
    first = 2 if num_ranges > 1 else 0  # of one range the whole stretch is the range
    bounds = [_time(number) for number in (0, 1, *range(2, 2 + 2 * num_ranges))]
    ranges = [Range(bounds[i], bounds[i], bounds[i + 1]) for i in range(first, first + 2 * num_ranges, 2)]
    whole = bounds[0], bounds[1]
    searches = [
        search_of(
            (_LON, _LAT), whole, ranges, collection, json.loads(filters), cloud,
            number=number if len(wanted) > 1 else None,
        )
        for number, (collection, filters, cloud) in enumerate(wanted)
    ]  # fmt: skip
    return _Template.of(merged_searches(searches))


def _time(number: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=_TIME + number)


def _image(number: int) -> str:
    return f'"<image {number}>"'


def _mask(number: int) -> str:
    return f'"<mask {number}>"'
