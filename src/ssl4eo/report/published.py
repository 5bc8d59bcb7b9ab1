# SPDX-License-Identifier: Apache-2.0
"""The published table with what was measured here beside it: empty where nothing was, never filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssl4eo.checkpoints.catalog import CARDS
from ssl4eo.evaluation.columns import (
    OTHER_PROTOCOLS,
    PUBLISHED_PROTOCOL,
    PUBLISHED_SIZE,
    PUBLISHED_TASKS,
    PublishedTask,
)
from ssl4eo.report.records import Run, Score
from ssl4eo.report.wording import DASH, points

Key = tuple[str, str, str, str]
"""Checkpoint, task, split, protocol."""


@dataclass(frozen=True)
class Cell:
    """One published number and what was measured of it."""

    column: PublishedTask
    published: float
    """[%]"""
    measured: float | None
    """[%], by the published protocol; None: not measured here."""
    interval: tuple[float, float] | None
    """95 % [%]."""
    others: Mapping[str, float]
    """[%] by other protocols."""

    @property
    def difference(self) -> float | None:
        """Measured minus published [points]."""
        return None if self.measured is None else self.measured - self.published

    @property
    def verdict(self) -> str:
        """Say whether the number was reproduced."""
        if self.difference is None:
            return "not measured"
        return "reproduced" if abs(self.difference) <= self.column.tolerance else "differs"


@dataclass(frozen=True)
class PublishedRow:
    """One published network."""

    checkpoint: str
    cells: tuple[Cell, ...]


def published_rows(runs: Iterable[Run]) -> tuple[PublishedRow, ...]:
    """Put scores of whole splits beside the published ones; nothing if no published network was to be judged."""
    found: dict[Key, Score] = {}
    wanted: set[str] = set()
    for run in runs:
        wanted.update(row.checkpoint for row in run.skipped)
        for score in run.scores or ():
            if _is_reproduction(score):
                found[score.checkpoint, score.task, score.split, score.protocol] = score
    if not any(checkpoint in CARDS for checkpoint in wanted.union(key[0] for key in found)):
        return ()
    return tuple(
        PublishedRow(
            card.name, tuple(_cell(card.name, column, values[column.title], found) for column in PUBLISHED_TASKS)
        )
        for card in CARDS.values()
        if (values := {score.task: score.value for score in card.scores}).keys() >= {c.title for c in PUBLISHED_TASKS}
    )


def _is_reproduction(score: Score) -> bool:
    """Say whether a score is of the whole data, the protocol's own length, and the size that was published."""
    own_length = score.settings.get("epochs_asked") is None
    own_size = score.settings.get("image_size", PUBLISHED_SIZE) == PUBLISHED_SIZE
    return score.is_whole and score.fraction == 1 and not score.num_absent and own_length and own_size


def _cell(checkpoint: str, column: PublishedTask, published: float, found: Mapping[Key, Score]) -> Cell:
    score = found.get((checkpoint, column.task, column.split, PUBLISHED_PROTOCOL))
    others = {p: found.get((checkpoint, column.task, column.split, p)) for p in OTHER_PROTOCOLS}
    return Cell(
        column,
        published,
        None if score is None else 100 * score.value,
        None if score is None or score.interval is None else (100 * score.interval[0], 100 * score.interval[1]),
        {name: 100 * other.value for name, other in others.items() if other is not None},
    )


def cell_words(cell: Cell) -> tuple[str, str]:
    """Say a cell in two lines: the numbers, and what they mean.

    >>> cell_words(Cell(PUBLISHED_TASKS[1], 99.1, None, None, {"knn": 91.25}))
    ('99.1 / \u2013', 'not measured; knn 91.2')
    """
    difference = cell.difference
    measured = DASH if cell.measured is None else f"{cell.measured:.1f}"
    judged = cell.verdict
    if difference is not None:
        judged = f"{points(difference)}, {judged} within {cell.column.tolerance:g}"
        judged = judged.replace("differs within", "differs by more than")
    others = ", ".join(f"{name} {value:.1f}" for name, value in cell.others.items())
    return f"{cell.published:.1f} / {measured}", "; ".join(filter(None, [judged, others]))


def reasons(columns: Sequence[PublishedTask] = PUBLISHED_TASKS) -> list[str]:
    """Say why each tolerance is what it is."""
    return [f"{column.title}: {column.tolerance:g} points; {column.why}" for column in columns]
