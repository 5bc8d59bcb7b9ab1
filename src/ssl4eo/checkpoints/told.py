# SPDX-License-Identifier: Apache-2.0
"""What is told of a file that others wrote: by its card in the catalog, or by the record beside it.

A file that is asked for by its catalog name is its card's; else the record beside it counts, and last the name of the
file, since half of the published files have no hash: what then is in it must fit the card.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ssl4eo.checkpoints import fetching
from ssl4eo.checkpoints.card import Card
from ssl4eo.checkpoints.catalog import CARDS, card_of_file
from ssl4eo.checkpoints.sidecar import Sidecar, read_sidecar
from ssl4eo.contract import InputContract

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What somebody says of weights."""

    by: str
    """Who says it, in words."""
    contract: InputContract
    certainty: str
    """How sure that is; empty: nobody doubts it."""
    alternatives: tuple[InputContract, ...] = ()
    """Other scalings that are published for it."""
    arch: str | None = None
    method: str | None = None
    image_size: int | None = None
    """[px]"""
    record: Sidecar | None = None
    """The record that says it."""
    training: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """How the weights came about, for the record of an export."""


def told_of(name: str | Path, path: Path) -> Told | None:
    """Find out what is told of a file; None if nothing is.

    Args:
        name: that it was asked for by: of the catalog, or of the file.
        path: of the file.

    Raises:
        CheckpointInvalid: the record beside it cannot be read, or is of another file.
        SourceInvalid: it has the name of a published file, and another size.
    """
    if str(name) in CARDS:
        return _by_card(CARDS[str(name)])
    record = read_sidecar(path)
    if record is not None:
        log.info("%s: input as its record %s says", path.name, record.path.name)
        return _by_record(record)
    card = card_of_file(path.name)
    if card is None:
        return None
    file = next(file for file in card.files if file.name == path.name)
    fetching.require_genuine(path, replace(file, sha256_start=""))  # hashing takes longer than loading
    log.info("%s: taken for %s by its name", path.name, card.name)
    return _by_card(card)


def _by_card(card: Card) -> Told:
    return Told(
        by=f"the card {card.name}",
        contract=card.contract,
        certainty=card.certainty,
        alternatives=card.alternatives,
        arch=card.backbone,
        method=card.method,
        training={
            "card": card.name,
            "method": card.method,
            "epochs": card.epochs,
            "data": card.data,
            "recommended": card.recommended,
            "not_recommended": card.not_recommended,
        },
    )


def _by_record(record: Sidecar) -> Told:
    return Told(
        by=f"the record {record.path.name}",
        contract=record.contract,
        certainty=str(record.training.get("certainty", "")),
        arch=record.arch,
        image_size=record.image_size,
        record=record,
        training=record.training,
    )
