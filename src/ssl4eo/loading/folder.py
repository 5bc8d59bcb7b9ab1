# SPDX-License-Identifier: Apache-2.0
"""A folder of class folders of pictures, as EuroSAT RGB is published, as a source of pixels and labels.

Reads JPEG and PNG with three 8-bit channels (contract S2RGB). All pictures are decoded once into memory
when they fit, else at each read. The named split `reference` is EuroSAT's customary 80/20 one.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from ssl4eo.contract import Contract, stored
from ssl4eo.errors import DataMissing, ShardCorrupt, SourceInvalid, unknown_name
from ssl4eo.form import Form
from ssl4eo.grid import BASE_RESOLUTION

SUFFIXES = (".jpg", ".jpeg", ".png")
IN_MEMORY_BYTES = 2 << 30
"""Largest decoded folder that is kept in memory [bytes]."""
MOST_SHOWING = 32
"""Pictures in a row, by size of the file, that are not black before no more black ones are looked for."""
REFERENCE_SEED = 42
SPLITS = ("reference", "none")
"""reference: 80/20 stratified by class over sorted paths, seed 42; none: everything is training data."""


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Paths and labels of a folder of class folders; no pixels yet."""

    root: Path
    paths: tuple[Path, ...]
    """Sorted."""
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    @classmethod
    def scan(cls, root: Path, *, suffixes: Sequence[str] = SUFFIXES) -> ImageFolder:
        """List a folder.

        Args:
            root: the folder that holds the class folders.
            suffixes: of the pictures, small letters; `read` reads the usual ones only.

        Raises:
            DataMissing: no such folder, or no pictures in class folders below it.
        """
        if root.is_file():
            raise DataMissing(
                f"{root} is a file",
                expected="a folder of class folders of pictures",
                remedy="unpack it, and name the folder that holds the class folders",
                path=str(root),
            )
        if not root.is_dir():
            raise DataMissing(f"no folder {root}", expected="a folder of class folders of pictures", path=str(root))
        paths = tuple(sorted(_pictures(root, suffixes)))
        if not paths:
            inner = [d.name for d in sorted(root.iterdir()) if d.is_dir() and any(_pictures(d, suffixes))]
            raise DataMissing(
                f"no {', '.join(suffixes)} in the class folders of {root}",
                expected="<class>/<picture>",
                remedy=f"did you mean {root / inner[0]}?" if inner else "unpack the data set there first",
                path=str(root),
            )
        classes = tuple(sorted({p.parent.name for p in paths}))
        lookup = {name: i for i, name in enumerate(classes)}
        return cls(root, paths, np.array([lookup[p.parent.name] for p in paths], dtype=np.int64), classes)

    @property
    def names(self) -> tuple[str, ...]:
        """Paths below the folder."""
        return tuple(path.relative_to(self.root).as_posix() for path in self.paths)

    def split(self, name: str) -> dict[str, NDArray[np.int64]]:
        """Give the parts `train` and `test` of a named split as positions.

        Raises:
            UnknownName: no such split.
            SourceInvalid: too few pictures to stratify.
        """
        from sklearn.model_selection import train_test_split  # here: it takes a second and a half to load

        everything = np.arange(len(self.paths))
        if name == "none":
            return {"train": everything, "test": everything[:0]}
        if name != "reference":
            raise unknown_name("split", name, SPLITS)
        smallest, num_test = int(np.bincount(self.labels).min()), math.ceil(0.2 * len(everything))
        if smallest < 2 or num_test < len(self.classes):
            raise SourceInvalid(
                f"{self.root}: {len(everything)} pictures, {smallest} of the rarest of {len(self.classes)} classes",
                expected="2 or more of each class, and 5 times as many pictures as classes, to split them 80/20",
                path=str(self.root),
            )
        train, test = train_test_split(everything, train_size=0.8, stratify=self.labels, random_state=REFERENCE_SEED)
        return {"train": np.sort(train), "test": np.sort(test)}

    def read(self, position: int) -> NDArray[np.uint8]:
        """Decode one picture: uint8 (3, y, x), red green blue.

        Raises:
            SourceInvalid: unreadable or cut short, then with `undecoded=True`, or not three channels of 8 bits.
        """
        path = self.paths[position]
        try:
            with PillowImage.open(path) as picture:
                if picture.mode != "RGB":
                    raise SourceInvalid(
                        f"{path} is a picture of mode {picture.mode}",
                        expected="RGB, 8 bits",
                        remedy="convert it, or keep other bands in an archive",
                        path=str(path),
                    )
                return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
        except (OSError, UnidentifiedImageError, SyntaxError) as error:
            if isinstance(error, SourceInvalid):
                raise
            raise SourceInvalid(
                f"{path} cannot be decoded ({error})",
                expected="a whole JPEG or PNG",
                remedy="fetch it again",
                path=str(path),
                undecoded=True,
            ) from error


