# SPDX-License-Identifier: Apache-2.0
"""Layouts of one folder a location and modality: `<out>/<folder>/<name>/...`, each whole or absent.

A worker writes `.<name>.partial` and flushes it to disk, the parent renames it. All images of a location are read
before anything of it is written, so that a damaged one leaves no half of itself. Price: a location in memory,
and a flush a file, about as long as its encoding takes; workers overlap the two.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ssl4eo.sample import Image
from ssl4eo.unpacking.work import BROKEN, Errors, Made, Place, Plan, Sink, Unit

Files = Mapping[str, bytes]
"""By path below the folder of a location."""


class FolderFormat(Protocol):
    """What distinguishes these layouts: the name of the folders and the bytes of the files."""

    def folder(self, modality_name: str) -> str:
        """Name the folder of a modality below the target."""
        ...

    def files(self, plan: Plan, place: Place, images: Sequence[Image]) -> Files:
        """Encode the images of one modality over one place, in order of time."""
        ...


def make_folders(layout: FolderFormat, plan: Plan, unit: Unit, errors: Errors) -> Made:
    """Write the partial folders of a unit.

    Raises:
        ShardCorrupt, SampleInvalid, ContractMismatch: a location is broken and errors="raise".
        OSError: the disk is full or refuses.
    """
    parts: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for place in unit.places:
        try:
            encoded = {
                layout.folder(name): layout.files(plan, place, images) for name, images in plan.images(place).items()
            }
        except BROKEN as error:
            if errors == "raise":
                raise
            skipped[place.id] = str(error)
            continue
        for folder, files in encoded.items():
            _write(_partial(plan.out / folder, place.name), files)
        parts[place.name] = "written"
    return Made(parts, skipped)


def _partial(folder: Path, name: str) -> Path:
    return folder / f".{name}.partial"


def _write(folder: Path, files: Files) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


@dataclass(frozen=True)
class FolderSink:
    """Gives the folders of whole locations their names."""

    out: Path
    folders: tuple[str, ...]

    def missing(self, unit: Unit) -> tuple[Place, ...]:
        """Give the places of which a folder is not there."""
        return tuple(place for place in unit.places if not self._is_whole(place))

    def _is_whole(self, place: Place) -> bool:
        return all((self.out / folder / place.name).is_dir() for folder in self.folders)

    def keep(self, unit: Unit, made: Made) -> None:
        """Rename what was written; a folder that an earlier run had finished is kept in favor of the new one."""
        del unit
        for name in made.parts:
            for folder in self.folders:
                partial, final = _partial(self.out / folder, name), self.out / folder / name
                if final.exists():
                    shutil.rmtree(partial)
                else:
                    partial.rename(final)


@contextlib.contextmanager
def folder_sink(layout: FolderFormat, plan: Plan) -> Generator[Sink]:
    """Open the parent's side; sweeps away what a killed run had begun."""
    folders = tuple(layout.folder(name) for name in plan.modalities)
    for folder in folders:
        (plan.out / folder).mkdir(exist_ok=True)
        for path in (plan.out / folder).glob(".*.partial"):
            shutil.rmtree(path)
    yield FolderSink(plan.out, folders)
