# SPDX-License-Identifier: Apache-2.0
"""The layouts on disk that can be packed: one table, tried in its order.

A layout tells by looking at names whether a path is its own, the compressed release by the header of one file too; none
opens a pixel to find out. The order is from the most particular to the most general: any folder of pictures comes last.
A layout of the user's own is a function of a path that gives a source, named as `module:name`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo.archive.layout import LOCATIONS, ROOT
from ssl4eo.collection.compressed import CompressedLayout, is_compressed
from ssl4eo.collection.eurosat import is_eurosat, open_eurosat
from ssl4eo.collection.lmdb_files import LmdbFile, is_lmdb
from ssl4eo.collection.parts import find_parts, first_part, holds_tar
from ssl4eo.collection.picture_folder import PictureFolder, is_picture_folder
from ssl4eo.collection.place_folders import PlaceFolders
from ssl4eo.collection.published import RawLayout, is_raw_layout
from ssl4eo.collection.rawtar import RawTarStream
from ssl4eo.collection.rgb_png import RgbPng, is_rgb_png
from ssl4eo.collection.source import AnySource, Source, StreamSource
from ssl4eo.collection.ssl4eo_l import Ssl4eoL, is_ssl4eo_l
from ssl4eo.collection.terramesh import TerraMesh, is_terramesh
from ssl4eo.collection.v11 import ZipFolder, is_v11
from ssl4eo.errors import ConfigInvalid, DataMissing, foreign_options, unknown_name
from ssl4eo.extension import is_own, load_own, require_own
from ssl4eo.packing.archives import ArchiveSource, is_archive


@dataclass(frozen=True)
class LayoutKind:
    """One way to keep images on disk."""

    open: Callable[..., AnySource]
    """From paths and options to a source."""
    detect: Callable[[Path], bool]
    looks_like: str
    options: tuple[str, ...] = ()
    """Names of the options that it takes."""


def _of_one_folder(source: Callable[..., Source]) -> Callable[..., Source]:
    """Make a function of paths and options out of one of a single folder and options."""

    def open_only(paths: tuple[Path, ...], **options: Any) -> Source:
        return source(_only(paths), **options)

    return open_only


def _raw_tar(paths: tuple[Path, ...], **options: Any) -> StreamSource:
    found = [find_parts(path if path.is_dir() or len(paths) == 1 else first_part(path)) for path in paths]
    if len(set(found)) > 1:
        raise ConfigInvalid(
            f"{len(set(found))} tars",
            expected="one, of one modality",
            remedy="pack each into an archive of its own, then join them: ssl4eo pack s1.zarr s2c.zarr OUT",
        )
    return RawTarStream(found[0], **options)


def _only(paths: tuple[Path, ...]) -> Path:
    if len(paths) != 1:
        raise ConfigInvalid(f"{len(paths)} paths", expected="one folder for this layout")
    return paths[0]


LAYOUTS: Mapping[str, LayoutKind] = {
    "archive": LayoutKind(
        ArchiveSource, is_archive, f"{ROOT}, {LOCATIONS}; several are joined by id", ("modalities", "ids")
    ),
    "lmdb": LayoutKind(_of_one_folder(LmdbFile), is_lmdb, "data.mdb, or a file *.lmdb", ("rule", "modalities")),
    "v1.1": LayoutKind(
        _of_one_folder(ZipFolder),
        is_v11,
        "S1GRD|S2L1C|S2L2A|S2RGB/ssl4eos12_<split>_seasonal_data_<number>.zarr.zip",
        ("modalities",),
    ),
    "rgb-png": LayoutKind(_of_one_folder(RgbPng), is_rgb_png, "s2c/<id>/<product>.png", ("num_seasons",)),
    "compressed": LayoutKind(
        _of_one_folder(CompressedLayout),
        is_compressed,
        "s1|s2c|s2a/<id>/<product>/<band>|all_bands.tif of 8 bits",
        ("num_seasons", "modalities", "rule"),
    ),
    "raw": LayoutKind(
        _of_one_folder(RawLayout),
        is_raw_layout,
        "s1|s2c|s2a/<id>/<product>/<band>.tif",
        ("num_seasons", "modalities", "offset"),
    ),
    "raw-tar": LayoutKind(
        _raw_tar, holds_tar, "*.tar.gz.partaa, *.tar.gz or *.tar of one of them", ("num_seasons", "offset")
    ),
    "ssl4eo-l": LayoutKind(
        _of_one_folder(Ssl4eoL),
        is_ssl4eo_l,
        "ssl4eo_l_<split>/<id>/<scene>/all_bands.tif",
        ("num_seasons", "modalities"),
    ),
    "terramesh": LayoutKind(
        _of_one_folder(TerraMesh), is_terramesh, "S1RTC|S2L1C|S2L2A|S2RGB/<id>.tif", ("modalities", "offset")
    ),
    "eurosat": LayoutKind(_of_one_folder(open_eurosat), is_eurosat, "<class>/<class>_<n>.tif|jpg"),
    "places": LayoutKind(
        _of_one_folder(PlaceFolders),
        lambda _: False,  # class folders with dated pictures look the same: only its name asks for it
        "<place>/<picture with a date in its name>, only with --layout places",
        ("modality", "bands", "offset", "num_seasons"),
    ),
    "folder": LayoutKind(
        _of_one_folder(PictureFolder),
        is_picture_folder,
        "pictures, or folders of pictures",
        ("modality", "bands", "offset"),
    ),
}


def open_source(*paths: Path | str, layout: str = "auto", **options: Any) -> AnySource:
    """Open files or folders as a source, by the name of their layout or by looking.

    Args:
        paths: what to read.
        layout: a name of LAYOUTS, or `auto`; or `module:name` or `file.py:name` of a function of one's own from a
            path to a source, or of a LayoutKind.
        options: of the layout, such as num_seasons; None means not given.

    Raises:
        UnknownName: no layout is called that.
        DataMissing: there is no such path, or it has no known layout.
        ConfigInvalid: an option that the layout does not have, or a layout of one's own that cannot be had.
    """
    places = tuple(Path(path) for path in paths)
    own = _own_kind(layout) if is_own(layout) else None
    if own is None and layout != "auto" and layout not in LAYOUTS:
        raise unknown_name("layout", layout, ["auto", *LAYOUTS])
    for place in places:
        if not place.exists():
            raise DataMissing(f"there is no {place}", expected="images", remedy="check the path", path=str(place))
    name = _detect(places) if layout == "auto" else layout
    kind = LAYOUTS[name] if own is None else own
    given = {key: value for key, value in options.items() if value is not None}
    foreign = [key for key in given if key not in kind.options]
    if foreign:
        raise foreign_options(name, foreign, kind.options)
    return kind.open(places, **given)


def _own_kind(layout: str) -> LayoutKind:
    """Give a layout of the user's own; a plain function has no options and takes one path."""
    found = load_own("layout", layout, fits=lambda found: isinstance(found, LayoutKind) or callable(found))
    if isinstance(found, LayoutKind):
        return found
    expected = "a function of a path that gives a source, or a LayoutKind"
    require_own("layout", layout, found, expected=expected, fits=callable(found))
    return LayoutKind(_of_one_folder(found), lambda _: True, looks_like=layout)


def _detect(places: tuple[Path, ...]) -> str:
    for name, kind in LAYOUTS.items():
        if all(kind.detect(place) for place in places):
            return name
    place = places[0]
    if (place / ROOT).is_file():
        remedy = "it is a Zarr group: `ssl4eo info` shows whether it is an archive already"
    else:
        remedy = "name the folder that holds the modality folders, or give the layout"
    raise DataMissing(
        f"{place} holds {_listing(place)}",
        expected="a known layout, " + " or ".join(f"{name} ({kind.looks_like})" for name, kind in LAYOUTS.items()),
        remedy=remedy,
        path=str(place),
    )


def _listing(path: Path) -> str:
    if path.is_file():
        return "no folders: it is a file"
    names = sorted(entry.name for entry in path.iterdir())
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "nothing"
