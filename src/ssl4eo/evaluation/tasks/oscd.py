# SPDX-License-Identifier: Apache-2.0
"""OSCD: what changed between two dates of a city, Sentinel-2 L1C, 24 cities.

An item is a tile of 96 x 96 px with two dates. Tiles do not overlap; what is left right and below after the last whole
tile is not used. Splits: `reference`, the official 14 cities for training and 10 for test; `as_published`, the same
without a last tile that fits exactly, which the published benchmark of SSL4EO-S12 drops by a strict
inequality; `cities`, which needs no official test city: 3 of the training cities are the test. Validation is always two
whole cities of training, so no tile has a neighbor there.
All 13 bands are read; a network of 12 bands, or of B04 B03 B02 of L1C, is fed by its contract.
Source: Caye Daudt et al. 2018.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import Contract, InputContract, plan_remap, stored
from ssl4eo.errors import DataMissing, unknown_name
from ssl4eo.evaluation.tasks.gaps import Gaps, settle
from ssl4eo.evaluation.tasks.oscd_scenes import FOLDERS, LayoutForm, Scene, find_scene, inputs
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task, make_task
from ssl4eo.form import Form
from ssl4eo.grid import BASE_RESOLUTION

NAME = "oscd"
CLASSES = ("no change", "change")
TILE = 96
"""Width and height of an item [px]."""

_OFFICIAL = {
    "train": "aguasclaras bercy bordeaux nantes paris rennes saclay_e abudhabi cupertino pisa beihai hongkong beirut "
    "mumbai",
    "test": "brasilia montpellier norcia rio saclay_w valencia dubai lasvegas milano chongqing",
}
TRAIN_CITIES, TEST_CITIES = (tuple(names.split()) for names in _OFFICIAL.values())
"""Source: train.txt and test.txt of the data set."""
VALIDATION_CITIES = ("rennes", "mumbai")
"""Ours, of the training cities; the official split has none."""


@dataclass(frozen=True)
class Split:
    """Which cities are learned from, which are judged, and how they are cut."""

    train: tuple[str, ...]
    """With the validation cities."""
    test: tuple[str, ...]
    drops_exact_last: bool = False
    """Whether a last tile that ends with the scene is left out, as published."""


_HELD_OUT = ("nantes", "cupertino", "beihai")
SPLITS: Mapping[str, Split] = MappingProxyType(
    {
        "reference": Split(TRAIN_CITIES, TEST_CITIES),
        "as_published": Split(TRAIN_CITIES, TEST_CITIES, drops_exact_last=True),
        # Beirut is left out, so that copies with and without it give the same scores.
        "cities": Split(tuple(c for c in TRAIN_CITIES if c not in (*_HELD_OUT, "beirut")), _HELD_OUT),
    }
)


@dataclass(frozen=True)
class Tile:
    """A square of a scene."""

    scene: int
    row: int
    """First row [px]."""
    column: int
    """First column [px]."""

    @property
    def window(self) -> tuple[slice, slice]:
        """Give its rows and columns."""
        return slice(self.row, self.row + TILE), slice(self.column, self.column + TILE)


class OscdPixels:
    """Tiles of scenes as a source of two dates, and their change maps."""

    synthetic = False
    num_seasons = 2

    def __init__(self, scenes: Sequence[Scene], *, drops_exact_last: bool = False) -> None:
        """Cut the scenes; nothing is read yet."""
        self.scenes = tuple(scenes)
        self.tiles = tuple(
            Tile(number, row, column)
            for number, scene in enumerate(self.scenes)
            for row, column in itertools.product(
                *(starts(size, drops_exact_last=drops_exact_last) for size in scene.shape)
            )
        )
        self.contract: Contract = stored("S2L1C")
        """The scenes are of 2015 to 2018, older than the +1000 DN."""
        self.form = Form.gridded("S2L1C")

    @property
    def title(self) -> str:
        """Name of the data set."""
        return "OSCD"

    @property
    def identity(self) -> str:
        """Hash of the tiles, and of names and sizes of the files."""
        rows = [f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in inputs(self.scenes)]
        return hashlib.sha256("\n".join([*rows, *map(self.id_of, range(len(self)))]).encode()).hexdigest()

    def __len__(self) -> int:
        """Count the tiles."""
        return len(self.tiles)

    def id_of(self, index: int) -> str:
        """Give city, first row and first column of a tile."""
        tile = self.tiles[index]
        return f"{self.scenes[tile.scene].city}/{tile.row:04d}_{tile.column:04d}"

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read a tile at date 0 or 1: (13, 96, 96) DN on the 10 m grid.

        Raises:
            DataMissing, SourceInvalid: a file is missing, unreadable, or does not fit the others.
        """
        del resolutions  # there is one grid
        tile = self.tiles[index]
        return {BASE_RESOLUTION: self.scenes[tile.scene].window(season, *tile.window)}

    def map(self, item: int) -> NDArray[np.uint8]:
        """Read the map of a tile (96, 96): 1 changed, 0 not, UNJUDGED where a date shows nothing."""
        tile = self.tiles[item]
        return self.scenes[tile.scene].changes(*tile.window)


