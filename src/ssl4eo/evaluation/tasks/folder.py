# SPDX-License-Identifier: Apache-2.0
"""Anybody's own scene labels: a folder of class folders of pictures, GeoTIFF, PNG or JPEG.

What the values mean is told and never guessed: by a file `contract.json` beside the class folders, as
`Contract.to_json` writes it, bands in the order of the files; or, without one, by the files. Three 8-bit channels
red, green, blue are S2RGB; band descriptions count where they fit exactly one modality and, of digital numbers, tags
tell the offset (`collection/offset.py`).
Split `reference`: a fifth of each class is test, by hash of the path. Splits `fold_1` to `fold_5`: each fifth of each
class in turn, by another hash, so that five judgements cover every picture once. Split `folders`: folders `train`,
`test` and, if there is one, `val` or `validation`, each with class folders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.offset import tagged_offset
from ssl4eo.collection.picture import FORMATS, Header, Kind, look, named_bands, usual_kind
from ssl4eo.collection.picture_folder import is_picture
from ssl4eo.contract import Contract, InputContract, contract_from_json, plan_remap, stored
from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid, Ssl4eoError, unknown_name
from ssl4eo.evaluation.tasks.pictures import PicturePixels
from ssl4eo.evaluation.tasks.task import LabelledPixels, Part, Task, deal, hold_out, make_task
from ssl4eo.form import DTYPES
from ssl4eo.sensors import MODALITIES

NAME = "folder"
FOLDS = tuple(f"fold_{number}" for number in range(1, 6))
SPLITS = ("reference", "folders", *FOLDS)
SIDECAR = "contract.json"
TEST_SHARE = 0.2
"""Share of each class in the test part of split `reference`."""
_PART_FOLDERS: Mapping[str, Part] = {
    "train": "train",
    "test": "test",
    "val": "validation",
    "validation": "validation",
}
_COLORS = ("red", "green", "blue")


@dataclass(frozen=True)
class _Told:
    """What the pictures are, and who says so."""

    contract: Contract
    kind: Kind
    by: str
    by_description: bool = False


def open_folder(root: Path, *, split: str, contract: InputContract) -> Task:
    """List the pictures and split them; they are read when they are asked for.

    Args:
        root: the folder that holds the class folders, or folders train and test that do.
        split: a name of SPLITS.
        contract: what the network is fed; the pictures must be convertible into it.

    Raises:
        DataMissing: no such folder, no pictures in class folders, or no folders train and test.
        SourceInvalid: nobody tells what the values are, a wrong contract.json, or too few pictures of a class.
        UnknownName: no such split.
        ContractMismatch: a network that cannot be fed from these pictures.
    """
    if split not in SPLITS:
        raise unknown_name(f"split of {NAME}", split, SPLITS)
    if not root.is_dir():
        raise DataMissing(f"no folder {root}", expected="a folder of class folders of pictures", path=str(root))
    listed = _list_parts(root) if split == "folders" else {"": _list(root, root)}
    files = [file for group in listed.values() for file in group]
    told = _settle(root, files)
    source = _source(root, files, told)
    plan_remap(source.contract, contract)
    names = [Path(file).parent.name for file in files]
    classes = tuple(sorted(set(names)))
    labels = np.array([classes.index(name) for name in names], dtype=np.int64)
    ids = tuple(map(_spell, files))
    everything = LabelledPixels(
        source, items=np.arange(len(files)), seasons=np.zeros(len(files), np.int64), labels=labels, ids=ids
    )
    test, validation = _divide(split, listed, ids, labels)
    task = make_task(
        NAME,
        split=split,
        classes=tuple(map(_spell, classes)),
        everything=everything,
        test=test,
        validation=validation,
    )
    return replace(task, notes=(f"values are {source.contract}, told by {told.by}",))


def _divide(
    split: str, listed: Mapping[str, Sequence[str]], ids: Sequence[str], labels: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Give the test and the validation part (N,), None where that is to be carved out."""
    if split in FOLDS:
        return deal(ids, labels, len(FOLDS), salt=f"{NAME}/folds") == FOLDS.index(split), None
    if "test" not in listed:
        return hold_out(ids, labels, share=TEST_SHARE, salt=f"{NAME}/reference"), None
    part = np.repeat(list(listed), [len(files) for files in listed.values()])
    return part == "test", part == "validation" if "validation" in listed else None


