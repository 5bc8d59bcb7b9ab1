# SPDX-License-Identifier: Apache-2.0
"""The published raw layout of SSL4EO-S12 v1 as a source: `<root>/{s1,s2c,s2a}/<id>/<product>/<band>.tif`.

Ids have 7 digits as published or 6 as the reference downloader writes them. Seasons are ordered by the acquisition
time in the product's name, not by the name: S1A and S1B alternate. A location is read whole or refused, with the
reason; the 97 ids that are void in the published data are left out. Values are the GeoTIFFs', untouched.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ssl4eo.collection.offset import check_option as check_offset
from ssl4eo.collection.products import FOLDERS, SIZE, Product, invalid, is_id, provenance_of, read_seasons
from ssl4eo.collection.source import Provenance
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid, unknown_name
from ssl4eo.form import Form
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import modality

log = logging.getLogger(__name__)

_PROBES = 200
"""Locations that are looked at to find the number of seasons."""

_VOID_RANGES = (
    "124990-125052 125054-125055 125058-125064 125066-125067 125069-125076 125079 125083-125084 125087 125089-125090 "
    "125094-125095 125103-125104 125112 125125 125129 125140 179723"
)


def _expand(ranges: str) -> frozenset[str]:
    spans = ([int(n) for n in part.split("-")] for part in ranges.split())
    return frozenset(f"{i:07d}" for span in spans for i in range(span[0], span[-1] + 1))


VOID_IDS = _expand(_VOID_RANGES)
"""Ids that the published data lists as void. Source: zhu-xlab/SSL4EO-S12, data/void_ids.csv, 97 lines."""


def is_raw_layout(root: Path) -> bool:
    """Say whether a folder holds one of s1, s2c, s2a."""
    return any((root / folder).is_dir() for folder in FOLDERS)


class RawLayout:
    """Locations in the published raw layout.

    Args:
        root: folder that holds s1, s2c, s2a or some of them.
        num_seasons: products that each location must have, 4 as published; None for the most common number found.
        modalities: those to read, None for all that have a folder.
        offset: constant in Sentinel-2 values [DN], 0 or 1000, whatever metadata.json says; None believes it.

    Raises:
        DataMissing: no such folder, or none of the modalities in it.
        ConfigInvalid: fewer than one season asked for, or no modality.
        UnknownName: a modality that the raw layout does not have.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        num_seasons: int | None = None,
        modalities: Sequence[str] | None = None,
        offset: int | None = None,
        _size: int = SIZE,
    ) -> None:
        check_offset(offset)
        self._offset = offset
        self.root = Path(root)
        self.modalities = _choose(self.root, modalities)
        self.shape = (_size, _size)
        if num_seasons is not None and num_seasons < 1:
            raise ConfigInvalid(f"{num_seasons} seasons", expected="1 or more")
        self._num_seasons = num_seasons

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, as far as the layout tells."""
        return provenance_of({"root": self.root.absolute().name}, self._offset)

    @property
    def forms(self) -> tuple[Form, ...]:
        """The native form of each modality."""
        return tuple(Form.native(name) for name in self.modalities)

    @property
    def masks(self) -> Mapping[str, bool]:
        """None."""
        return {}

    @property
    def num_seasons(self) -> int:
        """Number of dates that every sample has."""
        return self._usual_count if self._num_seasons is None else self._num_seasons

    @cached_property
    def _usual_count(self) -> int:
        places = [folders[0] for paths in self._folders.values() for folders in paths.values()]
        counts = Counter(len(_products(place)) for place in places[:: max(1, len(places) // _PROBES)])
        del counts[0]
        if not counts:
            raise SourceInvalid(
                f"no location in {self.root} has a product folder",
                expected="folders <modality>/<id>/<product>/<band>.tif",
                path=str(self.root),
            )
        return max(counts, key=lambda count: (counts[count], count))

    @cached_property
    def _folders(self) -> dict[str, dict[str, list[Path]]]:
        """By modality and id the folders of a location: one, unless 6 and 7 digits are both there."""
        found: dict[str, dict[str, list[Path]]] = {}
        for name in self.modalities:
            by_id = found.setdefault(name, {})
            for path in sorted((self.root / str(modality(name).published_folder)).iterdir()):
                if is_id(path.name) and path.is_dir():
                    by_id.setdefault(path.name.zfill(7), []).append(path)
                elif not path.name.startswith("."):
                    log.warning("%s is left out: its name is no location id of 6 or 7 digits", path)
        return found

    @cached_property
    def _ids(self) -> tuple[str, ...]:
        found = sorted(set().union(*self._folders.values()))
        ids = tuple(i for i in found if i not in VOID_IDS)
        if len(ids) < len(found):
            log.info("%d void ids are left out", len(found) - len(ids))
        return ids

    def ids(self) -> Sequence[str]:
        """List the ids of 7 digits that any modality has a folder for, ascending, without the void ones."""
        return self._ids

    def read(self, location: str) -> Sample:
        """Read all seasons of all modalities of one location.

        Raises:
            LocationMissing: no modality has this id, or it is void.
            SourceInvalid: a folder, season or band is missing, double, unreadable or of another size or type.
        """
        if location in VOID_IDS or not any(location in by_id for by_id in self._folders.values()):
            reason = "is void in the published data" if location in VOID_IDS else "has no folder"
            raise LocationMissing(
                f"location {location} {reason} in {self.root}", expected="an id out of ids()", location=location
            )
        images: dict[str, tuple[Image, ...]] = {}
        points: list[tuple[float, float]] = []
        for name in self.modalities:
            place = self._place(name, location)
            products = [Product.of_folder(path) for path in _products(place)]
            images[name], found = read_seasons(
                name,
                products,
                location=location,
                place=str(place),
                num_seasons=self.num_seasons,
                size=self.shape[0],
                offset=self._offset,
            )
            points += found
        lon, lat = points[0] if points else (None, None)
        return Sample(Location(location, lon, lat), images)

    def _place(self, name: str, location: str) -> Path:
        """Find the one folder of a location."""
        folders = self._folders[name].get(location, [])
        if len(folders) != 1:
            root = self.root / str(modality(name).published_folder)
            found = " and ".join(path.name for path in folders) or "no folder"
            raise invalid(
                location, f"{found} in {root}", "one folder", "keep the right one" if folders else "fetch it again"
            )
        return folders[0]


def _choose(root: Path, wanted: Sequence[str] | None) -> tuple[str, ...]:
    if not root.is_dir():
        raise DataMissing(f"there is no folder {root}", expected="the root of the raw layout", path=str(root))
    present = [name for folder, name in FOLDERS.items() if (root / folder).is_dir()]
    for name in wanted if wanted is not None else ():
        if name not in FOLDERS.values():
            raise unknown_name("modality of the raw layout", name, FOLDERS.values())
    chosen = tuple(present if wanted is None else dict.fromkeys(wanted))
    if wanted is not None and not chosen:
        raise ConfigInvalid("no modality to read", expected="one or more", remedy="leave modalities out to read all")
    missing = [str(modality(name).published_folder) for name in chosen if name not in present]
    if missing or not chosen:
        listed = ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
        raise DataMissing(
            f"{root} holds {listed}",
            expected=f"the folder {' and '.join(missing)}" if missing else f"one of {', '.join(FOLDERS)}",
            remedy="name the folder that holds them",
            path=str(root),
        )
    return chosen


def _products(place: Path) -> list[Path]:
    return [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]
