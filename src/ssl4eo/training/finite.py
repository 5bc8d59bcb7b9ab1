# SPDX-License-Identifier: Apache-2.0
"""What must be finite: the options of a run before it begins, its weights before they are kept.

NaN compares false with everything, so that a range such as `lr > 0` lets it pass or not by how it is written, and
infinity is above zero; here both are refused by one look at every number. No option means something by infinity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from ssl4eo.errors import ConfigInvalid


def require_finite_options(config: Any) -> None:
    """Refuse the first number in nested options that is NaN or infinite.

    Args:
        config: a dataclass of options, which may be dataclasses and tuples themselves.

    Raises:
        ConfigInvalid: there is one; named with dots, as on the command line.
    """
    for name, value in _options(config, ""):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigInvalid(f"{name} is {value}", expected="a finite number")


def _options(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        for field in fields(value):
            yield from _options(getattr(value, field.name), f"{name}.{field.name}" if name else field.name)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _options(inner, name)
    else:
        yield name, value


def first_not_finite(state: Any) -> str | None:
    """Name the first tensor in nested values that holds NaN or infinity, None if there is none.

    One pass over the values without a copy, and one wait for each device. The largest absolute value is looked at: a
    sum of finite values may overflow.
    """
    named = [(name, value) for name, value in _tensors(state, "") if value.is_floating_point() and value.numel()]
    flags: dict[torch.device, list[Tensor]] = {}
    for _, value in named:
        largest = torch.linalg.vector_norm(value.detach(), ord=math.inf)  # of NaN: NaN
        flags.setdefault(value.device, []).append(torch.isfinite(largest))
    finite = {device: iter(torch.stack(rows).tolist()) for device, rows in flags.items()}
    # As many looks as there were flags, in the same order.
    return next((name for name, value in named if not next(finite[value.device])), None)


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _tensors(inner, f"{name}.{number}")
