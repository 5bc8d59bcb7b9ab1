# SPDX-License-Identifier: Apache-2.0
"""SSL4EO-S12 v1.1 as a source: a folder a modality, of zip files with 64 locations each.

Zip files of the same split and number hold the same locations; a location is read from all modalities or refused.
`ids` opens every file once, as the names of the locations are nowhere else; one file a modality stays open, so reading
in the order of `ids` decodes nothing twice. A file that is cut short costs the locations that it holds, each with a
line; where no other modality knows them, one line under the file's name.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ssl4eo.collection.source import Provenance
from ssl4eo.collection.v11_file import FileKind, SeasonalFile
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid, unknown_name
from ssl4eo.form import Form
from ssl4eo.sample import Location, Sample

log = logging.getLogger(__name__)

MODALITIES = ("S1GRD", "S2L1C", "S2L2A", "S2RGB")
"""Names of the modality folders, which are ours."""
_SPLITS = ("train", "val")
_SAME_PLACE_DEG = 0.01
"""Points of a location that are nearer on each axis are the same one."""
_NAME = re.compile(r"(ssl4eos12_(train|val)_seasonal_data_\d{6})\.zarr\.zip\Z")


def is_v11(root: Path) -> bool:
    """Say whether a folder holds files named as those of the release, in the folder of a modality."""
    return any(_NAME.match(path.name) for name in MODALITIES for path in _entries(root, name))


def _entries(root: Path, name: str) -> Iterator[Path]:
    """List what lies in the folders of a modality."""
    places = [root / name, *(root / split / name for split in _SPLITS)]
    if root.absolute().name == name:
        places.append(root)
    for place in places:
        if place.is_dir():
            yield from sorted(place.iterdir())


class ZipFolder:
    """Locations of SSL4EO-S12 v1.1.

    Args:
        root: folder that holds folders S1GRD, S2L1C, S2L2A, S2RGB or some of them, also below train and val; or one
            of them.
        modalities: those to read, None for all there are.

    Raises:
        DataMissing: there are no files of a modality.
        UnknownName: a modality that the release does not have.
        ConfigInvalid: no modality to read.
        SourceInvalid: a file is there twice.
    """

    def __init__(self, root: Path | str, *, modalities: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        for name in modalities or ():
            if name not in MODALITIES:
                raise unknown_name("modality of SSL4EO-S12 v1.1", name, MODALITIES)
        found = {name: self._find(name) for name in MODALITIES if modalities is None or name in modalities}
        self._paths = {name: paths for name, paths in found.items() if paths or modalities is not None}
        if modalities is not None and not modalities:
            raise ConfigInvalid(
                "no modality to read", expected="one or more", remedy="leave modalities out to read all"
            )
        missing = [name for name, paths in self._paths.items() if not paths]
        if missing or not self._paths:
            raise DataMissing(
                f"{self.root} has no files of {', '.join(missing or MODALITIES)}",
                expected="ssl4eos12_<split>_seasonal_data_<number>.zarr.zip in a folder of that name",
                remedy="name the folder that holds the modality folders",
                path=str(self.root),
            )
        self._open: dict[str, tuple[str, SeasonalFile]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process without open files."""
        return {**vars(self), "_open": {}}

    def _find(self, name: str) -> dict[str, Path]:
        """By split and number the files of a modality."""
        paths: dict[str, Path] = {}
        for path in _entries(self.root, name):
            match = _NAME.match(path.name)
            if match is None:
                if not path.name.startswith(".") and path.name not in (*MODALITIES, *_SPLITS):
                    log.warning("%s is left out: it is not named as the release's files", path)
                continue
            other = paths.setdefault(match[1], path)
            if other != path:
                raise SourceInvalid(f"{other} and {path} are both there", expected="one", remedy="remove one")
        return paths

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that every sample has."""
        return tuple(self._paths)

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from."""
        return Provenance(
            title="SSL4EO-S12 v1.1",
            synthetic=False,
            licence="that of the source: CC-BY-4.0 for SSL4EO-S12 as published; contains Copernicus Sentinel data",
            details={
                "root": self.root.absolute().name,
                "offset": "Sentinel-2 values contain +1000 DN, as in all of the release; recorded, not removed",
                "seasons": "put in order of time, which Sentinel-1 of the release is not in",
            },
        )

    @cached_property
    def _kinds(self) -> dict[str, FileKind]:
        """By modality the first file that can be opened: all others must be like it."""
        return {name: self._first(name) for name in self._paths}

    def _first(self, name: str) -> FileKind:
        reasons: list[str] = []
        for path in self._paths[name].values():
            try:
                file = SeasonalFile(path, name)
            except SourceInvalid as error:
                reasons.append(str(error))
                continue
            file.close()
            return file.kind
        raise SourceInvalid(f"no file of {name} can be read ({reasons[0]})", expected="one", remedy="fetch them again")

    @property
    def forms(self) -> tuple[Form, ...]:
        """The form of each modality: all bands on the 10 m grid."""
        return tuple(kind.form for kind in self._kinds.values())

    @property
    def masks(self) -> Mapping[str, bool]:
        """`cloud_<modality>` of each modality that has one, for each season."""
        return {f"cloud_{name}": True for name, kind in self._kinds.items() if kind.has_clouds}

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        return next(iter(self._kinds.values())).num_seasons

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every patch [px]."""
        return next(iter(self._kinds.values())).shape

    def ids(self) -> Sequence[str]:
        """List the ids that any modality holds, file by file; under its own name a file that cannot be read."""
        return list(self._index)

    @property
    def _index(self) -> Mapping[str, tuple[str, ...]]:
        """By id the files that hold it: one, or the release is broken."""
        return self._contents[0]

    @cached_property
    def _contents(self) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
        index: dict[str, tuple[str, ...]] = {}
        unreadable: dict[str, str] = {}
        for key in sorted({key for paths in self._paths.values() for key in paths}):
            ids, reasons = self._ids_of(key)
            if not ids:
                unreadable[key] = "; ".join(reasons)
            for location in ids or [key]:
                index[location] = (*index.get(location, ()), key)
        return index, unreadable

    @property
    def _unreadable(self) -> Mapping[str, str]:
        """By key of a file that no modality can read the reason."""
        return self._contents[1]

    def _ids_of(self, key: str) -> tuple[list[str], list[str]]:
        """Give the ids in the files of a key, and why some of them cannot be read."""
        ids: dict[str, None] = {}
        reasons: list[str] = []
        for name, paths in self._paths.items():
            if key not in paths:
                continue
            try:
                file = SeasonalFile(paths[key], name)
            except SourceInvalid as error:
                log.warning("%s", error)
                reasons.append(error.found)
                continue
            file.close()
            ids.update(dict.fromkeys(file.ids))
        return list(ids), reasons

    def read(self, location: str) -> Sample:
        """Read all seasons of all modalities of one location.

        Raises:
            LocationMissing: no file holds it.
            SourceInvalid: a modality lacks it, or its file is damaged or not one of the release.
        """
        if location in self._unreadable:
            raise SourceInvalid(
                f"{location}: {self._unreadable[location]}; its locations, 64 as a rule, are all left out",
                expected="a whole file of the release",
                remedy="fetch it again",
            )
        key, *others = self._index.get(location, ("",))
        if not key:
            raise LocationMissing(f"{self.root} has no location {location}", expected="an id out of ids()")
        if others:
            raise SourceInvalid(
                f"location {location} is in {key} and {others[0]}", expected="one file", remedy="keep the right one"
            )
        files = {name: self._file(name, key) for name in self._paths}
        images = {name: file.images(location) for name, file in files.items()}
        masks = {f"cloud_{name}": file.clouds(location) for name, file in files.items() if file.kind.has_clouds}
        lon, lat = _only_point(location, {name: file.centre(location) for name, file in files.items()})
        return Sample(Location(location, lon, lat), images, labels={"split": key.split("_")[1]}, masks=masks)

    def _file(self, name: str, key: str) -> SeasonalFile:
        """Open a file of a modality; the one before is closed."""
        held, file = self._open.get(name, ("", None))
        if file is not None and held == key:
            return file
        if file is not None:
            file.close()
            del self._open[name]
        path = self._paths[name].get(key)
        if path is None:
            raise SourceInvalid(
                f"there is no {name} file {key}.zarr.zip in {self.root}",
                expected="the same files in all modalities",
                remedy="fetch it, or leave the modality out with --modalities",
            )
        opened = SeasonalFile(path, name)
        self._open[name] = (key, opened)
        return opened


def _only_point(location: str, points: Mapping[str, tuple[float, float]]) -> tuple[float, float]:
    """Give the point (lon, lat) [deg] that all modalities have."""
    first = next(iter(points.values()))
    for name, point in points.items():
        if not all(math.isclose(a, b, rel_tol=0, abs_tol=_SAME_PLACE_DEG) for a, b in zip(first, point, strict=True)):
            raise SourceInvalid(
                f"location {location} lies at {first} and, in {name}, at {point}",
                expected="one place in all modalities",
                remedy="leave a modality out with --modalities, or fetch the files again",
            )
    return first
