# SPDX-License-Identifier: Apache-2.0
"""What goes wrong at a host is survived, or told with the product and the asset; never wrong pixels."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ground_truth import Truth
from remote_places import read_one
from stac_scenes import Clock, around, make_truth, publish, raster, service
from stac_server import StacServer

from ssl4eo.collection.remote.patch_grid import patch_grid
from ssl4eo.collection.remote.service import Patch
from ssl4eo.collection.remote.stac.service import StacService
from ssl4eo.errors import ConfigInvalid, ServiceFailed, SourceInvalid
from ssl4eo.sample import Location

POINT = (11.58, 48.14)
B02, B8A = "/B02.tif", "/B8A.tif"


@pytest.fixture
def server() -> Iterator[StacServer]:
    """Run a stand-in that wants signatures and keys."""
    with StacServer() as stand_in:
        stand_in.signed, stand_in.s3 = "/store", "/eodata"
        yield stand_in


class Site:
    """A scene in a stand-in, and a service that found it; faults come between search and read."""

    def __init__(self, server: StacServer, host: str = "planetary-computer", **facts: Any) -> None:
        self.server, self.clock = server, Clock()
        self.truth: Truth = make_truth(*POINT, **facts)
        self.item = publish(server, host, self.truth)
        self.service: StacService = service(server, host, clock=self.clock)
        self.product = self.service.product(self.truth.modality)
        (self.scene,) = self.service.search(Location("a", *POINT), [around()], self.product)
        self.grid = patch_grid(*POINT)

    def read(self) -> Patch:
        """Read the scene."""
        return read_one(self.service, self.scene, self.product, self.grid)

    def require_right(self, patch: Patch) -> None:
        """Compare two bands with the truth."""
        for band, size in (("B02", 264), ("B8A", 132)):
            expected = self.truth.plane(band, self.grid.left, self.grid.top, size)
            np.testing.assert_array_equal(patch.image.band(band), expected)

    def path(self, key: str) -> str:
        """Give the path of an asset."""
        return self.item["assets"][key]["href"].removeprefix(self.server.root).replace("s3:/", "")


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("where", [f"{B02} bytes=0-", f"{B02} bytes=[1-9]"])
def test_a_busy_store_is_asked_again(server: StacServer, status: int, where: str) -> None:
    """At the header and at the pixels, five times in a row."""
    site = Site(server)
    server.fail(where, status=status, times=5)

    patch = site.read()

    site.require_right(patch)
    assert site.clock.slept == [1, 2, 4, 8, 16]


def test_a_minute_of_refusals_is_outlasted(server: StacServer) -> None:
    """The host is down for all assets until a minute has passed on the clock of the waits."""
    site = Site(server)
    server.fail("/store", status=503, times=10_000)
    sleep = site.clock.sleep

    def sleep_and_mend(seconds: float) -> None:
        sleep(seconds)
        if site.clock.now > 1060:
            server.faults.clear()

    object.__setattr__(site.service._retry, "sleep", sleep_and_mend)

    site.require_right(site.read())


def test_retry_after_holds_back_all_threads_as_long_as_asked(server: StacServer) -> None:
    """One answer asks for 7 s; nobody asks before they have passed, and nobody waits longer."""
    site = Site(server)
    server.fail(f"{B02} bytes=0-", status=429, headers={"Retry-After": "7"})

    site.require_right(site.read())

    assert site.clock.now >= 1007
    assert all(seconds <= 8 for seconds in site.clock.slept)


def test_a_storm_of_429_on_every_asset_is_survived(server: StacServer) -> None:
    """Sixty answers in a row are refusals, each with a wait."""
    site = Site(server)
    site.service = StacService(site.service.catalog, retry=site.clock.retry(attempts=100))  # one may get most of them
    server.fail("/store", status=429, headers={"Retry-After": "2"}, times=60)

    site.require_right(site.read())


def test_a_wait_of_hours_ends_in_a_failure_that_says_so(server: StacServer) -> None:
    """Nobody sleeps for an hour inside of a call."""
    site = Site(server)
    server.fail(B02, status=503, headers={"Retry-After": "3600"})

    with pytest.raises(ServiceFailed, match=r"asset B02 of S2A_\w+: the host asks to come back in 3600 s"):
        site.read()


def test_a_host_that_stays_busy_is_a_failed_service_not_an_invalid_scene(server: StacServer) -> None:
    """Another scene would not help."""
    site = Site(server)
    server.fail(B8A, status=503, times=1000)

    with pytest.raises(ServiceFailed, match=r"asset B8A of S2A_\w+ failed 10 times, at last with: status 503"):
        site.read()


@pytest.mark.parametrize("where", [f"{B02} bytes=0-", f"{B02} bytes=[1-9]"])
def test_reset_connections_are_made_anew(server: StacServer, where: str) -> None:
    """Four resets before an answer."""
    site = Site(server)
    server.fail(where, reset=True, times=4)

    site.require_right(site.read())


@pytest.mark.parametrize("where", [f"{B02} bytes=0-", f"{B02} bytes=[1-9]"])
@pytest.mark.parametrize("stall", [0, 1000])
def test_a_stalled_answer_is_given_up_and_asked_for_again(server: StacServer, where: str, stall: int) -> None:
    """Before and after the first bytes; nothing comes for 40 ms."""
    site = Site(server)
    slow = service(server, connections=1, read_timeout=0.04)
    server.fail(where, stall=stall)

    patch = read_one(slow, site.scene, _only(site, "B02"), site.grid)

    expected = site.truth.plane("B02", site.grid.left, site.grid.top, 264)
    np.testing.assert_array_equal(patch.image.band("B02"), expected)


def test_a_stalled_api_is_given_up_and_asked_again(server: StacServer) -> None:
    """A search, in the middle of its answer."""
    site = Site(server)
    slow = service(server, read_timeout=0.04)
    server.fail("/search", stall=100)

    assert slow.search(Location("a", *POINT), [around()], site.product) == [site.scene]


@pytest.mark.parametrize("where", [f"{B02} bytes=0-", f"{B02} bytes=[1-9]"])
def test_a_body_that_is_cut_short_is_fetched_again(server: StacServer, where: str) -> None:
    """Twice at one byte, which a network may do."""
    site = Site(server)
    server.fail(where, cut=1000, times=2)

    site.require_right(site.read())


def test_a_network_that_drops_at_other_bytes_each_time_makes_no_scene_invalid(server: StacServer) -> None:
    """Six cuts, none like another."""
    site = Site(server)
    for cut in range(1000, 7000, 1000):
        server.fail(f"{B02} bytes=[1-9]", cut=cut)

    site.require_right(site.read())


def test_a_body_that_always_ends_at_one_byte_makes_the_scene_invalid(server: StacServer) -> None:
    """Then the file is broken at the host, and another scene may do."""
    site = Site(server)
    server.fail(f"{B02} bytes=[1-9]", cut=1000, times=100)

    with pytest.raises(
        SourceInvalid, match=r"asset B02 of S2A_\w+ is broken: a body of 1000 bytes in place of"
    ) as told:
        site.read()

    assert told.value.where == {"product": site.scene.product, "asset": "B02"}


def test_a_page_in_place_of_pixels_is_not_decoded(server: StacServer) -> None:
    """A portal answers 200 with HTML: for a while it is survived, forever it is told."""
    site = Site(server)
    server.fail(f"{B02} bytes=[1-9]", body=b"<html>", times=2)
    site.require_right(site.read())
    server.fail(f"{B02} bytes=[1-9]", body=b"<html>", times=100)

    with pytest.raises(SourceInvalid, match="a page in place of a range of bytes"):
        site.read()


@pytest.mark.parametrize("key", ["B02", "SCL"])
def test_a_scene_that_vanished_between_search_and_read_is_named(server: StacServer, key: str) -> None:
    """A band or the mask."""
    site = Site(server)
    del server.files[site.path(key)]

    with pytest.raises(SourceInvalid, match=rf"asset {key} of S2A_\w+ is gone: status 404") as told:
        site.read()

    assert told.value.where["asset"] == key


def test_a_vanished_scene_says_more_than_a_busy_host(server: StacServer) -> None:
    """Both at once: another scene is taken."""
    site = Site(server)
    server.fail("/B01", status=503, times=1000)
    del server.files[site.path("B12")]

    with pytest.raises(SourceInvalid, match="B12"):
        site.read()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:100] + b"\0" * (len(data) - 100),
        lambda data: data[:-200_000] + bytes(200_000),
        lambda data: data[: len(data) // 3],
        lambda data: b"\0" * len(data),
        lambda _: b"",
        lambda _: b"II*\0" + b"\xff" * 60_000,
    ],
    ids=["header only", "zeros in tiles", "cut", "zeros", "empty", "garbage"],
)
def test_a_corrupt_geotiff_is_an_invalid_source(server: StacServer, damage: Any) -> None:
    """Every kind of damage to the bytes under the window is seen."""
    site = Site(server, east=-1200, south=-1200)
    path = site.path("B02")
    server.files[path] = damage(server.files[path])

    with pytest.raises(SourceInvalid, match=r"asset B02 of S2A_\w+ "):
        site.read()


def test_random_damage_to_a_geotiff_is_refused_or_read_to_its_size(server: StacServer) -> None:
    """Sixty stretches of noise. GeoTIFF has no checksums: what still unpacks is not noticed, by anybody."""
    site = Site(server)
    path, whole = site.path("B02"), raster(site.truth, "B02")
    product = _only(site, "B02")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        at = int(rng.integers(0, len(whole) - 64))
        server.files[path] = whole[:at] + rng.bytes(64) + whole[at + 64 :]
        try:
            patch = read_one(site.service, site.scene, product, site.grid)
        except SourceInvalid:
            refused += 1
            continue
        assert patch.image.band("B02").shape == (264, 264)
    assert refused > 20


def _only(site: Site, band: str) -> Any:
    """Give the product with one band and no mask."""
    import dataclasses

    from ssl4eo.form import Form

    form = Form.native(site.product.modality, bands=[band])
    bands = {band: site.product.bands[band]}
    return dataclasses.replace(site.product, form=form, bands=bands, mask="", mask_kind="")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have keys for CDSE."""
    monkeypatch.setenv("CDSE_S3_ACCESS_KEY", "KEY")
    monkeypatch.setenv("CDSE_S3_SECRET_KEY", "SECRET")


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("how", [{"status": 503}, {"cut": 100}, {"reset": True}])
def test_jpeg_2000_with_a_fault_at_any_request_has_the_right_pixels(server: StacServer, how: dict[str, Any]) -> None:
    """GDAL's own HTTP gives wrong pixels here, or an error that tells nothing."""
    site = Site(server, "cdse", modality="S2L1C")
    product = _only(site, "B02")
    server.asked.clear()
    read_one(site.service, site.scene, product, site.grid)
    ranges = [asked.range for asked in server.paths("B02")]
    assert len(ranges) > 2

    for asked in ranges:
        server.fail(f"B02.jp2 {asked}$", **how)
        patch = read_one(site.service, site.scene, product, site.grid)
        expected = site.truth.plane("B02", site.grid.left, site.grid.top, 264)
        np.testing.assert_array_equal(patch.image.band("B02"), expected)


