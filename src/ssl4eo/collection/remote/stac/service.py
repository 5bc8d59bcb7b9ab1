# SPDX-License-Identifier: Apache-2.0
"""A STAC catalog as a service: search, read, price.

A patch takes one search an interval and, of each scene, one open a band; bands are read at the same time. `connections`
bounds the requests that are under way at once, whatever the number of callers.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.offset import contradiction
from ssl4eo.collection.remote.cloud_masks import hidden_share
from ssl4eo.collection.remote.metering import in_context
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.retrying import Retry
from ssl4eo.collection.remote.service import Patch, Price, Product, Scene
from ssl4eo.collection.remote.stac import values
from ssl4eo.collection.remote.stac.access import Access
from ssl4eo.collection.remote.stac.catalogs import catalog as known_catalog
from ssl4eo.collection.remote.stac.connections import Connections
from ssl4eo.collection.remote.stac.items import newest, scene_of
from ssl4eo.collection.remote.stac.patience import Pace
from ssl4eo.collection.remote.stac.pixels import Plane, Target, read_plane
from ssl4eo.collection.remote.stac.pricing import price_of
from ssl4eo.collection.remote.stac.profile import Catalog, Profile
from ssl4eo.collection.remote.stac.store import Asset, Store
from ssl4eo.errors import ConfigInvalid, SampleInvalid, SourceInvalid
from ssl4eo.locations.window import Range
from ssl4eo.sample import Image, Location

OFFSET_CHOICES = ("harmonize", "keep")


class StacService:
    """The scenes of one STAC catalog. Safe to use from threads; pickles without its connections and tokens."""

    def __init__(
        self,
        catalog: Catalog | str,
        *,
        offset: str = "harmonize",
        connections: int = 16,
        read_timeout: float = 60.0,
        retry: Retry | None = None,
    ) -> None:
        """Describe a service; nothing is asked before the first search or read.

        Args:
            catalog: its description, or the name of one in `catalogs.py`.
            offset: `harmonize` takes the +1000 DN away as Earth Engine's HARMONIZED collections do, `keep` leaves it.
            connections: requests under way at once.
            read_timeout: without a single byte before a connection counts as stalled [s].
            retry: patience with failures.

        Raises:
            UnknownName: no catalog is called that.
            ConfigInvalid: another word for `offset`, or no connection.
        """
        if offset not in OFFSET_CHOICES:
            raise ConfigInvalid(f"offset {offset!r}", expected=f"one of {', '.join(OFFSET_CHOICES)}")
        if connections < 1:
            raise ConfigInvalid(f"{connections} connections", expected="1 or more")
        self.catalog = known_catalog(catalog) if isinstance(catalog, str) else catalog
        self._offset = offset
        self._count = connections
        self._read_timeout = read_timeout
        self._retry = retry or Retry()
        self._start()

    def _start(self) -> None:
        self._pace = Pace(self._retry, self._count)
        connections = Connections(most=self._count, read_timeout=self._read_timeout)
        self._store = Store(Access(self.catalog, self._pace, connections), self._pace, connections)
        self._lock = threading.Lock()
        self._client: Any = None
        # Bands wait for ranges: one pool for both could fill up with bands that wait for each other.
        self._bands = ThreadPoolExecutor(self._count, "stac-band")
        self._ranges = ThreadPoolExecutor(self._count, "stac-range")

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process without connections."""
        kept = ("catalog", "_offset", "_count", "_read_timeout", "_retry")
        return {name: vars(self)[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Begin anew."""
        vars(self).update(state)
        self._start()

    def close(self) -> None:
        """End the threads that read; the service is not to be used any more."""
        self._bands.shutdown()
        self._ranges.shutdown()

    @property
    def name(self) -> str:
        """Of the catalog."""
        return self.catalog.name

    @property
    def settings(self) -> str:
        """Where the catalog is, and what is done with the +1000 DN."""
        return f"{self.catalog.api}, offset {self._offset}"

    def product(self, modality: str) -> Product:
        """Give what the catalog has of a modality.

        Raises:
            UnknownName: it has none; the remedy names who does.
        """
        return self.catalog.profile(modality).product

    def search(self, location: Location, ranges: Sequence[Range], product: Product) -> list[Scene]:
        """List all scenes that cover a point within any of the ranges: one request an interval, more for more pages.

        Raises:
            ServiceFailed: refused or unreachable after all retries.
            SampleInvalid: a location without a point.
            UnknownName: a product of a modality that the catalog does not have.
        """
        from ssl4eo.collection.remote.stac.searching import intervals, items  # pystac is heavy

        if location.lon is None or location.lat is None:
            raise SampleInvalid(f"location {location.id} has no point", expected="longitude and latitude")
        profile = self.catalog.profile(product.modality)
        client = self._open_client()
        found: list[Scene] = []
        for interval in intervals(ranges):
            for item in items(
                client,
                self.catalog,
                collection=product.collection,
                point=(location.lon, location.lat),
                interval=interval,
                filters=product.filters,
            ):
                scene = scene_of(item, profile, product, harmonize=self._offset == "harmonize")
                if scene is not None and any(r.start <= scene.time < r.end for r in ranges):
                    found.append(scene)
        return newest(found)

    def _open_client(self) -> Any:
        from ssl4eo.collection.remote.stac.searching import open_client  # pystac is heavy

        with self._lock:
            if self._client is None:
                self._client = open_client(
                    self.catalog, self._pace, connections=self._count, read_timeout=self._read_timeout
                )
            return self._client

    def read(self, scenes: Sequence[Scene], product: Product, grid: PatchGrid) -> list[Patch | SourceInvalid]:
        """Read all bands of scenes on a grid, and the mask if there is one; all of them at the same time.

        Returns:
            For each scene its patch, or why there is none: an asset is gone, damaged, on another grid where that is
            refused, or its pixels contradict what the item says of the offset; names product and asset.

        Raises:
            ServiceFailed: refused or unreachable after all retries.
            ConfigInvalid: a bucket without keys in the environment.
        """
        under_way = [self._begin(scene, product, grid) for scene in scenes]
        for planes in under_way:
            if isinstance(planes, dict):
                wait(planes.values())
        return [
            planes if isinstance(planes, SourceInvalid) else self._end(scene, product, grid, planes)
            for scene, planes in zip(scenes, under_way, strict=True)
        ]

    def _begin(self, scene: Scene, product: Product, grid: PatchGrid) -> dict[str, Future[Plane]] | SourceInvalid:
        profile = self.catalog.profile(product.modality)
        wanted = {
            name: (key, Target(grid, resolution, profile.nodata, profile.resampling))
            for resolution, names in product.form.groups
            for name, key in ((name, product.bands[name]) for name in names)
        }
        if product.mask:
            wanted["mask"] = (product.mask, _mask_target(product, profile, grid))
        try:
            assets = {name: _asset(scene, key) for name, (key, _) in wanted.items()}
        except SourceInvalid as error:
            return error
        return {
            name: self._bands.submit(in_context(read_plane), self._store, assets[name], target, self._ranges)
            for name, (_, target) in wanted.items()
        }

    def _end(
        self, scene: Scene, product: Product, grid: PatchGrid, planes: Mapping[str, Future[Plane]]
    ) -> Patch | SourceInvalid:
        errors = [error for future in planes.values() if (error := future.exception()) is not None]
        try:
            if errors:
                # A vanished scene says more than a busy host: with it another scene may do.
                raise next((error for error in errors if isinstance(error, SourceInvalid)), errors[0])
            profile = self.catalog.profile(product.modality)
            return _patch(scene, product, profile, grid, {name: future.result() for name, future in planes.items()})
        except SourceInvalid as error:
            return error

    def price(self, product: Product, grid: PatchGrid, *, num_scenes: int) -> tuple[Price, Price]:
        """Estimate one search of one interval, and the reading of so many scenes."""
        search, read = price_of(self.catalog.profile(product.modality), product, grid)
        return search, read * num_scenes


def _asset(scene: Scene, key: str) -> Asset:
    try:
        return Asset(scene.product, key, scene.handle["hrefs"][key], scene.handle["collection"])
    except KeyError as error:
        raise SourceInvalid(
            f"{scene.product} was found without asset {key}",
            expected="the product that the search was for",
            product=scene.product,
            asset=key,
        ) from error


def _mask_target(product: Product, profile: Profile, grid: PatchGrid) -> Target:
    if product.mask_kind == "landsat_qa":
        return Target(grid, product.form.base, 1, "nearest")  # outside of the file as its own fill: bit 0
    return Target(grid, 20, 0, "refuse" if profile.resampling == "refuse" else "nearest")


def _patch(scene: Scene, product: Product, profile: Profile, grid: PatchGrid, planes: dict[str, Plane]) -> Patch:
    mask = planes.pop("mask", None)
    stored: int = scene.handle["stored_offset"]
    _require_agreement(scene, profile, planes, stored)
    pixels: dict[int, NDArray[Any]] = {}
    for resolution, names in product.form.groups:
        converted = (
            values.convert(profile.values, planes[name].pixels, planes[name].valid, subtract=stored - scene.offset)
            for name in names
        )
        pixels[resolution] = np.stack(list(converted))
    seen = np.any([planes[name].valid for name in product.form.groups[0][1]], axis=0)
    image = Image(
        modality=product.modality,
        pixels=pixels,
        time=scene.time,
        product=scene.product,
        crs=grid.crs,
        transform=grid.transform(product.form.base),
        baseline=scene.baseline,
        offset=scene.offset,
        kept=product.form,
    )
    every = [*planes.values(), *([mask] if mask is not None else [])]
    return Patch(
        image=image,
        observed=float(np.mean(seen)),
        cloud=None if mask is None else hidden_share(product.mask_kind, mask.pixels, mask.valid, scene.time),
        num_bytes=sum(plane.num_bytes for plane in every),
        resampling=next((plane.resampling for plane in planes.values() if plane.resampling), ""),
    )


def _require_agreement(scene: Scene, profile: Profile, planes: dict[str, Plane], stored: int) -> None:
    """Refuse pixels that cannot contain the offset that a flag tells: some hosts' flags are wrong."""
    if not profile.offset.startswith("flag:") or not stored:
        return
    for name, plane in planes.items():
        against = contradiction(stored, plane.pixels[None], [name])
        if against:
            raise SourceInvalid(
                f"{scene.product} cannot contain +{stored} DN, as its item says: {against}",
                expected="pixels that agree with the item",
                remedy="take another scene, or another catalog",
                product=scene.product,
                asset=profile.bands[name],
            )
