# SPDX-License-Identifier: Apache-2.0
"""Views from native resolution: windows, seasons, rendering."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ssl4eo.contract import stored
from ssl4eo.errors import ConfigInvalid, ContractMismatch
from ssl4eo.recipes.views import published_view
from ssl4eo.sensors import modality
from ssl4eo.views.compose import PLAIN, Geometry, Renderer, draw_geometry
from ssl4eo.views.crop import WHOLE, Window, random_window
from ssl4eo.views.rng import sample_rng
from ssl4eo.views.seasonal import draw_seasons


def groups(name="S2L1C", size=24, seed=0):
    """Make random native pixels of one image."""
    rng, known = np.random.default_rng(seed), modality(name)
    return {
        r: rng.integers(0, 4000, (len(b), size * 10 // r, size * 10 // r)).astype(known.dtype)
        for r, b in known.groups.items()
    }


def test_windows_fit_and_follow_the_range():
    """Areas lie in the range, aspect ratios in 3/4 to 4/3, windows in the patch."""
    rng = np.random.default_rng(0)

    windows = [random_window(rng, scale=(0.2, 1.0)) for _ in range(2000)]

    areas = np.array([w.height * w.width for w in windows])
    ratios = np.array([w.width / w.height for w in windows])
    assert areas.min() >= 0.2
    assert areas.max() <= 1.0
    assert 3 / 4 - 1e-9 <= ratios.min() <= ratios.max() <= 4 / 3 + 1e-9
    assert np.median(ratios) == pytest.approx(1, abs=0.03)
    assert all(w.top >= 0 and w.left >= 0 and w.top + w.height <= 1 and w.left + w.width <= 1 for w in windows)


def test_whole_patch_is_always_possible():
    """A range of one point, the whole patch, gives the whole patch when the ratio is one."""
    assert random_window(np.random.default_rng(0), scale=(1.0, 1.0), ratio=(1.0, 1.0)) == WHOLE


def test_window_that_never_fits_becomes_the_centred_square():
    """Half the patch three times as wide as high is 1.22 wide: after ten tries a square of the same area."""
    window = random_window(np.random.default_rng(0), scale=(0.5, 0.5), ratio=(3.0, 3.0))

    side = 0.5**0.5
    assert window == Window((1 - side) / 2, (1 - side) / 2, side, side)


def test_view_of_no_strength_is_the_plain_one():
    """The whole patch, always blurred by nothing and never turned: the plain geometry, exactly."""
    still = {"horizontal_flip": 0.0, "vertical_flip": 0.0, "rotation": 0.0, "scale": (1.0, 1.0)}
    config = dataclasses.replace(published_view(), blur_probability=1.0, blur_sigma=(0.0, 0.0), **still)
    rng = np.random.default_rng(0)

    assert {draw_geometry(rng, config) for _ in range(100)} == {PLAIN}


@pytest.mark.parametrize("resolution", [10, 20, 60])
def test_bands_do_not_mix_in_a_crop(resolution):
    """Other pixels in one band leave the other twelve alone, exactly, through crop, blur, flip and turn."""
    render, known = Renderer(stored("S2L1C")), modality("S2L1C")
    geometry = Geometry(Window(0.1, 0.2, 0.5, 0.6), 1.5, mirrored=True, upside_down=True, turned=True)
    plain, other = groups(), groups()
    other[resolution][0] = groups(seed=1)[resolution][0]
    channel = known.bands.index(known.groups[resolution][0])

    same = (render(plain, 16, geometry) == render(other, 16, geometry)).all(axis=(1, 2))

    assert np.flatnonzero(~same).tolist() == [channel]


def test_same_sample_gets_the_same_view_and_others_do_not():
    """A view is a function of seed, epoch, index and stream, nothing else."""
    config = published_view()
    keys = [(0, 0, 5, 1), (1, 0, 5, 1), (0, 1, 5, 1), (0, 0, 6, 1), (0, 0, 5, 2)]

    drawn = [draw_geometry(sample_rng(s, epoch=e, index=i, stream=t), config) for s, e, i, t in keys]
    again = draw_geometry(sample_rng(0, epoch=0, index=5, stream=1), config)

    assert drawn[0] == again
    assert len({(g.window.top, g.window.left) for g in drawn}) == len(keys)


def test_missing_group_is_refused_by_its_resolution():
    """Before anything is rendered."""
    pixels = groups()
    del pixels[20]

    with pytest.raises(ContractMismatch, match="pixels of 10 m, 60 m; expected those of 10 m, 20 m, 60 m"):
        Renderer(stored("S2L1C"))(pixels, 24, PLAIN)


def test_plain_rendering_keeps_native_values():
    """The 10 m bands of the whole patch at its own size come back unchanged, in canonical order."""
    pixels = groups()

    view = Renderer(stored("S2L1C"))(pixels, 24, PLAIN)

    assert view.dtype == np.uint16
    for band in ("B02", "B03", "B04", "B08"):
        index = modality("S2L1C").groups[10].index(band)
        np.testing.assert_array_equal(view[modality("S2L1C").bands.index(band)], pixels[10][index])


def test_every_band_lands_in_its_channel():
    """Constant bands keep their value through any geometry."""
    known = modality("S2L1C")
    pixels = groups()
    for resolution, bands in known.groups.items():
        for i, band in enumerate(bands):
            pixels[resolution][i] = 100 * known.bands.index(band)
    geometry = Geometry(Window(0.1, 0.2, 0.5, 0.6), 1.0, mirrored=True, upside_down=True, turned=True)

    view = Renderer(stored("S2L1C"))(pixels, 16, geometry)

    np.testing.assert_array_equal(view, 100 * np.arange(13)[:, None, None] * np.ones((1, 16, 16)))


def test_band_subset_reads_only_its_groups():
    """RGB needs the 10 m group alone."""
    render = Renderer(stored("S2L1C", bands=("B04", "B03", "B02")))
    pixels = groups()

    view = render({10: pixels[10]}, 24, PLAIN)

    assert render.resolutions == (10,)
    np.testing.assert_array_equal(view, pixels[10][[2, 1, 0]])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"mirrored": True}, lambda v: v[:, :, ::-1]),
        ({"upside_down": True}, lambda v: v[:, ::-1]),
        ({"turned": True}, lambda v: v.transpose(0, 2, 1)),
    ],
)
def test_positions_of_the_square(change, expected):
    """Mirrors and turns move whole pixels."""
    pixels, render = groups(), Renderer(stored("S2L1C"))

    np.testing.assert_array_equal(
        render(pixels, 24, dataclasses.replace(PLAIN, **change)), expected(render(pixels, 24, PLAIN))
    )


def test_decibels_are_not_rounded():
    """S1 keeps its fractions."""
    pixels = {10: np.full((2, 12, 12), -12.345, np.float32)}

    view = Renderer(stored("S1GRD"))(pixels, 12, PLAIN)

    assert view.dtype == np.float32
    np.testing.assert_allclose(view, -12.345, rtol=1e-6)


@pytest.mark.parametrize(("pairing", "share"), [("augment", 0.25), ("distinct", 0.0), ("random", 1.0), ("fixed", 1.0)])
def test_share_of_equal_seasons(pairing, share):
    """Published pairs are equal in a quarter of cases with four seasons; distinct ones never."""
    rng = np.random.default_rng(0)

    pairs = [draw_seasons(rng, pairing=pairing, num_views=2, num_seasons=4) for _ in range(4000)]

    assert np.mean([a == b for a, b in pairs]) == pytest.approx(share, abs=0.02)
    if pairing != "fixed":
        assert {s for pair in pairs for s in pair} == {0, 1, 2, 3}


def test_distinct_seasons_cope_with_one_date():
    """A single date is shown twice."""
    assert draw_seasons(np.random.default_rng(0), pairing="distinct", num_views=2, num_seasons=1) == (0, 0)


def test_unknown_pairing_is_refused():
    """A typing error is not a default."""
    with pytest.raises(ConfigInvalid, match="pairing"):
        draw_seasons(np.random.default_rng(0), pairing="agument", num_views=2, num_seasons=4)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 0.2)},
        {"scale": (0.2, 1.1)},
        {"size": 0},
        {"blur_sigma": (2.0, 1.0)},
        {"rotation": 1.5},
    ],
)
def test_impossible_view_is_refused(change):
    """Each number is checked before anything is read."""
    with pytest.raises(ConfigInvalid):
        dataclasses.replace(published_view(), **change)
