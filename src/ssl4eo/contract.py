# SPDX-License-Identifier: Apache-2.0
"""The input contract: what the numbers in an array mean.

Archives, views, backbones and tasks each carry a `Contract`. Two that differ are never mixed
silently: `require` raises and names the remedy, `plan_remap` gives the conversion where one
is known (band subset and order, zero B10 for L2A, the +1000 offset, a scaling) and refuses
every other. A conversion logs what it did.
Works on NumPy arrays; backbones/adapter.py applies the same `Remap` to tensors.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo import eightbit
from ssl4eo.errors import ContractMismatch, unknown_name
from ssl4eo.sensors import BASELINE_WITH_OFFSET, OFFSET_DN, canonical_band, modality, statistics

log = logging.getLogger(__name__)

REFLECTANCE_DN = 10_000.0
"""Digital numbers of reflectance 1."""

SCALING_RULES: Mapping[str, str] = {
    "none": "values as stored",
    "reflectance": "clip(DN / 10000, 0, 1)",
    "uint8": "value / 255",
    "zscore": "(x - mean) / std, with `zscore:<statistics>`",
    "sigma2": "clip((x - mean) / (4 std) + 1/2, 0, 1), with `sigma2:<statistics>`; the published 8-bit form of S1",
    **eightbit.RULES,
}
_UNIT_OF_RULE = {"reflectance": "DN", "uint8": "uint8"}


@dataclass(frozen=True)
class Affine:
    """y = clip(gain * x + bias, low, high), gain and bias per band, in float64."""

    gain: tuple[float, ...]
    bias: tuple[float, ...]
    clip: tuple[float, float] | None


@dataclass(frozen=True)
class Contract:
    """What the numbers in an array (..., band, y, x) mean."""

    modality: str
    bands: tuple[str, ...]
    """Bands in channel order, our spelling."""
    unit: str
    """DN, dB or uint8: of the values before `scaling`."""
    offset: int = 0
    """Constant still contained in the values [DN]: 0, or 1000 since processing baseline 04.00."""
    scaling: str = "none"
    """A rule of SCALING_RULES, with `:<statistics>` where it needs some."""

    def __post_init__(self) -> None:
        """Refuse what no product of this modality can be."""
        known = modality(self.modality)
        foreign = [b for b in self.bands if b not in known.bands]
        if foreign or not self.bands or len(set(self.bands)) != len(self.bands):
            raise ContractMismatch(
                f"a contract for {self.modality} with bands {' '.join(self.bands) or '(none)'}",
                expected=f"distinct bands out of {' '.join(known.bands)}",
                remedy="B10 exists only in S2L1C; spell bands as in ssl4eo.sensors" if foreign else "",
            )
        if self.unit != known.unit:
            raise ContractMismatch(f"unit {self.unit!r} for {self.modality}", expected=repr(known.unit))
        if self.offset and self.unit != "DN":
            raise ContractMismatch(f"offset {self.offset} for values in {self.unit}", expected="0")
        scaling_affine(self)

    @property
    def level(self) -> str:
        """Processing level: GRD, L1C, L2A or RGB."""
        return modality(self.modality).level

    @property
    def is_quantized(self) -> bool:
        """Whether the values were stored in one of the published 8-bit forms."""
        return eightbit.is_rule(self.scaling)

    @property
    def num_bands(self) -> int:
        """Number of channels."""
        return len(self.bands)

    def __str__(self) -> str:
        """Say the contract in one line."""
        scaling = "" if self.scaling == "none" else f", {self.scaling}"
        return f"{self.modality} ({self.level}) {' '.join(self.bands)} [{self.unit}, offset {self.offset}{scaling}]"

    def to_json(self) -> dict[str, Any]:
        """Give plain values for attributes and headers; `from_json` reads them."""
        return {
            "modality": self.modality,
            "level": self.level,
            "bands": list(self.bands),
            "unit": self.unit,
            "offset": self.offset,
            "scaling": self.scaling,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        """Read what `to_json` wrote.

        Raises:
            ContractMismatch: keys are missing or contradict each other.
        """
        try:
            contract = cls(
                modality=str(data["modality"]),
                bands=tuple(data["bands"]),
                unit=str(data["unit"]),
                offset=int(data["offset"]),
                scaling=str(data["scaling"]),
            )
        except KeyError as error:
            raise ContractMismatch(f"a stored contract without {error}", expected="all six fields") from error
        if data.get("level", contract.level) != contract.level:
            raise ContractMismatch(
                f"level {data['level']!r} stored for {contract.modality}", expected=repr(contract.level)
            )
        return contract

    def differences(self, other: Contract) -> list[str]:
        """Name the fields in which two contracts differ, with both values."""
        rows = []
        for field in ("modality", "bands", "unit", "offset", "scaling"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                rows.append(f"{field} {_show(mine)} != {_show(theirs)}")
        return rows

    def require(self, expected: Contract) -> None:
        """Raise unless these values are exactly what `expected` says.

        Raises:
            ContractMismatch: they differ; the remedy says whether a known remap exists.
        """
        if self == expected:
            return
        try:
            steps = plan_remap(self, expected).steps
            remedy = "convert with plan_remap(found, expected), which will " + ", ".join(steps)
        except ContractMismatch as refusal:
            remedy = refusal.remedy or "no conversion is known"
        raise ContractMismatch(
            f"values are {self} ({'; '.join(self.differences(expected))})", expected=str(expected), remedy=remedy
        )


def _show(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else repr(value)


def stored(
    modality_name: str, *, offset: int = 0, bands: Sequence[str] | None = None, scaling: str = "none"
) -> Contract:
    """Make the contract of values as a product stores them: all bands, no scaling but a published 8-bit form.

    >>> str(stored("S1GRD"))
    'S1GRD (GRD) VV VH [dB, offset 0]'
    """
    known = modality(modality_name)
    return Contract(known.name, tuple(bands) if bands is not None else known.bands, known.unit, offset, scaling)


def default_scaling(modality_name: str) -> str:
    """Name the scaling that our own recipes give to a network.

    Raises:
        ContractMismatch: decibels of a product that no statistics are published for.
    """
    known = modality(modality_name)
    if known.unit == "dB" and "published_50k" not in known.statistics:
        raise ContractMismatch(
            f"no statistics are published for {known.name}",
            expected="a scaling by name",
            remedy="give a contract with a scaling of your own choice",
        )
    return {"DN": "reflectance", "uint8": "uint8", "dB": "sigma2:published_50k"}[known.unit]


def network_input(modality_name: str, bands: Sequence[str] | None = None) -> Contract:
    """Make the contract that our own recipes train on: offset removed, default scaling."""
    return replace(stored(modality_name, bands=bands), scaling=default_scaling(modality_name))


def scaling_affine(contract: Contract) -> Affine:
    """Turn a contract's scaling into numbers, for values whose offset is already removed.

    Raises:
        UnknownName: no such rule or statistics.
        ContractMismatch: the rule does not fit the unit.
    """
    rule, _, source = contract.scaling.partition(":")
    if rule not in SCALING_RULES or (bool(source) != (rule in ("zscore", "sigma2", "uint8_sigma2"))):
        raise unknown_name("scaling", contract.scaling, SCALING_RULES)
    if _UNIT_OF_RULE.get(rule, contract.unit) != contract.unit:
        raise ContractMismatch(
            f"scaling {rule!r} for values in {contract.unit}", expected=f"values in {_UNIT_OF_RULE[rule]}"
        )
    count = contract.num_bands
    if eightbit.is_rule(rule):
        return _quantized_affine(contract)
    if rule == "none":
        return Affine((1.0,) * count, (0.0,) * count, None)
    if rule == "reflectance":
        return Affine((1 / REFLECTANCE_DN,) * count, (0.0,) * count, (0.0, 1.0))
    if rule == "uint8":
        return Affine((1 / 255,) * count, (0.0,) * count, None)
    table = statistics(contract.modality, source)
    width = 1.0 if rule == "zscore" else 4.0
    shift = 0.0 if rule == "zscore" else 0.5
    gain = tuple(1 / (width * table.std[b]) for b in contract.bands)
    bias = tuple(shift - table.mean[b] * g for b, g in zip(contract.bands, gain, strict=True))
    return Affine(gain, bias, None if rule == "zscore" else (0.0, 1.0))


def _quantized_affine(contract: Contract) -> Affine:
    """Give the rule of an 8-bit form without its truncation: what a value of the form stands for, inverted."""
    rule = contract.scaling.partition(":")[0]
    if contract.unit not in eightbit.UNITS[rule]:
        raise ContractMismatch(
            f"scaling {rule!r} for values in {contract.unit}",
            expected=f"values in {' or '.join(eightbit.UNITS[rule])}",
        )
    if contract.offset:
        raise ContractMismatch(f"8-bit values with offset {contract.offset}", expected="offset 0")
    gain, bias = eightbit.meaning(contract.scaling, contract.modality, contract.bands)
    pairs = list(zip(gain, bias, strict=True))
    return Affine(tuple(1 / g for g, _ in pairs), tuple(-b / g for g, b in pairs), (0.0, 255.0))


@dataclass(frozen=True)
class Remap:
    """A known conversion from one contract to another: pick bands, then scale."""

    source: Contract
    target: Contract
    index: tuple[int | None, ...]
    """For each target channel the source channel, None for a channel of zeros."""
    affine: Affine
    """Applied after picking; takes the offset away too."""
    steps: tuple[str, ...]
    """What is done, in words."""

    def __call__(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Convert an array (..., band, y, x) to float32 and log the steps.

        Raises:
            ContractMismatch: the array has another number of bands than the source contract.
        """
        check_bands(values.shape, self.source)
        announce(self)
        picked = [
            np.zeros_like(values[..., 0, :, :], dtype=np.float64)
            if i is None
            else values[..., i, :, :].astype(np.float64)
            for i in self.index
        ]
        gain, bias = (np.asarray(v)[:, None, None] for v in (self.affine.gain, self.affine.bias))
        out = np.stack(picked, axis=-3) * gain + bias
        if self.affine.clip is not None:
            out = out.clip(*self.affine.clip)
        return out.astype(np.float32)


