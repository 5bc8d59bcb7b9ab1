# SPDX-License-Identifier: Apache-2.0
"""The published raw layout: `<out>/{s1,s2c,s2a}/<id7>/<product>/<band>.tif` and metadata.json.

Pixels are the archive's, at native resolution; reading the result with collection/published.py gives the same
images. The archive keeps one transform an image, that of its finest grid: coarser bands get the same outer edge.
metadata.json holds what the archive knows, not Earth Engine's whole description; masks and labels are not written.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssl4eo.collection.geotiff_write import encode_geotiff
from ssl4eo.contract import offset_of_baseline
from ssl4eo.errors import ConfigInvalid, SampleInvalid
from ssl4eo.form import Form
from ssl4eo.grid import BASE_RESOLUTION
from ssl4eo.sample import Image, Provenance, Transform
from ssl4eo.sensors import PATCH_SIZE_M, modality, published_band
from ssl4eo.unpacking.folders import Files, folder_sink, make_folders
from ssl4eo.unpacking.names import published_names
from ssl4eo.unpacking.work import Errors, Made, Place, Plan, Sink, Unit

log = logging.getLogger(__name__)

_SIZE = PATCH_SIZE_M // BASE_RESOLUTION
_COLLECTIONS = {"S1GRD": "COPERNICUS/S1_GRD", "S2L1C": "COPERNICUS/S2", "S2L2A": "COPERNICUS/S2_SR"}


@dataclass(frozen=True)
class Raw:
    """Writes the raw layout."""

    unit_locations: int = 1
    ids: str = "digits"

    def options(self, plan: Plan) -> Mapping[str, Any]:
        """None."""
        del plan
        return {}

    def check(self, plan: Plan) -> None:
        """Refuse modalities without a published folder, and pixels that are not native.

        Raises:
            ConfigInvalid: there is such a modality.
        """
        for name in plan.modalities:
            if modality(name).published_folder is None:
                raise ConfigInvalid(
                    f"{name} has no folder in the raw layout",
                    expected="S1GRD, S2L1C or S2L2A",
                    remedy="leave it out with --modalities, or choose --layout webdataset",
                )
            form, native = plan.archive.form(name), Form.native(name)
            if form.groups != native.groups or form.scaling != "none":
                raise ConfigInvalid(
                    f"{name} of {plan.archive.path} is kept on grids of {', '.join(map(str, form.resolutions))} m "
                    f"with bands {' '.join(form.bands)}, scaling {form.scaling}",
                    expected="all bands at native resolution, not in 8 bits: the raw layout has no other form",
                    remedy="choose --layout uint8-geotiff, uint16-geotiff or webdataset",
                )
        if plan.archive.shape != (_SIZE, _SIZE):
            log.warning("patches of %s px: readers of the raw layout expect %d", plan.archive.shape, _SIZE)

    def make(self, plan: Plan, unit: Unit, errors: Errors) -> Made:
        """Write the folders of a unit."""
        return make_folders(self, plan, unit, errors)

    def sink(self, plan: Plan, places: Sequence[Place]) -> contextlib.AbstractContextManager[Sink]:
        """Open the parent's side."""
        del places
        return folder_sink(self, plan)

    def folder(self, modality_name: str) -> str:
        """Name the published folder."""
        return str(modality(modality_name).published_folder)

    def files(self, plan: Plan, place: Place, images: Sequence[Image]) -> Files:
        """Encode all bands of all products of one modality.

        Raises:
            SampleInvalid: an image without a time, or with an offset that the raw layout cannot tell.
        """
        files: dict[str, bytes] = {}
        for image, product in zip(images, published_names(images, place.id), strict=True):
            data = _metadata(image, product, place, plan.archive.provenance)
            files[f"{product}/metadata.json"] = (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()
            for band, content in _bands(image).items():
                files[f"{product}/{published_band(band)}.tif"] = content
        return files


def _bands(image: Image) -> dict[str, bytes]:
    dtype = modality(image.modality).dtype  # float16, as v1.1 has it, is widened: GeoTIFF has none
    files: dict[str, bytes] = {}
    for resolution, bands in image.form.groups:
        transform = scaled(image.transform, resolution // image.form.base)
        for band, plane in zip(bands, image.pixels[resolution].astype(dtype, copy=False), strict=True):
            files[band] = encode_geotiff(plane[None], crs=image.crs, transform=transform, compress="lzw")
    return files


def scaled(transform: Transform | None, factor: int) -> Transform | None:
    """Give the transform of a grid of the same outer edge whose pixels are `factor` times as large."""
    if transform is None:
        return None
    a, b, c, d, e, f = transform
    return a * factor, b * factor, c, d * factor, e * factor, f


def _metadata(image: Image, product: str, place: Place, provenance: Provenance) -> dict[str, Any]:
    properties: dict[str, Any] = {"system:index": product}
    if image.time is not None:
        properties["system:time_start"] = int(image.time.timestamp() * 1000)
    if image.baseline is not None:
        properties["PROCESSING_BASELINE"] = f"{image.baseline // 100:02d}.{image.baseline % 100:02d}"
    properties |= {
        "ssl4eo:location": place.id,
        "ssl4eo:product": image.product,
        "ssl4eo:valid": image.valid,
        "ssl4eo:title": provenance.title,
        "ssl4eo:licence": provenance.licence,
        "ssl4eo:synthetic": provenance.synthetic,
    }
    return {"type": "Image", "id": f"{_collection(image, place.id)}/{product}", "properties": properties}


def _collection(image: Image, location: str) -> str:
    """Name the collection so that baseline and name together tell the offset."""
    name = _COLLECTIONS[image.modality]
    added = offset_of_baseline(image.baseline)
    if image.offset == added:
        return name
    if image.offset == 0:
        return f"{name}_HARMONIZED"
    raise SampleInvalid(
        f"location {location}: the {image.modality} image {image.product!r} contains +{image.offset} DN at baseline "
        f"{image.baseline}",
        expected=f"+{added} DN or none: the raw layout tells the offset by the baseline",
        remedy="choose --layout uint16-geotiff or webdataset, which tell it themselves",
        location=location,
    )
