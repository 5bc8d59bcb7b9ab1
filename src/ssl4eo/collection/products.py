# SPDX-License-Identifier: Apache-2.0
"""The products of one location in the raw layout of SSL4EO-S12 v1, checked and made into images.

Files may lie in folders or in memory, as they come out of a tar: published.py and rawtar.py find them, this reads
them, so that both refuse the same things with the same words. A location has exactly `num_seasons` products, all of
other dates, each with all bands; a missing, extra or broken one makes the whole location invalid.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.geotiff import Band, centre, read_band
from ssl4eo.contract import offset_of_baseline
from ssl4eo.errors import SourceInvalid
from ssl4eo.grid import BASE_RESOLUTION, size_at
from ssl4eo.sample import Image, Provenance
from ssl4eo.sensors import MODALITIES, PATCH_SIZE_M, modality, published_band

log = logging.getLogger(__name__)

FOLDERS: Mapping[str, str] = {m.published_folder: m.name for m in MODALITIES.values() if m.published_folder}
"""By folder of the raw layout the modality in it."""

SIZE = PATCH_SIZE_M // BASE_RESOLUTION
"""Of a published patch on the 10 m grid [px]."""

METADATA = "metadata.json"

OFFSET_SINCE = dt.datetime(2022, 1, 25, tzinfo=dt.UTC)
"""From here on Sentinel-2 products contain +1000 DN unless harmonized."""

_ID = re.compile(r"[0-9]{6,7}\Z")
PRODUCT_TIME = {"s1": re.compile(r"^.{16}_(\d{8}T\d{6})"), "s2": re.compile(r"^(\d{8}T\d{6})")}
_BASELINE = re.compile(r"(\d\d)\.(\d\d)\Z")


@dataclass(frozen=True)
class Product:
    """The files of one product, in a folder or in memory."""

    name: str
    place: str
    """Where it is, for messages."""
    files: Mapping[str, Path | bytes]
    """By file name the path or the content."""

    @classmethod
    def of_folder(cls, path: Path) -> Product:
        """List a product's folder."""
        return cls(path.name, str(path), {entry.name: entry for entry in path.iterdir() if entry.is_file()})


def is_id(name: str) -> bool:
    """Say whether a folder's name is a location id: 7 digits as published, or 6 as the downloader writes them."""
    return _ID.match(name) is not None


def file_names(modality_name: str) -> tuple[str, ...]:
    """Name the files that a product of a modality must have, in canonical order."""
    return tuple(f"{published_band(band)}.tif" for band in modality(modality_name).bands)


def provenance_of(details: Mapping[str, str | int], offset: int | None) -> Provenance:
    """Say where the pixels of the raw layout come from, as far as it tells, and the offset [DN] that was stated."""
    stated = {} if offset is None else {"offset": f"{offset} DN in Sentinel-2, as the user states"}
    return Provenance(
        title="raw layout of SSL4EO-S12 v1",
        synthetic=False,
        licence="that of the source: CC-BY-4.0 for SSL4EO-S12 as published; contains Copernicus Sentinel data",
        details={**details, **stated},
    )


def read_seasons(
    name: str,
    products: Sequence[Product],
    *,
    location: str,
    place: str,
    num_seasons: int,
    size: int,
    offset: int | None = None,
) -> tuple[tuple[Image, ...], list[tuple[float, float]]]:
    """Read all products of a location, first to last.

    Args:
        name: the modality.
        products: all that the location has.
        location: its id.
        place: where it is, for messages.
        num_seasons: products that it must have.
        size: of a patch on the 10 m grid [px].
        offset: constant in Sentinel-2 values [DN] that the user states, None to believe metadata.json.

    Returns:
        The images, and the centres (lon, lat) [deg] that the files tell.

    Raises:
        SourceInvalid: another number of products, two of one date, or one that cannot be read whole.
    """
    ordered = _in_order(name, products, location, place, num_seasons)
    read = [_read_image(name, product, time, location, size, offset) for time, product in ordered]
    return tuple(image for image, _ in read), [point for _, point in read if point is not None]


