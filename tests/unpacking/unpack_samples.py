# SPDX-License-Identifier: Apache-2.0
"""Small archives in every form, to be unpacked: a helper of these tests."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.form import Form
from ssl4eo.grid import size_at
from ssl4eo.sample import Image, Location, Provenance, Sample
from ssl4eo.sensors import modality

PROVENANCE = Provenance("tiny", synthetic=True, licence="CC0-1.0")
START = dt.datetime(2020, 3, 20, 10, 50, 31, tzinfo=dt.UTC)
SHAPE = (12, 18)


def product(name: str, time: dt.datetime) -> str:
    """Spell a product as published."""
    stamp = time.strftime("%Y%m%dT%H%M%S")
    if modality(name).unit == "dB":
        return f"S1B_IW_GRDH_1SDV_{stamp}_{stamp}_020748_027573_0A1B"
    return f"{stamp}_{stamp}_T31UFS"


def make_pixels(form: Form, rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> dict[int, np.ndarray]:
    pixels = {}
    for resolution, bands in form.groups:
        size = (len(bands), *(size_at(resolution, s, form.base) for s in shape))
        high = 256 if form.dtype == "uint8" else 60_000
        values = rng.integers(0, high, size)
        pixels[resolution] = (values / -2000).astype(form.dtype) if "float" in form.dtype else values.astype(form.dtype)
    return pixels


def make_sample(
    number: int,
    forms: Sequence[Form],
    *,
    num_seasons: int = 2,
    masks: Mapping[str, bool] | None = None,
    change: Callable[[Image], Image] = lambda image: image,
    name: str = "{:07d}",
) -> Sample:
    rng = np.random.default_rng(number)
    images = {}
    for form in forms:
        row = []
        for season in range(num_seasons):
            time = START + dt.timedelta(days=91 * season)
            image = Image(
                form.modality,
                make_pixels(form, rng),
                time=time,
                product=product(form.modality, time),
                crs="EPSG:32631",
                transform=(10.0, 0.0, 640_000.0 + number, 0.0, -10.0, 5_800_000.0),
                baseline=209 + season if modality(form.modality).unit == "DN" else None,
                kept=form,
            )
            row.append(change(image))
        images[form.modality] = tuple(row)
    drawn = {
        key: rng.integers(0, 9, (num_seasons, *SHAPE) if seasonal else SHAPE).astype(np.uint8)
        for key, seasonal in (masks or {}).items()
    }
    return Sample(Location(name.format(number), 5.25, 52.5), images, labels={"scene": "lake", "n": number}, masks=drawn)


def write_archive(
    path: Path,
    *forms: Form,
    num_locations: int = 3,
    num_seasons: int = 2,
    masks: Mapping[str, bool] | None = None,
    **options: object,
) -> Archive:
    """Write an archive of tiny images of these forms and open it."""
    with ArchiveWriter(
        path, forms=list(forms), num_seasons=num_seasons, shape=SHAPE, provenance=PROVENANCE, masks=masks or {}
    ) as writer:
        for number in range(num_locations):
            writer.append(make_sample(number, forms, num_seasons=num_seasons, masks=masks, **options))
        writer.finish()
    return open_archive(path)


def native(*names: str) -> tuple[Form, ...]:
    return tuple(Form.native(name) for name in names)


def tree(folder: Path) -> dict[str, bytes]:
    """All bytes below a folder but the lock."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != ".unpack.lock"
    }


def changed(**fields: object) -> Callable[[Image], Image]:
    """Give a function that changes fields of an image."""
    return lambda image: replace(image, **fields)
