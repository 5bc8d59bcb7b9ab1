# SPDX-License-Identifier: Apache-2.0
"""What is asked of every service: which scenes there are, the pixels of one on a patch's grid, and what that costs.

A service knows nothing of seasons, selection, retries of whole locations or archives. It keeps the rules of its host
itself (tokens, quotas, back-off): whoever calls it from many threads need not know them.
Scenes are plain values: they can be kept, sorted, sent to another process.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.errors import SourceInvalid
from ssl4eo.form import Form
from ssl4eo.locations.window import Range
from ssl4eo.sample import Image, Location


@dataclass(frozen=True)
class Product:
    """What is wanted of a service, as data: a row of a table, or a user's own."""

    modality: str
    """What the archive keeps it as."""
    collection: str
    """Name that the service knows it by."""
    bands: Mapping[str, str]
    """Our name of each band -> the service's band or asset, in canonical order."""
    form: Form
    cloud_property: str = ""
    """Scene-level cloud share in the scene's properties [%]; empty: none, as of radar."""
    mask: str = ""
    """Band or asset that tells clouds pixel by pixel; empty: none."""
    mask_kind: str = ""
    """How it tells them: scl, qa60, probability, landsat_qa."""
    filters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further conditions in the service's own terms (instrument mode, polarizations, orbit)."""
    licence: str = ""
    remarks: str = ""


@dataclass(frozen=True)
class Scene:
    """One acquisition that covers a point, as found by a search; no pixels."""

    product: str
    """The agency's product id; names the image in the archive."""
    modality: str
    time: dt.datetime
    """Start of the acquisition [UTC]."""
    cloud: float | None
    """Scene-level cloud share [0 to 1]; None where there is none."""
    crs: str
    """Native reference system, empty where the search does not tell."""
    baseline: int | None
    """ESA processing baseline, 301 for 03.01."""
    offset: int
    """Constant contained in the values that `read` gives [DN]."""
    orbit: str = ""
    """ascending, descending, or empty."""
    handle: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the service needs to read it: ids, hrefs without signatures. Plain JSON values."""


@dataclass(frozen=True)
class Patch:
    """The pixels of one scene on one grid."""

    image: Image
    observed: float
    """Share of the finest grid's pixels that the scene covers [0 to 1]: less at swath and tile edges."""
    cloud: float | None
    """Share of observed pixels that the pixel mask calls cloud or shadow [0 to 1]; None without a mask."""
    num_bytes: int
    """That came over the network."""
    resampling: str = ""
    """How pixels came onto the grid where the scene's own is another: nearest, bilinear; empty: as they are."""


@dataclass(frozen=True)
class Price:
    """What fetching costs, estimated before anything is fetched."""

    requests: float
    num_bytes: float
    """Over the network."""

    def __add__(self, other: Price) -> Price:
        """Add up."""
        return Price(self.requests + other.requests, self.num_bytes + other.num_bytes)

    def __mul__(self, times: float) -> Price:
        """Scale."""
        return Price(self.requests * times, self.num_bytes * times)


FINAL_KINDS = ("denied", "gone", "refused")
"""Kinds of `ServiceFailed` (its `where["kind"]`) that no waiting mends: the account may not, the collection or address
is not there, the request itself is not accepted."""


class Service(Protocol):
    """A host of scenes, safe to call from many threads; pickles without its open connections."""

    @property
    def name(self) -> str:
        """As in the table of services."""
        ...

    @property
    def settings(self) -> str:
        """What else than name and products decides pixels: an interrupted collection goes on with the same."""
        ...

    def product(self, modality: str) -> Product:
        """Give what it has of a modality.

        Raises:
            UnknownName: it has none; the remedy names a service that does.
        """
        ...

    def search(self, location: Location, ranges: Sequence[Range], product: Product) -> list[Scene]:
        """List all scenes that cover a point within any of the ranges, in one request, or one for each page.

        Filters of the product are applied by the service; clouds are not filtered. In order of time, then product id,
        each product once.

        Raises:
            ServiceFailed: refused or unreachable after all retries; its kind says whether waiting may help.
        """
        ...

    def read(self, scenes: Sequence[Scene], product: Product, grid: PatchGrid) -> list[Patch | SourceInvalid]:
        """Read scenes on one grid, all bands at their resolutions in `product.form`, and the mask if there is one.

        Scenes of one call share requests where the service can do that. Pixels that a scene does not cover are 0 for
        digital numbers and NaN for decibels, and counted in `observed`.

        Returns:
            For each scene its patch, or why there is none: it is not there any more, or its bytes are no image.

        Raises:
            ServiceFailed: refused or unreachable after all retries.
        """
        ...

    def price(self, product: Product, grid: PatchGrid, *, num_scenes: int) -> tuple[Price, Price]:
        """Estimate one search, and the reading of so many scenes in one call."""
        ...
