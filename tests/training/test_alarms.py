# SPDX-License-Identifier: Apache-2.0
"""Alarms speak once, when it is time, and name the remedy."""

from __future__ import annotations

import json

import pytest

from ssl4eo.training.alarms import BOUNDS, PATIENCE, LossWatch, MetricWatch, Patience, StarvationWatch


def test_patience_speaks_once_and_starts_again_after_a_good_reading():
    """By hand: two bad, one good, three bad, one more bad."""
    patience = Patience(3)

    heard = [patience.hear(reason) for reason in ("a", "b", None, "c", "d", "e", "f")]

    assert heard == [None, None, None, None, None, "e", None]


@pytest.mark.parametrize("name", sorted(BOUNDS))
@pytest.mark.parametrize("bad", [0.0, float("nan")])
def test_metric_below_its_bound_is_told_by_name(name, bad):
    """At the last reading that patience allows, with value, bound and meaning."""
    watch = MetricWatch()

    told = [watch.check({name: bad, "other": 0.0}) for _ in range(PATIENCE + 1)]

    assert [len(alarms) for alarms in told] == [0] * (PATIENCE - 1) + [1, 0]
    assert told[PATIENCE - 1][0].startswith(f"{name} is {bad:.3g}, expected 0.01 or more")


def test_metrics_without_a_bound_or_within_it_are_let_pass():
    """Zero is no fault of a number that nobody bounds."""
    watch = MetricWatch()

    told = [watch.check({"contrast_accuracy": 0.0, "target_std": 0.5}) for _ in range(2 * PATIENCE)]

    assert not any(told)


def steps(watch, waited, worked, count):
    """Take equal steps, look after each."""
    told = []
    for _ in range(count):
        watch.add(waited, worked)
        told.append(watch.check())
    return told


def test_starved_device_is_told_once_when_the_window_is_full():
    """Three tenths of waiting, at the tenth step of ten; the remedy names the workers there are."""
    watch = StarvationWatch(num_workers=2, window=10)

    told = steps(watch, 0.3, 0.7, 30)

    assert [bool(t) for t in told] == [False] * 9 + [True] + [False] * 20
    assert "waits for data 30 % of the time" in told[9]
    assert "num_workers above 2" in told[9]


def test_fed_device_raises_no_alarm():
    """A quarter of waiting is just allowed."""
    watch = StarvationWatch(num_workers=0, window=4)

    assert not any(steps(watch, 0.25, 0.75, 20))
    assert watch.share == pytest.approx(0.25)


def test_share_that_hovers_around_the_limit_is_told_once():
    """Between the two limits nothing changes; below the lower one the alarm is armed anew."""
    watch = StarvationWatch(num_workers=0, window=1)

    told = [bool(steps(watch, waited, 1 - waited, 1)[0]) for waited in (0.3, 0.2, 0.3, 0.2, 0.1, 0.3)]

    assert told == [True, False, False, False, False, True]


def test_no_step_is_no_share():
    """Nothing is divided by zero before the first step."""
    watch = StarvationWatch(num_workers=0)

    assert watch.share == 0
    assert watch.check() is None


def test_watch_of_metrics_goes_on_where_another_was():
    """A run that is killed at each reading tells all the same."""
    told, state = [], {}
    for _ in range(PATIENCE):
        watch = MetricWatch()
        watch.load_state(state)
        told.append(watch.check({"target_std": 0.0}))
        state = watch.state()

    assert [len(alarms) for alarms in told] == [0] * (PATIENCE - 1) + [1]


def told_of(*losses, watch=None):
    """Hear losses; give which of them were told."""
    watch = watch or LossWatch()
    return [bool(watch.check(loss)) for loss in losses]


def test_loss_far_above_its_beginning_is_told_once():
    """At the third reading in a row above ten times the first; a first loss below 1 counts as 1."""
    assert told_of(8.0, 79, 81, 82, 83, 84) == [False, False, False, False, True, False]
    assert told_of(0.2, 9, 11, 12, 9, 11, 12, 13) == [False] * 7 + [True]


def test_loss_out_of_all_proportion_is_told_at_once():
    """Also when it comes and goes, as where one image has values that are no measurements; anew when it was gone."""
    assert told_of(2.0, 403_646, 1.7, 403_446, 2.0, 403_000) == [False, True, False, False, False, False]
    assert told_of(2.0, 500, 500, 500, 500) == [False, True, False, False, False]
    assert told_of(2.0, 500, 2, 2, 2, 500) == [False, True, False, False, False, True]


def test_losses_of_honest_runs_are_not_told():
    """Of MoCo with a young queue, which rises, of DINO's plateau, of data2vec, which begins near zero."""
    assert not any(told_of(*[0.7, 2.4, 5.1, 6.9, 6.8] * 4))
    assert not any(told_of(*[11.09] * 10, 10.8))
    assert not any(told_of(*[0.005, 0.02, 0.3, 0.4, 0.35]))


def test_watch_of_the_loss_goes_on_where_another_was():
    """Through JSON, as in a checkpoint; the first loss is that of the run."""
    first, second = LossWatch(), LossWatch()
    assert second.check(2.0) is None
    told_of(2.0, 30, 30, watch=first)

    second.load_state(json.loads(json.dumps(first.state())))

    assert second.check(30.0) is not None
    second.load_state({})
    assert LossWatch().state() == {}
