# SPDX-License-Identifier: Apache-2.0
"""One linear map per axis: crop, resize, blur, flip."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from ssl4eo.views.resample import BLOCK, NEGLIGIBLE, Block, Line, blur_matrix, make_axes, resample


def make_axis(num_in, size, *, sigma=0.0, **line):
    """Make one axis."""
    return make_axes([Line(num_in, **line)], size, sigma=sigma)[0]


def axis_matrix(num_in, size, **options):
    """Write an axis as one matrix (S, N)."""
    matrix = np.zeros((size, num_in), np.float32)
    for made, used, weights in make_axis(num_in, size, **options):
        matrix[made, used] = weights
    return matrix


def resampled(image, rows, columns):
    """Put the stripes together, bands first."""
    stripes = [stripe.copy() for _, stripe in resample(image, rows, columns)]
    return np.concatenate(stripes).transpose(1, 0, 2)


def shown(image, rows, columns):
    """Apply two whole matrices to an image, bands first."""
    across = (Block(slice(0, len(columns)), slice(0, columns.shape[1]), columns),)
    down = tuple(
        Block(slice(at, at + len(part)), slice(0, rows.shape[1]), part)
        for at in range(0, len(rows), BLOCK)
        for part in [rows[at : at + BLOCK]]
    )
    return resampled(image, down, across)


SIZES = st.integers(1, 80)


@given(num_in=SIZES, size=SIZES, low=st.floats(0, 0.9), share=st.floats(0.05, 1), sigma=st.floats(0, 3))
def test_rows_sum_to_one(num_in, size, low, share, sigma):
    """A constant image stays constant under any crop, size and blur."""
    length = min(share, 1 - low) * num_in

    matrix = axis_matrix(num_in, size, start=low * num_in, length=length, sigma=round(sigma * 32) / 32)

    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
    assert (matrix >= 0).all()


@given(SIZES)
def test_same_size_is_the_identity(size):
    """Nothing to do changes nothing, exactly."""
    np.testing.assert_array_equal(axis_matrix(size, size), np.eye(size, dtype=np.float32))


@given(num_in=SIZES, size=SIZES)
def test_flip_twice_is_the_identity(num_in, size):
    """A mirrored matrix mirrored again is the plain one."""
    plain, flipped = axis_matrix(num_in, size), axis_matrix(num_in, size, flip=True)

    np.testing.assert_array_equal(flipped[::-1], plain)


@given(num_in=st.integers(2, 80), size=SIZES)
def test_resizing_is_symmetric(num_in, size):
    """Mirroring before or after resizing is the same."""
    matrix = axis_matrix(num_in, size)

    np.testing.assert_allclose(matrix[::-1, ::-1], matrix, atol=1e-6)


@pytest.mark.parametrize(
    ("num_in", "size"), [(264, 224), (132, 224), (44, 224), (64, 64), (264, 64), (44, 32), (10, 3)]
)
def test_resize_equals_torch_antialiased(num_in, size):
    """The triangle filter is torch's bilinear interpolation with antialias, to float32 accuracy."""
    image = np.random.default_rng(0).random((3, num_in, num_in), dtype=np.float32)
    matrix = axis_matrix(num_in, size)

    ours = shown(image, matrix, matrix)

    exact = torch.from_numpy(image.astype(np.float64))[None]
    theirs = F.interpolate(exact, (size, size), mode="bilinear", antialias=True)[0]
    np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-6)


