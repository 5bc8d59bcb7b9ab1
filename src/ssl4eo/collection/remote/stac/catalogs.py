# SPDX-License-Identifier: Apache-2.0
"""The catalogs that are known, as a table. None of them was asked from here: there was no network when it was written.

Sources: the hosts' public documentation and issue threads, read in November 2026 as copies; `unverified` names what no
source states. Known faults of the hosts are written where they matter:

* Earth Search `sentinel-2-l2a`: `earthsearch:boa_offset_applied` is false on some items from which the +1000 DN were
  taken away (Element84/earth-search issues 66 and 71, cirrus-geo/cirrus-earth-search issue 33). The reader refuses
  pixels that contradict the flag. `earth-search-c1` has Collection 1 of the same host, where the offset stays in.
* Earth Search `sentinel-2-l1c`: addresses of items before July 2023 lead to the L2A bucket (issues 2, 72, 73);
  they are put right.
* A footprint is no promise: items without all the assets asked for are left out (Earth Search issue 36).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ssl4eo.collection.remote.stac.profile import Bucket, Catalog, Profile
from ssl4eo.errors import unknown_name
from ssl4eo.sensors import modality

_COPERNICUS = "Copernicus Sentinel data: free, full and open; say 'contains modified Copernicus Sentinel data [year]'"
_USGS = "public domain; say 'Landsat image courtesy of the U.S. Geological Survey'"

_L2A = modality("S2L2A").bands
_L1C = modality("S2L1C").bands
_NAMES = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2",
    "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
"""Common names, as Earth Search calls its assets."""
_OLI = {
    "SR_B1": "coastal", "SR_B2": "blue", "SR_B3": "green", "SR_B4": "red", "SR_B5": "nir08", "SR_B6": "swir16",
    "SR_B7": "swir22",
}  # fmt: skip
_ETM = {
    "SR_B1": "blue", "SR_B2": "green", "SR_B3": "red", "SR_B4": "nir08", "SR_B5": "swir16", "SR_B7": "swir22",
}  # fmt: skip
_METERS = {band: f"{band}_{modality('S2L2A').resolution(band)}m" for band in _L2A}
"""As CDSE calls the assets of L2A at native resolution."""
_NO_GRD = (
    "GRD is on the radar's own grid there, in uncalibrated amplitudes: take S1GRD from Earth Engine, or S1RTC from "
    "planetary-computer"
)
_NO_TOA = "top-of-atmosphere Landsat is in no catalog of this table: take it from Earth Engine"


def _landsat(name: str, bands: Mapping[str, str], platforms: list[str], **how: object) -> Profile:
    return Profile(
        modality=name,
        collection="landsat-c2-l2",
        bands=bands,
        values="landsat_sr",
        # USGS grids lie 15 m beside the multiples of 30 m, and scenes are in the zone of their own center.
        resampling="bilinear",
        cloud_property="eo:cloud_cover",
        mask="qa_pixel",
        mask_kind="landsat_qa",
        filters={"platform": {"in": platforms}, "landsat:collection_category": {"in": ["T1"]}},
        tile=256,
        licence=_USGS,
        remarks="stretched to 8 bits as SSL4EO-L is; resampled by half a pixel",
        **how,  # type: ignore[arg-type]
    )


def _landsats(**how: object) -> tuple[Profile, ...]:
    return (
        _landsat("L8SR", _OLI, ["landsat-8", "landsat-9"], **how),
        _landsat("L7SR", _ETM, ["landsat-7"], **how),
    )


_EARTH_SEARCH = Catalog(
    name="earth-search",
    api="https://earth-search.aws.element84.com/v1",
    documentation="https://element84.com/earth-search",
    profiles=(
        Profile(
            modality="S2L2A",
            collection="sentinel-2-l2a",
            bands={band: _NAMES[band] for band in _L2A},
            offset="flag:earthsearch:boa_offset_applied",
            cloud_property="eo:cloud_cover",
            mask="scl",
            mask_kind="scl",
            tile=1024,
            licence=_COPERNICUS,
            remarks="COG in us-west-2, free of charge; the flag of the offset is wrong on some items",
            unverified=("size of tiles",),
        ),
        Profile(
            modality="S2L1C",
            collection="sentinel-2-l1c",
            bands={band: _NAMES[band] for band in _L1C},
            offset="baseline",
            cloud_property="eo:cloud_cover",
            hrefs={"s3://sentinel-s2-l2a/tiles/": "s3://sentinel-s2-l1c/tiles/"},
            tile=1024,
            bytes_per_pixel=1.1,
            hops=20,
            licence=_COPERNICUS,
            remarks="JP2 in s3://sentinel-s2-l1c (eu-central-1): the requester pays transfer and requests",
            unverified=("number of requests a band",),
        ),
        *_landsats(
            alternate="s3",
            unverified=("that `alternate.s3` is there on all items; their own addresses ask for a login of USGS",),
        ),
    ),
    lacks={"S1GRD": _NO_GRD, "S1RTC": "take it from planetary-computer", "L8TOA": _NO_TOA, "L7TOA": _NO_TOA},
    buckets={
        "sentinel-s2-l1c": Bucket(region="eu-central-1", requester_pays=True),
        "usgs-landsat": Bucket(region="us-west-2", requester_pays=True),
    },
)

_EARTH_SEARCH_C1 = Catalog(
    name="earth-search-c1",
    api=_EARTH_SEARCH.api,
    documentation=_EARTH_SEARCH.documentation,
    profiles=(
        Profile(
            modality="S2L2A",
            collection="sentinel-2-c1-l2a",
            bands={band: _NAMES[band] for band in _L2A},
            offset="baseline",
            cloud_property="eo:cloud_cover",
            mask="scl",
            mask_kind="scl",
            tile=1024,
            licence=_COPERNICUS,
            remarks="Collection 1: reprocessed with baseline 05.00 and later; COG in us-west-2, free of charge",
            unverified=("size of tiles", "how much of 2017 to 2020 is there"),
        ),
    ),
    lacks=_EARTH_SEARCH.lacks,
)

_PLANETARY_COMPUTER = Catalog(
    name="planetary-computer",
    api="https://planetarycomputer.microsoft.com/api/stac/v1",
    documentation="https://planetarycomputer.microsoft.com/docs/concepts/sas/",
    profiles=(
        Profile(
            modality="S2L2A",
            collection="sentinel-2-l2a",
            bands={band: band for band in _L2A},
            offset="baseline",
            cloud_property="eo:cloud_cover",
            mask="SCL",
            mask_kind="scl",
            licence=_COPERNICUS,
            remarks="COG in Azure West Europe, free of charge; +1000 DN stay in from baseline 04.00 on",
        ),
        Profile(
            modality="S1RTC",
            collection="sentinel-1-rtc",
            bands={"VV": "vv", "VH": "vh"},
            values="power",
            resampling="bilinear",
            nodata=-32768,
            filters={"sar:instrument_mode": {"eq": "IW"}},
            bytes_per_pixel=4,
            licence="CC BY 4.0 of Catalyst for the processing; " + _COPERNICUS,
            remarks="gamma0, linear power, terrain corrected, in the zone of the scene's own center",
            unverified=("that an account is not needed any more for this collection",),
        ),
        *_landsats(),
    ),
    lacks={
        "S1GRD": _NO_GRD,
        "S2L1C": "Planetary Computer has no L1C: take it from Earth Engine, earth-search or cdse",
        "L8TOA": _NO_TOA,
        "L7TOA": _NO_TOA,
    },
    token_url="https://planetarycomputer.microsoft.com/api/sas/v1/token/{collection}",  # noqa: S106 (an address)
    signed_hosts=(".blob.core.windows.net",),
    key_header="Ocp-Apim-Subscription-Key",
    key_variable="PC_SDK_SUBSCRIPTION_KEY",
)

_CDSE = Catalog(
    name="cdse",
    api="https://stac.dataspace.copernicus.eu/v1",
    documentation="https://documentation.dataspace.copernicus.eu/APIs/S3.html",
    profiles=tuple(
        Profile(
            modality=name,
            collection=collection,
            bands=bands,
            offset="baseline",
            cloud_property="eo:cloud_cover",
            mask=mask,
            mask_kind=kind,
            tile=1024 if name == "S2L1C" else 640,
            bytes_per_pixel=1.1,
            hops=20,
            licence=_COPERNICUS,
            remarks="JP2; a free account, S3 keys, a monthly quota",
            unverified=("size of tiles and number of requests a band",),
        )
        for name, collection, bands, mask, kind in (
            ("S2L1C", "sentinel-2-l1c", {band: band for band in _L1C}, "", ""),
            ("S2L2A", "sentinel-2-l2a", _METERS, "SCL_20m", "scl"),
        )
    ),
    lacks={"S1GRD": _NO_GRD, "S1RTC": "take it from planetary-computer", "L8SR": "take it from planetary-computer"},
    buckets={
        "eodata": Bucket(
            endpoint="https://eodata.dataspace.copernicus.eu",
            region="default",
            key_variable="CDSE_S3_ACCESS_KEY",
            secret_variable="CDSE_S3_SECRET_KEY",  # noqa: S106 (the name of a variable)
            session_variable="",
        )
    },
    filter_language="cql2-json",
    unverified=("that searching needs no account",),
)

CATALOGS: Mapping[str, Catalog] = MappingProxyType(
    {catalog.name: catalog for catalog in (_EARTH_SEARCH, _EARTH_SEARCH_C1, _PLANETARY_COMPUTER, _CDSE)}
)


def catalog(name: str) -> Catalog:
    """Look a catalog up by name.

    Raises:
        UnknownName: none is called that.
    """
    if name not in CATALOGS:
        raise unknown_name("STAC catalog", name, CATALOGS)
    return CATALOGS[name]
