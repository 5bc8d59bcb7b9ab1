# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo show`: a picture of one location."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.remains import Damage, read_remains
from ssl4eo.commands.parsing import separated
from ssl4eo.errors import ConfigInvalid, ShardCorrupt, unknown_name
from ssl4eo.files import require_writable, whole_or_told
from ssl4eo.pictures.sheet import location_sheet, rows_of

log = logging.getLogger(__name__)

_KINDS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
_LARGEST = 4096


def run(
    archive: Path,
    location: str,
    *,
    out: Path,
    modalities: list[str] | None = None,
    seasons: list[int] | None = None,
    composite: list[str] | None = None,
    stretch: Literal["shared", "fixed", "own"] = "shared",
    size: int | None = None,
) -> int:
    """Draw one location: a column for each season, a row for each modality and composite.

    Args:
        archive: to read
        location: its id, as `ssl4eo gallery` shows it and the location table lists it
        out: picture to write, .png, .webp or .jpg; one that is there is replaced
        modalities: to draw, such as S2L1C; without it all
        seasons: to draw, 0 for the first; without it all
        composite: true-color, false-color, swir, vegetation, ndvi, vv-vh-ratio, band:B11, or several; without it the
            first of each modality
        stretch: shared (percentiles of all seasons together), fixed (physical ranges, for comparing places) or own
            (percentiles of each image)
        size: longer side of one tile [px]; without it a pixel for a pixel of the finest grid

    Returns:
        Exit status 0, or 1 where a grid that a picture needs is damaged: the others are drawn.
    """
    kind = _KINDS.get(out.suffix.lower())
    if kind is None:
        raise ConfigInvalid(f"--out {out}", expected=f"a name that ends in {', '.join(_KINDS)}")
    if size is not None and not 1 <= size <= _LARGEST:
        raise ConfigInvalid(f"--size {size}", expected=f"1 to {_LARGEST} px")
    require_writable(out)
    opened = open_archive(archive)
    modalities = separated(modalities)
    for name in modalities or ():
        if name not in opened.modalities:
            raise unknown_name("modality of this archive", name, opened.modalities)
    for season in seasons or ():
        opened.check_season(season)
    chosen = range(opened.num_seasons) if seasons is None else seasons
    read = {
        name: [read_remains(opened, name, location=location, season=season) for season in chosen]
        for name in modalities or opened.modalities
    }
    images = {name: [image for image, _ in row] for name, row in read.items()}
    rows = rows_of(images, composite or ())
    missing = {
        (name, drawn.name, k): error
        for name, drawn in rows
        for k, (image, damage) in enumerate(read[name])
        if (error := _first(damage, image.form.resolutions_of(drawn.bands))) is not None
    }
    if len(missing) == len(rows) * len(chosen):
        raise next(iter(missing.values()))
    words = f"{location}: {opened.provenance.title}" + (" (SYNTHETIC)" if opened.provenance.synthetic else "")
    sheet = location_sheet(
        images, title=words, composites=composite or (), stretch=stretch, size=size, missing=missing.keys()
    )
    with whole_or_told(out) as partial:
        sheet.save(partial, kind)
    sys.stdout.write(f"{out}\n")
    for (name, drawn, k), error in missing.items():
        log.error("not drawn: %s of season %d, %s: %s", name, chosen[k], drawn, error)
    return 1 if missing else 0


def _first(damage: Damage, needed: Iterable[int]) -> ShardCorrupt | None:
    """Give the first reason why a picture cannot be drawn; damage of grids that it does not need is none."""
    return next((damage[resolution] for resolution in needed if resolution in damage), None)
