# SPDX-License-Identifier: Apache-2.0
"""Masks: exact counts, every patch reachable, blocks of the sizes and shapes that BEiT's algorithm 1 has."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl4eo.errors import ConfigInvalid
from ssl4eo.views.masking import BlockMasking, RandomMasking
from ssl4eo.views.rng import sample_rng


def rng(seed=0):
    """Make a generator."""
    return np.random.default_rng(seed)


def draws(masking, count, seed=0):
    """Draw some masks from one generator: (count, L)."""
    generator = rng(seed)
    return np.stack([masking.draw(generator) for _ in range(count)])


class Script:
    """A generator that gives what it was told, for cases worked by hand."""

    def __init__(self, *, areas, log_ratios, corners):
        """Keep the answers in order."""
        self._areas, self._log_ratios, self._corners = iter(areas), iter(log_ratios), iter(corners)
        self.asked = []

    def uniform(self, low, high):
        """Give an area or a log ratio: the latter are asked for with a negative bound."""
        self.asked.append((low, high))
        return next(self._log_ratios if low < 0 else self._areas)

    def integers(self, _high):
        """Give a corner."""
        return next(self._corners)


@pytest.mark.parametrize("kind", [RandomMasking, BlockMasking])
@pytest.mark.parametrize(("grid", "num_masked"), [(14, 120), (14, 138), (8, 38), (8, 48), (4, 1), (4, 15), (2, 3)])
def test_every_mask_hides_exactly_as_many(kind, grid, num_masked):
    """Counted over many draws, so that a batch of masks is a rectangle."""
    masks = draws(kind(grid, num_masked), 300)

    assert masks.dtype == np.bool_
    assert masks.shape == (300, grid**2)
    assert set(masks.sum(axis=1)) == {num_masked}


@given(
    grid=st.integers(2, 16),
    share=st.floats(0.01, 0.99),
    smallest=st.integers(1, 40),
    aspect=st.floats(0.05, 1.0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_blocks_of_any_size_end_with_the_exact_count(grid, share, smallest, aspect, seed):
    """Whatever blocks fit or not: the count is exact and drawing ends."""
    num_masked = min(grid**2 - 1, max(1, round(share * grid**2)))

    assert BlockMasking(grid, num_masked, smallest, aspect).draw(rng(seed)).sum() == num_masked


@pytest.mark.parametrize("kind", [RandomMasking, BlockMasking])
def test_every_patch_is_hidden_and_seen_sometimes(kind):
    """120 of 196, 1,000 draws: no corner is left out (blocks reach it in a tenth of them), no patch always hidden."""
    share = draws(kind(14, 120), 1000).mean(axis=0)

    assert share.min() > 0.07
    assert share.max() < 0.97
    assert share.mean() == pytest.approx(120 / 196)


def test_random_masks_prefer_no_patch():
    """Each patch is hidden with probability 120 / 196: within 4.5 standard deviations over 2,000 draws."""
    share, expected = draws(RandomMasking(14, 120), 2000).mean(axis=0), 120 / 196

    assert np.abs(share - expected).max() < 4.5 * math.sqrt(expected * (1 - expected) / 2000)


def test_random_masks_give_every_set_alike():
    """Of 2 x 2 patches, 2 hidden: six sets, a sixth of the draws each, within 4.5 standard deviations."""
    sets = [tuple(np.flatnonzero(mask)) for mask in draws(RandomMasking(2, 2), 3000)]

    assert set(sets) == set(itertools.combinations(range(4), 2))
    for each in set(sets):
        assert abs(sets.count(each) / 3000 - 1 / 6) < 4.5 * math.sqrt(5 / 36 / 3000)


def test_blocks_are_more_clustered_than_random_patches():
    """Share of hidden patches whose right neighbor is hidden too: far above the 61 % of independent ones."""

    def together(masks):
        squares = masks.reshape(-1, 14, 14)
        return (squares[:, :, :-1] & squares[:, :, 1:]).sum() / squares[:, :, :-1].sum()

    assert together(draws(RandomMasking(14, 120), 300)) == pytest.approx(119 / 195, abs=0.02)
    assert together(draws(BlockMasking(14, 120), 300)) > 0.8


def test_first_block_has_the_area_and_aspect_that_were_drawn():
    """Worked by hand: area 32 at ratio 2 is 8 rows of 4, put at (1, 3)."""
    script = Script(areas=[32.0], log_ratios=[math.log(2)], corners=[1, 3])
    mask = np.zeros((14, 14), dtype=bool)

    assert BlockMasking(14, 120)._add_block(script, mask, 120)

    expected = np.zeros((14, 14), dtype=bool)
    expected[1:9, 3:7] = True
    np.testing.assert_array_equal(mask, expected)
    assert script.asked == [(16, 120), (math.log(0.3), -math.log(0.3))]


def test_block_that_would_hide_too_many_or_none_is_drawn_again():
    """Of 6 wanted: a block over hidden patches only adds none, one of 8 new is too large, one of 3 x 2 fits."""
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4] = True
    script = Script(areas=[4.0, 9.0, 6.0], log_ratios=[0.0, 0.0, math.log(1.5)], corners=[*(0, 0), *(5, 5), *(2, 6)])
    masking = BlockMasking(8, 38, smallest=2)

    assert masking._add_block(script, mask, 6)

    expected = np.zeros((8, 8), dtype=bool)
    expected[:4] = True
    expected[2:5, 6:8] = True  # 3 x 2, of which one row is new
    np.testing.assert_array_equal(mask, expected)


def test_block_larger_than_the_image_is_drawn_again():
    """Area 100 at ratio 3 is 17 rows of 6: it does not fit 14 x 14."""
    script = Script(areas=[100.0, 16.0], log_ratios=[math.log(3), 0.0], corners=[10, 10])
    mask = np.zeros((14, 14), dtype=bool)

    assert BlockMasking(14, 120)._add_block(script, mask, 120)

    assert mask[10:, 10:].all()
    assert mask.sum() == 16


def test_blocks_have_areas_and_aspects_within_bounds():
    """Over many first blocks: area 16 to 120, ratio 0.3 to 1 / 0.3, both to the rounding of sides."""
    masking, generator, ratios, areas = BlockMasking(14, 120), rng(), [], []
    for _ in range(500):
        mask = np.zeros((14, 14), dtype=bool)
        assert masking._add_block(generator, mask, 120)
        rows, columns = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        assert mask.sum() == rows * columns  # a full rectangle
        areas.append(rows * columns)
        ratios.append(math.log(rows / columns))

    low, high = (math.sqrt(16 * 0.3) - 0.5) * (math.sqrt(16 / 0.3) - 0.5), 120
    assert low <= min(areas) < 24
    assert 100 < max(areas) <= high
    assert max(np.abs(ratios)) < math.log((math.sqrt(16 / 0.3) + 0.5) / (math.sqrt(16 * 0.3) - 0.5))
    assert abs(np.mean(ratios)) < 4.5 * np.std(ratios) / math.sqrt(500)  # tall as often as wide


def test_when_no_block_fits_patches_are_hidden_one_by_one():
    """A single free patch in each of many holes: a block of 16 new ones does not exist."""
    masking = BlockMasking(4, 15, smallest=15, aspect=1.0)  # 4 x 4 hides 16: too many, always

    masks = draws(masking, 200)

    assert set(masks.sum(axis=1)) == {15}
    assert (~masks).any(axis=0).all()  # each patch is the one left over sometimes


def test_masks_belong_to_the_sample():
    """The same (seed, epoch, index) gives the same mask; another epoch or index another one."""
    masking = BlockMasking(14, 120)
    first, again, epoch, index = (
        masking.draw(sample_rng(3, epoch=e, index=i, stream=255)) for e, i in ((0, 5), (0, 5), (1, 5), (0, 6))
    )

    assert np.array_equal(first, again)
    assert not np.array_equal(first, epoch)
    assert not np.array_equal(first, index)


@pytest.mark.parametrize("kind", [RandomMasking, BlockMasking])
@pytest.mark.parametrize("num_masked", [0, -1, 16, 17])
def test_masks_of_nothing_or_everything_are_refused(kind, num_masked):
    """Some patches must be seen and some predicted."""
    with pytest.raises(ConfigInvalid, match="of 16 patches masked"):
        kind(4, num_masked)


@pytest.mark.parametrize(("smallest", "aspect"), [(0, 0.3), (16, 0.0), (16, 1.5)])
def test_blocks_without_area_are_refused(smallest, aspect):
    """Area and aspect are checked."""
    with pytest.raises(ConfigInvalid, match="blocks of"):
        BlockMasking(14, 120, smallest, aspect)
