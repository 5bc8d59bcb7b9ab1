# SPDX-License-Identifier: Apache-2.0
"""The HDF5 files of So2Sat-LCZ42: which version a folder holds, what is checked, and patches read one by one.

Version 2 is `training.h5`, `validation.h5` and `testing.h5`; version 4 adds `<part>_geo.h5` with the place of each
patch; version 3 is `random/`, `block/` and `culture_10/`, each with `training.h5` and `testing.h5`. Every file has
`sen1` (N, 32, 32, 8), `sen2` (N, 32, 32, 10) and `label` (N, 17), all float64; anything else is refused.
Version 3 repeats names of version 2 for other patches: its culture-10 test file holds validation and test of version 2.
Source: README of zhu-xlab/So2Sat-LCZ42.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import Contract, InputContract, fuse, stored
from ssl4eo.errors import DataMissing, SourceInvalid
from ssl4eo.evaluation.tasks.task import Part
from ssl4eo.form import AnyForm, Form, fuse_forms
from ssl4eo.grid import BASE_RESOLUTION

FLAT = ("training", "validation", "testing")
"""Files of versions 2 and 4."""
FOLDERS = ("random", "block", "culture_10")
"""Of version 3."""
SIZE = 32
S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""Channels of `sen2`, all on the 10 m grid."""
S1_CHANNELS: Mapping[str, int] = MappingProxyType({"VV": 5, "VH": 4})
"""Channels of `sen1` that are intensities (refined Lee filter, linear), from 0. The others are real and imaginary parts
of the unfiltered signals (VH: 0, 1; VV: 2, 3) and of the covariance of the two (6, 7): no GRD product has them."""
FLOOR_DB = -50.0
"""What an intensity of zero is read as: far below the noise of the instrument, about -25 dB."""
NUM_CLASSES = 17
_SHAPES = {"sen1": (SIZE, SIZE, 8), "sen2": (SIZE, SIZE, 10), "label": (NUM_CLASSES,)}

ROWS: Mapping[str, int] = MappingProxyType(
    {"training": 352_366, "validation": 24_119, "testing": 24_188, "culture_10/testing": 48_307}
)
"""Patches of whole files, where they are published; the last is the sum of the two before it."""


@dataclass(frozen=True)
class Files:
    """The files of a split."""

    version: str
    parts: Mapping[Part, Path]


def find_files(root: Path, split: str) -> Files:
    """Find the files of a split and say which version they are.

    Args:
        root: folder of the data set.
        split: a folder of version 3; `published`: train, validation and test as the files of versions 2 and 4 say;
            `reference`: training.h5 judged on validation.h5.

    Raises:
        DataMissing: files are missing; the message says what there is.
        SourceInvalid: files of several versions under one name.
    """
    if split in FOLDERS:
        names = {"train": f"{split}/training.h5", "test": f"{split}/testing.h5"}
        return Files("3", _require_files(root, split, names))
    names = {"train": "training.h5", "test": "validation.h5"}
    if split == "published":
        names = {"train": "training.h5", "validation": "validation.h5", "test": "testing.h5"}
    return Files(_flat_version(root), _require_files(root, split, names))


def _require_files(root: Path, split: str, names: Mapping[Any, str]) -> Mapping[Part, Path]:
    absent = [name for name in names.values() if not (root / name).is_file()]
    if absent:
        raise DataMissing(
            f"no {' and '.join(absent)} in {root}, {_what_there_is(root)}",
            expected=f"{', '.join(names.values())} for split {split}",
            remedy=_remedy(root, split),
            path=str(root / absent[0]),
        )
    return MappingProxyType({part: root / name for part, name in names.items()})


def _what_there_is(root: Path) -> str:
    if not root.is_dir():
        return "which is no folder"
    found = sorted(path.relative_to(root).as_posix() for pattern in ("*.h5*", "*/*.h5*") for path in root.glob(pattern))
    return f"which has {', '.join(found[:8])}" if found else "which has no .h5 files"


def _remedy(root: Path, split: str) -> str:
    if any(root.glob("*.h5.gz")):
        return "unpack the files first: gunzip *.h5.gz"
    return _remedy_of_version_3(root, split) if split in FOLDERS else _remedy_of_version_2(root)


