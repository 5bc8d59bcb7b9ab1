# SPDX-License-Identifier: Apache-2.0
"""The files of one location: what is known of it, its pictures, histograms, and its pixels to take away."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive
from ssl4eo.collection.geotiff_write import encode_geotiff
from ssl4eo.gallery.columns import texts_of
from ssl4eo.pictures.composites import composite_of, composites_of
from ssl4eo.pictures.render import encode, render, resized
from ssl4eo.pictures.stretches import Limits, limits_of
from ssl4eo.pictures.values import kind_of, no_data, physical
from ssl4eo.sample import Image, Transform

THUMB = 96
"""Longer side of a thumbnail [px]."""
BINS = 48
"""Of a histogram."""
_HELD = 48
"""Modalities of locations whose images are held in memory."""


class LocationFiles:
    """Makes the files of any location of an archive; may be used by several threads."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._images = lru_cache(maxsize=_HELD)(self._read)
        self._limits = lru_cache(maxsize=8 * _HELD)(self._find_limits)

    def _read(self, location: str, modality: str) -> tuple[Image, ...]:
        seasons = range(self.archive.num_seasons)
        return tuple(self.archive.read(modality, location=location, season=season) for season in seasons)

    def _find_limits(self, location: str, modality: str, composite: str, stretch: str, season: int) -> Limits:
        images = self._images(location, modality)
        chosen = images if season < 0 else images[season : season + 1]
        return limits_of(chosen, composite_of(modality, images[0].form.bands, composite), stretch)

    def picture(self, location: str, modality: str, season: int, composite: str, stretch: str) -> bytes:
        """Draw an image as WebP."""
        limits = self._limits(location, modality, composite, stretch, season if stretch == "own" else -1)
        image = self._images(location, modality)[season]
        return encode(render(image, composite, limits=limits), "webp", quality=82)

    def thumb(self, location: str) -> bytes:
        """Draw the first season of the first optical modality, small."""
        modality = thumb_modality(self.archive)
        composite = composite_of(modality, self.archive.form(modality).bands)
        image = self.archive.read(modality, location=location, season=0)
        return encode(resized(render(image, composite), THUMB), "webp", quality=70)

    def info(self, location: str, *, wrong: str = "") -> bytes:
        """Tell what is known of a location, without its pixels."""
        archive = self.archive
        index = archive.index_of(location)
        place = archive.location(index)
        rows = {
            name: [self._image_row(name, index, s) for s in range(archive.num_seasons)] for name in archive.modalities
        }
        about = {
            "id": place.id,
            "index": index,
            "lon": place.lon,
            "lat": place.lat,
            "previous": archive.ids[index - 1] if index else None,
            "next": archive.ids[index + 1] if index + 1 < len(archive) else None,
            "labels": texts_of(archive.labels_of(index)),
            "images": rows,
            "wrong": wrong,
        }
        return json.dumps(about, ensure_ascii=False).encode()

    def _image_row(self, name: str, index: int, season: int) -> dict[str, Any]:
        row = self.archive.image_facts(name, location=index, season=season)
        time = row.pop("time")
        contract = self.archive.form(name).contract(row["offset"])
        return {**row, "time": None if time is None else time.isoformat(), "contract": str(contract)}

    def histograms(self, location: str) -> bytes:
        """Count the pixels of every band: by modality and band the edges and, by season, counts; nodata left out."""
        out: dict[str, dict[str, Any]] = {}
        for modality in self.archive.modalities:
            images = self._images(location, modality)
            masks = [no_data(image) for image in images]
            out[modality] = {band: _histogram(images, masks, band) for band in images[0].form.bands}
        return json.dumps(out).encode()

    def geotiff(self, location: str, modality: str, season: int, resolution: int) -> bytes:
        """Write the bands of one native grid, values as stored, in their place."""
        image = self._images(location, modality)[season]
        bands = image.form.bands_at(resolution)
        pixels = image.pixels[resolution]
        return encode_geotiff(
            pixels.astype(np.float32) if pixels.dtype == np.float16 else pixels,  # exact; GeoTIFF has no float16
            crs=image.crs,
            transform=_scaled(image.transform, resolution / image.form.base),
            compress="deflate",
            names=bands,
            tags={f"SSL4EO_{key.upper()}": value for key, value in self._about(location, image).items()},
        )

    def arrays(self, location: str, modality: str, season: int) -> bytes:
        """Write all native grids as NumPy arrays `10m`, `20m`, ..., the names of their bands and what is known."""
        image = self._images(location, modality)[season]
        content: dict[str, NDArray[Any]] = {f"{r}m": image.pixels[r] for r in image.form.resolutions}
        content |= {f"{r}m_bands": np.array(bands) for r, bands in image.form.groups}
        content["about"] = np.array(json.dumps(self._about(location, image)))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **content)
        return buffer.getvalue()

    def _about(self, location: str, image: Image) -> dict[str, str]:
        provenance = self.archive.provenance
        return {
            "location": location,
            "contract": str(image.contract),
            "product": image.product,
            "time": "" if image.time is None else image.time.isoformat(),
            "crs": image.crs,
            "transform": "" if image.transform is None else json.dumps(list(image.transform)),
            "valid": json.dumps(image.valid),
            "title": provenance.title,
            "licence": provenance.licence,
            "synthetic": json.dumps(provenance.synthetic),
        }


def thumb_modality(archive: Archive) -> str:
    """Name the modality that thumbnails show: Sentinel-2 L2A if there, else another with true color, else the first."""
    colored = [m for m in archive.modalities if "true-color" in composites_of(m, archive.form(m).bands)]
    return min(colored, key=lambda m: m != "S2L2A", default=archive.modalities[0])


def _scaled(transform: Transform | None, factor: float) -> Transform | None:
    if transform is None:
        return None
    a, b, c, d, e, f = transform
    return (a * factor, b * factor, c, d * factor, e * factor, f)


def _histogram(images: tuple[Image, ...], masks: list[NDArray[np.bool_]], band: str) -> dict[str, Any]:
    planes = list(_seen(images, masks, band))
    known = np.concatenate(planes)
    low, high = (float(v) for v in np.percentile(known, (0.1, 99.9))) if known.size else (0.0, 1.0)
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    counts = [np.histogram(np.clip(plane, low, high), bins=BINS, range=(low, high))[0].tolist() for plane in planes]
    return {"low": low, "high": high, "unit": kind_of(images[0].modality, band), "counts": counts}


def _seen(images: tuple[Image, ...], masks: list[NDArray[np.bool_]], band: str) -> Iterator[NDArray[np.float32]]:
    for image, mask in zip(images, masks, strict=True):
        values = physical(image, band)
        step = mask.shape[0] // values.shape[0]
        yield values[~mask[::step, ::step] & np.isfinite(values)]
