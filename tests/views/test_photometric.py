# SPDX-License-Identifier: Apache-2.0
"""Brightness, contrast, gray, solarize, drops: identity at zero strength, means kept where they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssl4eo.errors import ConfigInvalid
from ssl4eo.views.photometric import PhotometricConfig, Strengths, apply_photometric_, identity_row

ON = PhotometricConfig(jitter_probability=1.0, brightness=0.4, contrast=0.4, gray_probability=0.0)


def row(bands=3, **changes):
    """Make the row of one view that changes nothing but what is named."""
    rows = torch.from_numpy(identity_row(bands))[None]
    for name, value in changes.items():
        getattr(Strengths.of(rows), name)[0] = torch.as_tensor(value)
    return rows


def changed(images, rows):
    """Give the changed images and keep the others."""
    return apply_photometric_(images.clone(), rows)


def draws(config, bands=3, count=4000):
    """Draw many rows and name their columns."""
    rng = np.random.default_rng(0)
    return Strengths.of(np.stack([config.draw(rng, (0,) * bands) for _ in range(count)]))


def images(bands=3):
    """Make one random image."""
    return torch.rand((1, bands, 8, 8), generator=torch.Generator().manual_seed(0))


def test_identity_row_changes_nothing():
    """Strength zero is the identity, exactly."""
    x = images()

    assert torch.equal(changed(x, row()), x)


def test_brightness_scales():
    """A gain of 1.4 multiplies, without a wrap at 255."""
    x = images()

    torch.testing.assert_close(changed(x, row(gain=1.4)), x * 1.4)


def test_contrast_keeps_the_mean_of_each_band():
    """Only the distance to the band's own mean changes."""
    x = images()

    out = changed(x, row(contrast=0.6))

    torch.testing.assert_close(out.mean(dim=(2, 3)), x.mean(dim=(2, 3)))
    torch.testing.assert_close(out.std(dim=(2, 3)), x.std(dim=(2, 3)) * 0.6)


def test_bands_do_not_mix_without_gray():
    """A gain on one band leaves the others alone."""
    x = images()

    out = changed(x, row(contrast=1.2, gain=(1.0, 1.3, 1.0)))

    torch.testing.assert_close(out[:, [0, 2]], changed(x, row(contrast=1.2))[:, [0, 2]])


@pytest.mark.parametrize("band", [0, 1, 2])
def test_what_one_band_shows_does_not_reach_the_others(band):
    """Other pixels in one band leave the other bands alone, exactly, whatever is done to them but gray."""
    rows = row(contrast=1.3, gain=(0.8, 1.1, 1.4), invert_from=0.5, keep=(1.0, 1.0, 1.0))
    x, other = images(), images()
    other[:, band] = other[:, band].flip(-1) * 0.3

    first, second = changed(x, rows), changed(other, rows)

    assert not torch.equal(first[:, band], second[:, band])
    others = [b for b in range(3) if b != band]
    assert torch.equal(first[:, others], second[:, others])


def test_gray_reaches_every_band_and_keeps_their_mean():
    """The one change that mixes bands: a second time it does nothing more, to float32 rounding."""
    x = images(13)

    once = changed(x, row(13, gray=1.0))

    assert (once == once[:, :1]).all()
    torch.testing.assert_close(once.mean(dim=1), x.mean(dim=1))
    torch.testing.assert_close(changed(once, row(13, gray=1.0)), once)


def test_contrast_of_a_constant_is_the_constant():
    """Nothing lies away from the mean."""
    x = torch.full((1, 3, 8, 8), 0.25)

    torch.testing.assert_close(changed(x, row(contrast=1.4)), x)


def test_contrast_zero_leaves_the_mean():
    """By hand: 0, 0.2, 0.4, 1.0 have mean 0.4."""
    x = torch.tensor((0.0, 0.2, 0.4, 1.0)).reshape(1, 1, 2, 2)

    torch.testing.assert_close(changed(x, row(1, contrast=0.0)), torch.full_like(x, 0.4))
    expected = torch.tensor((-0.2, 0.1, 0.4, 1.3)).reshape(1, 1, 2, 2)  # neither cut nor wrapped around
    torch.testing.assert_close(changed(x, row(1, contrast=1.5)), expected)