@pytest.mark.usefixtures("keys")
def test_a_jpeg_2000_that_is_cut_is_an_invalid_source(server: StacServer) -> None:
    """OpenJPEG would fill up what is missing; the file ends before what it says."""
    site = Site(server, "cdse", modality="S2L1C")
    product = _only(site, "B02")
    path = site.path("B02")
    whole = server.files[path]
    for share in (0.1, 0.5, 0.9):
        server.files[path] = whole[: int(len(whole) * share)]
        with pytest.raises(SourceInvalid, match=r"asset B02 of S2A_\w+ "):
            read_one(site.service, site.scene, product, site.grid)


def test_an_expired_signature_is_renewed_once_and_reading_goes_on(server: StacServer) -> None:
    """Between search and read, and in the middle of a file; one new token for all bands."""
    site = Site(server)
    site.require_right(site.read())
    server.expire()

    site.require_right(site.read())

    assert len(server.paths("^/token/sentinel-2-l2a")) == 2


def test_a_signature_that_ends_in_the_middle_of_a_file_is_renewed(server: StacServer) -> None:
    """The header came with the old one, the pixels come with the new one."""
    site = Site(server)
    server.fail(f"{B02} bytes=[1-9]", status=403)

    site.require_right(site.read())

    assert len(server.paths("^/token/")) == 2


