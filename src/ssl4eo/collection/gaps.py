# SPDX-License-Identifier: Apache-2.0
"""Pixels of a GeoTIFF that were not observed, as the file itself says: by its nodata tag, by NaN or by a mask.

They become 0, which is what archives have for unobserved pixels (0 DN, 0 dB), band by band: where bands differ, a value
that was observed is kept. Who reads the file marks the image as not valid, since a 0 in one band of an optical image
looks like a measurement. Values that no tag, NaN or mask names are not touched. Price: what was -9999 and what was NaN
cannot be told apart afterwards, but for the words that `Gaps.nodata` keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags


@dataclass(frozen=True)
class Gaps:
    """What of a picture was not observed."""

    share: float
    """Of pixels (y, x) that were not observed in one band at least, above 0."""
    nodata: str
    """What stood there: numbers, `NaN`, `mask` for a mask in or beside the file; with commas where it is several."""

    def labels(self, modality: str) -> dict[str, int | float | str]:
        """Give what an archive keeps of them, named by modality: archives that are joined must agree in labels."""
        return {f"nodata_{modality}": self.nodata, f"unobserved_{modality}": self.share}


def over_dates(gaps: Sequence[Gaps | None]) -> Gaps | None:
    """Put what was not observed at several dates into one: the share is that of the pixels of all dates.

    Args:
        gaps: of each date, None where all was observed.
    """
    found = [one for one in gaps if one is not None]
    if not found:
        return None
    words = dict.fromkeys(word for one in found for word in one.nodata.split(", "))
    return Gaps(sum(one.share for one in found) / len(gaps), ", ".join(words))


def fill_gaps(file: Any, pixels: NDArray[np.generic]) -> tuple[NDArray[np.generic], Gaps | None]:
    """Put 0 where a file says that nothing was observed.

    An alpha band is no mask: its values are one of the bands that somebody stated. A nodata tag of 0 changes nothing.
    In 8 bits, where values pile up at the ends, a tag counts only where all bands have its value.

    Args:
        file: an open GeoTIFF.
        pixels: all that it holds (band, y, x); not changed.

    Returns:
        The pixels, and what was filled; the very same pixels and None where there was nothing.
    """
    empty = np.zeros(pixels.shape, np.bool_)
    words: list[str] = []
    for word, found in _told(file, pixels):
        if found.any():
            empty |= found
            words.append(word)
    if not words:
        return pixels, None
    return np.where(empty, pixels.dtype.type(0), pixels), Gaps(float(empty.any(axis=0).mean()), ", ".join(words))


def _told(file: Any, pixels: NDArray[np.generic]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Give, in words and as (band, y, x), each thing by which a file says that pixels were not observed."""
    tags: Sequence[float | None] = file.nodatavals
    for value in dict.fromkeys(tag for tag in tags if tag):  # neither None nor 0
        if not np.isnan(value):
            has_tag = np.array([tag == value for tag in tags])[:, None, None]
            yield f"{value:.10g}", has_tag & _equal(pixels, value)
    if np.issubdtype(pixels.dtype, np.floating):
        yield "NaN", np.isnan(pixels)
    if all(MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags for flags in file.mask_flag_enums):
        yield "mask", np.broadcast_to(file.read_masks(1) == 0, pixels.shape)


def _equal(pixels: NDArray[np.generic], value: float) -> NDArray[np.bool_]:
    if np.issubdtype(pixels.dtype, np.floating):
        with np.errstate(over="ignore"):  # -1.7e308, the least float64, is minus infinity in float32
            return pixels == pixels.dtype.type(value)
    found = pixels == value
    return np.broadcast_to(found.all(axis=0), pixels.shape) if pixels.dtype == np.uint8 else found
