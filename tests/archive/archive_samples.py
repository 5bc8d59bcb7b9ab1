# SPDX-License-Identifier: Apache-2.0
"""Small samples with every kind of metadata, and archives of them: helpers of the archive tests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.form import Form
from ssl4eo.grid import size_at
from ssl4eo.sample import Image, Location, Provenance, Sample
from ssl4eo.sensors import modality

PROVENANCE = Provenance("tiny", synthetic=True, licence="CC0-1.0", details={"seed": 7})
MODALITIES = ("S1GRD", "S2L1C")
START = dt.datetime(2020, 1, 1, 10, 30, 5, tzinfo=dt.UTC)


def make_image(form: Form, rng: np.random.Generator, season: int, size: tuple[int, int], offset: int = 0) -> Image:
    known = modality(form.modality)
    pixels = {}
    for resolution, bands in form.groups:
        values = rng.integers(1, 10_000, (len(bands), *(size_at(resolution, s, form.base) for s in size)))
        pixels[resolution] = (values / -400 if form.dtype.startswith("float") else values).astype(form.dtype)
    return Image(
        form.modality,
        pixels,
        time=START + dt.timedelta(days=91 * season, seconds=int(rng.integers(0, 3600))),
        product=f"{form.modality}_product_{season}",
        crs="EPSG:32631" if season else "",
        transform=(10.0, 0.0, 5e5 + season / 3, 0.0, -10.0, 4.2e6) if season else None,
        baseline=301 if season else None,
        offset=offset if known.unit == "DN" else 0,
        kept=form,
        valid=season != 1,
    )


def make_sample(
    number: int,
    *,
    modalities: Iterable[str] = MODALITIES,
    forms: Iterable[Form] | None = None,
    num_seasons: int = 2,
    size: tuple[int, int] = (12, 18),
    masks: Iterable[str] | Mapping[str, bool] = (),
    offset: int = 0,
) -> Sample:
    """Make a sample of native images of `modalities`, or of `forms`; `masks` may say which are seasonal."""
    rng = np.random.default_rng(number)
    place = Location(f"{number:07d}", 10.5 + number / 100, 45.25) if number % 2 == 0 else Location(f"{number:07d}")
    forms = tuple(Form.native(name) for name in modalities) if forms is None else tuple(forms)
    seasonal = masks if isinstance(masks, Mapping) else dict.fromkeys(masks, False)
    return Sample(
        place,
        {f.modality: tuple(make_image(f, rng, s, size, offset) for s in range(num_seasons)) for f in forms},
        labels={"scene": f"kind {number % 3}", "height": number * 1.5, "count": number},
        masks={
            name: rng.integers(0, 9, (num_seasons, *size) if by_season else size).astype(np.uint8)
            for name, by_season in seasonal.items()
        },
    )


def make_writer(path: Path, **changes: object) -> ArchiveWriter:
    """Open a writer of small native images; `modalities` stands for their forms, `masks` may be a list of names."""
    spec = {"modalities": MODALITIES, "num_seasons": 2, "shape": (12, 18), "provenance": PROVENANCE, **changes}
    spec.setdefault("forms", tuple(Form.native(name) for name in spec["modalities"]))
    masks = spec.get("masks", {})
    spec["masks"] = masks if isinstance(masks, Mapping) else dict.fromkeys(masks, False)
    del spec["modalities"]
    return ArchiveWriter(path, **spec)


def write_archive(path: Path, samples: Iterable[Sample], **changes: object) -> Path:
    with make_writer(path, **changes) as writer:
        for sample in samples:
            writer.append(sample)
        writer.finish()
    return path


def flip(path: Path, position: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x40
    path.write_bytes(data)


def same_image(left: Image, right: Image) -> bool:
    """Compare all fields and all pixels, exactly."""
    fields = ("modality", "time", "product", "crs", "transform", "baseline", "offset", "form", "valid")
    same_pixels = all(
        np.array_equal(left.pixels[r], right.pixels[r]) and left.pixels[r].dtype == right.pixels[r].dtype
        for r in left.pixels
    )
    return same_pixels and all(getattr(left, f) == getattr(right, f) for f in fields)


def same_sample(left: Sample, right: Sample) -> bool:
    """Compare two samples wholly, exactly."""
    return (
        left.location == right.location
        and left.labels == right.labels
        and left.masks.keys() == right.masks.keys()
        and all(np.array_equal(left.masks[name], right.masks[name]) for name in left.masks)
        and left.images.keys() == right.images.keys()
        and all(
            same_image(a, b) for name in left.images for a, b in zip(left.images[name], right.images[name], strict=True)
        )
    )
