# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from earthengine_helpers import Sleeper
from earthengine_server import EarthEngineServer, Fault
from ground_scenes import scenes_at
from ground_truth import Truth
from remote_places import DAYS, JUNE, MUNICH, around, read_one

from ssl4eo.collection.remote.earthengine import EarthEngine
from ssl4eo.collection.remote.patch_grid import PatchGrid, patch_grid
from ssl4eo.collection.remote.retrying import Retry
from ssl4eo.collection.remote.service import Patch
from ssl4eo.errors import ServiceFailed, SourceInvalid

BUSY = "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."


@pytest.fixture
def truth(ee_server: EarthEngineServer, ee_service: EarthEngine) -> Truth:
    """Give a radar scene that the stand-in has."""
    (truth,) = scenes_at(11.58, 48.14, [JUNE], modalities=("S1GRD",))
    ee_server.add(truth)
    return truth


def grid() -> PatchGrid:
    return patch_grid(11.58, 48.14)


def fetch(service: EarthEngine) -> Patch:
    product = service.product("S1GRD")
    (scene,) = service.search(MUNICH, [around(JUNE)], product)
    return read_one(service, scene, product, grid())


def require_whole(patch: Patch, truth: Truth) -> None:
    np.testing.assert_array_equal(patch.image.band("VV"), truth.plane("VV", grid().left, grid().top, 264))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(reset=True),
        Fault(cut=0),
        Fault(cut=100),
        Fault(cut=300_000),
        Fault(body=b""),
        Fault(body=b"no array"),
        Fault(body=b"\x93NUMPY\x01\x00"),
        *(Fault(status=status) for status in (408, 429, 500, 502, 503, 504)),
        Fault(status=400, message="Computation timed out."),
        Fault(status=403, message="Quota exceeded for quota metric 'Read requests'"),
        Fault(status=400, message="An internal error has occurred (request 1234)."),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(
    ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth, sleeper: Sleeper, fault: Fault
) -> None:
    """Resets, cut and foreign bodies, crowds and breakdowns: three in a row, and the pixels are whole."""
    ee_server.fail("pixels", *[fault] * 3)
    ee_server.fail("value", *([fault] if fault.cut is None else []))

    patch = fetch(ee_service)

    require_whole(patch, truth)
    assert ee_server.count("pixels") == 4
    assert sleeper.waits[-3:] == [1.0, 2.0, 4.0]


def test_a_truncated_array_of_full_length_headers_is_no_image(
    ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth
) -> None:
    """An array of another size or without a band is not taken."""
    import io

    bodies: list[bytes] = []
    for array in (
        np.zeros((263, 264), [("VV", "f4"), ("VH", "f4"), ("observed", "u1")]),
        np.zeros((264, 264), [("VV", "f4"), ("observed", "u1")]),
        np.zeros((264, 264), "f4"),
    ):
        out = io.BytesIO()
        np.save(out, array)
        bodies.append(out.getvalue())
    ee_server.fail("pixels", *(Fault(body=body) for body in bodies))

    require_whole(fetch(ee_service), truth)

    assert ee_server.count("pixels") == 4


@pytest.mark.parametrize("kind", ["value", "pixels"])
def test_a_full_quota_is_never_an_empty_answer(
    ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth, kind: str
) -> None:
    """A storm of 429 that outlasts our patience is an error of the service, not a place without scenes (defect 11)."""
    ee_server.fail(kind, *[Fault(status=429, message=BUSY)] * 50)

    with pytest.raises(ServiceFailed, match="failed 10 times, at last with: status 429") as caught:
        fetch(ee_service)

    assert not isinstance(caught.value, SourceInvalid)
    assert caught.value.where["kind"] == "passing"
    assert ee_server.count(kind) == 10


def test_a_minute_of_503_is_survived(
    ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth, sleeper: Sleeper
) -> None:
    """Nine failures in a row; even with the least jitter the waits come to two minutes, then it goes on."""
    ee_server.fail("pixels", *[Fault(status=503)] * 9)
    least = replace(ee_service, retry=replace(ee_service.retry, jitter=lambda: 0.0))

    require_whole(fetch(least), truth)

    assert sleeper.waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert sum(sleeper.waits) > 60


def test_retry_after_is_honored(
    ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth, sleeper: Sleeper
) -> None:
    """We come back no earlier than asked, and no later than a second more."""
    ee_server.fail("pixels", Fault(status=429, headers={"Retry-After": "17"}))

    require_whole(fetch(ee_service), truth)

    assert sleeper.waits == [18.0]


def test_too_long_a_wait_ends_the_call(ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth) -> None:
    """An hour is for people to decide on."""
    ee_server.fail("pixels", Fault(status=503, headers={"Retry-After": "3600"}))

    with pytest.raises(ServiceFailed, match="come back in 3600 s"):
        fetch(ee_service)


