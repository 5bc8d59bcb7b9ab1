# SPDX-License-Identifier: Apache-2.0
"""Many judgements in one go: networks on tasks by protocols; what is not here is told with the way to get it.

A suite is a table. What is in scores.jsonl already is not judged again, so an interrupted suite goes on; what cannot be
judged is a row of the ledger, SKIPPED, with the remedy, and the suite goes on to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ssl4eo.archive.journal import require_outside
from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.errors import DataMissing, Ssl4eoError, unknown_name
from ssl4eo.evaluation.columns import EXTRA_TASKS, OTHER_PROTOCOLS, PUBLISHED_PROTOCOL, PUBLISHED_TASKS
from ssl4eo.evaluation.ledger import Matter, Skipped, gaps_of, update_ledger, whole_of
from ssl4eo.evaluation.network import Network, load_network
from ssl4eo.evaluation.protocols.table import PROTOCOLS
from ssl4eo.evaluation.run import SCORES, evaluate
from ssl4eo.evaluation.score import Score
from ssl4eo.evaluation.tasks.table import TASKS, open_task
from ssl4eo.evaluation.tasks.task import Task
from ssl4eo.files import numbered_jsonl

Key = tuple[str, str, str, str, int | None]
"""Checkpoint, task, split, protocol, epochs that were asked for."""


@dataclass(frozen=True)
class Judgement:
    """One cell of a suite."""

    checkpoint: str
    task: str
    split: str
    protocol: str
    published: float | None = None
    """Value of the published table, 0 to 1."""

    @property
    def matter(self) -> Matter:
        """What a row of the ledger would be about."""
        return self.task, self.split, self.checkpoint, self.protocol


def _published() -> Iterator[Judgement]:
    for card in CARDS.values():
        values = {score.task: score.value / 100 for score in card.scores}
        for column in PUBLISHED_TASKS:
            if column.title in values:
                for protocol in (PUBLISHED_PROTOCOL, *OTHER_PROTOCOLS):
                    value = values[column.title] if protocol == PUBLISHED_PROTOCOL else None
                    yield Judgement(card.name, column.task, column.split, protocol, value)
        if card.scores:
            for extra in EXTRA_TASKS:
                for protocol in extra.protocols:
                    yield Judgement(card.name, extra.task, extra.split, protocol)


SUITES: Mapping[str, tuple[Judgement, ...]] = MappingProxyType({"published": tuple(_published())})


def run_suite(
    name: str,
    roots: Path,
    out: Path,
    *,
    epochs: int | None = None,
    offline: bool | None = None,
    skip_missing: bool = False,
    show: Callable[[str], None] | None = None,
) -> tuple[list[Score], list[Skipped]]:
    """Judge what can be judged.

    Args:
        name: of SUITES.
        roots: folder with a folder, or a link to one, for each task, named like the task.
        out: folder of the records: scores.jsonl, and skipped.jsonl.
        epochs: of protocols that train, in place of their own.
        offline: fetch no weights; None: as SSL4EO_OFFLINE says.
        skip_missing: judge on what there is of a split whose items are not all there.
        show: told what is judged now.

    Returns:
        The scores that were added, and what was left out.

    Raises:
        UnknownName: no such suite.
    """
    if name not in SUITES:
        raise unknown_name("suite", name, SUITES)
    scores, skipped = list[Score](), list[Skipped]()
    require_outside(out, is_folder=True)
    bench = _Bench(roots, offline, skip_missing)
    done, partly = _done(out)
    for wanted in _pending(SUITES[name], done, epochs):
        row, group = wanted[0], wanted
        protocols = [cell.protocol for cell in group]
        if show is not None:
            show(f"{row.checkpoint} on {row.task} by {', '.join(protocols)}")
        try:
            network, task = bench.open(row)
            group = [cell for cell in wanted if (*_key(cell, epochs), task.split_sha256) not in partly]
            protocols = [cell.protocol for cell in group]
            if protocols:
                scores += evaluate(network, task, protocols, out=out, epochs=epochs)
            update_ledger(out, gaps_of(task), settled=[whole_of(task), *(cell.matter for cell in group)])
        except Ssl4eoError as error:
            rows = [Skipped(c.task, c.split, error.found, error.remedy, c.checkpoint, c.protocol) for c in group]
            update_ledger(out, rows)
            skipped += rows
    return scores, skipped


def _pending(rows: Sequence[Judgement], done: set[Key], epochs: int | None) -> list[list[Judgement]]:
    """Give what is still to be judged: each protocol that trains alone, those on the same features together."""
    groups: dict[Key, list[Judgement]] = {}
    for row in rows:
        if _key(row, epochs) not in done:
            together = row.protocol if _trains(row) else "features"
            groups.setdefault((row.checkpoint, row.task, row.split, together, None), []).append(row)
    return list(groups.values())


class _Bench:
    """Opens networks, one at a time in memory, and tasks, each once for networks of one input."""

    def __init__(self, roots: Path, offline: bool | None, skip_missing: bool) -> None:
        self._roots, self._offline, self._skip_missing = roots, offline, skip_missing
        self._name, self._network = "", None
        self._tasks: dict[tuple[str, str, str], Task] = {}

    def open(self, row: Judgement) -> tuple[Network, Task]:
        """Open what a cell is of; nothing is fetched for data that are not there."""
        root = _root_of(row.task, self._roots)
        if self._network is None or self._name != row.checkpoint:
            self._name, self._network = row.checkpoint, load_network(row.checkpoint, offline=self._offline)
        contract = self._network.backbone.contract
        key = (row.task, row.split, str(contract))
        if key not in self._tasks:
            self._tasks[key] = open_task(
                row.task, root, split=row.split, contract=contract, skip_missing=self._skip_missing
            )
        return self._network, self._tasks[key]


def _root_of(task: str, roots: Path) -> Path:
    """Find the data of a task.

    Raises:
        DataMissing: with the way to get it.
    """
    root = roots / task
    if root.exists():
        return root
    download = next((row.download for row in (*PUBLISHED_TASKS, *EXTRA_TASKS) if row.task == task), None)
    raise DataMissing(
        f"no data of {task} ({TASKS[task].title}) at {root}",
        expected="a folder, or a link to one",
        remedy=f"`ssl4eo download {download}` fetches it or says how; then link its folder as {root}"
        if download
        else "",
        path=str(root),
    )


def _trains(row: Judgement) -> bool:
    return PROTOCOLS[row.protocol].on_pixels is not None


def _key(row: Judgement, epochs: int | None) -> Key:
    return row.checkpoint, row.task, row.split, row.protocol, epochs if _trains(row) else None


def _done(out: Path) -> tuple[set[Key], set[tuple[str | int | None, ...]]]:
    """List what is judged already on whole training parts, and in how many epochs where that was told.

    Returns:
        What was judged on the whole of the data, and what was judged on less, with the hash of the test items: that is
        judged anew when there are more.
    """
    path = out / SCORES
    rows = [row for _, row in numbered_jsonl(path)] if path.is_file() else []
    done, partly = set[Key](), set[tuple[str | int | None, ...]]()
    for row in rows:
        if row.get("fraction", 1.0) == 1:
            names = (row["checkpoint"], row["task"], row["split"], row["protocol"])
            key = (*names, row["settings"].get("epochs_asked"))
            done.update([key] if row.get("is_whole", True) else [])
            partly.add((*key, row["split_sha256"]))
    return done, partly
