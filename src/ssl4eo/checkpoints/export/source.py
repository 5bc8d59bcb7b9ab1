# SPDX-License-Identifier: Apache-2.0
"""What is exported, and what an export tells."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.backbone_file import is_own, read_header
from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.checkpoints.inspection import inspect
from ssl4eo.checkpoints.load import checkpoint_file, load_backbone
from ssl4eo.checkpoints.told import Told, told_of
from ssl4eo.contract import InputContract, fuse


@dataclass(frozen=True)
class Source:
    """A checkpoint by its name, not read yet."""

    name: str | Path
    """Anything that `load_backbone` takes."""
    licence: str | None = None
    """Of the weights, as an identifier such as cc-by-4.0; None if nobody has said."""

    def backbone(self) -> Backbone:
        """Load the network."""
        return load_backbone(self.name)

    def training(self) -> dict[str, Any]:
        """Give the record of how the weights came about; of others' weights what their card says, or their file."""
        path = checkpoint_file(self.name)
        if path is None:
            return {"recipe": str(self.name), "untrained": True}
        if is_own(path):
            return dict(read_header(path)["training"])
        return {"file": path.name} | _seen(path) | _said(told_of(self.name, path))

    def known_licence(self) -> str | None:
        """Give the licence: as stated, else as the card of published weights tells it, None if nobody told."""
        if self.licence is not None:
            return self.licence
        told = self.training()
        card = CARDS.get(str(told.get("card") or told.get("init_from")))
        found = None if card is None else _LICENCE.match(card.license)
        return None if found is None else found[0].lower()


_LICENCE = re.compile(r"CC-BY-[\d.]+(?= )")
"""Begin of the words in which a card tells a licence; some tell that none is known."""
ASSUMED_BY_BANDS = "assumed by the number of bands, as published networks have it: the file does not say"


def _seen(path: Path) -> dict[str, Any]:
    """Say what a file of others itself tells."""
    facts = inspect(path)
    return {"family": facts.family} | ({} if facts.epoch is None else {"epoch": facts.epoch})


def _said(told: Told | None) -> dict[str, Any]:
    """Say what is told of the weights, and how sure their input is."""
    if told is None:
        return {"certainty": ASSUMED_BY_BANDS}
    doubts: dict[str, Any] = {"certainty": told.certainty} if told.certainty else {}
    if told.alternatives:
        doubts["alternatives"] = [str(contract) for contract in told.alternatives]
    return dict(told.training) | doubts


@dataclass(frozen=True)
class Written:
    """What a form has written."""

    files: tuple[Path, ...]
    """Files of the export."""
    load: str
    """Code that loads it."""
    notes: tuple[str, ...] = ()
    """What a user must know."""
    dropped: tuple[str, ...] = ()
    """Keys of ours that the form has no place for."""
    made: tuple[str, ...] = ()
    """Keys of the form that were computed and not found."""
    absent: tuple[str, ...] = ()
    """What the form usually holds and this export does not."""


def raw_contract(contract: InputContract) -> InputContract:
    """Give the contract of the values that a network's input is made of: its bands, its offset, not scaled yet.

    Networks trained on one of the 8-bit forms keep it: their values are stored that way.
    """
    return fuse([part if part.is_quantized else replace(part, scaling="none") for part in contract.parts])


def backbone_record(backbone: Backbone) -> dict[str, Any]:
    """Give plain values that say what a network is and what it is fed.

    `contract` is of values that enter the network, `input_contract` of values as stored that these are made of.
    """
    return {
        "arch": backbone.arch,
        "image_size": backbone.image_size,
        "num_features": backbone.num_features,
        "options": backbone.options.to_json(),
        "contract": backbone.contract.to_json(),
        "contract_in_words": str(backbone.contract),
        "input_contract": raw_contract(backbone.contract).to_json(),
    }
