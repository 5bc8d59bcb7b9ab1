# SPDX-License-Identifier: Apache-2.0
"""What the ground is made of: spectra, the crop calendar, and what each material is called on the map.

A pixel holds a material number; a season turns the number into two spectra, a mean and the direction in
which pixels of that material differ (canopy gaps, thin crop, turbid water), so bands vary together as they do on land.
Values are surface reflectance x 10 000, typical of the spectral libraries' shape but not taken from one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.synthetic.chance import Stream

LANDCOVER: Mapping[int, str] = MappingProxyType(
    {0: "water", 1: "fields", 2: "grassland", 3: "forest", 4: "urban", 5: "bare", 6: "snow"}
)
"""Values of the mask `landcover`; snow is what lies all year, not the snow of a winter."""

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""Bands that see the ground, in the order of every spectrum here (B10 does not)."""

Spectrum = NDArray[np.float64]


def _spectrum(values: str) -> Spectrum:
    return np.array([float(v) for v in values.split()])


SPECTRA: Mapping[str, Spectrum] = MappingProxyType(
    {
        "crop": _spectrum("260 320 680 360 1020 3000 3900 4150 4350 4350 1950 950"),
        "flower": _spectrum("450 550 1450 1250 1750 3000 3700 3900 4100 4100 2000 1050"),
        "straw": _spectrum("600 800 1250 1650 1950 2350 2550 2750 2950 3050 3500 2400"),
        "brown soil": _spectrum("550 700 1000 1300 1520 1680 1820 1980 2120 2220 2800 2400"),
        "dark soil": _spectrum("380 450 620 800 950 1080 1180 1290 1380 1430 1850 1550"),
        "red soil": _spectrum("480 580 930 1650 2000 2180 2320 2430 2580 2620 3350 2850"),
        "pale soil": _spectrum("950 1200 1750 2250 2500 2650 2780 2900 3020 3100 3850 3400"),
        "sand": _spectrum("1050 1350 2050 2800 3120 3320 3480 3640 3800 3900 4650 4150"),
        "conifer": _spectrum("150 190 350 210 500 1500 1900 2000 2150 2200 950 430"),
        "broadleaf": _spectrum("200 240 540 270 880 2750 3500 3700 3900 3900 1750 800"),
        "bare wood": _spectrum("330 430 620 700 980 1380 1550 1720 1900 2000 2050 1300"),
        "grass": _spectrum("300 380 760 500 1180 2700 3250 3450 3650 3650 2350 1300"),
        "dry grass": _spectrum("600 750 1120 1450 1800 2200 2400 2600 2800 2900 3500 2550"),
        "clear water": _spectrum("350 350 320 200 160 130 120 110 100 90 60 50"),
        "turbid water": _spectrum("700 850 1150 1050 900 520 460 380 320 280 120 90"),
        "green water": _spectrum("420 480 720 480 520 330 300 260 220 200 90 70"),
        "asphalt": _spectrum("750 850 960 1040 1120 1180 1230 1290 1340 1380 1550 1450"),
        "pale roof": _spectrum("2000 2300 2600 2800 2900 3000 3050 3100 3150 3200 3300 3000"),
        "red roof": _spectrum("700 800 1150 1900 2200 2350 2450 2550 2650 2700 2950 2650"),
        "grey roof": _spectrum("1150 1300 1450 1560 1650 1720 1790 1860 1910 1950 2150 2050"),
        "rock": _spectrum("850 1000 1220 1400 1500 1600 1680 1760 1830 1880 2250 2000"),
        "snow": _spectrum("8900 9000 8900 8700 8600 8400 8200 8000 7700 7300 900 700"),
        "cloud": _spectrum("5600 5700 5700 5800 5850 5900 6000 6100 6100 5200 4300 3300"),
        "shadow": _spectrum("60 70 110 70 160 420 520 560 600 600 260 120"),
    }
)

