# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: one writer, one config, one kind of data from first step to last.

config.json is written when a run starts; a run that is continued must have the same config and data,
apart from options that do not touch the weights, or touch only their rounding. Of several processes the first one
opens it; the others read checkpoints in it and nothing else.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import math
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from ssl4eo.archive.id_list import read_ids
from ssl4eo.archive.journal import require_outside
from ssl4eo.checkpoints.backbone_file import BACKBONE_FILE
from ssl4eo.checkpoints.training_state import FOLDER, load_latest
from ssl4eo.environment import environment
from ssl4eo.errors import Busy, CheckpointInvalid, TargetExists, WriteFailed, shown
from ssl4eo.files import append_jsonl, exclusive, readable_jsonl, write_json, write_text
from ssl4eo.loading.folder import FolderPixels
from ssl4eo.loading.pixels import ArchivePixels, PixelSource
from ssl4eo.pretraining.config import BEFORE, FREE_ON_RESUME, ROUNDED_ON_RESUME, PretrainConfig, flatten
from ssl4eo.training.events import FOLDER as EVENTS
from ssl4eo.training.journal import DAMAGED, DIVERGED, LOG

log = logging.getLogger(__name__)

CONFIG = "config.json"
IDS = "ids.txt"
"""Names of the items that the run is trained on, where its data hold more."""
INSIGHT = "insight.npz"
"""What a report recorded of the run; it may be there before the run has done a step."""
NUM_NAMED = 5
"""Lines that a warning names."""


