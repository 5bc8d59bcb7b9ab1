# SPDX-License-Identifier: Apache-2.0
"""Several modalities as one network input, stacked along the band axis (early fusion).

A `FusedContract` is made of the contracts of its parts, each with its own unit, offset and scaling: the channels
share an axis, never a unit. Its name joins theirs, `S2L1C+S1GRD`; in names of recipes and networks that is
`s2l1c_s1grd`. What a fused input cannot be: two modalities with a band of one name, which nobody could tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ssl4eo.contract.single import Contract, default_scaling, our_spelling, standard_scaling, stored
from ssl4eo.errors import ContractMismatch
from ssl4eo.sensors import modality

FUSED_INPUTS = ("S2L1C+S1GRD", "S2L2A+S1GRD")
"""Those that have recipes: radar channels after the optical ones, as in the 15 channels of SSL4EO-S12."""


@dataclass(frozen=True)
class FusedContract:
    """What the numbers in an array (..., band, y, x) mean whose channels come from several modalities."""

    parts: tuple[Contract, ...]
    """One for each modality, in channel order."""

    def __post_init__(self) -> None:
        """Refuse parts that are none or share a band."""
        if len(self.parts) < 2 or len(set(self.bands)) != len(self.bands):
            raise ContractMismatch(
                f"a fused contract of {', '.join(str(part) for part in self.parts) or '(nothing)'}",
                expected="two or more modalities without a common band",
            )

    @property
    def modality(self) -> str:
        """Names of the modalities, joined by +."""
        return "+".join(part.modality for part in self.parts)

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands in channel order."""
        return tuple(band for part in self.parts for band in part.bands)

    @property
    def num_bands(self) -> int:
        """Number of channels."""
        return len(self.bands)

    def __str__(self) -> str:
        """Say the contract in one line."""
        return " + ".join(str(part) for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Give plain values for attributes and headers; `contract_from_json` reads them."""
        return {"modality": self.modality, "parts": [part.to_json() for part in self.parts]}

    def differences(self, other: InputContract) -> list[str]:
        """Name the fields in which two contracts differ, with both values, part by part."""
        if [p.modality for p in self.parts] != [p.modality for p in other.parts]:
            return [f"modality {self.modality!r} != {other.modality!r}"]
        return [
            f"{mine.modality} {row}"
            for mine, theirs in zip(self.parts, other.parts, strict=True)
            for row in mine.differences(theirs)
        ]

    def require(self, expected: InputContract) -> None:
        """Raise unless these values are exactly what `expected` says.

        Raises:
            ContractMismatch: they differ; the remedy says whether a known remap exists.
        """
        from ssl4eo.contract.remap import require

        require(self, expected)


InputContract = Contract | FusedContract
"""What a network is fed: one modality, or several stacked."""


def is_contract(value: object) -> bool:
    """Say whether something is a contract: callers without types hand over names and mappings."""
    return isinstance(value, Contract | FusedContract)


def fuse(parts: Sequence[Contract]) -> InputContract:
    """Stack contracts; one alone stays what it is."""
    return parts[0] if len(parts) == 1 else FusedContract(tuple(parts))


def contract_from_json(data: Mapping[str, Any]) -> InputContract:
    """Read what `to_json` of either kind of contract wrote.

    Raises:
        ContractMismatch: keys are missing or contradict each other.
    """
    if "parts" not in data:
        return Contract.from_json(data)
    contract = FusedContract(tuple(Contract.from_json(part) for part in data["parts"]))
    if data.get("modality") != contract.modality:
        raise ContractMismatch(
            f"modality {data.get('modality')!r} stored for the parts of {contract.modality}",
            expected=repr(contract.modality),
        )
    return contract


def network_input(
    modality_name: str, bands: Sequence[str] | None = None, *, standardized: bool = False
) -> InputContract:
    """Make the contract that our own recipes train on: offset removed, default scaling.

    >>> network_input("S2L1C+S1GRD").num_bands
    15

    Args:
        modality_name: one modality, or several joined by +.
        bands: in order, of several modalities each one's own; None for all.
        standardized: mean 0 and deviation 1 per band (`standard_scaling`) in place of the default scaling.

    Raises:
        UnknownName: no modality is called that.
        ContractMismatch: no default scaling; bands that none of the modalities has, none of one of them, or those of
            several mixed.
    """
    names = modality_name.split("+")
    scaling = standard_scaling if standardized else default_scaling
    shares = [None] * len(names) if bands is None else _shares(names, bands)
    parts = zip(names, shares, strict=True)
    return fuse([replace(stored(name, bands=share), scaling=scaling(name)) for name, share in parts])


def _shares(names: Sequence[str], bands: Sequence[str]) -> Sequence[Sequence[str]]:
    """Give each modality the bands that are its own; a single one takes all, and refuses what it does not have."""
    if len(names) == 1:
        return [bands]
    known = [modality(name) for name in names]
    shares = [[band for band in bands if our_spelling(band, part.bands) in part.bands] for part in known]
    foreign = [band for band in bands if not any(band in share for share in shares)]
    empty = [name for name, share in zip(names, shares, strict=True) if not share]
    if foreign or empty:
        raise ContractMismatch(
            f"bands {' '.join(bands)} for {'+'.join(names)}",
            expected="bands of each: " + "; ".join(f"{part.name} has {' '.join(part.bands)}" for part in known),
            remedy=f"leave {' and '.join(foreign)} out" if foreign else f"add some of {' and '.join(empty)}",
        )
    grouped = [band for share in shares for band in share]
    if grouped != list(bands):
        raise ContractMismatch(
            f"bands {' '.join(bands)} for {'+'.join(names)}",
            expected="each modality's together, in the order of the modalities",
            remedy=f"give them as {' '.join(grouped)}",
        )
    return shares


def catalog_name(modality_name: str) -> str:
    """Give the spelling of a modality in names of recipes and networks.

    >>> catalog_name("S2L1C+S1GRD")
    's2l1c_s1grd'
    """
    return modality_name.lower().replace("+", "_")


def sensor_groups(contract: InputContract) -> tuple[int, ...]:
    """Give for each channel the number of the part it belongs to, from 0.

    >>> sensor_groups(network_input("S2L1C+S1GRD"))[11:]
    (0, 0, 1, 1)
    """
    return tuple(number for number, part in enumerate(contract.parts) for _ in part.bands)
