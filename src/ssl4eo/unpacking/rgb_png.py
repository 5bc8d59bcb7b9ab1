# SPDX-License-Identifier: Apache-2.0
"""RGB pictures as published: `<out>/s2c/<id7>/<product>.png`, bands B4 B3 B2 stretched over mean +- 2 deviations.

Every other modality with these bands works alike; S2RGB is written as it is. A PNG holds no place and no time:
the product's name and unpack.json do.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as Picture

from ssl4eo.errors import ConfigInvalid
from ssl4eo.sample import Image
from ssl4eo.sensors import RGB
from ssl4eo.unpacking.folders import Files, folder_sink, make_folders
from ssl4eo.unpacking.geotiff import folder_of
from ssl4eo.unpacking.names import product_names
from ssl4eo.unpacking.values import rule_of, to_eight_bits, without_offset
from ssl4eo.unpacking.work import Errors, Made, Place, Plan, Sink, Unit

STRETCH = "uint8_sigma2:published_rounded"
"""Rule of the published pictures."""


@dataclass(frozen=True)
class RgbPng:
    """Writes pictures."""

    unit_locations: int = 1
    ids: str = "digits"

    @property
    def options(self) -> Mapping[str, Any]:
        """None."""
        return {}

    def check(self, plan: Plan) -> None:
        """Refuse images without red, green and blue on the finest grid.

        Raises:
            ConfigInvalid: there is such a modality.
            ContractMismatch: pixels stored in 8 bits by another rule, or without statistics.
        """
        for name in plan.modalities:
            form = plan.archive.form(name)
            if not set(RGB) <= set(form.bands_at(form.base)):
                raise ConfigInvalid(
                    f"{name} has bands {' '.join(form.bands_at(form.base))} at {form.base} m",
                    expected=f"{' '.join(RGB)} among them",
                    remedy="choose others with --modalities, such as S2L1C",
                )
            rule_of(form, STRETCH)

    def make(self, plan: Plan, unit: Unit, errors: Errors) -> Made:
        """Write the folders of a unit."""
        return make_folders(self, plan, unit, errors)

    def sink(self, plan: Plan, places: Sequence[Place]) -> contextlib.AbstractContextManager[Sink]:
        """Open the parent's side."""
        del places
        return folder_sink(self, plan)

    def folder(self, modality_name: str) -> str:
        """Name the folder of a modality."""
        return folder_of(modality_name)

    def files(self, plan: Plan, place: Place, images: Sequence[Image]) -> Files:
        """Encode the seasons of one modality."""
        del plan, place
        return {f"{n}.png": _encode(i) for n, i in zip(product_names(images), images, strict=True)}


def _encode(image: Image) -> bytes:
    form = image.form
    bands = form.bands_at(form.base)
    planes = without_offset(image, form.base)[[bands.index(band) for band in RGB]]
    picture = to_eight_bits(planes, form=form, bands=RGB, rule=rule_of(form, STRETCH))
    stream = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(stream, "PNG")  # (y, x, band)
    return stream.getvalue()
