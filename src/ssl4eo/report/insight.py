# SPDX-License-Identifier: Apache-2.0
"""RUN/insight.npz, read and checked: what `ssl4eo.insight` recorded of a pre-training run."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import SourceInvalid
from ssl4eo.report.fields import check

INSIGHT = "insight.npz"
PARTS: Mapping[str, str] = MappingProxyType(
    {
        "views": "Views as the network saw them",
        "masks": "Masks",
        "reconstruction": "Masked and reconstructed",
        "attention": "Attention of the class token",
        "neighbors": "Nearest neighbors",
        "filters": "First-layer filters",
    }
)
"""Parts of a recording and their headings, in the order of the page."""

_RECORD = {"version": "a whole number from 0", "absent": "a JSON object"}
_FACTS = {
    "method": "text, or null",
    "backbone": "text, or null",
    "step": "a whole number from 0, or null",
    "views_step": "a whole number from 0, or null",
    "title": "text, or null",
    "norm_pixels": "text, or null",
    "num_bank": "a whole number from 0, or null",
    "num_seasons": "a whole number from 0, or null",
    "synthetic": "true or false, or null",
    "same_data": "true or false, or null",
}
_NUM_AXES = {
    "masks": 2,
    "reconstruction.original": 4,
    "reconstruction.hidden": 4,
    "reconstruction.predicted": 4,
    "reconstruction.errors": 1,
    "attention.images": 4,
    "attention.maps": 4,
    "attention.own": 2,
    "attention.ids": 1,
    "attention.seasons": 1,
    "neighbors.pictures": 5,
    "neighbors.cosines": 2,
    "neighbors.ids": 2,
    "neighbors.seasons": 2,
    "filters.weights": 4,
    "filters.norms": 1,
    "filters.bands": 1,
    "filters.count": 0,
    "views.ids": 1,
    "views.seasons": 2,
}
"""Axes of each array; `views.<number>` have 5: sample, composite, y, x, color."""


@dataclass(frozen=True, eq=False)
class Insight:
    """What was recorded of one run."""

    path: Path
    arrays: Mapping[str, NDArray[Any]]
    absent: Mapping[str, str]
    """Part, or `everything` -> why it is not there."""
    facts: Mapping[str, Any]
    notes: tuple[str, ...]
    """What could not be had of the network."""
    composites: tuple[str, ...]

    def has(self, part: str) -> bool:
        """Say whether a part was recorded."""
        return any(name == part or name.startswith(f"{part}.") for name in self.arrays)

    @property
    def num_views(self) -> int:
        """Views of a sample."""
        return sum(name.removeprefix("views.").isdigit() for name in self.arrays)

    @property
    def synthetic(self) -> bool:
        """Say whether the images that it shows are synthetic."""
        return bool(self.facts.get("synthetic"))


def read_insight(path: Path) -> Insight:
    """Read a recording without pickle.

    Raises:
        SourceInvalid: not such a file, or its arrays do not fit together.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:  # NumPy would leave it open
            arrays: dict[str, NDArray[Any]] = {name: data[name] for name in data.files}
        words = json.loads(str(arrays.pop("record")))
    except (KeyError, OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise _foreign(path, str(error)) from error
    check(words, _RECORD, f"the record in {path}")
    check(words, _FACTS, f"the record in {path}")
    lists = [words.get(name, []) for name in ("notes", "composites")]
    if not all(isinstance(value, list) for value in lists):
        raise _foreign(path, "notes or composites are no lists")
    _check_arrays(arrays, path, num_composites=len(lists[1]))
    absent = {str(part): str(why) for part, why in words["absent"].items()}
    notes, composites = (tuple(map(str, values)) for values in lists)
    return Insight(path, arrays, absent, words, notes, composites)


def _foreign(path: Path, why: str) -> SourceInvalid:
    return SourceInvalid(
        f"{path} is no recording of a run ({why})",
        expected="what `ssl4eo report` records",
        remedy="remove it: it is made again",
        path=str(path),
    )


def _check_arrays(arrays: Mapping[str, NDArray[Any]], path: Path, *, num_composites: int) -> None:
    """Refuse arrays of other shapes than those that belong together."""
    for name, array in arrays.items():
        axes = 5 if name.startswith("views.") and name not in _NUM_AXES else _NUM_AXES.get(name)
        if axes is None:
            continue  # of a newer writer
        if array.ndim != axes or (axes >= 4 and not name.startswith("filters.") and 0 in array.shape):
            raise _foreign(path, f"{name} is {array.shape}")
        if axes == 5 and name.startswith("views.") and (array.shape[1] != num_composites or array.shape[-1] != 3):
            raise _foreign(path, f"{name} is {array.shape} for {num_composites} composites")
    for part, names in _WHOLE.items():
        found = [name for name in names if name in arrays]
        if found and len(found) < len(names):
            raise _foreign(path, f"{part} lacks {', '.join(sorted(set(names) - set(found)))}")
        counts = {len(arrays[name]) for name in found if arrays[name].ndim and part != "filters"}
        if len(counts) > 1:
            raise _foreign(path, f"the arrays of {part} have {sorted(counts)} rows")


_WHOLE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "views": ("views.0", "views.ids", "views.seasons"),
        **{
            part: tuple(name for name in _NUM_AXES if name.startswith(f"{part}."))
            for part in ("reconstruction", "attention", "neighbors", "filters")
        },
    }
)
"""Arrays that a part has all of, or none."""
