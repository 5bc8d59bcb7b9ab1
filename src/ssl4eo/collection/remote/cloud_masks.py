# SPDX-License-Identifier: Apache-2.0
"""What the values of cloud masks mean, by kind: one table for all services.

A mask is read at its own resolution and nearest; what it does not tell (outside the scene, a layer that was never made)
is neither clear nor cloudy and leaves the share out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import unknown_name

CLOUD_PROBABILITY = 50
"""From this probability on a pixel counts as cloud [%]."""

_SCL_HIDDEN = (3, 8, 9, 10)
_QA60_HIDDEN = 1 << 10 | 1 << 11
_LANDSAT_HIDDEN = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4

Mask = NDArray[np.generic]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class CloudMask:
    """One kind of mask."""

    resolution: int
    """[m]."""
    fill: int
    """Value that stands for a pixel of which the mask tells nothing."""
    is_hidden: Callable[[NDArray[np.int64]], Bools]
    """Says of values whether they are cloud or shadow."""
    meaning: str
    """In words."""
    gap: tuple[dt.datetime, dt.datetime] | None = None
    """From, to [UTC]: acquisitions whose mask is empty though nothing says so."""


CLOUD_MASKS: Mapping[str, CloudMask] = MappingProxyType(
    {
        "scl": CloudMask(
            20, 0, lambda v: np.isin(v, _SCL_HIDDEN), "scene classes 3 (shadow), 8, 9 (cloud), 10 (cirrus) of Sen2Cor"
        ),
        "qa60": CloudMask(
            60,
            1 << 15,
            lambda v: (v & _QA60_HIDDEN) != 0,
            "bits 10 (opaque) and 11 (cirrus); it knows no shadows",
            # "contained rasterized cloud mask polygons until Feb 2022, when these polygons stopped being produced.
            # Starting in February 2024, legacy-consistent QA60 bands are constructed" (catalog of Earth Engine)
            (dt.datetime(2022, 1, 25, tzinfo=dt.UTC), dt.datetime(2024, 3, 1, tzinfo=dt.UTC)),
        ),
        "probability": CloudMask(
            10,
            255,
            lambda v: v >= CLOUD_PROBABILITY,
            f"s2cloudless, {CLOUD_PROBABILITY} % or more; it knows no shadows",
        ),
        "landsat_qa": CloudMask(
            30,
            1,
            lambda v: (v & _LANDSAT_HIDDEN) != 0,
            "bits 1 (dilated), 2 (cirrus), 3 (cloud), 4 (shadow) of QA_PIXEL",
        ),
    }
)


def cloud_mask(kind: str) -> CloudMask:
    """Look a kind of mask up.

    Raises:
        UnknownName: there is none of this name.
    """
    if kind not in CLOUD_MASKS:
        raise unknown_name("kind of cloud mask", kind, CLOUD_MASKS)
    return CLOUD_MASKS[kind]


def hidden_share(kind: str, values: Mask, observed: Bools, time: dt.datetime) -> float | None:
    """Give the share of observed pixels that are cloud or shadow [0 to 1]; None where the mask tells of none.

    >>> seen = np.ones((1, 4), bool)
    >>> hidden_share("scl", np.array([[4, 9, 0, 3]], np.uint8), seen, dt.datetime(2021, 6, 1, tzinfo=dt.UTC))
    0.6666666666666666

    Args:
        kind: of the mask.
        values: (y, x) on the mask's grid.
        observed: (y, x), where the scene has pixels.
        time: of the acquisition [UTC].
    """
    known = cloud_mask(kind)
    if known.gap is not None and known.gap[0] <= time < known.gap[1]:
        return None
    numbers = values.astype(np.int64)
    told = observed & ((numbers & 1) == 0 if kind == "landsat_qa" else numbers != known.fill)
    if not told.any():
        return None
    return float(np.count_nonzero(known.is_hidden(numbers) & told) / np.count_nonzero(told))
