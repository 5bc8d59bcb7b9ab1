# SPDX-License-Identifier: Apache-2.0
"""The contract of one modality: bands in order, unit, offset, scaling, and the numbers that a scaling stands for.

Conversions from one contract to another are in remap.py, inputs of several modalities in fused.py.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ssl4eo import eightbit
from ssl4eo.errors import ContractMismatch, UnknownName, unknown_name
from ssl4eo.sensors import BASELINE_WITH_OFFSET, OFFSET_DN, canonical_band, modality, statistics

if TYPE_CHECKING:
    from ssl4eo.contract.fused import InputContract

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
FILL_RULES: Mapping[str, str] = {
    "none": "nothing: such bands are refused, but for B10, which L2A cannot have and which is 0 DN",
    "zero": "0 after scaling, as the published benchmark feeds it",
    "mean": "the band's published mean, scaled like a value: of the statistics that the network's scaling names, "
    "else of published_50k",
}
"""What a network is fed in place of the bands that it wants and the values do not have."""
_UNIT_OF_RULE = {"reflectance": "DN", "uint8": "uint8"}

UNBOUNDED = (-math.inf, math.inf)
"""The range of a band that is not clipped."""


@dataclass(frozen=True)
class Affine:
    """y = clip(gain * x + bias, low, high), all per band, in float64."""

    gain: tuple[float, ...]
    bias: tuple[float, ...]
    clip: tuple[tuple[float, float], ...]
    """(low, high) of each band, UNBOUNDED for none."""


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
    fill: str = "none"
    """A rule of FILL_RULES: what stands for bands that a network wants and these values do not have."""

    def __post_init__(self) -> None:
        """Refuse what no product of this modality can be."""
        known = modality(self.modality)
        foreign = [b for b in self.bands if b not in known.bands]
        if foreign or not self.bands or len(set(self.bands)) != len(self.bands):
            raise ContractMismatch(
                f"a contract for {self.modality} with bands {' '.join(self.bands) or '(none)'}",
                expected=f"distinct bands out of {' '.join(known.bands)}",
                remedy=_without(foreign) if foreign else "",
            )
        if self.unit != known.unit:
            raise ContractMismatch(f"unit {self.unit!r} for {self.modality}", expected=repr(known.unit))
        if self.offset and self.unit != "DN":
            raise ContractMismatch(f"offset {self.offset} for values in {self.unit}", expected="0")
        if self.offset not in (0, OFFSET_DN):
            raise _no_offset(self.offset)
        if self.fill not in FILL_RULES:
            raise unknown_name("fill", self.fill, FILL_RULES)
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

    @property
    def parts(self) -> tuple[Contract, ...]:
        """This one: a fused contract has several."""
        return (self,)

    def __str__(self) -> str:
        """Say the contract in one line."""
        scaling = "" if self.scaling == "none" else f", {self.scaling}"
        fill = "" if self.fill == "none" else f", other bands {self.fill}"
        bands = " ".join(self.bands)
        return f"{self.modality} ({self.level}) {bands} [{self.unit}, offset {self.offset}{scaling}{fill}]"

    def to_json(self) -> dict[str, Any]:
        """Give plain values for attributes and headers; `from_json` reads them."""
        fill = {} if self.fill == "none" else {"fill": self.fill}
        return {
            "modality": self.modality,
            "level": self.level,
            "bands": list(self.bands),
            "unit": self.unit,
            "offset": self.offset,
            "scaling": self.scaling,
            **fill,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        """Read what `to_json` wrote.

        Raises:
            ContractMismatch: keys are missing or contradict each other, or an offset that no product has.
        """
        try:
            contract = cls(
                modality=str(data["modality"]),
                bands=tuple(data["bands"]),
                unit=str(data["unit"]),
                offset=_whole(data["offset"]),
                scaling=str(data["scaling"]),
                fill=str(data.get("fill", "none")),
            )
        except KeyError as error:
            raise ContractMismatch(f"a stored contract without {error}", expected="all six fields") from error
        if data.get("level", contract.level) != contract.level:
            raise ContractMismatch(
                f"level {data['level']!r} stored for {contract.modality}", expected=repr(contract.level)
            )
        return contract

    def differences(self, other: InputContract) -> list[str]:
        """Name the fields in which two contracts differ, with both values."""
        if not isinstance(other, Contract):
            return [f"modality {self.modality!r} != {other.modality!r}"]
        rows = []
        for field in ("modality", "bands", "unit", "offset", "scaling", "fill"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                rows.append(f"{field} {_show(mine)} != {_show(theirs)}")
        return rows

    def require(self, expected: InputContract) -> None:
        """Raise unless these values are exactly what `expected` says.

        Raises:
            ContractMismatch: they differ; the remedy says whether a known remap exists.
        """
        from ssl4eo.contract.remap import require

        require(self, expected)


def _without(foreign: list[str]) -> str:
    """Say what to do about bands that a modality does not have."""
    where = "B10 exists only in S2L1C; " if "B10" in foreign else ""
    return f"{where}leave {' '.join(foreign)} out, or spell bands as in ssl4eo.sensors"


def _no_offset(found: object) -> ContractMismatch:
    """Make the error for an offset that no product contains."""
    remedy = "subtract it from the values and say offset=0"
    if found == -OFFSET_DN:
        remedy = (
            f"metadata tell what is to be added to the values, a contract what they contain: say offset={OFFSET_DN}"
        )
    if found is None:
        remedy = "images differ: take the contract of each, Image.contract"
    return ContractMismatch(f"offset {found!r}", expected=f"0 or {OFFSET_DN}, in DN", remedy=remedy)


def _whole(offset: object) -> int:
    if not isinstance(offset, int | float) or offset != offset // 1:
        raise _no_offset(offset)
    return int(offset)


def _show(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else repr(value)


def stored(
    modality_name: str,
    *,
    offset: int = 0,
    bands: Sequence[str] | None = None,
    scaling: str = "none",
    fill: str = "none",
) -> Contract:
    """Make the contract of values as a product stores them: all bands, no scaling but a published 8-bit form.

    >>> str(stored("S1GRD"))
    'S1GRD (GRD) VV VH [dB, offset 0]'

    Args:
        modality_name: what the values are of.
        offset: still contained in them, 0 or 1000 [DN].
        bands: in channel order; None for all.
        scaling: an 8-bit form, or none.
        fill: what a network is fed in place of bands that it wants and these values do not have, see FILL_RULES.

    Raises:
        UnknownName: no modality, scaling or fill is called that.
        ContractMismatch: bands or a scaling that it does not have, or an offset other than 0 and 1000.
    """
    known = modality(modality_name)
    names = known.bands if bands is None else _names(bands, known.bands)
    return Contract(known.name, names, known.unit, offset, scaling, fill)


def _names(bands: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Give bands in our spelling; what is none of a known spelling stays, and is refused by the contract."""
    if isinstance(bands, str) or not all(isinstance(band, str) for band in bands):  # pyright: ignore[reportUnnecessaryIsInstance] - of callers without types
        raise ContractMismatch(f"bands {bands!r}", expected="a list of names, such as ['B04', 'B03', 'B02']")
    names = tuple(our_spelling(band, known) for band in bands)
    changed = [f"{old} is {new}" for old, new in zip(bands, names, strict=True) if old != new]
    if changed:
        log.info("band spelling: %s", ", ".join(changed))
    return names


