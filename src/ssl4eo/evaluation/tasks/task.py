# SPDX-License-Identifier: Apache-2.0
"""What a network is judged on: labelled pixels in three parts that share no item.

A task gives `train` and `test` as its split says, and `validation` where the split has one; else that is carved out of
train here, by hash of the ids, the same for every network and whatever the order of the items. Choices
(regularization, monitoring) are made on validation; test is read once, for the score.
Knows nothing of networks, features or metrics. Four kinds: an item has one class, any number of labels, a map of
classes, or two dates and a map of what changed between them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks.gaps import Gap
from ssl4eo.loading.pixels import PixelSource

log = logging.getLogger(__name__)

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)
Kind = Literal["class", "labels", "segmentation", "change"]
"""What is to be found of an item: its class; which labels it has; the class of each pixel; whether it changed."""
DENSE: tuple[Kind, ...] = ("segmentation", "change")
UNJUDGED = 255
"""Value of a pixel of a map that counts nowhere."""
VALIDATION_SHARE = 0.1
"""Share of each class of the training part that becomes the validation part."""


class Maps(Protocol):
    """Gives the map of an item, safe to hand to worker processes."""

    def __call__(self, item: int) -> NDArray[np.uint8]:
        """Read the map of the item at a position in the source: (y, x) of class indices and UNJUDGED."""
        ...


@dataclass(frozen=True, eq=False)
class LabelledPixels:
    """Some items of a source, each at one date (of a change: from date 0 to date 1), with what is to be found."""

    source: PixelSource
    items: NDArray[np.int64]
    """(N,) positions in the source."""
    seasons: NDArray[np.int64]
    """(N,) date of each item."""
    labels: NDArray[np.int64]
    """(N,) index into the classes of the task; (N, K) 0 and 1 for labels; (N, 0) for maps."""
    ids: tuple[str, ...]
    """Names of the items that do not depend on their order."""
    maps: Maps | None = None
    """Reads the map of an item of the source, for dense tasks."""

    def __post_init__(self) -> None:
        """Check that there is one of everything for each item."""
        assert self.items.shape == self.seasons.shape == self.labels.shape[:1] == (len(self.ids),)

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    def take(self, positions: NDArray[np.int64]) -> LabelledPixels:
        """Give the items at `positions`, in that order."""
        return replace(
            self,
            items=self.items[positions],
            seasons=self.seasons[positions],
            labels=self.labels[positions],
            ids=tuple(self.ids[i] for i in positions),
        )

    def without_answers(self) -> LabelledPixels:
        """Give the same pixels without labels: what a protocol may see of the test part."""
        return replace(self, labels=np.zeros((len(self), 0), np.int64), maps=None)


@dataclass(frozen=True, eq=False)
class Task:
    """Labelled pixels under a named split."""

    name: str
    split: str
    classes: tuple[str, ...]
    everything: LabelledPixels
    positions: Mapping[Part, NDArray[np.int64]]
    """By part the positions in `everything`; `train` may have some more than once (drawn with replacement)."""
    kind: Kind = "class"
    version: str = ""
    """Of the data, where there are several."""
    notes: tuple[str, ...] = ()
    """What whoever reads its scores must know."""
    fraction: float = 1.0
    """Of the split's training items that are there."""
    gaps: tuple[Gap, ...] = ()
    """What the split names and the data lack, so that it is not the whole split."""
    shortfall: str = ""
    """How the data fall short of the published set, such as 100 of 27,000 pictures; empty: they do not."""
    carved: bool = False
    """Whether the validation part was carved out of the training part here: the split has none of its own."""

    def __post_init__(self) -> None:
        """Refuse parts that overlap and classes that a part does not have.

        Raises:
            SourceInvalid: fewer than two classes, an empty part, or a class without an item in some part.
        """
        sets = [np.unique(self.positions[part]) for part in PARTS]
        assert len(np.unique(np.concatenate(sets))) == sum(map(len, sets)), "parts overlap"
        assert (self.everything.maps is not None) == (self.kind in DENSE), "dense tasks have maps"
        if len(self.classes) < 2:
            raise SourceInvalid(f"task {self.name} has {len(self.classes)} classes", expected="2 or more")
        if self.kind == "class":
            self._require_classes()
            return
        for part in PARTS:
            if not len(self.positions[part]):
                raise SourceInvalid(
                    f"no items in the {part} part of {self.name}, split {self.split}",
                    expected="items for train, validation and test",
                    remedy="take more of the data set",
                )

    def _require_classes(self) -> None:
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
    def num_absent(self) -> int:
        """Number of items, or scenes, that the split names and that are not there."""
        return len({item for gap in self.gaps for item in gap.items})

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
    def is_whole(self) -> bool:
        """Say whether this is the published set and the whole of the split, as far as that is known."""
        return not self.shortfall and not self.gaps

    @property
    def split_sha256(self) -> str:
        """Hash of the sorted ids of the test part: equal where the same items are judged."""
        return self._hash("test")

    @property
    def train_sha256(self) -> str:
        """Hash of the sorted ids of the training and validation part: equal where the same items are learned from."""
        return self._hash("train", "validation")

    def _hash(self, *parts: Part) -> str:
        ids = sorted(self.everything.ids[i] for part in parts for i in self.positions[part])
        return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def make_task(
    name: str,
    *,
    split: str,
    classes: Sequence[str],
    everything: LabelledPixels,
    test: NDArray[np.bool_],
    validation: NDArray[np.bool_] | None = None,
    kind: Kind = "class",
) -> Task:
    """Make a task from its test items; the rest is divided into train and validation unless the split does it.

    Args:
        name: of the task.
        split: name of the split that `test` is of.
        classes: names in order of their index.
        everything: all items (N,).
        test: (N,) True for the items of the test part.
        validation: (N,) True for those of the validation part, none of them in test; None: a tenth of the rest.
        kind: what is to be found.

    Raises:
        SourceInvalid: fewer than two classes, an empty part, or a class with too few items.
    """
    carved = validation is None
    if validation is None:
        others = np.flatnonzero(~test)
        validation = np.zeros(len(everything), np.bool_)
        validation[others] = carve_validation(everything.take(others), kind)
    positions: dict[Part, NDArray[np.int64]] = {
        "train": np.flatnonzero(~test & ~validation),
        "validation": np.flatnonzero(validation),
        "test": np.flatnonzero(test),
    }
    return Task(name, split, tuple(classes), everything, positions, kind, carved=carved)