def _remedy_of_version_3(root: Path, split: str) -> str:
    if root.name == split and (root / "training.h5").is_file():
        return f"name the folder above, {root.parent}"
    if (root / "validation.h5").is_file():
        return "these are files of version 2 or 4: take split reference or published"
    return "fetch version 3: ssl4eo download so2sat-v3"


def _remedy_of_version_2(root: Path) -> str:
    held = [folder for folder in FOLDERS if (root / folder).is_dir()]
    if held:
        return f"that is version 3: take split {' or '.join(held)}"
    if root.name in FOLDERS:
        return f"that is a part of version 3: name {root.parent} and split {root.name}"
    return "fetch version 2 or 4: ssl4eo download so2sat-v4"


def _flat_version(root: Path) -> str:
    """Tell versions 2 and 4 apart by the files of places; whether these are of the same patches, too."""
    geo = [name for name in FLAT if (root / f"{name}_geo.h5").is_file()]
    if not geo:
        return "2"
    if len(geo) < len(FLAT):
        raise SourceInvalid(
            f"{root} has the places of {', '.join(geo)} only",
            expected=f"{', '.join(f'{name}_geo.h5' for name in FLAT)} for version 4, none of them for version 2",
            remedy="fetch the others, or move these away",
            path=str(root),
        )
    for name in (name for name in FLAT if (root / f"{name}.h5").is_file()):
        rows = _open_and(root / f"{name}.h5", count_rows)
        places = _open_and(root / f"{name}_geo.h5", lambda file: {len(data) for data in file.values()})
        if places != {rows}:
            raise SourceInvalid(
                f"{root / name}_geo.h5 has {', '.join(map(str, sorted(places))) or 'no'} rows, {name}.h5 has {rows}",
                expected="a place for each patch",
                remedy="fetch both files again",
                path=str(root / f"{name}_geo.h5"),
            )
    return "4"