class RunFolder:
    """Opens a run's folder for this process alone."""

    def __init__(self, path: Path, config: PretrainConfig, source: PixelSource, *, resume: bool) -> None:
        """Name the folder and what must be true of it."""
        self._path, self._config, self._resume = path, config, resume
        self._source, self._data, self._ids = source, data_record(source), _subset(source)
        self._part_of = source.num_held if isinstance(source, ArchivePixels | FolderPixels) and self._ids else None
        self._stack = contextlib.ExitStack()
        self._exists = False
        self._changed: list[str] = []
        """What differs from config.json in rounding only."""

    def __enter__(self) -> Self:
        """Lock the folder and write config.json.

        Raises:
            TargetExists, Busy, CheckpointInvalid, WriteFailed: see `pretrain`.
        """
        self._require_folder()
        self._exists = exists = (self._path / CONFIG).exists() and self._has_begun()
        if exists and not self._resume:
            raise TargetExists(
                f"{self._path} holds a run",
                expected="a new folder",
                remedy="continue it with --resume, or choose another --out",
                path=str(self._path),
            )
        if not exists and self._path.exists() and any(self._path.iterdir()) and not self._only_ours():
            raise TargetExists(
                f"{self._path} holds other files", expected="a new or empty folder", path=str(self._path)
            )
        self._lock()
        try:
            self._require_same() if exists else self._write_config()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the folder go."""
        self._stack.close()

    def _require_folder(self) -> None:
        """Refuse an archive, a file, and checkpoints without the config that would say what they are of."""
        require_outside(self._path, is_folder=True)
        if self._path.exists() and not self._path.is_dir():
            raise TargetExists(
                f"{self._path} is a file",
                expected="the folder of a run, or a new name",
                remedy="choose another --out",
                path=str(self._path),
            )
        if (self._path / FOLDER).exists() and not (self._path / CONFIG).exists():
            raise CheckpointInvalid(
                f"{self._path} holds checkpoints, but no {CONFIG}",
                expected=f"the {CONFIG} that their run wrote",
                remedy="put it back, or choose another --out",
                path=str(self._path),
            )
        if (self._path / LOG).is_dir():
            raise TargetExists(
                f"{self._path / LOG} is a folder",
                expected="the file that a run writes its log into, or nothing",
                remedy="move it away, or choose another --out",
                path=str(self._path / LOG),
            )

    def _lock(self) -> None:
        try:
            self._stack.enter_context(exclusive(self._path / ".lock"))
        except Busy:
            raise
        except OSError as error:
            raise WriteFailed(
                f"{self._path} cannot be made or written to ({error.strerror})",
                expected="a folder in a place that can be written to",
                remedy="mend that, or choose another --out",
                path=str(self._path),
            ) from error

    def _only_ours(self) -> bool:
        return {p.name for p in self._path.iterdir()} <= {".lock", CONFIG, LOG, DIVERGED, DAMAGED, IDS, EVENTS, INSIGHT}

    def _has_begun(self) -> bool:
        """Say whether a run did a step here; one that failed before leaves nothing worth keeping."""
        rows, unread = self._rows()
        return (self._path / FOLDER).exists() or self.finished or bool(unread) or any(map(_is_step, rows))

    def _rows(self) -> tuple[list[dict[str, Any]], list[int]]:
        """Give the rows of the log and the numbers of its other lines; neither where there is no log."""
        path = self._path / LOG
        return readable_jsonl(path, _is_row) if path.exists() else ([], [])

    @property
    def last_loss(self) -> float:
        """Last loss in the log, NaN if there is none."""
        return next((float(row["loss"]) for row in reversed(self._rows()[0]) if _is_step(row)), math.nan)

    def _tell_unread(self) -> None:
        """Warn of lines that no run wrote: weights do not depend on the log, so they keep no run from going on."""
        if unread := self._rows()[1]:
            named = ", ".join(map(str, unread[:NUM_NAMED])) + ", ..." * (len(unread) > NUM_NAMED)
            log.warning(
                "lines %s of %s cannot be read and are passed over; the run goes on, but `ssl4eo report` refuses them: "
                "take them out of the file",
                named,
                self._path / LOG,
            )

    def _write_config(self) -> None:
        for left in (LOG, DIVERGED, DAMAGED, IDS):
            (self._path / left).unlink(missing_ok=True)
        if self._ids:
            write_text(self._path / IDS, "".join(f"{name}\n" for name in self._ids))
        started = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        write_json(
            self._path / CONFIG,
            {
                "recipe": self._config.recipe,
                "config": self._config.to_json(),
                "environment": environment() | {"started": started},
                "data": self._data,
                **({} if self._part_of is None else {"part_of": self._part_of}),
            },
        )

    def _require_same(self) -> None:
        config, data = _read_config(self._path / CONFIG, self._config.to_json())
        self._changed = self._require_equal(config, data)

    def _require_equal(self, config: dict[str, Any], data: dict[str, Any]) -> list[str]:
        return _require_equal(
            config, self._config.to_json(), data, self._data, self._path, lambda: self._way_to_items(data)
        )

    def _way_to_items(self, data: Mapping[str, Any]) -> str:
        """Say how a run finds its items, of which `data` are the record, in data that hold others, too."""
        if not isinstance(self._source, ArchivePixels | FolderPixels):
            return _way_on(is_longer=False, path=self._path)
        if _names_items(self._path / IDS, self._source, data):
            same = f"--ids {shlex.quote(str(self._path / IDS))} --split none"
            way = f"{same} names the same items (readings in passing want --ids and --split as they were given)"
        else:
            way = "give --ids and --split as they were given to continue it"
        return f"{way}, or another --out to start a new run"

    def last_step(self) -> int | None:
        """Find the last whole checkpoint of the same run and note that it is continued; None where there is none.

        A run that did steps and lost them all begins anew; the log says so as of any other step.
        """
        if self._exists:
            self._tell_unread()
        state = load_latest(self._path) if self._resume else None
        if state is None:
            if self._exists:
                log.warning("%s has no checkpoint: the run begins anew", self._path)
                append_jsonl(self._path / LOG, {"kind": "resume", "step": 0, "changed": self._changed})
            return None
        changed = self._require_equal(state.config, state.data)
        append_jsonl(self._path / LOG, {"kind": "resume", "step": state.step, "changed": changed})
        if changed:
            log.warning(
                "the run goes on with another %s: the same samples in the same steps, but sums are rounded in another "
                "order, so its weights agree with those of an undisturbed run to rounding and not bit by bit; what is "
                "drawn in the network (drop path, attention drop) is drawn anew, and another engine.accumulate is "
                "another loss where samples of a batch meet (batch norm, negatives within the batch)",
                ", ".join(changed),
            )
        return state.step

    def records(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give config and data as a checkpoint keeps them."""
        return self._config.to_json(), self._data

    @property
    def finished(self) -> bool:
        """Say whether the run has left its backbone."""
        return (self._path / BACKBONE_FILE).exists()


def _is_row(row: Any) -> bool:
    """Say whether a line of the log is one that a run may have written, as far as it is read here."""
    return isinstance(row, dict) and "kind" in row and (row["kind"] != "step" or _is_step(cast("dict[str, Any]", row)))


def _is_step(row: Mapping[str, Any]) -> bool:
    """Say whether a row is a step, with its number and its loss."""
    numbers = (type(row.get("step")) is int, type(row.get("loss")) in {int, float})  # not bool, which is an int too
    return row.get("kind") == "step" and all(numbers)