def test_a_store_that_refuses_the_new_signature_too_is_a_failed_service(server: StacServer) -> None:
    """No loop of renewals."""
    site = Site(server)
    server.fail(B02, status=403, times=1000)

    with pytest.raises(ServiceFailed, match=r"asset B02 of .* is refused with status 403"):
        site.read()

    assert len(server.paths("^/token/")) <= 3


def test_a_token_is_asked_for_again_shortly_before_it_ends(server: StacServer) -> None:
    """By the clock of the process that only counts, 45 minutes less two."""
    site = Site(server)
    site.read()
    site.clock.now += 42 * 60
    site.read()
    assert len(server.paths("^/token/")) == 1

    site.clock.now += 2 * 60
    site.read()

    assert len(server.paths("^/token/")) == 2


def test_a_wrong_clock_does_not_ask_for_a_token_each_time(server: StacServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's own Date tells how long a token lives: here the host lives years ahead of us."""
    server.now = lambda: dt.datetime.now(dt.UTC) + dt.timedelta(days=900)
    monkeypatch.setattr(
        "http.server.BaseHTTPRequestHandler.date_time_string",
        lambda *_: f"{server.now():%a, %d %b %Y %H:%M:%S GMT}",
    )
    site = Site(server)

    site.require_right(site.read())
    site.clock.now += 42 * 60
    site.read()
    assert len(server.paths("^/token/")) == 1
    site.clock.now += 2 * 60
    site.read()

    assert len(server.paths("^/token/")) == 2


@pytest.mark.parametrize(
    "how", [{"status": 503, "times": 3}, {"reset": True, "times": 3}, {"body": b"<html>", "times": 3}]
)
def test_a_token_endpoint_that_is_busy_is_asked_again(server: StacServer, how: dict[str, Any]) -> None:
    """Its refusals are waited for like any."""
    site = Site(server)
    server.fail("/token/", **how)

    site.require_right(site.read())


def test_a_token_endpoint_that_refuses_is_a_failed_service(server: StacServer) -> None:
    """Not an invalid scene."""
    site = Site(server)
    server.fail("/token/", status=401, times=100)

    with pytest.raises(ServiceFailed, match="status 401"):
        site.read()


def test_missing_keys_are_told_before_anything_is_asked(server: StacServer) -> None:
    """The variables are named."""
    site = Site(server, "cdse", modality="S2L1C")
    server.asked.clear()

    with pytest.raises(ConfigInvalid, match="no CDSE_S3_ACCESS_KEY and no CDSE_S3_SECRET_KEY in the environment"):
        site.read()

    assert not server.asked


def test_a_file_that_changes_while_it_is_read_is_refused(server: StacServer) -> None:
    """Header of one file, pixels of another: the size tells."""
    site = Site(server)
    path = site.path("B02")
    before = server.take_fault

    def swap(line: str) -> Any:
        if "B02.tif bytes=0-" in line:
            server.files[path] = server.files[path]
        elif "B02.tif" in line:
            server.files[path] += b"more"
        return before(line)

    server.take_fault = swap  # type: ignore[method-assign]

    with pytest.raises(SourceInvalid, match="changed while it was read"):
        site.read()


def test_no_message_holds_a_signature(server: StacServer) -> None:
    """Ledgers and logs may be shown."""
    site = Site(server)
    server.fail(B02, reset=True, times=1000)

    with pytest.raises(ServiceFailed) as told:
        site.read()

    assert "sig=" not in f"{told.value} {told.value.__cause__}"
