# SPDX-License-Identifier: Apache-2.0
"""What takes the place of an item that cannot be read: another one, from anywhere, the same whoever reads and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from ssl4eo.archive.ledger import note
from ssl4eo.errors import ShardCorrupt
from ssl4eo.views.rng import sample_rng

STREAM = 254
"""Stream of random numbers that the items are drawn from which replace damaged ones."""

MOST_REPLACEMENTS = 10
"""Items that are tried in place of a damaged one; where all of them are damaged, too, the archive is."""

T = TypeVar("T")


def read_or_replace(
    index: int, count: int, read: Callable[[int], T], *, ledger: Path | None, seed: int = 0, epoch: int = 0
) -> T:
    """Read an item, or what replaces it: a function of (seed, epoch, index) and of what is damaged.

    Args:
        index: the item wanted.
        count: items that there are.
        read: one of them.
        ledger: file that damaged ones are noted in; None replaces nothing.
        seed: of the run.
        epoch: from 0.

    Raises:
        ShardCorrupt: it cannot be read and nothing is to replace it, or nothing that was tried can.
    """
    damage: list[ShardCorrupt] = []
    for item in _candidates(index, count, seed=seed, epoch=epoch):
        try:
            return read(item)
        except ShardCorrupt as error:
            if ledger is None:
                raise
            note(ledger, error)
            damage.append(error)
    if count == 1:
        raise damage[0]
    raise ShardCorrupt(
        f"{damage[0].found}; nor can {MOST_REPLACEMENTS} items that were drawn to replace it",
        expected="data of which nearly all can be read",
        remedy=damage[0].remedy,
    )


def _candidates(index: int, count: int, *, seed: int, epoch: int) -> Iterator[int]:
    """Give an item, then those that may replace it: from anywhere, as damage is often to neighbours."""
    yield index
    rng = sample_rng(seed, epoch=epoch, index=index, stream=STREAM)
    for _ in range(MOST_REPLACEMENTS if count > 1 else 0):
        yield int(index + rng.integers(1, count)) % count
