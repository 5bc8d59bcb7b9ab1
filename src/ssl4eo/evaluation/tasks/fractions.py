# SPDX-License-Identifier: Apache-2.0
"""A fraction of the training part, for any task: as the published benchmark of SSL4EO-S12 draws it, or corrected.

`as_published`: BigEarthNet and So2Sat-LCZ42 with replacement (10 % of the items, about 9.5 % distinct), EuroSAT by a
second, unstratified split of the shuffled training part. `corrected`: without replacement, every task alike.
Items are numbered as the split lists them. Where the split has no validation part of its own, the fraction is drawn
before one is carved: training and validation part together hold what was drawn, and no label beyond it is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssl4eo.errors import ConfigInvalid, unknown_name
from ssl4eo.evaluation.tasks.task import Task, carve_validation

Form = Literal["corrected", "as_published"]
FORMS: tuple[Form, ...] = get_args(Form)
SEED = 42
"""Of all published runs."""

Draw = Callable[[Task, NDArray[np.int64], float, int], NDArray[np.int64]]
"""Takes a task, its training items (N,), the fraction and the seed; gives the items drawn, in order."""


def take_fraction(task: Task, fraction: float, *, form: Form = "corrected", seed: int = SEED) -> Task:
    """Keep a fraction of the training part; the test part, and a validation part of the split's own, stay whole.

    Args:
        task: of any kind.
        fraction: above 0, up to 1; int(fraction N) items are drawn.
        form: `corrected`, or `as_published` with the benchmark's defects.
        seed: of the draw.

    Returns:
        The task with fewer training items, which a note tells; itself for 1.

    Raises:
        UnknownName: no such form.
        ConfigInvalid: not a fraction, or one of nothing.
        SourceInvalid: a class that the draw leaves without items.
    """
    if form not in FORMS:
        raise unknown_name("form of a fraction", form, FORMS)
    pool = _training_items(task)
    if not 0 < fraction <= 1 or int(fraction * len(pool)) < 2:
        raise ConfigInvalid(
            f"a fraction of {fraction} of {len(pool)} training items",
            expected="above 0, up to 1, and two items or more",
            remedy="write 10 % as 0.1" if fraction > 1 else "take more",
        )
    if fraction == 1:
        return task
    draw = _draw_once if form == "corrected" else _published_draw(task)
    drawn = draw(task, pool, fraction, seed)
    distinct = np.unique(drawn)
    note = f"{fraction:g} of the training part ({form}, seed {seed}): {len(drawn)} items, {len(distinct)} distinct"
    positions = dict(task.positions)
    positions["train"] = drawn
    if task.carved:
        chosen = distinct[carve_validation(task.everything.take(distinct), task.kind)]
        positions["validation"] = chosen
        positions["train"] = drawn[~np.isin(drawn, chosen)]
    return replace(task, positions=MappingProxyType(positions), notes=(*task.notes, note), fraction=fraction)


def _training_items(task: Task) -> NDArray[np.int64]:
    """Give the positions of what the split calls training data, in its order."""
    if not task.carved:
        return task.positions["train"]
    return np.sort(np.concatenate([task.positions["train"], task.positions["validation"]]))


def _draw_once(_: Task, pool: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return np.sort(pool[rng.choice(len(pool), int(fraction * len(pool)), replace=False)])


def _draw_with_replacement(_: Task, pool: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    return pool[np.random.default_rng(seed).choice(range(len(pool)), int(fraction * len(pool)))]


def _split_again(task: Task, pool: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Draw as the benchmark does for EuroSAT, whose training part keeps the order of the first, shuffled split."""
    from sklearn.model_selection import train_test_split  # here: it takes a second and a half to load

    labels = task.everything.labels
    first, _ = train_test_split(np.arange(len(labels)), train_size=0.8, stratify=labels, random_state=SEED)
    shuffled = np.asarray(first, dtype=np.int64)
    if not np.array_equal(np.sort(shuffled), pool):
        raise ConfigInvalid(
            f"the published fraction of {task.name}, split {task.split}",
            expected="split reference: the benchmark drew from no other",
            remedy="take the corrected form",
        )
    second, _ = train_test_split(np.arange(len(shuffled)), train_size=fraction, random_state=seed)
    return shuffled[np.asarray(second, dtype=np.int64)]


_PUBLISHED: Mapping[str, Draw] = MappingProxyType(
    {"bigearthnet": _draw_with_replacement, "so2sat": _draw_with_replacement, "eurosat": _split_again}
)
"""By the first word of a task's name."""


def _published_draw(task: Task) -> Draw:
    family = task.name.split("_", 1)[0]
    if family not in _PUBLISHED:
        raise unknown_name("published fraction", family, _PUBLISHED)
    return _PUBLISHED[family]