_CURVES: Mapping[str, tuple[tuple[float, float], ...]] = MappingProxyType(
    {  # (part of the year since midwinter, part of the ground that is green), in a climate with four seasons
        "winter cereal": ((0, 0.35), (0.2, 0.6), (0.38, 0.95), (0.47, 0.75), (0.53, 0.1), (0.75, 0.05), (0.85, 0.25)),
        "maize": ((0, 0.03), (0.37, 0.03), (0.46, 0.4), (0.55, 0.95), (0.7, 0.85), (0.79, 0.05)),
        "rapeseed": ((0, 0.55), (0.22, 0.75), (0.36, 0.9), (0.5, 0.35), (0.56, 0.05), (0.7, 0.1), (0.84, 0.5)),
        "roots": ((0, 0.08), (0.3, 0.03), (0.42, 0.5), (0.52, 0.98), (0.72, 0.9), (0.8, 0.1)),
        "fodder": ((0, 0.5), (0.3, 0.9), (0.38, 0.55), (0.5, 0.92), (0.58, 0.5), (0.72, 0.85), (0.9, 0.6)),
        "fallow": ((0, 0.12), (0.3, 0.4), (0.45, 0.3), (0.6, 0.12), (0.85, 0.2)),
        "grass": ((0, 0.4), (0.25, 0.6), (0.4, 0.95), (0.6, 0.65), (0.75, 0.7), (0.9, 0.5)),
        "leaves": ((0, 0.03), (0.27, 0.05), (0.36, 0.8), (0.45, 1.0), (0.72, 0.9), (0.84, 0.1)),
    }
)
CROPS = ("winter cereal", "maize", "rapeseed", "roots", "fodder", "fallow")
STAGES = 5
"""Variants of each crop: sown earlier or later, on wetter or drier soil."""
_STRAW = {"winter cereal": (0.45, 0.78), "maize": (0.68, 0.98), "rapeseed": (0.5, 0.68)}
_NUM_CROPS = len(CROPS) * STAGES


@dataclass(frozen=True)
class Material:
    """One kind of ground outside the fields."""

    name: str
    cover: int
    """Value on the map, see LANDCOVER."""
    ground: str
    """Spectrum where nothing grows."""
    green: str
    """Spectrum where all is green."""
    curve: str | float
    """Name of a calendar, or the green part all year."""
    low: float
    """How far wide patches differ, as a part of the way towards the other spectrum."""
    high: float
    """How far neighboring pixels differ, the same."""
    vv: float
    """Backscatter [dB]."""
    vh: float
    """Backscatter [dB]."""
    glint: float = 0.0
    """How strongly neighboring pixels differ in backscatter [dB]."""


MATERIALS = (
    Material("water", 0, "clear water", "turbid water", 0.15, 0.06, 0.0, -19.5, -27.0),
    Material("shallow", 0, "green water", "turbid water", 0.4, 0.12, 0.02, -18.5, -26.0),
    Material("meadow", 2, "dry grass", "grass", "grass", 0.16, 0.07, -11.8, -18.6, 0.4),
    Material("steppe", 2, "dry grass", "grass", 0.18, 0.2, 0.1, -13.2, -21.0, 0.4),
    Material("conifers", 3, "shadow", "conifer", 0.9, 0.1, 0.2, -10.2, -15.6, 0.7),
    Material("broadleaves", 3, "bare wood", "broadleaf", "leaves", 0.12, 0.17, -9.7, -15.0, 0.7),
    Material("mixed wood", 3, "bare wood", "conifer", 0.75, 0.14, 0.22, -9.9, -15.3, 0.7),
    Material("thicket", 3, "dry grass", "broadleaf", 0.5, 0.16, 0.12, -10.8, -16.8, 0.5),
    Material("clearing", 2, "brown soil", "grass", 0.3, 0.2, 0.16, -12.2, -19.8, 0.6),
    Material("bare ground", 5, "pale soil", "dry grass", 0.3, 0.25, 0.08, -14.5, -23.5, 0.3),
    Material("sand", 5, "sand", "pale soil", 0.3, 0.3, 0.06, -17.0, -26.0, 0.3),
    Material("rock", 5, "rock", "dry grass", 0.15, 0.2, 0.25, -10.5, -18.5, 1.0),
    Material("firn", 6, "snow", "rock", 0.04, 0.03, 0.04, -14.0, -21.5, 0.6),
    Material("asphalt", 4, "asphalt", "grey roof", 0.15, 0.1, 0.2, -13.5, -20.5, 1.0),
    Material("pale roofs", 4, "pale roof", "asphalt", 0.35, 0.1, 0.25, -4.5, -12.0, 2.6),
    Material("red roofs", 4, "red roof", "asphalt", 0.35, 0.1, 0.25, -5.5, -13.0, 2.4),
    Material("grey roofs", 4, "grey roof", "asphalt", 0.4, 0.1, 0.25, -5.0, -12.5, 2.6),
    Material("gardens", 4, "grey roof", "broadleaf", 0.55, 0.12, 0.35, -8.0, -14.5, 1.8),
    Material("hedge", 2, "bare wood", "broadleaf", "leaves", 0.1, 0.15, -9.8, -15.8, 0.6),
    Material("track", 1, "pale soil", "dry grass", 0.35, 0.15, 0.1, -13.0, -21.0, 0.4),
)
NUMBER: Mapping[str, int] = MappingProxyType({m.name: _NUM_CROPS + i for i, m in enumerate(MATERIALS)})
"""Material numbers; 0 .. len(CROPS) * STAGES - 1 are crops, stage after stage."""
COVER = np.array([1] * _NUM_CROPS + [m.cover for m in MATERIALS], np.uint8)
LOW = np.array([0.09] * _NUM_CROPS + [m.low for m in MATERIALS], np.float32)
HIGH = np.array([0.025] * _NUM_CROPS + [m.high for m in MATERIALS], np.float32)
ROWS = np.array([0.035] * _NUM_CROPS + [0.0] * len(MATERIALS), np.float32)
GLINT = np.array([0.35] * _NUM_CROPS + [m.glint for m in MATERIALS], np.float32)


