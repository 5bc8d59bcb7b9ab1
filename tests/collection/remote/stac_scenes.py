# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes in a STAC stand-in: items as each host spells them, rasters as each host stores them.

The spelling is written here from the hosts' documentation, not taken from the code under test. Tiles have a few
kilometers: what is served is the same as of a whole tile there.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
from typing import Any

import numpy as np
from ground_truth import Truth, resolution_of
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.warp import transform as warp_points
from rasterio.warp import transform_geom
from stac_server import StacServer

from ssl4eo.collection.remote.patch_grid import utm_zone
from ssl4eo.collection.remote.retrying import Retry
from ssl4eo.collection.remote.stac.catalogs import catalog
from ssl4eo.collection.remote.stac.profile import Catalog
from ssl4eo.collection.remote.stac.service import StacService
from ssl4eo.locations.window import Range

SIZE_M = 5_400
"""Width and height of a tile [m]: two patches and a little."""
TIME = dt.datetime(2021, 6, 21, 10, 15, 30, tzinfo=dt.UTC)
EARTH_SEARCH = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16",
    "B12": "swir22", "SCL": "scl",
}  # fmt: skip
L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
L1C = (*L2A[:10], "B10", *L2A[10:])
OLI = {"SR_B1": "coastal", "SR_B2": "blue", "SR_B3": "green", "SR_B4": "red", "SR_B5": "nir08", "SR_B6": "swir16"}
OLI |= {"SR_B7": "swir22"}


def make_truth(
    lon: float,
    lat: float,
    *,
    modality: str = "S2L2A",
    time: dt.datetime = TIME,
    east: int = 0,
    south: int = 0,
    **how: Any,
) -> Truth:
    """Make a scene whose tile has a point in its middle, less an offset [m]; named as the agency names it."""
    zone = how.pop("crs", None) or utm_zone(lon, lat)
    size = how.setdefault("size_m", SIZE_M)
    xs, ys = warp_points("EPSG:4326", zone, [lon], [lat])[:2]
    phase = 15 if modality.endswith("SR") else 0
    left = int(xs[0] - size / 2) // 60 * 60 + east + phase
    top = int(ys[0] + size / 2) // 60 * 60 - south + phase
    baseline = how.get("baseline", 300)
    stamp = f"{time:%Y%m%dT%H%M%S}"
    names = {
        "S1RTC": f"S1A_IW_GRDH_1SDV_{stamp}_{stamp}_038400_048803_rtc",
        "L8SR": f"LC08_L2SP_193026_{time:%Y%m%d}_02_T1",
    }
    tile = f"T{zone[-2:]}UPU"
    name = f"S2A_MSI{modality[2:]}_{stamp}_N{baseline:04d}_R065_{tile}_{stamp}"
    return Truth(how.pop("product", names.get(modality, name)), modality, zone, left, top, time, **how)


def publish(server: StacServer, host: str, truth: Truth, **properties: Any) -> dict[str, Any]:
    """Put a scene into a stand-in as a host would: its item, and a raster a band."""
    item = _item(host, truth)
    item["properties"] |= properties
    folder = "eodata" if host == "cdse" else "store"
    for band, key in _assets(host, truth).items():
        suffix = "jp2" if host == "cdse" else "tif"
        path = f"/{folder}/{truth.product}/{item['id']}/{key}.{suffix}"
        server.files[path] = raster(truth, band, kind=suffix)
        href = f"s3:/{path}" if host == "cdse" else f"{server.root}{path}"
        item["assets"][key] = {"href": href, "type": "image/jp2" if suffix == "jp2" else "image/tiff"}
    server.items.append(item)
    return item


def _assets(host: str, truth: Truth) -> dict[str, str]:
    if truth.modality == "S1RTC":
        return {"VV": "vv", "VH": "vh"}
    if truth.modality == "L8SR":
        return {**OLI, "QA": "qa_pixel"}
    bands = (*L2A, "SCL") if truth.modality == "S2L2A" else L1C
    if host.startswith("earth-search"):
        return {band: EARTH_SEARCH[band] for band in bands}
    if host == "cdse" and truth.modality == "S2L2A":
        return {band: f"{band}_{resolution_of(band)}m" for band in bands}
    return {band: band for band in bands}


