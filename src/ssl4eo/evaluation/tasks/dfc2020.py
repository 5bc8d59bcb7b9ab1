# SPDX-License-Identifier: Apache-2.0
"""DFC2020: land cover of each pixel from Sentinel-2 L1C, Sentinel-1 or both, 6,114 patches of 256 x 256 px at 10 m.

Split `reference`, as is customary: the contest's validation folder (986 patches) is learned from, a tenth of it by hash
is our validation part, the contest's test folder (5,128) is the test part.
Eight of the ten classes are scored: Savanna and Snow/Ice are not judged, as in the contest, nor is 0 (no label).
Sentinel-1 can be NaN: such a pixel takes the mean of its band in the patch and is judged like others, so that networks
of either sensor are judged on the same pixels.
Source: Schmitt et al. 2020, IEEE GRSS Data Fusion Contest; layout as the contest's baseline reads it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.picture import Kind, read_picture
from ssl4eo.contract import InputContract, fuse, plan_remap, stored
from ssl4eo.errors import DataMissing, SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks.gaps import Gaps, settle
from ssl4eo.evaluation.tasks.task import UNJUDGED, LabelledPixels, Task, fall_short, make_task
from ssl4eo.form import AnyForm, Form, fuse_forms
from ssl4eo.grid import BASE_RESOLUTION
from ssl4eo.sensors import statistics

log = logging.getLogger(__name__)

NAME = "dfc2020"
SPLITS = ("reference",)
SIZE = 256
"""Height and width of a patch [px]."""

SCHEME = (
    "Forest",
    "Shrubland",
    "Savanna",
    "Grassland",
    "Wetlands",
    "Croplands",
    "Urban/Built-up",
    "Snow/Ice",
    "Barren",
    "Water",
)
"""Values 1 to 10 of the files; 0 is no label."""
UNSCORED = ("Savanna", "Snow/Ice")
CLASSES = tuple(name for name in SCHEME if name not in UNSCORED)
"""By our index: Forest 0, Shrubland 1, Grassland 2, Wetlands 3, Croplands 4, Urban/Built-up 5, Barren 6, Water 7."""
INDEX_OF_VALUE = np.array(
    [UNJUDGED, *(CLASSES.index(name) if name in CLASSES else UNJUDGED for name in SCHEME)], np.uint8
)
"""(11,) our index by value in the files."""

_READS = MappingProxyType({"S2L1C": "S2L1C", "S2L2A": "S2L1C", "S1GRD": "S1GRD"})
"""What is read for a network of a modality; L1C stands for L2A, which the steps of the conversion say."""


@dataclass(frozen=True)
class Folders:
    """Where one part of the contest lies."""

    roi: str
    suffix: str
    """Of the folders of a kind, such as s2_validation."""
    count: int
    """Patches of the whole data set."""

    def file(self, root: Path, kind: str, patch: str) -> Path:
        """Give the file of a kind: s1, s2 or dfc."""
        return root / self.roi / f"{kind}_{self.suffix}" / f"{self.roi}_{kind}_{patch}.tif"


PARTS: Mapping[str, Folders] = MappingProxyType(
    {
        "validation": Folders("ROIs0000_validation", "validation", 986),
        "test": Folders("ROIs0000_test", "0", 5128),
    }
)
"""By the contest's name of a part."""


