# SPDX-License-Identifier: Apache-2.0
"""EuroSAT as published: ten class folders of tiles of 64 x 64 px, RGB pictures or GeoTIFFs of 13 bands L1C.

Two tasks, `eurosat` (RGB) and `eurosat_13`, with the same three splits. `reference`: 80/20, stratified by class over
the sorted paths, seed 42, as the published benchmark of SSL4EO-S12 draws it (loading/folder.py). `torchgeo` and
`spatial` are lists of files, 60/20/20, by chance and by longitude: they are read from the copy beside the data.
Source: Helber et al. 2019; lists of TorchGeo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.eurosat import CLASSES, FILE_BANDS
from ssl4eo.collection.picture import Kind
from ssl4eo.contract import InputContract, plan_remap, stored
from ssl4eo.errors import DataMissing, SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks.gaps import Gaps, settle
from ssl4eo.evaluation.tasks.pictures import PicturePixels
from ssl4eo.evaluation.tasks.task import LabelledPixels, Part, Task, fall_short, make_task
from ssl4eo.loading.folder import FolderPixels, ImageFolder
from ssl4eo.loading.pixels import PixelSource

NAME = "eurosat"
NAME_13 = "eurosat_13"
LISTS: Mapping[str, str] = MappingProxyType({"torchgeo": "eurosat-{}.txt", "spatial": "eurosat-spatial-{}.txt"})
"""By split the names of its lists, of `train`, `val` and `test`; a line is the name of an RGB picture."""
SPLITS = ("reference", *LISTS)
NUM_PICTURES = 27_000
"""Tiles of the whole data set."""
KIND = Kind(13, 64, 64, "uint16")
"""Of every GeoTIFF."""
UNPACKED = Path("ds/images/remote_sensing/otherDatasets/sentinel_2/tif")
"""Where EuroSATallBands.zip has the class folders."""
_WORD: Mapping[Part, str] = MappingProxyType({"train": "train", "validation": "val", "test": "test"})


def open_eurosat(root: Path, *, split: str, contract: InputContract, gaps: Gaps | None = None) -> Task:
    """List the RGB pictures and split them; pixels are read when they are asked for.

    Args:
        root: the folder that holds the ten class folders.
        split: a name of SPLITS.
        contract: what the network is fed; the pictures must be convertible into it.
        gaps: takes the pictures of lists that are not there; None refuses them.

    Raises:
        DataMissing: no such folder, no pictures in class folders, or no lists of the split.
        SourceInvalid: other classes than EuroSAT's, too few pictures of one, or lists that do not fit the pictures.
        UnknownName: no such split.
        ContractMismatch: a network of other bands than RGB.
    """
    _check_split(NAME, split)
    folder = ImageFolder.scan(root)
    _check_classes(folder)
    source = FolderPixels(folder)
    plan_remap(source.contract, contract)
    return _split(NAME, folder, source, split, places=[root, root.parent], gaps=gaps)


def open_eurosat_13(root: Path, *, split: str, contract: InputContract, gaps: Gaps | None = None) -> Task:
    """List the GeoTIFFs of 13 bands and split them; files are opened when they are asked for.

    Args:
        root: the folder that holds the ten class folders, or EuroSATallBands.zip as unpacked.
        split: a name of SPLITS.
        contract: what the network is fed; L1C must be convertible into it.
        gaps: takes the tiles of lists that are not there; None refuses them.

    Raises:
        DataMissing: no such folder, no GeoTIFFs in class folders, or no lists of the split.
        SourceInvalid: other classes than EuroSAT's, too few tiles of one, or lists that do not fit the tiles.
        UnknownName: no such split.
        ContractMismatch: a network that cannot be fed from L1C.
    """
    _check_split(NAME_13, split)
    plan_remap(stored("S2L1C"), contract)
    home = root / UNPACKED if (root / UNPACKED).is_dir() else root
    folder = ImageFolder.scan(home, suffixes=(".tif", ".tiff"))
    _check_classes(folder)
    files = [path.relative_to(home).as_posix() for path in folder.paths]
    source = PicturePixels(
        home, files, title="EuroSAT, 13 bands", contract=stored("S2L1C", bands=FILE_BANDS), kind=KIND
    )
    return _split(NAME_13, folder, source, split, places=[root, home, root.parent], gaps=gaps)


def _check_split(name: str, split: str) -> None:
    if split not in SPLITS:
        raise unknown_name(f"split of {name}", split, SPLITS)


def _check_classes(folder: ImageFolder) -> None:
    if folder.classes != CLASSES:
        lacking = [name for name in CLASSES if name not in folder.classes]
        raise SourceInvalid(
            f"{folder.root} has the class folders {', '.join(folder.classes[:12])}"
            + (f", none of {', '.join(lacking)}" if 0 < len(lacking) < len(CLASSES) else ""),
            expected=f"the ten of EuroSAT: {', '.join(CLASSES)}",
            remedy="name the unpacked folder that holds them, complete",
            path=str(folder.root),
        )


def _split(
    name: str, folder: ImageFolder, source: PixelSource, split: str, *, places: Sequence[Path], gaps: Gaps | None
) -> Task:
    count = len(folder.paths)
    everything = LabelledPixels(
        source,
        items=np.arange(count),
        seasons=np.zeros(count, dtype=np.int64),
        labels=folder.labels,
        ids=tuple(path.relative_to(folder.root).as_posix() for path in folder.paths),
    )
    if split in LISTS:
        part = _listed(folder, split, places, gaps)
        kept = np.flatnonzero(part != "")
        everything, part = everything.take(kept), part[kept]
        test, validation = part == "test", part == "validation"
    else:
        test, validation = np.zeros(count, dtype=np.bool_), None
        test[folder.split(split)["test"]] = True
    task = make_task(name, split=split, classes=CLASSES, everything=everything, test=test, validation=validation)
    return fall_short(task, len(everything), NUM_PICTURES, "pictures of EuroSAT")


def _listed(folder: ImageFolder, split: str, places: Sequence[Path], gaps: Gaps | None) -> NDArray[np.str_]:
    """Give the part of each picture (N,) by the lists of a split, empty for those that no list has."""
    position = {path.stem: i for i, path in enumerate(folder.paths)}
    out = np.zeros(len(folder.paths), dtype="U10")
    for part, word in _WORD.items():
        path = _find(LISTS[split].format(word), places)
        lines = path.read_text(encoding="utf-8").split()
        stems = [Path(line).stem for line in lines]
        absent = [line for line, stem in zip(lines, stems, strict=True) if stem not in position]
        settle(gaps, absent, partial(_not_whole, folder.root, path, len(absent)))
        chosen = np.array([position[stem] for stem in stems if stem in position], dtype=np.int64)
        if len(set(stems)) != len(stems) or (out[chosen] != "").any():
            raise SourceInvalid(
                f"{path} names a picture twice, or one that another list of the split has",
                expected="each picture in one list",
                remedy="fetch the lists again: ssl4eo download eurosat --only splits",
                path=str(path),
            )
        out[chosen] = part
    return out


def _not_whole(root: Path, path: Path, count: int, first: str) -> SourceInvalid:
    return SourceInvalid(
        f"{path} names {count} pictures that {root} does not have, {first} first",
        expected="all pictures of the split",
        remedy="unpack the whole data set, or use split reference, which goes by what is there",
        path=str(path),
    )


def _find(name: str, places: Sequence[Path]) -> Path:
    for place in places:
        if (place / name).is_file():
            return place / name
    raise DataMissing(
        f"no {name} in {' or '.join(dict.fromkeys(map(str, places)))}",
        expected="the three lists of the split",
        remedy="fetch them: ssl4eo download eurosat --only splits",
        path=str(places[0]),
    )
