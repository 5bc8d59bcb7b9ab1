# SPDX-License-Identifier: Apache-2.0
"""What is hidden: masks over the patches of a view, True = hidden.

Drawn with the sample's own generator, like its views, so that a mask does not depend on workers, ranks or resuming.
A mask is a row of L = grid * grid patches, row by row.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import ConfigInvalid


class Masking(ABC):
    """Draws which patches are hidden."""

    grid: int
    """Patches along each axis."""
    num_masked: int
    """Patches that are hidden, the same in every mask."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one mask (L,), True = hidden."""


@dataclass(frozen=True)
class RandomMasking(Masking):
    """Every set of patches is equally likely. Source: He et al. 2022 (MAE), section 3."""

    grid: int
    num_masked: int

    def __post_init__(self) -> None:
        """Refuse masks that hide nothing or everything."""
        _check(self.grid, self.num_masked)

    def draw(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one mask (L,), True = hidden."""
        mask = np.zeros(self.grid**2, dtype=bool)
        mask[rng.permutation(self.grid**2)[: self.num_masked]] = True
        return mask


@dataclass(frozen=True)
class BlockMasking(Masking):
    """Rectangles of patches until exactly `num_masked` are hidden.

    A block has an area uniform between `smallest` and what is still wanted, and an aspect ratio log-uniform between
    `aspect` and 1 / `aspect`; one that would hide too many new patches or none is drawn again.
    Source: Bao et al. 2022 (BEiT), algorithm 1, whose loop ends at or above its ratio. The published code stops after
    ten tries that hide nothing new, and so may hide fewer than it says; here the last patches are then hidden one by
    one, so that the count is exact. As in the paper blocks lie inside the image, so that its corners are hidden
    less often than its middle.
    """

    grid: int
    num_masked: int
    smallest: int = 16
    aspect: float = 0.3

    def __post_init__(self) -> None:
        """Refuse masks that hide nothing or everything, and blocks without area."""
        _check(self.grid, self.num_masked)
        if self.smallest < 1 or not 0 < self.aspect <= 1:
            raise ConfigInvalid(
                f"blocks of {self.smallest} patches, aspect {self.aspect}",
                expected="1 patch or more, aspect above 0 to 1",
            )

    def draw(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one mask (L,), True = hidden."""
        mask = np.zeros((self.grid, self.grid), dtype=bool)
        while (wanted := self.num_masked - int(mask.sum())) > 0:
            if not self._add_block(rng, mask, wanted):
                free = np.flatnonzero(~mask)
                mask.flat[rng.choice(free, size=wanted, replace=False)] = True
        return mask.reshape(-1)

    def _add_block(self, rng: np.random.Generator, mask: NDArray[np.bool_], wanted: int) -> bool:
        """Hide one block of at most `wanted` new patches; say whether one was found in ten tries."""
        bound = abs(math.log(self.aspect))  # not -log: of an aspect of 1 that is -0.0, which is no upper end
        for _ in range(10):
            area = rng.uniform(min(self.smallest, wanted), wanted)
            ratio = math.exp(rng.uniform(-bound, bound))
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if not (1 <= height <= self.grid and 1 <= width <= self.grid):
                continue
            top, left = int(rng.integers(self.grid - height + 1)), int(rng.integers(self.grid - width + 1))
            block = mask[top : top + height, left : left + width]
            if 0 < block.size - int(block.sum()) <= wanted:
                block[:] = True
                return True
        return False


def _check(grid: int, num_masked: int) -> None:
    if not 0 < num_masked < grid**2:
        raise ConfigInvalid(
            f"{num_masked} of {grid**2} patches masked",
            expected=f"1 to {grid**2 - 1}: the network must see something and have something to predict",
            remedy="choose another mask ratio or count",
        )
