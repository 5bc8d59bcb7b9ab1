# SPDX-License-Identifier: Apache-2.0
"""The files of one location: what is known of it, its pictures, histograms, and its pixels to take away.

Damage reaches no further than it must: a file is made unless a grid that it needs cannot be read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive
from ssl4eo.archive.remains import Damage, read_remains
from ssl4eo.collection.geotiff_write import encode_geotiff
from ssl4eo.errors import ShardCorrupt
from ssl4eo.gallery.columns import texts_of
from ssl4eo.gallery.trouble import without_folders
from ssl4eo.pictures.composites import composite_of, composites_of
from ssl4eo.pictures.render import encode, render, resized
from ssl4eo.pictures.stretches import Limits, limits_of
from ssl4eo.pictures.values import kind_of, no_data, physical, steps_of
from ssl4eo.sample import Image, Transform

THUMB = 96
"""Longer side of a thumbnail [px]."""
BINS = 48
"""Of a histogram, at most."""
PERCENTILES = (0.1, 99.9)
"""Of all seasons, between which a histogram lies; what is outside is counted in its end bins."""
_HELD = 48
"""Modalities of locations whose images are held in memory."""


class LocationFiles:
    """Makes the files of any location of an archive; may be used by several threads."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._whole = lru_cache(maxsize=_HELD * archive.num_seasons)(self._read)
        self._limits = lru_cache(maxsize=8 * _HELD)(self._find_limits)

    def _read(self, location: str, modality: str, season: int) -> Image:
        return self.archive.read(modality, location=location, season=season)

    def _image(self, location: str, modality: str, season: int) -> tuple[Image, Damage]:
        """Read an image, or what is left of it; that is read anew each time, for the archive may be mended."""
        try:
            return self._whole(location, modality, season), {}
        except ShardCorrupt:
            return read_remains(self.archive, modality, location=location, season=season)

    def _image_with(self, location: str, modality: str, season: int, needed: Iterable[int]) -> Image:
        """Read an image some of whose grids are needed.

        Raises:
            ShardCorrupt: one of these cannot be read.
        """
        image, damage = self._image(location, modality, season)
        for resolution in needed:
            if resolution in damage:
                raise damage[resolution]
        return image

    def _find_limits(self, location: str, modality: str, composite: str, stretch: str, season: int) -> Limits:
        form = self.archive.form(modality)
        drawn = composite_of(modality, form.bands, composite)
        needed = set(form.resolutions_of(drawn.bands))
        read = [
            self._image(location, modality, s) for s in (range(self.archive.num_seasons) if season < 0 else [season])
        ]
        return limits_of([image for image, damage in read if not needed & set(damage)], drawn, stretch)

    def picture(self, location: str, modality: str, season: int, composite: str, stretch: str) -> bytes:
        """Draw an image as WebP.

        Raises:
            ShardCorrupt: a grid that the composite needs cannot be read.
        """
        form = self.archive.form(modality)
        needed = form.resolutions_of(composite_of(modality, form.bands, composite).bands)
        image = self._image_with(location, modality, season, needed)
        limits = self._limits(location, modality, composite, stretch, season if stretch == "own" else -1)
        return encode(render(image, composite, limits=limits), "webp", quality=82)

    def shared(self, location: str, composites: Mapping[str, Sequence[str]]) -> bytes:
        """Tell over how many seasons `shared` brightness was taken, those that can be read, by modality and composite.

        Args:
            location: id.
            composites: by modality their names.
        """
        told: dict[str, dict[str, int]] = {}
        for modality, names in composites.items():
            form = self.archive.form(modality)
            damages = [set(self._image(location, modality, s)[1]) for s in range(self.archive.num_seasons)]
            needs = {name: set(form.resolutions_of(composite_of(modality, form.bands, name).bands)) for name in names}
            told[modality] = {name: sum(not needed & damage for damage in damages) for name, needed in needs.items()}
        return json.dumps(told).encode()

    def thumb(self, location: str) -> bytes:
        """Draw the first season of the first optical modality, small."""
        modality = thumb_modality(self.archive)
        composite = composite_of(modality, self.archive.form(modality).bands)
        needed = self.archive.form(modality).resolutions_of(composite.bands)
        image = self._image_with(location, modality, 0, needed)
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
        """Count the pixels of every band: by modality and band the edges and, by season, counts; nodata left out.

        Counts are null where a grid cannot be read; `wrong` tells by modality why.
        """
        out: dict[str, dict[str, Any]] = {"wrong": {}}
        for modality in self.archive.modalities:
            read = [self._image(location, modality, s) for s in range(self.archive.num_seasons)]
            masks = [no_data(image) for image, _ in read]
            out[modality] = {}
            for resolution, bands in self.archive.form(modality).groups:
                pairs = zip(read, masks, strict=True)
                seen = [None if resolution in damage else (image, mask) for (image, damage), mask in pairs]
                out[modality] |= {band: _histogram(seen, modality, band) for band in bands}
            out[modality] = {band: out[modality][band] for band in self.archive.form(modality).bands}
            found = [error for _, damage in read for error in damage.values()]
            if faults := [without_folders(error, self.archive.path.parent) for error in found]:
                out["wrong"][modality] = faults
        return json.dumps(out).encode()

    def geotiff(self, location: str, modality: str, season: int, resolution: int) -> bytes:
        """Write the bands of one native grid, values as stored, in their place."""
        image = self._image_with(location, modality, season, [resolution])
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
        image = self._image_with(location, modality, season, self.archive.form(modality).resolutions)
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


def _histogram(seen: Sequence[tuple[Image, NDArray[np.bool_]] | None], modality: str, band: str) -> dict[str, Any]:
    """Count the pixels of a band in images with masks of nodata, by season; None for one that cannot be read."""
    planes = [None if pair is None else _known(*pair, band) for pair in seen]
    known = np.concatenate([np.empty(0, np.float32), *(plane for plane in planes if plane is not None)])
    steps = [steps_of(pair[0], band) for pair in seen if pair is not None]
    low, high, bins = _ranged(known, steps[0] if steps else None)
    counts = [None if plane is None else _counts(plane, low, high, bins) for plane in planes]
    return {"low": low, "high": high, "unit": kind_of(modality, band), "counts": counts}


def _ranged(known: NDArray[np.float32], steps: tuple[float, float] | None) -> tuple[float, float, int]:
    """Give the ends and the number of bins: from percentile 0.1 to 99.9, a bin as wide as one stored value or several.

    Stored values lie in the middle of their bins, or as many in each: bins between them would be empty.
    """
    if not known.size:
        return 0.0, 1.0, BINS
    low, high = (float(v) for v in np.percentile(known, PERCENTILES))
    if steps is None:
        return (low, high, BINS) if high - low >= 1e-6 else (low - 0.5, high + 0.5, BINS)
    step, origin = steps
    first, last = (round((v - origin) / step) for v in (low, high))
    width = -(-(last - first + 1) // BINS)
    bins = -(-(last - first + 1) // width)
    start = origin + (first - 0.5) * step
    return start, start + bins * width * step, bins


def _counts(plane: NDArray[np.float32], low: float, high: float, bins: int) -> list[int]:
    return np.histogram(np.clip(plane, low, high), bins=bins, range=(low, high))[0].tolist()


def _known(image: Image, mask: NDArray[np.bool_], band: str) -> NDArray[np.float32]:
    values = physical(image, band)
    step = mask.shape[0] // values.shape[0]
    return values[~mask[::step, ::step] & np.isfinite(values)]