def test_a_scene_that_vanishes_gives_way_to_another(
    ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth, sleeper: Sleeper
) -> None:
    """Between search and read the asset goes: the scene's fault, at once."""
    product = ee_service.product("S1GRD")
    (scene,) = ee_service.search(MUNICH, [around(JUNE)], product)
    ee_server.assets.clear()

    with pytest.raises(SourceInvalid, match=r"not found.*take another scene"):
        read_one(ee_service, scene, product, grid())

    assert sleeper.waits == []


def test_bytes_that_are_never_an_image_are_the_scene_s_fault(
    ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth
) -> None:
    """Ten complete answers that are no array."""
    ee_server.fail("pixels", *[Fault(body=b"no array")] * 10)

    with pytest.raises(SourceInvalid, match="10 times"):
        fetch(ee_service)


@pytest.mark.parametrize(
    ("fault", "remedy"),
    [
        (Fault(status=400, message="Invalid argument"), "see what it says"),
        (Fault(status=403, message="Caller does not have required permission"), "earthengine authenticate"),
    ],
    ids=["invalid", "forbidden"],
)
def test_what_will_not_pass_ends_at_once(
    ee_service: EarthEngine,
    ee_server: EarthEngineServer,
    truth: Truth,
    sleeper: Sleeper,
    fault: Fault,
    remedy: str,
) -> None:
    """A refusal is told with what to do, without a second try."""
    ee_server.fail("pixels", fault)

    with pytest.raises(ServiceFailed, match=remedy):
        fetch(ee_service)

    assert (ee_server.count("pixels"), sleeper.waits) == (1, [])


def test_an_expired_token_is_renewed(
    ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth, sleeper: Sleeper
) -> None:
    """The service calls a token invalid before its time: a new one, and the call goes on without a wait."""
    fetch(ee_service)
    before = ee_server.num_tokens
    ee_server.expire()

    require_whole(fetch(ee_service), truth)

    assert ee_server.num_tokens == before + 1
    assert sleeper.waits == []


def test_credentials_that_are_withdrawn_end_the_call(
    ee_service: EarthEngine, ee_server: EarthEngineServer, truth: Truth
) -> None:
    """No new token is given any more: told, with what to do."""
    fetch(ee_service)
    ee_server.expire()
    ee_server.fail("token", Fault(status=400, message="invalid_grant"))

    with pytest.raises(ServiceFailed, match=r"no new token.*earthengine authenticate"):
        fetch(ee_service)


def test_a_server_that_sends_nothing_is_left(ee_server: EarthEngineServer) -> None:
    """A read time-out is a TimeoutError, which is tried again; seen at the transport, with a limit of 20 ms."""
    from ssl4eo.collection.remote.earthengine_failures import failure_of
    from ssl4eo.collection.remote.earthengine_transport import Transport

    ee_server.reset()
    ee_server.fail("token", Fault(stall=True))
    transport = Transport(connections=1, connect_timeout=5, read_timeout=0.02)

    with pytest.raises(TimeoutError) as caught:
        transport.request(f"{ee_server.url}/token", "POST")

    failure = failure_of(caught.value)
    assert failure is not None
    assert failure.kind == "passing"
    ee_server.release.set()
    transport.close()


def test_our_own_mistakes_are_not_tried_again(ee_service: EarthEngine, sleeper: Sleeper) -> None:
    """A TypeError is no matter of the network."""
    from threading import Semaphore

    from ssl4eo.collection.remote.earthengine_calls import call

    def mistaken() -> Any:
        raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        call(mistaken, what="a mistake", slots=Semaphore(), retry=Retry(sleep=sleeper))
    assert sleeper.waits == []


@pytest.mark.parametrize("how", ["gone", "memory"])
def test_scenes_that_share_a_request_are_read_alone_when_it_is_refused(
    ee_service: EarthEngine, ee_server: EarthEngineServer, how: str
) -> None:
    """One that vanished costs itself only; more memory than the service has for both is enough for each."""
    product = ee_service.product("S1GRD")
    ee_server.add(*scenes_at(11.58, 48.14, [JUNE, JUNE + 6 * DAYS], modalities=("S1GRD",)))
    scenes = ee_service.search(MUNICH, [around(JUNE)], product)
    if how == "gone":
        del ee_server.assets[scenes[0].handle["asset"]]
    else:
        ee_server.fail("pixels", Fault(status=400, message="User memory limit exceeded."))

    first, second = ee_service.read(scenes, product, grid())

    assert isinstance(first, SourceInvalid) == (how == "gone")
    assert isinstance(second, Patch)
    assert second.image.product == scenes[1].product
    assert ee_server.count("pixels") == 3
