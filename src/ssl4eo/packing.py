# SPDX-License-Identifier: Apache-2.0
"""From a source to an archive: read every location once, leave out what is broken and say why.

Resumes by itself: what an interrupted run has stored is not read again. Knows the layouts on disk by name;
a source made in code (the synthetic planet) is packed the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ssl4eo.archive.layout import ROOT
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.collection.published import RawLayout, is_raw_layout
from ssl4eo.collection.source import Source
from ssl4eo.errors import ContractMismatch, DataMissing, SampleInvalid, SourceInvalid, unknown_name
from ssl4eo.files import require_absent
from ssl4eo.sample import Sample

BROKEN = (SourceInvalid, SampleInvalid, ContractMismatch)
"""What a single location may fail with: the others can still be packed."""

Progress = Callable[[int, int], None]
"""Called with the number of locations done and their total."""


@dataclass(frozen=True)
class PackReport:
    """What became of the locations of a source."""

    path: Path
    num_stored: int
    num_resumed: int
    """Of those stored, how many an earlier run had stored."""
    skipped: Mapping[str, str]
    """By id the reason why a location was left out."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        rows = [{"location": name, "reason": reason} for name, reason in self.skipped.items()]
        return {"path": str(self.path), "stored": self.num_stored, "resumed": self.num_resumed, "skipped": rows}


class _Open(Protocol):
    def __call__(self, root: Path, *, num_seasons: int | None = None) -> Source: ...


@dataclass(frozen=True)
class _LayoutKind:
    open: _Open
    detect: Callable[[Path], bool]
    looks_like: str


LAYOUTS: Mapping[str, _LayoutKind] = {
    "raw": _LayoutKind(RawLayout, is_raw_layout, "s1|s2c|s2a/<id>/<product>/<band>.tif"),
}


def detect_source(path: Path | str, *, num_seasons: int | None = None) -> Source:
    """Find out which layout a folder has and open it.

    Raises:
        DataMissing: there is no such folder, or it has no layout that we know.
    """
    path = Path(path)
    if not path.exists():
        raise DataMissing(f"there is no {path}", expected="a folder of images", remedy="check the path", path=str(path))
    for kind in LAYOUTS.values():
        if path.is_dir() and kind.detect(path):
            return kind.open(path, num_seasons=num_seasons)
    if (path / ROOT).is_file():
        remedy = "it is a Zarr group: `ssl4eo info` shows whether it is an archive already"
    else:
        remedy = "name the folder that holds the modality folders, or give the layout"
    raise DataMissing(
        f"{path} holds {_listing(path)}",
        expected="a known layout, " + " or ".join(f"{name} ({kind.looks_like})" for name, kind in LAYOUTS.items()),
        remedy=remedy,
        path=str(path),
    )


def open_source(path: Path | str, *, layout: str = "auto", num_seasons: int | None = None) -> Source:
    """Open a folder as a source, by the name of its layout or by looking.

    Raises:
        UnknownName: no layout is called that.
        DataMissing: there is no such folder, or it has no known layout.
    """
    if layout == "auto":
        return detect_source(path, num_seasons=num_seasons)
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, ["auto", *LAYOUTS])
    return LAYOUTS[layout].open(Path(path), num_seasons=num_seasons)


def _listing(path: Path) -> str:
    if path.is_file():
        return "no folders: it is a file"
    names = sorted(entry.name for entry in path.iterdir())
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "nothing"


def pack(
    source: Source, target: Path | str, *, errors: Literal["skip", "raise"] = "skip", progress: Progress | None = None
) -> PackReport:
    """Pack all locations of a source into a new archive.

    Args:
        source: what to read.
        target: the archive; it appears when it is whole. An interrupted run is gone on with.
        errors: what a broken location does: left out and noted in the archive, or raised.
        progress: told after each location.

    Raises:
        TargetExists: something stands at `target`; it is untouched.
        Busy: another process packs to `target`.
        DataMissing: not a single location could be stored.
        SourceInvalid, SampleInvalid, ContractMismatch: a location is broken and errors="raise".
        WriteFailed: the disk is full or refuses; run again to go on.
    """
    target = Path(target)
    require_absent(target, "archive")
    ids = list(source.ids())
    first = _first_readable(source, ids, errors, target)
    skipped: dict[str, str] = {}
    with ArchiveWriter(
        target,
        modalities=source.modalities,
        num_seasons=source.num_seasons,
        shape=source.shape,
        provenance=source.provenance,
        masks=tuple(first.masks),
    ) as writer:
        resumed = writer.done_ids
        for done, location in enumerate(ids, 1):
            if location not in resumed:
                try:
                    writer.append(first if location == first.location.id else source.read(location))
                except BROKEN as error:
                    if errors == "raise":
                        raise
                    skipped[location] = str(error)
                    writer.skip(location, str(error))
            if progress is not None:
                progress(done, len(ids))
        num_stored = len(writer.done_ids)
        if not num_stored:
            raise _nothing(target, skipped)
        writer.finish()
    return PackReport(target, num_stored, len(resumed), skipped)


def _first_readable(source: Source, ids: Sequence[str], errors: str, target: Path) -> Sample:
    """Read the first location that is whole: it tells which masks the samples have."""
    skipped: dict[str, str] = {}
    for location in ids:
        try:
            return source.read(location)
        except BROKEN as error:
            if errors == "raise":
                raise
            skipped[location] = str(error)
    raise _nothing(target, skipped)


def _nothing(target: Path, skipped: Mapping[str, str]) -> DataMissing:
    reasons = [f"{name}: {reason}" for name, reason in list(skipped.items())[:3]]
    return DataMissing(
        f"none of {len(skipped)} locations can be stored" + (f" ({'; '.join(reasons)})" if reasons else ""),
        expected="one whole location at least",
        remedy="mend the source; no archive was made",
        path=str(target),
    )
