# SPDX-License-Identifier: Apache-2.0
"""One host's pace, shared by all threads: how many requests at a time, when to try again, when to give up.

A Retry-After holds back every thread, not only the one that was told. Without one a thread waits by itself, twice as
long each time, with jitter. GDAL's own retries (GDAL_HTTP_MAX_RETRY) do neither, so GDAL makes no requests here.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from ssl4eo.collection.remote.retrying import TOLD_AFTER, Retry
from ssl4eo.errors import ServiceFailed

log = logging.getLogger(__name__)
T = TypeVar("T")


def kind_of(status: int) -> str:
    """Say what a status that will not pass means, in the words of `service.FINAL_KINDS`.

    >>> kind_of(403), kind_of(404), kind_of(400)
    ('denied', 'gone', 'refused')
    """
    return {401: "denied", 402: "denied", 403: "denied", 404: "gone", 410: "gone"}.get(status, "refused")


class Again(Exception):
    """A failure that may pass: a drop, a stall, a busy server."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait = wait
        """Seconds that the server asked for; None: it asked for none."""


class Pace:
    """Requests to one host."""

    def __init__(self, retry: Retry, connections: int) -> None:
        self.retry = retry
        self._slots = threading.BoundedSemaphore(connections)
        self._lock = threading.Lock()
        self._held_until = float("-inf")

    def run(self, action: Callable[[], T], what: str, *, is_inner: bool = False) -> T:
        """Do something until it is done or patience ends.

        Args:
            action: makes one request; raises `Again` where another try may help.
            what: is asked for, for messages.
            is_inner: whether this is part of another action, whose place it takes: a second one could be waited for
                forever.

        Raises:
            ServiceFailed: it failed too often, or the host asks for too long a wait.
        """
        for attempt in range(1, self.retry.attempts + 1):
            self._wait_while_held()
            try:
                with contextlib.nullcontext() if is_inner else self._slots:
                    return action()
            except Again as failure:
                self._wait_after(failure, attempt, what)
        raise AssertionError("the last attempt gives or raises")

    def _wait_while_held(self) -> None:
        while True:
            with self._lock:
                left = self._held_until - self.retry.clock()
            if left <= 0:
                return
            self.retry.sleep(left + 0.1 * min(left, 10) * self.retry.jitter())

    def _wait_after(self, failure: Again, attempt: int, what: str) -> None:
        retry = self.retry
        if attempt == retry.attempts:
            raise ServiceFailed(
                f"{what} failed {attempt} times, at last with: {failure.reason}",
                expected="an answer",
                remedy="try again later",
            ) from failure
        if attempt == TOLD_AFTER:
            log.warning("%s: %s; it is asked again", what, failure.reason)
        if failure.wait is None:
            retry.sleep(retry.pause(attempt))
        elif failure.wait > retry.longest_asked:
            raise ServiceFailed(
                f"{what}: the host asks to come back in {failure.wait:.0f} s ({failure.reason})",
                expected=f"at most {retry.longest_asked:.0f} s",
                remedy="try again then",
            ) from failure
        else:
            with self._lock:
                self._held_until = max(self._held_until, retry.clock() + failure.wait)
