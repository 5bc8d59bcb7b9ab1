# SPDX-License-Identifier: Apache-2.0
"""The raw layout of one modality in a tar, as published: `s2_l1c.tar.gz.partaa` and on, read as a stream.

Neither the tar nor its files ever lie on disk: the files of one location are collected in memory until those of the
next begin, and go to whoever makes a sample of them. Locations are told by their folder (`s2c/0000017/`), with any
folders above. What is not to be trusted (links, doubles, sizes beyond reason) makes its location invalid, with the
reason; other members are left out with a warning. The checks of the files are those of the folders: products.py.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from ssl4eo.collection.grouping import Group, Ignored, RawFiles, place_of
from ssl4eo.collection.gzipped import MAGIC, READ, GzipStream, PlainStream, Stream
from ssl4eo.collection.offset import check_option as check_offset
from ssl4eo.collection.parts import Part, PartsFile
from ssl4eo.collection.products import FOLDERS, SIZE, file_names, invalid, provenance_of, read_seasons
from ssl4eo.collection.published import VOID_IDS
from ssl4eo.collection.seekpoints import SPACING, SeekPoints, cut_points
from ssl4eo.collection.source import Parcel
from ssl4eo.collection.tarstream import TarMembers
from ssl4eo.errors import ConfigInvalid, SourceInvalid, Ssl4eoError
from ssl4eo.form import Form
from ssl4eo.sample import Location, Provenance, Sample
from ssl4eo.sensors import modality

log = logging.getLogger(__name__)

_PROBES = 50
"""Locations that are looked at to find the number of seasons."""

_HEAD = 4096
"""Bytes that a stream is known by: the names and pixels of its first files."""

_PATIENCE = 10_000
"""Members without a location that may come before the first one."""


class RawTarStream:
    """Locations of one modality out of a tar, gzipped or not, in one file or in parts.

    Args:
        parts: of the tar, in order.
        num_seasons: products that each location must have; None for the number of the first location that is whole.
        md5: by name of a part its published checksum, held against it while it is read.
        offset: constant in Sentinel-2 values [DN], 0 or 1000, whatever metadata.json says; None believes it.

    Raises:
        ConfigInvalid: no part, or fewer than one season asked for.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        num_seasons: int | None = None,
        md5: Mapping[str, str] | None = None,
        offset: int | None = None,
        _size: int = SIZE,
        _spacing: int = SPACING,
    ) -> None:
        if not parts:
            raise ConfigInvalid("no parts", expected="one or more, in order")
        if num_seasons is not None and num_seasons < 1:
            raise ConfigInvalid(f"{num_seasons} seasons", expected="1 or more")
        check_offset(offset)
        self._offset = offset
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
        """Name of the first part and a hash of the beginning of the stream.

        Not the sizes: a part that was cut short and is fetched again must not keep a run from going on. That it is
        the same stream is held against its CRC at the end.
        """
        with PartsFile(self._parts) as file:
            return f"{self._parts[0].name} {hashlib.sha256(file.read(_HEAD)).hexdigest()}"

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, as far as the names tell."""
        return provenance_of({"tar": self._parts[0].name, "parts": len(self._parts)}, self._offset)

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
            remedy="are the files of a location together in the tar? If not, unpack it and pack the folder; "
            "if they are, give --num-seasons",
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

    def distrust(self, error: Ssl4eoError) -> Callable[[Mapping[str, Any]], bool] | None:
        """Forget what is kept of bytes that an error of `parcels` says are wrong; give the test of good cursors.

        None where the error says no such thing. A part that fails its checksum is wrong from its first byte on, and so
        is one in which the stream turns out to be damaged, as what came before it may have been read wrongly.
        """
        start = error.where.get("suspect_from")
        if start is None:
            return None
        if self._points is not None:
            cut_points(self._points, start)
        return lambda cursor: READ in cursor and cursor[READ] <= start

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
            offset=self._offset,
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
    ) -> Generator[tuple[Group, Mapping[str, int]]]:
        """Collect members to locations; give each with the state of the stream after it.

        Args:
            cursor: where to begin.
            folder: of the one modality that may come, None for that of the first location.
            points: file of seek points, None to keep none.
            md5: of the parts.
        """
        with PartsFile(self._parts, md5=md5) as file:
            members = TarMembers(self._stream(file, cursor, points))
            group: Group | None = None
            ignored = Ignored()
            for member in members:
                place = place_of(member.name)
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

    def _begin(self, place: str, expected: str | None) -> Group:
        group = Group(place)
        if expected not in (None, group.folder):
            raise SourceInvalid(
                f"{self._parts[0].name} holds {expected} and {group.folder}",
                expected="one modality a tar",
                remedy="unpack it and pack the folder, or make a tar of each modality",
            )
        return group

    def _stream(self, parts: PartsFile, cursor: Mapping[str, Any] | None, points: Path | None) -> Stream:
        file = cast("BinaryIO", parts)
        if file.read(len(MAGIC)) != MAGIC:
            return PlainStream(file, cursor, part_start=parts.part_start)
        return GzipStream(
            file,
            SeekPoints(file, points, spacing=self._spacing),
            cursor,
            place=parts.place,
            part_start=parts.part_start,
        )