def _list(root: Path, home: Path) -> list[str]:
    """List the pictures of the class folders of `home` by their paths below `root`, sorted."""
    folders = sorted(entry for entry in home.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    found = [file.relative_to(root).as_posix() for d in folders for file in sorted(d.iterdir()) if is_picture(file)]
    if not found:
        inner = [entry.name for entry in folders]
        raise DataMissing(
            f"no pictures in the folders of {home} ({', '.join(inner[:8]) or 'there are none'})",
            expected=f"<class>/<picture> with {', '.join(FORMATS)}",
            remedy="use split folders" if {"train", "test"} <= set(inner) else "name the folder of the class folders",
            path=str(home),
        )
    return found


def _list_parts(root: Path) -> dict[str, list[str]]:
    """List the pictures of each part."""
    homes = {name: part for name, part in _PART_FOLDERS.items() if (root / name).is_dir()}
    if not {"train", "test"} <= set(homes):
        raise DataMissing(
            f"{root} has no folders train and test",
            expected="train/<class>/<picture>, test/<class>/<picture> and, if wanted, val/<class>/<picture>",
            remedy="use split reference for plain class folders",
            path=str(root),
        )
    if {"val", "validation"} <= set(homes):
        raise SourceInvalid(
            f"{root} has folders val and validation", expected="one of them", remedy="remove one", path=str(root)
        )
    return {part: _list(root, root / name) for name, part in homes.items()}


def _spell(file: str) -> str:
    """Make text of a name, which need not be."""
    return os.fsencode(file).decode("utf-8", "backslashreplace")


def _source(root: Path, files: Sequence[str], told: _Told) -> PicturePixels:
    try:
        return PicturePixels(
            root,
            files,
            title=f"pictures in {root.absolute().name}",
            contract=told.contract,
            kind=told.kind,
            by_description=told.by_description,
        )
    except ConfigInvalid as error:
        raise SourceInvalid(
            f"{root} holds pictures of {told.kind}, told to be {told.contract} by {told.by} ({error})",
            expected="values of a type that this can have",
            remedy=f"mend {SIDECAR}, or convert the pictures",
            path=str(root),
        ) from error


def _settle(root: Path, files: Sequence[str]) -> _Told:
    """Find out what the pictures are, from the user or from themselves."""
    kind = usual_kind([root / file for file in files])
    if (root / SIDECAR).is_file():
        return _Told(_read_sidecar(root / SIDECAR, kind), kind, SIDECAR)
    path, header = _typical(root, files, kind)
    if kind.dtype == "uint8" and header.colors == _COLORS and not any(header.names):
        return _Told(stored("S2RGB"), kind, "three 8-bit channels red, green, blue")
    found = {name: bands for name in MODALITIES if (bands := _described(path, header, name)) is not None}
    offset = tagged_offset(header.tags)
    if len(found) == 1:
        ((name, bands),) = found.items()
        if MODALITIES[name].unit != "DN":
            return _Told(stored(name, bands=bands), kind, "band descriptions", by_description=True)
        if offset is not None:
            contract = stored(name, offset=offset, bands=bands)
            return _Told(contract, kind, "band descriptions and tags", by_description=True)
    raise _untold(root, path, header, list(found))


def _untold(root: Path, path: Path, header: Header, fitting: Sequence[str]) -> SourceInvalid:
    described = " ".join(name or "(nothing)" for name in header.names)
    lacking = "which fits " + " and ".join(fitting) if fitting else "which fits no modality"
    if len(fitting) == 1:
        lacking = f"which is {fitting[0]}, with no tag that tells the offset of its digital numbers"
    example = stored("S2L2A", bands=("B04", "B03", "B02", "B08"))
    return SourceInvalid(
        f"{path} has {header.kind}, described as {described}, {lacking}",
        expected="to be told what the values are, which is never guessed",
        remedy=f'write {root / SIDECAR}, bands in the order of the files (and "fill": "zero" or "mean" for networks '
        f"that want more bands), such as {json.dumps(example.to_json())}",
        path=str(path),
    )


def _typical(root: Path, files: Sequence[str], kind: Kind) -> tuple[Path, Header]:
    """Find the first picture of a kind."""
    for file in files:
        try:
            header = look(root / file)
        except SourceInvalid:
            continue  # it is refused when it is read
        if header.kind == kind:
            return root / file, header
    raise AssertionError("the usual kind is that of some file")


def _described(path: Path, header: Header, name: str) -> tuple[str, ...] | None:
    """Give the bands of a modality that the descriptions name, None where they or the type do not fit."""
    dtype = "uint16" if header.kind.dtype == "int16" else header.kind.dtype
    if dtype not in DTYPES[MODALITIES[name].unit]:
        return None
    try:
        return named_bands(header, name, path)
    except SourceInvalid:
        return None


def _read_sidecar(path: Path, kind: Kind) -> Contract:
    """Read what the user says of the values."""
    try:
        contract = contract_from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError, KeyError, Ssl4eoError) as error:
        raise SourceInvalid(
            f"{path} is no contract ({error})",
            expected=f"JSON such as {json.dumps(stored('S2L2A').to_json())}",
            remedy="write it with json.dumps(contract.to_json())",
            path=str(path),
        ) from error
    if not isinstance(contract, Contract) or contract.num_bands != kind.count:
        raise SourceInvalid(
            f"{path} tells {contract}",
            expected=f"one modality with a band for each of the files ({kind})",
            remedy="list the bands in the order of the files",
            path=str(path),
        )
    if contract.scaling != "none" and not contract.is_quantized:
        raise SourceInvalid(
            f"{path} tells values scaled by {contract.scaling!r}",
            expected="values as their product stores them, or a published 8-bit form",
            remedy="keep the unscaled values: networks scale what they are fed",
            path=str(path),
        )
    return contract
