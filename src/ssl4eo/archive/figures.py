# SPDX-License-Identifier: Apache-2.0
"""Are stored statistics right? Held against a second measurement, or, without reading pixels, against themselves.

`stats --recompute` and the conformance checks share this, so both mean the same by "the same figures".
Measures nothing itself: see statistics.py. Without pixels only contradictions show, not every wrong figure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from ssl4eo.archive.statistics import NUM_BINS, BandStatistics, Statistics

ROUNDING = 1e-9
"""Relative difference that two measurements of the same floating-point values may have."""


def compare(modality: str, stored: Statistics, fresh: Statistics) -> list[str]:
    """Name the figures in which two measurements differ, with both values.

    Counts and integers must be equal; moments of floating-point values may differ by ROUNDING.
    """
    lines: list[str] = []
    for band in {**stored.bands, **fresh.bands}:
        if band not in stored.bands or band not in fresh.bands:
            lines.append(f"{modality} {band} is in one of them only")
            continue
        left, right = (_flat(figures.bands[band]) for figures in (stored, fresh))
        lines += [
            f"{modality} {band} {key}: stored {left.get(key)}, measured {right.get(key)}"
            for key in {**left, **right}
            if not _is_same(left.get(key), right.get(key))
        ]
    return lines


def contradictions(band: BandStatistics, pixels: int, *, is_integer: bool) -> Iterator[str]:
    """Say in which figures a band contradicts itself or the number of its pixels.

    Args:
        band: its figures.
        pixels: that are stored of the band.
        is_integer: whether every value is finite, so that all pixels are counted.
    """
    if band.count > pixels or (is_integer and band.count != pixels):
        yield f"counts {band.count} of {pixels} pixels"
    if len(band.histogram) != NUM_BINS or sum(band.histogram) != band.count or min(band.histogram) < 0:
        yield f"has a histogram of {len(band.histogram)} bins and {sum(band.histogram)} pixels, counted {band.count}"
    if not 0 <= band.nodata <= 1:
        yield f"has a share of {band.nodata} without data"
    levels = [band.quantiles[key] for key in sorted(band.quantiles, key=float)]
    for low, high in pairwise((band.minimum, *levels, band.maximum)):
        if not low <= high:
            yield f"has minimum, quantiles and maximum that do not ascend: {high} after {low}"
    if not band.minimum <= band.mean <= band.maximum and not _is_same(band.minimum, band.maximum):
        yield f"has mean {band.mean} outside of {band.minimum} to {band.maximum}"


def _flat(band: BandStatistics) -> dict[str, Any]:
    return {**{k: v for k, v in vars(band).items() if k != "quantiles"}, **band.quantiles}


def _is_same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return left == right