def test_enlarging_equals_opencv():
    """From 44 px to 264 the filter is plain half-pixel bilinear interpolation."""
    image = np.random.default_rng(1).random((1, 44, 44), dtype=np.float32)
    matrix = axis_matrix(44, 264)

    theirs = cv2.resize(image[0], (264, 264), interpolation=cv2.INTER_LINEAR)

    np.testing.assert_allclose(shown(image, matrix, matrix)[0], theirs, atol=2e-6)


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0, 2.0])
def test_blur_equals_opencv(sigma):
    """The blur is a Gaussian with mirrored edges, as OpenCV's BORDER_REFLECT with a wide kernel."""
    image = np.random.default_rng(2).random((1, 40, 40), dtype=np.float32)
    matrix = blur_matrix(40, sigma)
    width = 2 * int(6 * sigma + 2) + 1

    theirs = cv2.GaussianBlur(image[0].astype(np.float64), (width, width), sigma, borderType=cv2.BORDER_REFLECT)

    np.testing.assert_allclose(shown(image, matrix, matrix)[0], theirs, atol=1e-5)


@given(size=st.integers(16, 80), steps=st.integers(0, 64))
def test_blur_keeps_the_mean(size, steps):
    """Each pixel gives away as much as it has: columns sum to one, at mirrored edges too; sigma as it is drawn."""
    np.testing.assert_allclose(blur_matrix(size, steps / 32).sum(axis=0, dtype=np.float64), 1, atol=1e-5)


@pytest.mark.parametrize(("size", "sigma"), [(32, 32.0), (3, 2.0), (1, 0.5), (1, 2.0), (7, 13.9), (224, 100.0)])
def test_wide_blur_is_of_the_signal_mirrored_again_and_again(size, sigma):
    """The weights are those of a signal continued far beyond the Gaussian, and keep the mean."""
    matrix = blur_matrix(size, sigma)

    place = np.arange(-40 * size, 41 * size)
    turned = place % (2 * size)
    mirrored = np.where(turned < size, turned, 2 * size - 1 - turned)
    gaussian = np.exp(-0.5 * ((np.arange(size)[:, None] - place) / sigma) ** 2)
    exact = gaussian @ (mirrored[:, None] == np.arange(size)) / gaussian.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(matrix, exact, atol=2e-7)
    np.testing.assert_allclose(matrix.sum(axis=0, dtype=np.float64), 1, atol=1e-5)


@pytest.mark.parametrize("size", [64, 96, 224])
def test_narrow_blur_has_three_images_to_the_bit(size):
    """As drawn for published sizes, sigma up to 2 px: further images are beyond the Gaussian's reach."""
    i = np.arange(size)
    images = np.stack([i, -1 - i, 2 * size - 1 - i])
    for sigma in np.arange(1, 65) / 32:
        weight = np.exp(-0.5 * ((i[:, None, None] - images) / sigma) ** 2).sum(axis=1)
        weight[weight < NEGLIGIBLE] = 0.0

        expected = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
        np.testing.assert_array_equal(blur_matrix(size, float(sigma)), expected)


@pytest.mark.parametrize("sigma", [129.0, 1e9, 1e300])
def test_blur_far_wider_than_the_image_is_its_mean(sigma):
    """All weights are 1 / S, and no images are summed for them."""
    np.testing.assert_array_equal(blur_matrix(32, sigma), np.full((32, 32), 1 / 32, np.float32))


@pytest.mark.parametrize("sigma", [1.0, 1.5, 2.0])
def test_blur_spreads_a_point_by_its_variance(sigma):
    """A point away from the edges keeps its place and its sum; its second moment is sigma^2, as the Gaussian's."""
    spread = blur_matrix(64, sigma)[:, 30].astype(np.float64)
    place = np.arange(64)

    assert spread.sum() == pytest.approx(1, abs=1e-6)
    assert spread @ place == pytest.approx(30, abs=1e-5)
    # From 1 px on a Gaussian taken at whole pixels has the variance of the continuous one; below it has less.
    assert spread @ (place - 30) ** 2 == pytest.approx(sigma**2, rel=1e-4)


def test_crop_at_whole_pixels_is_a_slice():
    """A crop kept at its size picks pixels."""
    image = np.random.default_rng(3).random((2, 20, 30), dtype=np.float32)

    out = shown(image, axis_matrix(20, 8, start=4, length=8), axis_matrix(30, 10, start=15, length=10))

    np.testing.assert_array_equal(out, image[:, 4:12, 15:25])


