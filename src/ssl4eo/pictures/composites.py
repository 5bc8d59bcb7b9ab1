# SPDX-License-Identifier: Apache-2.0
"""Which bands become red, green and blue: one table for all sensors.

Bands are asked for by what they are (`red`, `near infrared`), as `sensors.py` calls them, so that one row serves
Sentinel-2 and Landsat alike. A composite is offered where an image has all its bands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from ssl4eo.errors import unknown_name
from ssl4eo.sensors import modality

SINGLE = "band"
"""Prefix of the composites that show one band in gray, as in `band:B11`."""


@dataclass(frozen=True)
class Composite:
    """How an image becomes a picture."""

    name: str
    title: str
    channels: tuple[tuple[str, ...], ...]
    """For red, green and blue (or gray alone) the title of a band, or two titles for the first minus the second;
    resolved: names of bands."""
    joint: bool = False
    """One stretch for all channels, so that hues stay."""
    index: bool = False
    """A normalized difference of its two channels, drawn in colors of its own."""

    @property
    def slug(self) -> str:
        """The name as part of a file name."""
        return self.name.replace(":", "-")

    @property
    def bands(self) -> tuple[str, ...]:
        """All bands that are read."""
        return tuple(dict.fromkeys(band for channel in self.channels for band in channel))


_TABLE = (
    Composite("true-color", "true color", (("red",), ("green",), ("blue",)), joint=True),
    Composite("false-color", "near infrared, red, green", (("near infrared",), ("red",), ("green",))),
    Composite("swir", "short-wave infrared 2, near infrared, red",
              (("short-wave infrared 2",), ("narrow near infrared",), ("red",))),
    Composite("vegetation", "short-wave infrared 1, near infrared, blue",
              (("short-wave infrared 1",), ("near infrared",), ("blue",))),
    Composite("ndvi", "vegetation index (NDVI)", (("near infrared",), ("red",)), index=True),
    Composite("vv-vh-ratio", "VV, VH, VV/VH", (
        ("C-band, vertical to vertical",), ("C-band, vertical to horizontal",),
        ("C-band, vertical to vertical", "C-band, vertical to horizontal"),
    )),
)  # fmt: skip

TITLES: Mapping[str, str] = MappingProxyType({row.name: row.title for row in _TABLE})
_STAND_INS = {"narrow near infrared": "near infrared"}
"""What Landsat has in place of a band."""


def composites_of(modality_name: str, bands: Sequence[str]) -> dict[str, Composite]:
    """Give the composites that can be drawn of some bands of a modality, by name; single bands come last.

    >>> list(composites_of("S1GRD", ["VV", "VH"]))
    ['vv-vh-ratio', 'band:VV', 'band:VH']
    >>> composites_of("S2L1C", ["B02", "B03", "B04"])["true-color"].channels
    (('B04',), ('B03',), ('B02',))

    Raises:
        UnknownName: no such modality.
    """
    known = modality(modality_name)
    by_title = {known.channels[band].title: band for band in bands}
    found: dict[str, Composite] = {}
    for row in _TABLE:
        channels = tuple(tuple(_band(title, by_title) for title in channel) for channel in row.channels)
        if all(band for channel in channels for band in channel):
            found[row.name] = replace(row, channels=channels)
    for band in bands:
        title = f"{band}, {known.channels[band].title}"
        found[f"{SINGLE}:{band}"] = Composite(f"{SINGLE}:{band}", title, ((band,),))
    return found


def _band(title: str, by_title: Mapping[str, str]) -> str:
    return by_title.get(title) or by_title.get(_STAND_INS.get(title, ""), "")


def composite_of(modality_name: str, bands: Sequence[str], name: str | None = None) -> Composite:
    """Look a composite up; None is the first there is. A single band may be spelled `band:B11`, `band-B11` or `B11`.

    >>> composite_of("S1GRD", ["VV", "VH"], "vv").name
    'band:VV'

    Raises:
        UnknownName: the bands do not make up such a composite.
    """
    found = composites_of(modality_name, bands)
    if name is None:
        return next(iter(found.values()))
    spellings = {key.lower(): row for key, row in found.items()}
    spellings |= {row.slug.lower(): row for row in found.values()}
    spellings |= {row.bands[0].lower(): row for row in found.values() if len(row.channels) == 1}
    if name.lower() not in spellings:
        raise unknown_name(f"composite of {modality_name}", name, found)
    return spellings[name.lower()]
