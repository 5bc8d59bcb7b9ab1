# SPDX-License-Identifier: Apache-2.0
"""Class by class: a table for each task and protocol, of its best network, from what the scores record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ssl4eo.report.records import Score
from ssl4eo.report.table import PROTOCOL_TITLES, Labelled
from ssl4eo.report.wording import DASH, points

CLASSES_LEAD = "How each class does under the best network of a protocol, in percent; counts are of the test part."
_TITLES: Mapping[str, str] = MappingProxyType(
    {"recall": "Recall", "f1": "F1", "average_precision": "Average precision", "iou": "IoU"}
)


@dataclass(frozen=True)
class ClassTable:
    """One table."""

    title: str
    columns: tuple[str, ...]
    """Names of the columns after the class."""
    rows: tuple[tuple[str, ...], ...]
    """Class, then a cell for each column."""
    synthetic: bool


def class_tables(groups: Iterable[list[Labelled]]) -> tuple[ClassTable, ...]:
    """Make a table of the best network of each group of one task and protocol; groups without classes have none."""
    tables: list[ClassTable] = []
    for group in groups:
        known = [entry for entry in group if entry.score.by_class]
        if known:
            tables.append(_table(best_of(known)))
    return tuple(tables)


def best_of(group: list[Labelled]) -> Labelled:
    """Choose the pre-trained network with the highest score, an untrained one where there is no other."""
    return max(group, key=lambda entry: (entry.score.pretrained, entry.score.value))


def name_of(score: Score) -> str:
    """Name a network as captions do."""
    return f"{score.checkpoint}{'' if score.pretrained else ' (untrained)'}, seed {score.seed}"


def _table(entry: Labelled) -> ClassTable:
    s = entry.score
    names = tuple(dict.fromkeys(name for values in s.by_class.values() for name in values))
    has_counts = len(s.confusion) == len(s.classes) and set(s.classes) == set(names)
    items = {name: sum(s.confusion[k]) for k, name in enumerate(s.classes)} if has_counts else {}
    taken = {name: sum(row[k] for row in s.confusion) for k, name in enumerate(s.classes)} if has_counts else {}
    right = {name: s.confusion[k][k] for k, name in enumerate(s.classes)} if has_counts else {}
    columns = [_TITLES.get(measure, measure.replace("_", " ")) for measure in s.by_class]
    rows: list[tuple[str, ...]] = []
    for name in names:
        cells = [_percent(values.get(name)) for values in s.by_class.values()]
        if has_counts:
            precision = right[name] / taken[name] if taken[name] else None
            cells = [f"{items[name]:,}", *cells, _percent(precision)]
        rows.append((name, *cells))
    protocol = PROTOCOL_TITLES.get(s.protocol, s.protocol)
    title = f"{s.task}, split {s.split}, {protocol}: {name_of(s)}"
    return ClassTable(
        title, ("Count", *columns, "Precision") if has_counts else tuple(columns), tuple(rows), s.synthetic
    )


def _percent(value: float | None) -> str:
    return DASH if value is None else points(100 * value, signed=False)
