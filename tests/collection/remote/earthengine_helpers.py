# SPDX-License-Identifier: Apache-2.0
"""Credentials for the stand-in of Earth Engine, and waits that do not take time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from earthengine_server import EarthEngineServer

from ssl4eo.collection.remote.earthengine import EarthEngine
from ssl4eo.collection.remote.earthengine_session import Account
from ssl4eo.collection.remote.retrying import Retry

ADDRESS: list[str] = []
"""Of the stand-in: credentials are made by a function of a module, which travels by name."""


def make_credentials() -> Any:
    """Make user credentials whose tokens come from the stand-in."""
    from google.oauth2.credentials import Credentials

    return Credentials(
        None,
        refresh_token="refresh",
        client_id="517222506229-synthetic",
        client_secret="synthetic",
        token_uri=f"{ADDRESS[0]}/token",
    )


class Sleeper:
    """Records waits and does not wait."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def __call__(self, seconds: float) -> None:
        """Take a wait down."""
        with self._lock:
            self.waits.append(seconds)


@contextmanager
def service_at(server: EarthEngineServer, sleeper: Sleeper) -> Iterator[EarthEngine]:
    """Give Earth Engine at a stand-in, which is empty and well; a mistake of the stand-in itself is a failure."""
    server.reset()
    account = Account(project=server.project, url=server.url, credentials=make_credentials, read_timeout=30)
    yield EarthEngine(account=account, retry=Retry(sleep=sleeper, jitter=lambda: 1.0))
    server.release.set()
    assert not server.errors, server.errors[0]
