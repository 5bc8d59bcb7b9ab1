# SPDX-License-Identifier: Apache-2.0
"""Making ahead: order, errors at their place, and a thread that ends."""

from __future__ import annotations

import itertools
import threading

import pytest

from ssl4eo.loading.prefetch import prefetched


def test_order_stays():
    """And everything comes."""
    assert list(prefetched(range(100))) == list(range(100))
    assert list(prefetched([])) == []


def test_errors_come_at_their_place():
    """After the items before."""

    def items():
        yield 1
        raise ValueError("broken")

    got = prefetched(items())
    assert next(got) == 1
    with pytest.raises(ValueError, match="broken"):
        next(got)


def test_items_are_made_ahead_but_not_all():
    """Two wait and a third is in the making, however many there are; stopping early ends the thread."""
    made, enough = [], threading.Event()

    def items():
        for number in itertools.count():
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    got = prefetched(items(), depth=2)
    assert next(got) == 0
    assert enough.wait(10)  # 1 and 2 wait, 3 has no place
    got.close()

    assert made == [0, 1, 2, 3]
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
