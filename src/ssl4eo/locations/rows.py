# SPDX-License-Identifier: Apache-2.0
"""Rows of CSV files that others wrote, each with its line number; numbers and points are read strictly.

A decimal point stays a decimal point: 1234.5 people are no 12345. Thousands separators are refused, not guessed.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl4eo.errors import DataMissing, SourceInvalid


@dataclass(frozen=True)
class Row:
    """A line of a CSV file that is not empty."""

    path: Path
    line: int
    """From 1."""
    cells: Sequence[str]
    """Without blanks around them."""

    def number(self, column: int, what: str, *, limit: float = math.inf) -> float:
        """Read a finite number between -limit and limit.

        Raises:
            SourceInvalid: there is none, naming file and line.
        """
        text = self.cells[column] if column < len(self.cells) else ""
        try:
            value = float(text.replace("_", "?"))  # float takes 1_000
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and abs(value) <= limit):
            span = "a number" if limit == math.inf else f"a number from -{limit:g} to {limit:g}"
            raise self.wrong(f"has {what} {text!r}", span)
        return value

    def point(self, lon: int, lat: int) -> tuple[float, float]:
        """Read a longitude and a latitude [deg].

        Raises:
            SourceInvalid: they are none.
        """
        return self.number(lon, "longitude", limit=180), self.number(lat, "latitude", limit=90)

    def wrong(self, found: str, expected: str, remedy: str = "mend the line, or leave it out") -> SourceInvalid:
        """Make the error for this line."""
        return SourceInvalid(
            f"line {self.line} of {self.path} {found}",
            expected=expected,
            remedy=remedy,
            path=str(self.path),
            line=self.line,
        )


def read_rows(path: Path) -> Iterator[Row]:
    """Read the lines of a CSV file, those with a comma or not; empty ones are left out.

    Raises:
        DataMissing: there is no such file, or it cannot be opened.
        SourceInvalid: it is not text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, skipinitialspace=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield Row(path, reader.line_num, [cell.strip() for cell in cells])
    except (UnicodeDecodeError, csv.Error) as error:
        raise SourceInvalid(
            f"{path} is not a CSV file ({error})",
            expected="UTF-8 text",
            remedy="unzip it first if it is a zip",
            path=str(path),
        ) from error
    except OSError as error:
        if isinstance(error, SourceInvalid):
            raise
        raise DataMissing(f"{path} cannot be read ({error.strerror})", expected="a CSV file", path=str(path)) from error


def find_columns(head: Row, names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Find columns by their names, upper or lower case.

    Args:
        head: line with the names.
        names: of each wanted column its spellings, the first that is there counts.

    Raises:
        SourceInvalid: one is not there.
    """
    there = {cell.lower(): number for number, cell in reversed(list(enumerate(head.cells)))}
    found = {wanted: next((there[s] for s in spellings if s in there), None) for wanted, spellings in names.items()}
    missing = [wanted for wanted, number in found.items() if number is None]
    if missing:
        raise SourceInvalid(
            f"{head.path} has columns {', '.join(head.cells)[:200]} and none for {', '.join(missing)}",
            expected="; ".join(f"{wanted}: {' or '.join(names[wanted])}" for wanted in missing),
            remedy="rename the columns in its first line",
            path=str(head.path),
        )
    return {wanted: number for wanted, number in found.items() if number is not None}
