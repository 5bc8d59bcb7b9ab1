# SPDX-License-Identifier: Apache-2.0
"""What was collected before as a service: places, seasons, modalities and bands of an archive or a published layout.

Stands here because a service belongs to `collection` and archives to `archive`, and neither knows the other.
A place is found by its id. Its images are the scenes; those whose windows have none are skipped, and the ledger says
so. Pixels are those that are stored, bit for bit: nothing is resampled. Where images tell a grid in UTM, the patch may
be a smaller one anywhere within; where they do not (published GeoTIFFs tell degrees), it is the stored one or none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.service import Patch, Price, Product, Scene
from ssl4eo.collection.source import Source, is_stream
from ssl4eo.errors import ConfigInvalid, LocationMissing, NoImagery, SourceInvalid, unknown_name
from ssl4eo.form import Form
from ssl4eo.locations.place import Place
from ssl4eo.locations.window import Range
from ssl4eo.packing.archives import SAME_PLACE_DEG, is_archive
from ssl4eo.packing.layouts import open_source
from ssl4eo.sample import Image, Location, Sample

_HELD_SAMPLES = 32
"""Kept between the search at a place and its reading."""
_MADE_ANEW = ("attempt", "crs", "max_cloud_", "s1_s2_", "season_order")
"""Starts of facts of a place that a collection finds for itself."""


@lru_cache(maxsize=4)
def _opened(path: Path) -> Source:
    source = open_source(path)
    if is_stream(source):
        raise ConfigInvalid(
            f"{path} can only be read from front to back",
            expected="an archive, or a layout of files",
            remedy=f"pack it first: ssl4eo pack {path} a.zarr",
        )
    return source  # type: ignore[return-value]


@lru_cache(maxsize=_HELD_SAMPLES)
def _sample(path: Path, place: str) -> Sample:
    return _opened(path).read(place)


@dataclass(frozen=True)
class PublishedService:
    """Images on disk; pickles as a path."""

    path: Path
    bands: tuple[str, ...] = ()
    """Those to take of every modality that has some of them; empty: all."""

    @property
    def name(self) -> str:
        """With what tells one archive from another; `synthetic` first where it is."""
        source = _opened(self.path)
        kind = "synthetic, published" if source.provenance.synthetic else "published"
        return f"{kind} {self.path.resolve().name} of {len(source.ids())}"

    @property
    def settings(self) -> str:
        """None: the name tells the archive, the products its bands."""
        return ""

    def product(self, modality: str) -> Product:
        """Give what is stored of a modality.

        Raises:
            UnknownName: nothing is.
            ConfigInvalid: none of the bands.
        """
        source = _opened(self.path)
        forms = {form.modality: form for form in source.forms}
        if modality not in forms:
            raise unknown_name(f"modality of {self.path.name}", modality, forms)
        form = self._cut(forms[modality])
        return Product(
            modality,
            collection=self.path.name,
            bands={band: band for band in form.bands},
            form=form,
            licence=source.provenance.licence,
            remarks="as it is stored",
        )

    def _cut(self, form: Form) -> Form:
        groups = [(r, tuple(b for b in bands if not self.bands or b in self.bands)) for r, bands in form.groups]
        kept = tuple((resolution, bands) for resolution, bands in groups if bands)
        if not kept:
            raise ConfigInvalid(
                f"none of the bands {' '.join(self.bands)} in {form.modality}",
                expected=f"some of {' '.join(form.bands)}",
                remedy="leave the modality out, or name bands of it, too",
            )
        return replace(form, groups=kept)

    def search(self, location: Location, ranges: Sequence[Range], product: Product) -> list[Scene]:
        """List the stored images of a place that were taken within any of the ranges.

        Raises:
            NoImagery: the place is not stored, lies elsewhere there, or its images tell no times.
        """
        try:
            sample = _sample(self.path, location.id)
        except LocationMissing as error:
            raise _none(f"{self.path.name} has no location {location.id}") from error
        _require_near(sample.location, location, self.path.name)
        images = sample.images[product.modality]
        if any(image.time is None for image in images):
            raise _none(f"{product.modality} images of {self.path.name} do not tell their times")
        scenes = [_scene(image, season, location.id) for season, image in enumerate(images)]
        inside = [scene for scene in scenes if any(r.start <= scene.time < r.end for r in ranges)]
        return sorted(inside, key=lambda scene: (scene.time, scene.product))

    def read(self, scenes: Sequence[Scene], product: Product, grid: PatchGrid) -> list[Patch | SourceInvalid]:
        """Give the stored pixels under a grid.

        Raises:
            ConfigInvalid: the patch is larger than what is stored, or a part of an image that does not tell its grid.
        """
        return [self._patch(scene, product, grid) for scene in scenes]

    def price(self, product: Product, grid: PatchGrid, *, num_scenes: int) -> tuple[Price, Price]:
        """Nothing comes over a network."""
        del product, grid, num_scenes
        return Price(0, 0), Price(0, 0)

    def places(self) -> list[Place]:
        """List all places of an archive, with the facts that are known of them.

        Raises:
            ConfigInvalid: it is no archive.
        """
        if not is_archive(self.path):
            raise ConfigInvalid(
                f"{self.path} is no archive", expected="--places with its ids", remedy=f"or ssl4eo pack {self.path}"
            )
        archive = open_archive(self.path)
        points = [archive.location(name) for name in archive.ids]
        if any(point.lon is None for point in points):
            raise ConfigInvalid(f"{self.path} does not tell where its locations lie", expected="--places with points")
        return [Place(p.id, ((p.lon or 0.0, p.lat or 0.0),), _own_facts(archive.labels_of(p.id))) for p in points]

    def _patch(self, scene: Scene, product: Product, grid: PatchGrid) -> Patch | SourceInvalid:
        try:
            image = _sample(self.path, str(scene.handle["place"])).images[product.modality][int(scene.handle["season"])]
            left, top = _corner(image, product.form, grid)
        except SourceInvalid as error:
            return error
        pixels: dict[int, NDArray[np.generic]] = {}
        for resolution, bands in product.form.groups:
            stored = image.form.bands_at(resolution)
            step = resolution // product.form.base
            window = (left // step, top // step, grid.num_pixels(resolution))
            pixels[resolution] = _window(image.pixels[resolution][[stored.index(b) for b in bands]], *window)
        height, width = image.shape
        share = _overlap(left, grid.size, width) * _overlap(top, grid.size, height) / grid.size**2
        moved = _moved(image, left, top)
        cut = replace(image, pixels=pixels, kept=product.form, transform=moved, valid=image.valid and share == 1)
        return Patch(cut, observed=share if image.valid else 0.0, cloud=None, num_bytes=0)


def _own_facts(labels: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in labels.items() if not name.startswith(_MADE_ANEW)}


def _none(found: str) -> NoImagery:
    return NoImagery(found, expected="a stored image")


def _require_near(stored: Location, wanted: Location, name: str) -> None:
    pairs = ((stored.lon, wanted.lon), (stored.lat, wanted.lat))
    if any(a is not None and b is not None and abs(a - b) > SAME_PLACE_DEG for a, b in pairs):
        raise _none(f"location {wanted.id} of {name} lies at {stored.lon}, {stored.lat}")


def _scene(image: Image, season: int, place: str) -> Scene:
    assert image.time is not None
    is_utm = image.crs.startswith(("EPSG:326", "EPSG:327"))
    return Scene(
        image.product or f"{place}_{image.modality}_{season}",
        image.modality,
        image.time,
        None,
        image.crs if is_utm else "",
        image.baseline,
        image.offset,
        handle={"place": place, "season": season},
    )


def _corner(image: Image, form: Form, grid: PatchGrid) -> tuple[int, int]:
    """Give the column and row of the image's finest grid where the patch starts.

    Raises:
        SourceInvalid: pixels of the two do not coincide.
        ConfigInvalid: see `PublishedService.read`.
    """
    side = min(image.shape)
    if grid.size > side or grid.base != image.form.base:
        raise ConfigInvalid(
            f"patches of {grid.size} px of {grid.base} m out of images of {side} px of {image.form.base} m",
            expected="the stored size or a smaller one, on the stored grid",
            remedy=f"--size {side}",
        )
    t = image.transform
    if image.crs != grid.crs or t is None or (t[0], t[1], t[3], t[4]) != (grid.base, 0, 0, -grid.base):
        if image.shape != (grid.size, grid.size):
            raise ConfigInvalid(
                f"a part of {grid.size} px of images whose grid is not known in {grid.crs}",
                expected=f"whole images of {side} px",
                remedy=f"--size {side}",
            )
        return 0, 0
    across, down = (grid.left - t[2]) / grid.base, (t[5] - grid.top) / grid.base
    # Landsat's pixels start half a pixel beside
    left, top = math.floor(across + 0.5), math.floor(down + 0.5)
    steps = {resolution // form.base for resolution in form.resolutions}
    if any(left % step or top % step for step in steps) or not {across - left, down - top} <= {0.0, -0.5}:
        raise SourceInvalid(
            f"pixels of {image.product} start {across:g} columns and {down:g} rows from the patch",
            expected="whole pixels of every band",
        )
    return left, top


def _moved(image: Image, left: int, top: int) -> Any:
    if image.transform is None or (left, top) == (0, 0):
        return image.transform
    a, b, c, d, e, f = image.transform
    return (a, b, c + a * left, d, e, f + e * top)


def _overlap(first: int, size: int, length: int) -> int:
    return max(min(first + size, length) - max(first, 0), 0)


def _window(values: NDArray[np.generic], left: int, top: int, size: int) -> NDArray[np.generic]:
    """Cut a square out of (band, y, x); what lies outside is 0 of integers, NaN of floats."""
    fill = np.nan if values.dtype.kind == "f" else 0
    out = np.full((len(values), size, size), fill, values.dtype)
    rows, columns = (
        slice(max(at, 0), max(min(at + size, n), 0)) for at, n in zip((top, left), values.shape[1:], strict=True)
    )
    part = values[:, rows, columns]
    y, x = max(-top, 0), max(-left, 0)
    out[:, y : y + part.shape[1], x : x + part.shape[2]] = part
    return out
