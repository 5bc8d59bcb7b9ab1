# SPDX-License-Identifier: Apache-2.0
"""What Earth Engine is asked to compute, as objects of its client library; nothing is sent from here.

The library must be initialized first: it learns the names of all algorithms from the service.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from ssl4eo.collection.remote.cloud_masks import cloud_mask
from ssl4eo.collection.remote.service import Product
from ssl4eo.errors import ConfigInvalid
from ssl4eo.locations.window import Range
from ssl4eo.sample import Location

OBSERVED, QUALITY = "observed", "quality"
"""Bands that are added: 1 where every band has a pixel, else 0; the cloud mask."""
INDEX, TIME, CRS = "index", "time", "crs"
"""What a search tells of every scene, besides `FACTS` and the cloud share."""
NUMBER = "number"
"""Of the product that a scene is of, where a search is for several."""
PRODUCT_IDS = ("PRODUCT_ID", "LANDSAT_PRODUCT_ID")
"""Properties with the agency's id; where there is none, the index is it, as for Sentinel-1."""
ORBITS = ("SENSING_ORBIT_DIRECTION", "orbitProperties_pass")
BASELINE = "PROCESSING_BASELINE"
FACTS = (*PRODUCT_IDS, *ORBITS, BASELINE)

_CASTS: Mapping[str, str] = {"uint16": "toUint16", "float32": "toFloat"}


def search_expression(location: Location, ranges: Sequence[Range], product: Product) -> Any:
    """Make a feature collection: a few properties of every scene that covers a point within any of the ranges.

    Raises:
        ConfigInvalid: no ranges, or a location without a point.
    """
    require_searchable(location, ranges)
    whole = min(r.start for r in ranges), max(r.end for r in ranges)
    point = location.lon or 0.0, location.lat or 0.0
    return search_of(point, whole, ranges, product.collection, product.filters, product.cloud_property)


def require_searchable(location: Location, ranges: Sequence[Range]) -> None:
    """Refuse what cannot be searched.

    Raises:
        ConfigInvalid: no ranges, or a location without a point.
    """
    if not ranges or location.lon is None or location.lat is None:
        raise ConfigInvalid(
            f"a search at {location} in {len(ranges)} ranges", expected="a point and one range at least"
        )


def search_of(
    point: tuple[float, float],
    whole: tuple[dt.datetime, dt.datetime],
    ranges: Sequence[Range],
    collection: str,
    filters: Mapping[str, Any],
    cloud_property: str,
    *,
    number: int | None = None,
) -> Any:
    """Make the feature collection of `search_expression` of its parts.

    Args:
        point: longitude, latitude [deg].
        whole: from the first start to the last end: the service's index helps with one range only.
        ranges: proper.
        collection: to search.
        filters: property -> value, or values that a list has to contain.
        cloud_property: told of every scene; empty for none.
        number: told of every scene, so that searches can be merged; None: nothing is told.
    """
    import ee  # pyright: ignore[reportMissingTypeStubs]

    images: Any = ee.ImageCollection(collection)
    images = images.filter(_within(ee, *whole)).filterBounds(ee.Geometry.Point(list(point)))
    if len(ranges) > 1:
        images = images.filter(ee.Filter.Or(*(_within(ee, r.start, r.end) for r in ranges)))
    for name, value in filters.items():
        for condition in _conditions(ee, name, value):
            images = images.filter(condition)
    names = [*FACTS, *([cloud_property] if cloud_property else [])]
    return ee.FeatureCollection(images.map(lambda image: _summary(ee, image, names, number)))


def merged_searches(searches: Sequence[Any]) -> Any:
    """Put the feature collections of searches into one."""
    first, *others = searches
    for search in others:
        first = first.merge(search)
    return first


def milliseconds(time: dt.datetime) -> int:
    """Give milliseconds since 1970, as the service tells time."""
    return round(time.timestamp() * 1000)


def _within(ee: Any, start: dt.datetime, end: dt.datetime) -> Any:
    return ee.Filter.date(milliseconds(start), milliseconds(end))


def _conditions(ee: Any, name: str, value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [ee.Filter.listContains(name, item) for item in value]
    return [ee.Filter.eq(name, value)]


def _summary(ee: Any, image: Any, names: Sequence[str], number: int | None) -> Any:
    # copyProperties passes over properties that an image lacks; get of one would end the whole search
    facts = {
        INDEX: image.get("system:index"),
        TIME: image.get("system:time_start"),
        CRS: image.select([0]).projection().crs(),
        **({} if number is None else {NUMBER: number}),
    }
    return ee.Feature(None, facts).copyProperties(image, list(names))


def pixels_expression(
    asset: str,
    bands: Mapping[str, str],
    *,
    dtype: str,
    mask: str = "",
    mask_kind: str = "",
    mask_asset: str = "",
    suffix: str = "",
) -> Any:
    """Make an image of some bands under our names, `OBSERVED`, and `QUALITY` if there is a mask.

    Nothing is resampled here. Every pixel of the grid has a value: 0 where a band has none, the mask's fill likewise.

    Args:
        asset: id of the image.
        bands: our name -> the service's.
        dtype: that values come in, uint16 or float32.
        mask: band with the cloud mask, empty for none.
        mask_kind: what its values mean.
        mask_asset: image that has the mask, empty for the same.
        suffix: of the names of all bands, so that images can be joined.
    """
    import ee  # pyright: ignore[reportMissingTypeStubs]

    source: Any = ee.Image(asset)
    image = source.select(list(bands.values()), [name + suffix for name in bands])
    observed = image.mask().reduce(ee.Reducer.min()).gt(0).rename([OBSERVED + suffix])
    # casts come last: unmask may widen the type
    told = getattr(image.unmask(0, sameFootprint=False), _CASTS[dtype])().addBands(
        observed.unmask(0, sameFootprint=False).toByte()
    )
    if not mask:
        return told
    quality = (ee.Image(mask_asset) if mask_asset else source).select([mask], [QUALITY + suffix])
    return told.addBands(quality.unmask(cloud_mask(mask_kind).fill, sameFootprint=False).toUint16())


def joined_expression(images: Sequence[Any]) -> Any:
    """Put the bands of images beside each other; their names differ by the suffixes that they were made with."""
    first, *others = images
    for image in others:
        first = first.addBands(image)
    return first


def pixel_grid(crs: str, left: float, top: float, resolution: int, size: tuple[int, int]) -> dict[str, Any]:
    """Make the grid of a request: exact edges, so that nothing is resampled where the scene has the same grid.

    Args:
        crs: `EPSG:32632`.
        left: western edge [m].
        top: northern edge [m].
        resolution: [m].
        size: height, width [px].
    """
    affine = {"scaleX": resolution, "shearX": 0, "translateX": left, "shearY": 0, "scaleY": -resolution}
    return {
        "dimensions": {"height": size[0], "width": size[1]},
        "affineTransform": {**affine, "translateY": top},
        "crsCode": crs,
    }
