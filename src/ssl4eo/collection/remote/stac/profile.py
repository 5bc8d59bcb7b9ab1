# SPDX-License-Identifier: Apache-2.0
"""What is known of a STAC catalog, as data: a row of `catalogs.py`, or a user's file (`catalog_file.py`).

A `Catalog` is a host, a `Profile` one of its collections as one of our modalities. Nothing here talks to a network.
What nobody here has seen answered by the host itself is listed under `unverified`, in words that can be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ssl4eo.collection.remote.service import Product
from ssl4eo.errors import ConfigInvalid, UnknownName
from ssl4eo.form import Form
from ssl4eo.sensors import modality

VALUES = ("dn", "power", "decibels", "landsat_sr")
"""How stored numbers become ours, see `values.py`."""
OFFSETS = ("none", "baseline")
"""Rules of the +1000 DN: never contained; contained from baseline 04.00 on. A third is `flag:<property>`: as the
baseline, unless that property of the item is true, which says that the host has taken it away."""
RESAMPLINGS = ("refuse", "nearest", "bilinear")
"""What to do with rasters on another grid than the patch's."""
MASK_KINDS = ("", "scl", "landsat_qa")
FILTER_LANGUAGES = ("query", "cql2-json")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One collection of a catalog, as one of our modalities."""

    modality: str
    collection: str
    """Id of the collection."""
    bands: Mapping[str, str]
    """Our name of each band -> the asset's key."""
    values: str = "dn"
    """One of VALUES."""
    offset: str = "none"
    """One of OFFSETS, or `flag:<property>`."""
    resampling: str = "refuse"
    """One of RESAMPLINGS. Nothing is ever resampled where the raster lies on the patch's grid."""
    nodata: float = 0
    """Stored value of pixels that were not observed, in bands and mask."""
    cloud_property: str = ""
    """Scene-level cloud share [%]; empty: none."""
    mask: str = ""
    """Key of the asset that tells clouds pixel by pixel; empty: none."""
    mask_kind: str = ""
    """scl or landsat_qa; landsat_qa is 1 where not observed (bit 0), whatever `nodata` says."""
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Conditions on properties of items: name -> {eq | in | lt | lte | gt | gte: value}."""
    alternate: str = ""
    """Which of an asset's `alternate` addresses is read; empty: its own."""
    hrefs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beginnings of addresses that are put right: wrong one -> right one."""
    tile: int = 512
    """Width and height of the raster's tiles [px], for prices."""
    bytes_per_pixel: float = 1.3
    """Compressed, for prices."""
    hops: float = 0
    """Requests a band beside header and pixels, for prices: JP2 without an index is walked through."""
    licence: str = ""
    remarks: str = ""
    unverified: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse words that mean nothing, and bands that the modality does not have.

        Raises:
            UnknownName: the modality is none.
            ConfigInvalid: a word is none of those listed, bands are none of the modality's, or the values do not fit.
        """
        for what, value, known in (
            ("values", self.values, VALUES),
            ("resampling", self.resampling, RESAMPLINGS),
            ("mask_kind", self.mask_kind, MASK_KINDS),
        ):
            if value not in known:
                raise ConfigInvalid(f"{self._name} has {what} {value!r}", expected=f"one of {', '.join(known)}")
        if self.offset not in OFFSETS and not self.offset.startswith("flag:"):
            raise ConfigInvalid(
                f"{self._name} has offset {self.offset!r}", expected=f"one of {', '.join(OFFSETS)}, or flag:<property>"
            )
        if bool(self.mask) != bool(self.mask_kind):
            raise ConfigInvalid(f"{self._name} has a mask or its kind", expected="both or neither")
        foreign = [band for band in self.bands if band not in modality(self.modality).bands]
        if foreign or not self.bands:
            raise ConfigInvalid(
                f"{self._name} has bands {' '.join(foreign) or 'none'}",
                expected=f"some of {' '.join(modality(self.modality).bands)}",
            )
        unit = {"dn": "DN", "power": "dB", "decibels": "dB", "landsat_sr": "uint8"}[self.values]
        if modality(self.modality).unit != unit:
            raise ConfigInvalid(
                f"{self._name} has values {self.values!r}, which become {unit}",
                expected=f"values that become {modality(self.modality).unit}, as {self.modality} is kept",
            )

    @property
    def _name(self) -> str:
        return f"profile {self.modality} of collection {self.collection}"

    @property
    def product(self) -> Product:
        """What a service has of this: bands in canonical order, native resolutions."""
        order = [band for band in modality(self.modality).bands if band in self.bands]
        return Product(
            modality=self.modality,
            collection=self.collection,
            bands={band: self.bands[band] for band in order},
            form=Form.native(self.modality, bands=order),
            cloud_property=self.cloud_property,
            mask=self.mask,
            mask_kind=self.mask_kind,
            filters=self.filters,
            licence=self.licence,
            remarks=self.remarks,
        )


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """How the objects of an S3 store are reached."""

    endpoint: str = ""
    """Host with scheme that has the bucket as first part of the path; empty: AWS, with the bucket in the host name."""
    region: str = "us-west-2"
    requester_pays: bool = False
    key_variable: str = "AWS_ACCESS_KEY_ID"
    """Environment variable with the access key."""
    secret_variable: str = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 (the name of a variable)
    session_variable: str = "AWS_SESSION_TOKEN"
    """May be unset."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """A host of STAC items."""

    name: str
    api: str
    """Address of the landing page."""
    profiles: tuple[Profile, ...]
    """One a modality."""
    lacks: Mapping[str, str] = field(default_factory=dict[str, str])
    """By modality that it has not, or has in a form that cannot be put on a grid: why, and where else to go."""
    token_url: str = ""
    """Address that gives signatures, with {collection}; empty: addresses need none."""
    signed_hosts: tuple[str, ...] = ()
    """Ends of the names of hosts whose addresses are signed; none given: all."""
    key_header: str = ""
    """Header that carries a subscription key to `token_url`; empty: none."""
    key_variable: str = ""
    """Environment variable with that key; may be unset."""
    buckets: Mapping[str, Bucket] = field(default_factory=dict[str, Bucket])
    """By name the S3 buckets that s3:// addresses lead to."""
    filter_language: str = "query"
    """One of FILTER_LANGUAGES: how conditions are sent."""
    conforms: tuple[str, ...] = ()
    """Classes that the API has and does not declare, as pystac-client spells them."""
    page_size: int = 100
    documentation: str = ""
    unverified: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a modality that is there twice, and unknown languages.

        Raises:
            ConfigInvalid: either.
        """
        names = [profile.modality for profile in self.profiles]
        if len(set(names)) != len(names):
            raise ConfigInvalid(f"catalog {self.name} has {', '.join(names)}", expected="each modality once")
        if self.filter_language not in FILTER_LANGUAGES:
            raise ConfigInvalid(
                f"catalog {self.name} has filter language {self.filter_language!r}",
                expected=f"one of {', '.join(FILTER_LANGUAGES)}",
            )

    def profile(self, name: str) -> Profile:
        """Give the profile of a modality.

        Raises:
            UnknownName: it has none.
        """
        for profile in self.profiles:
            if profile.modality == name:
                return profile
        raise UnknownName(
            f"catalog {self.name} has no {name} that can be put on a grid",
            expected=f"one of {', '.join(p.modality for p in self.profiles)}",
            remedy=self.lacks.get(name, "see docs/stac.md for who has it"),
        )
