# SPDX-License-Identifier: Apache-2.0
"""What happens to pixels on their way out: nothing, an 8-bit rule, replication, or the reference's upsampling.

Layouts that carry no metadata (8 bits, LMDB, PNG) get digital numbers without offset, as everything published before
has them; all others keep values as they are. Pure NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ssl4eo import eightbit
from ssl4eo.errors import ContractMismatch, UnknownName
from ssl4eo.form import Form
from ssl4eo.sample import Image
from ssl4eo.sensors import modality, statistics
from ssl4eo.unpacking.work import Plan

DEFAULT_RULES: Mapping[str, str] = {"DN": "uint8_10k", "dB": "uint8_sigma2:published_50k", "uint8": "none"}
"""8-bit rule by unit; the clip of the first is what the published one lacks."""


def rule_of(form: Form, asked: str | None) -> str:
    """Give the 8-bit rule that the pixels of a form get: the one asked for where it fits the unit, else the default.

    Raises:
        UnknownName: no such rule or statistics.
        ContractMismatch: pixels that were stored in 8 bits by another rule, or that no rule exists for.
    """
    unit = modality(form.modality).unit
    if unit == "uint8":
        return "none"
    rule = DEFAULT_RULES[unit] if asked is None else asked
    eightbit.require_rule(rule)
    if unit not in eightbit.UNITS[rule.partition(":")[0]]:
        rule = DEFAULT_RULES[unit]
    if form.scaling not in ("none", rule):
        raise ContractMismatch(
            f"{form.modality} pixels were stored in 8 bits by {form.scaling}",
            expected=f"16 bits, or {rule}",
            remedy=f"give --modalities {form.modality} --rule {form.scaling} to write them as they are",
        )
    if ":" in rule or rule.startswith("uint8_sigma2"):
        _require_statistics(form.modality, rule)
    return rule


def rules_of(plan: Plan, asked: str | None) -> dict[str, str]:
    """Give by modality the 8-bit rule that its pixels get."""
    return {name: rule_of(plan.archive.form(name), asked) for name in plan.modalities}


def _require_statistics(name: str, rule: str) -> None:
    source = rule.partition(":")[2]
    try:
        statistics(name, source)
    except UnknownName as error:
        raise ContractMismatch(
            f"{name} cannot be written in 8 bits by {rule}: {error.found}",
            expected=error.expected,
            remedy="leave this modality out with --modalities, or choose a layout of 16 bits",
        ) from error


def without_offset(image: Image, resolution: int) -> NDArray[np.generic]:
    """Give pixels (band, y, x) without the offset; what lies below it becomes 0."""
    pixels = image.pixels[resolution]
    if not image.offset:
        return pixels
    return (np.maximum(pixels.astype(np.int64), image.offset) - image.offset).astype(pixels.dtype)


def to_eight_bits(pixels: NDArray[np.generic], *, form: Form, bands: Sequence[str], rule: str) -> NDArray[np.generic]:
    """Give the 8-bit form of pixels (band, y, x) without offset; what is in 8 bits already stays."""
    if rule in ("none", form.scaling):
        return pixels
    return eightbit.quantize(pixels, rule, form.modality, bands)


def replicate(pixels: NDArray[np.generic], factor: int) -> NDArray[np.generic]:
    """Repeat every pixel of (band, y, x) `factor` times on both axes; `[:, ::factor, ::factor]` takes it back."""
    return pixels.repeat(factor, axis=1).repeat(factor, axis=2)


def upsample_exact(pixels: NDArray[np.uint16], factor: int) -> NDArray[np.uint16]:
    """Enlarge (band, y, x) as the reference does before it writes LMDB files: bilinear, half-pixel centres.

    Bit for bit what OpenCV's INTER_LINEAR_EXACT gives for uint16: weights of 16 fractional bits, one rounding.
    """
    out: NDArray[np.uint64] = pixels.astype(np.uint64)
    for axis in (2, 1):
        size = out.shape[axis]
        position = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
        low = np.floor(position).astype(np.intp)
        high = np.minimum(low + 1, size - 1)
        weight = np.rint((position - low) * 65536).astype(np.uint64)
        weight = weight[:, None] if axis == 1 else weight
        out = out.take(low, axis) * (65536 - weight) + out.take(high, axis) * weight
    return ((out + np.uint64(1 << 31)) >> np.uint64(32)).astype(np.uint16)


def in_band_order(form: Form, grids: Mapping[int, NDArray[np.generic]]) -> NDArray[np.generic]:
    """Stack bands of several groups that lie on one grid by now: (band, y, x), canonical order."""
    planes = {band: grids[r][i] for r, bands in form.groups for i, band in enumerate(bands)}
    return np.stack([planes[band] for band in form.bands])