class Dfc2020Pixels:
    """Patches as a source of one date, and their maps."""

    synthetic = False
    num_seasons = 1
    title = "DFC2020"

    def __init__(self, root: Path, patches: Sequence[tuple[str, str]], modalities: Sequence[str]) -> None:
        """Take patches; nothing is read.

        Args:
            root: folder of the parts.
            patches: part of the contest and number of each patch, such as ("test", "0_p12").
            modalities: what to read, S2L1C or S1GRD or both, in channel order.
        """
        self.root = root
        self.patches = tuple(patches)
        self._modalities = tuple(modalities)
        self.contract: InputContract = fuse([stored(name) for name in modalities])
        self.form: AnyForm = fuse_forms([Form.gridded(name) for name in modalities])

    @property
    def identity(self) -> str:
        """Hash of modalities, patches and sizes of their files."""
        kinds = [_KINDS[name] for name in self._modalities]
        sizes = [[self._file(i, kind).stat().st_size for kind in (*kinds, "dfc")] for i in range(len(self))]
        text = "\n".join(f"{self.id_of(i)} {' '.join(map(str, row))}" for i, row in enumerate(sizes))
        return hashlib.sha256(f"{'+'.join(self._modalities)}\n{text}".encode()).hexdigest()

    def __len__(self) -> int:
        """Count the patches."""
        return len(self.patches)

    def id_of(self, index: int) -> str:
        """Give part and number of a patch, such as test/0_p12."""
        return "/".join(self.patches[index])

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read a patch: (band, 256, 256) on the 10 m grid, DN and dB part after part.

        Raises:
            SourceInvalid: a file is missing, unreadable, or of another shape or type.
        """
        del season, resolutions  # a patch has one date and one grid
        reads = [_READERS[name](self._file(index, _KINDS[name])) for name in self._modalities]
        return {BASE_RESOLUTION: np.concatenate(reads, dtype=self.form.dtype)}

    def map(self, item: int) -> NDArray[np.uint8]:
        """Read the map of a patch (256, 256): index into CLASSES, UNJUDGED where nothing is scored.

        Raises:
            SourceInvalid: the file is missing, unreadable, of another shape, or has a value outside the scheme.
        """
        path = self._file(item, "dfc")
        values = read_picture(path, Kind(1, SIZE, SIZE, "uint8"), dtypes=("uint16",)).pixels[0]
        if values.max() >= len(INDEX_OF_VALUE):
            raise SourceInvalid(
                f"{path} has the label {values.max()}",
                expected=f"0 (none) to {len(SCHEME)} ({SCHEME[-1]})",
                remedy="give the folders dfc_*, not the weak labels lc_*; fetch it again",
                path=str(path),
            )
        return INDEX_OF_VALUE[values]

    def _file(self, index: int, kind: str) -> Path:
        part, patch = self.patches[index]
        return PARTS[part].file(self.root, kind, patch)


def _read_optical(path: Path) -> NDArray[np.generic]:
    """Read 13 bands; the order of the files is the canonical one."""
    return read_picture(path, Kind(13, SIZE, SIZE, "uint16")).pixels


def _read_radar(path: Path) -> NDArray[np.generic]:
    """Read VV and VH in dB as float32; what is not finite takes the mean of its band."""
    pixels = read_picture(path, Kind(2, SIZE, SIZE, "float32"), dtypes=("float64",)).pixels.astype(np.float32)
    lost = ~np.isfinite(pixels)
    if lost.any():
        log.info("%s: %d values are not finite, they take the mean of their band", path, int(lost.sum()))
        for plane, gone, usual in zip(pixels, lost, statistics("S1GRD", "published_50k").mean.values(), strict=True):
            plane[gone] = usual if gone.all() else plane[~gone].mean(dtype=np.float64)
    return pixels


_KINDS = {"S2L1C": "s2", "S1GRD": "s1"}
_READERS = {"S2L1C": _read_optical, "S1GRD": _read_radar}


def open_dfc2020(root: Path, *, split: str, contract: InputContract, gaps: Gaps | None = None) -> Task:
    """List the patches; files are opened when they are asked for.

    Args:
        root: the folder that holds ROIs0000_validation and ROIs0000_test.
        split: `reference`.
        contract: what the network is fed; decides which sensors are read.
        gaps: takes the patches that lack a file; None refuses them.

    Raises:
        DataMissing: a folder is not there or empty.
        SourceInvalid: a patch lacks one of its files.
        UnknownName: no such split.
        ContractMismatch: a network that cannot be fed from L1C and Sentinel-1.
    """
    if split not in SPLITS:
        raise unknown_name(f"split of {NAME}", split, SPLITS)
    modalities = _modalities(contract)
    kinds = [_KINDS[name] for name in modalities]
    patches = [(part, patch) for part in PARTS for patch in _list(root, PARTS[part], kinds, gaps)]
    source = Dfc2020Pixels(root, patches, modalities)
    is_test = np.array([part == "test" for part, _ in patches])
    count = len(patches)
    everything = LabelledPixels(
        source,
        items=np.arange(count),
        seasons=np.zeros(count, np.int64),
        labels=np.zeros((count, 0), np.int64),
        ids=tuple(map(source.id_of, range(count))),
        maps=source.map,
    )
    task = make_task(NAME, split=split, classes=CLASSES, everything=everything, test=is_test, kind="segmentation")
    task = replace(task, notes=_notes(modalities))
    return fall_short(task, count, sum(folders.count for folders in PARTS.values()), "patches of the contest")


def _modalities(contract: InputContract) -> list[str]:
    """Choose what to read, in the order of the network's parts."""
    known = [_READS[part.modality] for part in contract.parts if part.modality in _READS]
    wanted = list(dict.fromkeys(known)) or ["S2L1C"]
    plan_remap(fuse([stored(name) for name in wanted]), contract)
    return wanted


