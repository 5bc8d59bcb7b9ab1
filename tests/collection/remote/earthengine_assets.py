# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes as assets of Earth Engine: ids, properties and bands, as its catalog spells them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ground_truth import PHASE_30, Truth, resolution_of
from numpy.typing import NDArray
from rasterio.warp import transform as warp_points

from ssl4eo.sensors import modality, published_band

Plane = tuple[NDArray[np.generic], NDArray[np.bool_]]
"""Values, and where they are not masked."""
Grid = tuple[str, NDArray[np.float64], NDArray[np.float64]]
"""Reference system, and the centers of pixels (easting, northing) (y, x)."""

THERMAL = ("B10", "B11")


@dataclass(frozen=True)
class Band:
    """A band of an asset, sampled nearest."""

    dtype: str
    sample: Callable[[NDArray[np.int64], NDArray[np.int64]], Plane]
    """Gives values and mask at points of the asset's reference system [m, rounded down]."""


@dataclass(frozen=True)
class Asset:
    """An image, or one in a collection."""

    collection: str
    index: str
    truth: Truth
    bands: dict[str, Band]
    properties: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """As the client spells it."""
        return f"{self.collection}/{self.index}"

    def outlines(self, lon: float, lat: float) -> bool:
        """Say whether the outline has a point; the swath edge is not in it."""
        xs, ys = warp_points("EPSG:4326", self.truth.crs, [lon], [lat])[:2]
        west, south, east, north = self.truth.bounds
        return west <= xs[0] < east and south <= ys[0] < north

    def read(self, name: str, grid: Grid) -> Plane:
        """Sample a band at the centers of a grid, in whatever reference system."""
        crs, east, north = grid
        if crs != self.truth.crs:
            xs, ys = warp_points(crs, self.truth.crs, east.ravel(), north.ravel())[:2]
            east, north = np.reshape(xs, east.shape), np.reshape(ys, north.shape)
        values, mask = self.bands[name].sample(_whole(east), _whole(north))
        return values.astype(self.bands[name].dtype), mask


def _whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.floor(values).astype(np.int64)


def assets_of(truth: Truth) -> Iterable[Asset]:
    """Make the assets that show a scene; of Sentinel-2 also the harmonized twin and the cloud probability."""
    if truth.modality == "S1GRD":
        yield _radar(truth)
    elif truth.modality.startswith("S2"):
        name = {"S2L1C": "COPERNICUS/S2", "S2L2A": "COPERNICUS/S2_SR"}[truth.modality]
        yield _optical(truth, name, offset=True)
        yield _optical(truth, name + "_HARMONIZED", offset=False)
        band = _band(truth, "probability", "uint8")
        yield Asset("COPERNICUS/S2_CLOUD_PROBABILITY", _index(truth), truth, {"probability": band}, _time(truth))
    else:
        yield _landsat(truth)


def _time(truth: Truth) -> dict[str, Any]:
    return {"system:time_start": round(truth.time.timestamp() * 1000)}


def _index(truth: Truth) -> str:
    stamp, tile = f"{truth.time:%Y%m%dT%H%M%S}", truth.product.split("_")[5]
    return f"{stamp}_{stamp}_{tile}"


def _band(truth: Truth, ours: str, dtype: str, *, offset: bool = True) -> Band:
    def sample(east: NDArray[np.int64], north: NDArray[np.int64]) -> Plane:
        values = truth.values(ours, east, north, resolution_of(ours), offset=offset)
        return np.nan_to_num(values, nan=-99.0), truth.covers(east, north)

    return Band(dtype, sample)


def _radar(truth: Truth) -> Asset:
    properties = {
        **_time(truth),
        "instrumentMode": "IW",
        "transmitterReceiverPolarisation": ["VV", "VH"],
        "orbitProperties_pass": truth.orbit.upper(),
    }
    bands = {name: _band(truth, name, "float64") for name in ("VV", "VH")}
    return Asset("COPERNICUS/S1_GRD", truth.product, truth, bands, properties)


def _optical(truth: Truth, collection: str, *, offset: bool) -> Asset:
    ours = modality(truth.modality).bands
    bands = {published_band(b): _band(truth, b, "uint16", offset=offset) for b in ours}
    bands["QA60"] = _band(truth, "QA60", "uint16")
    if truth.modality == "S2L2A":
        bands["SCL"] = _band(truth, "SCL", "uint8")
    properties = {
        **_time(truth),
        "PRODUCT_ID": truth.product,
        "PROCESSING_BASELINE": f"{truth.baseline // 100:02d}.{truth.baseline % 100:02d}",
        "CLOUDY_PIXEL_PERCENTAGE": float(truth.cloud_percent),
        "SENSING_ORBIT_DIRECTION": truth.orbit.upper(),
    }
    return Asset(collection, _index(truth), truth, bands, properties)


def landsat_values(truth: Truth, band: str, east: NDArray[np.int64], north: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give what the service has of a Landsat band: reflectance, kelvin, or the DN of surface reflectance."""
    dn = truth.values(band, east, north, 30).astype(np.float64)
    if truth.modality.endswith("SR"):
        return 7000 + dn
    return 250 + dn / 100 if band in THERMAL else dn / 10_000


def _landsat(truth: Truth) -> Asset:
    dtype = "uint16" if truth.modality.endswith("SR") else "float32"
    assert truth.left % 30 == truth.top % 30 == PHASE_30

    def band(name: str) -> Band:
        return Band(dtype, lambda e, n: (landsat_values(truth, name, e, n), truth.covers(e, n)))

    def quality(e: NDArray[np.int64], n: NDArray[np.int64]) -> Plane:
        bits = np.asarray([1 << 6, 1 << 4, 1 << 3, 1 << 2])[truth.kind(e, n)]
        return bits, truth.covers(e, n)

    level = {"TOA": "T1_TOA", "SR": "T1_L2"}[truth.modality[2:]]
    bands = {name: band(name) for name in modality(truth.modality).bands} | {"QA_PIXEL": Band("uint16", quality)}
    properties = {**_time(truth), "LANDSAT_PRODUCT_ID": truth.product, "CLOUD_COVER": truth.cloud_percent}
    return Asset(f"LANDSAT/LC08/C02/{level}", f"LC08_{truth.product[10:25]}", truth, bands, properties)
