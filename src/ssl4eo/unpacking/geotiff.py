# SPDX-License-Identifier: Apache-2.0
"""One multi-band GeoTIFF a season: `<out>/<s1|s2c|s2a|modality>/<id>/<product>.tif`, in 8 or 16 bits.

The small-inode form: 12 files a location instead of 108. All bands lie on the finest grid; those of coarser grids
are replicated, never interpolated, so `[::k, ::k]` with k = `replicated` of the band's tags gives the native pixels
back. Compressed without loss; Sentinel-1 is float32 in the 16-bit form. Masks and labels are not written.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.geotiff_write import encode_geotiff
from ssl4eo.errors import ConfigInvalid
from ssl4eo.form import Form
from ssl4eo.sample import Image, Provenance
from ssl4eo.sensors import modality
from ssl4eo.unpacking.folders import Files, folder_sink, make_folders
from ssl4eo.unpacking.names import product_names
from ssl4eo.unpacking.values import in_band_order, replicate, rule_of, rules_of, to_eight_bits, without_offset
from ssl4eo.unpacking.work import Errors, Made, Place, Plan, Sink, Unit


@dataclass(frozen=True)
class GeoTiff:
    """Writes multi-band GeoTIFFs."""

    bits: int
    """8 or 16."""
    rule: str | None = None
    """8-bit rule of Sentinel-2; Sentinel-1 takes it where it fits, else its default."""
    unit_locations: int = 1
    ids: str = "any"

    def options(self, plan: Plan) -> Mapping[str, Any]:
        """The rule that each modality gets in 8 bits."""
        return {"rules": rules_of(plan, self.rule)} if self.bits == 8 else {}

    def check(self, plan: Plan) -> None:
        """Refuse pixels that cannot be written in this many bits as what they are.

        Raises:
            ConfigInvalid: 8-bit pixels in the 16-bit form.
            UnknownName, ContractMismatch: no such rule, or pixels already stored by another one.
        """
        for name in plan.modalities:
            form = plan.archive.form(name)
            if self.bits == 8:
                rule_of(form, self.rule)
            elif form.dtype == "uint8":
                raise ConfigInvalid(
                    f"{name} of {plan.archive.path} is kept in 8 bits",
                    expected="16 bits or floating-point numbers",
                    remedy="choose --layout uint8-geotiff" + _rule_hint(form),
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
        names = product_names(images)
        return {f"{n}.tif": self._encode(i, place, plan.archive.provenance) for n, i in zip(names, images, strict=True)}

    def _encode(self, image: Image, place: Place, provenance: Provenance) -> bytes:
        form = image.form
        rule = rule_of(form, self.rule) if self.bits == 8 else form.scaling
        grids: dict[int, NDArray[np.generic]] = {}
        for resolution, bands in form.groups:
            native = image.pixels[resolution]
            if self.bits == 8:
                native = to_eight_bits(without_offset(image, resolution), form=form, bands=bands, rule=rule)
            elif native.dtype == np.float16:
                native = native.astype(np.float32)  # exact; GeoTIFF has no float16
            grids[resolution] = replicate(native, resolution // form.base)
        is_quantized = self.bits == 8 and form.scaling == "none"
        return encode_geotiff(
            in_band_order(form, grids),
            crs=image.crs,
            transform=image.transform,
            compress="deflate",
            names=form.bands,
            tags=_tags(image, place, provenance, rule=rule, offset=0 if is_quantized else image.offset),
            band_tags=[_band_tags(form, band) for band in form.bands],
        )


def _rule_hint(form: Form) -> str:
    return "" if form.scaling == "none" else f" --rule {form.scaling}"


def folder_of(modality_name: str) -> str:
    """Name the folder of a modality: the published one, or its name in lower case.

    >>> folder_of("S2L1C"), folder_of("S2RGB")
    ('s2c', 's2rgb')
    """
    return modality(modality_name).published_folder or modality_name.lower()


def _tags(image: Image, place: Place, provenance: Provenance, *, rule: str, offset: int) -> dict[str, str]:
    known = modality(image.modality)
    tags = {
        "location": place.id,
        "modality": image.modality,
        "unit": known.unit,
        "scaling": rule,
        "offset_dn": str(offset),
        "product": image.product,
        "time": "" if image.time is None else image.time.isoformat(),
        "baseline": "" if image.baseline is None else str(image.baseline),
        "valid": json.dumps(image.valid),
        "title": provenance.title,
        "licence": provenance.licence,
        "synthetic": json.dumps(provenance.synthetic),
    }
    return {f"SSL4EO_{key.upper()}": value for key, value in tags.items()}


def _band_tags(form: Form, band: str) -> dict[str, str]:
    (resolution,) = form.resolutions_of([band])
    return {"resolution_m": str(resolution), "replicated": str(resolution // form.base)}