def _in_order(
    name: str, products: Sequence[Product], location: str, place: str, num_seasons: int
) -> list[tuple[dt.datetime, Product]]:
    timed = [(_time(name, product, location), product) for product in products]
    timed.sort(key=lambda pair: (pair[0], pair[1].name))
    listed = ", ".join(product.name for _, product in timed) or "none"
    if len(timed) != num_seasons:
        found = f"{len(timed)} products in {place} ({listed})"
        raise invalid(location, found, f"{num_seasons}", "complete it, or give another number of seasons")
    if len({time.date() for time, _ in timed}) != len(timed):
        raise invalid(location, f"two products of one date in {place} ({listed})", "one a date", "remove one")
    return timed


def _time(name: str, product: Product, location: str) -> dt.datetime:
    """Read the acquisition time out of a product's name, which is kept as it is and must be text."""
    if not product.name.isprintable():
        raise invalid(location, f"a product called {product.name!a}", f"the name of a {name} product", "rename it")
    match = PRODUCT_TIME[str(modality(name).published_folder)[:2]].match(product.name)
    try:
        return dt.datetime.strptime(match[1] if match else "", "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError as error:
        found = f"{product.place} has no time in its name"
        raise invalid(location, found, f"the name of a {name} product", "") from error


def _read_image(
    name: str, product: Product, time: dt.datetime, location: str, size: int, stated: int | None
) -> tuple[Image, tuple[float, float] | None]:
    """Read one product; give the image and its centre (lon, lat) where the files tell."""
    known = modality(name)
    pixels: dict[int, NDArray[np.generic]] = {}
    base: Band | None = None
    for resolution, bands in known.groups.items():
        read = [_read_band(product, band, known.dtype, size_at(resolution, size)) for band in bands]
        pixels[resolution] = np.stack([band.pixels for band in read])
        base = base or read[0]
    assert base is not None, "every modality has bands"
    baseline, offset = _baseline(product, location) if known.unit == "DN" else (None, 0)
    if known.unit == "DN" and stated is not None:
        offset = stated
    elif known.unit == "DN" and baseline is None and time >= OFFSET_SINCE:
        log.warning(
            "%s is of %s and tells no processing baseline: taken as free of +1000 DN (--offset 1000 says otherwise)",
            product.place,
            time.date(),
        )
    image = Image(
        name,
        pixels,
        time=time,
        product=product.name,
        crs=base.crs,
        transform=base.transform,
        baseline=baseline,
        offset=offset,
    )
    return image, centre(base)


def _read_band(product: Product, band: str, dtype: str, size: int) -> Band:
    name = f"{published_band(band)}.tif"
    return read_band(product.files.get(name), f"{product.place}/{name}", dtype=dtype, size=size)


def _baseline(product: Product, location: str) -> tuple[int | None, int]:
    """Read processing baseline and offset [DN] from metadata.json, which may be absent."""
    where, file = f"{product.place}/{METADATA}", product.files.get(METADATA)
    if file is None:
        return None, 0
    try:
        data: Any = json.loads((file.read_bytes() if isinstance(file, Path) else file).decode("utf-8"))
        properties = data.get("properties", {})
        index, text = properties.get("system:index", product.name), properties.get("PROCESSING_BASELINE")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise invalid(location, f"{where} cannot be read ({error})", "a JSON object", "mend or remove it") from error
    if index != product.name:
        raise invalid(location, f"{where} is of product {index}", product.name, "mend or remove it")
    if text is None:
        return None, 0
    match = _BASELINE.match(str(text))
    if match is None:
        raise invalid(location, f"{where} has baseline {text!r}", "one such as '03.01'", "mend or remove it")
    baseline = int(match[1]) * 100 + int(match[2])
    harmonized = "_HARMONIZED" in str(data.get("id", ""))  # Earth Engine took the offset away
    return baseline, 0 if harmonized else offset_of_baseline(baseline)


def invalid(location: str, found: str, expected: str, remedy: str) -> SourceInvalid:
    """Make the error of a broken location."""
    return SourceInvalid(f"location {location}: {found}", expected=expected, remedy=remedy, location=location)
