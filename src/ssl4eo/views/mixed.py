# SPDX-License-Identifier: Apache-2.0
"""Views of sensors that are stored in different types: each travels in its own, 34 bytes a pixel and not 60.

Digital numbers of 16 bits and decibels in float32 are one input of a network, which is float32 in the end. On the way
from a loader's process to the device they need not be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MixedViews:
    """Views (B, C, S, S) of several types, as one part of channels after the other."""

    parts: tuple[Tensor, ...]
    """Each (B, c, S, S) in the type of its bands; channels of all parts in order."""

    @property
    def shape(self) -> torch.Size:
        """Of all parts together."""
        first = self.parts[0].shape
        return torch.Size((first[0], sum(part.shape[1] for part in self.parts), *first[2:]))

    def __getitem__(self, rows: slice) -> MixedViews:
        """Give some of the views."""
        return MixedViews(tuple(part[rows] for part in self.parts))

    def to(self, *device: Any, **options: Any) -> MixedViews:
        """Move to a device, as `Tensor.to` does."""
        return MixedViews(tuple(part.to(*device, **options) for part in self.parts))

    def pin_memory(self) -> MixedViews:
        """Pin for a fast copy to a device."""
        return MixedViews(tuple(part.pin_memory() for part in self.parts))

    def float(self) -> Tensor:
        """Put the parts together: (B, C, S, S) float32."""
        return torch.cat([part.float() for part in self.parts], dim=1)


def put_apart(view: NDArray[np.generic], places: list[NDArray[np.generic]]) -> None:
    """Write the channels of a view (C, S, S) to the places of their types, each (c, S, S), in order."""
    first = 0
    for place in places:
        place[...] = view[first : first + len(place)]
        first += len(place)


def make_whole_(view: NDArray[np.float32], types: Sequence[tuple[np.dtype[Any], int]]) -> None:
    """Round the channels of a view (C, S, S) that have a whole-number type, and hold them in its range, in place.

    Args:
        view: the values.
        types: of its channels, in order, each with the number of channels side by side that have it.
    """
    first = 0
    for dtype, count in types:
        channels = view[first : first + count]
        first += count
        if dtype.kind == "u":
            np.rint(channels, out=channels).clip(0, np.iinfo(str(dtype)).max, out=channels)
