# SPDX-License-Identifier: Apache-2.0
"""Folders of locations with one entry a product, as several published layouts have them: who is there, in which order.

    <folder of a modality>/<id of 6 or 7 digits>/<product>      a folder or a file

Finds locations, products and their times by names alone; opens no file. The same rules as published.py: the usual
number of seasons is the most common one, two spellings of an id or two products of a date are refused.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import islice
from pathlib import Path

from ssl4eo.collection.picture import PROBES
from ssl4eo.collection.products import PRODUCT_TIME, is_id
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid, unknown_name

log = logging.getLogger(__name__)

_FIRST = 16
"""Entries of a large folder that are looked at to recognize a layout."""


class ProductFolders:
    """Locations and products below one folder a modality.

    Args:
        folders: by modality the folder that holds the locations.
        is_product: says whether an entry of a location is a product.
        time_of: reads the acquisition time out of the name of a product, None where there is none.
        num_seasons: products that each location must have; None for the most common number found.
        void: ids that are left out.

    Raises:
        ConfigInvalid: fewer than one season asked for.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        *,
        is_product: Callable[[Path], bool],
        time_of: Callable[[str, str], dt.datetime | None],
        num_seasons: int | None,
        void: AbstractSet[str] = frozenset(),
    ) -> None:
        if num_seasons is not None and num_seasons < 1:
            raise ConfigInvalid(f"{num_seasons} seasons", expected="1 or more")
        self._folders, self._is_product, self._time_of = dict(folders), is_product, time_of
        self._num_seasons, self._void = num_seasons, void

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        return self._usual_count if self._num_seasons is None else self._num_seasons

    @cached_property
    def _usual_count(self) -> int:
        places = [paths[0] for by_id in self._places.values() for paths in by_id.values()]
        counts = Counter(len(self._entries(place)) for place in places[:: max(1, len(places) // PROBES)])
        del counts[0]
        if not counts:
            listed = ", ".join(str(folder) for folder in self._folders.values())
            raise SourceInvalid(f"no location in {listed} has a product", expected="folders <id>/<product>")
        return max(counts, key=lambda count: (counts[count], count))

    @cached_property
    def _places(self) -> dict[str, dict[str, list[Path]]]:
        """By modality and id the folders of a location: one, unless 6 and 7 digits are both there."""
        found: dict[str, dict[str, list[Path]]] = {}
        for name, folder in self._folders.items():
            by_id = found.setdefault(name, {})
            for path in sorted(folder.iterdir()):
                if is_id(path.name) and path.is_dir():
                    by_id.setdefault(path.name.zfill(7), []).append(path)
                elif not path.name.startswith("."):
                    log.warning("%s is left out: its name is no location id of 6 or 7 digits", path)
        return found

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids of 7 digits that any modality has a folder for, ascending, without the void ones."""
        return tuple(sorted(set[str]().union(*self._places.values()) - self._void))

    def require(self, location: str) -> None:
        """Raise unless there is such a location.

        Raises:
            LocationMissing: no modality has this id, or it is void.
        """
        if location in self._void or not any(location in by_id for by_id in self._places.values()):
            raise LocationMissing(f"no location {location}", expected="an id out of ids()", location=location)

    def products(self, name: str, location: str) -> list[tuple[dt.datetime, Path]]:
        """Find the products of a location, first to last.

        Raises:
            SourceInvalid: another number than num_seasons, two of one date, or one without a time in its name.
        """
        places = self._places[name].get(location, [])
        if len(places) != 1:
            found = " and ".join(path.name for path in places) or "no folder"
            raise invalid(location, f"{found} in {self._folders[name]}", "one folder", "keep the right one")
        products = sorted((self._time(name, path, location), path) for path in self._entries(places[0]))
        listed = ", ".join(path.name for _, path in products) or "none"
        if len(products) != self.num_seasons:
            found = f"{len(products)} products in {places[0]} ({listed})"
            raise invalid(location, found, f"{self.num_seasons}", "complete it, or give another number of seasons")
        if len({time.date() for time, _ in products}) != len(products):
            raise invalid(location, f"two products of one date in {places[0]} ({listed})", "one a date", "remove one")
        return products

    def _entries(self, place: Path) -> list[Path]:
        return [path for path in place.iterdir() if not path.name.startswith(".") and self._is_product(path)]

    def _time(self, name: str, product: Path, location: str) -> dt.datetime:
        time = self._time_of(name, product_name(product))
        if time is None:
            raise invalid(location, f"{product} has no time in its name", f"the name of a {name} product", "")
        return time

    def some_products(self, name: str) -> Iterator[Path]:
        """Give up to PROBES products of a modality, one a location, to find out what they are."""
        places = (paths[0] for paths in self._places[name].values())
        return islice((entries[0] for place in places if (entries := sorted(self._entries(place)))), PROBES)


def product_name(path: Path) -> str:
    """Give the name of a product: a folder's name, or a file's without its suffix."""
    return path.stem if path.suffix.lower() in (".png", ".tif") else path.name


def sentinel_time(name: str, product: str) -> dt.datetime | None:
    """Read the start of the acquisition [UTC] out of the name of a Sentinel product; `name` is its modality."""
    match = PRODUCT_TIME[name[:2].lower()].match(product)
    return parse_time(match[1] if match else "", "%Y%m%dT%H%M%S")


def parse_time(text: str, form: str) -> dt.datetime | None:
    """Read a UTC time, None where there is none."""
    try:
        return dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC)
    except ValueError:
        return None


def choose_folders(root: Path, folders: Mapping[str, Path], wanted: Sequence[str] | None) -> dict[str, Path]:
    """Choose modalities out of those that have a folder.

    Args:
        root: as the user named it, for messages.
        folders: by modality all folders that the layout can have.
        wanted: modalities asked for, None for all that are there.

    Raises:
        DataMissing: no such folder, or none at all.
        UnknownName: a modality that the layout does not have.
        ConfigInvalid: no modality asked for.
    """
    if not root.is_dir():
        raise DataMissing(f"there is no folder {root}", expected="the root of the layout", path=str(root))
    for name in wanted or ():
        if name not in folders:
            raise unknown_name("modality of this layout", name, folders)
    chosen = {name: path for name, path in folders.items() if path.is_dir() and (wanted is None or name in wanted)}
    if wanted is not None and not wanted:
        raise ConfigInvalid("no modality to read", expected="one or more", remedy="leave modalities out to read all")
    missing = [str(folders[name]) for name in wanted or () if name not in chosen]
    if missing or not chosen:
        listed = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
        raise DataMissing(
            f"{root} holds {listed}",
            expected=f"{' and '.join(missing)}" if missing else "one of " + ", ".join(str(p) for p in folders.values()),
            remedy="name the folder that holds them",
            path=str(root),
        )
    return chosen


def first_entries(folder: Path) -> list[Path]:
    """Give a few entries of a folder that may be large, none where there is no such folder; hidden ones are left out.

    The order is the disk's: enough to recognize a layout, not to read it.
    """
    if not folder.is_dir():
        return []
    return list(islice((path for path in folder.iterdir() if not path.name.startswith(".")), _FIRST))


def first_locations(folder: Path) -> list[Path]:
    """Give a few folders of locations by their names."""
    return [path for path in first_entries(folder) if is_id(path.name) and path.is_dir()]


def invalid(location: str, found: str, expected: str, remedy: str) -> SourceInvalid:
    """Make the error for a location that cannot be read."""
    return SourceInvalid(f"location {location}: {found}", expected=expected, remedy=remedy, location=location)
