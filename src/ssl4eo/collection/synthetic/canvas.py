# SPDX-License-Identifier: Apache-2.0
"""The ground of one location while it is painted: materials, relief, crop rows, and the brushes of all scenes.

Lengths are in 10 m pixels. (u, v) are the pixel's coordinates from the centre, turned by a random angle and
bent by a random surface, so that straight brushes leave natural, never axis-parallel traces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.synthetic.chance import Index, Plane, Stream, cosine, sine
from ssl4eo.collection.synthetic.materials import CROPS, NUMBER, STAGES
from ssl4eo.collection.synthetic.noise import cells, fractal, scatter, surface

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Climate:
    """What grows where nobody builds or ploughs."""

    open_ground: tuple[str, ...]
    wood: tuple[str, ...]
    soils: tuple[str, ...]


CLIMATES: Mapping[str, Climate] = MappingProxyType(
    {
        "temperate": Climate(("meadow",), ("mixed wood", "broadleaves"), ("brown soil", "dark soil", "pale soil")),
        "boreal": Climate(("meadow", "clearing"), ("conifers", "mixed wood"), ("brown soil", "dark soil")),
        "dry": Climate(("steppe", "bare ground", "sand"), ("thicket",), ("pale soil", "red soil", "brown soil")),
        "moist": Climate(("meadow", "thicket"), ("broadleaves",), ("red soil", "brown soil", "dark soil")),
    }
)


class Canvas:
    """Materials and relief of one location; each brush paints over what lies below."""

    def __init__(self, chance: Stream, size: int, *, bend: float, relief_m: float) -> None:
        self.chance = chance
        self.size = size
        self.climate = CLIMATES[chance.choose(tuple(CLIMATES))]
        self.soil = chance.choose(self.climate.soils)
        self.wood = chance.choose(self.climate.wood)
        self.open_ground = chance.choose(self.climate.open_ground)
        axis = np.arange(size, dtype=np.float32) - np.float32((size - 1) / 2)
        self.x, self.y = np.broadcast_to(axis, (size, size)), np.broadcast_to(axis[:, None], (size, size))
        self.u, self.v = self._turned(bend)
        self.relief = fractal(chance, size, cell=chance.number(60, 130), octaves=5, gain=0.42) * np.float32(relief_m)
        self.material: Index = np.full((size, size), NUMBER[self.open_ground], np.intp)
        self.along: Plane = self.u
        self._salt = chance.integer(0, 1 << 16)
        self._crops = self._rotation()

    def _turned(self, bend: float) -> tuple[Plane, Plane]:
        turn = self.chance.number()
        c, s, bent = np.float32(cosine(turn)), np.float32(sine(turn)), np.float32(bend)
        cell = self.chance.number(50, 110)
        x = self.x + surface(self.chance, self.size, cell) * bent
        y = self.y + surface(self.chance, self.size, cell) * bent
        return x * c + y * s, y * c - x * s

    def _rotation(self) -> Index:
        grown = self.chance.shuffled(CROPS)[: self.chance.integer(3, 6)]
        kinds = [CROPS.index(self.chance.choose(grown)) for _ in range(256)]
        return np.array([k * STAGES + self.chance.integer(0, STAGES) for k in kinds], np.intp)

    def hashed(self, a: Index, b: Index | int) -> Index:
        """Give each pair of whole numbers its random number, 0 .. 65535, of this location."""
        return scatter(a, b, self._salt)

    def paint(self, mask: Mask, name: str) -> None:
        """Cover the masked pixels with one material."""
        self.material[mask] = NUMBER[name]

    def paint_fields(self, parcel: Index, mask: Mask | None = None, *, along: Plane | None = None) -> None:
        """Give each parcel a crop; rows run where `along` is constant."""
        crop = self._crops.take(self.hashed(parcel, 7) & 255)
        self.material = crop if mask is None else np.where(mask, crop, self.material)
        if along is not None:
            self.along = along if mask is None else np.where(mask, along, self.along)

    def patches(self, cell: float, share: float) -> Mask:
        """Draw organic patches that cover about `share` (0 to 1) of the ground."""
        threshold = (0.5 - share) * 2.8  # a fractal is about normal, and this its quantile within 0.15 for 0.1 to 0.9
        return fractal(self.chance, self.size, cell=cell, octaves=4, gain=0.55) > threshold

    def disc(self, x: float, y: float, radius: float) -> Mask:
        """Mask the pixels within `radius` of a point."""
        dx, dy = self.x - np.float32(x), self.y - np.float32(y)
        return dx * dx + dy * dy < radius * radius

    def segment(self, start: tuple[float, float], end: tuple[float, float], width: float) -> Mask:
        """Mask a straight strip between two points of the (bent) ground."""
        ax, ay = start
        bx, by = end[0] - ax, end[1] - ay
        length = bx * bx + by * by + 1e-6
        px, py = self.u - np.float32(ax), self.v - np.float32(ay)
        t = np.clip((px * bx + py * by) * (1 / length), 0, 1)
        dx, dy = px - t * bx, py - t * by
        return dx * dx + dy * dy < width * width / 4

    def point(self, reach: float = 0.42) -> tuple[float, float]:
        """Draw a point of the patch, at most `reach` patch widths from the centre on each axis."""
        half = self.size * reach
        return self.chance.number(-half, half), self.chance.number(-half, half)

    def stroke(self, path: Sequence[tuple[float, float]], widths: Sequence[float]) -> Mask:
        """Mask a brush stroke along a path of (x, y) from the centre; such paths bend by themselves."""
        out = np.zeros((self.size, self.size), bool)
        half = (self.size - 1) / 2
        for (x, y), width in zip(path, widths, strict=True):
            r = width / 2
            x0, x1 = max(0, int(x + half - r)), min(self.size, int(x + half + r) + 2)
            y0, y1 = max(0, int(y + half - r)), min(self.size, int(y + half + r) + 2)
            if x0 < x1 and y0 < y1:
                dx, dy = self.x[y0:y1, x0:x1] - np.float32(x), self.y[y0:y1, x0:x1] - np.float32(y)
                out[y0:y1, x0:x1] |= dx * dx + dy * dy < r * r
        return out

    def parcels(self, rows: tuple[float, float], columns: tuple[float, float]) -> tuple[Index, Mask]:
        """Cut the ground into rows and each row into parcels; give parcel numbers and the lanes between them."""
        reach = int(self.size * 0.75) + 60
        row_of, row_edge = _cuts(self.chance, rows, reach)
        count = int(row_of[-1]) + 1
        cut = [_cuts(self.chance, columns, reach) for _ in range(count)]
        column_of, column_edge = np.stack([c for c, _ in cut]), np.stack([e for _, e in cut])
        pv, pu = (np.clip(((a + reach) * 4).astype(np.intp), 0, 8 * reach - 1) for a in (self.v, self.u))
        row = row_of.take(pv)
        flat = row * (8 * reach) + pu
        return row * 256 + column_of.take(flat), row_edge.take(pv) | column_edge.take(flat)

    def cobbles(self, pitch: float, squeeze: float) -> tuple[Index, Plane]:
        """Cut the ground into polygons, `pitch` wide and 1 / squeeze as long: number, distance to the next border."""
        u = self.u * np.float32(squeeze)
        i, j = cells(u, pitch), cells(self.v, pitch)
        first_i, first_j = int(i.min()) - 1, int(j.min()) - 1
        wide, high = int(i.max()) - first_i + 2, int(j.max()) - first_j + 2
        seed_u, seed_v = ((self.chance.uniform(high, wide) * 0.8 + 0.1) * pitch for _ in range(2))
        fu = u - (i - 4096).astype(np.float32) * np.float32(pitch)
        fv = self.v - (j - 4096).astype(np.float32) * np.float32(pitch)
        flat = (j - first_j) * wide + (i - first_i)
        best = np.full(self.u.shape, np.float32(1e9))
        second, owner = best.copy(), flat
        for dj in (-1, 0, 1):
            for di in (-1, 0, 1):
                near = flat + (dj * wide + di)
                du = seed_u.take(near) + np.float32(di * pitch) - fu
                dv = seed_v.take(near) + np.float32(dj * pitch) - fv
                d = du * du + dv * dv
                closer = d < best
                second = np.minimum(second, np.maximum(d, best))
                owner = np.where(closer, near, owner)
                best = np.minimum(d, best)
        return owner, np.sqrt(second) - np.sqrt(best)


def _cuts(chance: Stream, spacing: tuple[float, float], reach: int) -> tuple[Index, Mask]:
    """Cut a line of 2 x reach px at random: piece number and nearness of a cut, at every quarter px."""
    sizes: list[int] = []
    while sum(sizes) < 8 * reach:
        sizes.append(max(8, int(chance.number(*spacing) * 4)))
    number = np.repeat(np.arange(len(sizes)), sizes)[: 8 * reach]
    edge = np.zeros(8 * reach, bool)
    starts = np.cumsum([0, *sizes[:-1]])
    for offset in (-2, -1, 0, 1):
        edge[np.clip(starts + offset, 0, 8 * reach - 1)] = True
    return number.astype(np.intp), edge
