# SPDX-License-Identifier: Apache-2.0
"""The published 8-bit forms of Sentinel pixels: how they are made, and what a value stands for.

Each rule is written down once here; contract.py carries their names, archives and LMDB files their values.
`uint8_10k_wrapped` is what the reference wrote (no clip: 10,040 DN becomes 0, so bright cloud turns dark);
`uint8_10k` is the same with the clip that was meant. Both steps are 39.2 DN wide, which leaves nothing of B10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssl4eo.errors import UnknownName, unknown_name
from ssl4eo.sensors import MODALITIES, statistics
from ssl4eo.sensors import modality as known_modality

if TYPE_CHECKING:  # contracts are read where no pixel is, and NumPy takes longer to load than to list them
    import numpy as np
    from numpy.typing import NDArray

FULL_SCALE_DN = 10_000.0
"""Digital numbers that become 255."""

RULES: Mapping[str, str] = {
    "uint8_10k": "trunc(clip(DN / 10000, 0, 1) 255)",
    "uint8_10k_wrapped": "trunc(DN / 10000 255) modulo 256, as published: bright values wrap to dark",
    "uint8_sigma2": "trunc(clip((x - (mean - 2 std)) / (4 std) 255, 0, 255)), with `uint8_sigma2:<statistics>`",
}
UNITS: Mapping[str, tuple[str, ...]] = {
    "uint8_10k": ("DN",),
    "uint8_10k_wrapped": ("DN",),
    "uint8_sigma2": ("DN", "dB"),
}
"""Units of the values that a rule can be applied to."""


def is_rule(scaling: str) -> bool:
    """Say whether a scaling is one of the 8-bit rules."""
    return scaling.partition(":")[0] in RULES


def spellings() -> tuple[str, ...]:
    """Give every 8-bit rule in full, with each of the statistics where it needs some.

    >>> spellings()[:3]
    ('uint8_10k', 'uint8_10k_wrapped', 'uint8_sigma2:published_50k')
    """
    known = dict.fromkeys(name for each in MODALITIES.values() for name in each.statistics)
    return ("uint8_10k", "uint8_10k_wrapped", *(f"uint8_sigma2:{name}" for name in known))


def require_rule(scaling: str, *others: str) -> None:
    """Refuse what is no 8-bit rule, or one without its statistics.

    Args:
        scaling: a rule in full.
        others: words that are allowed besides.

    Raises:
        UnknownName: it is none; lists them all in full.
    """
    if scaling not in (*others, *spellings()):
        raise unknown_name("8-bit rule", scaling, (*others, *spellings()))


def quantize(values: NDArray[np.generic], scaling: str, modality: str, bands: Sequence[str]) -> NDArray[np.uint8]:
    """Make the 8-bit form of an array (band, y, x).

    Args:
        values: DN without offset, or dB; not modified.
        scaling: a rule, with its statistics where it has some.
        modality: what the values are of.
        bands: along the first axis.

    Raises:
        UnknownName: no such rule or statistics.

    Source: Wang et al. 2022 (SSL4EO-S12), the conversion of the released 8-bit files, in the same precision:
    float64 for integers, the values' own type for floating-point numbers.
    """
    import numpy as np

    rule, _, source = scaling.partition(":")
    exact: Any = values.astype(np.float64) if values.dtype.kind in "ui" else values
    if rule == "uint8_sigma2":
        table = statistics(modality, source)
        out = np.empty(values.shape, np.uint8)
        for plane, level, name in zip(out, exact, bands, strict=True):
            low, high = table.mean[name] - 2 * table.std[name], table.mean[name] + 2 * table.std[name]
            plane[:] = np.clip((level - low) / (high - low) * 255.0, 0, 255).astype(np.uint8)
        return out
    if rule == "uint8_10k":
        return np.clip(exact / FULL_SCALE_DN * 255.0, 0, 255).astype(np.uint8)
    if rule == "uint8_10k_wrapped":
        return (exact / FULL_SCALE_DN * 255.0).astype(np.int64).astype(np.uint8)
    raise unknown_name("8-bit rule", scaling, RULES)


def meaning(scaling: str, modality: str, bands: Sequence[str]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give gain and bias per band that turn an 8-bit value back: x is gain * value + bias, within one step.

    Values that were clipped (or wrapped) do not come back.

    Raises:
        UnknownName: no such rule or statistics.
    """
    rule, _, source = scaling.partition(":")
    if rule not in RULES:
        raise unknown_name("8-bit rule", scaling, RULES)
    if rule != "uint8_sigma2":
        return (FULL_SCALE_DN / 255,) * len(bands), (0.0,) * len(bands)
    table = statistics(modality, source)
    return tuple(4 * table.std[b] / 255 for b in bands), tuple(table.mean[b] - 2 * table.std[b] for b in bands)


def unstretch(values: NDArray[np.uint8], modality: str, bands: Sequence[str]) -> NDArray[np.float64]:
    """Turn values that their publisher stretched to 8 bits back into the unit of `Modality.stretch`.

    Args:
        values: (band, y, x) as published, such as SSL4EO-L.
        modality: what they are of.
        bands: along the first axis.

    Returns:
        float64 (band, y, x): reflectance, brightness temperature [K], or surface reflectance [DN of Collection 2],
        within one step below the truth; values that were clipped do not come back.

    Raises:
        UnknownName: no stretch is published for the modality or for one of the bands.

    >>> import numpy as np
    >>> float(unstretch(np.full((1, 1, 1), 255, np.uint8), "L8TOA", ["B4"])[0, 0, 0])
    0.4
    """
    import numpy as np

    table = known_modality(modality).stretch
    unknown = [band for band in bands if band not in table]
    if unknown or not table:
        raise UnknownName(
            f"no stretch is published for {modality} {' '.join(unknown)}".rstrip(),
            expected=f"bands {' '.join(table)}" if table else "a modality of SSL4EO-L",
        )
    low, high = (np.array([table[band][i] for band in bands], np.float64)[:, None, None] for i in (0, 1))
    return low + values / 255.0 * (high - low)
