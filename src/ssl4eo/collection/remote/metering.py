# SPDX-License-Identifier: Apache-2.0
"""Counting the requests that really go out for one place, retries and tokens included.

Whoever sends a request counts it; whom it is for is known by the context, which travels to helping threads with
`in_context`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from contextvars import ContextVar, copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Counter:
    """Requests; safe to use from threads."""

    def __init__(self) -> None:
        self.requests = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        """Count one."""
        with self._lock:
            self.requests += 1


_CURRENT: ContextVar[Counter | None] = ContextVar("requests", default=None)


def count_request() -> None:
    """Count a request for whom it is; for nobody where nobody counts."""
    counter = _CURRENT.get()
    if counter is not None:
        counter.add()


@contextlib.contextmanager
def counted() -> Generator[Counter]:
    """Count all requests of a block."""
    counter = Counter()
    token = _CURRENT.set(counter)
    try:
        yield counter
    finally:
        _CURRENT.reset(token)


def in_context(action: Callable[P, T]) -> Callable[P, T]:
    """Wrap what another thread is to do, so that it counts for whom this one does."""
    context = copy_context()
    return lambda *given, **named: context.run(action, *given, **named)
