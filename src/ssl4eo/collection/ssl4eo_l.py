# SPDX-License-Identifier: Apache-2.0
"""SSL4EO-L, the Landsat sibling, as a source: `<root>/[ssl4eo_l_<split>/]<id>/<scene>/all_bands.tif`.

All bands of a scene on one grid of 264 px at 30 m, stretched to 8 bits by its authors (sensors.Modality.stretch says
what the values stand for). A split is a modality; its folder's name tells which, else sensor and number of bands of
its first readable scene. The scene's name has a date and no time of day: seasons are at 00:00 UTC of their date.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssl4eo.collection.picture import Kind, Picture, in_canonical_order, look, read_picture
from ssl4eo.collection.product_folders import (
    ProductFolders,
    choose_folders,
    first_entries,
    first_locations,
    invalid,
    parse_time,
)
from ssl4eo.collection.source import Provenance
from ssl4eo.errors import DataMissing, SourceInvalid, unknown_name
from ssl4eo.form import Form
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import modality

SPLITS: Mapping[str, str] = {
    "tm_toa": "L5TOA",
    "etm_toa": "L7TOA",
    "etm_sr": "L7SR",
    "oli_tirs_toa": "L8TOA",
    "oli_sr": "L8SR",
}
"""Modalities by the published names of the splits."""

SENSORS: Mapping[tuple[str, int], str] = {
    ("LT05", 7): "L5TOA",
    ("LE07", 9): "L7TOA",
    ("LE07", 6): "L7SR",
    ("LC08", 11): "L8TOA",
    ("LC08", 7): "L8SR",
}
"""Modalities by sensor and number of bands."""

_SCENE = re.compile(r"(LC08|LE07|LT05)_\d{6}_(\d{8})\Z")
_FILE = "all_bands.tif"
_SIZE = 264
_PREFIX = "ssl4eo_l_"


def is_ssl4eo_l(root: Path) -> bool:
    """Say whether a folder holds splits of SSL4EO-L, or is one."""
    return bool(_splits(root)) or _is_split(root)


def _is_split(folder: Path) -> bool:
    return any(_SCENE.match(scene.name) for place in first_locations(folder) for scene in first_entries(place))


def _splits(root: Path) -> list[Path]:
    names = [_PREFIX + split for split in SPLITS]
    return [root / name for name in names if (root / name).is_dir() and _is_split(root / name)]


class Ssl4eoL:
    """Locations of SSL4EO-L.

    Args:
        root: folder of a split, or the one that holds splits; top-of-atmosphere and surface reflectance of a sensor
            are parallel and can be packed together, different sensors are not.
        num_seasons: scenes that each location must have, 4 as published; None for the most common number found.
        modalities: those to read, None for all that are there.

    Raises:
        DataMissing: no such folder, no split in it, or not the modality asked for.
        SourceInvalid: a split of another name holds no scene that tells which it is.
        ConfigInvalid: fewer than one season asked for, or no modality.
        UnknownName: a modality that SSL4EO-L does not have.
    """

    def __init__(
        self, root: Path | str, *, num_seasons: int | None = None, modalities: Sequence[str] | None = None
    ) -> None:
        self.root = Path(root)
        for name in modalities or ():
            if name not in SPLITS.values():
                raise unknown_name("modality of SSL4EO-L", name, SPLITS.values())
        folders = {_modality_of(path): path for path in _splits(self.root) or _require_split(self.root)}
        for name in modalities or ():
            if name not in folders:
                raise DataMissing(f"{self.root} holds {', '.join(folders)}", expected=name, path=str(root))
        self._splits = choose_folders(self.root, folders, modalities)
        self.modalities = tuple(self._splits)
        self.shape = (_SIZE, _SIZE)
        self.forms = tuple(Form.native(name) for name in self.modalities)
        self._folders = ProductFolders(self._splits, is_product=Path.is_dir, time_of=_time_of, num_seasons=num_seasons)

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, and how they were stretched."""
        stretch = "; ".join(sorted({f"{lo} to {hi} {u}" for n in self.modalities for lo, hi, u in _stretch(n)}))
        return Provenance(
            title="SSL4EO-L",
            synthetic=False,
            licence="that of the source: CC0-1.0 for SSL4EO-L as published; Landsat images courtesy of the USGS",
            details={"root": self.root.absolute().name, "stretch": f"0 to 255 stand for {stretch}"},
        )

    @property
    def masks(self) -> Mapping[str, bool]:
        """None."""
        return {}

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        return self._folders.num_seasons

    def ids(self) -> Sequence[str]:
        """List the ids of 7 digits that any split has a folder for, ascending."""
        return self._folders.ids

    def read(self, location: str) -> Sample:
        """Read all seasons of one location.

        Raises:
            LocationMissing: there is no such id.
            SourceInvalid: a scene is missing, double, unreadable, of another sensor, size, type or number of bands.
        """
        self._folders.require(location)
        images: dict[str, tuple[Image, ...]] = {}
        points: list[tuple[float, float]] = []
        for name in self.modalities:
            row: list[Image] = []
            for time, scene in self._folders.products(name, location):
                picture = _read_scene(name, scene, location)
                pixels = in_canonical_order(picture, name, modality(name).bands)
                header = picture.header
                row.append(
                    Image(name, {30: pixels}, time=time, product=scene.name, crs=header.crs, transform=header.transform)
                )
                points += [picture.centre] if picture.centre is not None else []
            images[name] = tuple(row)
        lon, lat = points[0] if points else (None, None)
        return Sample(Location(location, lon, lat), images)


def _stretch(name: str) -> list[tuple[float, float, str]]:
    return list(modality(name).stretch.values())


def _require_split(root: Path) -> list[Path]:
    if not _is_split(root):
        raise DataMissing(
            f"{root} holds no scenes of SSL4EO-L",
            expected="<id>/<scene>/all_bands.tif, or folders ssl4eo_l_<split> of these",
            remedy="name the folder of the split",
            path=str(root),
        )
    return [root]


def _modality_of(folder: Path) -> str:
    """Tell which modality a split is: by its published name, else by the first scene that can be read."""
    by_name = SPLITS.get(folder.absolute().name.removeprefix(_PREFIX))
    if by_name is not None:
        return by_name
    for place in first_locations(folder):
        for scene in first_entries(place):
            match = _SCENE.match(scene.name)
            try:
                count = look(scene / _FILE).kind.count
            except SourceInvalid:
                continue
            if match and (match[1], count) in SENSORS:
                return SENSORS[match[1], count]
    raise SourceInvalid(
        f"no scene of {folder} tells what it is",
        expected="LT05 with 7 bands, LE07 with 9 or 6, or LC08 with 11 or 7",
        remedy=f"name the folder as published, such as {_PREFIX}oli_sr",
        path=str(folder),
    )


def _time_of(name: str, scene: str) -> dt.datetime | None:
    """Read the date out of the name of a scene; all modalities spell it alike."""
    assert name in SPLITS.values(), "a modality of SSL4EO-L"
    match = _SCENE.match(scene)
    return parse_time(match[2] if match else "", "%Y%m%d")


def _read_scene(name: str, scene: Path, location: str) -> Picture:
    sensors = [sensor for (sensor, _), found in SENSORS.items() if found == name]
    if scene.name[:4] not in sensors:
        raise invalid(location, f"{scene} is of another sensor", f"{' or '.join(sensors)} for {name}", "take it away")
    return read_picture(scene / _FILE, Kind(len(modality(name).bands), _SIZE, _SIZE, "uint8"))
