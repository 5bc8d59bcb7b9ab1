# SPDX-License-Identifier: Apache-2.0
"""One location on one sheet: a row for each modality and composite, a column for each season."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from ssl4eo.errors import UnknownName
from ssl4eo.pictures.composites import Composite, composite_of, composites_of
from ssl4eo.pictures.render import render, resized
from ssl4eo.pictures.stretches import limits_of
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
) -> Pillow.Image:
    """Draw the images of one location.

    Args:
        images: by modality its seasons, first to last.
        title: above the picture; say there if the pixels are synthetic.
        composites: names; none for the first of each modality.
        stretch: one of STRETCHES.
        size: of one tile on its longer side [px], None for one pixel of the finest grid each.

    Raises:
        UnknownName: no such composite or stretch.
    """
    rows = rows_of(images, composites)
    tiles: list[list[Pillow.Image]] = []
    for name, composite in rows:
        seasons = images[name]
        shared = None if stretch == "own" else limits_of(seasons, composite, stretch)
        drawn = (render(image, composite, limits=shared, stretch=stretch, nodata="gray") for image in seasons)
        tiles.append([resized(picture, size) for picture in drawn])
    return _pasted(tiles, rows, images, title)


def _pasted(
    tiles: Sequence[Sequence[Pillow.Image]],
    rows: Sequence[tuple[str, Composite]],
    images: Mapping[str, Sequence[Image]],
    title: str,
) -> Pillow.Image:
    wide, tall = tiles[0][0].size
    step = tall + 2 * _TEXT + 2 * _GAP
    across = max(len(row) for row in tiles) * (wide + _GAP) + _GAP
    sheet = Pillow.new("RGB", (max(across, 420), _HEAD + len(tiles) * step), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    draw.text((_GAP, _GAP), title, fill=_INK, font=ImageFont.load_default(size=14))
    for i, ((name, composite), row) in enumerate(zip(rows, tiles, strict=True)):
        top = _HEAD + i * step - _TEXT
        draw.text((_GAP, top), f"{modality(name).title}: {composite.title}", fill=_INK, font=font)
        for k, tile in enumerate(row):
            left, image = _GAP + k * (wide + _GAP), images[name][k]
            sheet.paste(tile, (left, top + _TEXT + _GAP))
            date = "date unknown" if image.time is None else image.time.strftime("%Y-%m-%d")
            words = date if image.valid else f"{date}, not valid"
            draw.text((left, top + _TEXT + _GAP + tall + 1), words, fill=_MUTED, font=font)
    return sheet
