# SPDX-License-Identifier: Apache-2.0
"""What to take out of an archive: modalities, seasons, locations, each checked against what it holds."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ssl4eo.archive.id_list import match_ids
from ssl4eo.archive.reader import Archive
from ssl4eo.errors import ConfigInvalid, LocationMissing, unknown_name


def choose_modalities(archive: Archive, wanted: Sequence[str] | None) -> tuple[str, ...]:
    """Give the modalities to write, in the archive's order.

    Raises:
        UnknownName: the archive has no such modality.
        ConfigInvalid: none at all.
    """
    for name in wanted or ():
        if name not in archive.modalities:
            raise unknown_name("modality of this archive", name, archive.modalities)
    chosen = tuple(name for name in archive.modalities if wanted is None or name in wanted)
    if not chosen:
        raise ConfigInvalid("no modality to write", expected=f"some of {', '.join(archive.modalities)}")
    return chosen


def choose_seasons(archive: Archive, wanted: Sequence[int] | None) -> tuple[int, ...]:
    """Give the positions of the dates to write, ascending.

    Raises:
        ConfigInvalid: none, or one that the archive does not have.
    """
    chosen = tuple(range(archive.num_seasons)) if wanted is None else tuple(sorted(set(wanted)))
    if not chosen or chosen[0] < 0 or chosen[-1] >= archive.num_seasons:
        raise ConfigInvalid(
            f"seasons {' '.join(map(str, chosen)) or '(none)'}", expected=f"some of 0 to {archive.num_seasons - 1}"
        )
    return chosen


def choose_locations(archive: Archive, wanted: Sequence[str] | None) -> list[tuple[int, str]]:
    """Give (index, id) of the locations to write, in the order asked for, each once; a number also as 7 digits.

    Raises:
        LocationMissing: the archive does not hold one.
        ConfigInvalid: none at all.
    """
    if wanted is None:
        return list(enumerate(archive.ids))
    known = {name: index for index, name in enumerate(archive.ids)}
    names = match_ids(wanted, known)
    missing = [name for name in names if name not in known]
    if missing:
        raise LocationMissing(
            f"{archive.path} has no location {', '.join(missing[:5])}" + (" ..." if len(missing) > 5 else ""),
            expected=f"some of {len(archive)} ids, {archive.ids[0]} to {archive.ids[-1]}",
            remedy=f"leave out the {len(missing)} that are missing",
            locations=missing,
        )
    if not names:
        raise ConfigInvalid("no location to write", expected="one id at least")
    return [(known[name], name) for name in names]


def published_subset() -> tuple[str, ...]:
    """Name the 10 locations of the published RGB subset: drawn from the first 100 with seed 42.

    >>> published_subset()[:3]
    ('0000081', '0000014', '0000003')

    Source: zhu-xlab/SSL4EO-S12, the conversion to RGB.
    """
    numbers = random.Random(42).sample(range(100), 10)  # noqa: S311 - the published draw
    return tuple(f"{number:07d}" for number in numbers)
