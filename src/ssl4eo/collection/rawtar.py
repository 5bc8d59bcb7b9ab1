# SPDX-License-Identifier: Apache-2.0
"""The raw layout of one modality in a tar, as published: `s2_l1c.tar.gz.partaa` and on, read as a stream.

Neither the tar nor its files ever lie on disk: the files of one location are collected in memory until those of the
next begin, and go to whoever makes a sample of them. Locations are told by their folder (`s2c/0000017/`), with any
folders above. What is not to be trusted (links, doubles, sizes beyond reason) makes its location invalid, with the
reason; other members are left out with a warning. The checks of the files are those of the folders: products.py.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from ssl4eo.collection.gzipped import MAGIC, GzipStream, PlainStream, Stream
from ssl4eo.collection.parts import Part, PartsFile
from ssl4eo.collection.products import (
    FOLDERS,
    METADATA,
    SIZE,
    Product,
    file_names,
    invalid,
    is_id,
    provenance_of,
    read_seasons,
)
from ssl4eo.collection.published import VOID_IDS
from ssl4eo.collection.seekpoints import SPACING, SeekPoints
from ssl4eo.collection.source import Parcel
from ssl4eo.collection.tarstream import Member, TarMembers
from ssl4eo.errors import ConfigInvalid, SourceInvalid
from ssl4eo.form import Form
from ssl4eo.sample import Location, Provenance, Sample
from ssl4eo.sensors import modality

log = logging.getLogger(__name__)

MAX_FILE = 64 << 20
"""Bytes of one file; a published band has 280 kB at most."""

MAX_LOCATION = 256 << 20
"""Bytes of all files of one location, which wait in memory."""

MAX_FILES = 10_000
"""Files and folders of one location."""

_PROBES = 50
"""Locations that are looked at to find the number of seasons."""

_WARNINGS = 20
"""Members that are warned of one by one; after them only their number is told."""

_PATIENCE = 10_000
"""Members without a location that may come before the first one."""


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
class _Group:
    """The location whose files are being collected."""

    folder: str
    id: str
    place: str
    wanted: frozenset[str]
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    faults: list[str] = field(default_factory=list[str])
    size: int = 0

    def add(self, member: Member, path: Sequence[str]) -> None:
        """Take a member in; `path` is below the location's folder."""
        if member.oddity is not None:
            self._refuse(f"{member.name} is {member.oddity}")
            return
        if not path or path[0].startswith(".") or (len(path) == 1 and not member.is_folder):
            return
        self.files.setdefault(f"{path[0]}/", b"")
        if len(path) == 2 and path[1] in self.wanted and not member.is_folder:
            self._take(member, "/".join(path))
        if len(self.files) > MAX_FILES:
            self._refuse(f"{self.place} has more than {MAX_FILES} files")
            self.files.clear()

    def _take(self, member: Member, key: str) -> None:
        if key in self.files:
            self._refuse(f"{member.name} comes twice")
        elif member.size > MAX_FILE or self.size + member.size > MAX_LOCATION:
            self._refuse(f"{member.name} has {member.size} bytes, after {self.size} of other files")
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


