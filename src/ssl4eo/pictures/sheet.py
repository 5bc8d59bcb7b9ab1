# SPDX-License-Identifier: Apache-2.0
"""One location on one sheet: a row for each modality and composite, a column for each season."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from ssl4eo.errors import UnknownName
from ssl4eo.pictures.composites import Composite, composite_of, composites_of
from ssl4eo.pictures.render import NO_DATA_GRAY, render, resized
from ssl4eo.pictures.stretches import is_measured, limits_of
from ssl4eo.sensors import modality

if TYPE_CHECKING:
    from ssl4eo.sample import Image

_GAP, _HEAD, _TEXT = 6, 44, 14
_INK, _PAPER, _MUTED = (27, 31, 36), (255, 255, 255), (90, 99, 110)


def rows_of(images: Mapping[str, Sequence[Image]], names: Sequence[str]) -> list[tuple[str, Composite]]:
    """Settle what is drawn: for each modality the composites that it has, or its first one.

    Raises:
        UnknownName: a composite that no modality has.
    """
    rows: list[tuple[str, Composite]] = []
    used: set[str] = set()
    for name, seasons in images.items():
        bands = seasons[0].form.bands
        for wanted in names:
            try:
                rows.append((name, composite_of(name, bands, wanted)))
            except UnknownName:
                continue
            used.add(wanted)
        if not names:
            rows.append((name, composite_of(name, bands)))
    for wanted in names:
        if wanted not in used:
            offered = dict.fromkeys(c for name, s in images.items() for c in composites_of(name, s[0].form.bands))
            raise UnknownName(
                f"no composite {wanted!r} of {', '.join(images)}", expected=f"one of {', '.join(offered)}"
            )
    return rows


def location_sheet(
    images: Mapping[str, Sequence[Image]],
    *,
    title: str,
    composites: Sequence[str] = (),
    stretch: str = "shared",
    size: int | None = None,
    missing: Collection[tuple[str, str, int]] = (),
) -> Pillow.Image:
    """Draw the images of one location.

    Args:
        images: by modality its seasons, first to last.
        title: above the picture; say there if the pixels are synthetic.
        composites: names; none for the first of each modality.
        stretch: one of STRETCHES.
        size: of one tile on its longer side [px], None for one pixel of the finest grid each.
        missing: modality, composite and place in its row of pictures that cannot be drawn: their tiles say so.

    Raises:
        UnknownName: no such composite or stretch.
    """
    rows = rows_of(images, composites)
    tiles: list[list[Pillow.Image]] = []
    heads: list[str] = []
    for name, composite in rows:
        whole = [image for k, image in enumerate(images[name]) if (name, composite.name, k) not in missing]
        shared = None if stretch == "own" or not whole else limits_of(whole, composite, stretch)
        drawn = (
            render(image, composite, limits=shared, stretch=stretch, nodata="gray")
            if image in whole
            else np.full((*image.shape, 3), NO_DATA_GRAY, np.uint8)
            for image in images[name]
        )
        tiles.append([resized(picture, size) for picture in drawn])
        heads.append(_head(name, composite, stretch, len(whole), len(images[name])))
    return _pasted(tiles, heads, [_captions(*row, images, missing) for row in rows], title)


def _head(name: str, composite: Composite, stretch: str, whole: int, seasons: int) -> str:
    head = f"{modality(name).title}: {composite.title}"
    is_partial = stretch == "shared" and 0 < whole < seasons and is_measured(name, composite, stretch)
    return f"{head}, brightness of {whole} of {seasons} seasons" if is_partial else head


def _captions(
    name: str, composite: Composite, images: Mapping[str, Sequence[Image]], missing: Collection[tuple[str, str, int]]
) -> list[str]:
    words: list[str] = []
    for k, image in enumerate(images[name]):
        date = "date unknown" if image.time is None else image.time.strftime("%Y-%m-%d")
        flaw = ", cannot be read" if (name, composite.name, k) in missing else "" if image.valid else ", not valid"
        words.append(f"{date}{flaw}")
    return words


def _pasted(
    tiles: Sequence[Sequence[Pillow.Image]], heads: Sequence[str], captions: Sequence[Sequence[str]], title: str
) -> Pillow.Image:
    wide, tall = tiles[0][0].size
    step = tall + 2 * _TEXT + 2 * _GAP
    across = max(len(row) for row in tiles) * (wide + _GAP) + _GAP
    sheet = Pillow.new("RGB", (max(across, 420), _HEAD + len(tiles) * step), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    draw.text((_GAP, _GAP), title, fill=_INK, font=ImageFont.load_default(size=14))
    for i, (head, row, words) in enumerate(zip(heads, tiles, captions, strict=True)):
        top = _HEAD + i * step - _TEXT
        draw.text((_GAP, top), head, fill=_INK, font=font)
        for k, (tile, caption) in enumerate(zip(row, words, strict=True)):
            left = _GAP + k * (wide + _GAP)
            sheet.paste(tile, (left, top + _TEXT + _GAP))
            draw.text((left, top + _TEXT + _GAP + tall + 1), caption, fill=_MUTED, font=font)
    return sheet
