# SPDX-License-Identifier: Apache-2.0
"""What Earth Engine answered, in our words: scenes of a search, arrays of a read. Pure: nothing is asked from here."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.remote.earthengine_expressions import BASELINE, CRS, INDEX, NUMBER, ORBITS, PRODUCT_IDS, TIME
from ssl4eo.collection.remote.earthengine_failures import Broken
from ssl4eo.collection.remote.service import Product, Scene
from ssl4eo.contract import offset_of_baseline
from ssl4eo.errors import ServiceFailed
from ssl4eo.form import Form
from ssl4eo.sensors import modality

_BASELINE = re.compile(r"(\d\d)\.(\d\d)\Z")
_UTC = dt.UTC


Planes = Mapping[str, NDArray[np.generic]]
"""By name (y, x)."""
_MAGIC = b"\x93NUMPY\x01\x00"
_FIELD = re.compile(r"""\(\s*['"]([^'"]+)['"]\s*,\s*['"]([<>|]?[iuf]\d)['"]\s*\)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(\s*(\d+)\s*,\s*(\d+)\s*,?\s*\)""")
_IN_ROWS = re.compile(r"""['"]fortran_order['"]\s*:\s*False""")


def scenes_by_product(answer: Any, products: Sequence[Product]) -> list[list[Scene]]:
    """Read the feature collection of a search for one or several products.

    Raises:
        Broken, ServiceFailed: see `scenes_of`.
    """
    if len(products) == 1:
        return [scenes_of(answer, products[0])]
    try:
        rows: list[list[Any]] = [[] for _ in products]
        for feature in answer["features"]:
            rows[int(feature["properties"][NUMBER])].append(feature)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError) as error:
        raise Broken(f"an answer that lists no scenes ({type(error).__name__}: {error})") from error
    return [scenes_of({"features": some}, product) for some, product in zip(rows, products, strict=True)]


def scenes_of(answer: Any, product: Product) -> list[Scene]:
    """Read the feature collection of a search: in order of time, then product id, each once.

    Raises:
        Broken: it is none.
        ServiceFailed: a Sentinel-2 scene that is not harmonized and does not tell its baseline.
    """
    try:
        rows = [dict(feature["properties"]) for feature in answer["features"]]
        ids = Counter(_agency_id(row) for row in rows)
        # A product of before December 2016 has several granules, each an image: their index tells them apart.
        scenes = [_scene(row, product, lone=ids[_agency_id(row)] == 1) for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Broken(f"an answer that lists no scenes ({type(error).__name__}: {error})") from error
    unique = {scene.product: scene for scene in scenes}
    return sorted(unique.values(), key=lambda scene: (scene.time, scene.product))


def _agency_id(row: Mapping[str, Any]) -> str:
    return str(_first(row, PRODUCT_IDS) or row[INDEX])


def _scene(row: Mapping[str, Any], product: Product, *, lone: bool) -> Scene:
    index = str(row[INDEX])
    baseline = _baseline(row)
    cloud = row.get(product.cloud_property) if product.cloud_property else None
    return Scene(
        product=_agency_id(row) if lone else index,
        modality=product.modality,
        time=dt.datetime.fromtimestamp(float(row[TIME]) / 1000, _UTC),
        # Landsat tells -1 where it does not know
        cloud=None if cloud is None or not 0 <= float(cloud) <= 100 else float(cloud) / 100,
        crs=str(row.get(CRS) or ""),
        baseline=baseline,
        offset=_offset(product, baseline, index),
        orbit=str(_first(row, ORBITS) or "").lower(),
        handle={"asset": f"{product.collection}/{index}", "index": index},
    )


def _first(row: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _baseline(row: Mapping[str, Any]) -> int | None:
    match = _BASELINE.match(str(row.get(BASELINE, "")))
    return int(match[1]) * 100 + int(match[2]) if match else None


def _offset(product: Product, baseline: int | None, index: str) -> int:
    if modality(product.modality).unit != "DN" or product.collection.endswith("_HARMONIZED"):
        return 0
    if baseline is None:
        raise ServiceFailed(
            f"{product.collection}/{index} does not tell its processing baseline",
            expected="one, as +1000 DN depend on it",
            remedy=f"take {product.collection}_HARMONIZED",
        )
    return offset_of_baseline(baseline)


def planes_of(answer: bytes, names: Sequence[str], size: tuple[int, int]) -> dict[str, NDArray[np.generic]]:
    """Read the array file of a read: by name (y, x).

    Raises:
        Broken: it is none, bands are missing, or it has another size.
    """
    try:
        length = 10 + int.from_bytes(answer[8:10], "little")
        shape, dtype = _described(answer[:length])
        array = np.frombuffer(answer, dtype, offset=length).reshape(shape)
    except (ValueError, TypeError) as error:
        raise Broken(f"bytes that are no array ({type(error).__name__}: {error})") from error
    if shape != size:
        raise Broken(f"pixels of {shape} in place of {size}")
    missing = [name for name in names if name not in (dtype.names or ())]
    if missing:
        raise Broken(f"pixels without {' '.join(missing)}")
    return {name: np.ascontiguousarray(array[name]) for name in names}


@lru_cache(maxsize=64)
def _described(head: bytes) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the head of an array file of version 1.0; the same few come again and again.

    NumPy reads it with `ast`, whose count of nested nodes is shared by all threads in Python 3.11: in a collection one
    of them meets "AST constructor recursion depth mismatch" sooner or later.
    """
    if head[:8] != _MAGIC or len(head) < 10 + int.from_bytes(head[8:10], "little"):
        raise ValueError("no array file of version 1.0")
    text = head[10:].decode("latin-1")
    shape, order = _SHAPE.search(text), _IN_ROWS.search(text)
    fields = [(name, kind) for name, kind in _FIELD.findall(text)]
    if shape is None or order is None or not fields:
        raise ValueError(f"an array file that tells {text[:80]}")
    return (int(shape[1]), int(shape[2])), np.dtype(fields)


def values_of(
    planes: Sequence[NDArray[np.generic]], bands: Sequence[str], observed: NDArray[np.bool_], form: Form
) -> NDArray[np.generic]:
    """Make the pixels (band, y, x) of one grid: not observed are 0 of integers, NaN of decibels.

    Values of modalities that are 8-bit by definition are put through the published stretch of their band:
    round(255 (x - low) / (high - low)), cut at 0 and 255.
    """
    known = modality(form.modality)
    if known.stretch:
        stretched = [_stretched(p, *known.stretch[b][:2]) for p, b in zip(planes, bands, strict=True)]
        return np.where(observed, np.stack(stretched), 0).astype(np.uint8)
    values = np.stack([np.asarray(plane, form.dtype) for plane in planes])
    if values.dtype.kind != "f":
        return np.where(observed, values, 0).astype(form.dtype)
    return np.where(observed, values, np.nan).astype(form.dtype)


def _stretched(plane: NDArray[np.generic], low: float, high: float) -> NDArray[np.float64]:
    return np.clip(np.floor(255 * (plane.astype(np.float64) - low) / (high - low) + 0.5), 0, 255)


def share_observed(masks: Mapping[int, NDArray[np.bool_]], base: int) -> float:
    """Give the share of the finest grid's pixels that every grid has observed.

    Args:
        masks: by resolution [m] (y, x).
        base: the finest of the resolutions [m].
    """
    size = masks[base].shape[0]
    whole = masks[base]
    for mask in masks.values():
        near = np.arange(size) * mask.shape[0] // size
        whole = whole & mask[near[:, None], near[None, :]]
    return float(whole.mean())
