# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import gc
import json
import os
import pickle
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from earthengine_helpers import Sleeper, make_credentials
from earthengine_server import EarthEngineServer, Fault
from ground_scenes import scenes_at
from remote_places import JUNE, MUNICH, PLACES, around, read_one

from ssl4eo.collection.remote import earthengine_session, earthengine_transport
from ssl4eo.collection.remote.earthengine import EarthEngine
from ssl4eo.collection.remote.earthengine_session import HIGH_VOLUME, Account
from ssl4eo.collection.remote.earthengine_transport import Transport
from ssl4eo.collection.remote.patch_grid import patch_grid
from ssl4eo.collection.remote.retrying import Retry
from ssl4eo.errors import ConfigInvalid, ServiceFailed
from ssl4eo.sample import Location


@pytest.fixture
def alone(ee_server: EarthEngineServer) -> Iterator[EarthEngineServer]:
    """Give the stand-in to a test that makes sessions of its own."""
    earthengine_session.close()
    ee_server.reset(t for p in PLACES for t in scenes_at(p.lon, p.lat, [JUNE], modalities=("S1GRD",)))  # type: ignore[arg-type]
    yield ee_server
    earthengine_session.close()
    assert not ee_server.errors, ee_server.errors[0]


def account_of(server: EarthEngineServer, **options: Any) -> Account:
    return Account(**{"project": server.project, "url": server.url, "credentials": make_credentials} | options)


def vertical(service: EarthEngine, place: Location) -> np.ndarray:
    product = service.product("S1GRD")
    (scene,) = service.search(place, [around(JUNE)], product)
    assert place.lon is not None
    assert place.lat is not None
    return read_one(service, scene, product, patch_grid(place.lon, place.lat)).image.band("VV")


def expected(server: EarthEngineServer, place: Location) -> np.ndarray:
    assert place.lon is not None
    assert place.lat is not None
    grid = patch_grid(place.lon, place.lat)
    (truth,) = (a.truth for a in server.assets.values() if a.outlines(place.lon, place.lat))
    return truth.plane("VV", grid.left, grid.top, 264)


def test_sixteen_threads_share_one_session_and_its_places(alone: EarthEngineServer) -> None:
    """They start at once: one initializing; four calls at a time, always and at most; each gets its own pixels."""
    service = EarthEngine(account=account_of(alone, concurrent=4), retry=Retry(attempts=1))
    alone.barrier = threading.Barrier(4)
    alone.most = 4
    start = threading.Barrier(16)

    def work(number: int) -> bool:
        start.wait()
        place = PLACES[number % len(PLACES)]
        return np.array_equal(vertical(service, place), expected(alone, place))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))

    assert (alone.count("discovery"), alone.count("algorithms")) == (2, 1)
    assert alone.most_active == 4
    assert alone.count("pixels") == 16


def test_a_crowd_of_refusals_loses_nothing(alone: EarthEngineServer) -> None:
    """The stand-in takes two calls at a time and sixteen come: refusals, and all patches in the end."""
    patient = Retry(attempts=10_000, sleep=lambda _: time.sleep(0))
    service = EarthEngine(account=account_of(alone, concurrent=16), retry=patient)
    vertical(service, MUNICH)
    alone.most = 2

    with ThreadPoolExecutor(16) as pool:
        patches = list(pool.map(lambda n: vertical(service, PLACES[n % len(PLACES)]), range(16)))

    for number, patch in enumerate(patches):
        np.testing.assert_array_equal(patch, expected(alone, PLACES[number % len(PLACES)]))


def test_a_place_is_free_while_a_call_waits(alone: EarthEngineServer) -> None:
    """With one place only, a call that sleeps lets another through."""
    account = account_of(alone, concurrent=1)
    through: list[np.ndarray] = []
    other = EarthEngine(account=account, retry=Retry(attempts=1))

    def sleep(_: float) -> None:
        through.append(vertical(other, MUNICH))

    vertical(other, MUNICH)
    alone.fail("value", Fault(status=503))
    vertical(EarthEngine(account=account, retry=Retry(sleep=sleep)), MUNICH)

    np.testing.assert_array_equal(through[0], expected(alone, MUNICH))


