# SPDX-License-Identifier: Apache-2.0
"""BigEarthNet v1.0: which of 19 or 43 land covers a patch of 1.2 km has, from Sentinel-2 L2A, Sentinel-1 or both.

590,326 patches of 125 tiles over ten countries of Europe, 2017 and 2018: `BigEarthNet-v1.0/<patch>/<patch>_<band>.tif`
(DN without offset, 120, 60 and 20 px) and `BigEarthNet-S1-v1.0/<patch>/<patch>_{VV,VH}.tif` (dB, 120 px), each with
`<patch>_labels_metadata.json`. Patches with seasonal snow, cloud or shadow are dropped from every split.

Splits: `reference` is SeCo's training list judged on its validation list, as the published benchmark of SSL4EO-S12
does; `seco` has SeCo's three lists; `official` those of the authors. An item is known by its Sentinel-2 name under
all sensors, so that equal hashes of splits mean the same places.
Source: Sumbul et al. 2019 and 2021; Manas et al. 2021 (SeCo).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ssl4eo.contract import InputContract, plan_remap
from ssl4eo.errors import DataMissing, unknown_name
from ssl4eo.evaluation.tasks.bigearthnet_labels import CLASSES_19, CLASSES_43, merge_labels, read_labels
from ssl4eo.evaluation.tasks.bigearthnet_lists import SPLIT_NAMES, list_pairs, list_patches
from ssl4eo.evaluation.tasks.gaps import Gaps, settle
from ssl4eo.evaluation.tasks.patches import Patches, PatchPixels, names_in
from ssl4eo.evaluation.tasks.task import LabelledPixels, Part, Task, fall_short, make_task

VERSION = "1.0"
SPLITS = SPLIT_NAMES
SIZE = 120
"""Of a patch at 10 m [px]."""
OFFICIAL_PATCHES = 519_284
"""Of the three official lists."""
FEWEST_PATCHES: Mapping[str, int] = MappingProxyType({"reference": 400_000, "seco": 500_000})
"""Fewer are not SeCo's lists, whose lengths are known roughly only: about 311,700, 103,900 and as many again."""

SENSORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"s2": ("S2L2A",), "s1": ("S1GRD",), "s1s2": ("S2L2A", "S1GRD")}
)
"""Modalities by the name that tasks have for them, in channel order."""


@dataclass(frozen=True)
class _Layout:
    """Where patches of a modality lie, as published."""

    folders: tuple[str, ...]
    """Names that the archive unpacks to, or is called."""
    patch: re.Pattern[str]
    """Name of a patch."""


_LAYOUTS: Mapping[str, _Layout] = {
    "S2L2A": _Layout(("BigEarthNet-v1.0", "BigEarthNet-S2-v1.0"), re.compile(r"S2[AB]_MSIL2A_\d{8}T\d+_\d+_\d+")),
    "S1GRD": _Layout(("BigEarthNet-S1-v1.0",), re.compile(r"S1[AB]_IW_GRDH_1SDV_\d{8}T\d+_\w{5}_\d+_\d+")),
}


