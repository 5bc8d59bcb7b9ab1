# SPDX-License-Identifier: Apache-2.0
"""The misbehaving server of the downloads, a client that does not sleep, and an empty cache."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from ssl4eo.download import Client, Retry

sys.path.append(str(Path(__file__).resolve().parents[1] / "download"))  # last: it has a conftest too

from fault_server import FaultServer


@pytest.fixture
def server():
    """A server on the loopback for the length of a test."""
    with FaultServer() as running:
        yield running


@pytest.fixture
def client() -> Client:
    """A client that does not sleep, gives up after four failures, and finds a connection stalled after 0.2 s."""
    retry = Retry(attempts=4, sleep=lambda _: None, jitter=lambda: 1.0)
    return Client(read_timeout=0.2, connect_timeout=5, retry=retry, proxies={})


@pytest.fixture
def data() -> bytes:
    """100,000 bytes without a pattern."""
    return random.Random(11).randbytes(100_000)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache that the environment names; nothing else of it decides."""
    for name in ("SSL4EO_OFFLINE", "HF_ENDPOINT", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL4EO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checkpoints"