@given(start=st.floats(0, 30), length=st.floats(1, 34), size=st.integers(1, 40))
def test_a_ramp_stays_a_ramp_inside(start, length, size):
    """Bilinear sampling of x gives x at the sampled places, away from the edges."""
    length = min(length, 64 - start)
    scale = length / size
    centre = start + (np.arange(size) + 0.5) * scale
    inside = (centre > max(scale, 1)) & (centre < 64 - max(scale, 1))

    out = axis_matrix(64, size, start=start, length=length) @ (np.arange(64) + 0.5)

    # A triangle wider than a pixel samples the ramp at whole pixels: its mean is off by less than 1/8 px.
    np.testing.assert_allclose(out[inside], centre[inside], atol=0.13)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("num_in", "size"), [(264, 224), (44, 224), (264, 96), (40, 16)])
def test_blocks_equal_whole_products(num_in, size, sigma):
    """Leaving out the zeros off the band changes nothing, against the dense products in float64."""
    image = np.random.default_rng(4).integers(0, 10_000, (3, num_in, num_in)).astype(np.uint16)
    y = {"start": 0.1 * num_in, "length": 0.7 * num_in, "sigma": sigma, "flip": True}
    x = {"start": 0.2 * num_in, "length": 0.8 * num_in, "sigma": sigma}

    ours = resampled(image, make_axis(num_in, size, **y), make_axis(num_in, size, **x))

    rows, columns = (axis_matrix(num_in, size, **options).astype(np.float64) for options in (y, x))
    # Values to 10,000, sums of some hundred products: float32 is good to a few millionths of the largest.
    np.testing.assert_allclose(ours, rows @ image.astype(np.float64) @ columns.T, rtol=0, atol=0.01)


@pytest.mark.parametrize("sigma", [0.25, 1.0, 2.0])
@pytest.mark.parametrize(("num_in", "size"), [(264, 224), (44, 224), (264, 96), (40, 16)])
def test_composed_axis_equals_blur_after_resizing(num_in, size, sigma):
    """Blocks of the composed map are the product of the whole matrices, in float64, mirrored last."""
    crop = {"start": 0.15 * num_in, "length": 0.6 * num_in}

    ours = axis_matrix(num_in, size, **crop, sigma=sigma, flip=True)

    exact = blur_matrix(size, sigma).astype(np.float64) @ axis_matrix(num_in, size, **crop).astype(np.float64)
    np.testing.assert_allclose(ours, exact[::-1], rtol=0, atol=1e-6)


def test_resizing_equals_every_pixel_looked_at():
    """The few taps per output are all that a triangle over every pixel gives, in float64."""
    for num_in, size, start, length in (
        (44, 224, 3.3, 20.1),
        (264, 96, 0.0, 264.0),
        (132, 224, 60.7, 71.3),
        (7, 3, 0, 7),
    ):
        scale = length / size
        centre = start + (np.arange(size) + 0.5) * scale
        dense = np.maximum(0, 1 - np.abs(np.arange(num_in) + 0.5 - centre[:, None]) / max(scale, 1))

        exact = dense / dense.sum(axis=1, keepdims=True)

        np.testing.assert_allclose(axis_matrix(num_in, size, start=start, length=length), exact, atol=1e-7)


def test_one_window_shows_the_same_ground_on_every_grid():
    """A smooth scene cropped from 10 m and from 60 m pixels agrees: no half-pixel shift between bands."""
    fine = np.sin(np.linspace(0, 3, 264, endpoint=False) + 1.5 / 264)[None, :, None] * np.ones((1, 264, 264))
    coarse = fine.reshape(1, 44, 6, 44, 6).mean(axis=(2, 4))
    views = [
        shown(g, *(axis_matrix(n, 48, start=0.3 * n, length=0.5 * n) for _ in range(2)))
        for g, n in ((fine, 264), (coarse, 44))
    ]

    np.testing.assert_allclose(views[0], views[1], atol=2e-3)
