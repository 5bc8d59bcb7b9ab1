# SPDX-License-Identifier: Apache-2.0
"""What the networks of some files of embeddings are called, so that they are told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ssl4eo.likeness.embeddings import Embeddings

_HASH_DIGITS = 8


def network_names(files: Sequence[Embeddings]) -> tuple[str, ...]:
    """Name the network of each file: untrained ones with their seed, those of one name with their hash.

    Files of one and the same network that differ in something else have the name of the file too.
    """
    names = [_with_seed(item) for item in files]
    names = _apart(names, [item.sha256[:_HASH_DIGITS] if item.sha256 else "untrained" for item in files])
    return tuple(_apart(names, [item.path.name for item in files]))


def _with_seed(item: Embeddings) -> str:
    seed = item.record["checkpoint"].get("seed")
    return item.checkpoint if item.sha256 or not seed else f"{item.checkpoint}, seed {seed}"


def _apart(names: Sequence[str], more: Sequence[str]) -> list[str]:
    """Add what differs to names that are the same."""
    kinds = Counter(name for name, _ in set(zip(names, more, strict=True)))
    return [f"{name}, {word}" if kinds[name] > 1 else name for name, word in zip(names, more, strict=True)]