def test_jitter_of_no_strength_is_the_identity():
    """A view that is always changed, by nothing: the row is the identity, exactly."""
    config = PhotometricConfig(1.0, 0.0, 0.0, 0.0, drop_bands=(0, 0), sensor_drop=0.0)
    rng = np.random.default_rng(0)

    for _ in range(50):
        np.testing.assert_array_equal(config.draw(rng, (0,) * 13), identity_row(13))


def test_gray_is_the_mean_of_all_bands_in_each():
    """A gray view of 13 bands keeps 13 equal channels."""
    x = images(13)

    out = changed(x, row(13, gray=1.0))

    torch.testing.assert_close(out, x.mean(dim=1, keepdim=True).expand_as(x))


def test_each_sample_has_its_own_row():
    """A batch equals its samples one by one."""
    x = torch.rand((2, 3, 8, 8))
    rows = torch.cat(
        [
            row(contrast=0.7, gain=(1.1, 0.9, 1.0), keep=(1.0, 0.0, 1.0)),
            row(contrast=1.3, gray=1.0, invert_from=0.5),
        ]
    )

    out = changed(x, rows)

    for i in range(2):
        torch.testing.assert_close(out[i : i + 1], changed(x[i : i + 1], rows[i : i + 1]))


def test_drawn_strengths_stay_in_range_and_follow_probabilities():
    """Factors lie in 1 -+ 0.4; a fifth of the views is gray; jitter off gives the identity."""
    drawn = draws(PhotometricConfig(jitter_probability=0.8, brightness=0.4, contrast=0.4, gray_probability=0.2))

    assert 0.6 <= drawn.contrast.min() < 0.61
    assert 1.39 < drawn.contrast.max() <= 1.4
    assert 0.6 <= drawn.gain.min() < 0.61
    assert 1.39 < drawn.gain.max() <= 1.4
    assert drawn.gray.mean() == pytest.approx(0.2, abs=0.02)
    assert (drawn.contrast == 1).mean() == pytest.approx(0.2, abs=0.02)
    assert (drawn.gain[:, 0] == drawn.gain[:, 1]).all()


def test_band_gain_differs_between_bands():
    """With band_gain each band has its own factor."""
    config = PhotometricConfig(1.0, 0.0, 0.0, 0.0, band_gain=0.2)

    drawn = draws(config, bands=13, count=1).gain[0]

    assert len(set(drawn.tolist())) == 13
    assert np.abs(drawn - 1).max() <= 0.2


def test_a_changed_probability_does_not_move_other_draws():
    """Experiments that differ in one probability see the same strengths otherwise."""
    options = {"jitter_probability": 1.0, "brightness": 0.4, "contrast": 0.4, "gray_probability": 0.0}
    plain = PhotometricConfig(**options)
    full = PhotometricConfig(**(options | {"gray_probability": 1.0}), solarize_probability=1.0, drop_bands=(1, 2))

    first, second = draws(plain, count=1), draws(full, count=1)

    np.testing.assert_array_equal(first.contrast, second.contrast)
    np.testing.assert_array_equal(first.gain, second.gain)
    assert (second.gray, second.invert_from) == (1, 0.5)


def test_old_draws_stay_where_they_were():
    """What was added later is drawn later: the first numbers are still jitter, gray, brightness, contrast."""
    rng = np.random.default_rng(7)
    _, _, brightness, contrast = rng.random(), rng.random(), rng.uniform(-1, 1), rng.uniform(-1, 1)

    drawn = Strengths.of(ON.draw(np.random.default_rng(7), (0, 0, 0)))

    np.testing.assert_allclose(drawn.gain, 1 + 0.4 * brightness, rtol=1e-6)
    np.testing.assert_allclose(drawn.contrast, 1 + 0.4 * contrast, rtol=1e-6)


