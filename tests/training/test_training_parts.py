# SPDX-License-Identifier: Apache-2.0
"""Schedules, optimizers and the watch for collapse."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from ssl4eo.errors import ConfigInvalid
from ssl4eo.training.monitor import PATIENCE, CollapseMonitor, effective_rank, feature_std, rankme
from ssl4eo.training.optimizer import OptimizerConfig, make_optimizer
from ssl4eo.training.schedule import ScheduleConfig


def factors(config, steps=100, per_epoch=10):
    """List the factors of a run."""
    return [config.factor(s, num_steps=steps, steps_per_epoch=per_epoch) for s in range(steps)]


def test_cosine_by_hand():
    """Without warm-up: 1 at the start, 1/2 in the middle, near 0 at the end."""
    rows = factors(ScheduleConfig())

    assert rows[0] == 1
    assert rows[50] == pytest.approx(0.5)
    assert rows[99] == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert rows == sorted(rows, reverse=True)


def test_warmup_rises_linearly_to_the_peak():
    """Two epochs of ten steps: equal rises, then the cosine from 1."""
    rows = factors(ScheduleConfig(warmup_epochs=2, final_fraction=0.1))
    rises = [b - a for a, b in pairwise(rows[:21])]

    assert rows[0] == pytest.approx(1 / 21)
    assert rows[20] == 1
    assert max(rises) == pytest.approx(min(rises))
    assert min(rows[20:]) > 0.1


@pytest.mark.parametrize("change", [{"warmup_epochs": -1}, {"final_fraction": 1.1}])
def test_impossible_schedule_is_refused(change):
    """Negative warm-up, end above the peak."""
    with pytest.raises(ConfigInvalid):
        ScheduleConfig(**change)


def test_decay_spares_biases_and_norms_unless_asked():
    """Vectors are not decayed; with decay_all they are."""
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

    sparing, all_of_it = OptimizerConfig("sgd", 0.1, 0.5), OptimizerConfig("adamw", 0.1, 0.5, decay_all=True)
    plain, everything = (make_optimizer(c, module.named_parameters()) for c in (sparing, all_of_it))

    assert [(len(g["params"]), g["weight_decay"]) for g in plain.param_groups] == [(1, 0.5), (3, 0.0)]
    assert [(len(g["params"]), g["weight_decay"]) for g in everything.param_groups] == [(4, 0.5)]


def test_frozen_parameters_are_not_optimized():
    """A frozen layer is in no group."""
    module = nn.Linear(2, 2).requires_grad_(requires_grad=False)
    other = nn.Linear(2, 2)

    groups = make_optimizer(
        OptimizerConfig("sgd", lr=0.1, weight_decay=0.0), nn.ModuleList([module, other]).named_parameters()
    ).param_groups

    assert sum(len(g["params"]) for g in groups) == 2


@pytest.mark.parametrize("change", [{"lr": 0.0}, {"weight_decay": -1.0}, {"momentum": 1.0}])
def test_impossible_optimizer_is_refused(change):
    """Each number is checked."""
    with pytest.raises(ConfigInvalid):
        OptimizerConfig(**({"name": "sgd", "lr": 0.1, "weight_decay": 0.0} | change))


def test_spread_of_random_directions_is_one_and_of_a_point_zero():
    """The scale of the reading is fixed at both ends."""
    generator = torch.Generator().manual_seed(0)

    assert feature_std(torch.randn((4000, 64), generator=generator)) == pytest.approx(1, abs=0.02)
    assert feature_std(torch.ones((100, 64))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_counts_equal_directions(rank):
    """Equal variance along r orthogonal axes has effective rank r."""
    axes = torch.eye(16)[:rank]
    points = torch.cat([axes, -axes]).repeat(10, 1)

    assert effective_rank(points) == pytest.approx(rank, rel=1e-5)


def test_effective_rank_of_a_point_is_one():
    """No variance at all is the least rank."""
    assert effective_rank(torch.ones(10, 4)) == 1


@pytest.mark.parametrize(("count", "dim"), [(64, 16), (16, 64), (32, 32)])
def test_rankme_is_the_entropy_of_the_singular_values(count, dim):
    """Against the equation in NumPy, float64, with singular values in place of eigenvalues; rtol 1e-6."""
    rows = np.random.default_rng(0).normal(1.0, 1.0, (count, dim))

    values = np.linalg.svd(rows, compute_uv=False)
    share = values / values.sum() + 1e-7
    centred = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    centred = (centred / centred.sum())[centred > 1e-12]

    assert rankme(torch.from_numpy(rows)) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-6)
    wanted = np.exp(-(centred * np.log(centred)).sum())
    assert effective_rank(torch.from_numpy(rows)) == pytest.approx(wanted, rel=1e-6)


def test_rank_of_few_directions_is_right_to_one_part_in_a_thousand():
    """Rounding of the Gram matrix fills the empty directions with 1e-8 each; that is what it costs."""
    generator = torch.Generator().manual_seed(0)
    points = torch.randn((1024, 4), generator=generator) @ torch.randn((4, 512), generator=generator)

    values = np.linalg.svd(points.double().numpy(), compute_uv=False)[:4]
    share = values / values.sum()

    assert rankme(points) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-3)


def test_rank_does_not_depend_on_scale_or_order():
    """A property of the entropy."""
    points = healthy()
    mixed = 100 * points[torch.randperm(64, generator=torch.Generator().manual_seed(1))]

    assert rankme(mixed) == pytest.approx(rankme(points), rel=1e-9)
    assert effective_rank(mixed) == pytest.approx(effective_rank(points), rel=1e-9)


def test_offset_moves_rankme_and_not_the_effective_rank():
    """The paper does not centre; the alarm must not take a common offset for a direction."""
    points = healthy()

    assert effective_rank(points + 50) == pytest.approx(effective_rank(points), rel=1e-4)
    assert rankme(points + 50) < 0.3 * rankme(points)


def healthy(count=64):
    """Make embeddings in all directions."""
    return torch.randn((count, 32), generator=torch.Generator().manual_seed(0))


def test_alarm_speaks_once_after_patience_runs_out():
    """A point collapse is told at the third bad reading, not at each."""
    monitor = CollapseMonitor(num_kept=64)
    point = torch.ones(64, 32) + 1e-3 * healthy()
    alarms = []
    for _ in range(PATIENCE + 2):
        monitor.add(point)
        alarms.append(monitor.check().alarm)

    assert [a is not None for a in alarms] == [False] * (PATIENCE - 1) + [True, False, False]
    assert "collapse to a point" in alarms[PATIENCE - 1]


def test_alarm_hears_a_collapse_to_a_line():
    """Wide spread along one axis is a collapse too."""
    monitor = CollapseMonitor(num_kept=64)
    line = torch.where(torch.arange(64)[:, None] % 2 == 0, 1.0, -1.0) * torch.ones(64, 32)
    monitor.add(line)
    alarms = [monitor.check().alarm for _ in range(PATIENCE)]

    assert "few directions" in alarms[-1]


def test_healthy_embeddings_raise_no_alarm_and_reset_the_count():
    """One good reading starts the count again."""
    monitor = CollapseMonitor(num_kept=64)
    for batch in (torch.ones(64, 32), torch.ones(64, 32), healthy(), torch.ones(64, 32), torch.ones(64, 32)):
        monitor.add(batch)
        assert monitor.check().alarm is None


def test_monitor_keeps_the_newest_embeddings():
    """Old batches leave when enough newer ones are there."""
    monitor = CollapseMonitor(num_kept=64)
    monitor.add(torch.ones(64, 32))
    monitor.add(healthy())

    assert monitor.check().feature_std > 0.9


def test_embeddings_that_are_not_finite_are_no_reading():
    """The loss tells of them; eigenvalues would only fail."""
    monitor = CollapseMonitor(num_kept=64)
    monitor.add(torch.full((64, 32), math.nan))

    assert math.isnan(monitor.check().effective_rank)


def test_monitor_leaves_embeddings_where_they_are():
    """Nothing is copied or moved before it is judged."""
    monitor, batch = CollapseMonitor(num_kept=64), healthy()

    monitor.add(batch)

    assert monitor._kept[0].data_ptr() == batch.data_ptr()


@pytest.mark.parametrize("seen", [0, 1, 5])
def test_monitor_goes_on_where_another_was(seen):
    """After a resume it reads the same as one that was left alone, the bad readings in a row included."""
    first, second = CollapseMonitor(num_kept=64), CollapseMonitor(num_kept=64)
    for _ in range(seen):
        first.add(torch.ones(24, 32))
        first.check()

    second.load_state(first.state())

    for batch in (torch.ones(24, 32), healthy()[:24], torch.ones(24, 32)):
        first.add(batch)
        second.add(batch)
        assert first.check() == second.check()


def test_state_of_a_monitor_does_not_hold_the_batches_it_was_cut_from():
    """A checkpoint holds the last embeddings and no more."""
    monitor = CollapseMonitor(num_kept=8)
    monitor.add(torch.ones(64, 32))

    embeddings = monitor.state()["embeddings"]

    assert embeddings.shape == (8, 32)
    assert embeddings.untyped_storage().nbytes() == 8 * 32 * 4
