# SPDX-License-Identifier: Apache-2.0
"""Any folder of equally sized pictures as a source: flat, or with one folder a class; GeoTIFF, PNG and JPEG.

Every picture is a location with one season, all bands on one grid; picture_reader.py tells what the bands are. Nothing
tells a time: where dates stand in the names, place_folders.py makes seasons of the pictures of a folder.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ssl4eo.collection.dates import time_in_name
from ssl4eo.collection.picture import FORMATS
from ssl4eo.collection.picture_reader import PictureReader
from ssl4eo.collection.product_folders import first_entries
from ssl4eo.collection.products import FOLDERS, is_id
from ssl4eo.collection.source import Provenance
from ssl4eo.errors import DataMissing, LocationMissing, SourceInvalid
from ssl4eo.form import Form
from ssl4eo.sample import ID_PATTERN, Location, Sample

log = logging.getLogger(__name__)

_ID = re.compile(ID_PATTERN)


def is_picture_folder(root: Path) -> bool:
    """Say whether a folder holds pictures, or folders with pictures that are not locations of another layout."""
    entries = first_entries(root)
    classes = [e for e in entries if e.is_dir() and e.name not in FOLDERS and not is_id(e.name)]
    return any(is_picture(e) for e in entries) or any(is_picture(e) for c in classes for e in first_entries(c))


def is_picture(path: Path) -> bool:
    """Say whether a name is that of a picture."""
    return path.suffix.lower() in FORMATS and not path.name.startswith(".") and path.is_file()


class PictureFolder:
    """Pictures of a folder.

    Args:
        root: the folder.
        modality: what the pictures are of; None where the files tell.
        bands: in file order, in any known spelling; None where the files tell.
        offset: that Sentinel-2 values contain, 0 or 1000 [DN]; None where the tags of every file tell.
        provenance: of a known data set; None for what the folder tells.

    Raises:
        DataMissing: no such folder, or no pictures in it.
        ConfigInvalid: the options are missing, do not fit the files or each other.
        SourceInvalid: pictures both in the folder and in folders below, or not a single one can be read.
        UnknownName: no such modality or band.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        modality: str | None = None,
        bands: Sequence[str] | None = None,
        offset: int | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        self.root = Path(root)
        self.num_seasons = 1
        self._provenance = provenance
        paths = [self.root / file for file in self._files.values()]
        self._reader = PictureReader(paths, modality=modality, bands=bands, offset=offset)
        self.shape = self._reader.shape
        _warn_of_dates(self.root, list(self._files.values()))

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, as far as anybody tells."""
        return self._provenance or Provenance(
            title=f"folder of pictures {self.root.absolute().name}",
            synthetic=False,
            licence="that of the pictures",
            details={"root": self.root.absolute().name},
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
    def _files(self) -> dict[str, str]:
        """By id the path of a picture below the root."""
        files = _list_files(self.root)
        counts = Counter(Path(file).stem for file in files)
        return {make_id(Path(file).stem, file, is_unique=counts[Path(file).stem] == 1): file for file in files}

    def ids(self) -> Sequence[str]:
        """List the ids, in the order of paths: names without suffix where these are unique and valid."""
        return tuple(self._files)

    def read(self, location: str) -> Sample:
        """Read one picture; labels are its path `file` and, where there are class folders, `class`.

        What the file says was not observed is 0 and the image is not valid; labels `nodata_<modality>` and
        `unobserved_<modality>` tell what stood there and in which share of the pixels.

        Raises:
            LocationMissing: there is no such id.
            SourceInvalid: it cannot be read, is of another size, type or number of bands, describes other bands, is
                below zero, or contradicts the offset.
        """
        if location not in self._files:
            raise LocationMissing(f"no location {location}", expected="an id out of ids()", location=location)
        file = self._files[location]
        reading = self._reader.read(self.root / file)
        lon, lat = reading.centre or (None, None)
        text = as_text(file)
        folder, _, _ = text.rpartition("/")
        labels: dict[str, int | float | str] = {"file": text, "class": folder} if folder else {"file": text}
        name = reading.image.modality
        if reading.gaps is not None:
            labels |= reading.gaps.labels(name)
        return Sample(Location(location, lon, lat), {name: (reading.image,)}, labels)


def _list_files(root: Path) -> list[str]:
    """List pictures by their paths below the root, sorted."""
    if not root.is_dir():
        raise DataMissing(f"there is no folder {root}", expected="a folder of pictures", path=str(root))
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    flat = [entry.name for entry in entries if is_picture(entry)]
    classes = [entry for entry in entries if entry.is_dir()]
    nested = [f"{c.name}/{entry.name}" for c in classes for entry in sorted(c.iterdir()) if is_picture(entry)]
    if flat and nested:
        raise SourceInvalid(
            f"{root} holds pictures ({flat[0]}) and folders with pictures ({nested[0]})",
            expected="the one or the other",
            remedy="name one of the folders",
            path=str(root),
        )
    if not flat and not nested:
        raise DataMissing(
            f"{root} holds no pictures, nor do its folders",
            expected=f"files {', '.join(FORMATS)}",
            remedy="name the folder that holds the pictures or the class folders",
            path=str(root),
        )
    return flat or nested


def make_id(name: str, path: str, *, is_unique: bool = True) -> str:
    """Make an id of a name; one that is invalid or not alone gets a part of the hash of its path below the root."""
    if is_unique and _ID.fullmatch(name):
        return name
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:110] or "picture"
    return f"{safe}-{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"


def as_text(name: str) -> str:
    """Spell a file's name as text, which columns are and names need not be."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _warn_of_dates(root: Path, files: Sequence[str]) -> None:
    """Say that seasons are lost where most folders look like places with pictures of several dates."""
    dates: dict[str, set[dt.date]] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        time = time_in_name(Path(name).stem)
        dates.setdefault(folder, set()).update([] if time is None else [time.date()])
    dates.pop("", None)
    num_dated = sum(len(found) > 1 for found in dates.values())
    if 2 * num_dated > len(dates):
        log.warning(
            "each of %d pictures becomes a location of its own with one season, though names in %d of %d folders of %s "
            "have dates: if a folder is a place, --layout places makes its dates seasons",
            len(files),
            num_dated,
            len(dates),
            root,
        )
