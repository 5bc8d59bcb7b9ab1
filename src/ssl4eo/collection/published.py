# SPDX-License-Identifier: Apache-2.0
"""The published raw layout of SSL4EO-S12 v1 as a source: `<root>/{s1,s2c,s2a}/<id>/<product>/<band>.tif`.

Ids have 7 digits as published or 6 as the reference downloader writes them. Seasons are ordered by the acquisition
time in the product's name, not by the name: S1A and S1B alternate. A location is read whole or refused, with the
reason; the 97 ids that are void in the published data are left out. Values are the GeoTIFFs', untouched.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.geotiff import Band, centre, read_band
from ssl4eo.collection.source import Provenance
from ssl4eo.contract import offset_of_baseline
from ssl4eo.errors import ConfigInvalid, DataMissing, LocationMissing, SourceInvalid, unknown_name
from ssl4eo.form import Form
from ssl4eo.grid import BASE_RESOLUTION, size_at
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import MODALITIES, PATCH_SIZE_M, modality, published_band

log = logging.getLogger(__name__)

FOLDERS: Mapping[str, str] = {m.published_folder: m.name for m in MODALITIES.values() if m.published_folder}
PUBLISHED_ID = re.compile(r"\d{6,7}\Z")
PRODUCT_TIME = {"s1": re.compile(r"^.{16}_(\d{8}T\d{6})"), "s2": re.compile(r"^(\d{8}T\d{6})")}
_BASELINE = re.compile(r"(\d\d)\.(\d\d)\Z")
_SIZE = PATCH_SIZE_M // BASE_RESOLUTION
_PROBES = 200
"""Locations that are looked at to find the number of seasons."""

OFFSET_SINCE = dt.datetime(2022, 1, 25, tzinfo=dt.UTC)
"""From here on Sentinel-2 products contain +1000 DN unless harmonized."""

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

    Raises:
        DataMissing: no such folder, or none of the modalities in it.
        ConfigInvalid: fewer than one season asked for, or no modality.
        UnknownName: a modality that the raw layout does not have.
    """

    def __init__(
        self, root: Path | str, *, num_seasons: int | None = None, modalities: Sequence[str] | None = None
    ) -> None:
        self.root = Path(root)
        self.modalities = _choose(self.root, modalities)
        self.shape = (_SIZE, _SIZE)
        if num_seasons is not None and num_seasons < 1:
            raise ConfigInvalid(f"{num_seasons} seasons", expected="1 or more")
        self._num_seasons = num_seasons

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, as far as the layout tells."""
        return Provenance(
            title="raw layout of SSL4EO-S12 v1",
            synthetic=False,
            licence="that of the source: CC-BY-4.0 for SSL4EO-S12 as published; contains Copernicus Sentinel data",
            details={"root": self.root.absolute().name},
        )

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
                if PUBLISHED_ID.match(path.name) and path.is_dir():
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
            products = self._products(name, location)
            read = [_read_image(name, path, time, location) for time, path in products]
            images[name] = tuple(image for image, _ in read)
            points += [point for _, point in read if point is not None]
        lon, lat = points[0] if points else (None, None)
        return Sample(Location(location, lon, lat), images)

    def _products(self, name: str, location: str) -> list[tuple[dt.datetime, Path]]:
        """Find the products of a location, first to last; refuse any other number than num_seasons."""
        folder = modality(name).published_folder
        folders = self._folders[name].get(location, [])
        if len(folders) != 1:
            found = " and ".join(path.name for path in folders) or "no folder"
            raise _invalid(location, f"{found} in {self.root / str(folder)}", "one folder", "keep the right one")
        place = folders[0]
        products = sorted((_time(name, path, location), path) for path in _products(place))
        listed = ", ".join(path.name for _, path in products) or "none"
        if len(products) != self.num_seasons:
            found = f"{len(products)} products in {place} ({listed})"
            raise _invalid(location, found, f"{self.num_seasons}", "complete it, or give another number of seasons")
        if len({time.date() for time, _ in products}) != len(products):
            raise _invalid(location, f"two products of one date in {place} ({listed})", "one a date", "remove one")
        return products


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


def _time(name: str, product: Path, location: str) -> dt.datetime:
    """Read the acquisition time out of a product's name."""
    match = PRODUCT_TIME[str(modality(name).published_folder)[:2]].match(product.name)
    try:
        return dt.datetime.strptime(match[1] if match else "", "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError as error:
        raise _invalid(location, f"{product} has no time in its name", f"the name of a {name} product", "") from error


def _read_image(name: str, product: Path, time: dt.datetime, location: str) -> tuple[Image, tuple[float, float] | None]:
    """Read one product; give the image and its centre (lon, lat) where the files tell."""
    known = modality(name)
    pixels: dict[int, NDArray[np.generic]] = {}
    base: Band | None = None
    for resolution, bands in known.groups.items():
        size = size_at(resolution, _SIZE)
        read = [read_band(product / f"{published_band(b)}.tif", dtype=known.dtype, size=size) for b in bands]
        pixels[resolution] = np.stack([band.pixels for band in read])
        base = base or read[0]
    assert base is not None, "every modality has bands"
    baseline, offset = _baseline(product, location) if known.unit == "DN" else (None, 0)
    if known.unit == "DN" and baseline is None and time >= OFFSET_SINCE:
        log.warning("%s is of %s and tells no processing baseline: taken as free of the +1000 DN", product, time.date())
    image = Image(
        name,
        pixels,
        time=time,
        product=product.name,
        crs=base.crs,
        transform=base.transform,
        baseline=baseline,
        offset=offset,
    )
    return image, centre(base)


def _baseline(product: Path, location: str) -> tuple[int | None, int]:
    """Read processing baseline and offset [DN] from metadata.json, which may be absent."""
    path = product / "metadata.json"
    if not path.exists():
        return None, 0
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        properties = data.get("properties", {})
        index, text = properties.get("system:index", product.name), properties.get("PROCESSING_BASELINE")
    except (OSError, ValueError, AttributeError) as error:
        raise _invalid(location, f"{path} cannot be read ({error})", "a JSON object", "mend or remove it") from error
    if index != product.name:
        raise _invalid(location, f"{path} is of product {index}", product.name, "mend or remove it")
    if text is None:
        return None, 0
    match = _BASELINE.match(str(text))
    if match is None:
        raise _invalid(location, f"{path} has baseline {text!r}", "one such as '03.01'", "mend or remove it")
    baseline = int(match[1]) * 100 + int(match[2])
    harmonized = "_HARMONIZED" in str(data.get("id", ""))  # Earth Engine took the offset away
    return baseline, 0 if harmonized else offset_of_baseline(baseline)


def _invalid(location: str, found: str, expected: str, remedy: str) -> SourceInvalid:
    return SourceInvalid(f"location {location}: {found}", expected=expected, remedy=remedy, location=location)
