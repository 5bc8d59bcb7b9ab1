# SPDX-License-Identifier: Apache-2.0
"""RGB pictures as published: `<out>/s2c/<id7>/<product>.png`, bands B4 B3 B2 stretched over mean +- 2 deviations.

Every other modality with these bands works alike; S2RGB is written as it is. A PNG holds no place and no time:
the product's name and unpack.json do.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image as Picture

from ssl4eo.archive.reader import Archive
from ssl4eo.eightbit import require_rule
from ssl4eo.errors import ConfigInvalid
from ssl4eo.form import Form
from ssl4eo.sample import Image
from ssl4eo.sensors import RGB
from ssl4eo.unpacking.folders import Files, folder_sink, make_folders
from ssl4eo.unpacking.geotiff import folder_of
from ssl4eo.unpacking.names import product_names
from ssl4eo.unpacking.values import rule_of, rules_of, to_eight_bits, without_offset
from ssl4eo.unpacking.work import Errors, Made, Place, Plan, Sink, Unit

log = logging.getLogger(__name__)

STRETCH = "uint8_sigma2:published_rounded"
"""Rule of the published pictures."""
USUAL = ("S2L1C", "S2L2A", "S2RGB")
"""What pictures are made of, the first that there is; the published ones are of S2L1C."""


@dataclass(frozen=True)
class RgbPng:
    """Writes pictures."""

    rule: str | None = None
    """The 8-bit rule that the pixels are stored by, to write them as they are; None for the published stretch."""
    unit_locations: int = 1
    ids: str = "digits"

    def options(self, plan: Plan) -> Mapping[str, Any]:
        """The rule that each modality gets."""
        return {"rules": rules_of(plan, self.rule or STRETCH)}

    def check(self, plan: Plan) -> None:
        """Refuse images without red, green and blue on the finest grid.

        Raises:
            ConfigInvalid: there is such a modality, or a rule that pixels are not stored by.
            UnknownName: no such rule.
            ContractMismatch: pixels stored in 8 bits by another rule, or without statistics.
        """
        for name in plan.modalities:
            form = plan.archive.form(name)
            if not _has_rgb(form):
                raise ConfigInvalid(
                    f"{name} has bands {' '.join(form.bands_at(form.base))} at {form.base} m",
                    expected=f"{' '.join(RGB)} among them",
                    remedy="choose others with --modalities, such as S2L1C",
                )
            self._require_as_stored(form)
            rule_of(form, self.rule or STRETCH)

    def _require_as_stored(self, form: Form) -> None:
        if self.rule is None:
            return
        require_rule(self.rule)
        if form.scaling != self.rule:
            stored = "as they are" if form.scaling == "none" else f"by {form.scaling}"
            raise ConfigInvalid(
                f"pictures by {self.rule} of {form.modality}, which is stored {stored}",
                expected="the published stretch, or the rule that pixels are stored by",
                remedy="leave out --rule" if form.scaling == "none" else f"give --rule {form.scaling}",
            )

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
        rule = self.rule or STRETCH
        return {f"{n}.png": _encode(i, rule) for n, i in zip(product_names(images), images, strict=True)}


def usual_modalities(archive: Archive) -> tuple[str, ...] | None:
    """Choose what pictures are made of where nobody says: one of USUAL, else all that have red, green and blue.

    Returns:
        None where no modality has them: the check of the layout tells.
    """
    able = [name for name in archive.modalities if _has_rgb(archive.form(name))]
    chosen = tuple(name for name in USUAL if name in able)[:1] or tuple(able)
    left_out = [name for name in archive.modalities if name not in chosen]
    if chosen and left_out:
        log.info("pictures of %s; %s left out, see --modalities", ", ".join(chosen), ", ".join(left_out))
    return chosen or None


def _has_rgb(form: Form) -> bool:
    return set(RGB) <= set(form.bands_at(form.base))


def _encode(image: Image, rule: str) -> bytes:
    form = image.form
    bands = form.bands_at(form.base)
    planes = without_offset(image, form.base)[[bands.index(band) for band in RGB]]
    picture = to_eight_bits(planes, form=form, bands=RGB, rule=rule_of(form, rule))
    stream = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0))).save(stream, "PNG")  # (y, x, band)
    return stream.getvalue()
