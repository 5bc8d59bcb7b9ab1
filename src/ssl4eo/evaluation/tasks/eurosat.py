# SPDX-License-Identifier: Apache-2.0
"""EuroSAT as the published folder of class folders: RGB pictures of 64 x 64 px, ten classes of land use.

Split `reference`: 80/20, stratified by class over the sorted paths, seed 42, as the published benchmark
of SSL4EO-S12 draws it (loading/folder.py). The 13-band GeoTIFF form is not read here.
Source: Helber et al. 2019.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ssl4eo.collection.eurosat import CLASSES
from ssl4eo.contract import InputContract, plan_remap
from ssl4eo.errors import SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task, make_task
from ssl4eo.loading.folder import FolderPixels, ImageFolder

log = logging.getLogger(__name__)

NAME = "eurosat"
SPLITS = ("reference",)
NUM_PICTURES = 27_000
"""Pictures of the whole data set."""


def open_eurosat(root: Path, *, split: str, contract: InputContract) -> Task:
    """List the pictures and split them; pixels are read when they are asked for.

    Args:
        root: the folder that holds the ten class folders.
        split: `reference`.
        contract: what the network is fed; the pictures must be convertible into it.

    Raises:
        DataMissing: no such folder, or no pictures in class folders.
        SourceInvalid: other classes than EuroSAT's, or too few pictures of one.
        UnknownName: no such split.
        ContractMismatch: a network of other bands than RGB.
    """
    if split not in SPLITS:
        raise unknown_name(f"split of {NAME}", split, SPLITS)
    folder = ImageFolder.scan(root)
    if folder.classes != CLASSES:
        raise SourceInvalid(
            f"{root} has the class folders {', '.join(folder.classes[:12])}",
            expected=f"the ten of EuroSAT: {', '.join(CLASSES)}",
            remedy="name the unpacked folder EuroSAT_RGB itself, complete",
            path=str(root),
        )
    test = np.zeros(len(folder.paths), dtype=np.bool_)
    test[folder.split(split)["test"]] = True
    source = FolderPixels(folder)
    plan_remap(source.contract, contract)
    if len(folder.paths) != NUM_PICTURES:
        log.warning(
            "%s holds %d of EuroSAT's %d pictures: scores are not those of the whole set",
            root,
            len(folder.paths),
            NUM_PICTURES,
        )
    count = len(folder.paths)
    everything = LabelledPixels(
        source,
        items=np.arange(count),
        seasons=np.zeros(count, dtype=np.int64),
        labels=folder.labels,
        ids=tuple(path.relative_to(root).as_posix() for path in folder.paths),
    )
    return make_task(NAME, split=split, classes=CLASSES, everything=everything, test=test)