def test_the_service_travels_to_other_processes(alone: EarthEngineServer) -> None:
    """It pickles, also after use; scenes and products too; a forked child makes a session of its own."""
    service = EarthEngine(account=account_of(alone))
    product = service.product("S1GRD")
    (scene,) = service.search(MUNICH, [around(JUNE)], product)
    copy, scene, product = pickle.loads(pickle.dumps((service, scene, product)))

    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if np.array_equal(vertical(copy, MUNICH), expected(alone, MUNICH)) else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert alone.count("algorithms") == 2
    assert copy == service
    assert read_one(copy, scene, product, patch_grid(11.58, 48.14)).observed == 1


def test_a_read_that_stalls_is_left_and_tried_again(alone: EarthEngineServer) -> None:
    """Nothing comes for 40 ms, which is the limit here: another connection, the same pixels."""
    patient = Retry(attempts=10_000, sleep=lambda _: time.sleep(0))
    alone.fail("pixels", Fault(stall=True))
    service = EarthEngine(account=account_of(alone, read_timeout=0.04), retry=patient)

    np.testing.assert_array_equal(vertical(service, MUNICH), expected(alone, MUNICH))

    assert alone.count("pixels") >= 2
    alone.release.set()


def test_memory_stays_flat(alone: EarthEngineServer) -> None:
    """Forty more reads keep less than a quarter of their patches; the stand-in is in the figure."""
    service = EarthEngine(account=account_of(alone))
    product = service.product("S1GRD")
    (scene,) = service.search(MUNICH, [around(JUNE)], product)
    small = patch_grid(11.58, 48.14, size=66)

    def after(reads: int) -> int:
        for _ in range(reads):
            read_one(service, scene, product, small)
            alone.asked.clear()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    first = after(10)
    grown = after(40) - first
    tracemalloc.stop()

    assert grown < 10 * 66 * 66 * 2 * 4


