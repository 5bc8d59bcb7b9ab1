# SPDX-License-Identifier: Apache-2.0
"""A GeoTIFF made in memory is what rasterio reads from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from ssl4eo.collection.geotiff_write import encode_geotiff
from ssl4eo.errors import SampleInvalid

PLACE = (10.0, 0.0, 640_000.5, 0.0, -10.0, 5_800_000.25)


@pytest.mark.parametrize("compress", ["lzw", "deflate"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_pixels_names_tags_and_place_come_back(tmp_path: Path, dtype: str, compress: str) -> None:
    """Every bit, for every type; extremes of the type included."""
    rng = np.random.default_rng(0)
    pixels = np.frombuffer(rng.bytes(3 * 5 * 7 * np.dtype(dtype).itemsize), dtype).reshape(3, 5, 7)
    path = tmp_path / "a.tif"

    path.write_bytes(
        encode_geotiff(
            pixels,
            crs="EPSG:32631",
            transform=PLACE,
            compress=compress,
            names=["B02", "B03", "B04"],
            tags={"A": "x = 1; y"},
            band_tags=[{"K": str(i)} for i in range(3)],
        )
    )

    with rasterio.open(path) as file:
        assert file.read().tobytes() == pixels.tobytes()
        assert (file.crs.to_string(), tuple(file.transform[:6])) == ("EPSG:32631", PLACE)
        assert file.descriptions == ("B02", "B03", "B04")
        assert file.tags()["A"] == "x = 1; y"
        assert [file.tags(i)["K"] for i in (1, 2, 3)] == ["0", "1", "2"]
        assert file.compression.value.lower() == compress


def test_a_reference_system_that_nobody_knows_is_refused() -> None:
    """GDAL's words do not reach the user alone."""
    for text in ("EPSG:nonsense", "no system at all"):
        with pytest.raises(SampleInvalid, match=text):
            encode_geotiff(np.zeros((1, 2, 2), "u1"), crs=text, transform=PLACE, compress="lzw")
