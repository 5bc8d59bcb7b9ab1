# SPDX-License-Identifier: Apache-2.0
"""Sentinel-2 as it might have seen the ground: surface (L2A) and top of the atmosphere (L1C) [DN].

One pass makes the lit surface; L2A is that surface with clouds, L1C adds path radiance (blue most), absorption
(B09 most) and a cirrus band B10 that sees no ground. Bands of 20 and 60 m are block means of 10 m pixels;
10 m bands are blurred by about one pixel. Terrain, light and haze are drawn anew for each date, on purpose:
they are what a representation must learn to look through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.synthetic.chance import Plane, Stream, cosine, sine
from ssl4eo.collection.synthetic.ground import Ground
from ssl4eo.collection.synthetic.materials import BANDS, SPECTRA, Palette, palette
from ssl4eo.collection.synthetic.noise import block_mean, fractal, smooth, surface
from ssl4eo.collection.synthetic.place import Place, Visit
from ssl4eo.sensors import BANDS as SENSOR_BANDS
from ssl4eo.sensors import modality

_AIR: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {  # path of clean air [DN], path added by a unit of haze [DN], part of the light that comes through
        "B01": (900, 390, 0.74),
        "B02": (560, 350, 0.80),
        "B03": (290, 300, 0.86),
        "B04": (180, 250, 0.90),
        "B05": (190, 250, 0.91),
        "B06": (140, 220, 0.91),
        "B07": (120, 200, 0.92),
        "B08": (90, 180, 0.92),
        "B8A": (75, 170, 0.93),
        "B09": (20, 40, 0.33),
        "B11": (8, 80, 0.95),
        "B12": (4, 50, 0.93),
    }
)
_PAD = 32
# Largest shift of a cloud's shadow [px].


@dataclass(frozen=True, eq=False)
class Sky:
    """What lies between ground and sensor on one date; planes are (y, x) on the 10 m grid."""

    light: Plane
    """Light on the ground relative to flat ground without clouds."""
    cloud: Plane | None
    """Part of the pixel's light that comes from clouds, None for a clear image."""
    cirrus: Plane
    """Reflectance of high ice clouds x 10 000, about 5 when there are none."""
    brightness: Plane | None
    """Of the clouds, relative to the spectrum `cloud`; None for a clear image."""
    haze: float
    """Aerosol, 0 for clean air to about 2."""


def cloudiness(chance: Stream) -> float:
    """Draw how cloudy a location is on average, 0 to 1."""
    return chance.number() * chance.number()


def sky(chance: Stream, ground: Ground, where: Place, visit: Visit, cloudy: float) -> Sky:
    """Draw the weather of one date: every image has its own light, haze and clouds."""
    height = visit.sun_height
    azimuth = (0.42 if where.lat >= 0 else 0.08) + chance.number(-0.06, 0.06)  # turns, clockwise from north
    east, south = sine(azimuth), -cosine(azimuth)
    gain = chance.number(0.7, 1.3)
    light = _hillshade(ground, east, south, height) * np.float32(gain)
    haze = chance.number() * chance.number() * 2.8
    cirrus = _cirrus(chance, ground.size)
    share = chance.number()
    if share > 0.15 + 0.5 * cloudy:
        return Sky(light, None, cirrus, None, haze)
    cloud, brightness, shade = _clouds(
        chance, ground.size, 0.02 + 0.35 * chance.number() * chance.number(), east, south
    )
    return Sky(light * (1 - shade * np.float32(0.62)), cloud, cirrus, brightness, haze)


def _hillshade(ground: Ground, east: float, south: float, height: float) -> Plane:
    cot = math.sqrt(1 - height * height) / height
    rise = ground.toward_east * np.float32(east) + ground.toward_south * np.float32(south)
    steep = ground.toward_east * ground.toward_east + ground.toward_south * ground.toward_south
    direct: Plane = np.clip((1 - rise * np.float32(cot)) / np.sqrt(1 + steep), 0, 2.2)
    return direct * np.float32(0.82) + np.float32(0.18)


def _cirrus(chance: Stream, size: int) -> Plane:
    thick = max(0.0, chance.number(-1.2, 1.0))
    veil = np.clip(surface(chance, size, chance.number(60, 140)) * 0.5 + 0.5, 0, 2)
    return veil * np.float32(90 * thick * thick) + np.float32(chance.number(3, 12))


def _clouds(chance: Stream, size: int, share: float, east: float, south: float) -> tuple[Plane, Plane, Plane]:
    """Draw clouds over `share` of the image: part of the pixel, brightness, and the part that lies in their shadow."""
    padded = fractal(chance, size + 2 * _PAD, cell=chance.number(28, 80), octaves=5, gain=0.52)
    above = padded - np.float32((0.5 - share) * 3.0)
    cover = np.clip(above * np.float32(chance.number(0.8, 2.4)), 0, 0.97)
    cover = cover * cover * (3 - 2 * cover)
    inner = slice(_PAD, -_PAD)
    bright = np.clip(above[inner, inner] * 0.5 + np.float32(chance.number(0.55, 0.85)), 0, 1.4)
    shift = chance.number(8, 30)
    dy, dx = (_PAD + int(shift * part) for part in (south, east))
    return cover[inner, inner], bright, cover[dy : dy + size, dx : dx + size]


