# SPDX-License-Identifier: Apache-2.0
"""The labels of BigEarthNet: 43 classes of CORINE, the 19 made of them, and where patches say which they have.

Version 1 has one JSON file a patch. They are read once, and the result is kept in the cache of this machine:
opening the data set again takes seconds. Version 2 has them in its table (bigearthnet_v2.py).
Source of the classes: Sumbul et al. 2019 and 2021.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ssl4eo.checkpoints.cache import cache_folder
from ssl4eo.errors import SourceInvalid, WriteFailed
from ssl4eo.evaluation.tasks.patches import Patches
from ssl4eo.files import atomic_path

log = logging.getLogger(__name__)

_AGRICULTURE = "Land principally occupied by agriculture, with significant areas of natural vegetation"

CLASSES_19 = (
    "Urban fabric",
    "Industrial or commercial units",
    "Arable land",
    "Permanent crops",
    "Pastures",
    "Complex cultivation patterns",
    _AGRICULTURE,
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland and sparsely vegetated areas",
    "Moors, heathland and sclerophyllous vegetation",
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
)
"""In the order of its authors, which all peers share."""

_MERGED: Mapping[str, tuple[str, ...]] = {
    "Urban fabric": ("Continuous urban fabric", "Discontinuous urban fabric"),
    "Arable land": ("Non-irrigated arable land", "Permanently irrigated land", "Rice fields"),
    "Permanent crops": (
        "Vineyards",
        "Fruit trees and berry plantations",
        "Olive groves",
        "Annual crops associated with permanent crops",
    ),
    "Natural grassland and sparsely vegetated areas": ("Natural grassland", "Sparsely vegetated areas"),
    "Moors, heathland and sclerophyllous vegetation": ("Moors and heathland", "Sclerophyllous vegetation"),
    "Transitional woodland, shrub": ("Transitional woodland/shrub",),
    "Inland wetlands": ("Inland marshes", "Peatbogs"),
    "Coastal wetlands": ("Salt marshes", "Salines"),
    "Inland waters": ("Water bodies", "Water courses"),
    "Marine waters": ("Coastal lagoons", "Estuaries", "Sea and ocean"),
}
"""Members of those of the 19 classes that are not one class of the same name."""

_DROPPED = (
    "Airports",
    "Bare rock",
    "Burnt areas",
    "Construction sites",
    "Dump sites",
    "Green urban areas",
    "Intertidal flats",
    "Mineral extraction sites",
    "Port areas",
    "Road and rail networks and associated land",
    "Sport and leisure facilities",
)
"""Classes of the 43 that none of the 19 stands for."""

MERGED: Mapping[str, str | None] = MappingProxyType(
    {member: name for name in CLASSES_19 for member in _MERGED.get(name, (name,))} | dict.fromkeys(_DROPPED)
)
"""Of each of the 43 classes the one of the 19, None for none."""
CLASSES_43 = tuple(sorted(MERGED))
"""In alphabetical order, as the published benchmark has them; TorchGeo and the authors count in CORINE's order."""

_THREADS = 16
"""Reading small files waits for the disk."""
_AT_ONCE = 4096
"""Files whose content is in memory."""


