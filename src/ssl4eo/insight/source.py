# SPDX-License-Identifier: Apache-2.0
"""The images of a run, found again: the same archive or folder if its items are those that the run was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo.errors import Ssl4eoError
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.data import WHOLE, open_pixels

SPLITS = ("reference", WHOLE)
"""Tried in this order where a run does not list its items: their hash tells which it was."""


@dataclass(frozen=True)
class Opened:
    """Images to show."""

    source: PixelSource | None
    """None where they cannot be fed to the network of the run."""
    is_same: bool
    """Whether they are those that the run was trained on."""
    trouble: str = ""
    """Why there is no source."""

    @property
    def title(self) -> str:
        """Title of the images."""
        return "" if self.source is None else self.source.title

    @property
    def synthetic(self) -> bool:
        """Say whether no satellite saw them."""
        return self.source is not None and self.source.synthetic


def open_source(path: Path, config: PretrainConfig, stored: dict[str, Any], ids: Path) -> Opened:
    """Open images, those that the run lists or the split that gives its items if there are such.

    Args:
        path: an archive, or a folder of pictures.
        config: of the run; its network must be able to take them, else the trouble is told.
        stored: `data` of the run's config.json.
        ids: file of the run that lists its items, if there is one.
    """
    choices: list[tuple[str, Path | None]] = [(WHOLE, ids)] if ids.is_file() else []
    first: PixelSource | None = None
    trouble = ""
    for split, listed in (*choices, *((split, None) for split in SPLITS)):
        try:
            source = open_pixels(path, contract=config.contract, split=split, ids=listed)
        except Ssl4eoError as error:
            trouble = trouble or str(error)
            continue
        if source.identity == stored.get("identity"):
            return Opened(source, is_same=True)
        first = first or source
    return Opened(first, is_same=False, trouble=trouble)
