# SPDX-License-Identifier: Apache-2.0
"""Random numbers and waves that are the same bits on every machine.

Numbers come from the raw 64-bit words of Philox, keyed by (seed, location, stream): NumPy promises
those words for ever, while `Generator.normal` and even `.integers` may change between its releases.
NumPy's `sin`, `exp` and `log` may differ in the last bit between CPUs, so angles go through tables made
with `math` and rounded to 9 decimals; a sum over an array is never taken, only elementwise + - * / sqrt floor.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Plane = NDArray[np.floating]
"""One float32 a pixel, (y, x); said loosely because NumPy's stubs, unlike NumPy 2, widen float32 * 2.0."""
Index = NDArray[np.intp]
"""One table position a pixel, (y, x)."""

TURN = 4096
"""Steps of a full turn in the tables of sine and cosine."""


class Stream:
    """An endless row of random numbers of one location for one purpose."""

    def __init__(self, seed: int, location: int, stream: int) -> None:
        self._words = np.random.Philox(key=np.array([seed, location * 65536 + stream], np.uint64))

    def number(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw one number, low <= number < high."""
        word = int(self._words.random_raw()) >> 11
        return low + (high - low) * (word / 9007199254740992)

    def integer(self, low: int, high: int) -> int:
        """Draw one whole number, low <= number < high."""
        return low + int(self.number() * (high - low))

    def happens(self, probability: float) -> bool:
        """Say yes with a probability."""
        return self.number() < probability

    def choose(self, options: Sequence[T]) -> T:
        """Draw one of the options, all alike likely."""
        return options[self.integer(0, len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """Give the options in a random order."""
        keys = [self.number() for _ in options]
        return [options[i] for i in sorted(range(len(options)), key=keys.__getitem__)]

    def bits(self, *shape: int) -> NDArray[np.uint16]:
        """Draw an array of 16 random bits each."""
        count = math.prod(shape)
        words = self._words.random_raw(-(-count // 4)).astype("<u8", copy=False)
        return words.view("<u2")[:count].astype(np.uint16, copy=False).reshape(shape)

    def uniform(self, *shape: int) -> Plane:
        """Draw an array of float32, 0 < value < 1, in steps of 1 / 65536."""
        return (self.bits(*shape).astype(np.float32) + np.float32(0.5)) * np.float32(1 / 65536)


@functools.cache
def _sine_table() -> tuple[float, ...]:
    return tuple(round(math.sin(2 * math.pi * i / TURN), 9) for i in range(TURN))


@functools.cache
def _sine_array() -> Plane:
    return np.array(_sine_table(), np.float32)


def sine(turns: float) -> float:
    """Sine of an angle in full turns, from the table."""
    return _sine_table()[math.floor(turns * TURN) % TURN]


def cosine(turns: float) -> float:
    """Cosine of an angle in full turns, from the table."""
    return sine(turns + 0.25)


def wave(turns: Plane) -> Plane:
    """Sine of an array of angles in full turns, from the table."""
    return _sine_array().take(np.floor(turns * TURN).astype(np.intp) & (TURN - 1))
