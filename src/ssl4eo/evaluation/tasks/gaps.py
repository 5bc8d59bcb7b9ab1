# SPDX-License-Identifier: Apache-2.0
"""What a split names and the data lack: refused, or, where that is asked for, left out and listed.

Tasks whose splits are lists ask here before they go on without an item; nothing else may leave one out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ssl4eo.errors import Ssl4eoError


@dataclass(frozen=True)
class Gap:
    """Items that were left out for one reason."""

    items: tuple[str, ...]
    """Their names in the split."""
    found: str
    remedy: str


@dataclass
class Gaps:
    """Collects what was left out."""

    found: list[Gap] = field(default_factory=list[Gap])


def settle(gaps: Gaps | None, absent: Sequence[str], error: Callable[[str], Ssl4eoError]) -> None:
    """Note absent items, of which there may be none.

    Args:
        gaps: takes them; None: none may be left out.
        absent: names of what is not there.
        error: gives what to raise, or what to note, of the name of the first.

    Raises:
        Ssl4eoError: items are absent and may not be left out.
    """
    if not absent:
        return
    said = error(absent[0])
    if gaps is None:
        said.remedy += ", or judge on what is there: --skip-missing"
        raise said
    gaps.found.append(Gap(tuple(absent), said.found, said.remedy))
