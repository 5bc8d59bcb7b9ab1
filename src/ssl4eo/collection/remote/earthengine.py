# SPDX-License-Identifier: Apache-2.0
"""Google Earth Engine as a service: one request a search, one a resolution of a read, for any number of products.

Searching is done by the service: bounds, ranges, orbit and polarizations are filters, and of each scene a handful of
properties come back. Pixels come as arrays on the patch's own grid, each band at its resolution, nearest and without
reprojection where the scene has the patch's zone and grid.

It keeps the rules of the host: few calls at a time, patience with quotas (`earthengine_calls.py`), 48 MB a request.
What it does not do: choose scenes or zones. `patch_grid(..., crs=scene.crs)` makes the grid of a scene that lies in the
neighboring zone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.remote.cloud_masks import hidden_share
from ssl4eo.collection.remote.earthengine_answers import (
    Planes,
    planes_of,
    scenes_by_product,
    share_observed,
    values_of,
)
from ssl4eo.collection.remote.earthengine_calls import call
from ssl4eo.collection.remote.earthengine_expressions import OBSERVED, QUALITY, pixel_grid
from ssl4eo.collection.remote.earthengine_failures import GONE, REFUSED
from ssl4eo.collection.remote.earthengine_plan import Plan, Request, plan_read, requests_for
from ssl4eo.collection.remote.earthengine_products import MODALITIES, earthengine_product
from ssl4eo.collection.remote.earthengine_session import Account, Session, session_for
from ssl4eo.collection.remote.earthengine_templates import read_text, search_text
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.retrying import Retry
from ssl4eo.collection.remote.service import Patch, Price, Product, Scene
from ssl4eo.errors import ServiceFailed, SourceInvalid, UnknownName
from ssl4eo.locations.window import Range
from ssl4eo.sample import Image, Location

SEARCH_BYTES = 15_000
"""Estimate of the answer to a search: some fifty scenes."""
_ELSEWHERE = {"S1RTC": "planetary_computer"}


@dataclass(frozen=True, kw_only=True)
class EarthEngine:
    """Earth Engine, for one account. Safe to use from threads; pickles; asks for nothing until it is used."""

    account: Account = field(default_factory=Account)
    products: Mapping[str, Product] = field(
        default_factory=lambda: {name: earthengine_product(name) for name in MODALITIES}
    )
    """By modality what it is asked for; a user's own products go here."""
    retry: Retry = field(default_factory=Retry)

    @property
    def name(self) -> str:
        """As in the table of services."""
        return "earthengine"

    @property
    def settings(self) -> str:
        """None: all is told by the products."""
        return ""

    def product(self, modality: str) -> Product:
        """Give what it has of a modality.

        Raises:
            UnknownName: it has none; the remedy names a service that does.
        """
        if modality not in self.products:
            other = _ELSEWHERE.get(modality)
            raise UnknownName(
                f"Earth Engine has no product of modality {modality!r}",
                expected=f"one of {', '.join(self.products)}",
                remedy=f"take it from {other}" if other else "write a Product of a collection that has it",
            )
        return self.products[modality]

    def search(self, location: Location, ranges: Sequence[Range], product: Product) -> list[Scene]:
        """List all scenes that cover a point within any of the ranges, in one request.

        The service compares the point with the outlines of scenes, so that a scene may be listed that has no pixel
        there; reading tells. A service answers with 5,000 scenes at most and fails beyond.

        Raises:
            ServiceFailed: refused or unreachable after all retries; never for want of scenes.
            ConfigInvalid: no credentials, no ranges, or a location without a point.
        """
        (found,) = self.search_together(location, ranges, [product])
        return found

    def search_together(
        self, location: Location, ranges: Sequence[Range], products: Sequence[Product]
    ) -> list[list[Scene]]:
        """Search for several products in one request; where the service refuses that, for each alone.

        Raises:
            ServiceFailed, ConfigInvalid: see `search`.
        """
        session = session_for(self.account, self.retry)
        text = search_text(location, ranges, products)
        what = f"the search for {', '.join(product.modality for product in products)} at {location.id}"
        try:
            return call(
                lambda: scenes_by_product(session.requests.value(text), products),
                what=what, slots=session.slots, retry=self.retry,
            )  # fmt: skip
        except ServiceFailed as error:  # more scenes than one answer may have, or one collection that is not there
            if len(products) == 1 or error.where.get("kind") not in (REFUSED, GONE):
                raise
        return [self.search(location, ranges, product) for product in products]

    def read(self, scenes: Sequence[Scene], product: Product, grid: PatchGrid) -> list[Patch | SourceInvalid]:
        """Read all bands of scenes on a grid, each at its resolution in `product.form`, and the mask if there is one.

        Scenes share requests: one a resolution for all of them, more where that would be too large. When the service
        refuses a shared request for one of them, each is read alone, so that it costs itself only.

        Where the scene's reference system is the grid's, Sentinel-2 pixels are those of the product, untouched. A scene
        of another zone, or one whose grid starts elsewhere (Sentinel-1, whose scenes often span two zones), is sampled
        by the service: each pixel is the nearest of the scene's, half a pixel off at most on each axis. Landsat's
        pixels start 15 m beside multiples of 30 m: in the scene's own zone they are read where they are, untouched,
        and the image's transform tells the 15 m by which they lie south-east of the patch's edge.

        Pixels that a band lacks are 0 for integers and NaN for decibels; `observed` counts where no band lacks one.

        Returns:
            For each scene its patch, or why there is none: the scene or a band is not there any more, or its bytes are
            no image.

        Raises:
            ServiceFailed: refused or unreachable after all retries.
            ConfigInvalid: a patch wider than the service allows.
        """
        (patches,) = self.read_together([(scenes, product)], grid)
        return patches

    def read_together(
        self, wanted: Sequence[tuple[Sequence[Scene], Product]], grid: PatchGrid
    ) -> list[list[Patch | SourceInvalid]]:
        """Read scenes of several products on one grid; all that lie on the same pixels share a request.

        When the service refuses a shared request, each product is read alone, then each scene.

        Returns, Raises: see `read`.
        """
        session = session_for(self.account, self.retry)
        jobs = [
            _Job(scene, product, plan_read(scene.crs, product, grid)) for scenes, product in wanted for scene in scenes
        ]
        patches = iter(self._read_jobs(jobs, grid, session))
        return [[next(patches) for _ in scenes] for scenes, _ in wanted]

    def price(self, product: Product, grid: PatchGrid, *, num_scenes: int) -> tuple[Price, Price]:
        """Estimate one search, and a read: pixels do not shrink on their way, as far as the service tells."""
        return self.price_together([product], grid, num_scenes=num_scenes)

    def price_together(self, products: Sequence[Product], grid: PatchGrid, *, num_scenes: int) -> tuple[Price, Price]:
        """Estimate one search for several products, and a read of so many scenes of each."""
        plans = [plan_read(grid.crs, product, grid) for product in products for _ in range(max(num_scenes, 1))]
        asked = requests_for(plans)
        requests = sum(len(request.strips) for request in asked)
        return Price(1, SEARCH_BYTES * len(products)), Price(requests, sum(request.num_bytes for request in asked))

    def _read_jobs(self, jobs: Sequence[_Job], grid: PatchGrid, session: Session) -> Sequence[Patch | SourceInvalid]:
        try:
            return self._read_shared(jobs, grid, session)
        except SourceInvalid as error:
            if len(jobs) == 1:
                return [error]
        except ServiceFailed as error:  # also memory that is enough for one scene
            if len(jobs) == 1 or error.where.get("kind") != REFUSED:
                raise
        products = {id(job.product): job.product for job in jobs}.values()
        smaller = [[job for job in jobs if job.product is product] for product in products]
        if len(smaller) == 1:
            smaller = [[job] for job in jobs]
        return [patch for some in smaller for patch in self._read_jobs(some, grid, session)]

    def _read_shared(self, jobs: Sequence[_Job], grid: PatchGrid, session: Session) -> list[Patch]:
        before = session.transport.num_bytes
        parts: list[list[Planes]] = [[] for _ in jobs]
        for request in requests_for([job.plan for job in jobs]):
            for (number, _), planes in zip(request.layers, self._ask(request, jobs, session), strict=True):
                parts[number].append(planes)
        num_bytes = (session.transport.num_bytes - before) // max(len(jobs), 1)
        return [_patch(job, grid, planes, num_bytes) for job, planes in zip(jobs, parts, strict=True)]

    def _ask(self, request: Request, jobs: Sequence[_Job], session: Session) -> list[Planes]:
        """Send a request, strip by strip where it is large: of each layer by name (y, x)."""
        layers = [(part, jobs[number].scene) for number, part in request.layers]
        ours = [(*part.bands, OBSERVED, *([QUALITY] if part.mask else [])) for part, _ in layers]
        names = [f"{name}_{number}" for number, some in enumerate(ours) for name in some]
        text = read_text(layers)
        what = f"{', '.join(scene.product for _, scene in layers)} at {request.resolution} m"
        crs = jobs[0].plan.crs
        strips: list[Planes] = []
        for first, height in request.strips:
            top = request.top - first * request.resolution
            size = (height, request.size)
            asked = pixel_grid(crs, request.left, top, request.resolution, size)
            action = partial(_planes, session, text, asked, names, size)
            strips.append(call(action, what=what, slots=session.slots, retry=self.retry, of_scene=True))
        whole = strips[0] if len(strips) == 1 else {n: np.concatenate([s[n] for s in strips]) for n in names}
        return [{name: whole[f"{name}_{number}"] for name in some} for number, some in enumerate(ours)]


