# SPDX-License-Identifier: Apache-2.0
"""The nouns of published weights: a file at a host, a score, and the card of a checkpoint.

Values only, and no torch: a card can be listed where nothing can be trained. Which cards there are stands in
`catalog.py`, how a file comes in `cache.py`. A fact that nobody gave us is None or empty, never a guess.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ssl4eo.contract import InputContract

Holds = Literal["backbone", "full", "log"]
"""backbone: what transfers; full: that and heads, optimizer, teacher; log: what was written while it was trained."""
Host = Literal["drive", "huggingface", "web"]
"""web: an address that no card has."""


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """One published file of a checkpoint."""

    holds: Holds
    host: Host
    name: str
    """In the cache; that of its publisher where he gives one."""
    url: str
    """Pinned to a revision at HuggingFace; at Google Drive the page that a browser opens."""
    publisher: str
    """Who put it there: the authors, or a mirror that converted it."""
    drive_id: str = ""
    """At Google Drive; it stands for one upload, which is never replaced under the same id."""
    sha256_start: str = ""
    """First hexadecimal digits of its SHA-256, all 64 where they are published; empty: none is."""
    size: int | None = None
    """Bytes; None: not published."""
    unverified: str = ""
    """What about this file could not be checked when the catalog was written."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One published number of a checkpoint."""

    task: str
    protocol: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a published checkpoint: its input, its making, its files, its use."""

    name: str
    """<method>.<backbone>.<input>, as recipes are named; a second one of these by its epochs."""
    method: str
    backbone: str
    """A name of `ssl4eo.backbones.architectures.ARCHITECTURES`."""
    contract: InputContract
    """What the network is to be fed."""
    alternatives: tuple[InputContract, ...] = ()
    """Other scalings that are published for it, where the sources disagree."""
    certainty: str
    """How sure we are of the contract, and why."""
    image_size: int = 224
    """Height and width that it was trained on [px]."""
    epochs: int
    data: str
    """What it was pre-trained on."""
    license: str
    scores: tuple[Score, ...] = ()
    """Published for these very weights; empty: none are."""
    recommended: str
    not_recommended: str
    files: tuple[WeightFile, ...]
    """In the order in which they are tried."""

    @property
    def input(self) -> str:
        """Spelling of the input in the name."""
        return self.name.split(".")[2]

    def holding(self, holds: Holds) -> tuple[WeightFile, ...]:
        """Give the files that hold something, in the order in which they are tried; a full one holds a backbone too."""
        wanted = (holds, "full") if holds == "backbone" else (holds,)
        return tuple(file for kind in wanted for file in self.files if file.holds == kind)

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return asdict(self) | {
            "input": self.input,
            "contract": self.contract.to_json(),
            "alternatives": [other.to_json() for other in self.alternatives],
        }
