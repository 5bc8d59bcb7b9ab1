# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a run in progress: everything that a bit-identical continuation needs.

RUN/checkpoints/step-<n>.pt holds tensors and plain values only (loaded with weights_only=True);
RUN/checkpoints/index.json lists the whole ones with their SHA-256. The last two are kept; a damaged
latest one is reported and the one before is used; without a readable list the files themselves are tried.
"""

from __future__ import annotations

import json
import logging
import pickle
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ssl4eo.errors import CheckpointInvalid
from ssl4eo.files import file_sha256, whole_or_told, write_json

log = logging.getLogger(__name__)

UNREADABLE = (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile)
"""What reading a damaged checkpoint raises; an empty file raises EOFError."""
FOLDER = "checkpoints"
INDEX = "index.json"
NUM_KEPT = 2


@dataclass(frozen=True)
class TrainingState:
    """A run between two steps."""

    step: int
    """Steps done: the number of the next one."""
    config: dict[str, Any]
    data: dict[str, Any]
    """What the samples were: a run cannot go on with others."""
    method: dict[str, Any]
    optimizer: dict[str, Any]
    precision: dict[str, Any] = field(default_factory=dict[str, Any])
    """State of the gradient scaler, empty where there is none."""
    watching: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the first process's alarms judge by, empty in files older than it; touches no weights."""


def save_state(run: Path, state: TrainingState) -> None:
    """Write a checkpoint atomically, list it, and drop those before the last two."""
    folder = run / FOLDER
    path = folder / _name(state.step)
    for left in folder.glob(".*.partial"):  # of a run that was killed while it wrote
        left.unlink()
    # What an earlier run wrote after this step went another way than this one and is no state to go on from.
    rows = [row for row in _index(folder) if row["step"] < state.step]
    with whole_or_told(path, (RuntimeError,)) as partial:
        torch.save(vars(state), partial)
    rows = [*rows, {"file": path.name, "step": state.step, "sha256": file_sha256(path)}][-NUM_KEPT:]
    write_json(folder / INDEX, rows)
    kept = {row["file"] for row in rows}
    for old in _files(folder).values():
        if old.name not in kept:
            old.unlink()


def load_latest(run: Path) -> TrainingState | None:
    """Read the newest whole checkpoint, None if the run has not written any.

    Raises:
        CheckpointInvalid: there are some, and every one is damaged.
    """
    folder = run / FOLDER
    rows = _index(folder)
    for row in reversed(rows):
        path = folder / row["file"]
        try:
            if row["sha256"] is None:
                _check_parts(path)
            return _load(path, row["sha256"])
        except (*UNREADABLE, CheckpointInvalid) as error:
            log.warning("checkpoint %s cannot be used (%s); trying the one before", path, error)
    if rows:
        raise CheckpointInvalid(
            f"none of the {len(rows)} checkpoints in {folder} can be read",
            expected="one whole checkpoint at least",
            remedy="start the run anew under another name",
            path=str(folder),
        )
    return None


def last_listed(run: Path) -> tuple[int, str] | None:
    """Name the newest checkpoint without reading it, as (step, what tells it from others); None if there is none."""
    rows = _index(run / FOLDER)
    return (rows[-1]["step"], f"{rows[-1]['file']} {rows[-1]['sha256'] or 'of unknown hash'}") if rows else None


def load_step(run: Path, step: int) -> TrainingState:
    """Read the checkpoint after `step` steps, which another process has found whole.

    Raises:
        CheckpointInvalid: it cannot be read from here.
    """
    path = run / FOLDER / _name(step)
    try:
        return _load(path, None)
    except UNREADABLE as error:
        raise CheckpointInvalid(
            f"{path} cannot be read by every process ({' '.join(str(error).split())[:200]})",
            expected="a folder that all machines of a run see",
            remedy="choose --out on a shared file system",
            path=str(path),
        ) from error


def _name(step: int) -> str:
    return f"step-{step:08d}.pt"


def _files(folder: Path) -> dict[int, Path]:
    """Give the files beside the list by step, oldest first; other names, such as a copy's, are let alone."""
    found = ((re.fullmatch(r"step-(\d{8,})\.pt", path.name), path) for path in folder.glob("step-*.pt"))
    return dict(sorted((int(match[1]), path) for match, path in found if match and path.is_file()))


def _index(folder: Path) -> list[dict[str, Any]]:
    """List the checkpoints, oldest first; without a readable list those that are there, with unknown hashes."""
    path, files = folder / INDEX, _files(folder)
    if not files and not path.is_file():
        return []  # a run that has not written any
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        listed = [{"file": str(r["file"]), "step": int(r["step"]), "sha256": _hash(r["sha256"])} for r in rows]
        if listed or not files:
            return listed
        reason: object = "it is empty"
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        reason = error
    log.warning("%s is no list of checkpoints (%s); trying the files beside it", path, reason)
    return [{"file": file.name, "step": step, "sha256": None} for step, file in files.items()]


def _hash(value: object) -> str | None:
    """Read a hash of the list; None stays: a checkpoint that was found without a list is kept in the next one."""
    return None if value is None else str(value)


def _load(path: Path, sha256: str | None) -> TrainingState:
    found = None if sha256 is None else file_sha256(path)
    if found is not None and found != sha256:
        raise CheckpointInvalid(f"{path.name} has SHA-256 {found[:12]}", expected=str(sha256)[:12])
    return TrainingState(**torch.load(path, map_location="cpu", weights_only=True))


def _check_parts(path: Path) -> None:
    """Refuse a file of which a part is not what was written: torch reads without looking at the CRCs."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointInvalid(f"{path.name}: {damaged} fails its CRC", expected="a whole checkpoint")