def _read_config(path: Path, wanted: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read config and data of a run that is to have the options `wanted`.

    Raises:
        CheckpointInvalid: it cannot be read, or options that are objects are something else.
    """
    why = ""
    values: Any = None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        why = f"line {error.lineno} is not JSON"
    except (ValueError, RecursionError):
        why = "it is no text, or no JSON"
    except OSError as error:
        why = f"{error.strerror}"
    why = why or _damage({"config": wanted, "data": {}}, values)
    if why:
        raise CheckpointInvalid(
            f"{path} is damaged: {why}",
            expected="the config that the run wrote when it began",
            remedy="put a copy of it back, or begin anew with another --out",
            path=str(path),
        )
    return values["config"], values["data"]


def _damage(wanted: Mapping[str, Any], values: Any, prefix: str = "") -> str:
    """Say where something else stands than an object, as `wanted` has it; nothing if all is well."""
    if not isinstance(values, dict):
        return f"{prefix.rstrip('.') or 'it'} is {shown(values)}, no JSON object"
    for name, inner in wanted.items():
        if prefix.count(".") <= 1 and name not in values and name not in BEFORE:
            return f"it has no {prefix}{name}"
        if isinstance(inner, dict) and name in values:
            found = _damage(cast("dict[str, Any]", inner), values[name], f"{prefix}{name}.")
            if found:
                return found
    return ""


def _subset(source: PixelSource) -> list[str]:
    """List the items of a source that leaves some of its data out."""
    is_part = isinstance(source, ArchivePixels | FolderPixels) and source.is_part
    return [source.id_of(item) for item in range(len(source))] if is_part else []


def data_record(source: PixelSource) -> dict[str, Any]:
    """Say what the samples are: equal records mean that a run may go on."""
    return {
        "title": source.title,
        "synthetic": source.synthetic,
        "num_items": len(source),
        "identity": source.identity,
        "num_seasons": source.num_seasons,
        "contract": source.contract.to_json(),
    }


def _way_on(is_longer: bool, path: Path) -> str:
    """Say what to do with a run that cannot go on as it is asked to.

    Args:
        is_longer: nothing but the number of epochs is another.
        path: of the run.
    """
    if not is_longer:
        return "give the same options to continue it, or another --out to start a new run"
    return (
        "the learning rate is scheduled over the whole run, so another length is another run from its first step on: "
        f"go on from its weights in a new one, --init-from {path} with another --out and the epochs that are to be "
        "added (schedules begin anew), or give the same number to end this one"
    )


def _names_items(path: Path, source: ArchivePixels | FolderPixels, data: Mapping[str, Any]) -> bool:
    """Say whether a list names just the items that `data` is the record of, out of the data of a source."""
    return path.is_file() and source.identity_of(read_ids(path)) == data.get("identity")


def _other_items(data: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say in words that the items are others, as their hashes do not."""
    old, new = data.get("num_items"), wanted.get("num_items")
    return f"it is of {old} items, these are {new}" if old != new else "it is of other items"


_ITEMS = {"data.identity", "data.num_items"}


def _require_equal(
    config: dict[str, Any],
    wanted: dict[str, Any],
    data: dict[str, Any],
    wanted_data: dict[str, Any],
    path: Path,
    way_to_items: Callable[[], str],
) -> list[str]:
    """Raise CheckpointInvalid unless a stored run is the one that is asked for; list what differs in rounding only."""
    old, new = flatten({**BEFORE, **config, "data": data}), flatten({**wanted, "data": wanted_data})
    free = (*FREE_ON_RESUME, "data.title")  # a folder may have another name: the identity tells
    names = sorted(n for n in old.keys() | new.keys() if n not in free and old.get(n) != new.get(n))
    rows = {n: f"{n} {old.get(n)!r}, now {new.get(n)!r}" for n in names}
    other = {name: row for name, row in rows.items() if name not in ROUNDED_ON_RESUME}
    if other:
        told = [row for name, row in other.items() if name not in _ITEMS]
        # Values of another kind have another identity, too; then the items may be the same.
        if "data.num_items" in other or not any(name.startswith("data.") for name in other.keys() - _ITEMS):
            told = [_other_items(data, wanted_data)] * bool(_ITEMS & other.keys()) + told
        raise CheckpointInvalid(
            f"the run in {path} is another one: {'; '.join(told)}",
            expected="the same recipe, options and data",
            remedy=way_to_items() if other.keys() <= _ITEMS else _way_on(other.keys() == {"engine.epochs"}, path),
            path=str(path),
        )
    return [row for name, row in rows.items() if name in old]  # an option that is younger than the run changes nothing
