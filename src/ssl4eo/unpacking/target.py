# SPDX-License-Identifier: Apache-2.0
"""The folder that an archive is unpacked to: what it says of itself, who may write there, what was left out.

    OUT/unpack.json      archive, layout and options, written first; a run that goes on must ask for the same
    OUT/ids.csv          name -> id, where locations were numbered anew
    OUT/skipped.jsonl    locations that were left out, each with its reason
    OUT/.unpack.lock     held by the one writer

A folder that holds anything else is not touched.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl4eo.archive.journal import require_outside
from ssl4eo.archive.layout import CHECKSUMS
from ssl4eo.archive.reader import Archive
from ssl4eo.errors import TargetExists
from ssl4eo.files import append_jsonl, exclusive, read_jsonl, write_json, write_text, writing
from ssl4eo.unpacking.work import Place

NOTE = "unpack.json"
LOCK = ".unpack.lock"
SKIPPED = "skipped.jsonl"
IDS = "ids.csv"


def identity(archive: Archive) -> str:
    """Give a hash that no other archive has: of its list of checksums."""
    return hashlib.sha256((archive.path / CHECKSUMS).read_bytes()).hexdigest()


def hash_places(places: Sequence[Place]) -> str:
    """Give a hash of the choice, order and names of locations."""
    return hashlib.sha256("\n".join(f"{p.id} {p.name}" for p in places).encode()).hexdigest()[:16]


@contextlib.contextmanager
def open_target(out: Path, wanted: Mapping[str, Any], about: Mapping[str, Any]) -> Generator[None]:
    """Start in a new folder or go on in one, and hold its lock for the length of the block.

    Args:
        out: the folder.
        wanted: must be the same in every run.
        about: noted by the first run only.

    Raises:
        TargetExists: the folder holds something else, or the start of another run, or lies inside of an archive;
            nothing was changed.
        Busy: another process writes there.
    """
    _require_ours(out)
    with writing(out), exclusive(out / LOCK):
        for path in out.glob(".*.partial"):  # what a killed run had begun
            path.unlink()
        noted = _noted(out)
        if noted is None:
            write_json(out / NOTE, {**wanted, **about})
        else:
            _require_same(out, noted, wanted)
        yield


def _require_ours(out: Path) -> None:
    require_outside(out)
    if not os.path.lexists(out):
        return
    entries = [entry.name for entry in out.iterdir()] if out.is_dir() else ["a file, or a link that leads nowhere"]
    foreign = [name for name in entries if name != LOCK and not name.startswith(f".{NOTE}.")]
    if foreign and NOTE not in entries:
        raise TargetExists(
            f"{out} holds {', '.join(sorted(foreign)[:3])}",
            expected=f"nothing there, or a folder with {NOTE} that an earlier run has begun",
            remedy="choose another name, or remove it yourself",
            path=str(out),
        )


def _noted(out: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads((out / NOTE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise TargetExists(
            f"{out / NOTE} is damaged ({error})",
            expected="what an earlier run has noted",
            remedy=f"remove {out} to start anew",
            path=str(out),
        ) from error


def _require_same(out: Path, noted: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    plain = json.loads(json.dumps(wanted))
    rows = [f"{key} {noted.get(key)} there, {value} now" for key, value in plain.items() if noted.get(key) != value]
    if rows:
        raise TargetExists(
            f"{out} was begun with other options ({'; '.join(rows)})",
            expected="the same archive and options",
            remedy="choose another name, or remove it yourself to start anew",
            path=str(out),
        )


def write_ids(out: Path, places: Sequence[Place]) -> None:
    """Note which name stands for which id."""
    stream = io.StringIO()
    csv.writer(stream).writerows([("name", "id"), *((place.name, place.id) for place in places)])
    write_text(out / IDS, stream.getvalue())


def keep_skipped(out: Path, known: set[str]) -> dict[str, str]:
    """Cut skipped.jsonl back to ids out of `known`; what else was left out will be tried again.

    Returns:
        By id the reason.
    """
    path = out / SKIPPED
    rows = {row["location"]: row["reason"] for row in read_jsonl(path)} if path.is_file() else {}
    kept = {name: reason for name, reason in rows.items() if name in known}
    if kept:
        lines = (json.dumps({"location": n, "reason": r}, ensure_ascii=False) + "\n" for n, r in kept.items())
        write_text(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)
    return kept


def note_skipped(out: Path, skipped: Mapping[str, str]) -> None:
    """Append what was left out."""
    for name, reason in skipped.items():
        append_jsonl(out / SKIPPED, {"location": name, "reason": reason})