def test_an_answer_that_does_not_end_is_cut(alone: EarthEngineServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than any answer can have is not read into memory."""
    monkeypatch.setattr(earthengine_transport, "MAX_BODY", 1000)
    alone.fail("token", Fault(body=bytes(1001)), Fault(body=bytes(1000)))
    transport = Transport(connections=1, connect_timeout=5, read_timeout=5)

    with pytest.raises(ConnectionError, match="more than 1000 bytes"):
        transport.request(f"{alone.url}/token", "POST")
    assert len(transport.request(f"{alone.url}/token", "POST")[1]) == 1000
    transport.close()


def test_a_process_has_one_account(alone: EarthEngineServer) -> None:
    """The client library keeps one; a second is refused and not silently taken."""
    vertical(EarthEngine(account=account_of(alone)), MUNICH)

    with pytest.raises(ConfigInvalid, match="one account a process"):
        vertical(EarthEngine(account=account_of(alone, concurrent=3)), MUNICH)


def key_file(folder: Path, token_uri: str) -> Path:
    """Write the key of a service account that nobody has."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "key.json"
    facts = {
        "type": "service_account",
        "project_id": "stand-in",
        "private_key_id": "synthetic",
        "private_key": key.decode(),
        "client_email": "synthetic@stand-in.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(facts))
    return path


def test_a_service_account_signs_in_with_its_key(alone: EarthEngineServer, tmp_path: Path) -> None:
    """A signed assertion is sent for a token; calls name us and the project."""
    path = key_file(tmp_path, f"{alone.url}/token")
    service = EarthEngine(account=account_of(alone, credentials=None, key_file=path))

    np.testing.assert_array_equal(vertical(service, MUNICH), expected(alone, MUNICH))

    token = next(asked for asked in alone.asked if asked.kind == "token")
    assert b"grant-type%3Ajwt-bearer" in token.body
    headers = next(asked.headers for asked in alone.asked if asked.kind == "pixels")
    assert headers["x-goog-user-project"] == "stand-in"
    assert headers["user-agent"].startswith("ssl4eo/")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a home without any credentials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_what_earthengine_authenticate_stored_is_used(
    alone: EarthEngineServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's refresh token and project, without naming either."""
    from ee import oauth

    monkeypatch.setattr(oauth, "TOKEN_URI", f"{alone.url}/token")
    stored = home / ".config" / "earthengine" / "credentials"
    stored.parent.mkdir(parents=True)
    stored.write_text(json.dumps({"refresh_token": "synthetic", "project": "stand-in", "scopes": oauth.SCOPES}))
    service = EarthEngine(account=account_of(alone, credentials=None, project=""))

    np.testing.assert_array_equal(vertical(service, MUNICH), expected(alone, MUNICH))


def test_without_credentials_it_says_what_to_do(alone: EarthEngineServer, home: Path) -> None:
    """At the first call, before any request."""
    service = EarthEngine(account=account_of(alone, credentials=None))

    with pytest.raises(ConfigInvalid, match=r"no credentials.*earthengine authenticate"):
        vertical(service, MUNICH)
    assert alone.asked == []


def test_without_a_project_it_says_what_to_do(alone: EarthEngineServer) -> None:
    """User credentials belong to no project."""
    with pytest.raises(ConfigInvalid, match="no project"):
        vertical(EarthEngine(account=account_of(alone, project="")), MUNICH)


@pytest.mark.parametrize("text", [None, "", "{}", '{"type": "service_account"}'])
def test_a_key_file_that_is_none_is_refused(alone: EarthEngineServer, tmp_path: Path, text: str | None) -> None:
    """Missing, empty, or of something else."""
    path = tmp_path / "key.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(ConfigInvalid, match="key of a service account"):
        vertical(EarthEngine(account=account_of(alone, credentials=None, key_file=path)), MUNICH)


def test_a_project_that_one_may_not_use_is_told(alone: EarthEngineServer, sleeper: Sleeper) -> None:
    """Status 403 is no crowd: no second try."""
    service = EarthEngine(account=account_of(alone, project="other-project"), retry=Retry(sleep=sleeper))

    with pytest.raises(ServiceFailed, match=r"permission to use project.*may use the project"):
        vertical(service, MUNICH)
    assert sleeper.waits == []


def test_initializing_has_patience_too(alone: EarthEngineServer, sleeper: Sleeper) -> None:
    """A service that is down when a run starts, and comes back."""
    for kind in ("discovery", "algorithms"):
        alone.fail(kind, Fault(status=503), Fault(reset=True))
    service = EarthEngine(account=account_of(alone), retry=Retry(sleep=sleeper))

    np.testing.assert_array_equal(vertical(service, MUNICH), expected(alone, MUNICH))

    assert len(sleeper.waits) == 4


def test_a_service_that_is_not_there_is_told(alone: EarthEngineServer, sleeper: Sleeper) -> None:
    """No connection after all tries, and the next call tries anew."""
    with EarthEngineServer() as gone:
        url = gone.url
    service = EarthEngine(account=replace(account_of(alone), url=url), retry=Retry(attempts=3, sleep=sleeper))

    with pytest.raises(ServiceFailed, match="initializing failed 3 times"):
        vertical(service, MUNICH)
    assert np.array_equal(vertical(EarthEngine(account=account_of(alone)), MUNICH), expected(alone, MUNICH))


def test_the_high_volume_endpoint_is_the_default() -> None:
    """Made for many small requests; half of the forty calls that a project may have."""
    account = Account()

    assert account.url == HIGH_VOLUME == "https://earthengine-highvolume.googleapis.com"
    assert account.concurrent == 20
    with pytest.raises(ConfigInvalid):
        Account(concurrent=0)
