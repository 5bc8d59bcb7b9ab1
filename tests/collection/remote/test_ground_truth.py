# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from ground_scenes import scenes_at
from ground_truth import TARGET_DN, resolution_of, whole_targets
from hypothesis import given, settings
from hypothesis import strategies as st
from remote_places import JUNE, MUNICH

OPTICAL = ("B01", "B02", "B8A", "SCL", "QA60", "probability")
RADAR, L1C = scenes_at(11.58, 48.14, [JUNE], modalities=("S1GRD", "S2L1C"), cloud_percent=40)


@pytest.mark.parametrize("band", OPTICAL)
def test_any_point_of_a_pixel_gives_its_value(band: str) -> None:
    """Values depend on the pixel, not on the point in it."""
    r = resolution_of(band)
    offsets = np.arange(r, dtype=np.int64)

    values = L1C.values(band, 690_600 + offsets[None, :], 5_336_340 + offsets[:, None], r)

    assert len(np.unique(values)) == 1


@given(st.integers(0, 100_000), st.integers(0, 100_000))
@settings(max_examples=50, deadline=None)
def test_every_patch_shows_a_whole_target(east: int, south: int) -> None:
    """Wherever a square of 2,640 m lies."""
    left, bottom = 300_000 + east, 5_000_000 + south

    assert whole_targets((left, bottom, left + 2640, bottom + 2640))


def test_parts_of_a_scene_are_the_scene() -> None:
    """A plane read in two halves is the plane."""
    whole = L1C.plane("B02", 690_600, 5_336_400, 264)

    np.testing.assert_array_equal(whole[132:, 132:], L1C.plane("B02", 690_600 + 1320, 5_336_400 - 1320, 132))


def test_bands_products_and_places_differ_and_share_their_fields() -> None:
    """No two planes are alike, yet radar and optical correlate."""
    blue, red = (L1C.plane(b, 690_600, 5_336_400, 264).astype(float) for b in ("B02", "B04"))
    radar = RADAR.plane("VV", 690_600, 5_336_400, 264)

    assert not np.array_equal(blue, red)
    assert np.corrcoef(blue.ravel(), radar.ravel())[0, 1] > 0.9
    assert blue.max() == TARGET_DN
    assert (radar != 0).all()


def test_pixels_never_change() -> None:
    """A few values worked once and kept: two stand-ins and every later test rely on them."""
    assert MUNICH.lon == 11.58
    assert L1C.product == "S2A_MSIL1C_20210620T101500_N0300_R065_T32NQW_20210620T101500"
    assert L1C.plane("B02", 690_600, 5_336_400, 3).tolist() == [
        [3694, 4010, 4106],
        [3252, 3564, 3598],
        [3288, 3422, 3400],
    ]
    assert RADAR.plane("VV", 690_600, 5_336_400, 3).tolist() == [
        [-6.65625, -6.265625, -7.265625],
        [-7.375, -3.578125, -6.53125],
        [-4.140625, -5.234375, -6.34375],
    ]
    assert L1C.plane("SCL", 691_160, 5_336_400, 4)[0].tolist() == [10, 10, 9, 9]
