# SPDX-License-Identifier: Apache-2.0
import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl4eo.errors import SourceInvalid, UnknownName
from ssl4eo.evaluation.tasks.task import PARTS, Task, hash_order, hold_out, make_task


def test_parts_are_disjoint_and_make_up_everything(pattern_task: Callable[..., Task]) -> None:
    """No item is in two parts, none is lost."""
    task = pattern_task(60)

    ids = [set(task.part(part).ids) for part in PARTS]

    assert sum(map(len, ids)) == 60
    assert set().union(*ids) == set(task.everything.ids)


def test_validation_is_a_tenth_of_each_class_of_the_training_part(pattern_task: Callable[..., Task]) -> None:
    """Of 200 items of each of three classes a quarter is test, and a tenth of the other 150 is validation."""
    task = pattern_task(600)

    counts = {part: np.bincount(task.part(part).labels).tolist() for part in PARTS}

    assert counts == {"train": [135] * 3, "validation": [15] * 3, "test": [50] * 3}


def test_parts_do_not_depend_on_the_order_of_the_items(pattern_task: Callable[..., Task]) -> None:
    """A table that is sorted otherwise gives the same parts and the same hash."""
    task = pattern_task(60)
    shuffled = pattern_task(60, order=np.random.default_rng(0).permutation(60))

    for part in PARTS:
        assert set(task.part(part).ids) == set(shuffled.part(part).ids)
    assert task.split_sha256 == shuffled.split_sha256


def test_items_keep_their_label_and_season_in_every_part(pattern_task: Callable[..., Task]) -> None:
    """Labels, seasons and ids of a part belong to its items."""
    task = pattern_task(60, order=np.random.default_rng(0).permutation(60))

    for part in map(task.part, PARTS):
        number = np.array([int(i) for i in part.ids])
        np.testing.assert_array_equal(part.items, number)
        np.testing.assert_array_equal(part.labels, number % 3)
        np.testing.assert_array_equal(part.seasons, number % 2)


def test_split_hash_is_of_the_sorted_test_ids(pattern_task: Callable[..., Task]) -> None:
    """The hash is what sha256sum gives for the sorted ids, one a line."""
    task = pattern_task(60)

    expected = hashlib.sha256("\n".join(sorted(task.part("test").ids)).encode()).hexdigest()

    assert task.split_sha256 == expected


def test_split_hash_changes_with_the_test_items(pattern_task: Callable[..., Task]) -> None:
    """Other items are another split."""
    assert pattern_task(60).split_sha256 != pattern_task(63).split_sha256


def test_class_without_items_in_a_part_is_refused_by_name(pattern_task: Callable[..., Task]) -> None:
    """Two items of a class make no three parts."""
    with pytest.raises(SourceInvalid, match="class 'squares' of patterns has 2 items, none of them in the train part"):
        pattern_task(8)


def test_unknown_part_is_refused(pattern_task: Callable[..., Task]) -> None:
    """A part is train, validation or test."""
    with pytest.raises(UnknownName, match="validation"):
        pattern_task(60).part("val")


def test_hash_order_is_sha256_of_salt_and_id() -> None:
    """The number of an id is the first 8 bytes of SHA-256, on every machine."""
    expected = int(hashlib.sha256(b"season:0000001").hexdigest()[:16], 16)

    assert hash_order(["0000001"], salt="season").tolist() == [expected]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_hold_out_takes_the_share_of_each_class(classes: list[int], share: float) -> None:
    """Every class gives its rounded share, one item at least."""
    labels = np.array(classes)
    ids = [f"id{i}" for i in range(len(labels))]

    chosen = hold_out(ids, labels, share=share, salt="s")

    for label in np.unique(labels):
        members = labels == label
        assert chosen[members].sum() == max(1, int(share * members.sum() + 0.5))


def test_hold_out_differs_between_salts() -> None:
    """Test and validation are not picked by the same hash."""
    ids, labels = [f"{i}" for i in range(200)], np.zeros(200, dtype=np.int64)

    first, second = (hold_out(ids, labels, share=0.5, salt=salt) for salt in ("a", "b"))

    assert 60 < (first == second).sum() < 140


def striped(item):
    """Give a map (4, 4) full of the number of its item."""
    return np.full((4, 4), item, np.uint8)


def pixels(task, labels, maps=None):
    """Give the items of a task other labels."""
    return replace(task.everything, labels=labels, maps=maps)


def test_labels_of_any_number_are_split_without_classes(pattern_task):
    """A tenth of what is not test becomes validation, whatever its labels."""
    task = pattern_task(60)
    labels = np.eye(3, dtype=np.int64)[task.everything.labels]
    test = np.arange(60) < 20

    made = make_task("a", split="b", classes="xyz", everything=pixels(task, labels), test=test, kind="labels")

    assert [len(made.part(part)) for part in PARTS] == [36, 4, 20]
    np.testing.assert_array_equal(made.part("test").labels, labels[:20])


def test_maps_go_with_their_items(pattern_task):
    """And a validation part of the split's own is taken as it is."""
    task = pattern_task(60)
    test, validation = np.arange(60) < 20, np.arange(60) >= 50
    dense = pixels(task, np.zeros((60, 0), np.int64), striped)

    made = make_task(
        "a", split="b", classes="xy", everything=dense, test=test, validation=validation, kind="segmentation"
    )

    part = made.part("validation")
    assert part.items.tolist() == list(range(50, 60))
    assert part.maps(int(part.items[3])).tolist() == [[53] * 4] * 4


def test_a_dense_task_with_an_empty_part_is_refused(pattern_task):
    """Nothing to choose on."""
    task = pattern_task(60)
    dense = pixels(task, np.zeros((60, 0), np.int64), striped)

    with pytest.raises(SourceInvalid, match="no items in the train part"):
        make_task("a", split="b", classes="xy", everything=dense, test=np.ones(60, np.bool_), kind="change")


def test_what_a_protocol_sees_of_the_test_part_has_no_answers(pattern_task):
    """Neither labels nor maps."""
    part = replace(pattern_task(60).everything, maps=striped)

    seen = part.without_answers()

    assert (seen.labels.shape, seen.maps, seen.ids) == ((60, 0), None, part.ids)
