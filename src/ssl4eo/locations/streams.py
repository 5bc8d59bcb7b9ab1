# SPDX-License-Identifier: Apache-2.0
"""Random numbers that belong to a place, not to a process.

A counter-based generator keyed by (seed, use, attempt, place): the same place gets the same candidates on any machine,
in any order, on any number of workers, and after any interruption. No state has to be saved.
Ids are any text, so the four are hashed (SHA-256) into the 128 bits that key a Philox generator.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def stream(seed: int, *, place: str, attempt: int, use: str) -> np.random.Generator:
    """Make the generator of one attempt for one place.

    Args:
        seed: of the drawing, any integer.
        place: id.
        attempt: from 0.
        use: what the numbers are for; other uses get other numbers.
    """
    return np.random.Generator(np.random.Philox(key=_key(seed, use, attempt, place)))


class Streams:
    """The same generators, one after the other: setting the key of one costs a sixth of making one."""

    def __init__(self, seed: int, *, use: str) -> None:
        self._seed = seed
        self._use = use
        self._bits = np.random.Philox(0)
        self._state: dict[str, Any] = dict(np.random.Philox(key=0).state)  # of a generator that gave no number yet
        self._generator = np.random.Generator(self._bits)

    def at(self, place: str, attempt: int) -> np.random.Generator:
        """Give the generator of an attempt for a place, from its start; the one given before becomes this one."""
        self._state["state"]["key"] = _key(self._seed, self._use, attempt, place)
        self._bits.state = self._state  # pyright: ignore[reportAttributeAccessIssue] - the type in NumPy's stubs is private
        return self._generator


def _key(seed: int, use: str, attempt: int, place: str) -> NDArray[np.uint64]:
    return np.frombuffer(hashlib.sha256(f"{seed}/{use}/{attempt}/{place}".encode()).digest(), "<u8", count=2)
