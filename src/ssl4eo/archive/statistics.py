# SPDX-License-Identifier: Apache-2.0
"""Statistics of all pixels of an archive, band by band: exact for integers, shard by shard, in any number of processes.

Integers are counted value by value, so mean, standard deviation and quantiles are those of NumPy on the whole.
Floating-point values get a mean and a standard deviation in float64, and quantiles that are off by 1/128 of their unit
at most, from counters that reach from -128 to 128; the figures of two runs differ by rounding only.
Nothing is left out but NaN and infinity: values that stand for nodata count like all others, and apart as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.arrays import ShardedArray
from ssl4eo.archive.layout import Layout
from ssl4eo.archive.shards import Shards
from ssl4eo.errors import ShardCorrupt
from ssl4eo.processes import Run

QUANTILES = (0.01, 0.02, 0.05, 0.25, 0.5, 0.75, 0.95, 0.98, 0.99)
NUM_BINS = 128
"""Of the histogram that is kept."""
FLOAT_STEP = 1 / 64
"""Width of the counters of floating-point values."""
_BATCH_PIXELS = 1 << 16
"""Counted at once, in each band: as many as a processor cache holds."""
_FLOAT_LOW = -128.0
_FLOAT_COUNTERS = 16_384  # to +128: decibels of any radar


@dataclass(frozen=True)
class BandStatistics:
    """Figures of one band over all its pixels, in the unit of the stored values."""

    count: int
    """Number of pixels that are finite."""
    nodata: float
    """Share of pixels that are 0, the fill value of every published source; also 0 DN is such a value."""
    mean: float
    std: float
    """Population standard deviation."""
    minimum: float
    maximum: float
    quantiles: Mapping[str, float]
    """By level, as NumPy's linear method gives them; of floating-point values to FLOAT_STEP / 2."""
    histogram: tuple[int, ...]
    """NUM_BINS counts; the first and the last also hold what lies outside."""
    low: float
    """Lower edge of the histogram."""
    width: float
    """Of a bin of the histogram."""


