# SPDX-License-Identifier: Apache-2.0
"""The pace of a host: waits, holds, bounds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from stac_scenes import Clock

from ssl4eo.collection.remote.stac.patience import Again, Pace
from ssl4eo.errors import ServiceFailed
from ssl4eo.statuses import retry_after


def failing(times: int, wait: float | None = None) -> list[Again | str]:
    """List outcomes: so many failures, then an answer."""
    return [*(Again("busy", wait) for _ in range(times)), "answer"]


def run(pace: Pace, outcomes: list[Again | str]) -> str:
    """Play outcomes."""

    def once() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Again):
            raise outcome
        return outcome

    return pace.run(once, "a thing")


def test_waits_double_up_to_a_bound() -> None:
    """1, 2, 4, 8 s and so on, never more than the longest."""
    clock = Clock()

    assert run(Pace(clock.retry(longest_wait=10.0), 1), failing(6)) == "answer"

    assert clock.slept == [1, 2, 4, 8, 10, 10]


def test_jitter_halves_a_wait_at_most() -> None:
    """With nothing drawn half of it is left."""
    clock = Clock()

    run(Pace(clock.retry(jitter=lambda: 0.0), 1), failing(3))

    assert clock.slept == [0.5, 1, 2]


def test_patience_ends_with_the_last_reason() -> None:
    """After as many attempts as were allowed."""
    clock = Clock()

    with pytest.raises(ServiceFailed, match="a thing failed 3 times, at last with: busy"):
        run(Pace(clock.retry(attempts=3), 1), failing(3))

    assert clock.slept == [1, 2]


def test_the_defaults_outlast_a_minute() -> None:
    """503 for a minute is no failure, even with the shortest waits."""
    clock = Clock()

    with pytest.raises(ServiceFailed):
        run(Pace(clock.retry(jitter=lambda: 0.0), 1), failing(100))

    assert sum(clock.slept) > 60


def test_an_asked_wait_holds_back_requests_that_were_not_refused() -> None:
    """One thread was told to wait; the next request of another waits too."""
    clock = Clock()
    pace = Pace(clock.retry(jitter=lambda: 0.0), 2)
    with pytest.raises(ServiceFailed):
        run(Pace(clock.retry(attempts=1), 1), failing(1))
    with pytest.raises(AssertionError):
        pace.run(lambda: (_ for _ in ()).throw(AssertionError), "another thing")
    clock.slept.clear()
    outcomes = failing(1, wait=30)
    seen: list[float] = []

    def first() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Again):
            raise outcome
        seen.append(clock.now)
        return outcome

    start = clock.now
    pace.run(first, "a thing")
    pace.run(lambda: seen.append(clock.now), "another thing")

    assert all(now >= start + 30 for now in seen)
    assert clock.slept == [30]


def test_no_more_requests_are_under_way_than_allowed() -> None:
    """Sixteen threads, three slots."""
    pace = Pace(Clock().retry(), 3)
    lock, now, most = threading.Lock(), [0], [0]

    def request() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        threading.Event().wait(0.001)
        with lock:
            now[0] -= 1

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: pace.run(request, "a thing"), range(40)))

    assert most[0] == 3


@pytest.mark.parametrize(("header", "seconds"), [("0", 0.0), ("17", 17.0), ("", None), ("later", None), (None, None)])
def test_retry_after_is_read_as_seconds(header: str | None, seconds: float | None) -> None:
    """Nonsense counts as nothing."""
    assert retry_after(header) == seconds


def test_retry_after_is_read_as_a_date() -> None:
    """A date of the past is no wait."""
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
