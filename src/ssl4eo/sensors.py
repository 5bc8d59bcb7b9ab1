# SPDX-License-Identifier: Apache-2.0
"""The instruments: bands, their order, resolution, wavelength, units and statistics.

One table for each fact, used everywhere; no other module spells a band.
Holds no pixels and converts nothing: see contract.py for what values mean on their way.
Names are ours (`B01`, `B8A`, `VV`); other spellings are translated by `canonical_band`
at the border (collection, checkpoints, tasks) and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ssl4eo.errors import UnknownName, unknown_name

PATCH_SIZE_M = 2640
"""Ground size of a published patch on both axes [m]."""

BASELINE_WITH_OFFSET = 400
"""First ESA processing baseline (04.00, January 2022) whose Sentinel-2 values carry +1000 DN."""

OFFSET_DN = 1000
"""The radiometric offset that ESA adds since baseline 04.00 [DN]."""


@dataclass(frozen=True)
class Band:
    """One channel of an instrument."""

    name: str
    resolution: int
    """Native ground sampling distance [m]."""
    wavelength_nm: float
    """Central wavelength [nm], of Sentinel-2A for the optical bands."""
    title: str


def _bands(*rows: tuple[str, int, float, str]) -> Mapping[str, Band]:
    return MappingProxyType({row[0]: Band(*row) for row in rows})


BANDS: Mapping[str, Band] = _bands(
    # Central wavelengths: ESA Sentinel-2 MSI spectral responses (S2A); Sentinel-1 at 5.405 GHz.
    ("B01", 60, 442.7, "coastal aerosol"),
    ("B02", 10, 492.4, "blue"),
    ("B03", 10, 559.8, "green"),
    ("B04", 10, 664.6, "red"),
    ("B05", 20, 704.1, "red edge 1"),
    ("B06", 20, 740.5, "red edge 2"),
    ("B07", 20, 782.8, "red edge 3"),
    ("B08", 10, 832.8, "near infrared"),
    ("B8A", 20, 864.7, "narrow near infrared"),
    ("B09", 60, 945.1, "water vapour"),
    ("B10", 60, 1373.5, "cirrus"),
    ("B11", 20, 1613.7, "short-wave infrared 1"),
    ("B12", 20, 2202.4, "short-wave infrared 2"),
    ("VV", 10, 5.5466e7, "C-band, vertical to vertical"),
    ("VH", 10, 5.5466e7, "C-band, vertical to horizontal"),
)

_TM = ((485, "blue"), (560, "green"), (660, "red"), (830, "near infrared"), (1650, "short-wave infrared 1"))
_ETM = ((483, "blue"), (560, "green"), (662, "red"), (835, "near infrared"), (1648, "short-wave infrared 1"))
_OLI = (
    (443, "coastal aerosol"),
    (482, "blue"),
    (561.5, "green"),
    (654.5, "red"),
    (865, "near infrared"),
    (1608.5, "short-wave infrared 1"),
    (2200.5, "short-wave infrared 2"),
)


def _landsat(names: str, rows: Sequence[tuple[float, str]]) -> Mapping[str, Band]:
    # All Landsat bands of SSL4EO-L are published on one 30 m grid. Centers: USGS, Landsat 5, 7 and 8 band designations.
    return _bands(*((name, 30, wave, title) for name, (wave, title) in zip(names.split(), rows, strict=True)))


_THERMAL = (11_450, "thermal infrared")
_TM_TOA = _landsat("B1 B2 B3 B4 B5 B6 B7", (*_TM, _THERMAL, (2215, "short-wave infrared 2")))
_ETM_TOA = _landsat(
    "B1 B2 B3 B4 B5 B6_VCID_1 B6_VCID_2 B7 B8",
    (
        *_ETM,
        (11_450, "thermal infrared, low gain"),
        (11_450, "thermal infrared, high gain"),
        (2206, "short-wave infrared 2"),
        (710, "panchromatic"),
    ),
)
_ETM_SR = _landsat("SR_B1 SR_B2 SR_B3 SR_B4 SR_B5 SR_B7", (*_ETM, (2206, "short-wave infrared 2")))
_OLI_TOA = _landsat(
    "B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11",
    (
        *_OLI,
        (589.5, "panchromatic"),
        (1373.5, "cirrus"),
        (10_895, "thermal infrared 1"),
        (12_005, "thermal infrared 2"),
    ),
)
_OLI_SR = _landsat("SR_B1 SR_B2 SR_B3 SR_B4 SR_B5 SR_B6 SR_B7", _OLI)

_L1C = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
_L2A = tuple(name for name in _L1C if name != "B10")
RGB = ("B04", "B03", "B02")
"""Red, green, blue: the order of every published RGB model and picture."""


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation per band, in the unit of the modality."""

    mean: Mapping[str, float]
    std: Mapping[str, float]


