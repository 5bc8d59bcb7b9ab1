# SPDX-License-Identifier: Apache-2.0
"""What the map can color and filter by: dates, validity, and every column of the location table, as typed arrays.

A column is one array (slot, location); dates have a slot for each season, all others have one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive

Kind = Literal["date", "number", "category", "text"]

NO_CODE = 65_535
"""Stands for nothing in dates and categories."""
MOST_CATEGORIES = 1000
"""A text column with more distinct values is kept as text: it cannot be colored."""
_MOST_CLASSES = 32
"""Whole numbers with more distinct values are numbers, not classes."""


@dataclass(frozen=True)
class Column:
    """One column for all locations."""

    key: str
    """Part of file names: letters, digits and dashes."""
    title: str
    kind: Kind
    values: NDArray[Any]
    """(slot, location): uint16 of dates [days since 1970] and categories, object of text; numbers are float32, or
    float64 where that would change them."""
    slots: tuple[str, ...] = ("",)
    """Titles of the slots."""
    labels: tuple[str, ...] = ()
    """Of a category, by code."""
    numeric: bool = False
    """Whether the labels are whole numbers: a filter takes them from one to another."""
    group: str = "label"
    """`date`, `valid`, `cloud`, `split` or `label`: what a filter takes it for."""
    modality: str = ""
    """What it tells of, where it tells of one modality."""

    @property
    def dtype(self) -> str:
        """Name the type of its files: `uint16`, `float32`, `float64`, or `text` for JSON."""
        return "text" if self.kind == "text" else str(self.values.dtype)

    def describe(self) -> dict[str, Any]:
        """Give plain values for the front end."""
        low, high = _span(self)
        return {
            "key": self.key,
            "title": self.title,
            "kind": self.kind,
            "dtype": self.dtype,
            "numeric": self.numeric,
            "slots": list(self.slots),
            "labels": list(self.labels),
            "group": self.group,
            "modality": self.modality,
            "low": low,
            "high": high,
        }


def _span(column: Column) -> tuple[float | None, float | None]:
    if column.kind == "text":
        return None, None
    values = column.values
    known = values[np.isfinite(values)] if column.kind == "number" else values[values != NO_CODE]
    return (None, None) if not known.size else (float(known.min()), float(known.max()))


@dataclass(frozen=True)
class Places:
    """All locations of an archive as arrays."""

    ids: Sequence[str]
    lons: NDArray[np.float64]
    """[deg], NaN where the source does not tell."""
    lats: NDArray[np.float64]
    columns: Sequence[Column] = field(default_factory=tuple[Column, ...])
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    """Columns of the location table that cannot be shown on the map, each with the reason."""

    def __len__(self) -> int:
        """Number of locations."""
        return len(self.ids)


def read_places(archive: Archive) -> Places:
    """Read the tables of an archive.

    Raises:
        ArchiveInvalid, ShardCorrupt, OSError: a table is damaged.
    """
    import shapely

    points = np.asarray(archive.locations["geometry"].to_numpy(), dtype=object)
    columns = [_dates(archive, name) for name in archive.modalities]
    columns += [column for name in archive.modalities if (column := _flags(archive, name)) is not None]
    left_out: dict[str, str] = {}
    for i, name in enumerate(archive.columns):
        try:
            columns.append(label_column(f"label-{i}", name, archive.labels(name)))
        except (TypeError, ValueError, OverflowError, NotImplementedError) as error:  # another writer's idea of a label
            left_out[name] = str(error)
    return Places(archive.ids, shapely.get_x(points), shapely.get_y(points), tuple(columns), left_out)


def _dates(archive: Archive, name: str) -> Column:
    values = _days(archive.times(name)).T
    slots = tuple(f"season {i}" for i in range(archive.num_seasons))
    return Column(f"dates-{name}", f"date, {name}", "date", values, slots, group="date", modality=name)


def _days(times: NDArray[np.datetime64]) -> NDArray[np.uint16]:
    """Give days since 1970, NO_CODE for what is unknown or cannot be told so."""
    days = times.astype("datetime64[D]").astype(np.int64)
    known = ~np.isnat(times) & (days >= 0) & (days < NO_CODE)
    return np.where(known, days, NO_CODE).astype(np.uint16)


def _flags(archive: Archive, name: str) -> Column | None:
    flagged = archive.flagged(name)
    if not flagged:
        return None
    counts = np.zeros(len(archive), np.float32)
    np.add.at(counts, [index for index, _ in flagged], 1)
    return Column(f"invalid-{name}", f"images not valid, {name}", "number", counts[None], group="valid", modality=name)


def label_column(key: str, name: str, values: NDArray[Any]) -> Column:
    """Make a column of labels as the table has them: text, dates, whole numbers or numbers; None and NaN are nothing.

    Raises:
        TypeError, ValueError: the map can show no such values, or not all of them.
    """
    if values.dtype.kind == "M":
        return _label_dates(key, name, values)
    if values.dtype.kind not in "biufO":
        raise TypeError(f"values of type {values.dtype} are neither text nor numbers nor dates")
    _require_plain(values)
    modality = next((word for word in reversed(name.split("_")) if word[:1] in "SL" and word.isupper()), "")
    missing = np.array([value is None or value != value for value in values.tolist()], np.bool_)  # noqa: PLR0124 - NaN
    known = values[~missing]
    is_text = any(isinstance(value, str) for value in known[:1].tolist())
    is_cloud = "cloud" in name.lower() and not is_text  # a filter asks for a share at most: words have none
    group = "cloud" if is_cloud else "split" if name.lower() == "split" else "label"
    distinct = sorted(set(known.tolist())) if is_text or all(float(v).is_integer() for v in known.tolist()) else []
    if is_text and len(distinct) > MOST_CATEGORIES:
        texts = np.array([None if gone else str(v) for gone, v in zip(missing, values, strict=True)], dtype=object)
        return Column(key, name, "text", texts[None], group=group)
    if is_text or (0 < len(distinct) <= _MOST_CLASSES and group != "cloud"):
        codes = np.full(len(values), NO_CODE, np.uint16)
        codes[~missing] = np.searchsorted(distinct, known.tolist())
        labels = tuple(value if is_text else _spell(value) for value in distinct)
        return Column(
            key, name, "category", codes[None], labels=labels, numeric=not is_text, group=group, modality=modality
        )
    numbers = np.full(len(values), np.nan, _number_type(known.astype(np.float64)))
    numbers[~missing] = known
    return Column(key, name, "number", numbers[None], group=group, modality=modality)


def _label_dates(key: str, name: str, values: NDArray[np.datetime64]) -> Column:
    days = _days(values)
    if lost := int((~np.isnat(values) & (days == NO_CODE)).sum()):
        raise ValueError(f"{lost} of its dates are not between 1970-01-01 and 2149-06-05")
    return Column(key, name, "date", days[None])


def _require_plain(values: NDArray[Any]) -> None:
    """Raise unless all values are text, or all are numbers or truth values, or nothing."""
    kinds = {type(value) for value in values.tolist() if value is not None}
    if kinds == {str}:
        return
    if others := sorted(kind.__name__ for kind in kinds - {bool, int, float, Decimal}):
        raise TypeError(f"values of type {' and '.join(others)} are neither text nor numbers nor dates")


def _number_type(known: NDArray[np.float64]) -> type[np.floating[Any]]:
    """Choose float32 unless it would change whole numbers, or others by more than a millionth of their span.

    >>> _number_type(np.array([0.1, 0.7])), _number_type(np.array([20200101.0, 20200102.0]))
    (<class 'numpy.float32'>, <class 'numpy.float64'>)
    """
    finite = known[np.isfinite(known)]
    if not finite.size:
        return np.float32
    with np.errstate(over="ignore"):
        change = np.abs(finite.astype(np.float32) - finite)
    allowed = np.where(finite == np.trunc(finite), 0, 1e-6 * np.ptp(finite))
    return np.float32 if (change <= allowed).all() else np.float64


def texts_of(labels: Mapping[str, Any]) -> dict[str, str]:
    """Give the labels of one location as they are shown.

    >>> texts_of({"day": 20200101, "height": 12345681.25, "level": 2.0})
    {'day': '20200101', 'height': '12345681.25', 'level': '2'}
    """
    return {name: _spell(value) for name, value in labels.items()}


def _spell(value: Any) -> str:
    return f"{value:.15g}" if isinstance(value, float) else str(value)
