# SPDX-License-Identifier: Apache-2.0
"""Archives of every kind of form, small and quickly made: helpers of the tests that judge whole archives."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.form import Form
from ssl4eo.grid import size_at
from ssl4eo.sample import Image, Location, Provenance, Sample
from ssl4eo.sensors import modality

SIZE = (12, 18)
START = dt.datetime(2020, 1, 1, 10, 30, 5, tzinfo=dt.UTC)
PROVENANCE = Provenance("tiny", synthetic=True, licence="CC0-1.0", details={"seed": 7})


@dataclass(frozen=True)
class Kind:
    """What an archive is made of."""

    forms: tuple[Form, ...]
    num_locations: int = 3
    num_seasons: int = 2
    masks: Mapping[str, bool] = field(default_factory=dict[str, bool])
    offset: int = 0
    profile: str = "default"


KINDS: Mapping[str, Kind] = {
    "native": Kind((Form.native("S1GRD"), Form.native("S2L1C"), Form.native("S2L2A")), masks={"cover": False}),
    "gridded": Kind((Form.gridded("S2L1C"), Form.gridded("S1GRD"))),
    "eight_bit": Kind((Form.gridded("S2L1C", scaling="uint8_10k"), Form.gridded("S2RGB"))),
    "half": Kind((Form.gridded("S1GRD", dtype="float16"), Form.gridded("S2L2A")), offset=1000, profile="fast"),
    "seasonal": Kind((Form.native("S2L2A"),), num_seasons=3, masks={"cloud": True, "cover": False}),
    "stepped": Kind((Form("S1GRD", ((10, ("VV", "VH")),), "float32", step=0.015625),), profile="compact"),
    "several": Kind((Form.native("S1GRD"), Form.native("S2L1C", bands=("B02", "B11"))), num_locations=130),
    "landsat": Kind((Form.native("L8SR"),), num_seasons=1),
}


def draw(rng: np.random.Generator, form: Form, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Draw pixels that the unit of a form can have."""
    if form.dtype == "uint8":
        return rng.integers(0, 256, shape).astype(np.uint8)
    if modality(form.modality).unit == "dB":
        return rng.normal(-15, 5, shape).astype(form.dtype)
    return (rng.gamma(2, 700, shape) + 1).astype(form.dtype)


def make_image(form: Form, rng: np.random.Generator, season: int, offset: int = 0) -> Image:
    """Make one image of random pixels with all metadata."""
    pixels = {r: draw(rng, form, (len(bands), *(size_at(r, s, form.base) for s in SIZE))) for r, bands in form.groups}
    return Image(
        form.modality,
        pixels,
        time=START + dt.timedelta(days=91 * season),
        product=f"{form.modality}_{season}",
        crs="EPSG:32631",
        transform=(10.0, 0.0, 5e5, 0.0, -10.0, 4.2e6),
        baseline=301,
        offset=offset if modality(form.modality).unit == "DN" and form.scaling == "none" else 0,
        kept=form,
    )


def make_sample(number: int, kind: Kind) -> Sample:
    """Make a location of a kind; equal numbers give equal samples."""
    rng = np.random.default_rng(number)
    unrounded = [Form(f.modality, f.groups, f.dtype, f.scaling) for f in kind.forms]
    images = {f.modality: tuple(make_image(f, rng, s, kind.offset) for s in range(kind.num_seasons)) for f in unrounded}
    masks = {
        name: rng.integers(0, 9, (kind.num_seasons, *SIZE) if seasonal else SIZE).astype(np.uint8)
        for name, seasonal in kind.masks.items()
    }
    place = Location(f"{number:07d}", 10.5 + number / 100, 45.25)
    return Sample(place, images, labels={"scene": f"kind {number % 3}", "count": number}, masks=masks)


def write_kind(path: Path, kind: Kind, samples: Iterable[Sample] | None = None, *, statistics: bool = True) -> Path:
    """Write an archive of a kind."""
    with ArchiveWriter(
        path,
        forms=kind.forms,
        num_seasons=kind.num_seasons,
        shape=SIZE,
        provenance=PROVENANCE,
        masks=kind.masks,
        profile=kind.profile,
    ) as writer:
        for sample in (make_sample(i, kind) for i in range(kind.num_locations)) if samples is None else samples:
            writer.append(sample)
        writer.finish(statistics=statistics)
    return path


def all_pixels(samples: Sequence[Sample], form: Form, band: str) -> NDArray[np.generic]:
    """Gather all pixels of a band, without the code under test."""
    return np.concatenate([image.band(band).ravel() for s in samples for image in s.images[form.modality]])
