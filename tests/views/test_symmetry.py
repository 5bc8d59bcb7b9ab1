# SPDX-License-Identifier: Apache-2.0
"""Flips and quarter turns: the eight symmetries of the square, exact, and drawn alike."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from ssl4eo.contract import stored
from ssl4eo.recipes.views import published_view
from ssl4eo.sensors import modality
from ssl4eo.views.compose import PLAIN, Renderer, draw_geometry

TEN_METERS = modality("S2L1C").groups[10]
POSITIONS = list(itertools.product((False, True), repeat=3))
"""Mirrored, upside down, turned: all eight."""


def pixels(size=60):
    """Make random native pixels of the 10 m bands."""
    return np.random.default_rng(0).integers(0, 4000, (len(TEN_METERS), size, size)).astype(np.uint16)


def shown(image, *, mirrored=False, upside_down=False, turned=False):
    """Render the whole image at its own size in one position."""
    geometry = dataclasses.replace(PLAIN, mirrored=mirrored, upside_down=upside_down, turned=turned)
    return Renderer(stored("S2L1C", bands=TEN_METERS))({10: image}, image.shape[-1], geometry)


def expected(image, mirrored, upside_down, turned):
    """Do the same with NumPy: mirrors first, then rows and columns exchanged."""
    image = image[:, :, ::-1] if mirrored else image
    image = image[:, ::-1] if upside_down else image
    return image.transpose(0, 2, 1) if turned else image


def position_of(geometry):
    """Give the number of a position, 0 to 7."""
    return POSITIONS.index((geometry.mirrored, geometry.upside_down, geometry.turned))


@pytest.mark.parametrize(("mirrored", "upside_down", "turned"), POSITIONS)
@pytest.mark.parametrize("size", [60, 7])
def test_position_equals_numpy(mirrored, upside_down, turned, size):
    """Whole pixels move, at a size of one block of the axis and at one of several."""
    image = pixels(size)

    view = shown(image, mirrored=mirrored, upside_down=upside_down, turned=turned)

    np.testing.assert_array_equal(view, expected(image, mirrored, upside_down, turned))


@pytest.mark.parametrize("change", ["mirrored", "upside_down", "turned"])
def test_position_twice_is_the_identity(change):
    """Mirrors and the exchange of rows and columns undo themselves."""
    image = pixels()

    np.testing.assert_array_equal(shown(shown(image, **{change: True}), **{change: True}), image)


@pytest.mark.parametrize(("mirror", "direction"), [("mirrored", 1), ("upside_down", -1)])
def test_four_quarter_turns_are_the_identity(mirror, direction):
    """A mirror and an exchange are a quarter turn, as np.rot90 has it, and four of them nothing."""
    views = [pixels()]
    for _ in range(4):
        views.append(shown(views[-1], turned=True, **{mirror: True}))

    np.testing.assert_array_equal(views[1], np.rot90(views[0], direction, axes=(1, 2)))
    np.testing.assert_array_equal(views[2], views[0][:, ::-1, ::-1])
    np.testing.assert_array_equal(views[4], views[0])


def test_all_positions_are_drawn_alike():
    """With each probability one half, eight positions share 8,000 draws: chi-square below 24.3, its 99.9 % point."""
    rng, half = np.random.default_rng(0), {"horizontal_flip": 0.5, "vertical_flip": 0.5, "rotation": 0.5}
    config = dataclasses.replace(published_view(), **half)

    counts = np.bincount([position_of(draw_geometry(rng, config)) for _ in range(8000)], minlength=8)

    assert ((counts - 1000) ** 2 / 1000).sum() < 24.3


@pytest.mark.parametrize(("name", "field"), [("horizontal_flip", "mirrored"), ("vertical_flip", "upside_down")])
def test_probability_moves_its_own_position_only(name, field):
    """A quarter, never and always are kept; the others stay off."""
    rng, off = np.random.default_rng(1), {"horizontal_flip": 0.0, "vertical_flip": 0.0, "rotation": 0.0}
    for probability in (0.0, 0.25, 1.0):
        config = dataclasses.replace(published_view(), **(off | {name: probability}))

        drawn = [draw_geometry(rng, config) for _ in range(2000)]

        assert np.mean([getattr(g, field) for g in drawn]) == pytest.approx(probability, abs=0.04)
        assert not any(getattr(g, other) for g in drawn for other in {"mirrored", "upside_down", "turned"} - {field})


def test_rotation_alone_turns_left_and_right_and_never_mirrors():
    """As often as it says, one as often as the other."""
    rng, off = np.random.default_rng(1), {"horizontal_flip": 0.0, "vertical_flip": 0.0}
    image = pixels()
    for probability in (0.0, 0.25, 1.0):
        config = dataclasses.replace(published_view(), **off, rotation=probability)
        turns = [np.rot90(image, quarter, axes=(1, 2)) for quarter in range(4)]

        positions = [draw_geometry(rng, config) for _ in range(2000)]
        views = [shown(image, mirrored=g.mirrored, upside_down=g.upside_down, turned=g.turned) for g in positions]

        counts = [sum(np.array_equal(view, turn) for view in views) / 2000 for turn in turns]
        assert counts == pytest.approx([1 - probability, probability / 2, 0, probability / 2], abs=0.04)


def test_rotation_moves_no_other_draw():
    """Whoever turns it on has the same windows and blurs."""
    still, turning = (dataclasses.replace(published_view(), rotation=rotation) for rotation in (0.0, 0.5))

    pairs = [[draw_geometry(np.random.default_rng(n), config) for config in (still, turning)] for n in range(200)]

    assert all((a.window, a.sigma) == (b.window, b.sigma) for a, b in pairs)
    assert all(a == b for a, b in pairs if not b.turned)
    assert any(b.turned for _, b in pairs)