def _list(root: Path, folders: Folders, kinds: Sequence[str], gaps: Gaps | None) -> list[str]:
    """List the numbers of the patches of a part that have labels, sorted; each must have the other files."""
    labels, *others = ({*_patches(root, folders, kind)} for kind in ("dfc", *kinds))
    for kind, found in zip(kinds, others, strict=True):
        lacking = sorted(labels ^ found, key=_numeric)
        lost = kind if lacking and lacking[0] in labels else "dfc"
        settle(gaps, lacking, partial(_lacks_file, root, folders, kind=kind, lost=lost, count=len(lacking)))
    return sorted(labels.intersection(*others), key=_numeric)


def _lacks_file(root: Path, folders: Folders, patch: str, *, kind: str, lost: str, count: int) -> SourceInvalid:
    return SourceInvalid(
        f"{count} patches of {root / folders.roi} lack a file of {kind} or dfc",
        expected=f"{folders.file(root, lost, patch)}",
        remedy="unpack the data set again, both sensors and labels",
        path=str(root / folders.roi),
    )


def _patches(root: Path, folders: Folders, kind: str) -> list[str]:
    """List the numbers of the patches that have a file of a kind."""
    example = folders.file(root, kind, "")
    prefix = example.name.removesuffix(".tif")
    found = [p.name[len(prefix) : -len(".tif")] for p in example.parent.glob(f"{prefix}*.tif")]
    if not found:
        raise DataMissing(
            f"no {prefix}*.tif in {example.parent}",
            expected=f"{' and '.join(f.roi for f in PARTS.values())} with folders s1_*, s2_* and dfc_*",
            remedy="name the folder that holds both, and unpack images and labels there",
            path=str(example.parent),
        )
    return found


def _numeric(patch: str) -> tuple[int | str, ...]:
    """Sort 0_p9 before 0_p10; names of another kind by their text."""
    pieces = patch.replace("_p", "_").split("_")
    return (0, *map(int, pieces)) if all(p.isdecimal() for p in pieces) else (1, patch)


def _notes(modalities: Sequence[str]) -> tuple[str, ...]:
    radar = (
        ("NaN of Sentinel-1 takes the mean of its band in the patch and is judged",) if "S1GRD" in modalities else ()
    )
    return (
        "learned from the contest's validation folder, a tenth of it held out; judged on the contest's test folder",
        f"{' and '.join(UNSCORED)} are not judged: {len(CLASSES)} classes",
        *radar,
    )