def _pictures(root: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Find the pictures in the class folders of a folder, in no order; hidden ones are none."""
    found = (p for p in root.glob("*/*") if p.suffix.lower() in suffixes)
    return (p for p in found if not p.name.startswith(".") and not p.parent.name.startswith("."))


class FolderPixels:
    """Pictures of a folder as a source with one season."""

    synthetic = False
    num_seasons = 1

    def __init__(
        self,
        folder: ImageFolder,
        *,
        indices: NDArray[np.int64] | None = None,
        in_memory: bool = True,
        replaceable: bool = False,
    ) -> None:
        """Take all pictures, or those at `indices`; decode all at the first look, or each when it is looked at.

        Args:
            folder: where they lie.
            indices: positions of the pictures to keep, None for all.
            in_memory: decode all at the first look, if they fit.
            replaceable: one that cannot be decoded is an image that others may replace: reading it raises ShardCorrupt,
                and all others can be read.

        Raises:
            SourceInvalid: the first picture cannot be read; if `replaceable`, none can be decoded.
        """
        self.folder = folder
        self.indices = np.arange(len(folder.paths)) if indices is None else indices
        self._in_memory, self._replaceable = in_memory, replaceable
        self._undecoded: dict[int, str] = {}
        """By item what was found in place of a picture."""
        self.contract: Contract = stored("S2RGB")
        self.form = Form.native("S2RGB")
        self._shape = self._first().shape

    def _first(self) -> NDArray[np.uint8]:
        """Read the first picture, if they are replaceable the first that can be decoded."""
        for position in self.indices.tolist():
            try:
                return self.folder.read(position)
            except SourceInvalid as error:
                if not self._is_replaceable(error):
                    raise
        raise SourceInvalid(
            f"none of {len(self)} pictures of {self.folder.root} can be decoded",
            expected="whole JPEG or PNG",
            remedy="fetch them again",
            path=str(self.folder.root),
        )

    def _is_replaceable(self, error: SourceInvalid) -> bool:
        return self._replaceable and "undecoded" in error.where

    @property
    def title(self) -> str:
        """Name of the folder."""
        return f"pictures in {self.folder.root.name}"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of each picture."""
        return self._shape[1], self._shape[2]

    @property
    def identity(self) -> str:
        """Hash of names and sizes of the chosen pictures."""
        return self._identity(self.indices)

    def identity_of(self, ids: Sequence[str]) -> str:
        """Give the identity that these pictures of the folder have; empty where it lacks one."""
        positions = {name: position for position, name in enumerate(self.folder.names)}
        if not positions.keys() >= set(ids):
            return ""
        return self._identity(np.array([positions[name] for name in ids], np.int64))

    def _identity(self, indices: NDArray[np.int64]) -> str:
        rows = ((self.folder.paths[i], self.folder.paths[i].stat().st_size) for i in indices.tolist())
        text = "\n".join(f"{path.relative_to(self.folder.root).as_posix()} {size}" for path, size in rows)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each item."""
        return self.folder.labels[self.indices]

    @property
    def num_held(self) -> int:
        """Number of pictures of the folder, those that are left out among them."""
        return len(self.folder.paths)

    @property
    def is_part(self) -> bool:
        """Say whether pictures of the folder are left out."""
        return len(self) < self.num_held

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.indices)

    def id_of(self, index: int) -> str:
        """Give the path of a picture below the folder."""
        return self.folder.paths[int(self.indices[index])].relative_to(self.folder.root).as_posix()

    @functools.cached_property
    def _decoded(self) -> NDArray[np.uint8] | None:
        """All pictures (N, 3, y, x), None where they do not fit into memory, or are not wanted there."""
        if not self._in_memory or len(self) * int(np.prod(self._shape)) > IN_MEMORY_BYTES:
            return None
        out = np.empty((len(self), *self._shape), np.uint8)
        for i in range(len(self)):
            with contextlib.suppress(ShardCorrupt):  # it is remembered
                out[i] = self._read(i)
        return out

    def _read(self, index: int) -> NDArray[np.uint8]:
        position = int(self.indices[index])
        try:
            picture = self.folder.read(position)
        except SourceInvalid as error:
            if not self._is_replaceable(error):
                raise
            self._undecoded[index] = error.found
            raise self._damaged(index) from error
        if picture.shape != self._shape:
            raise SourceInvalid(
                f"{self.folder.paths[position]} has shape {picture.shape}",
                expected=f"{self._shape} like {self.folder.paths[int(self.indices[0])]}, the first picture",
                remedy="bring all pictures to one size, or list those of one size for --ids",
            )
        return picture

    def _damaged(self, index: int) -> ShardCorrupt:
        return ShardCorrupt(
            self._undecoded[index],
            expected="a whole JPEG or PNG",
            remedy="fetch it again",
            archive=str(self.folder.root),
            what="picture",
            location=self.id_of(index),
            season=0,
        )

    def damaged(self) -> list[str]:
        """List the paths of the pictures that could not be decoded, of those that were looked at so far."""
        return [self.id_of(i) for i in sorted(self._undecoded)]

    def blank(self) -> list[tuple[str, int]]:
        """List the pictures, as path and season, that are black.

        Of those that are not in memory the smallest files are looked at: black ones are, of their kind.
        """
        decoded = self._decoded
        if decoded is None:
            black = sorted(self._smallest_black())
        else:
            black = [i for i, picture in enumerate(decoded) if i not in self._undecoded and not picture.any()]
        return [(self.id_of(i), 0) for i in black]

    def _smallest_black(self) -> Iterator[int]:
        """Find black pictures from the smallest file of each suffix on, until `MOST_SHOWING` in a row are not black."""
        paths = [self.folder.paths[position] for position in self.indices.tolist()]
        sizes = [path.stat().st_size for path in paths]
        for suffix in sorted({path.suffix.lower() for path in paths}):
            items = sorted((i for i, path in enumerate(paths) if path.suffix.lower() == suffix), key=sizes.__getitem__)
            showing = 0
            for i in items:
                if showing == MOST_SHOWING:
                    break
                try:
                    showing = showing + 1 if self._read(i).any() else 0
                except ShardCorrupt:  # neither; it is remembered
                    continue
                if not showing:
                    yield i

    def load(self) -> None:
        """Decode all pictures now, so that forked workers share them."""
        _ = self._decoded

    def pixels(
        self, index: int, season: int, *, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Give one picture as the 10 m group.

        Raises:
            SourceInvalid: it cannot be read, or has another size.
            ShardCorrupt: it cannot be decoded, and pictures are `replaceable`.
        """
        del season, resolutions  # a picture has one date and one grid
        decoded = self._decoded
        if decoded is None:
            return {BASE_RESOLUTION: self._read(index)}
        if index in self._undecoded:
            raise self._damaged(index)
        return {BASE_RESOLUTION: decoded[index]}
