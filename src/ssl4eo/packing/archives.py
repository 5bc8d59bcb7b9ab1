# SPDX-License-Identifier: Apache-2.0
"""Our own archives as a source: to join modalities that were packed apart, to cut a subset, to pack anew.

Stands in `packing` because a source belongs to `collection`, an archive to `archive`, and neither knows the other.
Locations are joined by id; one that an archive lacks is left out with a reason. Nothing is converted: pixels, flags,
masks, labels and provenance are carried over as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.id_list import match_ids, read_ids
from ssl4eo.archive.layout import CHECKSUMS, LOCATIONS, ROOT
from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.collection.source import Provenance
from ssl4eo.errors import (
    ConfigInvalid,
    LocationMissing,
    ShardCorrupt,
    SourceInvalid,
    unknown_name,
)
from ssl4eo.form import Form
from ssl4eo.sample import Image, Location, Sample

SAME_PLACE_DEG = 0.01
"""Points of a location that are nearer on each axis are the same one; a patch is 0.024 degrees high."""


def is_archive(path: Path) -> bool:
    """Say whether a folder looks like an archive."""
    return all((path / name).is_file() for name in (ROOT, LOCATIONS, CHECKSUMS))


class ArchiveSource:
    """The locations of one archive, or those that several archives of different modalities share.

    Args:
        paths: of the archives.
        modalities: those to read, None for all.
        ids: those to read, a list or a text file with one a line; None for all. A number is also found as 7 digits,
            as in the published list of 50,000.

    Raises:
        DataMissing, ArchiveInvalid: a path is no archive, or there is no such file of ids.
        UnknownName: a modality that no archive has.
        SourceInvalid: the file of ids is not text.
        ConfigInvalid: archives with the same modality or mask, other seasons or another grid; an empty choice.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        modalities: Sequence[str] | None = None,
        ids: Path | str | Sequence[str] | None = None,
    ) -> None:
        archives = [open_archive(path) for path in paths]
        present = [name for archive in archives for name in archive.modalities]
        for name in modalities or ():
            if name not in present:
                raise unknown_name("modality of these archives", name, present)
        self._wanted = read_ids(Path(ids)) if isinstance(ids, Path | str) else None if ids is None else tuple(ids)
        self._chosen = [(a, tuple(n for n in a.modalities if modalities is None or n in modalities)) for a in archives]
        self._chosen = [(archive, names) for archive, names in self._chosen if names]
        if not self._chosen or self._wanted == ():
            raise ConfigInvalid("nothing to read", expected="one modality and one id at least")
        _require_fit([archive for archive, _ in self._chosen], [n for _, names in self._chosen for n in names])

    @property
    def _archives(self) -> list[Archive]:
        return [archive for archive, _ in self._chosen]

    @property
    def forms(self) -> tuple[Form, ...]:
        """The form of each modality, as the archives keep it."""
        return tuple(archive.form(name) for archive, names in self._chosen for name in names)

    @property
    def masks(self) -> Mapping[str, bool]:
        """Those of all archives."""
        return {name: seasonal for archive in self._archives for name, seasonal in archive.masks.items()}

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        return self._archives[0].num_seasons

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every patch on the finest grid [px]."""
        return self._archives[0].shape

    @property
    def provenance(self) -> Provenance:
        """Those of the archives; synthetic if any of them is."""
        told = [archive.provenance for archive in self._archives]
        names = [archive.path.name for archive in self._archives]
        details: dict[str, Any] = {"archives": ", ".join(names)}
        for number, one in enumerate(told, start=1):
            prefix = "" if len(told) == 1 else f"{number}."
            details.update({f"{prefix}{key}": value for key, value in one.details.items() if key != "archives"})
        return Provenance(
            title=" + ".join(dict.fromkeys(one.title for one in told)),
            synthetic=any(one.synthetic for one in told),
            licence="; ".join(dict.fromkeys(one.licence for one in told)),
            details=details,
        )

    def ids(self) -> Sequence[str]:
        """List the ids that any archive holds, in the order of the archives; then those asked for that none holds."""
        return self._ids

    @cached_property
    def _ids(self) -> tuple[str, ...]:
        held = dict.fromkeys(name for archive in self._archives for name in archive.ids)
        if self._wanted is None:
            return tuple(held)
        wanted = dict.fromkeys(match_ids(self._wanted, held))
        return (*(name for name in held if name in wanted), *(name for name in wanted if name not in held))

    @cached_property
    def _held(self) -> list[frozenset[str]]:
        return [frozenset(archive.ids) for archive in self._archives]

    def read(self, location: str) -> Sample:
        """Read one location out of all archives.

        Raises:
            LocationMissing: it is none of `ids()`.
            SourceInvalid: an archive lacks it, its stored bytes are damaged, or archives contradict each other.
        """
        missing = [a.path.name for a, held in zip(self._archives, self._held, strict=True) if location not in held]
        if len(missing) == len(self._archives) and location not in self._ids:
            raise LocationMissing(f"no archive holds location {location!r}", expected="an id out of ids()")
        if missing:
            raise SourceInvalid(
                f"location {location} is not in {', '.join(missing)}",
                expected="one in all archives",
                location=location,
            )
        images: dict[str, tuple[Image, ...]] = {}
        masks: dict[str, NDArray[np.uint8]] = {}
        try:
            for archive, names in self._chosen:
                seasons = range(archive.num_seasons)
                images |= {n: tuple(archive.read(n, location=location, season=s) for s in seasons) for n in names}
                masks |= {n: _mask(archive, n, location) for n in archive.masks}
        except ShardCorrupt as error:
            raise SourceInvalid(error.found, expected=error.expected, remedy=error.remedy, **error.where) from error
        return Sample(self._place(location), images, labels=self._labels(location), masks=masks)

    def _place(self, location: str) -> Location:
        """Give the point that all archives that know one have."""
        places = [archive.location(location) for archive in self._archives]
        known = [place for place in places if place.lon is not None]
        for place in known[1:]:
            pairs = ((known[0].lon, place.lon), (known[0].lat, place.lat))
            if not all(math.isclose(a or 0, b or 0, rel_tol=0, abs_tol=SAME_PLACE_DEG) for a, b in pairs):
                found = f"location {location} lies at {known[0].lon}, {known[0].lat} and at {place.lon}, {place.lat}"
                raise SourceInvalid(found, expected="one place in all archives", location=location)
        return known[0] if known else places[0]

    def _labels(self, location: str) -> dict[str, int | float | str]:
        labels: dict[str, int | float | str] = {}
        for archive in self._archives:
            for name, value in archive.labels_of(location).items():
                if labels.setdefault(name, value) != value:
                    found = f"location {location} has label {name} = {labels[name]!r} and {value!r}"
                    raise SourceInvalid(found, expected="the same in all archives", location=location)
        return labels


def _mask(archive: Archive, name: str, location: str) -> NDArray[np.uint8]:
    if not archive.masks[name]:
        return archive.mask(name, location=location)
    return np.stack([archive.mask(name, location=location, season=s) for s in range(archive.num_seasons)])


def _require_fit(archives: Sequence[Archive], modalities: Sequence[str]) -> None:
    """Raise unless archives can be joined."""
    for kind, names in (("modality", modalities), ("mask", [name for a in archives for name in a.masks])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigInvalid(
                f"several archives with the {kind} {', '.join(twice)}",
                expected="each in one of them",
                remedy="name the modalities to read, or fewer archives",
            )
    rows = {(a.num_seasons, a.shape, a.form(a.modalities[0]).base) for a in archives}
    if len(rows) > 1:
        listed = "; ".join(f"{n} seasons of {h} x {w} px at {base} m" for n, (h, w), base in sorted(rows))
        raise ConfigInvalid(f"archives of different kinds: {listed}", expected="the same seasons, size and finest grid")
