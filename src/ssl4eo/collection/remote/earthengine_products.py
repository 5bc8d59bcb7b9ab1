# SPDX-License-Identifier: Apache-2.0
"""What Earth Engine has of our modalities, as a table, with the choices that it leaves.

Any other collection is a `Product` that the user writes: name, bands, form (which tells the scale), cloud property.
Filters are property -> value; a list means that the property is a list and contains all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ssl4eo.collection.remote.service import Product
from ssl4eo.errors import unknown_name
from ssl4eo.form import Form
from ssl4eo.sensors import modality, published_band

COPERNICUS = "Copernicus Sentinel data terms: free, full and open; name the source"
USGS = "public domain; USGS asks to be named"

S2_CLOUD = "CLOUDY_PIXEL_PERCENTAGE"
PROBABILITY = "COPERNICUS/S2_CLOUD_PROBABILITY/probability"
"""A mask with a slash is a band of another collection, whose image has the same index."""

_QUANTIZED = (
    "our Landsat modalities are the 8-bit ones of SSL4EO-L: values are put through their published stretch and "
    "rounded, the floats of the service cannot be kept; edges lie 15 m beside multiples of 30 m, as USGS has them"
)

_LANDSAT: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "L5TOA": {"5": "LANDSAT/LT05/C02/T1_TOA"},
        "L7TOA": {"7": "LANDSAT/LE07/C02/T1_TOA"},
        "L7SR": {"7": "LANDSAT/LE07/C02/T1_L2"},
        "L8TOA": {"8": "LANDSAT/LC08/C02/T1_TOA", "9": "LANDSAT/LC09/C02/T1_TOA"},
        "L8SR": {"8": "LANDSAT/LC08/C02/T1_L2", "9": "LANDSAT/LC09/C02/T1_L2"},
    }
)
_PANCHROMATIC = {"L7TOA": "B8", "L8TOA": "B8"}
ORBITS = ("ascending", "descending")
S2_MASKS = {"S2L1C": ("qa60", "probability", ""), "S2L2A": ("scl", "qa60", "probability", "")}
_MASK_BANDS = {"qa60": "QA60", "scl": "SCL", "probability": PROBABILITY, "": ""}

MODALITIES = ("S1GRD", "S2L1C", "S2L2A", *_LANDSAT)
"""Those that `earthengine_product` has a row for."""


def earthengine_product(
    name: str, *, harmonized: bool = True, orbit: str = "", mask: str | None = None, satellite: str = ""
) -> Product:
    """Give the product of a modality.

    Args:
        name: of the modality.
        harmonized: of Sentinel-2, whether the service takes away the +1000 DN since baseline 04.00 (values below 1000
            become 0 by that); False keeps them, and each scene tells its offset.
        orbit: of Sentinel-1, `ascending` or `descending`; empty for both.
        mask: of Sentinel-2, `scl` (L2A only), `qa60`, `probability`, or empty for none; None takes the first that there
            is of these. QA60 is empty from 2022-01-25 to 2024-02: there the cloud share is None.
        satellite: of Landsat, its number where there are two (L8TOA, L8SR: 8 or 9); empty for the first.

    Raises:
        UnknownName: Earth Engine has no such modality, or the choice is none.
    """
    if name == "S1GRD":
        return _radar(orbit)
    if name in S2_MASKS:
        return _optical(name, harmonized, S2_MASKS[name][0] if mask is None else mask)
    if name in _LANDSAT:
        return _landsat(name, satellite)
    raise unknown_name("modality of Earth Engine", name, MODALITIES, lister="ssl4eo collect --help") from None


def _radar(orbit: str) -> Product:
    if orbit and orbit not in ORBITS:
        raise unknown_name("orbit", orbit, ORBITS)
    filters = {"instrumentMode": "IW", "transmitterReceiverPolarisation": ["VV", "VH"]}
    return Product(
        modality="S1GRD",
        collection="COPERNICUS/S1_GRD",
        bands={"VV": "VV", "VH": "VH"},
        form=Form.native("S1GRD"),
        filters=filters | ({"orbitProperties_pass": orbit.upper()} if orbit else {}),
        licence=COPERNICUS,
        remarks="sigma0 in dB, thermal noise removed, terrain corrected; grids of scenes start anywhere: the "
        "nearest pixel, at most half a pixel off",
    )


def _optical(name: str, harmonized: bool, mask: str) -> Product:
    if mask not in S2_MASKS[name]:
        raise unknown_name(f"cloud mask of {name}", mask, S2_MASKS[name])
    collection = {"S2L1C": "COPERNICUS/S2", "S2L2A": "COPERNICUS/S2_SR"}[name]
    return Product(
        modality=name,
        collection=collection + ("_HARMONIZED" if harmonized else ""),
        bands={band: published_band(band) for band in modality(name).bands},
        form=Form.native(name),
        cloud_property=S2_CLOUD,
        mask=_MASK_BANDS[mask],
        mask_kind=mask,
        licence=COPERNICUS,
        remarks="the service took +1000 DN away from baseline 04.00 on and cut at 0" if harmonized else "",
    )


def _landsat(name: str, satellite: str) -> Product:
    choices = _LANDSAT[name]
    if satellite and satellite not in choices:
        raise unknown_name(f"satellite of {name}", satellite, choices)
    pan = _PANCHROMATIC.get(name)
    return Product(
        modality=name,
        collection=choices[satellite or next(iter(choices))],
        bands={band: band for band in modality(name).bands},
        form=Form.native(name),
        cloud_property="CLOUD_COVER",
        mask="QA_PIXEL",
        mask_kind="landsat_qa",
        licence=USGS,
        remarks=_QUANTIZED + (f"; of {pan} (15 m) every second pixel of every second row" if pan else ""),
    )
