# SPDX-License-Identifier: Apache-2.0
"""Views of sensors that are stored in different types: each travels in its own, 34 bytes a pixel and not 60.

Digital numbers of 16 bits and decibels in float32 are one input of a network, which is float32 in the end. On the way
from a loader's process to the device they need not be.
"""

from __future__ import annotations

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


def put_apart(view: NDArray[np.generic], places: list[NDArray[np.generic]], *, whole: bool) -> None:
    """Write the channels of a view to the places of their types.

    Args:
        view: (C, S, S) in a type that holds all of them.
        places: each (c, S, S); channels of all in order.
        whole: values for whole-number types are whole numbers in their range already; else they are made so.
    """
    first = 0
    for place in places:
        channels = view[first : first + len(place)]
        first += len(place)
        if not whole and place.dtype.kind == "u":
            channels = np.rint(channels).clip(0, np.iinfo(str(place.dtype)).max)
        place[...] = channels
