# SPDX-License-Identifier: Apache-2.0
"""The service as a whole: many threads, other processes, prices."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ground_truth import resolution_of
from remote_places import read_one
from stac_scenes import L2A, Clock, around, local, make_truth, publish, service
from stac_server import StacServer

from ssl4eo.collection.remote.patch_grid import PatchGrid, patch_grid
from ssl4eo.collection.remote.service import Service
from ssl4eo.collection.remote.stac.service import StacService
from ssl4eo.errors import ConfigInvalid, SourceInvalid
from ssl4eo.sample import Location

POINT = (11.58, 48.14)
HERE = Location("a", *POINT)


@pytest.fixture
def server() -> Iterator[StacServer]:
    """Run a stand-in with one scene that wants signatures."""
    with StacServer() as stand_in:
        stand_in.signed = "/store"
        publish(stand_in, "planetary-computer", make_truth(*POINT))
        yield stand_in


def test_sixteen_threads_get_what_one_gets_with_one_token_and_one_landing_page(server: StacServer) -> None:
    """Forty patches of shifted grids while the host refuses now and then; never more requests than allowed."""
    stac: Service = service(server, clock=Clock(), connections=8)
    product = stac.product("S2L2A")
    truth = make_truth(*POINT)
    for _ in range(6):  # less in all than one request may meet
        server.fail("/store", status=503)
        server.fail("bytes=[1-9]", reset=True, times=2)

    def one(number: int) -> bool:
        (scene,) = stac.search(HERE, [around()], product)
        grid = patch_grid(*POINT, size=48 + 6 * (number % 5))
        patch = read_one(stac, scene, product, grid)
        return all(
            np.array_equal(
                patch.image.band(band),
                truth.plane(band, grid.left, grid.top, grid.num_pixels(resolution_of(band))),
            )
            for band in L2A
        )

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(40)))

    assert len(server.paths("/token/")) == 1
    assert len(server.paths("^/v1$")) == 1
    assert server.most_under_way <= 8 + 10  # a reset is seen by the client before the server has counted it out


def test_a_service_travels_without_its_connections(server: StacServer) -> None:
    """Used, pickled, used: the copy searches and reads alike."""
    stac = StacService(local(server, "planetary-computer"), offset="keep", connections=3)
    product = stac.product("S2L2A")
    (scene,) = stac.search(HERE, [around()], product)
    grid = patch_grid(*POINT, size=48)
    before = read_one(stac, scene, product, grid)

    copy = pickle.loads(pickle.dumps(stac))
    scene_copy, product_copy = pickle.loads(pickle.dumps((scene, product)))
    after = read_one(copy, scene_copy, product_copy, grid)

    assert copy.search(HERE, [around()], product) == [scene]
    np.testing.assert_array_equal(after.image.band("B02"), before.image.band("B02"))
    assert len(server.paths("/token/")) == 2


def test_scenes_are_plain_values(server: StacServer) -> None:
    """They can be written down as JSON."""
    import json

    stac = service(server)
    (scene,) = stac.search(HERE, [around()], stac.product("S2L2A"))

    assert json.loads(json.dumps(scene.handle)) == scene.handle
    assert "sig=" not in json.dumps(scene.handle)


def test_the_price_is_what_is_paid(server: StacServer) -> None:
    """Requests and bytes within a seventh, over windows all over whole tiles; bytes that came are told."""
    import dataclasses

    from ssl4eo.form import Form

    known = local(server, "planetary-computer")
    tiles = tuple(dataclasses.replace(profile, tile=256, bytes_per_pixel=1.75) for profile in known.profiles)
    stac = StacService(dataclasses.replace(known, profiles=tiles))
    whole = stac.product("S2L2A")
    form = Form.native("S2L2A", bands=["B02", "B08"])
    product = dataclasses.replace(whole, form=form, bands={b: b for b in form.bands}, mask="", mask_kind="")
    (scene,) = stac.search(HERE, [around()], product)
    truth = make_truth(*POINT)
    # Evenly over a tile of 256 px, so that the mean is that of all places.
    grids = [
        PatchGrid(truth.crs, truth.left + 60 * x, truth.top - 60 * y, 132)
        for x in range(0, 43, 6)
        for y in range(0, 43, 12)
    ]
    read_one(stac, scene, product, grids[0])
    server.asked.clear()

    paid = sum(read_one(stac, scene, product, grid).num_bytes for grid in grids)

    _, price = stac.price(product, grids[0], num_scenes=1)
    assert paid == sum(asked.num_bytes for asked in server.asked)
    assert price.requests * len(grids) == pytest.approx(len(server.asked), rel=0.15)
    assert price.num_bytes * len(grids) == pytest.approx(paid, rel=0.15)


def test_a_scene_that_was_searched_for_other_assets_cannot_be_read(server: StacServer) -> None:
    """The handle has the addresses of the product that was searched."""
    import dataclasses

    stac = service(server)
    product = stac.product("S2L2A")
    (scene,) = stac.search(HERE, [around()], dataclasses.replace(product, mask="", mask_kind=""))

    with pytest.raises(SourceInvalid, match="was found without asset SCL"):
        read_one(stac, scene, product, patch_grid(*POINT, size=48))


@pytest.mark.parametrize("how", [{"offset": "add"}, {"connections": 0}])
def test_options_that_mean_nothing_are_refused(how: dict[str, object]) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigInvalid, match="expected"):
        StacService("earth-search", **how)  # type: ignore[arg-type]


def test_one_connection_is_enough_for_tokens_and_pixels(server: StacServer) -> None:
    """The request for a token takes the place of the one that needs it; bands wait for each other's ranges."""
    stac = service(server, connections=1)
    product = stac.product("S2L2A")
    (scene,) = stac.search(HERE, [around()], product)

    assert read_one(stac, scene, product, patch_grid(*POINT)).observed == 1.0

    assert server.most_under_way <= 2
