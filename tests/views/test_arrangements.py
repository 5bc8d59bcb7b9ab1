# SPDX-License-Identifier: Apache-2.0
"""Arrangements of views and their seasons: which share a draw, how the draws are spread."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pytest

from ssl4eo.errors import ConfigInvalid
from ssl4eo.recipes.views import published_view
from ssl4eo.views.config import MultiCrop, OneView, PairConfig, TwoViews
from ssl4eo.views.seasonal import draw_seasons

GLOBAL, LOCAL = published_view(), published_view(96)
ALL_PAIRS = set(itertools.product(range(4), repeat=2))
PAIRS = {
    "augment": ALL_PAIRS,
    "distinct": {(a, b) for a, b in ALL_PAIRS if a != b},
    "random": {(a, b) for a, b in ALL_PAIRS if a == b},
    "fixed": {(0, 0)},
}
CHI_SQUARE = {16: 37.7, 12: 31.3, 4: 16.3, 1: 1e-9}
"""Its 99.9 % points for as many classes, that is 15, 11 and 3 degrees of freedom; of one class it is 0."""


def drawn(pairing, num_views, num_seasons, count=4800):
    """Draw the seasons of many samples."""
    rng = np.random.default_rng(0)
    return [draw_seasons(rng, pairing=pairing, num_views=num_views, num_seasons=num_seasons) for _ in range(count)]


@pytest.mark.parametrize("pairing", PAIRS)
def test_pairs_of_seasons_are_drawn_alike(pairing):
    """Every ordered pair that a pairing allows is as frequent as any other, and no other comes up."""
    counts = Counter(drawn(pairing, 2, 4))

    wanted = 4800 / len(PAIRS[pairing])
    assert set(counts) == PAIRS[pairing]
    assert sum((c - wanted) ** 2 / wanted for c in counts.values()) < CHI_SQUARE[len(PAIRS[pairing])]


@pytest.mark.parametrize(("num_views", "num_seasons"), [(3, 4), (4, 4), (3, 2), (10, 4)])
def test_distinct_seasons_are_as_different_as_they_can_be(num_views, num_seasons):
    """No season comes twice before every season has come once."""
    for seasons in drawn("distinct", num_views, num_seasons, 200):
        counts = np.bincount(seasons, minlength=num_seasons)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("pairing", PAIRS)
def test_one_season_serves_every_pairing(pairing):
    """Data of a single date are shown at that date."""
    assert set(drawn(pairing, 3, 1, 20)) == {(0, 0, 0)}


@pytest.mark.parametrize(
    ("views", "sizes", "groups"),
    [
        (OneView("random", GLOBAL), [224], (0,)),
        (PairConfig("augment", GLOBAL), [224] * 2, (0, 1)),
        (TwoViews("augment", GLOBAL, GLOBAL), [224] * 2, (0, 1)),
        (MultiCrop("augment", GLOBAL, GLOBAL, LOCAL, 8), [224] * 2 + [96] * 8, (0, 1, *[2] * 8)),
        (MultiCrop("augment", GLOBAL, GLOBAL, LOCAL, 0), [224] * 2, (0, 1)),
    ],
)
def test_views_and_their_draws_of_a_season(views, sizes, groups):
    """Each global view has a draw of its own, all local views share the third."""
    assert [view.size for view in views.views] == sizes
    assert views.season_groups == groups


@pytest.mark.parametrize("kind", ["two", "multi"])
def test_global_views_of_two_sizes_are_refused(kind):
    """They are compared in one batch."""
    other = dataclasses.replace(GLOBAL, size=192)

    with pytest.raises(ConfigInvalid, match="size is 224"):
        TwoViews("augment", GLOBAL, other) if kind == "two" else MultiCrop("augment", GLOBAL, other, LOCAL, 8)


@pytest.mark.parametrize("num_local", [-1, 101])
def test_impossible_counts_of_local_views_are_refused(num_local):
    """Each view needs a stream of random numbers of its own."""
    with pytest.raises(ConfigInvalid, match="num_local"):
        MultiCrop("augment", GLOBAL, GLOBAL, LOCAL, num_local)


def test_local_views_larger_than_the_global_ones_are_refused():
    """The first view is as large as any; none is shown where there are no local views, and equal sizes are fine."""
    large = dataclasses.replace(LOCAL, size=225)

    with pytest.raises(ConfigInvalid, match=r"views\.local\.size is 225, views\.first\.size 224"):
        MultiCrop("augment", GLOBAL, GLOBAL, large, 1)

    assert max(view.size for view in MultiCrop("augment", GLOBAL, GLOBAL, large, 0).views) == 224
    assert len(MultiCrop("augment", GLOBAL, GLOBAL, GLOBAL, 2).views) == 4
