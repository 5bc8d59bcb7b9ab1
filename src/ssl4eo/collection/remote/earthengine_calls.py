# SPDX-License-Identifier: Apache-2.0
"""Calls to Earth Engine with patience: exponential back-off with jitter, Retry-After honored, few at a time.

A place among the concurrent calls is given back while a call waits for its next try, so one that is slow to recover
keeps nobody else from working.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from ssl4eo.collection.remote.earthengine_failures import BROKEN, DENIED, GONE, PASSING, Failure, failure_of
from ssl4eo.collection.remote.retrying import Retry
from ssl4eo.errors import ServiceFailed, SourceInvalid, Ssl4eoError

log = logging.getLogger(__name__)

T = TypeVar("T")


def wait_before(attempt: int, failure: Failure, retry: Retry) -> float:
    """Give the seconds to wait before an attempt, from 2: what was asked for and a little, or ours.

    >>> calm = Retry(jitter=lambda: 1.0)
    >>> [wait_before(n, Failure("passing", ""), calm) for n in (2, 3, 9)]
    [1.0, 2.0, 60.0]
    """
    if failure.wait is None:
        return retry.pause(attempt - 1)
    # all who were told the same do not come back at once
    return failure.wait + min(retry.longest_pause(attempt - 1), 1.0) * retry.jitter()


def call(action: Callable[[], T], *, what: str, slots: threading.Semaphore, retry: Retry, of_scene: bool = False) -> T:
    """Do something until it is done or patience ends.

    Args:
        action: one try.
        what: it is, for messages.
        slots: places among the concurrent calls of this process.
        retry: the patience.
        of_scene: whether it is about one scene, in place of which another may do.

    Raises:
        SourceInvalid: the scene or a band of it is not there, or its bytes are no image every time.
        ServiceFailed: refused, or unreachable after all tries.
    """
    for attempt in range(1, retry.attempts + 1):
        try:
            with slots:
                return action()
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            final = _final(failure, what, attempt, retry, of_scene=of_scene)
            if final is not None:
                raise final from error
        wait = wait_before(attempt + 1, failure, retry)
        log.info("%s: %s; try %d of %d in %.1f s", what, failure.reason, attempt + 1, retry.attempts, wait)
        retry.sleep(wait)
    raise AssertionError("unreachable: the last failure raises")


def _final(failure: Failure, what: str, attempt: int, retry: Retry, *, of_scene: bool) -> Ssl4eoError | None:
    """Give the error that ends a call; None: try once more."""
    is_last = attempt >= retry.attempts
    if of_scene and (failure.kind == GONE or (failure.kind == BROKEN and is_last)):
        return SourceInvalid(
            f"{what}: {failure.reason}{f', {attempt} times' if is_last else ''}",
            expected="an image with these bands",
            remedy="take another scene",
        )
    if failure.kind not in (PASSING, BROKEN):
        return ServiceFailed(
            f"Earth Engine refuses {what}: {failure.reason}",
            expected="an answer",
            remedy=_REMEDIES.get(failure.kind, "see what it says"),
            kind=failure.kind,
        )
    if is_last:
        return ServiceFailed(
            f"{what} failed {attempt} times, at last with: {failure.reason}",
            expected="an answer",
            remedy="go on later; what was collected is kept",
            kind=failure.kind,
        )
    if failure.wait is not None and failure.wait > retry.longest_asked:
        return ServiceFailed(
            f"Earth Engine asks to come back in {failure.wait:.0f} s ({failure.reason})",
            expected=f"at most {retry.longest_asked:.0f} s",
            remedy="go on then; what was collected is kept",
            kind=failure.kind,
        )
    return None


_REMEDIES = {
    DENIED: "run `earthengine authenticate`, and see that the account may use the project",
    GONE: "check the name of the collection and that the account may read it",
}