@functools.cache
def announce(remap: Remap) -> None:
    """Log what a conversion does, once in a process."""
    if remap.steps:
        log.info("input %s -> %s: %s", remap.source.modality, remap.target.modality, ", ".join(remap.steps))


def check_bands(shape: Sequence[int], contract: Contract) -> None:
    """Raise unless an array of this shape (..., band, y, x) has the contract's channels."""
    if len(shape) < 3 or shape[-3] != contract.num_bands:
        found = f"{shape[-3]} bands" if len(shape) >= 3 else "no band axis"
        raise ContractMismatch(
            f"an array of shape {tuple(shape)} has {found}",
            expected=f"{contract.num_bands} ({contract})",
            remedy="pass (..., band, y, x) with the bands in the contract's order",
        )


def plan_remap(source: Contract, target: Contract) -> Remap:
    """Plan the conversion from one contract to another, or refuse.

    Known: the same or another level of Sentinel-2 reflectance (L2A read by an L1C network, said in
    the steps), any subset or order of bands, B10 as zeros where the source has none, the
    +1000 DN offset taken away or put back, a scaling applied to unscaled values, an 8-bit form read as what
    it stands for.

    Raises:
        ContractMismatch: no such conversion is known; says why and what to do instead.
    """
    steps: list[str] = []
    _plan_modality(source, target, steps)
    index = _plan_bands(source, target, steps)
    affine = _plan_values(source, target, steps)
    # A band that does not exist is zero in every unit: neither offset nor statistics apply to it.
    blank = scaling_affine(target)
    gain = tuple(0.0 if i is None else g for i, g in zip(index, affine.gain, strict=True))
    bias = tuple(o if i is None else b for i, b, o in zip(index, affine.bias, blank.bias, strict=True))
    return Remap(source, target, index, Affine(gain, bias, affine.clip), tuple(steps))


