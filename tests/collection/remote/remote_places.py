# SPDX-License-Identifier: Apache-2.0
"""Places and times that tests of services share."""

from __future__ import annotations

import datetime as dt

from ssl4eo.collection.remote.patch_grid import PatchGrid
from ssl4eo.collection.remote.service import Patch, Product, Scene, Service
from ssl4eo.errors import SourceInvalid
from ssl4eo.locations.window import Range
from ssl4eo.sample import Location

MUNICH = Location("0000001", 11.58, 48.14)
"""Zone 32 north."""
SANTIAGO = Location("0000002", -70.67, -33.45)
"""Zone 19 south."""
BERGEN = Location("0000003", 5.32, 60.39)
"""Zone 32 north by exception, 31 by longitude."""
EDGE = Location("0000004", 12.001, 50.0)
"""Two hundred meters within zone 33."""
FIJI = Location("0000005", 179.99, -16.5)
"""Zone 60 south, at the antimeridian."""
PLACES = (MUNICH, SANTIAGO, BERGEN, EDGE, FIJI)

JUNE = dt.datetime(2021, 6, 20, 10, 15, tzinfo=dt.UTC)
DAYS = dt.timedelta(days=1)


def around(time: dt.datetime, days: int = 10) -> Range:
    """Make a range of some days before and after."""
    return Range(time, time - days * DAYS, time + days * DAYS)


def read_one(service: Service, scene: Scene, product: Product, grid: PatchGrid) -> Patch:
    """Read one scene, and raise why there is no patch of it."""
    (patch,) = service.read([scene], product, grid)
    if isinstance(patch, SourceInvalid):
        raise patch
    return patch
