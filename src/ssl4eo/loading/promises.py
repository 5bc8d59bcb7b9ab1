# SPDX-License-Identifier: Apache-2.0
"""Does a source of pixels give what its form tells, and a sampler what views are drawn by? Both may be others' own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import ConfigInvalid
from ssl4eo.loading.sampler import Item


def other_pixels(groups: Any, resolution: int, num_bands: int, dtype: np.dtype[Any]) -> str:
    """Say what a source of somebody's own gave in place of the pixels that it promised; empty if it gave them."""
    if not isinstance(groups, Mapping):
        return f"a {type(groups).__name__} in place of arrays by resolution"
    values = groups.get(resolution)
    if values is None:
        return "nothing"
    if not isinstance(values, np.ndarray):
        return f"a {type(values).__name__} in place of an array"
    return _other_values(values, num_bands, dtype)


def _other_values(values: NDArray[Any], num_bands: int, dtype: np.dtype[Any]) -> str:
    if values.ndim != 3 or len(values) != num_bands or values.shape[1] != values.shape[2] or not values.size:
        return f"values {values.shape}"
    if values.dtype != dtype:
        return f"{values.dtype} values"
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return f"{np.count_nonzero(~np.isfinite(values))} values that are NaN or infinite"
    return ""


def require_items(items: list[Item]) -> None:
    """Refuse items that no views can be drawn by.

    Raises:
        ConfigInvalid: one is no pair of epoch and index, as samplers other than ours give it.
    """
    for item in items:
        if not isinstance(item, tuple) or len(item) != 2:  # pyright: ignore[reportUnnecessaryIsInstance] - of other samplers
            raise ConfigInvalid(
                f"item {item!r} of a ViewDataset",
                expected="(epoch, index): views differ from epoch to epoch",
                remedy="ssl4eo.loading.views.ViewBatches gives the batches of a loop of your own",
            )