def snow_cover(chance: Stream, ground: Ground, where: Place, visit: Visit) -> Plane | None:
    """Draw the part of each pixel under seasonal snow; None where none lies."""
    cold = where.winter * cosine(visit.year_part) + chance.number(-0.3, 0.3) - 1.05
    if cold + _highest(ground) <= -0.3:
        return None
    snow = ground.height * np.float32(1 / 600) + surface(chance, ground.size, 30) * np.float32(0.06)
    snow = np.clip((snow + np.float32(cold)) * 4, 0, 0.97)
    keeps = np.array([0, 1, 0.95, 0.4, 0.65, 1, 1], np.float32)  # by landcover: water none, forest under its crowns
    return snow * keeps.take(ground.cover)


def _highest(ground: Ground) -> float:
    return float(ground.height.max()) / 600  # a maximum is exact: no rounding, no order


def scene_palette(chance: Stream, ground: Ground, where: Place, visit: Visit) -> Palette:
    """Mix the materials' spectra of one date."""
    return palette(chance, soil=ground.soil, year_part=visit.year_part, strength=where.winter)


def surface_reflectance(ground: Ground, colors: Palette, air: Sky, snow: Plane | None) -> dict[str, Plane]:
    """Light up the ground: reflectance x 10 000 by band, at each band's native resolution."""
    out: dict[str, Plane] = {}
    for k, band in enumerate(BANDS):
        plane = colors.spread[:, k].take(ground.material)
        plane *= ground.texture
        plane += colors.mean[:, k].take(ground.material)
        np.maximum(plane, 20, out=plane)
        if snow is not None:
            plane += (np.float32(SPECTRA["snow"][k]) - plane) * snow
        plane *= air.light
        factor = SENSOR_BANDS[band].resolution // 10
        out[band] = smooth(plane) if factor == 1 else block_mean(plane, factor)
    return out


def level_2a(surface_dn: Mapping[str, Plane], air: Sky, chance: Stream) -> dict[int, NDArray[np.uint16]]:
    """Give surface reflectance as a processor would: clouds stay, and an error of a few per cent."""
    clouds = _clouds_by_resolution(air)
    rest = chance.number(-0.12, 0.12) * air.haze
    planes: dict[str, Plane] = {}
    for k, band in enumerate(BANDS):
        plane = surface_dn[band] * np.float32(chance.number(0.97, 1.03)) + np.float32(rest * _AIR[band][1])
        if clouds:
            cover, bright = clouds[SENSOR_BANDS[band].resolution]
            plane += (bright * np.float32(SPECTRA["cloud"][k]) - plane) * cover
        planes[band] = plane
    return _pack("S2L2A", planes)


def level_1c(surface_dn: Mapping[str, Plane], air: Sky) -> dict[int, NDArray[np.uint16]]:
    """Give what the sensor sees above the atmosphere."""
    clouds = _clouds_by_resolution(air)
    veil = {r: block_mean(air.cirrus, r // 10) for r in (10, 20, 60)}
    planes: dict[str, Plane] = {}
    for k, band in enumerate(BANDS):
        clean, hazy, through = _AIR[band]
        path, passed = clean + hazy * air.haze, through - 0.04 * air.haze * hazy / 400
        plane = surface_dn[band] * np.float32(passed) + np.float32(path)
        if clouds:
            cover, bright = clouds[SENSOR_BANDS[band].resolution]
            above = SPECTRA["cloud"][k] * (0.55 if band == "B09" else 0.97)
            plane += (bright * np.float32(above) + np.float32(0.4 * path) - plane) * cover
        planes[band] = plane + veil[SENSOR_BANDS[band].resolution]
    planes["B10"] = veil[60] + clouds[60][0] * clouds[60][1] * 60 if clouds else veil[60]
    return _pack("S2L1C", planes)


def _clouds_by_resolution(air: Sky) -> dict[int, tuple[Plane, Plane]]:
    if air.cloud is None or air.brightness is None:
        return {}
    return {r: (block_mean(air.cloud, r // 10), block_mean(air.brightness, r // 10)) for r in (10, 20, 60)}


def _pack(name: str, planes: Mapping[str, Plane]) -> dict[int, NDArray[np.uint16]]:
    return {
        resolution: np.stack([np.rint(np.clip(planes[b], 1, 20000)).astype(np.uint16) for b in bands])
        for resolution, bands in modality(name).groups.items()
    }