@dataclass(frozen=True)
class Statistics:
    """Figures of one modality by band, in canonical order."""

    bands: Mapping[str, BandStatistics]

    def to_json(self) -> dict[str, Any]:
        """Give plain values for attributes; `from_json` reads them."""
        return {
            name: {**vars(band), "quantiles": dict(band.quantiles), "histogram": list(band.histogram)}
            for name, band in self.bands.items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Statistics:
        """Read what `to_json` wrote.

        Raises:
            TypeError, ValueError: something is missing or of the wrong kind.
        """
        return cls({name: _band_from_json(row) for name, row in data.items()})


def _band_from_json(row: Mapping[str, Any]) -> BandStatistics:
    values: dict[str, Any] = {**row, "histogram": tuple(row["histogram"])}
    return BandStatistics(**values)


@dataclass
class Tally:
    """What is known of the pixels of some bands, to be merged."""

    counters: NDArray[np.int64]
    """(band, counter)."""
    moments: NDArray[np.float64]
    """(band, 3): count, mean, sum of squared differences; only of floating-point values."""
    extremes: NDArray[np.float64]
    """(band, 2): minimum and maximum."""
    zeros: NDArray[np.int64]
    """(band,): pixels that are 0."""

    def add(self, other: Tally) -> None:
        """Merge another tally into this one."""
        self.counters += other.counters
        self.zeros += other.zeros
        self.extremes[:, 0] = np.minimum(self.extremes[:, 0], other.extremes[:, 0])
        self.extremes[:, 1] = np.maximum(self.extremes[:, 1], other.extremes[:, 1])
        self.moments = _merged(self.moments, other.moments)


def measure(archive: Path, layout: Layout, *, run: Run = map) -> dict[str, Statistics]:
    """Measure all pixels of an archive, by modality.

    Args:
        archive: its folder; metadata and tables are not read.
        layout: what it holds.
        run: applies a function to shards, in order.

    Raises:
        ShardCorrupt: stored bytes are missing or fail their checksum.
    """
    tasks = [
        (name, array, shard)
        for name, groups in layout.bands.items()
        for array in groups.values()
        for shard in range(array.num_shards)
    ]
    tallies: dict[tuple[str, str], Tally] = {}
    results = run(partial(_measure_shard, archive), [(array, shard) for _, array, shard in tasks])
    for (name, array, _), tally in zip(tasks, results, strict=True):
        key = (name, array.path)
        if key in tallies:
            tallies[key].add(tally)
        else:
            tallies[key] = tally
    return {name: _modality(layout, name, tallies) for name in layout.bands}


def _modality(layout: Layout, name: str, tallies: Mapping[tuple[str, str], Tally]) -> Statistics:
    bands: dict[str, BandStatistics] = {}
    for array in layout.bands[name].values():
        for i, band in enumerate(array.bands or ()):
            bands[band] = _summary(tallies[name, array.path], i, np.dtype(array.dtype))
    return Statistics({band: bands[band] for band in layout.spec.form(name).bands})


def _measure_shard(archive: Path, task: tuple[ShardedArray, int]) -> Tally:
    """Count the pixels of a shard, some chunks at a time: 65,536 counters cost as much as 30,000 pixels."""
    array, shard = task
    shards = Shards(archive)
    tally = empty_tally(array.chunk[0], np.dtype(array.dtype))
    places = [(index, season) for index in array.locations_in(shard) for season in range(array.chunks_per_location)]
    step = max(1, _BATCH_PIXELS // math.prod(array.chunk[1:]))
    for start in range(0, len(places), step):
        chunks = [_read(archive, shards, array, *place) for place in places[start : start + step]]
        count(tally, np.concatenate([c.reshape(len(c), -1) for c in chunks], axis=1))
    return tally


def _read(archive: Path, shards: Shards, array: ShardedArray, index: int, season: int) -> NDArray[np.generic]:
    try:
        return shards.read(array, index, season)
    except (ShardCorrupt, OSError) as error:
        file = archive / array.file(array.place(index, season)[0])
        reason = error.found if isinstance(error, ShardCorrupt) else error.strerror
        raise ShardCorrupt(
            f"location number {index}, season {season}, cannot be read from {file}: {reason}",
            expected="the bytes that were written",
            remedy="run `ssl4eo verify` on the archive to see all damage, then copy the file again or pack anew",
            path=str(file),
        ) from error


def empty_tally(num_bands: int, dtype: np.dtype[Any]) -> Tally:
    """Make the tally of no pixels at all."""
    length = 1 << (8 * dtype.itemsize) if dtype.kind == "u" else _FLOAT_COUNTERS
    return Tally(
        np.zeros((num_bands, length), np.int64),
        np.zeros((num_bands, 3)),
        np.tile([math.inf, -math.inf], (num_bands, 1)),
        np.zeros(num_bands, np.int64),
    )


def count(tally: Tally, values: NDArray[np.generic]) -> None:
    """Count values (band, pixel) into a tally."""
    for band, row in enumerate(values):
        if values.dtype.kind == "u":
            _count_integers(tally, band, row)
        else:
            _count_floats(tally, band, row)


def _count_integers(tally: Tally, band: int, row: NDArray[np.generic]) -> None:
    counts = np.bincount(row)
    tally.counters[band, : len(counts)] += counts
    tally.zeros[band] += counts[0]
    _widen(tally, band, row)


def _count_floats(tally: Tally, band: int, row: NDArray[np.generic]) -> None:
    finite = np.isfinite(row)
    values: NDArray[Any] = row if finite.all() else row[finite]
    if not len(values):
        return
    tally.counters[band] += np.bincount(_places(values), minlength=_FLOAT_COUNTERS)
    tally.zeros[band] += len(values) - np.count_nonzero(values)
    _widen(tally, band, values)
    wide = values.astype(np.float64)
    mean = wide.mean()
    wide -= mean
    np.square(wide, out=wide)
    tally.moments[band] = _merged(tally.moments[band], np.array([len(wide), mean, wide.sum()]))


def _places(values: NDArray[Any]) -> NDArray[np.int64]:
    """Give the counter of each value; multiplying by a power of two and rounding down is exact in float32."""
    high = np.nextafter(np.float32(-_FLOAT_LOW), np.float32(0))
    scaled = np.clip(values.astype(np.float32, copy=False), np.float32(_FLOAT_LOW), high)
    scaled *= np.float32(1 / FLOAT_STEP)
    np.floor(scaled, out=scaled)
    places = scaled.astype(np.int64)
    places -= int(_FLOAT_LOW / FLOAT_STEP)
    return places


def _widen(tally: Tally, band: int, values: NDArray[Any]) -> None:
    low, high = tally.extremes[band]
    tally.extremes[band] = min(low, values.min()), max(high, values.max())


def _merged(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Merge (..., 3) count, mean and sum of squared differences; Chan, Golub and LeVeque 1979."""
    n, m = left[..., 0], right[..., 0]
    total = np.maximum(n + m, 1)
    gap = right[..., 1] - left[..., 1]
    squares = left[..., 2] + right[..., 2] + gap**2 * n * m / total
    return np.stack([n + m, left[..., 1] + gap * m / total, squares], axis=-1)


def _summary(tally: Tally, band: int, dtype: np.dtype[Any]) -> BandStatistics:
    counters = tally.counters[band]
    number = int(counters.sum())
    if not number:  # not one value was finite
        return BandStatistics(0, 0.0, 0.0, 0.0, 0.0, 0.0, {}, (0,) * NUM_BINS, 0.0, 1.0)
    is_integer = dtype.kind == "u"
    if is_integer:
        mean, std = _exact_moments(counters, number)
        low, step, width = 0.0, 1.0, 2.0 if dtype.itemsize == 1 else 128.0
    else:
        _, mean, squares = tally.moments[band].tolist()
        std = math.sqrt(squares / number)
        low, step, width = _FLOAT_LOW, FLOAT_STEP, 0.5
    minimum, maximum = tally.extremes[band].tolist()
    edge = 0.0 if is_integer else -50.0
    ends = np.cumsum(counters)
    levels = {q: _quantile(ends, q, low, step, is_integer=is_integer) for q in QUANTILES}
    return BandStatistics(
        count=number,
        nodata=int(tally.zeros[band]) / number,
        mean=mean,
        std=std,
        minimum=minimum,
        maximum=maximum,
        # the middle of a counter can lie outside of what was counted
        quantiles={f"{q:g}": min(max(value, minimum), maximum) for q, value in levels.items()},
        histogram=_coarse(counters, low, step, edge, width),
        low=edge,
        width=width,
    )


def _exact_moments(counters: NDArray[np.int64], count: int) -> tuple[float, float]:
    """Give mean and standard deviation of counted integers, rounded once at the end."""
    values = np.flatnonzero(counters).tolist()
    counts = counters[values].tolist()
    total = sum(v * c for v, c in zip(values, counts, strict=True))
    squares = sum(v * v * c for v, c in zip(values, counts, strict=True))
    return total / count, math.sqrt((squares * count - total * total) / (count * count))


def _quantile(ends: NDArray[np.int64], level: float, low: float, step: float, *, is_integer: bool) -> float:
    """Give the value at `level` of the sorted pixels, between two of them where it falls there.

    Args:
        ends: how many pixels each counter and all before it hold.
        level: share of the pixels below.
        low: value where the first counter begins.
        step: width of a counter.
        is_integer: whether a counter is one value, not a range.
    """
    position = (int(ends[-1]) - 1) * level
    first = math.floor(position)
    middle = 0.0 if is_integer else step / 2
    below, above = (
        low + middle + step * int(np.searchsorted(ends, place, side="right")) for place in (first, math.ceil(position))
    )
    part = position - first
    # from the nearer end, as NumPy does, so that rounding is the same
    return above - (above - below) * (1 - part) if part >= 0.5 else below + (above - below) * part


def _coarse(counters: NDArray[np.int64], low: float, step: float, edge: float, width: float) -> tuple[int, ...]:
    """Gather fine counters into NUM_BINS bins; the outer ones take what lies outside."""
    bins = _bins(len(counters), low, step, edge, width)
    return tuple(np.bincount(bins, weights=counters, minlength=NUM_BINS).astype(np.int64).tolist())


@lru_cache(maxsize=4)
def _bins(count: int, low: float, step: float, edge: float, width: float) -> NDArray[np.int64]:
    """Give the bin of each counter: the same for all bands of a type, and most of the work where images are few."""
    return ((low + step * np.arange(count) - edge) // width).clip(0, NUM_BINS - 1).astype(np.int64)
