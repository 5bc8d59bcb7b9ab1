# SPDX-License-Identifier: Apache-2.0
"""Whether tensors hold weights: numbers of the network's type or another precision, finite, variances not negative."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ssl4eo.errors import CheckpointInvalid

log = logging.getLogger(__name__)

_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
"""Types of weights that are cast to the network's own; those of 8 bits need factors that nobody here knows."""
_WHOLE = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


def in_types_of(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Give tensors in the types of a network's, and log how many were of others.

    Args:
        expected: of the network, on any device.
        found: under the same names; shapes may differ.
        path: of the file, for the message.

    Raises:
        CheckpointInvalid: a tensor without values, or of a type that is not the network's in another precision:
            complex or whole numbers, eight bits.
    """
    cast, kinds, refused = dict(found), Counter[torch.dtype](), list[str]()
    for name, value in found.items():
        wanted = expected[name].dtype
        if value.is_meta or value.layout != torch.strided:
            refused.append(f"{name} has no values" if value.is_meta else f"{name} is {_short(value.layout)}")
        elif value.dtype == wanted:
            continue
        elif _can_be_cast(value, wanted):
            cast[name] = value.to(wanted)
            kinds[value.dtype] += 1
        else:
            refused.append(f"{name} is {_short(value.dtype)}")
    if refused:
        raise CheckpointInvalid(
            f"{path}: {len(refused)} tensors are no weights ({', '.join(refused[:3])}"
            f"{', ...' if len(refused) > 3 else ''})",
            expected="numbers of float32, float64, float16 or bfloat16 for every weight",
            remedy="save the weights as they were trained: not quantized, and not from the meta device",
            path=str(path),
        )
    if kinds:
        rows = ", ".join(f"{count} of {_short(kind)}" for kind, count in kinds.items())
        log.info("%s: %s among %d tensors, cast to the network's types", path.name, rows, len(found))
    return cast


def _can_be_cast(value: Tensor, wanted: torch.dtype) -> bool:
    """Say whether a type is another precision; counters of batches may have been cast together with the weights."""
    if wanted in _FLOATS:
        return value.dtype in _FLOATS
    is_counter = wanted in _WHOLE and value.dtype in _FLOATS
    return (wanted in _WHOLE and value.dtype in _WHOLE) or (is_counter and bool(torch.isfinite(value).all()))


def check_values(found: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless all weights are finite and no running variance is negative.

    Raises:
        CheckpointInvalid: with the name of the first.
    """
    floats = [v for v in found.values() if v.is_floating_point()]
    # One pass over all, and only where that shows something (or overflows) one over each.
    norm = nn.utils.get_total_norm(floats)
    if floats and norm == 0:
        log.warning("%s: all weights are zero", path.name)
    suspicious = not torch.isfinite(norm)
    broken = [k for k, v in found.items() if suspicious and v.is_floating_point() and not torch.isfinite(v).all()]
    if broken:
        raise CheckpointInvalid(
            f"{path}: {len(broken)} tensors hold NaN or infinity ({broken[0]})",
            expected="finite weights",
            remedy="they are of a run that diverged, or damaged: take an earlier checkpoint or fetch it again",
            path=str(path),
        )
    negative = [k for k, v in found.items() if k.endswith("running_var") and bool((v < 0).any())]
    if negative:
        raise CheckpointInvalid(
            f"{path}: {len(negative)} running variances are negative ({negative[0]})",
            expected="variances of 0 or more: features would be NaN",
            remedy="they are damaged, or the difference of two networks: take another checkpoint",
            path=str(path),
        )


def _short(kind: torch.dtype | torch.layout) -> str:
    return str(kind).removeprefix("torch.")
