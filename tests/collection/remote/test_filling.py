# SPDX-License-Identifier: Apache-2.0
"""Seasons of several instruments are filled together: one year for all, none of them twice."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ssl4eo.collection.remote.coregistration import MIN_SIZE, coregistration
from ssl4eo.collection.remote.selection import Acquisition, Choice, candidates
from ssl4eo.collection.remote.service import Patch, Product, Scene
from ssl4eo.collection.remote.taking import Filling, Seasons
from ssl4eo.errors import NoImagery
from ssl4eo.form import Form
from ssl4eo.locations.window import Range, Window
from ssl4eo.sample import Image


def day(year: int, number: int) -> dt.datetime:
    return dt.datetime(year, 6, number, tzinfo=dt.UTC)


def scene(name: str, time: dt.datetime, cloud: float = 0.0) -> Acquisition:
    return Acquisition({name: Scene(f"{name}_{time:%Y%m%d}", name, time, cloud, "EPSG:32632", None, 0)})


def seasons(name: str, *years: list[Acquisition]) -> Seasons:
    """One season whose window has some years."""
    product = Product(name, name, {}, Form.native(name))
    return Seasons({name: product}, [list(years)], Choice())


def patch(acquisition: Acquisition, observed: float = 1.0) -> Any:
    patch = Patch.__new__(Patch)
    values = {"image": SimpleNamespace(product=acquisition.first.product), "observed": observed, "cloud": None}
    for field, value in values.items():
        object.__setattr__(patch, field, value)
    return patch


A, B = scene("S1GRD", day(2021, 3)), scene("S1GRD", day(2020, 3))
C, D = scene("S2L1C", day(2021, 4)), scene("S2L1C", day(2020, 4))


def test_the_first_year_that_all_see_is_taken():
    """Radar saw both, optics the second alone."""
    filling = Filling([seasons("S1GRD", [A], [B]), seasons("S2L1C", [], [D])])

    assert filling.ranges == {0: 1}
    assert filling.next() == [{0: B}, {0: D}]


def test_a_year_that_one_instrument_cannot_fill_is_given_up_by_all():
    """Radar of 2021 was taken already; the optical patch lies at the edge of the swath."""
    radar, optics = seasons("S1GRD", [A], [B]), seasons("S2L1C", [C], [D])
    filling = Filling([radar, optics])
    assert filling.next() == [{0: A}, {0: C}]
    radar.settle({0: A}, {"S1GRD": [patch(A)]})
    optics.settle({0: C}, {"S2L1C": [patch(C, observed=0.5)]})

    assert filling.next() == [{0: B}, {0: D}]

    radar.settle({0: B}, {"S1GRD": [patch(B)]})
    optics.settle({0: D}, {"S2L1C": [patch(D)]})
    assert filling.next() == [{}, {}]
    assert radar.patches()["S1GRD"][0].image.product == B.first.product


def test_years_of_which_none_is_seen_by_all_are_told():
    """Each instrument saw something."""
    with pytest.raises(NoImagery, match="no year in which all of S1GRD S2L1C see season 0"):
        Filling([seasons("S1GRD", [A], []), seasons("S2L1C", [], [D])])
    with pytest.raises(NoImagery, match="no S2L1C in season 0"):
        Filling([seasons("S1GRD", [A], []), seasons("S2L1C", [], [])])


@pytest.mark.parametrize("order", ["clearest", "latest", "nearest"])
def test_the_order_of_years_goes_before_any_other(order):
    """A perfect scene of the second year waits for all of the first."""
    ranges = tuple(Range(day(year, 15), day(year, 1), day(year, 30)) for year in (2020, 2021))
    cloudy, clear = scene("S2L1C", day(2020, 2), 0.1), scene("S2L1C", day(2021, 15), 0.0)

    assert candidates(Window(ranges), [clear, cloudy], Choice(order)) == [[cloudy], [clear]]


def image(modality: str, size: int, rng: np.random.Generator) -> Image:
    form = Form.native(modality)
    pixels = {
        r: (rng.random((len(bands), size * form.base // r, size * form.base // r)) * 1000).astype(form.dtype)
        for r, bands in form.groups
    }
    return Image(modality, pixels, product="x")


@pytest.mark.parametrize("radar", ["S1GRD", "S1RTC"])
def test_small_patches_have_no_shift_and_every_radar_has_one(radar):
    """17 x 17 shifts of a core of 8 x 8 pixels: the best one fits by chance."""
    rng = np.random.default_rng(0)
    for size, is_measured in ((24, False), (MIN_SIZE, True)):
        found = coregistration({radar: [image(radar, size, rng)], "S2L2A": [image("S2L2A", size, rng)]})
        assert bool(found) is is_measured