def _open_and(path: Path, look: Any) -> Any:
    try:
        with h5py.File(path, "r") as file:
            return look(file)
    except (OSError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        if isinstance(error, SourceInvalid):
            raise
        raise SourceInvalid(
            f"{path} cannot be read ({error})",
            expected="a whole HDF5 file of So2Sat-LCZ42",
            remedy="fetch it again",
            path=str(path),
        ) from error


def count_rows(file: h5py.File) -> int:
    """Check that a file is one of So2Sat-LCZ42 and count its patches.

    Raises:
        SourceInvalid: other arrays, shapes, types, or numbers of rows.
    """
    held: dict[str, Any] = dict(file.items())
    found = {name: (getattr(data, "shape", ()), str(getattr(data, "dtype", "group"))) for name, data in held.items()}
    rows = next(iter(found.get("label", ((), ""))[0]), 0)
    expected = {name: ((rows, *shape), "float64") for name, shape in _SHAPES.items()}
    if found != expected or rows == 0:
        listed = ", ".join(f"{name} {shape} {dtype}" for name, (shape, dtype) in found.items())
        raise SourceInvalid(
            f"{file.filename} holds {listed or 'nothing'}",
            expected=", ".join(f"{name} (N, {', '.join(map(str, shape))}) float64" for name, shape in _SHAPES.items()),
            remedy="only versions 2, 3 and 4 as published are read, not what others made of them",
            path=str(file.filename),
        )
    return rows


def read_classes(path: Path) -> NDArray[np.int64]:
    """Read the class of each patch (N,), from 0.

    Raises:
        SourceInvalid: no file of So2Sat-LCZ42, or labels that are not one of 17 each.
    """

    def look(file: h5py.File) -> NDArray[np.float64]:
        count_rows(file)
        return np.asarray(file["label"], dtype=np.float64)

    label = _open_and(path, look)
    wrong = np.flatnonzero(((label != 0) & (label != 1)).any(axis=1) | (label.sum(axis=1) != 1))
    if len(wrong):
        raise SourceInvalid(
            f"{len(wrong)} labels of {path} are not a single class (row {wrong[0]} is the first)",
            expected=f"one 1 and {NUM_CLASSES - 1} zeros for each patch",
            remedy="fetch it again",
            path=str(path),
        )
    return label.argmax(axis=1)


class So2SatPixels:
    """Patches of several files, one file after the other, as a source with one season.

    Sentinel-2: reflectance x 10,000, rounded to whole DN and kept in 0 to 65,535 (so within 0.00005 of the file).
    Sentinel-1: 10 log10 of the filtered intensities. A file is opened when the first patch of it is asked for, in each
    process anew.
    """

    synthetic = False
    num_seasons = 1

    def __init__(self, files: Sequence[Path], rows: Sequence[int], modalities: Sequence[str], *, fill: str) -> None:
        """Take all patches of some files without reading pixels.

        Args:
            files: in order.
            rows: patches of each.
            modalities: S2L1C, S1GRD, or both in channel order.
            fill: what stands for B01, B09 and B10 (contract.FILL_RULES).
        """
        self.files = tuple(files)
        self._starts = np.concatenate([[0], np.cumsum(rows)])
        self._modalities = tuple(modalities)
        self.contract: InputContract = fuse([_contract(modality, fill) for modality in modalities])
        self.form: AnyForm = fuse_forms([_form(modality) for modality in modalities])
        self._open: dict[tuple[int, int], Any] = {}

    @property
    def title(self) -> str:
        """Name of the data set and of the modalities."""
        return f"So2Sat-LCZ42, {'+'.join(self._modalities)}"

    @property
    def identity(self) -> str:
        """Hash of names, sizes and numbers of patches of the files."""
        rows = np.diff(self._starts).tolist()
        text = [f"{p.name} {p.stat().st_size} {n}" for p, n in zip(self.files, rows, strict=True)]
        return hashlib.sha256("\n".join((*self._modalities, *text)).encode()).hexdigest()

    def __len__(self) -> int:
        """Count the patches."""
        return int(self._starts[-1])

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind: HDF5 handles do not go to another process."""
        return {**self.__dict__, "_open": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take everything else."""
        self.__dict__.update(state)

    def _place(self, index: int) -> tuple[int, int]:
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return number, index - int(self._starts[number])

    def id_of(self, index: int) -> str:
        """Give the file and the row of a patch, such as training/17."""
        number, row = self._place(index)
        return f"{self.files[number].stem}/{row}"

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read one patch as the 10 m group, bands of Sentinel-2 before those of Sentinel-1.

        Raises:
            SourceInvalid: values that are not finite, negative intensities, or a file that cannot be read.
        """
        del season, resolutions  # a patch has one date and one grid
        number, row = self._place(index)
        read = {"S2L1C": self._reflectance, "S1GRD": self._decibels}
        parts = [read[modality](number, row) for modality in self._modalities]
        return {BASE_RESOLUTION: np.concatenate(parts, dtype=self.form.dtype)}

    def _row(self, number: int, name: str, row: int) -> NDArray[np.float64]:
        """Read a row of an array as (channel, y, x)."""
        path, key = self.files[number], (os.getpid(), number)
        try:
            if key not in self._open:
                self._open[key] = h5py.File(path, "r")
            values = np.asarray(self._open[key][name][row], dtype=np.float64).transpose(2, 0, 1)
        except (OSError, RuntimeError, KeyError) as error:
            raise SourceInvalid(
                f"{path}: {name}, row {row} cannot be read ({error})",
                expected="a whole HDF5 file",
                remedy="fetch it again",
                path=str(path),
            ) from error
        if not np.isfinite(values).all():
            raise _strange(path, name, row, "values that are not finite")
        return values

    def _reflectance(self, number: int, row: int) -> NDArray[np.uint16]:
        values = self._row(number, "sen2", row)
        return np.rint(values * 10_000).clip(0, np.iinfo(np.uint16).max).astype(np.uint16)

    def _decibels(self, number: int, row: int) -> NDArray[np.float32]:
        intensity = self._row(number, "sen1", row)[list(S1_CHANNELS.values())]
        if (intensity < 0).any():
            raise _strange(self.files[number], "sen1", row, "negative intensities")
        return (10 * np.log10(intensity.clip(10 ** (FLOOR_DB / 10)))).astype(np.float32)


def _strange(path: Path, name: str, row: int, what: str) -> SourceInvalid:
    return SourceInvalid(
        f"{path}: {name}, row {row} has {what}",
        expected="finite reflectances, and intensities of zero and above",
        remedy="fetch it again",
        path=str(path),
    )


def _contract(modality: str, fill: str) -> Contract:
    return replace(stored(modality, bands=S2_BANDS), fill=fill) if modality == "S2L1C" else stored(modality)


def _form(modality: str) -> Form:
    return Form.gridded(modality, bands=S2_BANDS) if modality == "S2L1C" else Form.native(modality)
