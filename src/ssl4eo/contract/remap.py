# SPDX-License-Identifier: Apache-2.0
"""Conversions from one contract to another: planned once, refused where nobody knows how, logged when they happen.

Known are a subset or another order of bands, zero B10 for L2A, other absent bands where the source's contract names
what stands for them, the +1000 offset, a scaling; and of fused inputs each part on its own, so that a step for digital
numbers never meets decibels.
Works on NumPy arrays; backbones/adapter.py applies the same `Remap` to tensors.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ssl4eo import eightbit
from ssl4eo.contract.fused import InputContract, fuse
from ssl4eo.contract.single import FILL_RULES, UNBOUNDED, Affine, Contract, scaling_affine
from ssl4eo.errors import ContractMismatch
from ssl4eo.sensors import modality, statistics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remap:
    """A known conversion from one contract to another: pick bands, then scale."""

    source: InputContract
    target: InputContract
    index: tuple[int | None, ...]
    """For each target channel the source channel, None for a band that the source does not have."""
    affine: Affine
    """Applied after picking; takes the offset away too."""
    steps: tuple[str, ...]
    """What is done, in words."""

    def __call__(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Convert an array (..., band, y, x) to float32 and log the steps.

        Raises:
            ContractMismatch: the array has another number of bands than the source contract.
        """
        import numpy as np

        check_bands(values.shape, self.source)
        announce(self)
        picked = [
            np.zeros_like(values[..., 0, :, :], dtype=np.float64)
            if i is None
            else values[..., i, :, :].astype(np.float64)
            for i in self.index
        ]
        gain, bias = (np.asarray(v)[:, None, None] for v in (self.affine.gain, self.affine.bias))
        low, high = (np.asarray(v)[:, None, None] for v in zip(*self.affine.clip, strict=True))
        return (np.stack(picked, axis=-3) * gain + bias).clip(low, high).astype(np.float32)


@functools.cache
def announce(remap: Remap) -> None:
    """Log what a conversion does, once in a process."""
    if remap.steps:
        log.info("input %s -> %s: %s", remap.source.modality, remap.target.modality, ", ".join(remap.steps))


def check_bands(shape: Sequence[int], contract: InputContract) -> None:
    """Raise unless an array of this shape (..., band, y, x) has the contract's channels."""
    if len(shape) < 3 or shape[-3] != contract.num_bands:
        found = f"{shape[-3]} bands" if len(shape) >= 3 else "no band axis"
        raise ContractMismatch(
            f"an array of shape {tuple(shape)} has {found}",
            expected=f"{contract.num_bands} ({contract})",
            remedy="pass (..., band, y, x) with the bands in the contract's order",
        )


def require(found: InputContract, expected: InputContract) -> None:
    """Raise unless values are exactly what `expected` says; see `Contract.require`."""
    if found == expected:
        return
    try:
        steps = plan_remap(found, expected).steps
        remedy = "convert with plan_remap(found, expected), which will " + ", ".join(steps)
    except ContractMismatch as refusal:
        remedy = refusal.remedy or "no conversion is known"
    raise ContractMismatch(
        f"values are {found} ({'; '.join(found.differences(expected))})", expected=str(expected), remedy=remedy
    )


def plan_remap(source: InputContract, target: InputContract) -> Remap:
    """Plan the conversion from one contract to another, or refuse.

    Known: the same or another level of Sentinel-2 reflectance (L2A read by an L1C network, said in
    the steps), any subset or order of bands, B10 as zeros where the source has none, other absent bands as the
    source's contract names it (`fill`, see FILL_RULES), the +1000 DN offset taken away or put back, a scaling
    applied to unscaled values, an 8-bit form read as what it stands for. A fused input is converted part by part,
    in the target's order; parts that the target does not have are dropped, parts that the source does not have
    are refused.

    Raises:
        ContractMismatch: no such conversion is known; says why and what to do instead.
    """
    if isinstance(source, Contract) and isinstance(target, Contract):
        return _plan_part(source, target)
    used = [_partner(source, part) for part in target.parts]
    plans = [_plan_part(found, part) for found, part in zip(used, target.parts, strict=True)]
    starts = [_first_channel(source, found) for found in used]
    index = tuple(
        None if i is None else start + i for start, plan in zip(starts, plans, strict=True) for i in plan.index
    )
    return Remap(source, target, index, _join([plan.affine for plan in plans]), _say_steps(source, used, plans))


def narrowed(source: InputContract, target: InputContract) -> InputContract:
    """Give the source's contract with only the bands that the target is made of, in the source's order.

    >>> from ssl4eo.contract import network_input, stored
    >>> narrowed(stored("S2L1C"), network_input("S2L1C", ["B04", "B03", "B02"])).bands
    ('B02', 'B03', 'B04')

    Raises:
        ContractMismatch: the one cannot be made into the other.
    """
    used, start, parts = set(plan_remap(source, target).index), 0, list[Contract]()
    for part in source.parts:
        bands = tuple(band for channel, band in enumerate(part.bands, start) if channel in used)
        start += part.num_bands
        parts += [replace(part, bands=bands)] if bands else []
    return fuse(parts)


def _partner(source: InputContract, part: Contract) -> Contract:
    """Find the part of the source that can be made into a part of the target."""
    by_name = {found.modality: found for found in source.parts}
    if part.modality in by_name:
        return by_name[part.modality]
    for found in source.parts:
        if _can_stand(found, part):
            return found
    raise ContractMismatch(
        f"{source.modality} values have no part {part.modality}",
        expected=str(part),
        remedy=f"read {part.modality} too, or choose a network trained on {source.modality}",
    )