@pytest.mark.parametrize(("dark", "expected"), [(False, (0.2, 0.5, 0.0, 0.0)), (True, (0.8, 0.5, 1.0, 1.4))])
def test_solarize_by_hand(dark, expected):
    """At 0.5: bright inverts 0.5, 1 and 1.4 (to black, no further); dark inverts 0.2."""
    x = torch.tensor((0.2, 0.5, 1.0, 1.4)).reshape(1, 1, 2, 2)
    config = PhotometricConfig(0.0, 0.0, 0.0, 0.0, solarize_probability=1.0, solarize_dark=dark)

    out = changed(x, torch.from_numpy(config.draw(np.random.default_rng(0), (0,)))[None])

    torch.testing.assert_close(out.flatten(), torch.tensor(expected))


@pytest.mark.parametrize("dark", [False, True])
def test_solarize_at_the_published_threshold_over_all_8_bit_values(dark):
    """Dark is the published x < 128 -> 255 - x, bright x >= 128 -> 255 - x: 128 itself lies on the bright side."""
    values = np.arange(256)
    config = PhotometricConfig(
        0.0, 0.0, 0.0, 0.0, solarize_probability=1.0, solarize_threshold=128 / 255, solarize_dark=dark
    )
    x = torch.from_numpy(values.astype(np.float32)).reshape(1, 1, 16, 16) / 255

    out = changed(x, torch.from_numpy(config.draw(np.random.default_rng(0), (0,)))[None])

    expected = np.where((values < 128) == dark, 255 - values, values)
    np.testing.assert_array_equal((out * 255).round().flatten().numpy(), expected)


@pytest.mark.parametrize(("dark", "threshold"), [(False, 1.0), (True, 0.0)])
def test_solarize_beyond_the_range_is_the_identity(dark, threshold):
    """No value of 0 up to below 1 lies on the inverted side."""
    config = PhotometricConfig(
        0.0, 0.0, 0.0, 0.0, solarize_probability=1.0, solarize_threshold=threshold, solarize_dark=dark
    )

    rows = torch.from_numpy(config.draw(np.random.default_rng(0), (0, 0, 0)))[None]

    assert torch.equal(changed(images(), rows), images())


def test_solarize_both_ways_is_all_inverted():
    """Bright and dark invert complementary values, so that one after the other inverts an image once."""
    x = images()
    bright = changed(x, row(invert_from=0.5))
    dark = changed(x, row(invert_from=-np.inf, invert_to=0.5))

    torch.testing.assert_close(bright + dark, torch.ones_like(x))


def test_share_of_solarized_views():
    """A fifth, as asked."""
    drawn = draws(PhotometricConfig(0.0, 0.0, 0.0, 0.0, solarize_probability=0.2))

    assert np.isfinite(drawn.invert_from).mean() == pytest.approx(0.2, abs=0.02)


def test_dropped_bands_are_counted_and_uniform():
    """One to four of 13 bands fall, each count and each band equally often."""
    drawn = draws(PhotometricConfig(0.0, 0.0, 0.0, 0.0, drop_bands=(1, 4)), bands=13)

    counts = (drawn.keep == 0).sum(axis=1)
    assert np.bincount(counts, minlength=5)[1:] / 4000 == pytest.approx(0.25, abs=0.03)
    assert (drawn.keep == 0).mean(axis=0) == pytest.approx(2.5 / 13, abs=0.02)


def test_dropped_bands_become_zero_and_the_others_stay():
    """Nothing but the named band changes."""
    x = images()

    out = changed(x, row(keep=(1.0, 0.0, 1.0)))

    assert torch.equal(out[:, [0, 2]], x[:, [0, 2]])
    assert not out[:, 1].any()


def test_sensor_drop_takes_all_bands_of_one_sensor():
    """Half of the views lose a sensor, either equally often, never both; single bands fall among what is left."""
    sensors = (0,) * 13 + (1,) * 2
    config = PhotometricConfig(0.0, 0.0, 0.0, 0.0, sensor_drop=0.5, drop_bands=(0, 1))
    config.check_bands(sensors, num_radar=2)
    rng = np.random.default_rng(0)

    kept = np.stack([Strengths.of(config.draw(rng, sensors)).keep for _ in range(4000)])

    optical, radar = kept[:, :13].any(axis=1), kept[:, 13:].any(axis=1)
    assert (optical | radar).all()
    assert (~optical).mean() == pytest.approx(0.25, abs=0.02)
    assert (~radar).mean() == pytest.approx(0.25, abs=0.02)
    assert set(kept[~optical].sum(axis=1)) == {1, 2}


