# SPDX-License-Identifier: Apache-2.0
"""What is left of an image in a damaged archive: grids that can be read, and why the others cannot."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive
from ssl4eo.errors import ShardCorrupt
from ssl4eo.grid import size_at
from ssl4eo.sample import Image

Damage = Mapping[int, ShardCorrupt]
"""By resolution [m] why a grid of an image cannot be read; its pixels are 0 then."""


def read_remains(archive: Archive, modality: str, *, location: str | int, season: int) -> tuple[Image, Damage]:
    """Read the grids of an image that can be read; nothing is wrong with an image without damage.

    Raises:
        UnknownName, LocationMissing: as `Archive.read`.
        ShardCorrupt: a table is damaged.
    """
    form, index = archive.form(modality), archive.index_of(location)
    pixels: dict[int, NDArray[np.generic]] = {}
    damage: dict[int, ShardCorrupt] = {}
    for resolution, bands in form.groups:
        try:
            pixels |= archive.read_pixels(modality, index=index, season=season, resolutions=[resolution])
        except ShardCorrupt as error:
            damage[resolution] = error
            shape = (len(bands), *(size_at(resolution, side, form.base) for side in archive.shape))
            pixels[resolution] = np.zeros(shape, form.dtype)
    facts = archive.image_facts(modality, location=index, season=season)
    transform = facts.pop("transform")
    placed = None if transform is None else tuple(transform)
    return Image(modality, pixels, kept=form, transform=placed, **facts), damage
