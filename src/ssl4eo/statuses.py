# SPDX-License-Identifier: Apache-2.0
"""What answers of HTTP say about trying again, for downloads and collections alike."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable

PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Those that may be another one next time."""


def retry_after(header: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Read Retry-After, which is seconds or a date; None if there is none or it makes no sense.

    >>> retry_after("120"), retry_after("Thu, 01 Jan 1970 00:01:40 GMT", now=lambda: 40.0), retry_after("soon")
    (120.0, 60.0, None)
    """
    text = (header or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now())
    except (ValueError, OverflowError):
        return None