@dataclass(frozen=True)
class Modality:
    """One product of an instrument: what an archive keeps under this name."""

    name: str
    title: str
    level: str
    """Processing level: GRD, RTC, L1C, L2A, RGB, TOA or SR."""
    bands: tuple[str, ...]
    """Canonical order; the channel index is the position."""
    unit: str
    """DN (reflectance x 10 000), dB, or uint8 (stretched for display)."""
    dtype: str
    """NumPy name of the stored type."""
    published_folder: str | None
    """Folder in the raw layout of SSL4EO-S12 v1, None where it has none."""
    statistics: Mapping[str, Statistics]
    """Published statistics by name; see STATISTICS_SOURCES."""
    channels: Mapping[str, Band] = field(default_factory=lambda: BANDS)
    """What each band is."""
    stretch: Mapping[str, tuple[float, float, str]] = field(default_factory=dict[str, tuple[float, float, str]])
    """Of values that their publisher stretched to 8 bits, by band what 0 and 255 stand for, and in which unit."""

    @property
    def groups(self) -> Mapping[int, tuple[str, ...]]:
        """Bands by native resolution [m], finest first, each in canonical order."""
        resolutions = sorted({self.resolution(band) for band in self.bands})
        return {r: tuple(b for b in self.bands if self.resolution(b) == r) for r in resolutions}

    def resolution(self, band: str) -> int:
        """Give the resolution [m] that this modality keeps a band at."""
        return self.channels[band].resolution


STATISTICS_SOURCES: Mapping[str, str] = MappingProxyType(
    {
        "published_50k": "SSL4EO-S12, from 50,000 locations; used to build its LMDB files",
        "published_rounded": "SSL4EO-S12, used for its 8-bit conversion; not a rounding of published_50k",
        "v1.1": "SSL4EO-S12 v1.1; Sentinel-2 values include the +1000 DN offset",
    }
)


def _statistics(bands: Sequence[str], mean: str, std: str) -> Statistics:
    means, stds = ([float(v) for v in text.split()] for text in (mean, std))
    return Statistics(dict(zip(bands, means, strict=True)), dict(zip(bands, stds, strict=True)))


_S2L1C = {
    "published_50k": _statistics(
        _L1C,
        "1605.57504906 1390.78157673 1314.8729939 1363.52445545 1549.44374991 2091.74883118 2371.7172463 "
        "2299.90463006 2560.29504086 830.06605044 22.10351321 2177.07172323 1524.06546312",
        "786.78685367 850.34818441 875.06484736 1138.84957046 1122.17775652 1161.59187054 1274.39184232 "
        "1248.42891965 1345.52684884 577.31607053 51.15431158 1336.09932639 1136.53823676",
    ),
    "published_rounded": _statistics(
        _L1C,
        "1612.9 1397.6 1322.3 1373.1 1561.0 2108.4 2390.7 2318.7 2581.0 837.7 22.0 2195.2 1537.4",
        "791.0 854.3 878.7 1144.9 1127.5 1164.2 1276.0 1249.5 1345.9 577.5 47.5 1340.0 1142.9",
    ),
    "v1.1": _statistics(
        _L1C,
        "2607.345 2393.068 2320.225 2373.963 2562.536 3110.071 3392.832 "
        "3321.154 3583.77 1838.712 1021.753 3205.112 2545.798",
        "786.523 849.702 875.318 1143.578 1126.248 1161.98 1273.505 1246.79 1342.755 576.795 45.626 1340.347 1145.036",
    ),
}
_S2L2A = {
    "published_50k": _statistics(
        _L2A,
        "752.40087073 884.29673756 1144.16202635 1297.47289228 1624.90992062 2194.6423161 2422.21248945 "
        "2517.76053101 2581.64687018 2645.51888987 2368.51236873 1805.06846033",
        "1108.02887453 1155.15170768 1183.6292542 1368.11351514 1370.265037 1355.55390699 1416.51487101 "
        "1474.78900051 1439.3086061 1582.28010962 1455.52084939 1343.48379601",
    ),
    "published_rounded": _statistics(
        _L2A,
        "756.4 889.6 1151.7 1307.6 1637.6 2212.6 2442.0 2538.9 2602.9 2666.8 2388.8 1821.5",
        "1111.4 1159.1 1188.1 1375.2 1376.6 1358.6 1418.4 1476.4 1439.9 1582.1 1460.7 1352.2",
    ),
    "v1.1": _statistics(
        _L2A,
        "1793.243 1924.863 2184.553 2340.936 2671.402 3240.082 3468.412 3563.244 3627.704 3711.071 3416.714 2849.625",
        "1160.144 1201.092 1219.943 1397.225 1400.035 1373.136 1429.17 1485.025 1447.836 1652.703 1471.002 1365.307",
    ),
}
_S1GRD = {
    "published_50k": _statistics(("VV", "VH"), "-12.54847273 -20.19237134", "5.25697717 5.91150917"),
    "published_rounded": _statistics(("VV", "VH"), "-12.59 -20.26", "5.26 5.91"),
    "v1.1": _statistics(("VV", "VH"), "-12.577 -20.265", "5.179 5.872"),
}
_S2RGB = {"v1.1": _statistics(RGB, "100.708 87.489 61.932", "68.55 47.647 40.592")}


