# SPDX-License-Identifier: Apache-2.0
"""Make what comes next while what is there is used: one thread beside the one that computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def prefetched(items: Iterable[Item], *, depth: int = 2) -> Iterator[Item]:
    """Give the items in their order, up to `depth` of them made ahead.

    What making one raises is raised here, at its place. When the consumer stops early, the thread ends with the item it
    is making.
    """
    ahead: queue.Queue[object] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                ahead.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            put(_Raised(error))

    thread = threading.Thread(target=make, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := ahead.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield item  # pyright: ignore[reportReturnType] - what was put
    finally:
        stopped.set()
        thread.join()


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error