@pytest.mark.parametrize(
    ("change", "sensors", "match"),
    [
        ({"drop_bands": (0, 3)}, (0, 0, 0), "drop_bands"),
        ({"drop_bands": (0, 2), "sensor_drop": 0.1}, (0, 0, 0, 1, 1), "drop_bands"),
        ({"sensor_drop": 0.1}, (0, 0, 0), "sensor_drop"),
        ({"speckle": 0.1}, (0, 0, 0), "speckle"),
    ],
)
def test_what_the_bands_cannot_have_is_refused(change, sensors, match):
    """A view must keep a band, a sensor to drop needs another, speckle needs radar."""
    config = PhotometricConfig(0.0, 0.0, 0.0, 0.0, **change)

    with pytest.raises(ConfigInvalid, match=match):
        config.check_bands(sensors, num_radar=0)


def test_it_works_in_place():
    """No second batch is made: what comes back is what was given."""
    x = images()
    wanted = changed(x, row(contrast=0.5, gray=1.0, invert_from=0.5, keep=(0.0, 1.0, 1.0)))

    out = apply_photometric_(x, row(contrast=0.5, gray=1.0, invert_from=0.5, keep=(0.0, 1.0, 1.0)))

    assert out is x
    assert torch.equal(x, wanted)


def test_drop_counts_out_of_order_are_refused():
    """From 2 to 1 is nothing."""
    with pytest.raises(ConfigInvalid, match="drop_bands"):
        PhotometricConfig(0.0, 0.0, 0.0, 0.0, drop_bands=(2, 1))


NAMES = (
    "jitter_probability",
    "brightness",
    "contrast",
    "gray_probability",
    "band_gain",
    "solarize_probability",
    "solarize_threshold",
    "sensor_drop",
    "speckle",
)


@pytest.mark.parametrize("name", NAMES)
def test_impossible_strengths_are_refused(name):
    """Below 0 and above 1 are refused by name."""
    options = {"jitter_probability": 0.8, "brightness": 0.4, "contrast": 0.4, "gray_probability": 0.2}
    for value in (-0.1, 1.1):
        with pytest.raises(ConfigInvalid, match=name):
            PhotometricConfig(**(options | {name: value}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["a", None, (0.1, 0.2), True])
def test_strengths_that_are_no_numbers_are_refused(name, value):
    """By name, before anything is drawn."""
    options = {"jitter_probability": 0.8, "brightness": 0.4, "contrast": 0.4, "gray_probability": 0.2}
    with pytest.raises(ConfigInvalid, match=rf"views\.photometric\.{name} is .*; expected a number"):
        PhotometricConfig(**(options | {name: value}))


@pytest.mark.parametrize("counts", [(1,), (1, 2, 3), (1.5, 2.5), (1, 2.0), ("1", "2"), (False, True), 1, None])
def test_drop_counts_that_are_not_two_whole_numbers_are_refused(counts):
    """Bands are counted from the smallest to the largest number."""
    with pytest.raises(ConfigInvalid, match=r"views\.photometric\.drop_bands is .*; expected two whole numbers"):
        PhotometricConfig(0.0, 0.0, 0.0, 0.0, drop_bands=counts)


def test_numbers_of_numpy_are_numbers():
    """Strengths and counts that were computed."""
    config = PhotometricConfig(0.0, np.float32(0.4), 0, 0.0, drop_bands=(np.int64(1), 2))

    assert draws(config, count=1).keep.sum() in (1, 2)
    with pytest.raises(ConfigInvalid, match="brightness"):
        PhotometricConfig(0.0, np.float32(1.4), 0.0, 0.0)
