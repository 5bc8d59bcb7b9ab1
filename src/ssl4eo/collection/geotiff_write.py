# SPDX-License-Identifier: Apache-2.0
"""A GeoTIFF as bytes: lossless, any number of bands of one type, with names and tags.

Made in memory and written by whoever asked for it: GDAL's own writes report a full disk late or not at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError, NotGeoreferencedWarning
from rasterio.io import MemoryFile

from ssl4eo.errors import SampleInvalid
from ssl4eo.sample import Transform


def encode_geotiff(
    pixels: NDArray[np.generic],
    *,
    crs: str,
    transform: Transform | None,
    compress: Literal["lzw", "deflate"],
    names: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    band_tags: Sequence[Mapping[str, str]] = (),
) -> bytes:
    """Make a GeoTIFF.

    Args:
        pixels: (band, y, x) of uint8, uint16 or float32.
        crs: EPSG code or WKT; left out where there is no transform, since a file with only one of them lies.
        transform: of these pixels, None where they are not placed.
        compress: both are lossless and come with a predictor.
        names: descriptions of the bands.
        tags: of the file.
        band_tags: of each band.

    Raises:
        SampleInvalid: a CRS that GDAL does not know.
    """
    count, height, width = pixels.shape
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "count": count,
        "height": height,
        "width": width,
        "dtype": pixels.dtype.name,
        "compress": compress,
        "predictor": 3 if pixels.dtype.kind == "f" else 2,
        "interleave": "band",
    }
    if transform is not None:
        profile |= {"transform": Affine(*transform), "crs": _crs(crs) if crs else None}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # then it has no place: the reader says so
        with memory.open(**profile) as file:
            file.write(pixels)
            file.update_tags(**(tags or {}))
            for number, name in enumerate(names, 1):
                file.set_band_description(number, name)
            for number, row in enumerate(band_tags, 1):
                file.update_tags(number, **row)
        return bytes(memory.getbuffer())


@lru_cache(maxsize=256)
def _crs(text: str) -> CRS:
    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        raise SampleInvalid(f"coordinate reference system {text[:80]!r}", expected="an EPSG code or WKT") from error