def merge_labels(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Make labels (N, 19) out of labels (N, 43); a patch may be left with none."""
    merged = np.zeros((len(labels), len(CLASSES_19)), np.int64)
    for column, name in enumerate(CLASSES_43):
        target = MERGED[name]
        if target is not None:
            merged[:, CLASSES_19.index(target)] |= labels[:, column]
    return merged


def encode_labels(
    names: Sequence[Sequence[str]], classes: Sequence[str], places: Sequence[object]
) -> NDArray[np.int64]:
    """Turn lists of class names into 0 and 1 (N, K).

    Args:
        names: of the classes of each item.
        classes: K names in order.
        places: what each item is called in messages.

    Raises:
        SourceInvalid: a name that is none of the classes.
    """
    index = {name: i for i, name in enumerate(classes)}
    labels = np.zeros((len(names), len(classes)), np.int64)
    for row, found in enumerate(names):
        for name in found:
            if name not in index:
                raise SourceInvalid(
                    f"{places[row]} has the label {name!r}",
                    expected=f"one of BigEarthNet's {len(classes)} classes",
                    remedy="fetch it again: labels in another spelling or scheme are not guessed",
                    path=str(places[row]),
                )
            labels[row, index[name]] = 1
    return labels


def read_labels(patches: Patches, pairs: Mapping[str, str] | None = None) -> NDArray[np.int64]:
    """Read the labels of patches of version 1: (N, 43).

    Args:
        patches: whose files to read.
        pairs: of Sentinel-1 patches the one of Sentinel-2 that each file must name as its partner.

    Raises:
        SourceInvalid: a file that is missing or no such record; a label of another scheme; another partner.
    """
    names = patches.names
    kept = _cache_file(patches)
    state = _state_of(patches)
    labels = _from_cache(kept, len(names), state)
    if labels is not None:
        return labels
    log.info("reading the labels of %d patches in %s, once: then they are in %s", len(names), patches.folder, kept)
    labels = _read(patches, names, pairs)
    _to_cache(kept, labels, state)
    return labels


def _state_of(patches: Patches) -> str:
    """Hash times and sizes of all files of labels: seconds where reading them takes minutes."""

    def look(name: str) -> str:
        try:
            found = patches.path(name, "labels_metadata.json").stat()
        except OSError:
            return "absent"
        return f"{found.st_mtime_ns} {found.st_size}"

    with ThreadPoolExecutor(_THREADS) as pool:
        return hashlib.sha256("\n".join(pool.map(look, patches.names, chunksize=_AT_ONCE)).encode()).hexdigest()


def _read(patches: Patches, names: Sequence[str], pairs: Mapping[str, str] | None) -> NDArray[np.int64]:
    labels = np.empty((len(names), len(CLASSES_43)), np.int64)
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            files = [patches.path(name, "labels_metadata.json") for name in some]
            found = list(pool.map(_read_file, files))
            if pairs is not None:
                _require_partners(files, [partner for _, partner in found], [pairs[name] for name in some])
            labels[start : start + _AT_ONCE] = encode_labels([own for own, _ in found], CLASSES_43, files)
    return labels


def _require_partners(files: Sequence[Path], found: Sequence[object], expected: Sequence[str]) -> None:
    for file, name, partner in zip(files, found, expected, strict=True):
        if name != partner:
            raise SourceInvalid(
                f"{file} names the Sentinel-2 patch {name!r}",
                expected=repr(partner),
                remedy="fetch the list of pairs, or the patch, again",
                path=str(file),
            )


def _read_file(file: Path) -> tuple[list[str], object]:
    """Give the labels of a patch and what it names as its partner, which those of Sentinel-1 have."""
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceInvalid(
            f"{file} cannot be read ({error})", expected="a JSON file", remedy="unpack it again", path=str(file)
        ) from error
    labels = record.get("labels") if isinstance(record, dict) else None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise SourceInvalid(
            f"{file} has no list of labels",
            expected="an object with `labels`, a list of names",
            remedy="unpack it again",
            path=str(file),
        )
    return labels, record.get("corresponding_s2_patch")


def _cache_file(patches: Patches) -> Path:
    """Name the file of the labels of these patches in this folder."""
    text = "\n".join((str(patches.folder.resolve()), *patches.names))
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return cache_folder().parent / "tasks" / f"bigearthnet-labels-{digest}.npz"


def _from_cache(file: Path, count: int, state: str) -> NDArray[np.int64] | None:
    """Read labels, None where there are none or the files are not as they were."""
    try:
        with file.open("rb") as stream, np.load(stream) as data:
            bits, then = data["bits"], str(data["state"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error):
        return None
    if then != state:
        log.warning("labels have changed since %s was made: reading all again", file)
        return None
    if bits.dtype != np.uint8 or bits.ndim != 2:
        return None
    labels = np.unpackbits(bits, axis=1, count=len(CLASSES_43)).astype(np.int64)
    return labels if labels.shape == (count, len(CLASSES_43)) else None


def _to_cache(file: Path, labels: NDArray[np.int64], state: str) -> None:
    """Keep labels; a cache that cannot be written costs time, not the run."""
    try:
        with atomic_path(file) as partial, partial.open("wb") as stream:
            np.savez_compressed(stream, bits=np.packbits(labels.astype(np.uint8), axis=1), state=np.array(state))
    except (OSError, WriteFailed) as error:
        log.warning("labels could not be kept in %s (%s): they are read again next time", file, error)