def _plan_modality(source: Contract, target: Contract, steps: list[str]) -> None:
    if source.modality == target.modality:
        return
    if {source.modality, target.modality} <= {"S2L1C", "S2L2A"}:
        steps.append(f"read {source.level} values as {target.level}")
        return
    raise ContractMismatch(
        f"{source.modality} cannot stand for {target.modality}",
        expected=str(target),
        remedy=f"read {target.modality} from the archive instead, or choose a network trained on {source.modality}",
    )


def _plan_bands(source: Contract, target: Contract, steps: list[str]) -> tuple[int | None, ...]:
    if source.bands == target.bands:
        return tuple(range(source.num_bands))
    missing = [b for b in target.bands if b not in source.bands]
    if missing not in ([], ["B10"]):
        raise ContractMismatch(
            f"{source.modality} values have no {' '.join(missing)}",
            expected=f"bands {' '.join(target.bands)}",
            remedy="only B10 may be absent (it is zero then); read the missing bands too",
        )
    unused = [b for b in source.bands if b not in target.bands]
    if missing:
        steps.append(f"insert zeros for B10 at channel {target.bands.index('B10')}")
    if unused:
        steps.append(f"drop {' '.join(unused)}")
    if [b for b in source.bands if b in target.bands] != [b for b in target.bands if b in source.bands]:
        steps.append(f"reorder to {' '.join(target.bands)}")
    return tuple(source.bands.index(b) if b in source.bands else None for b in target.bands)


