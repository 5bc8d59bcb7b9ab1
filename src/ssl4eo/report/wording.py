# SPDX-License-Identifier: Apache-2.0
"""Numbers and the headline in words.

The headline is made from one row of the table and says what weakens it: few scores,
a difference no larger than the spread, or a loss. Every other number stands in the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ssl4eo.report.table import Row, Summary

DASH = "\u2013"
MINUS = "\u2212"
PLUS_MINUS = "\u00b1"


def percent(value: float) -> str:
    """Write a fraction as percent with one digit.

    >>> percent(0.7134)
    '71.3 %'
    """
    return f"{100 * value:.1f} %"


def points(value: float, *, signed: bool = True) -> str:
    """Write points with one digit and a true minus sign.

    >>> points(22.44), points(0.04, signed=False)
    ('+22.4', '0.0')
    """
    if not math.isfinite(value):
        return DASH
    text = f"{value:+.1f}" if signed else f"{value:.1f}"
    return text.replace("-", MINUS)


def sentence(text: str) -> str:
    """Begin with a capital letter and end with a full stop.

    >>> sentence("does not apply: MAE")
    'Does not apply: MAE.'
    """
    text = text.strip()
    return text if not text else text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


def primary_row(rows: Sequence[Row]) -> Row | None:
    """Choose the row of the headline: both sides known, k-NN first, then most scores, then table order."""
    complete = [row for row in rows if row.difference is not None]
    if not complete:
        return None
    return min(complete, key=lambda row: (row.protocol != "knn", -_count(row.pretrained)))


def headline(row: Row) -> str:
    """Say the measured difference in one sentence, with its spread and what weakens it.

    The row must have both sides.
    """
    assert row.untrained is not None
    assert row.pretrained is not None
    assert row.difference is not None
    measure = row.protocol_title if row.metric == "accuracy" else f"{row.protocol_title} ({row.metric})"
    sentence = (
        f"{measure} on the {row.part} part of {row.task}{' (synthetic data)' if row.synthetic else ''}: "
        f"{percent(row.pretrained.mean)} pre-trained against {percent(row.untrained.mean)} untrained, "
        f"{points(row.difference)} points ({_spread_words(row.pretrained, row.untrained)})."
    )
    first = sentence[0] if row.protocol == "knn" else sentence[0].upper()
    return first + sentence[1:] + _caveat(row, row.difference)


def scores_words(summary: Summary) -> str:
    """Say how many scores stand behind a mean."""
    n = len(summary.values)
    if len(set(summary.seeds)) < n:
        return f"{n} scores of {summary.num_checkpoints} checkpoints"
    return "1 seed" if n == 1 else f"{n} seeds"


def interval_words(summary: Summary) -> str:
    """Say the interval of a single score, empty where there is none."""
    if summary.interval is None:
        return ""
    low, high = (points(100 * v, signed=False) for v in summary.interval)
    return f"95 % interval over test items {low} to {high}"


def _spread_words(pretrained: Summary, untrained: Summary) -> str:
    first, second = scores_words(pretrained), scores_words(untrained)
    if first == second and pretrained.spread is not None and untrained.spread is not None:
        spreads = " and ".join(points(100 * s, signed=False) for s in (pretrained.spread, untrained.spread))
        return f"means of {first} each, standard deviations {spreads}"
    return f"pre-trained: {_side_words(pretrained)}; untrained: {_side_words(untrained)}"


def _side_words(summary: Summary) -> str:
    if summary.spread is not None:
        return f"mean of {scores_words(summary)}, standard deviation {points(100 * summary.spread, signed=False)}"
    interval = interval_words(summary)
    return f"{scores_words(summary)}, so no spread over seeds" + (f", {interval}" if interval else "")


def _caveat(row: Row, difference: float) -> str:
    spreads = [s.spread for s in (row.pretrained, row.untrained) if s is not None and s.spread is not None]
    if spreads and abs(difference) <= 100 * max(spreads):
        return " The difference is no larger than the spread."
    if difference < 0:
        return " Pre-training lowered this score."
    return ""


def _count(summary: Summary | None) -> int:
    return 0 if summary is None else len(summary.values)
