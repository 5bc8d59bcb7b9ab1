# SPDX-License-Identifier: Apache-2.0
"""The members of a tar by location of the raw layout: which belongs where, and what is not to be trusted.

Names are only words here: none is opened. A location's files wait in memory, so that their sizes and number are
bounded; a link, a double or a size beyond reason makes the location invalid, and none of its files is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ssl4eo.collection.products import FOLDERS, METADATA, Product, file_names, is_id
from ssl4eo.collection.source import Parcel
from ssl4eo.collection.tarstream import Member

log = logging.getLogger(__name__)

MAX_FILE = 64 << 20
"""Bytes of one file; a published band has 280 kB at most."""

MAX_LOCATION = 256 << 20
"""Bytes of all files of one location, which wait in memory."""

MAX_FILES = 10_000
"""Files and folders of one location."""

MAX_NAME = 1000
"""Characters of a member's name; longer ones are hostile."""

_WARNINGS = 20
"""Members that are warned of one by one; after them only their number is told."""


@dataclass(frozen=True)
class RawFiles:
    """All that a tar holds of one location."""

    place: str
    """Its folder in the tar."""
    files: Mapping[str, bytes]
    """By `<product>/<file>` the content; `<product>/` for the folder itself."""
    faults: tuple[str, ...]
    """Why it cannot be trusted."""

    @property
    def products(self) -> list[Product]:
        """Its files by product."""
        found: dict[str, dict[str, Path | bytes]] = {}
        for path, content in self.files.items():
            product, _, name = path.partition("/")
            files = found.setdefault(product, {})
            if name:
                files[name] = content
        return [Product(product, f"{self.place}/{product}", files) for product, files in found.items()]

    def is_whole(self, names: Sequence[str]) -> bool:
        """Say whether every product has all files of these names."""
        products = self.products
        return bool(products) and not self.faults and all(set(names) <= set(p.files) for p in products)


@dataclass
class Group:
    """The location whose files are being collected."""

    place: str
    """Its folder in the tar; the last two names are those of the modality and of the location."""
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    faults: list[str] = field(default_factory=list[str])
    size: int = 0

    @property
    def folder(self) -> str:
        """Folder of the modality in the raw layout."""
        return self.place.split("/")[-2]

    @property
    def id(self) -> str:
        """Id of the location, 7 digits."""
        return self.place.split("/")[-1].zfill(7)

    def add(self, member: Member, path: Sequence[str]) -> None:
        """Take a member in; `path` is below the location's folder."""
        if member.oddity is not None:
            self._refuse(f"{_shown(member.name)} is {member.oddity}")
            return
        if not path or path[0].startswith(".") or (len(path) == 1 and not member.is_folder):
            return
        self.files.setdefault(f"{path[0]}/", b"")
        if len(path) == 2 and path[1] in wanted_names(self.folder) and not member.is_folder:
            self._take(member, "/".join(path))
        if len(self.files) > MAX_FILES:
            self._refuse(f"{self.place} has more than {MAX_FILES} files")
            self.files.clear()

    def _take(self, member: Member, key: str) -> None:
        if key in self.files:
            self._refuse(f"{_shown(member.name)} comes twice")
        elif member.size > MAX_FILE or self.size + member.size > MAX_LOCATION:
            self._refuse(f"{_shown(member.name)} has {member.size} bytes, after {self.size} of other files")
        elif not self.faults:
            self.files[key] = member.read()
            self.size += member.size

    def _refuse(self, fault: str) -> None:
        if not self.faults:
            self.faults.append(fault)

    def parcel(self, cursor: Mapping[str, int]) -> Parcel:
        """Close the group."""
        files = {} if self.faults else self.files
        return Parcel(self.id, RawFiles(self.place, files, tuple(self.faults)), dict(cursor))


class Ignored:
    """Members that belong to no location."""

    def __init__(self) -> None:
        self.count = 0
        self._told = 0

    def note(self, member: Member) -> None:
        """Count a member, and warn of it unless many were warned of."""
        self.count += 1
        if not member.is_folder and self._told < _WARNINGS:
            self._told += 1
            log.warning("%r is left out: it belongs to no location", member.name[:MAX_NAME])

    def tell(self) -> None:
        """Tell how many there were, where not all were warned of."""
        if self._told == _WARNINGS:
            log.warning("%d members in all belong to no location", self.count)


def place_of(name: str) -> tuple[str, list[str]] | None:
    """Split a member's name into its location's folder and what is below, None where it is in none."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or len(name) > MAX_NAME:
        return None
    for number in range(len(parts) - 1):
        if parts[number] in FOLDERS and is_id(parts[number + 1]):
            return _shown("/".join(parts[: number + 2])), parts[number + 2 :]
    return None


def _shown(name: str) -> str:
    """Spell a name so that it can be printed and kept: a tar's may be any bytes."""
    return name if name.isprintable() else ascii(name)[1:-1]


@cache
def wanted_names(folder: str) -> frozenset[str]:
    """Name the files of a product that are read."""
    return frozenset((*file_names(FOLDERS[folder]), METADATA))
