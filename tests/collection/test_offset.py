# SPDX-License-Identifier: Apache-2.0
"""The +1000 DN is told by tags or stated, never estimated, and a statement that pixels contradict is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from write_pictures import noise, write

from ssl4eo.collection.offset import check_option, settle_offset, tagged_offset
from ssl4eo.collection.picture import Kind, Picture, read_picture
from ssl4eo.errors import ConfigInvalid, SourceInvalid

BANDS = ("B04", "B10", "B11")


@pytest.mark.parametrize(
    ("tags", "offset"),
    [
        ({}, None),
        ({"PROCESSING_BASELINE": "03.01"}, 0),
        ({"PROCESSING_BASELINE": "05.00"}, 1000),
        ({"PROCESSING_BASELINE": "latest"}, None),
        ({"BOA_ADD_OFFSET": "-1000", "PROCESSING_BASELINE": "03.01"}, 1000),
        ({"RADIO_ADD_OFFSET": "0"}, 0),
        ({"RADIO_ADD_OFFSET": "none"}, None),
    ],
)
def test_tags_tell_the_offset(tags: dict[str, str], offset: int | None) -> None:
    """The explicit one before the baseline; what is no number tells nothing."""
    assert tagged_offset(tags) == offset


def _picture(tmp_path: Path, pixels: np.ndarray, **tags: str) -> Picture:
    write(tmp_path / "a.tif", pixels, tags=tags)
    return read_picture(tmp_path / "a.tif", Kind(*pixels.shape, "uint16"))


def _pixels(cirrus: int, *, low: int) -> np.ndarray:
    pixels = noise(3, 18, 12, dtype="u2", low=low, high=4000)
    pixels[1] = noise(18, 12, dtype="u2", low=cirrus, high=cirrus + 40)
    return pixels


def test_what_is_stated_or_tagged_is_the_offset(tmp_path: Path) -> None:
    """Where both tell they must agree; where nobody tells the image is refused."""
    pixels = _pixels(1005, low=1000)

    assert settle_offset(1000, _picture(tmp_path, pixels), pixels, BANDS) == 1000
    tagged = _picture(tmp_path, pixels, PROCESSING_BASELINE="05.00")
    assert settle_offset(None, tagged, pixels, BANDS) == 1000
    assert settle_offset(1000, tagged, pixels, BANDS) == 1000
    with pytest.raises(SourceInvalid, match="tags of offset 1000 DN; expected 0"):
        settle_offset(0, tagged, pixels, BANDS)
    with pytest.raises(SourceInvalid, match="does not tell its offset"):
        settle_offset(None, _picture(tmp_path, pixels), pixels, BANDS)


def test_tags_of_an_offset_that_no_product_has_are_refused(tmp_path: Path) -> None:
    """At the file, not when its archive is finished."""
    pixels = _pixels(505, low=500)

    with pytest.raises(SourceInvalid, match="tags of offset 500 DN; expected 0 or 1000 DN"):
        settle_offset(None, _picture(tmp_path, pixels, BOA_ADD_OFFSET="-500"), pixels, BANDS)


def test_pixels_that_contradict_are_refused_with_the_evidence(tmp_path: Path) -> None:
    """B10 is never as bright as 0.09 everywhere; with the offset hardly any pixel lies below 900."""
    with_offset, without = _pixels(1005, low=1000), _pixels(5, low=100)

    with pytest.raises(SourceInvalid, match=r"offset of 0 DN: no pixel of B10 .*--offset 1000"):
        settle_offset(0, _picture(tmp_path, with_offset), with_offset, BANDS)
    with pytest.raises(SourceInvalid, match=r"offset of 1000 DN: .*% of the pixels of B04 .*--offset 0"):
        settle_offset(1000, _picture(tmp_path, without), without, BANDS)


def test_fill_and_a_few_dark_pixels_contradict_nothing(tmp_path: Path) -> None:
    """0 is outside the swath, and noise goes below zero reflectance."""
    pixels = _pixels(1005, low=1000)
    pixels[:, :5] = 0
    pixels[0, 10, 10] = 850

    assert settle_offset(1000, _picture(tmp_path, pixels), pixels, BANDS) == 1000
    empty = np.zeros_like(pixels)
    assert settle_offset(1000, _picture(tmp_path, empty), empty, BANDS) == 1000
    assert settle_offset(0, _picture(tmp_path, empty), empty, BANDS) == 0


def test_a_bright_image_without_b10_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It may be a desert, so it is not refused."""
    pixels = noise(3, 18, 12, dtype="u2", low=1000, high=4000)

    with caplog.at_level(logging.WARNING):
        offset = settle_offset(0, _picture(tmp_path, pixels), pixels, ("B02", "B03", "B04"))

    assert offset == 0
    assert "no pixel below 900 DN" in caplog.text


def test_no_other_offset_can_be_stated() -> None:
    """0, 1000 or nothing."""
    for offset in (None, 0, 1000):
        check_option(offset)
    with pytest.raises(ConfigInvalid, match="offset 100; expected 0 or 1000"):
        check_option(100)
