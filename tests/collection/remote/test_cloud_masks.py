# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from remote_places import JUNE

from ssl4eo.collection.remote.cloud_masks import CLOUD_MASKS, cloud_mask, hidden_share
from ssl4eo.errors import UnknownName


@pytest.mark.parametrize(
    ("kind", "values", "share"),
    [
        ("scl", list(range(12)), 4 / 11),  # 0 tells nothing; 3, 8, 9, 10 hide
        ("qa60", [0, 1 << 10, 1 << 11, 3 << 10, 1 << 9, 1 << 15], 3 / 5),
        ("probability", [0, 49, 50, 100, 255], 2 / 4),
        ("landsat_qa", [1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 | 1 << 3], 4 / 6),
        ("scl", [0, 0], None),
        ("scl", [4, 5], 0.0),
    ],
)
def test_shares_worked_by_hand(kind: str, values: list[int], share: float | None) -> None:
    """What a mask does not tell is left out; all of that is None."""
    array = np.array([values], np.uint16)

    assert hidden_share(kind, array, np.ones(array.shape, bool), JUNE) == share


def test_pixels_without_an_observation_are_left_out() -> None:
    """A cloud outside of the swath is none."""
    values = np.array([[9, 4, 4]], np.uint8)

    assert hidden_share("scl", values, np.array([[False, True, True]]), JUNE) == 0
    assert hidden_share("scl", values, np.array([[True, False, True]]), JUNE) == 0.5


@pytest.mark.parametrize(
    ("time", "is_told"),
    [((2022, 1, 24), True), ((2022, 1, 25), False), ((2024, 2, 28), False), ((2024, 3, 1), True)],
)
def test_qa60_tells_nothing_in_the_years_in_which_it_was_empty(time: tuple[int, int, int], is_told: bool) -> None:
    """Zeros of these years are no clear sky."""
    clear = np.zeros((1, 4), np.uint16)

    share = hidden_share("qa60", clear, np.ones((1, 4), bool), dt.datetime(*time, tzinfo=dt.UTC))

    assert share == (0.0 if is_told else None)


def test_kinds_are_looked_up_by_name() -> None:
    """Unknown ones are refused with what there is; each kind fits the type that it comes in."""
    with pytest.raises(UnknownName, match="did you mean qa60"):
        cloud_mask("qa10")
    assert all(0 <= kind.fill < 2**16 for kind in CLOUD_MASKS.values())
