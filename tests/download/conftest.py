# SPDX-License-Identifier: Apache-2.0
"""A misbehaving server, a client whose sleeps are written down instead of slept, and bytes to move."""

from __future__ import annotations

import random

import pytest
from fault_server import FaultServer

from ssl4eo.download import Client, Retry


@pytest.fixture
def server():
    """A server on the loopback for the length of a test."""
    with FaultServer() as running:
        yield running


@pytest.fixture
def slept() -> list[float]:
    """The waits that the client would have slept [s]."""
    return []


@pytest.fixture
def client(slept: list[float]) -> Client:
    """A client that does not sleep and finds a connection stalled after 0.2 s."""
    return Client(
        read_timeout=0.2, connect_timeout=5, retry=Retry(attempts=4, sleep=slept.append, jitter=lambda: 1.0), proxies={}
    )


@pytest.fixture
def data() -> bytes:
    """300,000 bytes without a pattern."""
    return random.Random(7).randbytes(300_000)
