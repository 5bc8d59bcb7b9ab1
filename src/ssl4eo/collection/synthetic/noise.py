# SPDX-License-Identifier: Apache-2.0
"""Smooth random surfaces and small neighbourhood operations on one plane, elementwise arithmetic only.

A surface is a small random lattice seen through quadratic B-splines: smooth enough to be shaded as relief.
All surfaces have mean 0 and standard deviation about 1 over their lattices, not over one patch.
"""

from __future__ import annotations

import math

import numpy as np

from ssl4eo.collection.synthetic.chance import Index, Plane, Stream

_UNIT = 3.15
# 1 / std of a uniform(-1, 1) lattice seen through 3 x 3 spline weights: var = 1/3 * 0.55**2, 0.55 = mean sum of w**2.


def surface(stream: Stream, size: int, cell: float) -> Plane:
    """Draw a smooth surface (size, size) whose features are about `cell` [px] wide."""
    count = int(size / cell) + 4
    lattice = (stream.uniform(count, count) * 2 - 1) * np.float32(_UNIT)
    rows = _spline(lattice, size, cell, stream.number())  # (size, count)
    return _spline(np.ascontiguousarray(rows.T), size, cell, stream.number())  # (x, y)


def _spline(lattice: Plane, size: int, cell: float, offset: float) -> Plane:
    position = np.arange(size) / cell + offset
    low = np.floor(position)
    t = (position - low).astype(np.float32)[:, None]
    first = low.astype(np.intp)
    out = lattice[first] * ((1 - t) * (1 - t) * 0.5)
    out += lattice[first + 1] * (0.5 + t * (1 - t))
    out += lattice[first + 2] * (t * t * 0.5)
    return out


def fractal(stream: Stream, size: int, *, cell: float, octaves: int, gain: float = 0.5) -> Plane:
    """Add surfaces of halving width and falling height."""
    out = surface(stream, size, cell)
    height, power = 1.0, 1.0
    for _ in range(octaves - 1):
        cell /= 2
        height *= gain
        power += height * np.float32(height)
        out += surface(stream, size, cell) * np.float32(height)
    return out * np.float32(1 / math.sqrt(power))


def ridges(stream: Stream, size: int, *, cell: float, octaves: int) -> Plane:
    """Draw crests and side crests with straight flanks, about 0 to 1.6; sides are rougher near the crests."""
    out = surface(stream, size, cell * 1.5) * np.float32(0.22) + np.float32(0.2)
    weight = np.float32(1)
    height = 0.55
    for _ in range(octaves):
        crest = 1 - np.abs(surface(stream, size, cell)) * np.float32(0.6)
        out += crest * weight * np.float32(height)
        weight = np.clip(crest * 0.6 + 0.4, 0.25, 1)
        cell, height = cell / 1.9, height * 0.52
    return out


def grain(stream: Stream, size: int) -> Plane:
    """Draw noise that is nearly white: neighbours touch, nothing further does."""
    white = stream.uniform(size + 1, size + 1)
    return (white[:-1, :-1] + white[1:, :-1] + white[:-1, 1:] + white[1:, 1:] - 2) * np.float32(1.732)


def smooth(plane: Plane) -> Plane:
    """Blur by (1, 2, 1) / 4 on both axes, edges repeated: about the point spread of a 10 m band."""
    for _ in range(2):
        out = plane * 2
        out[1:] += plane[:-1]
        out[:-1] += plane[1:]
        out[0] += plane[0]
        out[-1] += plane[-1]
        out *= 0.25
        plane = out.T
    return plane


def block_mean(plane: Plane, factor: int) -> Plane:
    """Average blocks of factor x factor px, adding in a fixed order."""
    rows = plane[0::factor].copy()
    for i in range(1, factor):
        rows += plane[i::factor]
    out = rows[:, 0::factor].copy()
    for i in range(1, factor):
        out += rows[:, i::factor]
    return out * np.float32(1 / (factor * factor))


def gradient(plane: Plane) -> tuple[Plane, Plane]:
    """Central differences (toward south, toward east) per px, edges repeated."""
    out: list[Plane] = []
    for turned in (plane, plane.T):
        slope = np.empty_like(turned)
        slope[1:-1] = (turned[2:] - turned[:-2]) * np.float32(0.5)
        slope[0] = turned[1] - turned[0]
        slope[-1] = turned[-1] - turned[-2]
        out.append(slope)
    return out[0], out[1].T


def cells(axis: Plane, pitch: float) -> Index:
    """Whole-number cell of each pixel along one axis, cells `pitch` [px] wide, always >= 0."""
    return np.floor(axis * np.float32(1 / pitch)).astype(np.intp) + 4096


def scatter(a: Index, b: Index | int, salt: int) -> Index:
    """Hash two whole numbers into 0 .. 65535: a random number that belongs to a cell."""
    mixed = (a * 73856093) ^ (b * 19349663) ^ (salt * 83492791)
    mixed ^= mixed >> 13
    mixed = ((mixed & 0x7FFFFFFF) * 1274126177) & 0x7FFFFFFF
    return (mixed ^ (mixed >> 15)) & 0xFFFF
