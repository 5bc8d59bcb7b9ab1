# SPDX-License-Identifier: Apache-2.0
"""A user's own pictures with seasons: `<root>/<place>/<picture>`, each place a folder, its pictures its dates.

A date is that of a picture's name, else TIFFTAG_DATETIME. A location has exactly `num_seasons` pictures, all of other
dates; one with fewer or more is refused, as which to take is not ours to choose. Everything else about a picture is
picture_reader.py's. Never found by looking: class folders with dated pictures look the same.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ssl4eo.collection.dates import time_in_name, time_in_tags
from ssl4eo.collection.gaps import over_dates
from ssl4eo.collection.picture import FORMATS, look
from ssl4eo.collection.picture_folder import as_text, is_picture, make_id
from ssl4eo.collection.picture_reader import PictureReader
from ssl4eo.collection.product_folders import invalid
from ssl4eo.collection.source import Provenance
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid
from ssl4eo.form import Form
from ssl4eo.sample import Location, Sample

_LISTED = 8
"""Names of pictures that a message has at most."""


@dataclass(frozen=True)
class _Place:
    """One place."""

    folder: Path
    pictures: Sequence[Path]
    """In the order of their names; maybe none."""


class PlaceFolders:
    """Places, each with its dates.

    Args:
        root: the folder of the places.
        modality: what the pictures are of; None where the files tell.
        bands: in file order, in any known spelling; None where the files tell.
        offset: that Sentinel-2 values contain, 0 or 1000 [DN]; None where the tags of every file tell.
        num_seasons: pictures that each place must have; None for the most common number found.

    Raises:
        DataMissing: no such folder, or no pictures in the folders below it.
        ConfigInvalid: the options are missing, do not fit the files or each other; fewer than one season asked for.
        SourceInvalid: pictures in the folder itself, or not a single one can be read.
        UnknownName: no such modality or band.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        modality: str | None = None,
        bands: Sequence[str] | None = None,
        offset: int | None = None,
        num_seasons: int | None = None,
    ) -> None:
        if num_seasons is not None and num_seasons < 1:
            raise ConfigInvalid(f"{num_seasons} seasons", expected="1 or more")
        self.root = Path(root)
        places = self._places.values()
        self.num_seasons = _usual([len(place.pictures) for place in places]) if num_seasons is None else num_seasons
        paths = [path for place in places for path in place.pictures]
        self._reader = PictureReader(paths, modality=modality, bands=bands, offset=offset)
        self.shape = self._reader.shape

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, as far as anybody tells."""
        name = self.root.absolute().name
        return Provenance(
            title=f"folder of places {name}", synthetic=False, licence="that of the pictures", details={"root": name}
        )

    @property
    def forms(self) -> tuple[Form, ...]:
        """All bands on one grid."""
        return (self._reader.form,)

    @property
    def masks(self) -> Mapping[str, bool]:
        """None."""
        return {}

    @cached_property
    def _places(self) -> dict[str, _Place]:
        """By id the places, in the order of their names."""
        return {make_id(place.folder.name, place.folder.name): place for place in _list_places(self.root)}

    def ids(self) -> Sequence[str]:
        """List the ids, in the order of the names of places, which they are where these are valid."""
        return tuple(self._places)

    def read(self, location: str) -> Sample:
        """Read all dates of one place, first to last; label `place` is its name.

        What a file says was not observed is 0 and its image is not valid; labels `nodata_<modality>` and
        `unobserved_<modality>` tell what stood there and in which share of the pixels of all dates.

        Raises:
            LocationMissing: there is no such id.
            SourceInvalid: another number of pictures than num_seasons, two of one date, one without a date, or one
                that PictureReader refuses.
        """
        if location not in self._places:
            raise LocationMissing(f"no location {location}", expected="an id out of ids()", location=location)
        name = self._reader.form.modality
        place = self._places[location]
        dated = _in_order(place, location, self.num_seasons)
        readings = [self._reader.read(path, time=time) for time, path in dated]
        points = [reading.centre for reading in readings if reading.centre is not None]
        lon, lat = points[0] if points else (None, None)
        labels: dict[str, int | float | str] = {"place": as_text(place.folder.name)}
        gaps = over_dates([reading.gaps for reading in readings])
        if gaps is not None:
            labels |= gaps.labels(name)
        return Sample(Location(location, lon, lat), {name: tuple(reading.image for reading in readings)}, labels)


def _list_places(root: Path) -> list[_Place]:
    """List the folders below the root and the pictures in each, sorted."""
    if not root.is_dir():
        raise DataMissing(f"there is no folder {root}", expected="a folder of places", path=str(root))
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    flat = [entry.name for entry in entries if is_picture(entry)]
    if flat:
        raise SourceInvalid(
            f"{root} holds pictures itself ({flat[0]})",
            expected="folders, one a place, each with the pictures of its dates",
            remedy="move them into folders of their places; with --layout folder each picture is a location",
            path=str(root),
        )
    places = [_Place(entry, sorted(filter(is_picture, entry.iterdir()))) for entry in entries if entry.is_dir()]
    if not any(place.pictures for place in places):
        raise DataMissing(
            f"the folders in {root} hold no pictures",
            expected=f"<place>/<picture> with a date in its name; {', '.join(FORMATS)}",
            remedy="name the folder that holds the folders of the places",
            path=str(root),
        )
    return places


def _usual(counts: Sequence[int]) -> int:
    """Give the most common number of pictures, the largest of several; places without any do not count."""
    found = Counter(count for count in counts if count)
    return max(found, key=lambda count: (found[count], count))


def _in_order(place: _Place, location: str, num_seasons: int) -> list[tuple[dt.datetime, Path]]:
    """Give times and pictures of a place, first to last."""
    pictures = place.pictures
    where = f"in {place.folder} ({_listed(pictures)})"
    if len(pictures) != num_seasons:
        remedy = "complete it or take some away, or state another number with --num-seasons"
        raise invalid(location, f"{len(pictures)} pictures {where}", f"{num_seasons}", remedy)
    dated = sorted((_time(path, location), path) for path in pictures)
    if len({time.date() for time, _ in dated}) != len(dated):
        raise invalid(location, f"two pictures of one date {where}", "one a date", "take one away")
    return dated


def _listed(pictures: Sequence[Path]) -> str:
    more = f" and {len(pictures) - _LISTED} more" if len(pictures) > _LISTED else ""
    return ", ".join(as_text(path.name) for path in pictures[:_LISTED]) + more if pictures else "none"


def _time(path: Path, location: str) -> dt.datetime:
    """Give the time of a picture by its name, else by its tags."""
    time = time_in_name(path.stem) or time_in_tags(look(path).tags)
    if time is None:
        raise invalid(
            location,
            f"{path} has no date, neither in its name nor as TIFFTAG_DATETIME",
            "YYYY-MM-DD or YYYYMMDD in the name",
            f"rename it, such as 2020-01-10{path.suffix}",
        )
    return time