class RawTarStream:
    """Locations of one modality out of a tar, gzipped or not, in one file or in parts.

    Args:
        parts: of the tar, in order.
        num_seasons: products that each location must have; None for the number of the first location that is whole.
        md5: by name of a part its published checksum, held against it while it is read.

    Raises:
        ConfigInvalid: no part, or fewer than one season asked for.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        num_seasons: int | None = None,
        md5: Mapping[str, str] | None = None,
        _size: int = SIZE,
        _spacing: int = SPACING,
    ) -> None:
        if not parts:
            raise ConfigInvalid("no parts", expected="one or more, in order")
        if num_seasons is not None and num_seasons < 1:
            raise ConfigInvalid(f"{num_seasons} seasons", expected="1 or more")
        self._parts = tuple(parts)
        self._num_seasons = num_seasons
        self._md5 = dict(md5 or {})
        self._spacing = _spacing
        self._points: Path | None = None
        self.shape = (_size, _size)

    def use_work_folder(self, folder: Path) -> None:
        """Keep what a later run needs to go on in a folder; it is not needed when all is read."""
        self._points = folder / "seek-points"

    @property
    def identity(self) -> str:
        """Names and sizes of the parts."""
        return "\n".join(f"{part.name} {part.size}" for part in self._parts)

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, as far as the names tell."""
        return provenance_of({"tar": self._parts[0].name, "parts": len(self._parts)})

    @property
    def forms(self) -> tuple[Form, ...]:
        """The native form of the modality."""
        return (Form.native(self._modality),)

    @property
    def masks(self) -> Mapping[str, bool]:
        """None."""
        return {}

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        return self._first_count if self._num_seasons is None else self._num_seasons

    @cached_property
    def _modality(self) -> str:
        with closing(self._groups(None, None)) as groups:
            for group, _ in groups:
                return FOLDERS[group.folder]
        raise self._without_locations()

    def _without_locations(self) -> SourceInvalid:
        return SourceInvalid(
            f"{self._parts[0].name} holds no location",
            expected=f"a folder {', '.join(FOLDERS)} with locations in it",
            remedy="it is no tar of the raw layout",
        )

    @property
    def _folder(self) -> str:
        return str(modality(self._modality).published_folder)

    @cached_property
    def _first_count(self) -> int:
        names = file_names(self._modality)
        with closing(self._groups(None, self._folder)) as groups:
            for number, (group, state) in enumerate(groups):
                files = group.parcel(state).payload
                if files.is_whole(names):
                    return len(files.products)
                if number + 1 == _PROBES:
                    break
        raise SourceInvalid(
            f"none of the first locations of {self._parts[0].name} has all bands of all products",
            expected="one, to learn the number of seasons from",
            remedy="give the number of seasons",
        )

    def parcels(self, cursor: Mapping[str, Any] | None) -> Iterator[Parcel]:
        """Give the locations in the order of the tar, from the start or from a cursor of an earlier run.

        Raises:
            SourceInvalid: the stream is damaged or cut short, or holds another modality too.
            ChecksumMismatch: a part is not the published one.
            WriteFailed: the disk is full or refuses to hold the seek points.
        """
        void = 0
        with closing(self._groups(cursor, self._folder, points=self._points, md5=self._md5)) as groups:
            for group, state in groups:
                if group.id in VOID_IDS:
                    void += 1
                else:
                    yield group.parcel(state)
        if void:
            log.info("%d void ids are left out", void)

    def open(self, parcel: Parcel) -> Sample:
        """Make the sample of a location.

        Raises:
            SourceInvalid: a product, season or band is missing, extra, unreadable or of another size or type, or a
                member is not to be trusted.
        """
        files: RawFiles = parcel.payload
        if files.faults:
            remedy = "look into the tar; the location is left out"
            raise invalid(parcel.location, files.faults[0], "ordinary files, each once", remedy)
        images, points = read_seasons(
            self._modality,
            files.products,
            location=parcel.location,
            place=files.place,
            num_seasons=self.num_seasons,
            size=self.shape[0],
        )
        lon, lat = points[0] if points else (None, None)
        return Sample(Location(parcel.location, lon, lat), {self._modality: images})

    def _groups(
        self,
        cursor: Mapping[str, Any] | None,
        folder: str | None,
        *,
        points: Path | None = None,
        md5: Mapping[str, str] | None = None,
    ) -> Generator[tuple[_Group, Mapping[str, int]]]:
        """Collect members to locations; give each with the state of the stream after it.

        Args:
            cursor: where to begin.
            folder: of the one modality that may come, None for that of the first location.
            points: file of seek points, None to keep none.
            md5: of the parts.
        """
        with PartsFile(self._parts, md5=md5) as file:
            members = TarMembers(self._stream(cast("BinaryIO", file), cursor, points))
            group: _Group | None = None
            ignored = _Ignored()
            for member in members:
                place = _place(member.name)
                if place is None:
                    ignored.note(member)
                    if group is None and cursor is None and ignored.count > _PATIENCE:
                        raise self._without_locations()
                    continue
                head, path = place
                if group is None or group.place != head:
                    if group is not None:
                        yield group, members.state
                    group = self._begin(head, folder)
                    folder = group.folder
                group.add(member, path)
            ignored.tell()
            if group is not None:
                yield group, members.state

    def _begin(self, place: str, expected: str | None) -> _Group:
        folder, name = place.split("/")[-2:]
        if expected not in (None, folder):
            raise SourceInvalid(
                f"{self._parts[0].name} holds {expected} and {folder}",
                expected="one modality a tar",
                remedy="unpack it and pack the folder, or make a tar of each modality",
            )
        wanted = frozenset((*file_names(FOLDERS[folder]), METADATA))
        return _Group(folder, name.zfill(7), place, wanted)

    def _stream(self, file: BinaryIO, cursor: Mapping[str, Any] | None, points: Path | None) -> Stream:
        head = file.read(len(MAGIC))
        if head != MAGIC:
            return PlainStream(file, cursor)
        return GzipStream(file, SeekPoints(file, points, spacing=self._spacing), cursor)


class _Ignored:
    """Members that belong to no location."""

    def __init__(self) -> None:
        self.count = 0
        self._told = 0

    def note(self, member: Member) -> None:
        self.count += 1
        if not member.is_folder and self._told < _WARNINGS:
            self._told += 1
            log.warning("%r is left out: it belongs to no location", member.name)

    def tell(self) -> None:
        if self._told == _WARNINGS:
            log.warning("%d members in all belong to no location", self.count)


def _place(name: str) -> tuple[str, list[str]] | None:
    """Split a member's name into its location's folder and what is below, None where it is in none."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        return None
    for number in range(len(parts) - 1):
        if parts[number] in FOLDERS and is_id(parts[number + 1]):
            return "/".join(parts[: number + 2]), parts[number + 2 :]
    return None
