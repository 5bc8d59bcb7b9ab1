# SPDX-License-Identifier: Apache-2.0
"""Scenes of OSCD: two dates of 13 bands and a change map, handed out in windows of the date-1 B04 grid.

Two forms are published. `raw` has each band at its native size, and the dates of some cities differ by a few pixels;
every file is placed by its geotransform, so each band of each date is resampled to the grid of B04 at date 1,
bilinear, half-pixel centres, edges repeated: within 1 DN what GDAL's warp gives. (Laid on top of each other
from the upper left corner instead, the dates drift apart by up to 9 px; by geotransform they stay within about one
everywhere.) `rect` has all bands on the grid of the map already and is read as it is.
A pixel that a band of a date does not cover, or that is zero in all bands of a date, is not judged.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from ssl4eo.collection.picture import Header, Kind, look, read_picture
from ssl4eo.errors import DataMissing, SourceInvalid
from ssl4eo.evaluation.tasks.task import UNJUDGED
from ssl4eo.sensors import modality

BANDS = modality("S2L1C").bands
LayoutForm = Literal["rect", "raw"]
FOLDERS: Mapping[LayoutForm, tuple[str, str]] = {
    "rect": ("imgs_1_rect", "imgs_2_rect"),
    "raw": ("imgs_1", "imgs_2"),
}
"""Folders of the two dates; rect is what the published benchmark reads, so it is looked for first."""
_BAND_FILE = re.compile(r"(?:.*_)?(B\d[\dA])\.tif\Z")
_CHANGED = {1: 0, 2: 1}
"""What the values of a map in a GeoTIFF mean."""
_PNG_THRESHOLD = 127
"""Above it a map in a PNG says change; one city's has soft edges, and this makes it equal its GeoTIFF."""
_KEPT_SCENES = 48
"""Dates of scenes that a process keeps at native size: all 24 cities, about 260 MB."""
_SLACK = 1e-6
"""Rounding of geotransforms [px]."""


@dataclass(frozen=True)
class Scene:
    """One city."""

    city: str
    images: Path
    """Folder that holds the folders of the dates."""
    map: Path
    form: LayoutForm
    shape: tuple[int, int]
    """Height and width of the grid of the map [px]."""

    def files(self, date: int) -> dict[str, Path]:
        """Give the file of each band at date 0 or 1.

        Raises:
            DataMissing: a band has none.
            SourceInvalid: a band has several.
        """
        return _band_files(self.images / FOLDERS[self.form][date])

    def window(self, date: int, rows: slice, columns: slice) -> NDArray[np.uint16]:
        """Read a window of all bands at date 0 or 1: (13, y, x) DN; zero where a band does not cover it.

        Raises:
            DataMissing, SourceInvalid: a file is missing, unreadable, or does not fit the others.
        """
        layers = _layers(self, date)
        return np.stack([layer.window(rows, columns) for layer in layers])

    def changes(self, rows: slice, columns: slice) -> NDArray[np.uint8]:
        """Read a window of the map: 1 changed, 0 not, UNJUDGED where a date shows nothing.

        Raises:
            DataMissing, SourceInvalid: as for `window`, or a value that is no label.
        """
        out = read_map(self.map)[rows, columns].copy()
        for date in (0, 1):
            seen = self.window(date, rows, columns).any(axis=0)
            for layer in _layers(self, date):
                seen &= layer.covers(rows, columns)
            out[~seen] = UNJUDGED
        return out


def find_scene(city: str, *, images: Path, label: Path, form: LayoutForm) -> Scene:
    """Look at a city's grid; no pixels are read but those of the map.

    Args:
        city: name.
        images: folder of the city that holds the folders of the dates.
        label: folder `cm` of the city.
        form: which of the two forms is read.

    Raises:
        DataMissing: no map, or no B04.
        SourceInvalid: an unreadable map, or one of another size than B04 at date 1.
    """
    file = _map_file(city, label)
    grid = look(_band_files(images / FOLDERS[form][0])["B04"]).kind
    found = read_map(file).shape
    if found != (grid.height, grid.width):
        raise SourceInvalid(
            f"{file} is {found[0]} x {found[1]} px",
            expected=f"{grid.height} x {grid.width} px like B04 at date 1",
            remedy="fetch images and labels of the city again",
            path=str(file),
        )
    return Scene(city, images, file, form, (grid.height, grid.width))


def _map_file(city: str, label: Path) -> Path:
    """Choose the GeoTIFF, which tells two values apart, else the picture."""
    candidates = (label / f"{city}-cm.tif", label / "cm.png")
    for file in candidates:
        if file.is_file():
            return file
    raise DataMissing(
        f"no change map of {city} in {label}",
        expected=" or ".join(file.name for file in candidates),
        remedy="unpack the labels of OSCD too",
        path=str(label),
    )


def _band_files(folder: Path) -> dict[str, Path]:
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _BAND_FILE.match(path.name)
        if match and not path.name.startswith("."):
            found.setdefault(match[1], []).append(path)
    missing = [band for band in BANDS if band not in found]
    if missing:
        raise DataMissing(
            f"{folder} has no file of {' '.join(missing)}",
            expected="one *B01.tif ... *B12.tif a band",
            remedy="unpack the images of OSCD again",
            path=str(folder),
        )
    for band in BANDS:
        if len(found[band]) > 1:
            raise SourceInvalid(
                f"{folder} has {len(found[band])} files of {band} ({', '.join(p.name for p in found[band])})",
                expected="one file a band",
                remedy="keep those of one date",
                path=str(folder),
            )
    return {band: found[band][0] for band in BANDS}


