# SPDX-License-Identifier: Apache-2.0
"""Pixels that are not what they seem: a last look at every sample before it is stored.

Readers check files; this checks values, the same for every source. Zero decibels are the fill value of all published
Sentinel-1 files and lie above nearly all land, so an image with such pixels must never pass as a fine one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from ssl4eo.errors import SourceInvalid
from ssl4eo.sample import Image, Sample
from ssl4eo.sensors import modality

Nodata = Literal["skip", "flag"]
"""What a location with unobserved pixels does: left out, or stored with `valid` false."""


def inspect(sample: Sample, *, nodata: Nodata) -> Sample:
    """Give the sample with the flag `valid` of each image set, or refuse it.

    Raises:
        SourceInvalid: values that are not finite; with nodata="skip" also fill values in Sentinel-1, and images
            without a single observed pixel.
    """
    images: dict[str, tuple[Image, ...]] = {}
    for name, row in sample.images.items():
        checked: list[Image] = []
        for season, image in enumerate(row):
            share = nodata_share(image, sample.location.id, season)
            is_fault = share == 1 or (share > 0 and modality(name).unit == "dB" and image.form.scaling == "none")
            if is_fault and nodata == "skip":
                raise _unobserved(sample, image, season, share)
            checked.append(replace(image, valid=image.valid and share == 0))
        images[name] = tuple(checked)
    return replace(sample, images=images)


def nodata_share(image: Image, location: str, season: int) -> float:
    """Give the share of pixels of the finest grid that hold fill values in all bands (in any, for decibels).

    In 8-bit forms a dark pixel looks like a fill value: there only images without any other value count.

    Raises:
        SourceInvalid: NaN or infinity.
    """
    form = image.form
    if modality(image.modality).unit == "dB" and form.scaling != "none":
        # 0 dB becomes 255, as bright roofs do, and dark water becomes 0: only an image of nothing else is known to be
        # empty
        pixels = image.pixels[form.base]
        return float((pixels == 255).all() or not pixels.any())
    if modality(image.modality).unit != "dB":
        pixels = image.pixels[form.base]
        share = float(np.mean(~pixels.any(axis=0)))
        others = (image.pixels[r] for r in form.resolutions[1:])
        if share < 1:
            return share if form.scaling == "none" else 0.0
        return 0.0 if any(p.any() for p in others) else 1.0
    pixels = image.pixels[form.base]
    if not np.isfinite(pixels).all():
        raise SourceInvalid(
            f"location {location}: {image.modality} of season {season} ({image.product or 'no product id'}) holds "
            "NaN or infinity",
            expected="finite decibels",
            remedy="fetch it again, or leave the location out",
            location=location,
        )
    if form.step is not None and image.valid:
        return 0.0  # out of an archive that was looked at before its values were rounded: 0 is what -0.1 became
    return float(np.mean((pixels == 0).any(axis=0)))


def _unobserved(sample: Sample, image: Image, season: int, share: float) -> SourceInvalid:
    location, nodata = sample.location.id, sample.labels.get(f"nodata_{image.modality}")
    what = "0 dB, the fill value" if modality(image.modality).unit == "dB" else "0"
    what += "" if nodata is None else f" ({nodata} in the file)"
    what += "," if " " in what else ""
    return SourceInvalid(
        f"location {location}: {image.modality} of season {season} ({image.product or 'no product id'}) is {what} in "
        f"{share:.2%} of its pixels",
        expected="observed pixels",
        remedy="leave it out, or keep it with --nodata flag: its image is then marked as not valid",
        location=location,
    )
