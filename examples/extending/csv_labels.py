# SPDX-License-Identifier: Apache-2.0
"""A task of one's own: a table of labels for locations of an archive.

The root is a folder with `archive.zarr` and `labels.csv`, a line `id,class` for each labelled location.
Each location is judged at its first date. Run it with:
ssl4eo evaluate --checkpoint RUN --task examples/extending/csv_labels.py:open_csv_labels --root FOLDER --out RUN
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from ssl4eo.archive.reader import open_archive
from ssl4eo.contract import InputContract, plan_remap
from ssl4eo.errors import DataMissing, SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks.gaps import Gaps
from ssl4eo.evaluation.tasks.task import LabelledPixels, Task, hold_out, make_task
from ssl4eo.loading.pixels import ArchivePixels

SPLITS = ("reference",)
TEST_SHARE = 0.3
"""Share of each class that is judged, chosen by a hash of the ids."""


def open_csv_labels(root: Path, *, split: str, contract: InputContract, gaps: Gaps | None = None) -> Task:
    """Join labels and pixels, and hold out what is judged.

    Args:
        root: the folder.
        split: `reference`.
        contract: what the network is fed; says which modality is read, and what it must be convertible to.
        gaps: of tasks whose split names items; here a label without a location is an error in any case.
    """
    del gaps
    if split not in SPLITS:
        raise unknown_name("split of csv_labels", split, SPLITS)
    labels = _read(root / "labels.csv")
    archive = open_archive(root / "archive.zarr")
    index = {location: i for i, location in enumerate(archive.ids)}
    absent = sorted(labels.keys() - index.keys())
    if absent:
        raise SourceInvalid(
            f"{len(absent)} labelled locations are not in the archive ({absent[0]} is the first)",
            expected="labels of locations that the archive has",
            remedy="compare the ids with `ssl4eo info --json`",
        )
    ids = tuple(sorted(labels))
    classes = tuple(sorted(set(labels.values())))
    source = ArchivePixels(root / "archive.zarr", contract.modality)
    plan_remap(source.contract, contract)  # refuses what such a network cannot be fed
    everything = LabelledPixels(
        source,
        items=np.array([index[i] for i in ids]),
        seasons=np.zeros(len(ids), np.int64),
        labels=np.array([classes.index(labels[i]) for i in ids]),
        ids=ids,
    )
    test = hold_out(ids, everything.labels, share=TEST_SHARE, salt="csv_labels")
    return make_task("csv_labels", split=split, classes=classes, everything=everything, test=test)


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise DataMissing(f"there is no {path}", expected="a table of labels", path=str(path))
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"id", "class"} <= rows[0].keys():
        raise SourceInvalid(f"{path} has no rows with id and class", expected="a header id,class", path=str(path))
    return {row["id"]: row["class"] for row in rows}
