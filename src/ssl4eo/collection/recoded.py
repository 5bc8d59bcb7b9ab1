# SPDX-License-Identifier: Apache-2.0
"""The published 8-bit forms, made of a source that still has digital numbers and decibels.

By itself each value is rounded where it is (native grids, clipped); as published, all bands are first brought to the
finest grid and bright values wrap, for comparison with what the published networks saw. What is lost cannot be had
back: the archive says the rule in its contract. Fill values are no longer told from data afterwards, so packing looks
for them before (packing/work.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssl4eo import eightbit
from ssl4eo.collection.source import Provenance, Source
from ssl4eo.errors import ConfigInvalid, ContractMismatch, unknown_name
from ssl4eo.form import Form
from ssl4eo.sample import Image, Sample
from ssl4eo.sensors import modality

Rule = Literal["10k", "sigma2"]
"""What Sentinel-2 is scaled by: 10,000 DN, or mean and deviation of each band."""

SIGMA2 = "uint8_sigma2:published_50k"
"""8-bit rule with the statistics that the reference built its 8-bit files with."""
_FRACTION_BITS = 16


class EightBit:
    """A source whose samples are those of another one in 8 bits.

    Sentinel-1 always becomes SIGMA2, pictures of 8 bits stay as they are; masks, labels and places too.

    Args:
        source: of digital numbers and decibels.
        rule: of Sentinel-2.
        as_published: bring all bands to the finest grid first, and let bright values wrap with rule 10k.

    Raises:
        ConfigInvalid: the source has 8-bit forms already.
        UnknownName: another rule, or a modality in dB that no statistics are published for.
    """

    def __init__(self, source: Source, rule: Rule, *, as_published: bool = False) -> None:
        self.source = source
        self.as_published = as_published
        if rule not in get_args(Rule):
            raise unknown_name("8-bit form", rule, get_args(Rule))
        self._rule = rule
        self._forms = {form.modality: self._target(form) for form in source.forms}

    def _target(self, form: Form) -> Form:
        unit = modality(form.modality).unit
        if form.scaling != "none":
            raise ConfigInvalid(
                f"{form.modality} values that are 8 bits already ({form.scaling})",
                expected="digital numbers or decibels",
                remedy="leave --eight-bit out, or the modality",
            )
        if unit == "uint8":
            return form
        wrapping = "uint8_10k_wrapped" if self.as_published else "uint8_10k"
        scaling = wrapping if unit == "DN" and self._rule == "10k" else SIGMA2
        if self.as_published:
            return Form.gridded(form.modality, bands=form.bands, resolution=form.base, scaling=scaling)
        return replace(form, dtype="uint8", scaling=scaling, step=None)

    @property
    def provenance(self) -> Provenance:
        """That of the source, with what was done to it."""
        changed = [form for form in self._forms.values() if form.scaling != "none"]
        details: dict[str, str | int | float | bool] = {f"{form.modality}_8bit": form.scaling for form in changed}
        if any(modality(form.modality).unit == "DN" for form in changed):
            details["8bit_offset"] = (
                "images with +1000 DN are left out"
                if self.as_published
                else "+1000 DN are subtracted where an image has them; what falls below 0 becomes 0"
            )
        if self.as_published:
            details["8bit_grid"] = "all bands brought to the finest grid first, bilinearly, in whole DN"
        told = self.source.provenance
        return replace(told, details={**told.details, **details})

    @property
    def forms(self) -> tuple[Form, ...]:
        """The 8-bit form of each modality."""
        return tuple(self._forms.values())

    @property
    def masks(self) -> Mapping[str, bool]:
        """Those of the source."""
        return self.source.masks

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        return self.source.num_seasons

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every patch on the finest grid [px]."""
        return self.source.shape

    def ids(self) -> Sequence[str]:
        """List the ids of the source."""
        return self.source.ids()

    def read(self, location: str) -> Sample:
        """Read one sample and make its 8-bit form; whoever stores it must have looked for fill values before.

        Raises:
            SourceInvalid, SampleInvalid, LocationMissing: as the source.
            ContractMismatch: as `recode`.
        """
        return self.recode(self.source.read(location))

    def recode(self, sample: Sample) -> Sample:
        """Make the 8-bit form of a sample of the source.

        Raises:
            ContractMismatch: values with an offset, where the published form is asked for; or another form than the
                source has said.
        """
        images = {name: tuple(self._image(sample, image) for image in row) for name, row in sample.images.items()}
        return replace(sample, images=images)

    def _image(self, sample: Sample, image: Image) -> Image:
        target = self._forms[image.modality]
        if target.scaling == "none":
            return image
        if image.form.scaling != "none":
            raise ContractMismatch(f"{image.modality} of location {sample.location.id} in 8 bits", expected="16 bits")
        if image.offset and self.as_published:
            raise ContractMismatch(
                f"location {sample.location.id}: {image.modality} contains +{image.offset} DN, which the published "
                "8-bit form does not know",
                expected="values without offset",
                remedy="leave --as-published out: then it is subtracted",
                location=sample.location.id,
            )
        groups = _on_one_grid(image) if self.as_published else image.pixels
        pixels = {r: _quantize(values, image.offset, target, target.bands_at(r)) for r, values in groups.items()}
        return replace(image, pixels=pixels, offset=0, kept=target)


def _quantize(values: NDArray[np.generic], offset: int, target: Form, bands: Sequence[str]) -> NDArray[np.uint8]:
    """Make 8 bits of one group (band, y, x); values are widened first, so that nothing is rounded twice."""
    wide: NDArray[Any] = values
    if values.dtype == np.float16:
        wide = values.astype(np.float32)
    elif offset:
        wide = np.maximum(values.astype(np.int32) - offset, 0)
    return eightbit.quantize(wide, target.scaling, target.modality, bands)


def _on_one_grid(image: Image) -> dict[int, NDArray[np.generic]]:
    """Bring all bands to the finest grid, in canonical order: {resolution: (band, y, x)}."""
    form = image.form
    if len(form.groups) == 1:
        return dict(image.pixels)
    planes: dict[str, NDArray[np.uint16]] = {}
    for resolution, bands in form.groups:
        planes.update(zip(bands, upsample(image.pixels[resolution], image.shape), strict=True))
    return {form.base: np.stack([planes[band] for band in form.bands])}


def upsample(values: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.uint16]:
    """Upsample uint16 (band, y, x) bilinearly to `size`: half-pixel centres, edges repeated, rounded to integers.

    In fixed point, weights of 16 bits and halves up, as OpenCV's INTER_LINEAR_EXACT does: equal to it in every value.
    """
    out: NDArray[np.int64] = values.astype(np.int64)
    one = 1 << _FRACTION_BITS
    for axis, target in ((2, size[1]), (1, size[0])):
        source = out.shape[axis]
        place = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.floor(place).astype(np.intp)
        weight = np.rint((place - low) * one).astype(np.int64)
        weight = weight[:, None] if axis == 1 else weight
        out = out.take(low, axis) * (one - weight) + out.take(np.minimum(low + 1, source - 1), axis) * weight
    half = 1 << (2 * _FRACTION_BITS - 1)
    return ((out + half) >> (2 * _FRACTION_BITS)).astype(np.uint16)
