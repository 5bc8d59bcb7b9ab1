# SPDX-License-Identifier: Apache-2.0
"""Speckle: mean and variance of the power, dB, and who gets none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ssl4eo.contract import stored
from ssl4eo.errors import ConfigInvalid
from ssl4eo.recipes.views import UNCHANGED
from ssl4eo.sensors import statistics
from ssl4eo.views.compose import PLAIN, Geometry, Renderer
from ssl4eo.views.crop import WHOLE
from ssl4eo.views.resample import BLOCK
from ssl4eo.views.speckle import draw_speckle, units_per_decibel


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
def test_speckle_keeps_the_mean_power(strength):
    """The factor of power has mean 1 and the standard deviation that was asked for."""
    noise = draw_speckle(np.random.default_rng(0), size=256, strength=strength, units=(1.0,))

    power = 10 ** (noise.astype(np.float64) / 10)
    # 65,536 independent values: the mean is known to strength / 256.
    assert power.mean() == pytest.approx(1, abs=4 * strength / 256)
    assert power.std() == pytest.approx(strength, rel=0.03)


def test_least_speckle_is_what_was_asked_for():
    """Of 1e-6 float32 still knows the spread; less is refused with what can be had, for its looks overflow."""
    noise = draw_speckle(np.random.default_rng(0), size=256, strength=1e-6, units=(1.0,))

    assert np.log(10) / 10 * noise.astype(np.float64).std() == pytest.approx(1e-6, rel=0.03)
    for speckle in (1e-20, 9.9e-7):
        with pytest.raises(ConfigInvalid, match=r"views\.photometric\.speckle is .*; expected 0, or 1e-6 to 1"):
            dataclasses.replace(UNCHANGED, speckle=speckle)
    assert [dataclasses.replace(UNCHANGED, speckle=s).speckle for s in (0.0, 1e-6)] == [0.0, 1e-6]


def test_one_look_is_exponential():
    """Fully developed speckle of one look: the share of power below p is 1 - exp(-p)."""
    noise = draw_speckle(np.random.default_rng(1), size=256, strength=1.0, units=(1.0,))

    for power in (0.1, 0.5, 1.0, 3.0):
        assert np.mean(noise < 10 * np.log10(power)) == pytest.approx(1 - np.exp(-power), abs=0.01)


def test_bands_and_pixels_are_independent():
    """Neighbours and the other polarization get other numbers."""
    noise = draw_speckle(np.random.default_rng(2), size=128, strength=0.5, units=(1.0, 1.0))

    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(noise[0, :, 1:].ravel(), noise[0, :, :-1].ravel())[0, 1]) < 0.03


def test_only_radar_gets_speckle():
    """Bands without decibels stay as they are, exactly."""
    noise = draw_speckle(np.random.default_rng(0), size=8, strength=0.5, units=(0.0, 1.0))

    assert not noise[0].any()
    assert noise[1].any()
    assert units_per_decibel(stored("S2L1C")) == (0.0,) * 13


def test_a_decibel_in_stored_units():
    """1 in an archive of dB; 255 / (4 std) steps in the published 8-bit form."""
    table = statistics("S1GRD", "published_50k")

    assert units_per_decibel(stored("S1GRD")) == (1.0, 1.0)
    found = units_per_decibel(stored("S1GRD", scaling="uint8_sigma2:published_50k"))
    assert found == pytest.approx([255 / (4 * table.std[b]) for b in ("VV", "VH")])


def test_rendered_speckle_adds_in_decibels():
    """A view with noise is the view without it plus the noise."""
    pixels = {10: np.random.default_rng(0).normal(-12, 3, (2, 12, 12)).astype(np.float32)}
    noise = draw_speckle(np.random.default_rng(0), size=12, strength=0.5, units=(1.0, 1.0))
    render = Renderer(stored("S1GRD"))

    np.testing.assert_allclose(render(pixels, 12, PLAIN, noise=noise), render(pixels, 12, PLAIN) + noise, atol=1e-5)


@pytest.mark.parametrize("position", [{"turned": True}, {"turned": True, "mirrored": True}, {"upside_down": True}])
def test_noise_lies_as_the_view_does(position):
    """Noise is drawn for the finished view: not turned with the pixels, and stripes keep their place."""
    size = 3 * BLOCK + 10
    pixels = {10: np.random.default_rng(0).normal(-12, 3, (2, 40, 40)).astype(np.float32)}
    noise = draw_speckle(np.random.default_rng(0), size=size, strength=0.5, units=(1.0, 1.0))
    render, geometry = Renderer(stored("S1GRD")), Geometry(WHOLE, 0.0, **position)

    noisy = render(pixels, size, geometry, noise=noise)

    np.testing.assert_allclose(noisy, render(pixels, size, geometry) + noise, atol=1e-4)
