# SPDX-License-Identifier: Apache-2.0
"""The scenes: how the parts of a landscape are arranged, one function each.

What tells scenes apart is arrangement (long strips or squares, a winding band of water or round ones), not colour:
climate, soil, crops, relief, direction and scale are drawn alike for all of them, and each scene may contain
a wood, a pond, a hamlet and a road of its neighbors. An untrained network therefore sees little of the label.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from ssl4eo.collection.synthetic.canvas import Canvas, Mask
from ssl4eo.collection.synthetic.chance import Index, Plane, Stream, cosine, sine
from ssl4eo.collection.synthetic.materials import NUMBER
from ssl4eo.collection.synthetic.noise import cells, fractal, ridges, surface


def _block_fields(c: Canvas) -> None:
    wide = c.chance.number(28, 44)
    parcel, lanes = c.parcels((wide * 0.8, wide * 1.5), (wide * 0.7, wide * 1.9))
    turned = (c.hashed(parcel, 3) & 1).astype(bool)
    c.paint_fields(parcel, along=np.where(turned, c.u, c.v))
    if c.chance.happens(0.6):
        c.paint(lanes, c.chance.choose(("hedge", "track")))
    _sprinkle(c)


def _strip_fields(c: Canvas) -> None:
    wide = c.chance.number(50, 80)
    block, lanes = c.parcels((wide * 0.7, wide), (wide * 0.8, wide * 1.3))
    turned = (c.hashed(block, 3) & 1).astype(bool)
    width = 3.5 + (c.hashed(block, 5) & 3).astype(np.float32) * np.float32(c.chance.number(0.6, 0.9))
    across = np.where(turned, c.u, c.v)
    strip = np.floor(across / width).astype(np.intp) + 4096
    c.paint_fields(c.hashed(block, 11) * 8192 + strip, along=across)
    if c.chance.happens(0.6):
        c.paint(lanes, c.chance.choose(("hedge", "track")))
    _sprinkle(c)


def _pivot_fields(c: Canvas) -> None:
    _open_country(c)
    pitch = c.chance.number(36, 62)
    inverse = np.float32(1 / pitch)
    row = np.floor(c.v * inverse)
    shift = (c.hashed(row.astype(np.intp) + 4096, 2) & 1).astype(np.float32) * np.float32(c.chance.choose((0.0, 0.5)))
    column = np.floor(c.u * inverse + shift)
    du, dv = c.u * inverse + shift - column - np.float32(0.5), c.v * inverse - row - np.float32(0.5)
    cell = (row.astype(np.intp) + 4096) * 8192 + column.astype(np.intp) + 4096
    chosen = c.hashed(cell, 9)
    radius = 0.36 + (chosen & 7).astype(np.float32) * np.float32(0.018)
    round_ = (du * du + dv * dv < radius * radius) & (chosen < 65536 * 0.88)
    halves = (chosen >> 4) & 3
    sector = (du > 0) * (halves > 0) + 2 * ((dv > 0) & (halves == 3))
    c.paint_fields(cell * 4 + sector, round_, along=np.sqrt(du * du + dv * dv) * np.float32(pitch))
    _sprinkle(c)


def _terraces(c: Canvas) -> None:
    step = c.chance.number(8, 13)  # m of height between two banks
    level = c.relief * np.float32(1 / step)
    band = np.floor(level)
    piece = np.floor(surface(c.chance, c.size, c.chance.number(40, 80)) * np.float32(c.chance.number(1.5, 3)))
    c.paint_fields((band.astype(np.intp) + 4096) * 64 + piece.astype(np.intp) + 32, along=level * 6)
    c.paint((level - band < 0.16) & (c.patches(40, 0.8)), c.chance.choose(("hedge", "track", "meadow")))
    _sprinkle(c)


def _city(c: Canvas) -> None:
    _open_country(c)
    built = c.patches(110, c.chance.number(0.72, 0.95))
    pitch = c.chance.number(8, 14)
    block, streets = c.parcels((pitch * 0.8, pitch * 1.2), (pitch * 0.9, pitch * 2))
    use = c.hashed(block, 1) & 15
    roofs = _houses(c, block, pitch=c.chance.number(2.0, 4.0), share=c.chance.number(0.55, 0.9))
    c.material = np.where(built & (use != 0), roofs, c.material)
    c.paint(built & (use == 1), c.chance.choose(("pale roofs", "grey roofs", "gardens")))
    c.paint(built & streets, "asphalt")
    _avenues(c, built)
    _sprinkle(c, wood=0.3)


def _villages(c: Canvas) -> None:
    _countryside(c)
    points = [c.point() for _ in range(c.chance.integer(6, 11))]
    for here, there in itertools.pairwise(points):
        c.paint(c.segment(here, there, 1.4), "asphalt")
    for x, y in points:
        _settlement(c, x, y, c.chance.number(8, 18))
    _sprinkle(c, hamlet=0)


def _clear_cuts(c: Canvas) -> None:
    _forest(c)
    wide = c.chance.number(15, 25)
    stand, roads = c.parcels((wide * 0.7, wide * 1.3), (wide * 0.8, wide * 1.8))
    state = c.hashed(stand, 4)
    share = c.chance.number(0.25, 0.4)
    c.paint(state < 65536 * share, "clearing")
    c.paint((state > 65536 * 0.8) & (state < 65536 * 0.92), "thicket")
    if c.chance.happens(0.5):
        c.paint(roads & c.patches(60, 0.6), "track")
    _sprinkle(c, wood=0)


def _river(c: Canvas) -> None:
    c.chance.choose((_countryside, _open_country, _forest))(c)
    path, width = _meander(c.chance, c.size)
    widths = [width * (1 + 0.25 * sine(i / 97)) for i in range(len(path))]
    c.paint(c.stroke(path, [w * 2.2 for w in widths]) & c.patches(25, 0.6), c.open_ground)
    c.paint(c.stroke(path, [w + 3 for w in widths]) & c.patches(14, 0.4), c.chance.choose(("sand", "bare ground")))
    c.paint(c.stroke(path, widths), c.chance.choose(("water", "shallow")))
    _sprinkle(c, pond=0.15)


def _lakes(c: Canvas) -> None:
    c.chance.choose((_countryside, _open_country, _forest))(c)
    kind = c.chance.choose(("water", "shallow"))
    ragged = fractal(c.chance, c.size, cell=26, octaves=4)
    for _ in range(c.chance.integer(6, 12)):
        x, y = c.point(0.5)
        radius, squeeze = c.chance.number(12, 36), c.chance.number(1, 1.8)
        turn = c.chance.number()
        dx, dy = c.x - np.float32(x), c.y - np.float32(y)
        a, b = dx * cosine(turn) + dy * sine(turn), (dy * cosine(turn) - dx * sine(turn)) * squeeze
        c.paint(np.sqrt(a * a + b * b) * np.float32(1 / radius) + ragged * 0.22 < 1, kind)
    _sprinkle(c, pond=0)


def _mountains(c: Canvas) -> None:
    crests = ridges(c.chance, c.size, cell=c.chance.number(60, 110), octaves=6)
    c.relief = c.relief + crests * np.float32(c.chance.number(350, 560))
    zone = crests + fractal(c.chance, c.size, cell=16, octaves=4, gain=0.7) * np.float32(0.13)
    start = c.chance.number(0.05, 0.6)
    for height, name in ((-0.35, c.wood), (0.1, c.open_ground), (0.35, "rock"), (0.72, "firn")):
        c.paint(zone > start + height, name)
    _sprinkle(c, wood=0, hamlet=0.1, pond=0.1)


_BRUSHES: Mapping[str, tuple[Callable[[Canvas], None], float, tuple[float, float]]] = MappingProxyType(
    {  # name: (brush, bend of straight lines [px], relief [m])
        "block fields": (_block_fields, 2.0, (2, 30)),
        "strip fields": (_strip_fields, 2.5, (2, 30)),
        "pivot fields": (_pivot_fields, 0.5, (2, 30)),
        "terraces": (_terraces, 4.0, (45, 110)),
        "city": (_city, 1.5, (2, 25)),
        "villages": (_villages, 4.0, (4, 50)),
        "clear cuts": (_clear_cuts, 2.0, (5, 80)),
        "river": (_river, 4.0, (2, 30)),
        "lakes": (_lakes, 4.0, (2, 40)),
        "mountains": (_mountains, 3.0, (40, 90)),
    }
)
SCENES: tuple[str, ...] = tuple(_BRUSHES)
"""Scene classes; ten locations in a row hold each of them once."""


def landscape(chance: Stream, scene: str, size: int) -> Canvas:
    """Paint the ground of one location."""
    brush, bend, relief = _BRUSHES[scene]
    canvas = Canvas(chance, size, bend=bend * chance.number(0.3, 1.5), relief_m=chance.number(*relief))
    brush(canvas)
    return canvas


def _countryside(c: Canvas) -> None:
    parcel, border = c.cobbles(c.chance.number(13, 30), c.chance.number(0.45, 0.9))
    if c.chance.happens(0.5):
        parcel = parcel - (c.hashed(parcel, 17) & 1)  # some take the neighbor's number and crop
        c.paint_fields(parcel)
    else:
        c.paint_fields(parcel)
        c.paint(border < 1.0, c.chance.choose(("hedge", "meadow", "track")))
    c.paint(c.patches(50, c.chance.number(0.05, 0.25)), c.wood)


def _open_country(c: Canvas) -> None:
    other = c.chance.choose(c.climate.open_ground)
    c.paint(c.patches(70, 0.4), other)
    c.paint(c.patches(40, c.chance.number(0.05, 0.3)), c.wood)


def _forest(c: Canvas) -> None:
    woods = ("conifers", "mixed wood", "broadleaves")
    c.paint(np.ones_like(c.material, bool), c.chance.choose(woods))
    c.paint(c.patches(45, 0.35), c.chance.choose(woods))
    c.paint(c.patches(30, c.chance.number(0.05, 0.15)), c.open_ground)


def _sprinkle(c: Canvas, *, wood: float = 0.5, pond: float = 0.2, hamlet: float = 0.3) -> None:
    """Add what any landscape may have, each with a probability: nothing here tells the scene."""
    before = c.material
    wet = (before == NUMBER["water"]) | (before == NUMBER["shallow"])
    c.material = before.copy()
    if c.chance.happens(wood):
        c.paint(c.patches(45, c.chance.number(0.04, 0.16)), c.wood)
    if c.chance.happens(pond):
        c.paint(c.disc(*c.point(), c.chance.number(3, 9)), c.chance.choose(("water", "shallow")))
    if c.chance.happens(hamlet):
        _settlement(c, *c.point(), c.chance.number(6, 12))
    c.material = np.where(wet, before, c.material)  # neither woods nor houses stand in water; a road may cross it
    if c.chance.happens(0.5):
        reach = c.size * 0.8
        c.paint(c.segment((-reach, c.chance.number(-90, 90)), (reach, c.chance.number(-90, 90)), 1.5), "asphalt")


def _houses(c: Canvas, block: Index, *, pitch: float, share: float) -> Index:
    """Give each pixel of a built place a roof, a garden or a yard; roofs of a block are alike."""
    house = c.hashed(cells(c.u, pitch), cells(c.v, pitch))
    kinds = [NUMBER[name] for name in ("grey roofs", "red roofs", "pale roofs", "grey roofs")]
    between = NUMBER[c.chance.choose(("gardens", "asphalt", "gardens"))]
    roof = np.array(kinds, np.intp).take((c.hashed(block, 13) + ((house & 7) == 0)) & 3)
    dense = share * (0.7 + 0.04 * (c.hashed(block, 29) & 7).astype(np.float32))
    return np.where(house < 65536 * dense, roof, between)


def _settlement(c: Canvas, x: float, y: float, radius: float) -> None:
    """Build a village around a point of the bent ground."""
    du, dv = c.u - np.float32(x), c.v - np.float32(y)
    far = np.sqrt(du * du + dv * dv) * np.float32(1 / radius)
    far += surface(c.chance, c.size, 12) * 0.25
    houses = _houses(c, np.zeros_like(c.material), pitch=2.2, share=c.chance.number(0.3, 0.5))
    c.material = np.where(far < 1, houses, c.material)
    c.paint((far < 1) & ((np.abs(du) < 0.8) | (np.abs(dv) < 0.8)), "asphalt")


def _avenues(c: Canvas, built: Mask) -> None:
    pitch = c.chance.number(45, 90)
    for axis in (c.u, c.v):
        offset: Plane = axis * np.float32(1 / pitch) + np.float32(c.chance.number())
        c.paint(built & (np.abs(offset - np.floor(offset) - 0.5) * pitch < 1.4), "asphalt")


def _meander(chance: Stream, size: int) -> tuple[list[tuple[float, float]], float]:
    """Walk a sine-generated curve (Langbein and Leopold 1966) through the patch: points and width [px]."""
    width = chance.number(8, 17)
    heading, swing = chance.number(), chance.number(0.12, 0.27)  # turns
    length = width * chance.number(9, 15)
    phase, wander = chance.number(), chance.number(0.01, 0.04)
    offset = chance.number(-0.22, 0.22) * size
    reach = size * 0.95
    x = -reach * cosine(heading) - offset * sine(heading)
    y = -reach * sine(heading) + offset * cosine(heading)
    path: list[tuple[float, float]] = []
    step = width / 5
    for i in range(int(size * 4.5 / step)):
        s = i * step
        turn = heading + swing * sine(s / length + phase) * (0.8 + 0.3 * sine(s / 310)) + wander * sine(s / 430 + phase)
        x, y = x + step * cosine(turn), y + step * sine(turn)
        path.append((x, y))
    return path, width
