# SPDX-License-Identifier: Apache-2.0
"""Who asks Earth Engine, and the one session that a process can have with it.

The client library keeps account, address and algorithms in module-level state: `ee.Initialize` is process-global, and
so is the session here, the only state of this module. Once initialized the library only reads that state, so any number
of threads may build and send expressions; initializing is done once, under a lock. A session does not survive a fork:
the child makes its own. A program that called `ee.Initialize` itself loses that to ours.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo import __version__
from ssl4eo.collection.remote.earthengine_calls import call
from ssl4eo.collection.remote.earthengine_requests import Requests
from ssl4eo.collection.remote.earthengine_transport import Transport
from ssl4eo.collection.remote.retrying import Retry
from ssl4eo.errors import ConfigInvalid

HIGH_VOLUME = "https://earthengine-highvolume.googleapis.com"
"""Made for many small requests at a time: the default."""
STANDARD = "https://earthengine.googleapis.com"
CONCURRENT = 20
"""Calls at a time; a project may have 40 by default, all its processes together."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who asks, and how; plain values, so that it can be sent to other processes."""

    project: str = ""
    """Cloud project that is registered for Earth Engine; empty: that of the credentials."""
    key_file: Path | None = None
    """JSON key of a service account; None: what `earthengine authenticate` stored, or else Google's application default
    credentials (GOOGLE_APPLICATION_CREDENTIALS)."""
    url: str = HIGH_VOLUME
    concurrent: int = CONCURRENT
    """Calls at a time in this process."""
    connect_timeout: float = 30.0
    """[s]."""
    read_timeout: float = 300.0
    """Without a byte [s]; the service computes for five minutes at most before it answers."""
    credentials: Callable[[], Any] | None = None
    """Makes google.auth credentials of another kind; a function of a module, so that it can be sent on."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.concurrent < 1:
            raise ConfigInvalid(f"{self.concurrent} concurrent calls", expected="one at least")


@dataclass(frozen=True)
class Session:
    """What a process needs to ask."""

    account: Account
    process: int
    transport: Transport
    slots: threading.Semaphore
    """Places for concurrent calls of the process."""
    requests: Requests


_lock = threading.Lock()
_held: list[Session] = []
"""The session of this process, none or one: module-level, because that of the client library is."""


def session_for(account: Account, retry: Retry) -> Session:
    """Give the session of this process, making it at the first call.

    Raises:
        ConfigInvalid: no credentials or no project, or the process has a session with another account.
        ServiceFailed: the service is unreachable, or refuses the account.
    """
    held = _held[0] if _held else None  # a list is read in one step
    if held is not None and held.process == os.getpid() and held.account == account:
        return held
    with _lock:
        held = _held[0] if _held else None
        if held is None or held.process != os.getpid():
            _held[:] = [_open(account, retry)]
        elif held.account != account:
            raise ConfigInvalid(
                f"this process asks Earth Engine as {held.account} and should as {account}",
                expected="one account a process, as its client library has it",
                remedy="end the first with close(), or use another process",
            )
        return _held[0]


def close() -> None:
    """End the session of this process, if it has one; no call may be under way."""
    import ee  # pyright: ignore[reportMissingTypeStubs]

    with _lock:
        for held in _held:
            held.transport.close()
        _held.clear()
        ee.Reset()


def _open(account: Account, retry: Retry) -> Session:
    import ee  # pyright: ignore[reportMissingTypeStubs]

    transport = Transport(
        connections=account.concurrent,
        connect_timeout=account.connect_timeout,
        read_timeout=account.read_timeout,
    )
    slots = threading.Semaphore(account.concurrent)
    ee.Reset()
    call(lambda: _initialize(ee, account, transport), what="initializing", slots=slots, retry=retry)
    return Session(account, os.getpid(), transport, slots, Requests())


def _initialize(ee: Any, account: Account, transport: Transport) -> None:
    ee.data.setMaxRetries(0)  # patience is ours: the library's neither honors Retry-After nor ends by a signal
    ee.data.setUserAgent(f"ssl4eo/{__version__}")
    credentials = _credentials(ee, account)
    try:
        ee.Initialize(credentials, url=account.url, http_transport=transport, project=account.project or None)
    except ee.EEException as error:
        if "no project found" not in str(error):
            raise
        raise ConfigInvalid(
            "no project for Earth Engine",
            expected="a Cloud project that is registered for it",
            remedy="name it, or run `earthengine set_project`",
        ) from error


def _credentials(ee: Any, account: Account) -> Any:
    """Make the credentials of an account.

    Raises:
        ConfigInvalid: there are none, or the key file is none.
    """
    if account.credentials is not None:
        return account.credentials()
    if account.key_file is not None:
        return _of_key_file(account.key_file, ee.oauth.SCOPES[:2])
    try:
        return ee.data.get_persistent_credentials()
    except ee.EEException as error:
        raise ConfigInvalid(
            "no credentials for Earth Engine, or they are not accepted any more",
            expected="a key file of a service account, or those that `earthengine authenticate` stores",
            remedy="run `earthengine authenticate`, or name a key file",
        ) from error


def _of_key_file(path: Path, scopes: list[str]) -> Any:
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2 import service_account

    try:
        return service_account.Credentials.from_service_account_file(str(path), scopes=scopes)
    except (OSError, ValueError, GoogleAuthError) as error:
        raise ConfigInvalid(
            f"{path} cannot be used ({error})",
            expected="the JSON key of a service account",
            remedy="make one in the Cloud console, or name the right file",
        ) from error
