# SPDX-License-Identifier: Apache-2.0
"""Streams: numbers that belong to seed, use, place and attempt."""

from __future__ import annotations

import numpy as np

from ssl4eo.locations.streams import Streams, stream

KEYS = [("0000000", 0), ("0000000", 1), ("0000017", 0), ("lake.a", 12)]


def test_each_of_the_four_keys_matters():
    """Another seed, use, place or attempt gives other numbers."""
    keys = [(0, "a", 0, "place"), (1, "a", 0, "place"), (0, "b", 0, "place"), (0, "a", 1, "place"), (0, "a", 0, "x")]

    values = {stream(seed, place=place, attempt=attempt, use=use).random() for seed, place, attempt, use in keys}

    assert len(values) == len(keys)


def test_a_stream_that_is_set_equals_one_that_is_made():
    """Whatever was drawn before, also where half of a 64-bit number was left over."""
    streams = Streams(5, use="place")

    for place, attempt in [*KEYS, *reversed(KEYS)]:
        fresh = stream(5, place=place, attempt=attempt, use="place")
        again = streams.at(place, attempt)
        assert again.integers(1000, dtype=np.uint32) == fresh.integers(1000, dtype=np.uint32)
        assert again.integers(10**6) == fresh.integers(10**6)
        assert (again.standard_normal(5) == fresh.standard_normal(5)).all()


def test_known_numbers_stay():
    """Values of the first release: places of a seed must be found again."""
    assert stream(0, place="0000000", attempt=0, use="place").integers(10**6, size=3).tolist() == KNOWN


KNOWN = [234147, 359459, 751691]
