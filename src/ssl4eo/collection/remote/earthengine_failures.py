# SPDX-License-Identifier: Apache-2.0
"""What a failed call to Earth Engine means: wait, take another scene, or give up. A full quota is never "no image".

The client library turns statuses into messages; the status is still in the error that it was made from.
Statuses and messages: REST reference and "Earth Engine quotas" of the service; the rest are what its server is known to
say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ssl4eo.errors import Ssl4eoError
from ssl4eo.statuses import PASSING_STATUSES, retry_after

_PASSING_WORDS = (
    "too many requests",
    "too many concurrent",
    "quota exceeded",
    "rate limit",
    "ratelimitexceeded",
    "resource_exhausted",
    "capacity exceeded",
    "computation timed out",
    "internal error",
)
"""In messages of 400 and 403 that tell of the moment, not of the request."""

_GONE_WORDS = ("not found", "did not match any bands", "no band named", "does not have a band")
"""In messages about an asset or a band that is not there (any more)."""

PASSING, GONE, BROKEN, DENIED, REFUSED = "passing", "gone", "broken", "denied", "refused"


@dataclass(frozen=True)
class Failure:
    """One failed call."""

    kind: str
    """`passing`: try again. `gone`: the asset or band is not there. `broken`: bytes that are no answer, try again.
    `denied`: credentials or project. `refused`: anything else, final."""
    reason: str
    wait: float | None = None
    """Seconds that the service asked for; None: it asked for none."""


class Broken(Exception):
    """An answer that is complete and no answer."""


def failure_of(error: Exception) -> Failure | None:
    """Say what an error means; None: it is none of the service or the network, or we said already what it means."""
    if isinstance(error, Ssl4eoError):
        return None
    if isinstance(error, Broken):
        return Failure(BROKEN, str(error))
    answer = _answer_of(error)
    if answer is not None:
        return _of_status(answer, str(error))
    if isinstance(error, (ConnectionError, TimeoutError)):
        return Failure(PASSING, f"{type(error).__name__}: {error}")
    return _of_token(error) or _of_library(error)


def _of_token(error: Exception) -> Failure | None:
    import google.auth.exceptions as auth

    if isinstance(error, auth.RefreshError):
        return Failure(PASSING if error.retryable else DENIED, f"no new token: {error}")
    return Failure(PASSING, f"no new token: {error}") if isinstance(error, auth.TransportError) else None


def _of_status(answer: Any, message: str) -> Failure:
    status = int(answer.status)
    reason = f"status {status}: {message}"
    low = message.lower()
    if status in PASSING_STATUSES or any(words in low for words in _PASSING_WORDS):
        return Failure(PASSING, reason, retry_after(answer.get("retry-after")))
    if status == 404 or any(words in low for words in _GONE_WORDS):
        return Failure(GONE, reason)
    return Failure(DENIED if status in (401, 403) else REFUSED, reason)


def _of_library(error: Exception) -> Failure | None:
    from ee.ee_exception import EEException  # pyright: ignore[reportMissingTypeStubs]
    from googleapiclient.errors import Error  # pyright: ignore[reportMissingTypeStubs]

    if isinstance(error, EEException):
        return Failure(REFUSED, str(error))
    return Failure(BROKEN, f"{type(error).__name__}: {error}") if isinstance(error, Error) else None


def _answer_of(error: BaseException) -> Any:
    """Find the answer (headers, status) of the HTTP error behind an error; None if there is none."""
    from googleapiclient.errors import HttpError  # pyright: ignore[reportMissingTypeStubs]

    return next((link.resp for link in _chain(error) if isinstance(link, HttpError)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