def fall_short(task: Task, found: int, expected: int, what: str) -> Task:
    """Give the task with a note, and warn, where there are fewer items than its authors published.

    Args:
        task: whose data were counted.
        found: items that there are.
        expected: items that were published.
        what: their name, such as `pictures of EuroSAT`.
    """
    if found >= expected:
        return task
    shortfall = f"{found:,} of {expected:,} {what}"
    log.warning("%s: %s: scores are not those of the whole set", task.name, shortfall)
    note = f"{shortfall}: not the score of the whole set"
    return replace(task, shortfall=shortfall, notes=(*task.notes, note))


def carve_validation(pixels: LabelledPixels, kind: Kind) -> NDArray[np.bool_]:
    """Choose the items (N,) of a training part that become the validation part: a tenth, of each class if known."""
    groups = pixels.labels if kind == "class" else np.zeros(len(pixels), np.int64)
    return hold_out(pixels.ids, groups, share=VALIDATION_SHARE, salt="validation")


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


def deal(ids: Sequence[str], labels: NDArray[np.int64], folds: int, *, salt: str) -> NDArray[np.int64]:
    """Deal the items of each class to `folds` folds in the order of their hashes: (N,) of 0 to folds - 1.

    Where a class ends, the next one goes on, so that folds differ by one item at most.
    """
    order = np.lexsort((hash_order(ids, salt=salt), labels))
    out = np.empty(len(ids), np.int64)
    out[order] = np.arange(len(ids)) % folds
    return out
