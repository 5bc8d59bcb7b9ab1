# SPDX-License-Identifier: Apache-2.0
"""Statistics of all pixels of an archive, band by band: exact for integers, shard by shard, in any number of processes.

Integers are counted value by value, so mean, standard deviation and quantiles are those of NumPy on the whole.
Floating-point values get a mean and a standard deviation in float64 and quantiles to 1/64 of their unit.
Nothing is left out: values that stand for nodata count like all others and are counted apart as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.arrays import ShardedArray
from ssl4eo.archive.layout import Layout
from ssl4eo.archive.shards import Shards

QUANTILES = (0.01, 0.02, 0.05, 0.25, 0.5, 0.75, 0.95, 0.98, 0.99)
NUM_BINS = 128
"""Of the histogram that is kept."""
FLOAT_STEP = 1 / 64
"""Width of the counters of floating-point values."""
_FLOAT_LOW = -128.0
_FLOAT_COUNTERS = 16_384  # to +128: decibels of any radar

Run = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""How to apply a function to tasks, in order: the builtin `map`, or that of a pool of processes."""


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
    """By level, as NumPy's linear method gives them; floating-point values to FLOAT_STEP / 2."""
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
class _Tally:
    """What is known of the pixels of some bands, to be merged."""

    counters: NDArray[np.int64]
    """(band, counter)."""
    moments: NDArray[np.float64]
    """(band, 3): count, mean, sum of squared differences; only of floating-point values."""
    extremes: NDArray[np.float64]
    """(band, 2): minimum and maximum."""
    zeros: NDArray[np.int64]
    """(band,): pixels that are 0."""

    def add(self, other: _Tally) -> None:
        """Merge another tally into this one; moments after Chan, Golub and LeVeque 1979."""
        self.counters += other.counters
        self.zeros += other.zeros
        self.extremes[:, 0] = np.minimum(self.extremes[:, 0], other.extremes[:, 0])
        self.extremes[:, 1] = np.maximum(self.extremes[:, 1], other.extremes[:, 1])
        n, m = self.moments[:, 0], other.moments[:, 0]
        total = np.maximum(n + m, 1)
        gap = other.moments[:, 1] - self.moments[:, 1]
        squares = self.moments[:, 2] + other.moments[:, 2] + gap**2 * n * m / total
        mean = self.moments[:, 1] + gap * m / total
        self.moments = np.stack([n + m, mean, squares], axis=1)


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
    tallies: dict[tuple[str, str], _Tally] = {}
    results = run(partial(_measure_shard, archive), [(array, shard) for _, array, shard in tasks])
    for (name, array, _), tally in zip(tasks, results, strict=True):
        key = (name, array.path)
        if key in tallies:
            tallies[key].add(tally)
        else:
            tallies[key] = tally
    return {name: _modality(layout, name, tallies) for name in layout.bands}


def _modality(layout: Layout, name: str, tallies: Mapping[tuple[str, str], _Tally]) -> Statistics:
    bands: dict[str, BandStatistics] = {}
    for array in layout.bands[name].values():
        for i, band in enumerate(array.bands or ()):
            bands[band] = _summary(tallies[name, array.path], i, np.dtype(array.dtype))
    return Statistics({band: bands[band] for band in layout.spec.form(name).bands})


def _measure_shard(archive: Path, task: tuple[ShardedArray, int]) -> _Tally:
    array, shard = task
    shards = Shards(archive)
    total: _Tally | None = None
    for index in array.locations_in(shard):
        pixels = np.stack([shards.read(array, index, season) for season in range(array.chunks_per_location)], axis=1)
        tally = _count(pixels.reshape(len(pixels), -1))
        if total is None:
            total = tally
        else:
            total.add(tally)
    assert total is not None, "a shard holds a location"
    return total


def _count(values: NDArray[np.generic]) -> _Tally:
    """Count values (band, pixel)."""
    if values.dtype.kind == "u":
        length = 1 << (8 * values.dtype.itemsize)
        counters = np.stack([np.bincount(row, minlength=length) for row in values])
        found = [np.flatnonzero(row) for row in counters]
        extremes = np.array([(f[0], f[-1]) for f in found], np.float64)
        return _Tally(counters, np.zeros((len(values), 3)), extremes, counters[:, 0].copy())
    rows = [row[np.isfinite(row)].astype(np.float64) for row in values]
    places = (((row - _FLOAT_LOW) / FLOAT_STEP).clip(0, _FLOAT_COUNTERS - 1).astype(np.int64) for row in rows)
    moments = [(len(r), r.mean(), ((r - r.mean()) ** 2).sum()) if len(r) else (0, 0.0, 0.0) for r in rows]
    return _Tally(
        np.stack([np.bincount(place, minlength=_FLOAT_COUNTERS) for place in places]),
        np.array(moments, np.float64),
        np.array([(r.min(), r.max()) if len(r) else (math.inf, -math.inf) for r in rows], np.float64),
        np.array([np.count_nonzero(row == 0) for row in rows]),
    )


def _summary(tally: _Tally, band: int, dtype: np.dtype[Any]) -> BandStatistics:
    counters = tally.counters[band]
    count = int(counters.sum())
    if not count:  # not one value was finite
        return BandStatistics(0, 0.0, 0.0, 0.0, 0.0, 0.0, {}, (0,) * NUM_BINS, 0.0, 1.0)
    is_integer = dtype.kind == "u"
    if is_integer:
        mean, std = _exact_moments(counters, count)
        low, step, width = 0.0, 1.0, 2.0 if dtype.itemsize == 1 else 128.0
    else:
        _, mean, squares = tally.moments[band].tolist()
        std = math.sqrt(squares / count)
        low, step, width = _FLOAT_LOW, FLOAT_STEP, 0.5
    minimum, maximum = tally.extremes[band].tolist()
    edge = 0.0 if is_integer else -50.0
    return BandStatistics(
        count=count,
        nodata=int(tally.zeros[band]) / count,
        mean=mean,
        std=std,
        minimum=minimum,
        maximum=maximum,
        quantiles={f"{q:g}": _quantile(counters, q, low, step, is_integer=is_integer) for q in QUANTILES},
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


def _quantile(counters: NDArray[np.int64], level: float, low: float, step: float, *, is_integer: bool) -> float:
    """Give the value at `level` of the sorted pixels, between two of them where it falls there."""
    ends = np.cumsum(counters)
    position = level * (int(ends[-1]) - 1)
    below, above = (int(np.searchsorted(ends, p, side="right")) for p in (math.floor(position), math.ceil(position)))
    middle = 0.0 if is_integer else step / 2
    part = position - math.floor(position)
    return low + middle + step * (below + (above - below) * part)


def _coarse(counters: NDArray[np.int64], low: float, step: float, edge: float, width: float) -> tuple[int, ...]:
    """Gather fine counters into NUM_BINS bins; the outer ones take what lies outside."""
    bins = ((low + step * np.arange(len(counters)) - edge) // width).clip(0, NUM_BINS - 1).astype(np.int64)
    return tuple(np.bincount(bins, weights=counters, minlength=NUM_BINS).astype(np.int64).tolist())