@functools.lru_cache(maxsize=_KEPT_SCENES)
def read_map(file: Path) -> NDArray[np.uint8]:
    """Read a change map (y, x): 1 changed, 0 not.

    Raises:
        SourceInvalid: unreadable, or a value that is no label.
    """
    if file.suffix == ".png":
        return _png_map(file)
    header = look(file).kind
    values = read_picture(file, Kind(1, header.height, header.width, "uint8")).pixels[0]
    foreign = sorted(set(np.unique(values).tolist()) - set(_CHANGED))
    if foreign:
        raise SourceInvalid(
            f"{file} has the values {', '.join(map(str, foreign[:5]))}",
            expected="1 (no change) and 2 (change)",
            remedy="fetch the labels again",
            path=str(file),
        )
    return (values == 2).astype(np.uint8)


def _png_map(file: Path) -> NDArray[np.uint8]:
    try:
        with PIL.Image.open(file, formats=["PNG"]) as picture:
            picture.load()
            return (np.asarray(picture.convert("L")) > _PNG_THRESHOLD).astype(np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise SourceInvalid(
            f"{file} cannot be read ({error})", expected="a whole PNG", remedy="fetch the labels again", path=str(file)
        ) from error


class Line(NamedTuple):
    """Where the pixels of one axis of a grid lie among those of a band; one number for each pixel of the grid."""

    low: NDArray[np.intp]
    """Nearest pixel of the band before it, or the first."""
    weight: NDArray[np.float64]
    """Of the pixel after that one, 0 to 1."""
    inside: NDArray[np.bool_]
    """Whether its centre lies within the band."""


def line(count: int, *, start: float, step: float, size: int) -> Line:
    """Lay `count` pixels of a grid on a band of `size` px.

    Args:
        count: pixels of the grid.
        start: outer edge of the grid in pixels of the band.
        step: length of a grid pixel in pixels of the band.
        size: pixels of the band.
    """
    position = start + (np.arange(count) + 0.5) * step - 0.5
    inside = (position >= -0.5 - _SLACK) & (position <= size - 0.5 + _SLACK)
    clipped = position.clip(0, size - 1)
    low = np.minimum(np.floor(clipped).astype(np.intp), max(size - 2, 0))
    return Line(low, clipped - low, inside)


@dataclass(frozen=True, eq=False)
class Layer:
    """One band of one date at its own size, and where the grid's pixels lie in it."""

    pixels: NDArray[np.uint16]
    rows: Line
    columns: Line

    def covers(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Say which pixels of a window of the grid lie within the band."""
        return self.rows.inside[rows, None] & self.columns.inside[columns]

    def window(self, rows: slice, columns: slice) -> NDArray[np.uint16]:
        """Resample to a window of the grid (y, x), zero outside the band."""
        low, weight = self.rows.low[rows], self.rows.weight[rows, None]
        upper, lower = self.pixels[low], self.pixels[np.minimum(low + 1, len(self.pixels) - 1)]
        lines = upper * (1 - weight) + lower * weight
        low, weight = self.columns.low[columns], self.columns.weight[columns]
        left, right = lines[:, low], lines[:, np.minimum(low + 1, self.pixels.shape[1] - 1)]
        values = np.rint(left * (1 - weight) + right * weight).astype(np.uint16)
        values[~self.covers(rows, columns)] = 0
        return values


@functools.lru_cache(maxsize=_KEPT_SCENES)
def _layers(scene: Scene, date: int) -> tuple[Layer, ...]:
    """Read all bands of a date; kept, as a scene has some fifty windows."""
    files = scene.files(date)
    if scene.form == "rect":
        height, width = scene.shape
        whole = [line(n, start=0, step=1, size=n) for n in scene.shape]
        kind = Kind(1, height, width, "uint16")
        return tuple(Layer(_pixels(files[band], kind), whole[0], whole[1]) for band in BANDS)
    grid = look(scene.files(0)["B04"])
    return tuple(_placed(files[band], grid, scene.shape) for band in BANDS)


def _placed(file: Path, grid: Header, shape: tuple[int, int]) -> Layer:
    header = look(file)
    kind = header.kind
    pixels = _pixels(file, Kind(1, kind.height, kind.width, "uint16"))
    left, right, top, bottom = _ratios(file, header, grid)
    rows = line(shape[0], start=top, step=bottom, size=kind.height)
    return Layer(pixels, rows, line(shape[1], start=left, step=right, size=kind.width))


def _ratios(file: Path, header: Header, grid: Header) -> tuple[float, float, float, float]:
    """Give start and step of the grid in pixels of a file, for x and then for y."""
    mine, its = header.transform, grid.transform
    if mine is None or its is None or header.crs != grid.crs or any((mine[1], mine[3], its[1], its[3])):
        raise SourceInvalid(
            f"{file} is placed by {header.crs or 'no reference system'}, {mine or 'no geotransform'}",
            expected=f"the axes of B04 at date 1 ({grid.crs or 'no reference system'}), not turned",
            remedy="fetch the images again, or use the form that is resampled already (imgs_1_rect, imgs_2_rect)",
            path=str(file),
        )
    (a, _, c, _, e, f), (ga, _, gc, _, ge, gf) = mine, its
    return (gc - c) / a, ga / a, (gf - f) / e, ge / e


def _pixels(file: Path, kind: Kind) -> NDArray[np.uint16]:
    return read_picture(file, kind).pixels[0].astype(np.uint16, copy=False)


def inputs(scenes: Sequence[Scene]) -> list[Path]:
    """List all files that the scenes are read from."""
    return [file for s in scenes for file in (*s.files(0).values(), *s.files(1).values(), s.map)]
