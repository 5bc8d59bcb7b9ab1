# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from ssl4eo.errors import ConfigInvalid, UnknownName
from ssl4eo.evaluation.tasks.fractions import FORMS, take_fraction
from ssl4eo.evaluation.tasks.task import Task, make_task


def learned_from(task: Task) -> list[int]:
    """Give what a network learns from: training and validation items, sorted, repeated ones once."""
    return sorted({*task.positions["train"].tolist(), *task.positions["validation"].tolist()})


def split_by_class(task: Task, name: str) -> Task:
    """Split the items of a task as the published EuroSAT is: 80/20, stratified, seed 42."""
    labels = task.everything.labels
    test = np.zeros(len(labels), np.bool_)
    test[train_test_split(np.arange(len(labels)), train_size=0.8, stratify=labels, random_state=42)[1]] = True
    return make_task(name, split="reference", classes=task.classes, everything=task.everything, test=test)


def test_a_corrected_fraction_has_every_item_once(pattern_task: Callable[..., Task]) -> None:
    """A tenth of the 450 that are not test: 45, of which a tenth of each class is validation."""
    task = pattern_task(600)

    few = take_fraction(task, 0.1)

    drawn = np.concatenate([few.positions["train"], few.positions["validation"]])
    assert len(drawn) == len(set(drawn.tolist())) == 45
    assert set(drawn.tolist()) < set(learned_from(task))
    np.testing.assert_array_equal(few.positions["test"], task.positions["test"])
    assert few.split_sha256 == task.split_sha256


@pytest.mark.parametrize("name", ["bigearthnet_v1_s2", "so2sat_s2"])
def test_the_published_draw_repeats_items(pattern_task: Callable[..., Task], name: str) -> None:
    """NumPy's choice with replacement over the training items in their order, worked out again here."""
    task = replace(pattern_task(600), name=name)
    pool = np.array(learned_from(task))
    expected = pool[np.random.default_rng(42).choice(range(450), 45)]

    few = take_fraction(task, 0.1, form="as_published")

    assert learned_from(few) == sorted(set(expected.tolist()))
    assert len(learned_from(few)) < 45
    kept = [i for i in expected.tolist() if i not in few.positions["validation"]]
    assert few.positions["train"].tolist() == kept


def test_eurosat_is_split_a_second_time(pattern_task: Callable[..., Task]) -> None:
    """The positions of the second split count in the shuffled order of the first."""
    task = split_by_class(pattern_task(600), "eurosat")
    shuffled, _ = train_test_split(np.arange(600), train_size=0.8, stratify=task.everything.labels, random_state=42)
    drawn, _ = train_test_split(np.arange(480), train_size=0.1, random_state=42)

    few = take_fraction(task, 0.1, form="as_published")

    assert learned_from(few) == sorted(shuffled[drawn].tolist())


def test_the_published_eurosat_draw_is_of_its_reference_split_only(pattern_task: Callable[..., Task]) -> None:
    """Another training part was never drawn from."""
    with pytest.raises(ConfigInvalid, match="drew from no other"):
        take_fraction(replace(pattern_task(600), name="eurosat"), 0.1, form="as_published")


@pytest.mark.parametrize("form", FORMS)
def test_a_validation_part_of_the_splits_own_stays_whole(pattern_task: Callable[..., Task], form: str) -> None:
    """Only the training part shrinks."""
    task = pattern_task(600)
    test, validation = np.arange(600) < 150, np.arange(600) >= 500
    task = make_task(
        "so2sat_s2",
        split="a",
        classes=task.classes,
        everything=task.everything,
        test=test,
        validation=validation,
    )

    few = take_fraction(task, 0.1, form=form)

    assert few.positions["validation"].tolist() == list(range(500, 600))
    assert len(few.positions["train"]) == 35


def test_the_draw_depends_on_the_seed_alone(pattern_task: Callable[..., Task]) -> None:
    """Twice the same, and another with another seed."""
    task = pattern_task(600)

    first, second, other = (take_fraction(task, 0.2, seed=seed) for seed in (1, 1, 2))

    assert learned_from(first) == learned_from(second) != learned_from(other)


def test_a_note_tells_what_was_drawn(pattern_task: Callable[..., Task]) -> None:
    """Whoever reads the score sees the fraction, the form and how many items are distinct."""
    few = take_fraction(replace(pattern_task(600), name="so2sat_s2"), 0.1, form="as_published")

    assert few.notes == (
        f"0.1 of the training part (as_published, seed 42): 45 items, {len(learned_from(few))} distinct",
    )


def test_the_whole_part_is_the_task_itself(pattern_task: Callable[..., Task]) -> None:
    """Nothing is drawn, in either form."""
    task = pattern_task(60)

    assert take_fraction(task, 1.0) is task


@pytest.mark.parametrize("fraction", [0, -0.1, 10, float("nan"), 1e-6])
def test_what_is_no_fraction_is_refused(pattern_task: Callable[..., Task], fraction: float) -> None:
    """Percent, nothing, and less than two items."""
    with pytest.raises(ConfigInvalid, match="a fraction of"):
        take_fraction(pattern_task(60), fraction)


def test_unknown_forms_and_tasks_without_a_published_draw_are_refused(pattern_task: Callable[..., Task]) -> None:
    """By name."""
    with pytest.raises(UnknownName, match="did you mean corrected"):
        take_fraction(pattern_task(60), 0.5, form="correct")
    with pytest.raises(UnknownName, match="no published fraction is called 'patterns'"):
        take_fraction(pattern_task(60), 0.5, form="as_published")
