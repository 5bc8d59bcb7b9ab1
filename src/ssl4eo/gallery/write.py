# SPDX-License-Identifier: Apache-2.0
"""The gallery as a static site: every path of `Site` as a file, for any web host, under any sub-path.

A location is a folder that is whole or absent, so a killed run goes on with the next one. The site gets its name when
all is written; until then it is `SITE.partial`, locked, with a note of what it is made from. `record.json` tells at
the end what was written, when, by which version and what could not be read.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import ssl4eo
from ssl4eo.archive.journal import partial_path, require_outside
from ssl4eo.archive.layout import CHECKSUMS
from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.errors import Ssl4eoError, TargetExists
from ssl4eo.files import exclusive, file_sha256, read_jsonl, require_absent, write_json, write_text, writing
from ssl4eo.gallery.columns import Places
from ssl4eo.gallery.site import Offer, Site, folder_of
from ssl4eo.gallery.trouble import without_folders
from ssl4eo.processes import open_run

SETTINGS = "settings.json"
RECORD = "record.json"
_CHUNK = 16
"""Locations that a worker writes at once."""


@dataclass(frozen=True)
class SiteReport:
    """What became of the locations."""

    path: Path
    num_written: int
    num_found: int
    """Written by an earlier run."""
    wrong: dict[str, str]
    """By location why some of it could not be shown."""

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {**asdict(self), "path": str(self.path)}


def write_site(
    archive: Archive,
    out: Path,
    *,
    offer: Offer,
    workers: int = 1,
    progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> SiteReport:
    """Write the site; run again after an interruption and it goes on.

    Args:
        archive: to show.
        out: folder of the site; must not exist yet.
        offer: what of each location.
        workers: processes.
        progress: told (locations done, all).

    Raises:
        TargetExists: `out` exists or lies in an archive, or an unfinished site of another archive or with other options
            is beside it.
        Busy: another process writes it.
        WriteFailed: the disk is full or refuses.
    """
    require_outside(out)
    require_absent(out, "site")
    part = partial_path(out)
    site = Site(archive, offer=offer)  # before anything is written: it may be unreadable
    with writing(out):
        part.mkdir(parents=True, exist_ok=True)
        with exclusive(part / ".lock"):
            _require_same(part, _settings(archive, offer))
            found = _found(part, archive.ids)
            missing = [name for name in archive.ids if name not in found]
            done = len(found)
            progress(done, len(archive))
            job = partial(_write_chunk, archive.path, part, offer)
            with open_run(workers) as run:
                for count in run(job, [tuple(missing[i : i + _CHUNK]) for i in range(0, len(missing), _CHUNK)]):
                    done += count
                    progress(done, len(archive))
            for path in site.shared_paths():
                _write(part / path, site.resource(path).content)
            report = SiteReport(out, len(missing), len(found), _wrong(part))
            write_json(part / RECORD, _record(report, site))
        (part / ".lock").unlink()
        for name in (SETTINGS, "wrong"):
            _remove(part / name)
        os.sync()  # one flush for millions of files: names are given after bytes are on disk
        part.rename(out)
    return report


def _settings(archive: Archive, offer: Offer) -> dict[str, Any]:
    return {
        "archive": str(archive.path),
        "checksums": file_sha256(archive.path / CHECKSUMS),
        "software": ssl4eo.__version__,
        "embeddings": [file_sha256(Path(path)) for path in offer.embeddings],
        "offer": json.loads(json.dumps(asdict(offer))),
    }


def _require_same(part: Path, settings: dict[str, Any]) -> None:
    path = part / SETTINGS
    if not path.exists():
        write_json(path, settings)
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    differ = [f"{key} {found.get(key)}" for key, value in settings.items() if found.get(key) != value]
    if differ:
        raise TargetExists(
            f"{part} is an unfinished site made with {'; '.join(differ)}",
            expected="; ".join(f"{key} {settings[key]}" for key in settings if found.get(key) != settings[key]),
            remedy="give the same options to go on with it, or remove it",
            path=str(part),
        )


def _found(part: Path, ids: Sequence[str]) -> set[str]:
    """Give the locations that an earlier run wrote; sweeps away what it had only begun."""
    for begun in part.glob("place/*/.*.partial"):
        shutil.rmtree(begun)
    return {name for name in ids if (part / folder_of(name)).is_dir()}


@cache
def _site(archive: Path, offer: Offer) -> Site:
    """Open the site once in each process; the tables of places are not needed there."""
    return Site(open_archive(archive), offer=offer, places=Places((), np.empty(0), np.empty(0)))


def _write_chunk(archive: Path, part: Path, offer: Offer, locations: tuple[str, ...]) -> int:
    for location in locations:
        _write_location(_site(archive, offer), part, location)
    return len(locations)


def _write_location(site: Site, part: Path, location: str) -> None:
    final = part / folder_of(location)
    begun = final.with_name(f".{location}.partial")
    wrong: list[str] = []
    homes = [site.archive.path.parent, *(Path(path).parent for path in site.offer.embeddings)]
    for path in site.location_paths(location):
        if path.endswith("/info.json"):
            _write(begun / "info.json", site.files.info(location, wrong="\n".join(dict.fromkeys(wrong))))
            continue
        try:
            content = site.resource(path).content
        except Ssl4eoError as error:
            wrong.append(without_folders(error, *homes))
            continue
        if path.endswith("/histograms.json"):  # made of what can be read, and tells what cannot
            wrong += [fault for faults in json.loads(content)["wrong"].values() for fault in faults]
        _write(begun / path.rpartition("/")[2], content)
    if wrong:
        write_text(part / "wrong" / f"{location}.jsonl", json.dumps({"location": location, "reason": wrong[0]}) + "\n")
    begun.rename(final)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _wrong(part: Path) -> dict[str, str]:
    def rows() -> Iterator[dict[str, Any]]:
        for path in sorted((part / "wrong").glob("*.jsonl")):
            yield from read_jsonl(path)

    return {row["location"]: row["reason"] for row in rows()}


def _record(report: SiteReport, site: Site) -> dict[str, Any]:
    archive, offer = site.archive, site.offer
    names = tuple(Path(path).name for path in offer.embeddings)
    return {
        **_settings(archive, offer),
        "archive": archive.path.name,  # the site may go public: where it was made stays at home
        "offer": {**asdict(offer), "embeddings": names},
        "written": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "locations": len(archive),
        "wrong": report.wrong,
        "columns_left_out": dict(site.blocks.places.left_out),
    }


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