def calendar(name: str, year_part: float) -> float:
    """Read the green part of the ground off a calendar, linear between its points.

    >>> round(calendar("maize", 0.55), 2), round(calendar("maize", 0.1), 2)
    (0.95, 0.03)
    """
    points = _CURVES[name]
    t = year_part % 1.0
    points = (*points, (1.0, points[0][1]))
    for (t0, g0), (t1, g1) in itertools.pairwise(points):
        if t <= t1:
            return g0 + (g1 - g0) * (t - t0) / (t1 - t0)
    return points[-1][1]


@dataclass(frozen=True)
class Palette:
    """The materials of one image: rows are material numbers."""

    mean: NDArray[np.float32]
    """Surface reflectance x 10 000, (material, band)."""
    spread: NDArray[np.float32]
    """Change per unit of texture, (material, band)."""
    green: tuple[float, ...]
    """Green part by material, 0 to 1."""


def palette(chance: Stream, *, soil: str, year_part: float, strength: float) -> Palette:
    """Mix the spectra of one image.

    Args:
        chance: stream of the image: soil moisture, turbidity and sowing dates differ between images.
        soil: spectrum of the fields' soil.
        year_part: 0 to 1 since midwinter.
        strength: 1 for four full seasons, 0 for a place that is green all year.
    """
    mean: list[Spectrum] = []
    spread: list[Spectrum] = []
    greens: list[float] = []
    wetness = chance.number(0.72, 1.15)
    for crop in CROPS:
        for stage in range(STAGES):
            t = year_part + 0.035 * (stage - 2) + chance.number(-0.02, 0.02)
            green = min(1.0, max(0.0, calendar(crop, t) + chance.number(-0.08, 0.08)))
            ground = _field_ground(crop, t, SPECTRA[soil] * (wetness * (0.88 + 0.06 * stage)))
            leaf = SPECTRA["flower"] if crop == "rapeseed" and 0.32 < t % 1 < 0.4 else SPECTRA["crop"]
            mean.append(ground * (1 - green) + leaf * green)
            spread.append(leaf - ground)
            greens.append(green)
    for material in MATERIALS:
        green = _seasonal(material.curve, year_part, strength)
        green = min(1.0, max(0.0, green * chance.number(0.85, 1.15)))
        ground, leaf = SPECTRA[material.ground], SPECTRA[material.green]
        mean.append(ground * (1 - green) + leaf * green)
        spread.append(leaf - ground)
        greens.append(green)
    return Palette(np.array(mean, np.float32), np.array(spread, np.float32), tuple(greens))


def _seasonal(curve: str | float, year_part: float, strength: float) -> float:
    if not isinstance(curve, str):
        return curve
    return calendar(curve, year_part) * strength + 0.85 * (1 - strength)


def _field_ground(crop: str, t: float, soil: Spectrum) -> Spectrum:
    begin, end = _STRAW.get(crop, (2.0, 2.0))
    share = 0.75 if begin < t % 1 < end else 0.1
    return soil * (1 - share) + SPECTRA["straw"] * share
