# SPDX-License-Identifier: Apache-2.0
"""Maps of the synthetic planet: its land cover, and land cover that was changed on purpose.

Both read an archive of the synthetic planet, whose mask `landcover` is true by construction, and split its locations as
the scene task does: the test locations are the same.
`synthetic_segmentation`: seven classes of land cover at one date a location.
`synthetic_change`: two dates in a row; into the second a patch of another location of the same part is pasted,
bands, modalities and grids alike, for four locations of five. Changed is what has another land cover than before. Where
a pasted pixel has the same land cover nobody could say, so it is not judged; the seasons go on everywhere, and are no
change. All of it follows from the ids, so every network is judged on the same pixels. No satellite saw any of this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive
from ssl4eo.collection.synthetic import LANDCOVER
from ssl4eo.contract import InputContract
from ssl4eo.errors import SourceInvalid, unknown_name
from ssl4eo.evaluation.tasks.synthetic import SPLITS, Places
from ssl4eo.evaluation.tasks.task import (
    UNJUDGED,
    VALIDATION_SHARE,
    LabelledPixels,
    Task,
    hash_order,
    hold_out,
    make_task,
)
from ssl4eo.form import AnyForm
from ssl4eo.loading.pixels import ArchivePixels

SEGMENTATION = "synthetic_segmentation"
CHANGE = "synthetic_change"
MASK = "landcover"
CLASSES = tuple(LANDCOVER.values())
CHANGE_CLASSES = ("no change", "change")

CELL = 6
"""Pasted patches are made of squares of this [finest px]: whole pixels of every band up to 60 m."""
_PASTED_SHARE = 0.8
"""Share of the locations that something is pasted into."""
_MOST_BLOBS = 3
_RADIUS = (0.08, 0.22)
"""Half axes of a pasted ellipse, in widths of the patch."""


@dataclass(frozen=True, eq=False)
class CoverMaps:
    """Land cover of the locations of an archive."""

    archive: Archive

    def __call__(self, item: int) -> NDArray[np.uint8]:
        """Read the map of a location (y, x): index into CLASSES.

        Raises:
            SourceInvalid: a value that is no land cover.
        """
        cover = self.archive.mask(MASK, location=item)
        if cover.max() >= len(CLASSES):
            raise SourceInvalid(
                f"location {self.archive.ids[item]} of {self.archive.path} has land cover {cover.max()}",
                expected=f"0 to {len(CLASSES) - 1} ({', '.join(CLASSES)})",
                path=str(self.archive.path),
            )
        return cover


def open_synthetic_segmentation(root: Path, *, split: str, contract: InputContract) -> Task:
    """Open an archive of the synthetic planet for its land cover.

    Args:
        root: the archive.
        split: `reference`.
        contract: what the network is fed; decides the modality that is read.

    Raises:
        DataMissing, ArchiveInvalid: no readable archive at `root`.
        SourceInvalid: it is not of the synthetic planet or has too few locations.
        UnknownName: no such split.
        ContractMismatch: the archive does not have the network's modality.
    """
    places, test, validation = _open(SEGMENTATION, root, split, contract)
    everything = replace(places.everything, labels=_no_labels(places), maps=CoverMaps(places.archive))
    task = make_task(
        SEGMENTATION,
        split=split,
        classes=CLASSES,
        everything=everything,
        test=test,
        validation=validation,
        kind="segmentation",
    )
    return replace(task, notes=("land cover of a synthetic planet: no satellite saw it",))


def open_synthetic_change(root: Path, *, split: str, contract: InputContract) -> Task:
    """Open an archive of the synthetic planet for changes that are pasted into its second dates.

    Args:
        root: the archive, of two or more seasons.
        split: `reference`.
        contract: what the network is fed; decides the modality that is read.

    Raises:
        DataMissing, ArchiveInvalid: no readable archive at `root`.
        SourceInvalid: it is not of the synthetic planet, has too few locations, one season, or odd sizes.
        UnknownName: no such split.
        ContractMismatch: the archive does not have the network's modality.
    """
    places, test, validation = _open(CHANGE, root, split, contract)
    _require_pasteable(places.archive)
    part = np.where(test, 2, np.where(validation, 1, 0))
    donors = choose_donors(places.everything.ids, part, places.everything.labels)
    source = PastedPixels(places.source, first=places.everything.seasons, donors=donors)
    count = len(source)
    everything = LabelledPixels(
        source,
        items=np.arange(count),
        seasons=np.zeros(count, np.int64),
        labels=_no_labels(places),
        ids=places.everything.ids,
        maps=source.map,
    )
    task = make_task(
        CHANGE,
        split=split,
        classes=CHANGE_CLASSES,
        everything=everything,
        test=test,
        validation=validation,
        kind="change",
    )
    return replace(task, notes=("changes of a synthetic planet, pasted: no satellite saw them",))


class PastedPixels:
    """Locations at two dates in a row, with patches of other locations pasted into the second."""

    synthetic = True
    num_seasons = 2

    def __init__(self, source: ArchivePixels, *, first: NDArray[np.int64], donors: NDArray[np.int64]) -> None:
        """Take all locations of an archive.

        Args:
            source: its pixels.
            first: (N,) season of the first date; the second is the next one, after the last season the first.
            donors: (N,) location that a patch is taken from, -1 where nothing is pasted.
        """
        self._source = source
        self._first = first
        self._donors = donors
        self._covers = CoverMaps(source.archive)
        self.contract: InputContract = source.contract
        self.form: AnyForm = source.form

    @property
    def title(self) -> str:
        """Title of the archive's provenance."""
        return f"{self._source.title}, synthetic changes pasted"

    @property
    def identity(self) -> str:
        """Hash of the archive, the dates and where patches are taken from."""
        numbers = np.stack([self._first, self._donors]).astype("<i8").tobytes()
        return hashlib.sha256(f"{CHANGE} {self._source.identity}".encode() + numbers).hexdigest()

    def __len__(self) -> int:
        """Count the locations."""
        return len(self._source)

    def id_of(self, index: int) -> str:
        """Give the id of a location."""
        return self._source.id_of(index)

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read a location at date 0 or 1, at native resolution."""
        date = (int(self._first[index]) + season) % self._source.num_seasons
        pixels = self._source.pixels(index, date, resolutions=resolutions)
        donor = int(self._donors[index])
        if season == 0 or donor < 0:
            return pixels
        patch = self._source.pixels(donor, date, resolutions=resolutions)
        return {r: np.where(self._pasted(index, values.shape[1:]), patch[r], values) for r, values in pixels.items()}

    def map(self, item: int) -> NDArray[np.uint8]:
        """Make the map of a location (y, x): 1 changed, 0 not, UNJUDGED where the same land cover was pasted."""
        before = self._covers(item)
        donor = int(self._donors[item])
        if donor < 0:
            return np.zeros_like(before)
        pasted = self._pasted(item, before.shape)
        other = before != self._covers(donor)
        return np.where(pasted, np.where(other, np.uint8(1), np.uint8(UNJUDGED)), np.uint8(0))

    def _pasted(self, index: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Say which pixels (y, x) of a grid come from the other location."""
        height, width = (size // CELL for size in self._source.archive.shape)
        cells = blobs(self.id_of(index), height, width)
        return cells.repeat(shape[0] // height, axis=0).repeat(shape[1] // width, axis=1)


def blobs(location: str, height: int, width: int) -> NDArray[np.bool_]:
    """Draw what is pasted at a location: (height, width) cells, one to three ellipses that follow from the id."""
    chance = iter(hash_order([f"{location}/{i}" for i in range(1 + 4 * _MOST_BLOBS)], salt=CHANGE) / 2.0**64)
    y, x = np.mgrid[:height, :width] + 0.5
    out = np.zeros((height, width), np.bool_)
    low, high = _RADIUS
    for _ in range(1 + int(next(chance) * _MOST_BLOBS)):
        cy, cx = next(chance) * height, next(chance) * width
        ry, rx = ((low + next(chance) * (high - low)) * size for size in (height, width))
        out |= ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
        out[int(cy), int(cx)] = True
    return out


def choose_donors(ids: Sequence[str], part: NDArray[np.int64], scenes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose where patches are taken from (N,): another scene of the same part, so that no test pixel is in training.

    -1 for a fifth of the locations, and where the part has no other scene.

    Args:
        ids: of the locations.
        part: (N,) number of the part of each.
        scenes: (N,) class of each.
    """
    out = np.full(len(ids), -1, np.int64)
    wants = hash_order(ids, salt=f"{CHANGE}/pasted") < np.uint64(_PASTED_SHARE * 2**64)
    start = hash_order(ids, salt=f"{CHANGE}/donor")
    for number in np.unique(part):
        members = sorted(np.flatnonzero(part == number).tolist(), key=lambda i: ids[i])
        for item in members:
            first = int(start[item] % np.uint64(len(members)))
            others = (m for m in (*members[first:], *members[:first]) if scenes[m] != scenes[item])
            out[item] = next(others, -1) if wants[item] else -1
    return out


def _open(
    name: str, root: Path, split: str, contract: InputContract
) -> tuple[Places, NDArray[np.bool_], NDArray[np.bool_]]:
    """Open the locations with their test and validation part (N,)."""
    if split not in SPLITS:
        raise unknown_name(f"split of {name}", split, SPLITS)
    places = Places.of(root, contract)
    archive = places.archive
    if not archive.provenance.synthetic or MASK not in archive.masks:
        raise SourceInvalid(
            f"{archive.path} ({archive.provenance.title}) has the masks {', '.join(archive.masks) or '(none)'}",
            expected=f"an archive of the synthetic planet with its mask {MASK!r}",
            remedy="make one: ssl4eo collect --source synthetic",
            path=str(archive.path),
        )
    test = places.held_out()
    rest = places.everything.take(np.flatnonzero(~test))
    validation = np.zeros(len(test), np.bool_)
    validation[~test] = hold_out(rest.ids, rest.labels, share=VALIDATION_SHARE, salt="validation")
    return places, test, validation


def _require_pasteable(archive: Archive) -> None:
    if archive.num_seasons < 2 or any(size % CELL for size in archive.shape):
        height, width = archive.shape
        raise SourceInvalid(
            f"{archive.path} has {archive.num_seasons} seasons of {height} x {width} px",
            expected=f"two or more seasons, sizes that are multiples of {CELL} px",
            remedy="make one: ssl4eo collect --source synthetic",
            path=str(archive.path),
        )


def _no_labels(places: Places) -> NDArray[np.int64]:
    return np.zeros((len(places.everything), 0), np.int64)
