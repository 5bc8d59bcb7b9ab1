# SPDX-License-Identifier: Apache-2.0
"""One stand-in of Earth Engine for all tests; nothing of it is kept between two of them but the session."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from earthengine_server import EarthEngineServer

from ssl4eo.collection.remote import earthengine_session
from ssl4eo.collection.remote.earthengine import EarthEngine
from ssl4eo.collection.remote.earthengine_calls import Retry
from ssl4eo.collection.remote.earthengine_session import Account

_address: list[str] = []
"""Of the stand-in, for the function below, which has to be one of a module."""


def make_credentials() -> Any:
    """Make user credentials whose tokens come from the stand-in."""
    from google.oauth2.credentials import Credentials

    return Credentials(
        None,
        refresh_token="refresh",
        client_id="517222506229-synthetic",
        client_secret="synthetic",
        token_uri=f"{_address[0]}/token",
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


@pytest.fixture
def sleeper() -> Sleeper:
    """Give a record of waits."""
    return Sleeper()


@pytest.fixture
def ee_service(ee_server: EarthEngineServer, sleeper: Sleeper) -> Iterator[EarthEngine]:
    """Give Earth Engine at the stand-in, which is empty and well."""
    ee_server.reset()
    account = Account(project=ee_server.project, url=ee_server.url, credentials=make_credentials, read_timeout=30)
    yield EarthEngine(account=account, retry=Retry(sleep=sleeper, jitter=lambda: 1.0))
    ee_server.release.set()
    assert not ee_server.errors, ee_server.errors[0]


@pytest.fixture(scope="session")
def ee_server() -> Iterator[EarthEngineServer]:
    """Give the stand-in."""
    from ee import deprecation

    # The client library asks the internet for deprecated assets unless it knows some.
    patch = pytest.MonkeyPatch()
    patch.setattr(deprecation, "InitializeDeprecatedAssets", lambda: None)
    with EarthEngineServer() as server:
        _address[:] = [server.url]
        yield server
        earthengine_session.close()
    patch.undo()
