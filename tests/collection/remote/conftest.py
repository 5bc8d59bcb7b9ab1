# SPDX-License-Identifier: Apache-2.0
"""One stand-in of Earth Engine for all tests; nothing of it is kept between two of them but the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from earthengine_helpers import ADDRESS, Sleeper, service_at
from earthengine_server import EarthEngineServer

from ssl4eo.collection.remote import earthengine_session
from ssl4eo.collection.remote.earthengine import EarthEngine


@pytest.fixture
def sleeper() -> Sleeper:
    """Give a record of waits."""
    return Sleeper()


@pytest.fixture
def ee_service(ee_server: EarthEngineServer, sleeper: Sleeper) -> Iterator[EarthEngine]:
    """Give Earth Engine at the stand-in, which is empty and well."""
    with service_at(ee_server, sleeper) as service:
        yield service


@pytest.fixture(scope="session")
def ee_server() -> Iterator[EarthEngineServer]:
    """Give the stand-in."""
    from ee import deprecation

    # The client library asks the internet for deprecated assets unless it knows some.
    patch = pytest.MonkeyPatch()
    patch.setattr(deprecation, "InitializeDeprecatedAssets", lambda: None)
    with EarthEngineServer() as server:
        ADDRESS[:] = [server.url]
        yield server
        earthengine_session.close()
    patch.undo()
