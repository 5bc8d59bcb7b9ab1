# SPDX-License-Identifier: Apache-2.0
"""Where to look: random windows of a patch, in fractions of it, so that one window fits every grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ssl4eo.errors import ConfigInvalid


@dataclass(frozen=True)
class Window:
    """A rectangle in fractions of the patch, from its upper left corner."""

    top: float
    left: float
    height: float
    width: float


WHOLE = Window(0.0, 0.0, 1.0, 1.0)


def random_window(
    rng: np.random.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Window:
    """Draw the window of RandomResizedCrop from a square patch.

    Area uniform in `scale` (share of the patch), aspect ratio log-uniform in `ratio`. A shape that does
    not fit is drawn again, at most ten times; then the window is the largest centred square of the
    drawn area's upper bound.
    Source: Szegedy et al. 2015 as in torchvision. The reference drew the ratio uniformly.
    """
    for _ in range(10):
        area = rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        height, width = math.sqrt(area / aspect), math.sqrt(area * aspect)
        if height <= 1 and width <= 1:
            return Window(rng.uniform(0, 1 - height), rng.uniform(0, 1 - width), height, width)
    side = math.sqrt(min(1.0, scale[1]))
    return Window((1 - side) / 2, (1 - side) / 2, side, side)


def check_scale(name: str, scale: tuple[float, float]) -> None:
    """Refuse a range of areas that no window can have."""
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigInvalid(f"{name} is {scale}", expected="0 < smallest <= largest <= 1")
