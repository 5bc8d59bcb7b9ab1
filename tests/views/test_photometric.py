# SPDX-License-Identifier: Apache-2.0
"""Brightness, contrast, gray: identity at zero strength, means kept where they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssl4eo.errors import ConfigInvalid
from ssl4eo.views.photometric import PhotometricConfig, apply_photometric

ON = PhotometricConfig(jitter_probability=1.0, brightness=0.4, contrast=0.4, gray_probability=0.0)


def row(contrast=1.0, gray=0.0, gain=(1.0, 1.0, 1.0)):
    """Make the row of one view."""
    return torch.tensor([[contrast, gray, *gain]])


def images(bands=3):
    """Make one random image."""
    return torch.rand((1, bands, 8, 8), generator=torch.Generator().manual_seed(0))


def test_identity_row_changes_nothing():
    """Strength zero is the identity, exactly."""
    x = images()

    assert torch.equal(apply_photometric(x, row()), x)


def test_brightness_scales():
    """A gain of 1.4 multiplies, without a wrap at 255."""
    x = images()

    torch.testing.assert_close(apply_photometric(x, row(gain=(1.4,) * 3)), x * 1.4)


def test_contrast_keeps_the_mean_of_each_band():
    """Only the distance to the band's own mean changes."""
    x = images()

    out = apply_photometric(x, row(contrast=0.6))

    torch.testing.assert_close(out.mean(dim=(2, 3)), x.mean(dim=(2, 3)))
    torch.testing.assert_close(out.std(dim=(2, 3)), x.std(dim=(2, 3)) * 0.6)


def test_bands_do_not_mix_without_gray():
    """A gain on one band leaves the others alone."""
    x = images()

    out = apply_photometric(x, row(contrast=1.2, gain=(1.0, 1.3, 1.0)))

    torch.testing.assert_close(out[:, [0, 2]], apply_photometric(x, row(contrast=1.2))[:, [0, 2]])


def test_gray_is_the_mean_of_all_bands_in_each():
    """A gray view of 13 bands keeps 13 equal channels."""
    x = images(13)

    out = apply_photometric(x, row(gray=1.0, gain=(1.0,) * 13))

    torch.testing.assert_close(out, x.mean(dim=1, keepdim=True).expand_as(x))


def test_each_sample_has_its_own_row():
    """A batch equals its samples one by one."""
    x = torch.rand((2, 3, 8, 8))
    rows = torch.cat([row(0.7, 0.0, (1.1, 0.9, 1.0)), row(1.3, 1.0)])

    out = apply_photometric(x, rows)

    for i in range(2):
        torch.testing.assert_close(out[i : i + 1], apply_photometric(x[i : i + 1], rows[i : i + 1]))


def test_drawn_strengths_stay_in_range_and_follow_probabilities():
    """Factors lie in 1 -+ 0.4; a fifth of the views is gray; jitter off gives the identity."""
    config = PhotometricConfig(jitter_probability=0.8, brightness=0.4, contrast=0.4, gray_probability=0.2)
    rng = np.random.default_rng(0)

    rows = np.stack([config.draw(rng, 3) for _ in range(4000)])

    assert rows[:, 0].min() >= 0.6
    assert rows[:, 0].max() <= 1.4
    assert rows[:, 2:].min() >= 0.6
    assert rows[:, 2:].max() <= 1.4
    assert rows[:, 1].mean() == pytest.approx(0.2, abs=0.02)
    assert (rows[:, 0] == 1).mean() == pytest.approx(0.2, abs=0.02)
    assert (rows[:, 2] == rows[:, 3]).all()


def test_band_gain_differs_between_bands():
    """With band_gain each band has its own factor."""
    config = PhotometricConfig(1.0, 0.0, 0.0, 0.0, band_gain=0.2)

    drawn = config.draw(np.random.default_rng(0), 13)[2:]

    assert len(set(drawn.tolist())) == 13
    assert np.abs(drawn - 1).max() <= 0.2


def test_a_changed_probability_does_not_move_other_draws():
    """Experiments that differ in one probability see the same strengths otherwise."""
    with_gray = PhotometricConfig(1.0, 0.4, 0.4, 1.0)

    first, second = (c.draw(np.random.default_rng(7), 3) for c in (ON, with_gray))

    np.testing.assert_array_equal(np.delete(first, 1), np.delete(second, 1))


@pytest.mark.parametrize("name", ["jitter_probability", "brightness", "contrast", "gray_probability", "band_gain"])
def test_impossible_strengths_are_refused(name):
    """Below 0 and above 1 are refused by name."""
    options = {"jitter_probability": 0.8, "brightness": 0.4, "contrast": 0.4, "gray_probability": 0.2}
    for value in (-0.1, 1.1):
        with pytest.raises(ConfigInvalid, match=name):
            PhotometricConfig(**(options | {name: value}))
