# SPDX-License-Identifier: Apache-2.0
"""Names of files and folders: of locations and of products, as the published layout spells them.

Ids and product names come from data and must not lead out of the target: what is no plain name is numbered or named
after its time, and the original is kept in metadata.json, in tags or in ids.csv. Touches no file.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

from ssl4eo.collection.published import VOID_IDS
from ssl4eo.errors import ConfigInvalid, SampleInvalid
from ssl4eo.sample import Image
from ssl4eo.unpacking.work import Place

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")

ID_RULES: Mapping[str, tuple[re.Pattern[str], str]] = {
    "any": (_PLAIN, "letters, digits, '.', '-', '_', a letter or digit first"),
    "no dot": (re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}\Z"), "no dot: WebDataset ends the name of a sample there"),
    "digits": (re.compile(r"[0-9]{6,7}\Z"), "6 or 7 digits in this layout"),
}
"""Which ids locations can have in a layout: pattern, and the same in words."""

_TIME = {"s1": re.compile(r"[A-Z0-9_]{16}_(\d{8}T\d{6})"), "s2": re.compile(r"(\d{8}T\d{6})")}
_SPELLING = "%Y%m%dT%H%M%S"


def name_places(chosen: Sequence[tuple[int, str]], *, ids: str, renumber: bool) -> tuple[Place, ...]:
    """Name the locations of a target.

    Args:
        chosen: (index, id) of each.
        ids: one of ID_RULES; digits are padded to 7.
        renumber: number them from 0 instead, leaving out the ids that are void in the published data.

    Raises:
        ConfigInvalid: ids that the layout or a folder cannot have, or two that are the same there.
    """
    if renumber:
        numbers = _numbers()
        return tuple(Place(index, name, next(numbers)) for index, name in chosen)
    pattern, words = ID_RULES[ids]
    odd = [name for _, name in chosen if not pattern.match(name)]
    if odd:
        raise ConfigInvalid(
            f"{len(odd)} location ids such as {odd[0]!r}",
            expected=words,
            remedy="give --renumber to number them from 0; ids.csv then tells which is which",
        )
    places = tuple(Place(index, name, name.zfill(7) if ids == "digits" else name) for index, name in chosen)
    seen: dict[str, str] = {}
    for place in places:
        if place.name in seen:
            raise ConfigInvalid(
                f"locations {seen[place.name]} and {place.id} would both be {place.name}",
                expected="a name of its own for each",
                remedy="give --renumber",
            )
        seen[place.name] = place.id
    return places


def _numbers() -> Iterator[str]:
    names = (f"{number:07d}" for number in count())
    return (name for name in names if name not in VOID_IDS)


def product_names(images: Sequence[Image]) -> tuple[str, ...]:
    """Name the images of a location after their products, or after their time or season where that is no plain name.

    All names differ.
    """
    names = [image.product if _PLAIN.match(image.product) else _by_time(image, i) for i, image in enumerate(images)]
    return _distinct(names)


def published_names(images: Sequence[Image], location: str) -> tuple[str, ...]:
    """Name the images of a location as the raw layout does: the time of acquisition can be read out of each.

    A product that has no such name, or one of another time than the image, is named after the image's time.

    Raises:
        SampleInvalid: an image with neither.
    """
    return _distinct([_published_name(image, location) for image in images])


def _published_name(image: Image, location: str) -> str:
    kind = "s1" if image.modality.startswith("S1") else "s2"
    match = _TIME[kind].match(image.product) if _PLAIN.match(image.product) else None
    named = _parse(match[1]) if match else None
    if named is not None and image.time in (None, named):
        return image.product
    if image.time is None:
        raise SampleInvalid(
            f"location {location}: the {image.modality} image {image.product!r} has no time of acquisition",
            expected="one, known or in the product's name: the raw layout tells seasons apart by it",
            remedy="leave it out with --errors skip, or choose another layout",
            location=location,
        )
    stamp = image.time.strftime(_SPELLING)
    if kind == "s1":
        return f"S1X_IW_GRDH_1SDV_{stamp}_{stamp}_000000_000000_0000"
    return f"{stamp}_{stamp}_T00XXX"


def _parse(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, _SPELLING).replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def _by_time(image: Image, position: int) -> str:
    return f"season{position}" if image.time is None else f"{image.time.strftime(_SPELLING)}"


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Add the season to names that occur twice."""
    return tuple(f"{name}_{i}" if names.count(name) > 1 else name for i, name in enumerate(names))
