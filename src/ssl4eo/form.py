# SPDX-License-Identifier: Apache-2.0
"""The form of an image: which bands lie on which grid, in which type, quantized or not.

A product can come at native resolution (10 m, 20 m and 60 m groups, as the agencies deliver it) or with all bands on
one grid (as SSL4EO-S12 v1.1, LMDB files and EuroSAT have it), as digital numbers or in one of the published 8-bit
forms.
Pixels are never moved from one form to another silently: an archive keeps the form that its source has, and says so.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl4eo.contract import Contract, stored
from ssl4eo.errors import ConfigInvalid
from ssl4eo.sensors import modality

DTYPES: Mapping[str, tuple[str, ...]] = {"DN": ("uint16",), "dB": ("float32", "float16"), "uint8": ("uint8",)}
"""Types that values of a unit can be stored in, the usual one first; 8-bit forms are always uint8."""


@dataclass(frozen=True)
class Form:
    """How the pixels of one modality are kept; the same for all images of an archive."""

    modality: str
    groups: tuple[tuple[int, tuple[str, ...]], ...]
    """(resolution [m], bands) of each grid, finest first; bands in canonical order."""
    dtype: str
    """NumPy name."""
    scaling: str = "none"
    """`none`, or the 8-bit rule that the values were stored by; see contract.SCALING_RULES."""
    step: float | None = None
    """Of float32 values: they are rounded to multiples of this power of two, so they differ from the source's by at
    most half of it; None keeps every bit."""

    def __post_init__(self) -> None:
        """Refuse what no archive can hold.

        Raises:
            UnknownName: no such modality or scaling.
            ConfigInvalid: groups that are empty, out of order or share a band; a type that does not fit the unit.
            ContractMismatch: bands that the modality does not have, or a scaling that does not fit it.
        """
        known = modality(self.modality)
        resolutions = [r for r, _ in self.groups]
        if not resolutions or sorted(set(resolutions)) != resolutions or min(resolutions) < 1:
            raise ConfigInvalid(f"{self.modality} on grids of {resolutions} m", expected="one or more, finest first")
        for resolution, bands in self.groups:
            ordered = tuple(b for b in known.bands if b in bands)
            if len(ordered) == len(bands) and ordered != bands:
                raise ConfigInvalid(
                    f"{self.modality} bands {' '.join(bands)} at {resolution} m", expected=f"{' '.join(ordered)}"
                )
        is_quantized = self.contract().is_quantized
        allowed = ("uint8",) if is_quantized else DTYPES[known.unit]
        if self.dtype not in allowed:
            raise ConfigInvalid(
                f"{self.modality} values of type {self.dtype}",
                expected=f"{' or '.join(allowed)} for {self.scaling if is_quantized else known.unit}",
            )
        if self.step is not None and (self.dtype != "float32" or not _is_power_of_two(self.step)):
            raise ConfigInvalid(
                f"{self.modality} {self.dtype} values rounded to steps of {self.step}",
                expected="float32 and a power of two from 2^-10 to 1, such as 0.015625",
            )

    @classmethod
    def native(cls, modality_name: str, *, bands: Sequence[str] | None = None) -> Form:
        """Make the form that the agency delivers: native resolution, usual type, not quantized.

        >>> [r for r, _ in Form.native("S2L1C").groups]
        [10, 20, 60]
        """
        return _native(modality_name, None if bands is None else tuple(bands))

    @classmethod
    def gridded(
        cls,
        modality_name: str,
        *,
        bands: Sequence[str] | None = None,
        resolution: int | None = None,
        dtype: str | None = None,
        scaling: str = "none",
    ) -> Form:
        """Make the form with all bands on one grid.

        Args:
            modality_name: what it is of.
            bands: those there are, None for all; put into canonical order.
            resolution: of the grid [m], None for the finest of the modality.
            dtype: of the values, None for the usual one (uint8 where `scaling` quantizes).
            scaling: 8-bit rule, or `none`.
        """
        known = modality(modality_name)
        wanted = known.bands if bands is None else bands
        ordered = (*(b for b in known.bands if b in wanted), *(b for b in wanted if b not in known.bands))
        kind = dtype if dtype is not None else known.dtype if scaling == "none" else "uint8"
        return cls(known.name, ((resolution or min(known.groups), ordered),), kind, scaling)

    @property
    def bands(self) -> tuple[str, ...]:
        """All bands in canonical order."""
        held = {band for _, bands in self.groups for band in bands}
        return tuple(b for b in modality(self.modality).bands if b in held)

    @property
    def parts(self) -> tuple[Form, ...]:
        """This one: a fused form has several."""
        return (self,)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Resolutions of the grids [m], finest first."""
        return tuple(r for r, _ in self.groups)

    @property
    def base(self) -> int:
        """Resolution of the finest grid [m]; sizes of patches are told in its pixels."""
        return self.groups[0][0]

    @property
    def is_native(self) -> bool:
        """Whether every band is at its native resolution."""
        return all(modality(self.modality).resolution(b) == r for r, bands in self.groups for b in bands)

    def bands_at(self, resolution: int) -> tuple[str, ...]:
        """Give the bands of one grid, none where there is no such grid."""
        return dict(self.groups).get(resolution, ())

    def resolutions_of(self, bands: Sequence[str]) -> tuple[int, ...]:
        """Give the grids [m] that carry some of these bands."""
        return tuple(r for r, names in self.groups if any(b in names for b in bands))

    def contract(self, offset: int = 0) -> Contract:
        """Say what the values mean, bands in canonical order."""
        listed = tuple(band for _, bands in self.groups for band in bands)
        ordered = tuple(b for b in modality(self.modality).bands if b in listed)
        bands = ordered if len(ordered) == len(listed) else listed  # the contract refuses foreign and double ones
        return stored(self.modality, offset=offset, bands=bands, scaling=self.scaling)

    def to_json(self) -> dict[str, Any]:
        """Give plain values for attributes; `from_json` reads them."""
        groups = {str(r): list(bands) for r, bands in self.groups}
        return {
            "modality": self.modality,
            "groups": groups,
            "dtype": self.dtype,
            "scaling": self.scaling,
            "step": self.step,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Form:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: something is missing or of the wrong kind.
        """
        groups = tuple((int(r), tuple(str(b) for b in bands)) for r, bands in data["groups"].items())
        step = None if data["step"] is None else float(data["step"])
        return cls(str(data["modality"]), groups, str(data["dtype"]), str(data["scaling"]), step)


@dataclass(frozen=True)
class FusedForm:
    """How the pixels of several modalities are handed out together: bands of one resolution lie in one array.

    The type is one that holds the values of every part exactly: float32 for uint16 beside float32, uint8 where all are.
    Price of float32: the 13 optical bands take twice the bytes from worker to device, 60 in place of 34 a pixel of a
    view; 8-bit archives of both modalities pay nothing.
    """

    parts: tuple[Form, ...]
    """One for each modality, in channel order."""

    @functools.cached_property
    def groups(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """(resolution [m], bands) of each grid, finest first, the bands part after part."""
        resolutions = sorted({r for part in self.parts for r in part.resolutions})
        return tuple((r, tuple(b for part in self.parts for b in part.bands_at(r))) for r in resolutions)

    @property
    def dtype(self) -> str:
        """NumPy name of a type that holds all values exactly."""
        return str(np.result_type(*(part.dtype for part in self.parts)))


AnyForm = Form | FusedForm


def fuse_forms(parts: Sequence[Form]) -> AnyForm:
    """Put the forms of several modalities together; one alone stays what it is."""
    return parts[0] if len(parts) == 1 else FusedForm(tuple(parts))


@functools.lru_cache
def _native(modality_name: str, bands: tuple[str, ...] | None) -> Form:
    """Make a form once: each image of an archive asks for that of its modality, many times."""
    known = modality(modality_name)
    wanted = known.bands if bands is None else bands
    groups = ((r, tuple(b for b in names if b in wanted)) for r, names in known.groups.items())
    return Form(known.name, tuple((r, names) for r, names in groups if names), known.dtype)


def _is_power_of_two(value: float) -> bool:
    return 2**-10 <= value <= 1 and math.frexp(value)[0] == 0.5
