# SPDX-License-Identifier: Apache-2.0
"""Which dates: the seasons that the views of one sample show."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ssl4eo.errors import ConfigInvalid

Pairing = Literal["augment", "distinct", "random", "fixed"]
"""augment: independent draws, as published (equal in a quarter of pairs with four seasons);
distinct: different seasons wherever there are enough; random: one draw for all views;
fixed: season 0 for all views."""


def draw_seasons(rng: np.random.Generator, *, pairing: Pairing, num_views: int, num_seasons: int) -> tuple[int, ...]:
    """Draw a season for each view of one sample."""
    if pairing == "augment":
        return tuple(int(s) for s in rng.integers(num_seasons, size=num_views))
    if pairing == "distinct":
        order = rng.permutation(num_seasons)
        return tuple(int(order[v % num_seasons]) for v in range(num_views))
    if pairing == "random":
        return (int(rng.integers(num_seasons)),) * num_views
    if pairing == "fixed":
        return (0,) * num_views
    raise ConfigInvalid(f"views.pairing is {pairing!r}", expected=f"one of {', '.join(get_args(Pairing))}")