def _item(host: str, truth: Truth) -> dict[str, Any]:
    west, south, east, north = truth.bounds
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    geometry = transform_geom(
        truth.crs, "EPSG:4326", {"type": "Polygon", "coordinates": [corners]}, antimeridian_cutting=True
    )
    baseline = f"{truth.baseline // 100:02d}.{truth.baseline % 100:02d}"
    name, collection = truth.product, {"S1RTC": "sentinel-1-rtc", "L8SR": "landsat-c2-l2"}.get(truth.modality, "")
    facts: dict[str, Any] = {"datetime": truth.time.isoformat().replace("+00:00", "Z")}
    facts |= {"platform": {"S1RTC": "SENTINEL-1A", "L8SR": "landsat-8"}.get(truth.modality, "sentinel-2a")}
    if truth.modality.startswith("S2"):
        collection = f"sentinel-2-{truth.modality[2:].lower()}"
        facts |= {"eo:cloud_cover": float(truth.cloud_percent), "grid:code": f"MGRS-{name.split('_')[5][1:]}"}
    if truth.modality == "S1RTC":
        facts |= {"sar:instrument_mode": "IW", "sat:orbit_state": truth.orbit, "start_datetime": facts["datetime"]}
    if truth.modality == "L8SR":
        facts |= {"eo:cloud_cover": float(truth.cloud_percent), "landsat:collection_category": "T1"}
    if host == "cdse":
        facts |= {"processing:version": baseline, "proj:code": truth.crs}
    elif truth.modality.startswith("S2"):
        facts |= {"s2:processing_baseline": baseline, "s2:product_uri": f"{name}.SAFE", "proj:code": truth.crs}
        parts = name.split("_")
        is_earth_search = host.startswith("earth-search")
        name = (
            f"{parts[0]}_{parts[5][1:]}_{truth.time:%Y%m%d}_0_L2A"
            if is_earth_search
            else "_".join(parts[:3] + parts[4:])
        )
    else:
        facts |= {"proj:epsg": int(truth.crs[5:])}
    if host == "earth-search-c1":
        collection = "sentinel-2-c1-l2a"
    head = {"type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": name, "collection": collection}
    return {**head, "geometry": geometry, "properties": facts, "links": [], "assets": {}}


def stored(truth: Truth, band: str) -> tuple[NDArray[Any], int, float | None]:
    """Give what a host stores of a band: pixels (y, x), their resolution [m], and the value of no data."""
    if band in ("VV", "VH"):
        values = truth.plane(band, truth.left, truth.top, truth.size_m // 10).astype(np.float64)
        power = np.where(np.isnan(values), -32768, 10 ** (np.nan_to_num(values) / 10))
        return power.astype(np.float32), 10, -32768
    if truth.modality == "L8SR":
        resolution, size = 30, truth.size_m // 30
        easting = truth.left + 30 * np.arange(size)[None, :] + 15
        northing = truth.top - 30 * np.arange(size)[:, None] - 15
        if band == "QA":
            kinds = np.asarray([1 << 6, 1 << 4, 1 << 3, 1 << 2])[truth.kind(easting, northing)]
            return np.where(truth.covers(easting, northing), kinds, 1).astype(np.uint16), 30, 1
        return np.asarray(truth.values(band, easting, northing, resolution)) + np.uint16(7000), 30, 0
    resolution = resolution_of(band)
    return truth.plane(band, truth.left, truth.top, truth.size_m // resolution), resolution, 0


@functools.lru_cache(maxsize=512)
def raster(truth: Truth, band: str, *, kind: str = "tif", **creation: Any) -> bytes:
    """Make the file of a band: a cloud-optimized GeoTIFF, or a lossless JPEG 2000."""
    pixels, resolution, nodata = stored(truth, band)
    how: dict[str, Any] = {"driver": "COG", "compress": "deflate", "blocksize": 256, "nodata": nodata}
    if kind == "jp2":
        how = {
            "driver": "JP2OpenJPEG",
            "codec": "JP2",
            "quality": 100,
            "reversible": "YES",
            "blockxsize": 256,
            "blockysize": 256,
        }
    how |= {"crs": truth.crs, "transform": Affine(resolution, 0, truth.left, 0, -resolution, truth.top)}
    return encode(pixels, **{**how, **creation})


def encode(pixels: NDArray[Any], **profile: Any) -> bytes:
    """Write pixels (y, x) into a file in memory."""
    with MemoryFile() as memory:
        with memory.open(
            height=pixels.shape[0], width=pixels.shape[1], count=1, dtype=str(pixels.dtype), **profile
        ) as file:
            file.write(pixels, 1)
        return bytes(memory.getbuffer())


def around(time: dt.datetime = TIME, days: int = 10) -> Range:
    """Give a range around a time."""
    return Range(time, time - dt.timedelta(days=days), time + dt.timedelta(days=days))


class Clock:
    """Time that passes when somebody sleeps, and only then."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Let time pass at once."""
        self.slept.append(seconds)
        self.now += seconds

    def retry(self, **how: Any) -> Retry:
        """Make patience that does not wait and draws nothing."""
        return Retry(**{"sleep": self.sleep, "clock": lambda: self.now, "jitter": lambda: 1.0, **how})


def local(server: StacServer, host: str, **changes: Any) -> Catalog:
    """Give a known catalog whose addresses are those of a stand-in."""
    known = catalog(host)
    buckets = {name: dataclasses.replace(bucket, endpoint=server.root) for name, bucket in known.buckets.items()}
    there = {"api": server.api, "buckets": buckets, "signed_hosts": ()}
    if known.token_url:
        there["token_url"] = f"{server.root}/token/{{collection}}"
    return dataclasses.replace(known, **{**there, **changes})


def service(
    server: StacServer, host: str = "planetary-computer", *, clock: Clock | None = None, **how: Any
) -> StacService:
    """Make the service of a stand-in."""
    changes = how.pop("changes", {})
    return StacService(local(server, host, **changes), retry=(clock or Clock()).retry(), **how)
