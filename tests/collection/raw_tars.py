# SPDX-License-Identifier: Apache-2.0
"""Tiny raw layouts, and tars of them cut into parts: helpers of the stream's tests."""

from __future__ import annotations

import gzip
import io
import itertools
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

SIZE = 12
S2L1C = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
COARSER = {**dict.fromkeys(("B1", "B9", "B10"), 6), **dict.fromkeys(("B5", "B6", "B7", "B8A", "B11", "B12"), 2)}
PRODUCTS = {
    "s2c": ("20200320T105031_20200320T105240_T31UFS", "20210105T105439_20210105T105437_T31UFS"),
    "s1": (
        "S1B_IW_GRDH_1SDV_20200318T055011_20200318T055036_020748_027573_0A1B",
        "S1A_IW_GRDH_1SDV_20210104T055052_20210104T055117_036002_043803_F2C3",
    ),
}
BANDS = {"s2c": S2L1C, "s1": ("VV", "VH")}
PREFIX = "x.tar.gz"


def write_tif(path: Path, pixels: np.ndarray) -> None:
    """Write one band (y, x)."""
    height, width = pixels.shape
    place = Affine(2640 / width, 0, 640_000, 0, -2640 / height, 5_800_000)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        height=height,
        width=width,
        dtype=pixels.dtype,
        crs="EPSG:32631",
        transform=place,
        compress="lzw",
    ) as file:
        file.write(pixels, 1)


def write_location(root: Path, number: int, folder: str = "s2c", *, size: int = SIZE, products: int = 2) -> Path:
    """Write both products of a location, or the last one; give its folder."""
    rng = np.random.default_rng(number)
    place = root / folder / f"{number:07d}"
    for product in PRODUCTS[folder][-products:]:
        (place / product).mkdir(parents=True)
        for band in BANDS[folder]:
            shape = (size // COARSER.get(band, 1),) * 2
            values = rng.integers(1, 60_000, shape).astype("u2")
            write_tif(place / product / f"{band}.tif", values if folder != "s1" else (values / -3000).astype("f4"))
        (place / product / "metadata.json").write_text(f'{{"properties": {{"system:index": "{product}"}}}}')
    return place


def write_layout(
    root: Path, numbers: Sequence[int], folder: str = "s2c", *, size: int = SIZE, products: int = 2
) -> Path:
    """Write some locations of one modality."""
    for number in numbers:
        write_location(root, number, folder, size=size, products=products)
    return root


def tar_bytes(root: Path, change: Callable[[tarfile.TarFile], None] | None = None, **settings: object) -> bytes:
    """Tar all folders of a layout, sorted; `change` adds members at the end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **{"format": tarfile.GNU_FORMAT, **settings}) as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, str(path.relative_to(root)), recursive=False)
        if change is not None:
            change(tar)
    return out.getvalue()


def add_file(tar: tarfile.TarFile, name: str, data: bytes = b"hello") -> None:
    """Add one member with content."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def put_parts(folder: Path, data: bytes, cuts: Sequence[int] = (), name: str = PREFIX) -> Path:
    """Write bytes as parts that end at `cuts`; give the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    borders = [0, *cuts, len(data)]
    for number, (start, stop) in enumerate(itertools.pairwise(borders)):
        (folder / f"{name}.part{chr(97 + number // 26)}{chr(97 + number % 26)}").write_bytes(data[start:stop])
    return folder


def zipped(data: bytes) -> bytes:
    """Compress, the same bytes every time."""
    return gzip.compress(data, 6, mtime=0)
