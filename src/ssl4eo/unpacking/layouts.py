# SPDX-License-Identifier: Apache-2.0
"""The layouts that an archive can be unpacked to: one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ssl4eo.archive.reader import Archive
from ssl4eo.errors import foreign_options, unknown_name
from ssl4eo.unpacking.geotiff import GeoTiff
from ssl4eo.unpacking.lmdb import Lmdb
from ssl4eo.unpacking.raw import Raw
from ssl4eo.unpacking.rgb_png import RgbPng, usual_modalities
from ssl4eo.unpacking.webdataset import WebDataset
from ssl4eo.unpacking.work import Layout


@dataclass(frozen=True)
class LayoutKind:
    """One way to write images."""

    make: Callable[..., Layout]
    """From options to a layout."""
    looks_like: str
    options: tuple[str, ...] = ()
    """Names of the options that it takes."""
    can_renumber: bool = True
    usual: Callable[[Archive], tuple[str, ...] | None] = lambda _: None
    """From an archive to the modalities that are written where nobody says; None is all."""


LAYOUTS: Mapping[str, LayoutKind] = {
    "raw": LayoutKind(Raw, "s1|s2c|s2a/<id>/<product>/<band>.tif"),
    "uint8-geotiff": LayoutKind(lambda **given: GeoTiff(8, **given), "s1|s2c|s2a/<id>/<product>.tif", ("rule",)),
    "uint16-geotiff": LayoutKind(lambda: GeoTiff(16), "s1|s2c|s2a/<id>/<product>.tif"),
    "rgb-png": LayoutKind(RgbPng, "s2c/<id>/<product>.png", ("rule",), usual=usual_modalities),
    "lmdb": LayoutKind(Lmdb, "data.mdb, ids.csv", ("rule",), can_renumber=False),
    "webdataset": LayoutKind(
        lambda shard_locations=64: WebDataset(shard_locations), "all-000000.tar", ("shard_locations",)
    ),
}


def make_layout(name: str, *, renumber: bool = False, **options: Any) -> Layout:
    """Make a layout by name.

    Args:
        name: one of LAYOUTS.
        renumber: whether locations shall be numbered anew.
        options: of the layout; None means not given.

    Raises:
        UnknownName: no layout is called that.
        ConfigInvalid: an option that the layout does not have.
    """
    if name not in LAYOUTS:
        raise unknown_name("layout", name, LAYOUTS)
    kind = LAYOUTS[name]
    given = {key: value for key, value in options.items() if value is not None}
    foreign = [key for key in given if key not in kind.options]
    if renumber and not kind.can_renumber:
        foreign.append("renumber")
    if foreign:
        raise foreign_options(name, foreign, (*kind.options, *(["renumber"] if kind.can_renumber else [])))
    return kind.make(**given)
