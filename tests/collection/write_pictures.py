# SPDX-License-Identifier: Apache-2.0
"""Small files of several bands, and the harms that happen to files."""

import warnings
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

DRIVERS = {".tif": "GTiff", ".png": "PNG", ".jpg": "JPEG"}


def write(path: Path, pixels: np.ndarray, *, names=(), tags=None, is_placed: bool = False, **profile: object) -> None:
    """Write (band, y, x) in the format of the suffix, on a UTM grid where it is placed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    count, height, width = pixels.shape
    settings = {"driver": DRIVERS[path.suffix], "count": count, "height": height, "width": width, "dtype": pixels.dtype}
    if is_placed:
        settings |= {"crs": "EPSG:32631", "transform": Affine(10, 0, 640_000, 0, -10, 5_800_000)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **{**settings, **profile}) as file:
            file.write(pixels)
            if names:
                file.descriptions = tuple(names)
            if tags:
                file.update_tags(**tags)
            if count > 4 and path.suffix == ".tif":
                file.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (count - 1)


def noise(*shape: int, dtype: str = "u1", seed: int = 0, low: int = 1, high: int = 250) -> np.ndarray:
    """Draw pixels that no format compresses to nothing."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def cuts(path: Path) -> list[bytes]:
    """Give what is left of a file that was cut short at several points, down to one byte and none."""
    whole = path.read_bytes()
    return [whole[: len(whole) * part // 8] for part in range(8)] + [whole[:1], whole[:-20], whole[:-5]]
