# SPDX-License-Identifier: Apache-2.0
"""The RGB PNG subset of SSL4EO-S12 as a source: `<root>/s2c/<id>/<product>.png`, 264 x 264 px.

Red, green and blue are B04, B03 and B02 of L1C, stretched from mean - 2 std to mean + 2 std by the
subset's authors; what was brighter or darker is gone. PNG files have no place on Earth, so locations have none either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ssl4eo.collection.picture import Kind, read_picture
from ssl4eo.collection.product_folders import (
    ProductFolders,
    choose_folders,
    first_entries,
    first_locations,
    product_name,
    sentinel_time,
)
from ssl4eo.collection.published import VOID_IDS
from ssl4eo.collection.source import Provenance
from ssl4eo.form import Form
from ssl4eo.grid import BASE_RESOLUTION
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import PATCH_SIZE_M

_SIZE = PATCH_SIZE_M // BASE_RESOLUTION
_KIND = Kind(3, _SIZE, _SIZE, "uint8")
STRETCH = "trunc(clip((DN - (mean - 2 std)) / (4 std) 255, 0, 255)) of L1C B04, B03, B02, statistics published_rounded"


def is_rgb_png(root: Path) -> bool:
    """Say whether a folder, or `rgb_subset` in it, has PNG files where others have product folders."""
    places = first_locations(_locations(root))
    return any(_is_png(entry) for place in places for entry in first_entries(place))


def _locations(root: Path) -> Path:
    inner = root / "rgb_subset"
    return (inner if inner.is_dir() else root) / "s2c"


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


class RgbPng:
    """Locations of the RGB PNG subset.

    Args:
        root: the folder `rgb_subset`, or the one that holds it.
        num_seasons: products that each location must have, 4 as published; None for the most common number found.

    Raises:
        DataMissing: no such folder.
        ConfigInvalid: fewer than one season asked for.
    """

    def __init__(self, root: Path | str, *, num_seasons: int | None = None) -> None:
        self.root = Path(root)
        self.shape = (_SIZE, _SIZE)
        self.forms = (Form.native("S2RGB"),)
        folders = choose_folders(self.root, {"S2RGB": _locations(self.root)}, None)
        self._folders = ProductFolders(
            folders, is_product=_is_png, time_of=sentinel_time, num_seasons=num_seasons, void=VOID_IDS
        )

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, and how they were stretched."""
        return Provenance(
            title="RGB PNG subset of SSL4EO-S12",
            synthetic=False,
            licence="that of the source: CC-BY-4.0 for SSL4EO-S12 as published; contains Copernicus Sentinel data",
            details={"root": self.root.absolute().name, "stretch": STRETCH},
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
        """List the ids of 7 digits, ascending, without the void ones."""
        return self._folders.ids

    def read(self, location: str) -> Sample:
        """Read all seasons of one location.

        Raises:
            LocationMissing: there is no such id, or it is void.
            SourceInvalid: a season is missing, double, unreadable or of another size or type.
        """
        self._folders.require(location)
        images = tuple(
            Image("S2RGB", {BASE_RESOLUTION: read_picture(path, _KIND).pixels}, time=time, product=product_name(path))
            for time, path in self._folders.products("S2RGB", location)
        )
        return Sample(Location(location), {"S2RGB": images})
