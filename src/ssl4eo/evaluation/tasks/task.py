# SPDX-License-Identifier: Apache-2.0
"""What a network is judged on: labelled pixels in three parts that share no item.

A task gives `train` and `test` as its split says; the part `validation` is carved out of train here,
by hash of the ids, the same for every network and whatever the order of the items. Choices
(regularization, monitoring) are made on validation; test is read once, for the score.
Knows nothing of networks, features or metrics. Items have one class each; labels of another shape
(several classes an item, a mask) come as further arrays beside `labels`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import SourceInvalid, unknown_name
from ssl4eo.loading.pixels import PixelSource

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
VALIDATION_SHARE = 0.1
"""Share of each class of the training part that becomes the validation part."""


@dataclass(frozen=True, eq=False)
class LabelledPixels:
    """Some items of a source, each at one date, with the class that is to be found."""

    source: PixelSource
    items: NDArray[np.int64]
    """(N,) positions in the source."""
    seasons: NDArray[np.int64]
    """(N,) date of each item."""
    labels: NDArray[np.int64]
    """(N,) index into the classes of the task."""
    ids: tuple[str, ...]
    """Names of the items that do not depend on their order."""

    def __post_init__(self) -> None:
        """Check that there is one of everything for each item."""
        assert self.items.shape == self.seasons.shape == self.labels.shape == (len(self.ids),)

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    def take(self, positions: NDArray[np.int64]) -> LabelledPixels:
        """Give the items at `positions`, in that order."""
        return LabelledPixels(
            self.source,
            self.items[positions],
            self.seasons[positions],
            self.labels[positions],
            tuple(self.ids[i] for i in positions),
        )


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled pixels under a named split."""

    name: str
    split: str
    classes: tuple[str, ...]
    everything: LabelledPixels
    positions: Mapping[Part, NDArray[np.int64]]
    """By part the positions in `everything`."""

    def __post_init__(self) -> None:
        """Refuse parts that overlap and classes that a part does not have.

        Raises:
            SourceInvalid: fewer than two classes, or a class without an item in some part.
        """
        used = np.concatenate([self.positions[part] for part in PARTS])
        assert len(np.unique(used)) == len(used), "parts overlap"
        if len(self.classes) < 2:
            raise SourceInvalid(f"task {self.name} has {len(self.classes)} classes", expected="2 or more")
        for part in PARTS:
            counts = np.bincount(self.everything.labels[self.positions[part]], minlength=len(self.classes))
            if not counts.all():
                name = self.classes[int(np.argmin(counts))]
                total = int((self.everything.labels == self.classes.index(name)).sum())
                raise SourceInvalid(
                    f"class {name!r} of {self.name} has {total} items, none of them in the {part} part",
                    expected="enough items of every class for train, validation and test",
                    remedy="use more items, or leave the class out",
                )

    @property
    def synthetic(self) -> bool:
        """Say whether no satellite saw the pixels."""
        return self.everything.source.synthetic

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def part(self, name: Part) -> LabelledPixels:
        """Give one part.

        Raises:
            UnknownName: no such part.
        """
        if name not in self.positions:
            raise unknown_name("part", name, PARTS)
        return self.everything.take(self.positions[name])

    @property
    def split_sha256(self) -> str:
        """Hash of the sorted ids of the test part: equal where the same items are judged."""
        ids = sorted(self.everything.ids[i] for i in self.positions["test"])
        return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def make_task(
    name: str, *, split: str, classes: Sequence[str], everything: LabelledPixels, test: NDArray[np.bool_]
) -> Task:
    """Make a task from its test items; the rest is divided into train and validation.

    Args:
        name: of the task.
        split: name of the split that `test` is of.
        classes: names in order of their index.
        everything: all items (N,).
        test: (N,) True for the items of the test part.

    Raises:
        SourceInvalid: fewer than two classes, or a class with too few items.
    """
    others = np.flatnonzero(~test)
    rest = everything.take(others)
    validation = hold_out(rest.ids, rest.labels, share=VALIDATION_SHARE, salt="validation")
    positions: dict[Part, NDArray[np.int64]] = {
        "train": others[~validation],
        "validation": others[validation],
        "test": np.flatnonzero(test),
    }
    return Task(name, split, tuple(classes), everything, positions)


def hash_order(ids: Sequence[str], *, salt: str) -> NDArray[np.uint64]:
    """Give each id a number (N,) that is as good as random and never changes.

    Args:
        ids: names.
        salt: apart for independent uses.
    """
    digests = (hashlib.sha256(f"{salt}:{i}".encode()).digest() for i in ids)
    return np.array([int.from_bytes(d[:8], "big") for d in digests], dtype=np.uint64)


def hold_out(ids: Sequence[str], labels: NDArray[np.int64], *, share: float, salt: str) -> NDArray[np.bool_]:
    """Choose `share` of each class, rounded, one item at least: (N,) True for the chosen.

    The items with the smallest hash are chosen, so that the order of the items does not matter.
    """
    order = hash_order(ids, salt=salt)
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, int(share * len(members) + 0.5))
        chosen[members[np.argsort(order[members], kind="stable")[:count]]] = True
    return chosen