@dataclass(frozen=True)
class _Job:
    """A scene that is read."""

    scene: Scene
    product: Product
    plan: Plan


def _planes(
    session: Session, text: str, grid: Mapping[str, Any], names: Sequence[str], size: tuple[int, int]
) -> Planes:
    return planes_of(session.requests.pixels(text, grid, names), names, size)


def _patch(job: _Job, grid: PatchGrid, parts: Sequence[Planes], num_bytes: int) -> Patch:
    scene, product, plan = job.scene, job.product, job.plan
    pixels: dict[int, NDArray[np.generic]] = {}
    masks: dict[int, NDArray[np.bool_]] = {}
    cloud: float | None = None
    for part, planes in zip(plan.parts, parts, strict=True):
        masks[part.resolution] = planes[OBSERVED] != 0
        bands = [planes[name] for name in part.bands]
        pixels[part.resolution] = values_of(bands, list(part.bands), masks[part.resolution], product.form)
        if part.mask:
            cloud = hidden_share(product.mask_kind, planes[QUALITY], masks[part.resolution], scene.time)
    observed = share_observed(masks, product.form.base)
    image = _image(scene, product, grid, plan, pixels, valid=observed == 1)
    return Patch(image, observed, cloud, num_bytes)


def _image(
    scene: Scene,
    product: Product,
    grid: PatchGrid,
    plan: Plan,
    pixels: Mapping[int, NDArray[np.generic]],
    *,
    valid: bool,
) -> Image:
    base = float(product.form.base)
    return Image(
        product.modality,
        pixels,
        time=scene.time,
        product=scene.product,
        crs=grid.crs,
        transform=(base, 0.0, float(plan.left), 0.0, -base, float(plan.top)),
        baseline=scene.baseline,
        offset=scene.offset,
        kept=product.form,
        valid=valid,
    )