def _first_channel(source: InputContract, part: Contract) -> int:
    return sum(p.num_bands for p in source.parts[: source.parts.index(part)])


def _join(affines: Sequence[Affine]) -> Affine:
    gain, bias, clip = (
        tuple(itertools.chain.from_iterable(rows))
        for rows in zip(*((a.gain, a.bias, a.clip) for a in affines), strict=True)
    )
    return Affine(gain, bias, clip)


def _say_steps(source: InputContract, used: Sequence[Contract], plans: Sequence[Remap]) -> tuple[str, ...]:
    dropped = [f"drop {part.modality}" for part in source.parts if part not in used]
    return (*dropped, *(f"{plan.target.modality}: {step}" for plan in plans for step in plan.steps))


def _plan_part(source: Contract, target: Contract) -> Remap:
    steps: list[str] = []
    _plan_modality(source, target, steps)
    index = _plan_bands(source, target, steps)
    affine = _plan_values(source, target, steps)
    gain = tuple(0.0 if i is None else g for i, g in zip(index, affine.gain, strict=True))
    bias = tuple(
        _absent(source.fill, target, channel) if i is None else b
        for channel, (i, b) in enumerate(zip(index, affine.bias, strict=True))
    )
    return Remap(source, target, index, Affine(gain, bias, affine.clip), tuple(steps))


def _absent(fill: str, target: Contract, channel: int) -> float:
    """Give the scaled value of a channel whose band the source does not have."""
    if fill == "zero":
        return 0.0
    scale = scaling_affine(target)
    if fill == "none":  # a band that does not exist is zero in every unit: neither offset nor statistics apply to it
        return scale.bias[channel]
    named = target.scaling.partition(":")[2]
    known = modality(target.modality)
    if not named and "published_50k" not in known.statistics:
        raise ContractMismatch(
            f"no published mean of {target.bands[channel]} in {target.modality}",
            expected="a modality with published statistics",
            remedy="fill with zero",
        )
    mean = statistics(known.name, named or "published_50k").mean[target.bands[channel]]
    value = mean if named else mean + target.offset  # named statistics are of values as the network gets them
    low, high = scale.clip[channel]
    return min(max(scale.gain[channel] * value + scale.bias[channel], low), high)


def _plan_modality(source: Contract, target: Contract, steps: list[str]) -> None:
    if source.modality == target.modality:
        return
    if _can_stand(source, target):
        steps.append(f"read {source.level} values as {target.level}")
        return
    raise ContractMismatch(
        f"{source.modality} cannot stand for {target.modality}",
        expected=str(target),
        remedy=f"read {target.modality} from the archive instead, or choose a network trained on {source.modality}",
    )


def _can_stand(source: Contract, target: Contract) -> bool:
    return {source.modality, target.modality} <= {"S2L1C", "S2L2A"}


def _plan_bands(source: Contract, target: Contract, steps: list[str]) -> tuple[int | None, ...]:
    if source.bands == target.bands:
        return tuple(range(source.num_bands))
    missing = [b for b in target.bands if b not in source.bands]
    if missing not in ([], ["B10"]) and source.fill == "none":
        raise ContractMismatch(
            f"{source.modality} values have no {' '.join(missing)}",
            expected=f"bands {' '.join(target.bands)}",
            remedy=_ways_without(source, target),
        )
    unused = [b for b in source.bands if b not in target.bands]
    if missing and source.fill == "none":
        steps.append(f"insert zeros for B10 at channel {target.bands.index('B10')}")
    elif missing:
        steps.append(f"fill {' '.join(missing)} with {source.fill}")
    if unused:
        steps.append(f"drop {' '.join(unused)}")
    if [b for b in source.bands if b in target.bands] != [b for b in target.bands if b in source.bands]:
        steps.append(f"reorder to {' '.join(target.bands)}")
    return tuple(source.bands.index(b) if b in source.bands else None for b in target.bands)


def _ways_without(source: Contract, target: Contract) -> str:
    """Say in words and calls what can be done where a network wants bands that values do not have."""
    more = "".join(
        f", {name}={value!r}" for name, value in (("offset", source.offset), ("scaling", source.scaling)) if value
    ).replace(", scaling='none'", "")
    rule, other = (rule for rule in FILL_RULES if rule != "none")
    call = f'stored("{source.modality}", bands={list(source.bands)}{more}, fill="{rule}")'
    ways = [
        "only B10 may be absent (it is zero then): read the missing bands too",
        f"or say in the contract of the values what stands for them: embed(values, contract={call}) (or {other!r})",
    ]
    shared = tuple(band for band in target.bands if band in source.bands)
    if shared:
        ways.append(
            "or cut the network to the bands: backbones.adapt.with_contract(network, dataclasses.replace("
            f"network.contract, bands={shared}))"
        )
    return "; ".join(ways)


def _plan_values(source: Contract, target: Contract, steps: list[str]) -> Affine:
    count = target.num_bands
    if source.scaling != target.scaling and (target.is_quantized or source.is_quantized):
        return _plan_quantized(source, target, steps)
    if source.scaling != "none":
        if source.scaling == target.scaling and source.offset == target.offset and source.modality == target.modality:
            return Affine((1.0,) * count, (0.0,) * count, (UNBOUNDED,) * count)
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
        clip = ((0.0, math.inf),) * count  # a reflectance below zero is noise of the offset, not light
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
