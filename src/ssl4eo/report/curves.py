# SPDX-License-Identifier: Apache-2.0
"""Training curves of one run: loss, accuracy in passing, rates and momentum, health of the features, throughput.

The loss is drawn raw (faint) and smoothed by a centered moving mean over 1/25 of the points;
the mean shortens at both ends, so that the first and last values are not pulled inwards.
Of fewer points than three such windows there is no mean: the values alone are drawn, and strong.
The untrained level in the k-NN panel is this run's own value at step 0 where it has one (the same
protocol), otherwise the mean of untrained k-NN scores, whose part and task the label names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from itertools import cycle
from textwrap import shorten

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssl4eo.report.records import Knn, Log
from ssl4eo.report.style import BLUE, GREEN, MUTED, ORANGE, PURPLE, empty, new_figure, note, styled
from ssl4eo.report.table import Row
from ssl4eo.report.wording import scores_words

_FEWEST_WINDOWS = 3
"""Of the moving mean that a log must be long."""


@dataclass(frozen=True)
class Level:
    """A horizontal line to compare a curve with."""

    value: float
    """0 to 1."""
    label: str


def smooth(values: NDArray[np.float64], half_width: int) -> NDArray[np.float64]:
    """Average each value (N,) with up to `half_width` neighbors on both sides, NaN left out.

    >>> smooth(np.array([0.0, 3.0, 6.0]), 1).tolist()
    [1.5, 3.0, 4.5]
    """
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(values.size)
    low, high = np.maximum(index - half_width, 0), np.minimum(index + half_width + 1, values.size)
    total, count = sums[high] - sums[low], counts[high] - counts[low]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def has_mean(count: int) -> bool:
    """Say whether so many points have a moving mean: of fewer it would tell of its window and not of the run.

    >>> has_mean(8), has_mean(9)
    (False, True)
    """
    return count >= _FEWEST_WINDOWS * (2 * _half_width(count) + 1)


def _half_width(count: int) -> int:
    return max(1, count // 50)


def untrained_level(log: Log, rows: Iterable[Row], task: str) -> Level | None:
    """Find what an untrained network reaches on the k-NN task of a log, None if nobody measured it.

    A log that names its task otherwise than the scores is compared with the only task that was scored.
    """
    for point in log.knn:
        if point.step == 0 and point.task == task:
            return Level(point.accuracy, "untrained (this run, step 0):")
    scored = [(r, r.untrained) for r in rows if r.protocol == "knn" and r.metric == "accuracy" and r.untrained]
    named = [pair for pair in scored if pair[0].task == task]
    if not named and len({(r.task, r.split, r.untrained) for r, _ in scored}) == 1:
        named = scored
    if not named:
        return None
    row, untrained = named[0]
    return Level(untrained.mean, f"untrained, {row.part} part of {row.task}, {scores_words(untrained)}:")


def curves_figure(log: Log, *, rows: Sequence[Row] = (), synthetic: bool) -> Figure:
    """Draw the six panels of one log; a panel without data says so."""
    with styled():
        figure = new_figure(11.0, 9.0)
        grid = figure.add_gridspec(3, 2, height_ratios=(3, 2, 2), hspace=0.42, wspace=0.2)
        grid.update(left=0.055, right=0.945, top=0.955, bottom=0.06)
        _loss(figure.add_subplot(grid[0, 0]), log)
        _knn(figure.add_subplot(grid[0, 1]), log, rows)
        _learning_rate(figure.add_subplot(grid[1, 0]), log)
        _health(figure.add_subplot(grid[1, 1]), log)
        _momentum(figure.add_subplot(grid[2, 0]), log)
        _throughput(figure.add_subplot(grid[2, 1]), log)
        _widen(figure, log)
        if synthetic:
            note(figure, "synthetic data")
    return figure


def _epochs(points: Sequence[object]) -> NDArray[np.float64]:
    return np.array([getattr(p, "epoch") for p in points], dtype=np.float64)  # noqa: B009 (Step, Knn or Alarm)


def _nullable(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _dot(points: Sized) -> str:
    """Give the format of a line: of a single point there would be nothing to see."""
    return "o-" if len(points) == 1 else "-"


def _from_zero(axes: Axes, room: float = 0.1) -> None:
    """Let the values start at 0, with room above the largest: a marker there is drawn whole."""
    values = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in axes.lines])
    largest = float(values[np.isfinite(values)].max(initial=0.0))
    axes.set_ylim(0, (1 + room) * largest or 1.0)


def _widen(figure: Figure, log: Log) -> None:
    """Name the one epoch of a log that has no other, in place of its hundredths."""
    epochs = {point.epoch for points in (log.steps, log.knn, log.probes, log.alarms) for point in points}
    if len(epochs) == 1:
        epoch = epochs.pop()
        for axes in figure.axes:
            if axes.get_xlabel():
                axes.set_xlim(epoch - 0.5, epoch + 0.5)
                axes.set_xticks([epoch], [f"{epoch:g}"])


def _loss(axes: Axes, log: Log) -> None:
    axes.set_title("Loss")
    if not log.steps:
        empty(axes, "no steps recorded")
        return
    epochs = _epochs(log.steps)
    loss = np.array([s.loss for s in log.steps], dtype=np.float64)
    _with_mean(axes, epochs, loss, BLUE, 2.0)
    finite = loss[np.isfinite(loss)]
    if finite.size > 20:  # a few wild steps must not flatten the curve
        low, high = np.percentile(finite, [0.5, 99.5])
        pad = 0.06 * (high - low) or 0.1
        axes.set_ylim(low - pad, high + pad)
    axes.set_xlabel("epoch")


def _with_mean(
    axes: Axes, epochs: NDArray[np.float64], values: NDArray[np.float64], color: str, linewidth: float
) -> None:
    """Draw values faint and their moving mean strong, or the values strong where they have none."""
    strong = values
    if has_mean(values.size):
        axes.plot(epochs, values, color=color, alpha=0.27, linewidth=0.8)
        strong = smooth(values, _half_width(values.size))
    axes.plot(epochs, strong, _dot(epochs), color=color, linewidth=linewidth)


def _knn(axes: Axes, log: Log, rows: Sequence[Row]) -> None:
    tasks = list(dict.fromkeys(point.task for point in log.knn))
    on = f" on {shorten(tasks[0], 34, placeholder='...')}" if len(tasks) == 1 else ""
    axes.set_title(f"k-NN accuracy{on} [%]", parse_math=False)
    if not log.knn:
        empty(axes, "no k-NN values recorded")
        return
    names = {task: "k-NN" if len(tasks) == 1 else task for task in tasks}
    for task, color in zip(tasks, cycle((ORANGE, GREEN, PURPLE, BLUE)), strict=False):
        _knn_task(axes, [p for p in log.knn if p.task == task], untrained_level(log, rows, task), color, names[task])
    for task in dict.fromkeys(p.task for p in log.probes):
        points = [p for p in log.probes if p.task == task]
        axes.plot(
            _epochs(points), [100 * p.accuracy for p in points], "s--", color=BLUE, linewidth=1.3, markersize=3.5,
            label=f"{points[0].protocol} probe",
        )  # fmt: skip
    if log.probes:
        axes.set_title(f"Accuracy{on} [%]", parse_math=False)
    axes.margins(x=0.05, y=0.16)
    axes.set_xlabel("epoch")
    if len(tasks) > 1 or log.probes:
        plain = {"frameon": True, "framealpha": 1, "edgecolor": "none"}  # no grid line strikes it through
        for entry in axes.legend(loc="best", fontsize=8, **plain).get_texts():
            entry.set_parse_math(False)


def _knn_task(axes: Axes, points: Sequence[Knn], level: Level | None, color: str, name: str) -> None:
    values = [100 * p.accuracy for p in points]
    epochs = _epochs(points)
    axes.plot(epochs, values, "o-", color=color, linewidth=2.0, markersize=4.5, label=name)
    axes.annotate(
        f"{values[-1]:.1f}", (epochs[-1], values[-1]), (0, 7), textcoords="offset points",
        ha="center", color=color, fontweight="bold",
    )  # fmt: skip
    if level is not None:
        axes.axhline(100 * level.value, color=MUTED, linestyle=(0, (5, 4)), linewidth=1.2)
        axes.annotate(
            f"{level.label} {100 * level.value:.1f}", (1, 100 * level.value), (0, -4), color=MUTED, fontsize=8,
            xycoords=axes.get_yaxis_transform(), textcoords="offset points", ha="right", va="top", parse_math=False,
        )  # fmt: skip


def _learning_rate(axes: Axes, log: Log) -> None:
    axes.set_title("Learning rate")
    if not log.steps:
        empty(axes, "no steps recorded")
        return
    axes.fill_between(_epochs(log.steps), [s.lr for s in log.steps], color=MUTED, alpha=0.18, linewidth=0)
    axes.plot(_epochs(log.steps), [s.lr for s in log.steps], _dot(log.steps), color=MUTED, linewidth=1.6)
    _from_zero(axes)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("epoch")


def _health(axes: Axes, log: Log) -> None:
    axes.set_title("Health of the features")
    std = [s for s in log.steps if s.feature_std is not None]
    rank = [s for s in log.steps if s.effective_rank is not None]
    if not std and not rank:
        empty(axes, "no feature statistics recorded")
        return
    if std:
        axes.plot(_epochs(std), _nullable([s.feature_std for s in std]), _dot(std), color=GREEN, linewidth=1.8)
        axes.set_ylabel("standard deviation", color=GREEN)
        _from_zero(axes)
    else:
        axes.set_yticks([])
    if rank:
        right = axes.twinx()
        right.plot(_epochs(rank), _nullable([s.effective_rank for s in rank]), _dot(rank), color=PURPLE, linewidth=1.8)
        rankme = [s for s in rank if s.rankme is not None]
        right.plot(
            _epochs(rankme),
            _nullable([s.rankme for s in rankme]),
            _dot(rankme).replace("-", ":"),
            color=PURPLE,
            markerfacecolor="white",
            linewidth=1.4,
        )
        right.set_ylabel(f"effective rank{' (dotted: RankMe)' if rankme else ''}", color=PURPLE, fontsize=8)
        _from_zero(right, room=0.3)  # other than that of the left: a last or only point hides none of the other
        right.grid(visible=False)
    for alarm in log.alarms:
        axes.axvline(alarm.epoch, color=ORANGE, linewidth=1.0)
        axes.plot([alarm.epoch], [1.0], marker="v", color=ORANGE, clip_on=False, transform=axes.get_xaxis_transform())
    if log.alarms:
        axes.set_title(f"\u25bc {len(log.alarms)} alarm{'s' if len(log.alarms) > 1 else ''}", loc="right", color=ORANGE)
    axes.set_xlabel("epoch")


def _momentum(axes: Axes, log: Log) -> None:
    axes.set_title("Momentum of the averaged network")
    points = [s for s in log.steps if s.ema_momentum is not None]
    if not points:
        empty(axes, "none recorded: no averaged network, or an older log")
        return
    axes.plot(_epochs(points), _nullable([s.ema_momentum for s in points]), _dot(points), color=BLUE, linewidth=1.8)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
    room = max(1 - min(s.ema_momentum for s in points if s.ema_momentum is not None), 1e-6)
    axes.set_ylim(1 - 1.2 * room, 1 + 0.1 * room)
    axes.set_xlabel("epoch")


def _throughput(axes: Axes, log: Log) -> None:
    axes.set_title("Images per second")
    rates = [s for s in log.steps if s.images_per_second is not None]
    if not rates:
        empty(axes, "no rates recorded")
        return
    values = _nullable([s.images_per_second for s in rates])
    _with_mean(axes, _epochs(rates), values, ORANGE, 1.8)
    _from_zero(axes)
    axes.set_xlabel("epoch")
    waits = [s for s in log.steps if s.waiting_share is not None]
    if waits:
        right = axes.twinx()
        shares = 100 * _nullable([s.waiting_share for s in waits])
        shown = smooth(shares, _half_width(len(waits))) if has_mean(len(waits)) else shares
        right.plot(_epochs(waits), shown, _dot(waits), color=MUTED, linewidth=1.2)
        right.set_ylabel("waiting for data [%]", color=MUTED)
        right.set_ylim(0, 100)
        right.grid(visible=False)
