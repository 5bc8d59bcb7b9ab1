# SPDX-License-Identifier: Apache-2.0
"""One figure a task: every network by every protocol, with what is known of the spread.

A line through a dot is the 95 % interval from resampling the test items where one score was measured, one standard
deviation to each side where there are several seeds; a dot alone has neither on record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from ssl4eo.report.style import BLUE, INK, MUTED, ORANGE, new_figure, note, styled
from ssl4eo.report.table import Row, Summary

_ROW = 0.34
"""Height of a line [inch]."""


def by_task(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Group the rows of the table by task and split, in their order."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.task, row.split), []).append(row)
    return groups


def spread_of(summary: Summary) -> tuple[float, float] | None:
    """Give the ends of the line through a dot [%], None where nothing tells."""
    if summary.spread is not None:
        return 100 * (summary.mean - summary.spread), 100 * (summary.mean + summary.spread)
    return None if summary.interval is None else (100 * summary.interval[0], 100 * summary.interval[1])


def task_figure(rows: Sequence[Row]) -> Figure:
    """Draw the rows of one task, of one split, from top to bottom: gray dots untrained, colored ones pre-trained."""
    with styled():
        figure = new_figure(8.2, 1.15 + _ROW * len(rows))
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows):
            for summary, color, shift in ((row.untrained, ORANGE, 0.12), (row.pretrained, BLUE, -0.12)):
                if summary is not None:
                    _dot(axes, summary, place + shift, color)
        axes.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=7, color=INK, parse_math=False)
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("[%]; protocols may report different measures, named with each")
        axes.grid(visible=False, axis="y")
        if any(row.synthetic for row in rows):
            note(figure, "synthetic data")
    return figure


def _dot(axes: Any, summary: Summary, place: float, color: str) -> None:
    ends = spread_of(summary)
    if ends is not None:
        axes.plot(ends, [place, place], color=color, linewidth=1.6, alpha=0.5)
    axes.plot([100 * summary.mean], [place], "o", color=color, markersize=6)
    axes.annotate(
        f"{100 * summary.mean:.1f}", (100 * summary.mean, place), xytext=(0, 5), textcoords="offset points",
        ha="center", fontsize=6, color=MUTED,
    )  # fmt: skip


def _label(row: Row) -> str:
    network = f"{row.experiment} ({row.backbone})" if row.experiment else row.backbone
    return f"{row.protocol_title}, {row.metric.replace('_', ' ')}\n{network}"