def open_bigearthnet_v1(
    root: Path,
    *,
    split: str,
    contract: InputContract,
    gaps: Gaps | None = None,
    sensors: str = "s2",
    num_labels: int = 19,
) -> Task:
    """List the patches of a split and read their labels; the first time that takes minutes, then seconds.

    Args:
        root: the folder that holds the published folders, or one of these; lists of one's own lie in it.
        split: one of SPLITS.
        contract: what the network is fed; the patches must be convertible into it.
        gaps: takes the patches of the split that are not there; None refuses them.
        sensors: s2, s1 or s1s2.
        num_labels: 19, or 43 in alphabetical order.

    Raises:
        DataMissing: no such folder, no list of the split, or patches of the split that are not there.
        SourceInvalid: lists that contradict themselves; labels that are missing or of another scheme.
        UnknownName: no such split.
        ContractMismatch: the bands cannot be fed to such a network.
    """
    name = f"bigearthnet_v1_{sensors}" + ("" if num_labels == len(CLASSES_19) else f"_{num_labels}")
    if split not in SPLITS:
        raise unknown_name(f"split of {name}", split, SPLITS)
    folders = {modality: _find_folder(root, modality) for modality in SENSORS[sensors]}
    places = list(dict.fromkeys((root, *(folder.parent for folder in folders.values()))))
    parts, dropped = list_patches(split, places)
    names = [patch for listed in parts.values() for patch in listed]
    pairs = list_pairs(names, places) if "S1GRD" in folders else {}
    lacking = set[str]().union(
        *(_lacking(modality, folder, names, pairs, gaps) for modality, folder in folders.items())
    )
    for part, listed in parts.items() if lacking else ():
        parts[part] = [patch for patch in listed if patch not in lacking]
    names = [patch for listed in parts.values() for patch in listed]
    held = [Patches(modality, folder, _own(modality, names, pairs)) for modality, folder in folders.items()]
    source = PatchPixels(f"BigEarthNet v{VERSION}, {sensors}", held, size=SIZE)
    plan_remap(source.contract, contract)
    labels = read_labels(held[0], {ours: other for other, ours in pairs.items()} if sensors == "s1" else None)
    everything = LabelledPixels(
        source,
        items=np.arange(len(names)),
        seasons=np.zeros(len(names), np.int64),
        labels=labels if num_labels == len(CLASSES_43) else merge_labels(labels),
        ids=tuple(names),
    )
    member = _members(parts)
    task = make_task(
        name,
        split=split,
        classes=CLASSES_43 if num_labels == len(CLASSES_43) else CLASSES_19,
        everything=everything,
        test=member["test"],
        validation=member.get("validation"),
        kind="labels",
    )
    task = replace(task, version=VERSION, notes=(dropped,))
    expected = OFFICIAL_PATCHES if split == "official" else FEWEST_PATCHES[split]
    return fall_short(task, len(names), expected, f"patches of split {split}")


def _members(parts: Mapping[Part, Sequence[str]]) -> dict[Part, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Give for each part which of all items, in the order of the parts, are in it."""
    which = np.repeat(np.arange(len(parts)), [len(listed) for listed in parts.values()])
    return {part: which == number for number, part in enumerate(parts)}


def _find_folder(root: Path, modality: str) -> Path:
    """Find the folder of the patches of a modality: one of the published names below `root`, or `root` itself."""
    layout = _LAYOUTS[modality]
    for folder in layout.folders:
        if (root / folder).is_dir():
            return root / folder
    if root.is_dir() and any(map(layout.patch.fullmatch, names_in(root))):
        return root
    inner = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    found = [path for path in inner if any(map(layout.patch.fullmatch, names_in(path)))]
    if len(found) == 1:
        return found[0]
    raise DataMissing(
        f"no patches of {modality} in {root}",
        expected=f"a folder {' or '.join(layout.folders)}, or patches such as "
        + {"S2L2A": "S2A_MSIL2A_20170613T101031_87_48", "S1GRD": "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"}[
            modality
        ],
        remedy="unpack BigEarthNet-S2-v1.0.tar.gz or BigEarthNet-S1-v1.0.tar.gz there: ssl4eo download bigearthnet-v1",
        path=str(root),
    )


def _own(modality: str, names: Sequence[str], pairs: Mapping[str, str]) -> tuple[str, ...]:
    """Give the names of a modality's patches."""
    return tuple(names) if modality == "S2L2A" else tuple(pairs[name] for name in names)


def _lacking(
    modality: str, folder: Path, names: Sequence[str], pairs: Mapping[str, str], gaps: Gaps | None
) -> set[str]:
    """Give the Sentinel-2 names of patches that are not there, if they may be left out; no file is opened.

    What may be left out is looked into: a patch without one of its files is absent, too.
    """
    own = _own(modality, names, pairs)
    if gaps is None:
        there = names_in(folder)
        lacking = {patch for patch in own if patch not in there}
    else:
        lacking = Patches(modality, folder, own).incomplete(labels=True)
    absent = {name: patch for name, patch in zip(names, own, strict=True) if patch in lacking}
    settle(
        gaps,
        tuple(absent),
        lambda first: DataMissing(
            f"{len(absent)} of the split's {len(own)} patches are not "
            + ("" if gaps is None else "complete ")
            + f"in {folder} ({absent[first]} is the first)",
            expected="all of them",
            remedy="unpack the whole archive there, or lay lists of the patches that there are beside it",
            path=str(folder),
        ),
    )
    return set(absent)