def our_spelling(band: str, known: Sequence[str]) -> str:
    """Spell a band as we do; what nobody knows stays as it is."""
    if band in known:
        return band
    try:
        return canonical_band(band)
    except UnknownName:
        return band


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


def standard_scaling(modality_name: str) -> str:
    """Name the scaling to mean 0 and deviation 1 per band, by published statistics of values without offset.

    >>> standard_scaling("S2L1C"), standard_scaling("S2RGB")
    ('zscore:published_50k', 'zscore:v1.1')

    Raises:
        ContractMismatch: no statistics are published for it.
    """
    known = modality(modality_name)
    for source in ("published_50k", "v1.1"):
        if source in known.statistics:
            return f"zscore:{source}"
    raise ContractMismatch(
        f"no statistics are published for {known.name}",
        expected="a scaling by name",
        remedy="give a contract with a scaling of your own choice",
    )


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
        return Affine((1.0,) * count, (0.0,) * count, (UNBOUNDED,) * count)
    if rule == "reflectance":
        return Affine((1 / REFLECTANCE_DN,) * count, (0.0,) * count, ((0.0, 1.0),) * count)
    if rule == "uint8":
        return Affine((1 / 255,) * count, (0.0,) * count, (UNBOUNDED,) * count)
    table = statistics(contract.modality, source)
    width = 1.0 if rule == "zscore" else 4.0
    shift = 0.0 if rule == "zscore" else 0.5
    gain = tuple(1 / (width * table.std[b]) for b in contract.bands)
    bias = tuple(shift - table.mean[b] * g for b, g in zip(contract.bands, gain, strict=True))
    return Affine(gain, bias, (UNBOUNDED if rule == "zscore" else (0.0, 1.0),) * count)


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
    return Affine(tuple(1 / g for g, _ in pairs), tuple(-b / g for g, b in pairs), ((0.0, 255.0),) * len(pairs))


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
