# SPDX-License-Identifier: Apache-2.0
"""Which parts of a report are synthetic: training data, scores and pictures have each an origin of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from ssl4eo.report.records import Run
from ssl4eo.report.style import Picture
from ssl4eo.report.table import Row

WHOLLY = "Synthetic data: no satellite saw these pixels"


@dataclass(frozen=True)
class Origin:
    """Where one part comes from."""

    kind: str
    """Such as `the scores`."""
    name: str
    """Which of them, with the word before it; empty where there is one only."""
    synthetic: bool


def origins(runs: Sequence[Run], rows: Sequence[Row], teaser: Picture | None) -> tuple[Origin, ...]:
    """List the parts of a report."""
    return tuple(_origins(runs, rows, teaser))


def _origins(runs: Sequence[Run], rows: Sequence[Row], teaser: Picture | None) -> Iterator[Origin]:
    for run in runs:
        if run.config is not None:
            yield Origin("the training data", f"of {run.name}", run.synthetic)
    for row in rows:
        yield Origin("the scores", f"on {row.task}", row.synthetic)
    for run in runs:
        if run.insight is not None and run.insight.facts.get("title"):  # it shows images
            yield Origin("the images", f"inside {run.name}", run.insight.synthetic)
    if teaser is not None:
        yield Origin("the place in every season", "", teaser.synthetic)


def origin_words(parts: Sequence[Origin]) -> str:
    """Say what is synthetic and, where not all is, what is not; empty where nothing is.

    >>> data, scores = Origin("the training data", "of a", False), Origin("the scores", "on b", True)
    >>> origin_words([data, scores])
    'Synthetic in part: no satellite saw the pixels behind the scores. Not synthetic: the training data'
    >>> origin_words([data, scores, Origin("the scores", "on c", False)]).rpartition(": ")[2]
    'the training data, the scores on c'
    """
    made = [part for part in parts if part.synthetic]
    seen = [part for part in parts if not part.synthetic]
    if not made:
        return ""
    if not seen:
        return WHOLLY
    mixed = {part.kind for part in made} & {part.kind for part in seen}
    behind, rest = (_listed(some, mixed) for some in (made, seen))
    return f"Synthetic in part: no satellite saw the pixels behind {behind}. Not synthetic: {rest}"


def _listed(parts: Sequence[Origin], mixed: Collection[str]) -> str:
    """List kinds; of a mixed kind say which: `the scores on a and b` for `on a` and `on b`."""
    names: dict[str, dict[str, None]] = {}
    for part in parts:
        names.setdefault(part.kind, {})[part.name] = None
    return ", ".join(f"{kind} {_joined(whose)}" if kind in mixed else kind for kind, whose in names.items())


def _joined(names: Iterable[str]) -> str:
    first, *others = names
    return " and ".join([first, *(name.partition(" ")[2] for name in others)])