REFLECTANCE_STRETCH = (0.0, 0.4, "reflectance")
THERMAL_STRETCH = (248.15, 318.15, "K")
SURFACE_STRETCH = (7272.7, 18181.8, "DN")
"""What 0 and 255 stand for in SSL4EO-L. Collection 2 surface reflectance is DN 2.75e-5 - 0.2, so this is 0 to 0.3.

Source: Stewart et al. 2023 (SSL4EO-L), scripts compress_*.sh of TorchGeo.
"""


def _landsat_stretch(level: str, band: Band) -> tuple[float, float, str]:
    if level == "SR":
        return SURFACE_STRETCH
    return THERMAL_STRETCH if band.title.startswith("thermal") else REFLECTANCE_STRETCH


def _landsat_modality(name: str, title: str, channels: Mapping[str, Band]) -> Modality:
    """Make a modality of SSL4EO-L: all bands at 30 m, stretched to 8 bits by its authors."""
    level = name[2:]
    stretch = {band.name: _landsat_stretch(level, band) for band in channels.values()}
    return Modality(name, f"{title}, 8 bits", level, tuple(channels), "uint8", "uint8", None, {}, channels, stretch)


MODALITIES: Mapping[str, Modality] = MappingProxyType(
    {
        m.name: m
        for m in (
            Modality("S1GRD", "Sentinel-1 GRD", "GRD", ("VV", "VH"), "dB", "float32", "s1", _S1GRD),
            Modality("S1RTC", "Sentinel-1 RTC, terrain corrected", "RTC", ("VV", "VH"), "dB", "float32", None, {}),
            Modality("S2L1C", "Sentinel-2 L1C", "L1C", _L1C, "DN", "uint16", "s2c", _S2L1C),
            Modality("S2L2A", "Sentinel-2 L2A", "L2A", _L2A, "DN", "uint16", "s2a", _S2L2A),
            Modality("S2RGB", "Sentinel-2 RGB, 8 bits", "RGB", RGB, "uint8", "uint8", None, _S2RGB),
            _landsat_modality("L5TOA", "Landsat 5 TM, top of atmosphere", _TM_TOA),
            _landsat_modality("L7TOA", "Landsat 7 ETM+, top of atmosphere", _ETM_TOA),
            _landsat_modality("L7SR", "Landsat 7 ETM+, surface reflectance", _ETM_SR),
            _landsat_modality("L8TOA", "Landsat 8 OLI and TIRS, top of atmosphere", _OLI_TOA),
            _landsat_modality("L8SR", "Landsat 8 OLI, surface reflectance", _OLI_SR),
        )
    }
)


def modality(name: str) -> Modality:
    """Look a modality up by name.

    Raises:
        UnknownName: no modality is called that.
    """
    try:
        return MODALITIES[name]
    except KeyError:
        raise unknown_name("modality", name, MODALITIES) from None


_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "coastal": "B01",
        "blue": "B02",
        "green": "B03",
        "red": "B04",
        "rededge1": "B05",
        "rededge2": "B06",
        "rededge3": "B07",
        "nir": "B08",
        "nir08": "B8A",
        "nir09": "B09",
        "cirrus": "B10",
        "swir16": "B11",
        "swir22": "B12",
    }
)


def canonical_band(spelling: str) -> str:
    """Translate a foreign spelling of a band (`B1`, `b8a`, `red`, `vv`) into ours.

    >>> canonical_band("B1"), canonical_band("b8a"), canonical_band("vv"), canonical_band("red")
    ('B01', 'B8A', 'VV', 'B04')

    Raises:
        UnknownName: the spelling is none we know.
    """
    name = _ALIASES.get(spelling.lower(), spelling.upper())
    if name not in BANDS and name.startswith("B") and name[1:].isdigit():
        name = f"B{int(name[1:]):02d}"
    if name not in BANDS:
        raise unknown_name("band", spelling, BANDS)
    return name


def published_band(name: str) -> str:
    """Give the file stem that the published raw layout uses for one of our bands.

    >>> published_band("B01"), published_band("B8A"), published_band("VV")
    ('B1', 'B8A', 'VV')
    """
    if name not in BANDS:
        raise unknown_name("band", name, BANDS)
    return name.replace("B0", "B", 1)


def statistics(modality_name: str, source: str) -> Statistics:
    """Look up published statistics of a modality.

    Raises:
        UnknownName: the modality has no statistics under this name.
    """
    table = modality(modality_name).statistics
    if source not in table:
        raise UnknownName(f"{modality_name} has no statistics {source!r}", expected=f"one of {', '.join(table)}")
    return table[source]
