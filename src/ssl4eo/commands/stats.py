# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo stats`: the figures of an archive's pixels, beside the published ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from json import dumps
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssl4eo import sensors
from ssl4eo.archive.figures import compare
from ssl4eo.archive.metadata import read_layout
from ssl4eo.archive.plausible import doubts, recorded_offset
from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.archive.statistics import Statistics, measure
from ssl4eo.form import Form
from ssl4eo.processes import open_run

BARS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
LEAST_WIDTH = 116
"""Of the tables [characters], on narrower screens too."""
WIDTH = 24
"""Characters of a histogram."""


def run(path: Path, *, recompute: bool = False, workers: int = 1, json: bool = False) -> int:
    """Show mean, deviation, quantiles and histogram of every band, beside the published figures.

    Args:
        path: of the archive
        recompute: measure all pixels again and compare with what was measured at packing
        workers: processes to measure in
        json: print the figures as JSON

    Returns:
        Exit status 0, or 1 if what is measured again differs from what is stored.
    """
    archive = open_archive(path)
    stored = {name: archive.statistics(name) for name in archive.modalities}
    known = {name: figures for name, figures in stored.items() if figures is not None}
    is_measured = recompute or len(known) < len(stored)
    figures = _measure(archive, workers) if is_measured else known
    differences = [line for name in known for line in compare(name, known[name], figures[name])]
    facts = {name: describe(archive, name, figures[name]) for name in archive.modalities}
    if json:
        report = {"path": str(archive.path), "modalities": facts, "differences": differences}
        sys.stdout.write(dumps({**report, "measured": is_measured}, indent=2) + "\n")
    else:
        _show(archive, figures, facts, differences, is_measured=is_measured)
    return 1 if differences else 0


def _measure(archive: Archive, workers: int) -> dict[str, Statistics]:
    with open_run(workers) as run_many:
        return measure(archive.path, read_layout(archive.path), run=run_many)


def describe(archive: Archive, name: str, figures: Statistics) -> dict[str, Any]:
    """Gather what `stats` tells of a modality, as plain values."""
    form = archive.form(name)
    return {
        "unit": sensors.modality(name).unit,
        "dtype": form.dtype,
        "scaling": form.scaling,
        "offset": recorded_offset(archive, name),
        "bands": figures.to_json(),
        "published": {source: _beside(figures, table) for source, table in published(form).items()},
        "warnings": [str(doubt) for doubt in doubts(form, figures, recorded_offset(archive, name))],
    }


def published(form: Form) -> Mapping[str, sensors.Statistics]:
    """Give the published statistics that are in the unit of the stored values."""
    return sensors.modality(form.modality).statistics if form.scaling == "none" else {}


def _beside(figures: Statistics, table: sensors.Statistics) -> dict[str, dict[str, float]]:
    return {
        band: {
            "mean": table.mean[band],
            "std": table.std[band],
            "mean_difference": row.mean - table.mean[band],
            "std_difference": row.std - table.std[band],
        }
        for band, row in figures.bands.items()
        if row.count
    }


def sparkline(histogram: Sequence[int]) -> str:
    """Draw the part of a histogram that holds anything in WIDTH characters; heights as square roots.

    >>> len(sparkline([0, 0, 4, 1, 0]))
    24
    """
    filled = [i for i, number in enumerate(histogram) if number]
    if not filled:
        return ""
    part = histogram[filled[0] : filled[-1] + 1]
    edges = [i * len(part) // WIDTH for i in range(WIDTH + 1)]
    heights = [max(part[a : max(b, a + 1)]) for a, b in pairwise(edges)]
    top = math.sqrt(max(heights))
    return "".join(BARS[math.ceil(math.sqrt(h) / top * (len(BARS) - 1))] for h in heights)


def _show(
    archive: Archive,
    figures: Mapping[str, Statistics],
    facts: Mapping[str, dict[str, Any]],
    differences: Sequence[str],
    *,
    is_measured: bool,
) -> None:
    console = Console(soft_wrap=True)
    console.width = max(console.width, LEAST_WIDTH)
    where = "measured now" if is_measured else "measured when it was packed"
    console.print(f"{escape(str(archive.path))}: {where}", highlight=False)
    for name, row in facts.items():
        kind = row["unit"] if row["scaling"] == "none" else row["scaling"]
        console.print(_table(f"{name} [{kind}, {row['dtype']}]", figures[name]))
        if row["published"]:
            console.print(_published_table(name, row["published"]))
        for line in row["warnings"]:
            console.print(f"warning: {escape(line)}", highlight=False)
    for line in differences:
        console.print(f"DIFFERS: {escape(line)}", highlight=False)


def _table(title: str, figures: Statistics) -> Table:
    table = _narrow_table(title, "band", "mean", "std", "min", "1 %", "50 %", "99 %", "max", "zero", "histogram")
    for band, row in figures.bands.items():
        levels = [row.quantiles.get(q, math.nan) for q in ("0.01", "0.5", "0.99")]
        numbers = [_number(v) for v in (row.mean, row.std, row.minimum, *levels, row.maximum)]
        table.add_row(band, *numbers, f"{row.nodata:.2%}", sparkline(row.histogram))
    return table


def _published_table(name: str, tables: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    columns = (f"{source}\n{what}" for source in tables for what in ("mean", "std"))
    table = _narrow_table(f"{name}, published (and how much ours is more)", "band", *columns)
    for band in next(iter(tables.values())):
        cells = [
            f"{_number(rows[band][what])} ({_difference(rows[band][f'{what}_difference'])})"
            for rows in tables.values()
            for what in ("mean", "std")
        ]
        table.add_row(band, *cells)
    return table


def _narrow_table(title: str, *columns: str) -> Table:
    """Make a table whose numbers are never cut: they are worth more than the width of the screen."""
    table = Table(title=escape(title), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True, justify="left" if column in ("band", "histogram") else "right")
    return table


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _difference(value: float) -> str:
    return f"{value:+.0f}" if abs(value) >= 100 else f"{value:+.3g}"