def _plan_values(source: Contract, target: Contract, steps: list[str]) -> Affine:
    count = target.num_bands
    if source.scaling != target.scaling and (target.is_quantized or source.is_quantized):
        return _plan_quantized(source, target, steps)
    if source.scaling != "none":
        if source.scaling == target.scaling and source.offset == target.offset and source.modality == target.modality:
            return Affine((1.0,) * count, (0.0,) * count, None)
        raise ContractMismatch(
            f"values are already scaled by {source.scaling!r}",
            expected=str(target),
            remedy="hand over the unscaled values; a clipped scaling cannot be undone",
        )
    shift = float(target.offset - source.offset)
    if shift:
        steps.append(f"{'add' if shift > 0 else 'subtract'} {abs(shift):.0f} DN")
    scale = scaling_affine(target)
    if target.scaling != "none":
        steps.append(f"scale by {target.scaling}")
    bias = tuple(b + g * shift for g, b in zip(scale.gain, scale.bias, strict=True))
    clip = scale.clip
    if shift < 0 and target.scaling == "none":
        clip = (0.0, float("inf"))  # a reflectance below zero is noise of the offset, not light
    return Affine(scale.gain, bias, clip)


def _plan_quantized(source: Contract, target: Contract, steps: list[str]) -> Affine:
    """Turn 8-bit values into what they stand for, then as `target` says; making 8-bit forms is eightbit's."""
    if target.is_quantized or source.modality != target.modality:
        raise ContractMismatch(
            f"{source.modality} values with scaling {source.scaling!r}",
            expected=str(target),
            remedy="keep 16-bit values for this, or make the 8-bit form with `ssl4eo pack --eight-bit`",
        )
    rule = source.scaling.partition(":")[0]
    gain, bias = eightbit.meaning(source.scaling, target.modality, target.bands)
    note = "; bright values wrapped to dark when they were written" if rule == "uint8_10k_wrapped" else ""
    steps.append(f"read 8 bits ({source.scaling}{note})")
    if target.scaling != "none":
        steps.append(f"scale by {target.scaling}")
    scale = scaling_affine(target)
    shift = float(target.offset)
    rows = zip(scale.gain, scale.bias, gain, bias, strict=True)
    pairs = [(g * unit, b + g * (zero + shift)) for g, b, unit, zero in rows]
    return Affine(tuple(g for g, _ in pairs), tuple(b for _, b in pairs), scale.clip)


def from_spellings(
    modality_name: str, bands: Iterable[str], *, offset: int = 0, scaling: str = "none"
) -> tuple[Contract, list[str]]:
    """Make a contract from foreign band spellings, and say which ones were translated.

    >>> contract, notes = from_spellings("S2L1C", ["B4", "B3", "B2"])
    >>> contract.bands, notes
    (('B04', 'B03', 'B02'), ['B4 is B04', 'B3 is B03', 'B2 is B02'])
    """
    given = list(bands)
    names = tuple(canonical_band(b) for b in given)
    notes = [f"{g} is {n}" for g, n in zip(given, names, strict=True) if g != n]
    for note in notes:
        log.info("band spelling: %s", note)
    return replace(stored(modality_name, offset=offset, bands=names), scaling=scaling), notes


def offset_of_baseline(baseline: int | None) -> int:
    """Give the offset [DN] of a Sentinel-2 product by its processing baseline (301 for 03.01).

    None means that the product does not say; the published SSL4EO-S12 v1 predates the offset.
    """
    return OFFSET_DN if baseline is not None and baseline >= BASELINE_WITH_OFFSET else 0
