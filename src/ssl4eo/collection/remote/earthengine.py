# SPDX-License-Identifier: Apache-2.0
"""Google Earth Engine as a service: one request a search, one a resolution group of a read of any number of scenes.

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
from ssl4eo.collection.remote.earthengine_answers import planes_of, scenes_of, share_observed, values_of
from ssl4eo.collection.remote.earthengine_calls import Retry, call
from ssl4eo.collection.remote.earthengine_expressions import (
    OBSERVED,
    QUALITY,
    pixel_grid,
)
from ssl4eo.collection.remote.earthengine_failures import REFUSED, Broken
from ssl4eo.collection.remote.earthengine_plan import Part, Plan, batches, plan_read
from ssl4eo.collection.remote.earthengine_products import MODALITIES, earthengine_product
from ssl4eo.collection.remote.earthengine_session import Account, Session, session_for
from ssl4eo.collection.remote.earthengine_templates import listing_expression, read_expression
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.service import Patch, Price, Product, Scene
from ssl4eo.errors import ServiceFailed, SourceInvalid, Ssl4eoError, UnknownName
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
        what = f"the search for {product.modality} at {location.id}"
        session = session_for(self.account, self.retry)
        expression = listing_expression(location, ranges, product)
        return call(
            lambda: scenes_of(_compute_value(expression), product), what=what, slots=session.slots, retry=self.retry
        )

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
        session = session_for(self.account, self.retry)
        found: dict[int, Patch | SourceInvalid] = {}
        for numbers in batches(scenes, product, grid):
            batch = [scenes[number] for number in numbers]
            found |= zip(numbers, self._read_batch(batch, product, grid, session), strict=True)
        return [found[number] for number in range(len(scenes))]

    def price(self, product: Product, grid: PatchGrid, *, num_scenes: int) -> tuple[Price, Price]:
        """Estimate one search, and a read: pixels do not shrink on their way, as far as the service tells."""
        parts = plan_read(grid.crs, product, grid, num_scenes=max(num_scenes, 1)).parts
        requests = sum(len(part.strips) for part in parts)
        return Price(1, SEARCH_BYTES), Price(requests, sum(part.num_bytes for part in parts))

    def _read_batch(
        self, scenes: Sequence[Scene], product: Product, grid: PatchGrid, session: Session
    ) -> Sequence[Patch | SourceInvalid]:
        try:
            return self._read_shared(scenes, product, grid, session)
        except SourceInvalid as error:
            if len(scenes) == 1:
                return [error]
        except ServiceFailed as error:  # also memory that is enough for one scene
            if len(scenes) == 1 or error.where.get("kind") != REFUSED:
                raise
        return [patch for scene in scenes for patch in self._read_batch([scene], product, grid, session)]

    def _read_shared(self, scenes: Sequence[Scene], product: Product, grid: PatchGrid, session: Session) -> list[Patch]:
        before = session.transport.num_bytes
        plan = plan_read(scenes[0].crs, product, grid, num_scenes=len(scenes))
        parts = [self._read_part(part, plan, scenes, session) for part in plan.parts]
        num_bytes = (session.transport.num_bytes - before) // len(scenes)
        return [
            _patch(scene, product, grid, plan, [planes[number] for planes in parts], num_bytes)
            for number, scene in enumerate(scenes)
        ]

    def _read_part(
        self, part: Part, plan: Plan, scenes: Sequence[Scene], session: Session
    ) -> list[dict[str, NDArray[np.generic]]]:
        """Read one grid, strip by strip where it is large: of each scene by name (y, x)."""
        ours = (*part.bands, OBSERVED, *([QUALITY] if part.mask else []))
        names = [f"{name}_{number}" for number in range(len(scenes)) for name in ours]
        expression = read_expression(part, scenes)
        what = f"{', '.join(scene.product for scene in scenes)} at {part.resolution} m"
        strips: list[dict[str, NDArray[np.generic]]] = []
        for first, height in part.strips:
            top = plan.top - first * part.resolution
            size = (height, part.size)
            request = pixel_grid(plan.crs, plan.left, top, part.resolution, size)
            action = partial(_compute_pixels, expression, request, names, size)
            strips.append(call(action, what=what, slots=session.slots, retry=self.retry, of_scene=True))
        whole = strips[0] if len(strips) == 1 else {n: np.concatenate([s[n] for s in strips]) for n in names}
        return [{name: whole[f"{name}_{number}"] for name in ours} for number in range(len(scenes))]


def _patch(
    scene: Scene,
    product: Product,
    grid: PatchGrid,
    plan: Plan,
    parts: Sequence[Mapping[str, NDArray[np.generic]]],
    num_bytes: int,
) -> Patch:
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


def _compute_value(expression: Any) -> Any:
    from ee import data  # pyright: ignore[reportMissingTypeStubs]

    try:
        return data.computeValue(expression)
    except Ssl4eoError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise Broken(f"an answer that is none ({type(error).__name__}: {error})") from error


def _compute_pixels(
    expression: Any, grid: dict[str, Any], names: Sequence[str], size: tuple[int, int]
) -> dict[str, NDArray[np.generic]]:
    from ee import data  # pyright: ignore[reportMissingTypeStubs]

    request = {"expression": expression, "fileFormat": "NUMPY_NDARRAY", "grid": grid, "bandIds": list(names)}
    try:
        return planes_of(data.computePixels(request), names, size)
    except Ssl4eoError:
        raise
    except (ValueError, EOFError) as error:  # numpy: cut short, or no array
        raise Broken(f"bytes that are no array ({type(error).__name__}: {error})") from error
