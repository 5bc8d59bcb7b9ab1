# SPDX-License-Identifier: Apache-2.0
"""The order of samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ssl4eo.errors import ConfigInvalid
from ssl4eo.loading.sampler import Order, ResumableBatches


def test_an_epoch_shows_each_item_once():
    """12 items in batches of 4: three steps, every item once, another order the next epoch."""
    batches = list(Order(12, 4, seed=0).batches(0, 6))

    for epoch in (0, 1):
        items = [i for b in batches[3 * epoch : 3 * epoch + 3] for _, i in b]
        assert sorted(items) == list(range(12))
        assert {e for b in batches[3 * epoch : 3 * epoch + 3] for e, _ in b} == {epoch}
    assert batches[:3] != [[(0, i) for _, i in b] for b in batches[3:]]


@pytest.mark.parametrize("first", [0, 1, 3, 4, 7])
def test_resuming_continues_with_the_next_batch(first):
    """Starting at any step gives the rest of the same sequence."""
    order = Order(10, 3, seed=5)

    assert list(order.batches(first, 9)) == list(order.batches(0, 9))[first:]


def test_ranks_share_each_batch_without_overlap():
    """Two ranks see the two halves of every global batch."""
    order = Order(20, 4, seed=1)
    parts = [list(ResumableBatches(order, first_step=0, num_steps=5, rank=r, world_size=2)) for r in (0, 1)]

    for whole, first, second in zip(order.batches(0, 5), *parts, strict=True):
        assert sorted(first + second) == sorted(whole)
        assert len(first) == len(second) == 2


def test_every_batch_is_full():
    """The remainder of an epoch is left out."""
    order = Order(11, 4, seed=0)

    assert order.steps_per_epoch == 2
    assert {len(b) for b in order.batches(0, 8)} == {4}


def test_seeds_and_epochs_give_different_orders():
    """No two of them agree."""
    orders = [Order(50, 5, seed=s).permutation(e).tolist() for s, e in itertools.product((0, 1), (0, 1))]

    assert len({tuple(o) for o in orders}) == 4
    np.testing.assert_array_equal(Order(50, 5, seed=0).permutation(0), orders[0])


@pytest.mark.parametrize(("items", "batch"), [(3, 4), (0, 1), (5, 0)])
def test_batch_that_no_epoch_fills_is_refused(items, batch):
    """More than there is, or nothing at all."""
    with pytest.raises(ConfigInvalid):
        Order(items, batch, seed=0)


def test_batch_that_ranks_cannot_share_is_refused():
    """Five samples over two processes."""
    with pytest.raises(ConfigInvalid, match="multiple"):
        ResumableBatches(Order(10, 5, seed=0), first_step=0, num_steps=1, world_size=2)
