# SPDX-License-Identifier: Apache-2.0
"""Change of grid against OpenCV and by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssl4eo.errors import SampleInvalid
from ssl4eo.grid import resize_bilinear, size_at


@pytest.mark.parametrize(("source", "target"), [(44, 264), (132, 264), (264, 132), (6, 36), (7, 5)])
def test_resize_equals_opencv(source, target):
    """Half-pixel bilinear without antialias is OpenCV's INTER_LINEAR, as the reference upsamples."""
    image = np.random.default_rng(0).random((2, source, source), dtype=np.float32) * 1000

    ours = resize_bilinear(image, (target, target))

    theirs = np.stack([cv2.resize(b, (target, target), interpolation=cv2.INTER_LINEAR) for b in image])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-3)


def test_resize_by_hand():
    """Two pixels to four: the outer ones repeat, the inner ones are a quarter apart."""
    out = resize_bilinear(np.array([[[0.0, 4.0]]]), (1, 4))

    np.testing.assert_allclose(out[0, 0], [0, 1, 3, 4])


def test_size_of_a_grid_that_does_not_fit_is_refused():
    """A 60 m grid needs a multiple of 6 px."""
    with pytest.raises(SampleInvalid, match="60 m"):
        size_at(60, 100)
