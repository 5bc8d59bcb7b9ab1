# SPDX-License-Identifier: Apache-2.0
"""The +1000 DN of Sentinel-2 in files that do not say whether they contain it.

Since processing baseline 04.00 values contain it, unless somebody took it away; a collection can be mixed. It is never
estimated: the file's tags tell, or the user states it, and an image that contradicts the statement is refused with the
evidence. Price: of a mixed collection each part is packed by itself, and an L2A image that is bright everywhere cannot
contradict anything (it is warned of).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Generator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.picture import Picture
from ssl4eo.contract import offset_of_baseline
from ssl4eo.errors import ConfigInvalid, SourceInvalid
from ssl4eo.sensors import OFFSET_DN

log = logging.getLogger(__name__)

_FLOOR = OFFSET_DN - 100
"""Hardly any pixel with the offset lies below [DN]: that would be a reflectance below -0.01."""
_SHARE = 0.01
"""Of a band's pixels that may do so nevertheless."""
_NOTED: ContextVar[list[str] | None] = ContextVar("images that look as if they had the offset", default=None)
_BASELINE = re.compile(r"(\d\d)\.(\d\d)\Z")


def check_option(offset: int | None) -> None:
    """Raise unless an offset is None, 0 or 1000.

    Raises:
        ConfigInvalid: it is not.
    """
    if offset not in (None, 0, OFFSET_DN):
        raise ConfigInvalid(f"offset {offset}", expected=f"0 or {OFFSET_DN} DN")


def tagged_offset(tags: Mapping[str, str]) -> int | None:
    """Give the offset [DN] that the tags of a file tell, None where they tell none.

    Read are RADIO_ADD_OFFSET and BOA_ADD_OFFSET (-1000 where +1000 is contained) and PROCESSING_BASELINE, as ESA's
    metadata spells them.
    """
    for name in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET"):
        if re.fullmatch(r"-?\d{1,6}", tags.get(name, "")):
            return -int(tags[name])
    match = _BASELINE.match(tags.get("PROCESSING_BASELINE", ""))
    return offset_of_baseline(int(match[1]) * 100 + int(match[2])) if match else None


def settle_offset(stated: int | None, picture: Picture, pixels: NDArray[np.generic], bands: Sequence[str]) -> int:
    """Give the offset [DN] of an image.

    Args:
        stated: by the user, None where tags must tell.
        picture: with the tags.
        pixels: uint16 (band, y, x).
        bands: along the first axis.

    Raises:
        SourceInvalid: nobody tells it, tags and user differ or tell one that no product has, or the pixels contradict
            it.
    """
    tagged = tagged_offset(picture.header.tags)
    offset = stated if tagged is None else tagged
    path = picture.path
    if offset is None or (stated is not None and offset != stated):
        raise SourceInvalid(
            f"{path} " + ("does not tell its offset" if offset is None else f"has tags of offset {offset} DN"),
            expected="a tag PROCESSING_BASELINE" if offset is None else f"{stated}, as stated",
            remedy=f"state it with --offset 0 or --offset {OFFSET_DN}, or pack it by itself",
            path=str(path),
        )
    if offset not in (0, OFFSET_DN):  # where only tags tell it
        raise SourceInvalid(
            f"{path} has tags of offset {offset} DN",
            expected=f"0 or {OFFSET_DN} DN, as every product has it",
            remedy="take it away from the values and mend the tags",
            path=str(path),
        )
    against = contradiction(offset, pixels, bands)
    if against:
        raise SourceInvalid(
            f"{path} cannot contain an offset of {offset} DN: {against}",
            expected=f"pixels that agree with --offset {offset}",
            remedy=f"pack what has another offset by itself, with --offset {OFFSET_DN - offset}",
            path=str(path),
        )
    if not offset and _is_bright(pixels):
        _note(os.fsencode(path).decode("utf-8", "backslashreplace"))  # names need not be text
    return offset


@contextlib.contextmanager
def noting_bright() -> Generator[list[str]]:
    """Collect the names of images that look as if they had the offset, in place of a warning for each."""
    files: list[str] = []
    token = _NOTED.set(files)
    try:
        yield files
    finally:
        _NOTED.reset(token)


def _note(file: str) -> None:
    noted = _NOTED.get()
    if noted is None:
        log.warning("%s has no pixel below %d DN: is it free of the +%d DN, as stated?", file, _FLOOR, OFFSET_DN)
    else:
        noted.append(file)


def warn_of_bright(files: Sequence[str], num_locations: int) -> None:
    """Warn of images that look as if they had the offset, in one line; say nothing where there are none.

    Args:
        files: names of the images.
        num_locations: that were read.
    """
    if files:
        what = f"{len(files)} image{'' if len(files) == 1 else 's'} of {num_locations} locations, such as {files[0]}"
        log.warning("no pixel below %d DN in %s: are they free of the +%d DN, as stated?", _FLOOR, what, OFFSET_DN)


def _observed(pixels: NDArray[np.generic]) -> NDArray[np.int64]:
    """Give the values that are not fill, all where they all are."""
    values = pixels.astype(np.int64).ravel()
    return values[values != 0] if values.any() else values


def _is_bright(pixels: NDArray[np.generic]) -> bool:
    observed = pixels[pixels.astype(bool)]
    return observed.size > 0 and int(observed.min()) >= _FLOOR


def contradiction(offset: int, pixels: NDArray[np.generic], bands: Sequence[str]) -> str:
    """Say which pixels speak against an offset, nothing where none do; 0 is fill and says nothing."""
    if offset:
        for band, plane in zip(bands, pixels, strict=True):
            observed = plane[plane.astype(bool)].astype(np.int64)
            share = float(np.mean(observed < _FLOOR)) if observed.size else 0.0
            if share > _SHARE:
                return f"{share:.1%} of the pixels of {band} lie below {_FLOOR} DN"
    elif "B10" in bands and _is_bright(pixels[list(bands).index("B10")]):
        # B10 sees only what is above the water vapour; it is near zero over land and sea
        return f"no pixel of B10 lies below {_FLOOR} DN"
    return ""


def unstated(pictures: Sequence[tuple[Picture, Sequence[str]]]) -> ConfigInvalid:
    """Make the error for a collection whose offset nobody tells, with what some of its files look like.

    Args:
        pictures: with the bands in file order.
    """
    rows: list[str] = []
    for picture, bands in pictures:
        row = f"{_short(picture.path)} has minimum {int(_observed(picture.pixels).min())}"
        if "B10" in bands:
            row += f" and B10 median {float(np.median(_observed(picture.pixels[list(bands).index('B10')]))):g}"
        rows.append(row)
    return ConfigInvalid(
        f"no file tells whether its values contain the +{OFFSET_DN} DN since processing baseline 04.00 "
        f"({'; '.join(rows)})",
        expected="the offset as an option: with it a minimum and a B10 median near 1000, without it near 0",
        remedy=f"state it with --offset 0 or --offset {OFFSET_DN}; what contradicts it is left out with its reason",
    )


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