def starts(size: int, *, drops_exact_last: bool = False) -> range:
    """Give the first pixels of the tiles along an axis of `size` px.

    >>> list(starts(288)), list(starts(288, drops_exact_last=True))
    ([0, 96, 192], [0, 96])
    """
    return range(0, size - TILE + (0 if drops_exact_last else 1), TILE)


def open_oscd(root: Path, *, split: str, contract: InputContract, gaps: Gaps | None = None) -> Task:
    """Find the cities of a split and cut them; pixels are read when they are asked for.

    Args:
        root: a folder with a folder for each city, images and labels together or in two folders, as unpacked.
        split: a name of SPLITS.
        contract: what the network is fed; L1C must be convertible into it.
        gaps: takes the cities that are not there; None refuses them.

    Raises:
        DataMissing: a city of the split is not there, or not as a whole.
        SourceInvalid: files that cannot be read or do not fit each other.
        UnknownName: no such split.
        ContractMismatch: a network that cannot be fed from L1C.
    """
    if split not in SPLITS:
        raise unknown_name(f"split of {NAME}", split, SPLITS)
    chosen = SPLITS[split]
    plan_remap(stored("S2L1C"), contract)
    form, scenes = _find(root, (*chosen.train, *chosen.test), gaps)
    source = OscdPixels(scenes, drops_exact_last=chosen.drops_exact_last)
    count = len(source)
    everything = LabelledPixels(
        source,
        items=np.arange(count),
        seasons=np.zeros(count, np.int64),
        labels=np.zeros((count, 0), np.int64),
        ids=tuple(map(source.id_of, range(count))),
        maps=source.map,
    )
    cities = np.array([scenes[tile.scene].city for tile in source.tiles])
    task = make_task(
        NAME,
        split=split,
        classes=CLASSES,
        everything=everything,
        test=np.isin(cities, chosen.test),
        validation=np.isin(cities, VALIDATION_CITIES),
        kind="change",
    )
    return replace(task, version=form, notes=_notes(chosen, form))


def _notes(chosen: Split, form: LayoutForm) -> tuple[str, ...]:
    ends = ", nor a last tile that fits exactly (as published)" if chosen.drops_exact_last else ""
    how = "resampled bilinearly to B04 of date 1" if form == "raw" else "read as resampled by its publisher (rect)"
    own = () if set(chosen.test) == set(TEST_CITIES) else (f"not the official test cities: {', '.join(chosen.test)}",)
    return (
        *own,
        f"tiles of {TILE} px; what is left right and below is not judged{ends}",
        f"validation: {', '.join(VALIDATION_CITIES)}, of the training cities",
        f"all bands {how}",
    )


def _find(root: Path, cities: Sequence[str], gaps: Gaps | None) -> tuple[LayoutForm, list[Scene]]:
    """Find all cities in the one or the other form."""
    if not root.is_dir():
        raise DataMissing(f"no folder {root}", expected="the unpacked OSCD", path=str(root))
    homes = [root, *sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))]
    forms: dict[LayoutForm, dict[str, Path]] = {
        form: {c: home / c for c in cities for home in homes if (home / c / dates[0]).is_dir()}
        for form, dates in FOLDERS.items()
    }
    form = max(forms, key=lambda name: len(forms[name]))  # the first of equals
    images, labels = forms[form], {c: home / c / "cm" for c in cities for home in homes if (home / c / "cm").is_dir()}
    missing = [city for city in cities if city not in images or city not in labels]
    scenes: dict[str, Scene] = {}
    for city in cities:
        try:
            if city not in missing:
                scenes[city] = find_scene(city, images=images[city], label=labels[city], form=form)
        except DataMissing:
            if gaps is None:
                raise
            missing.append(city)
    settle(
        None if len(missing) == len(cities) else gaps,
        missing,
        lambda _: DataMissing(
            f"{root} lacks {', '.join(missing)} of OSCD's {len(cities)} cities",
            expected=f"<city>/{FOLDERS[form][0]}, <city>/{FOLDERS[form][1]} and <city>/cm, "
            "in the folder or in folders such as images and labels",
            remedy="unpack images, train labels and test labels there; split `cities` needs no official test city",
            path=str(root),
        ),
    )
    return form, list(scenes.values())
