# SPDX-License-Identifier: Apache-2.0
"""One location in all its seasons and sensors, in the spirit of the picture that SSL4EO-S12 is known by.

Rows are Sentinel-1 (red VV, green VH, blue VV - VH), Sentinel-2 L2A and L1C in true color, and L2A
(or L1C) again with near infrared as red, where vegetation glows. Columns are the seasons.
All seasons of a row share one stretch, so that a brighter field is a brighter field: low to high
percentiles of all valid pixels of the row, of the three bands together for true color (so that hues
stay), else per channel. Clouds and snow (blue above 0.2) are left out of the percentiles and turn
white, unless they cover nine tenths: otherwise one cloud would darken a whole row.
Shows pixels and measures nothing; the stretch is for the eye alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive
from ssl4eo.errors import LocationMissing, SampleInvalid
from ssl4eo.pictures.composites import composite_of
from ssl4eo.pictures.stretches import GAMMA, percentile_limits, stretched
from ssl4eo.pictures.values import channels, is_bright
from ssl4eo.report.style import INK, MUTED, RULE, new_figure, note, styled
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import modality

_NUM_CANDIDATES = 12
_ORDER = ("S1GRD", "S2L2A", "S2L1C", "S2RGB")


@dataclass(frozen=True)
class TeaserRow:
    """One row of the picture: how an image becomes red, green and blue."""

    modality: str
    title: str
    subtitle: str
    channels: Callable[[Image], NDArray[np.float32]]
    """Image to float32 (3, y, x), not stretched, NaN where there is no data."""
    joint: bool
    """One stretch for the three channels together."""
    percentiles: tuple[float, float] = (1, 99)
    gamma: float = 1.0
    """Exponent after the stretch; below 1 lifts the dark parts."""
    saturation: float = 1.0
    """1 keeps the colors, 0 is gray."""


def _composite(modality_name: str, name: str) -> Callable[[Image], NDArray[np.float32]]:
    return partial(channels, composite=composite_of(modality_name, modality(modality_name).bands, name))


_RADAR = TeaserRow(
    "S1GRD",
    "Sentinel-1 GRD",
    "VV, VH, VV/VH",
    _composite("S1GRD", "vv-vh-ratio"),
    joint=False,
    percentiles=(0.5, 99.5),
    saturation=0.6,
)
_TRUE_COLOR = {
    name: TeaserRow(name, title, subtitle, _composite(name, "true-color"), joint=True, gamma=GAMMA)
    for name, title, subtitle in (
        ("S2L2A", "Sentinel-2 L2A", "true color"),
        ("S2L1C", "Sentinel-2 L1C", "true color"),
        ("S2RGB", "Sentinel-2 RGB", "8 bits"),
    )
}


def teaser_rows(modalities: Sequence[str], *, near_infrared: bool = True) -> tuple[TeaserRow, ...]:
    """List the rows that can be drawn from these modalities, top to bottom."""
    rows = [_RADAR] if "S1GRD" in modalities else []
    rows += [row for name, row in _TRUE_COLOR.items() if name in modalities]
    optical = next((name for name in ("S2L2A", "S2L1C") if name in modalities), None)
    if near_infrared and optical is not None:
        title = _TRUE_COLOR[optical].title
        rows.append(
            TeaserRow(
                optical, title, "near infrared as red", _composite(optical, "false-color"), joint=False, gamma=0.85
            )
        )
    return tuple(rows)


def stretch(
    images: NDArray[np.float32],
    *,
    joint: bool,
    percentiles: tuple[float, float] = (1, 99),
    bright: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Scale (season, 3, y, x) to 0 to 1 with one stretch for all seasons; NaN becomes 0.

    The two percentiles become 0 and 1, over all channels if `joint`, else per channel.
    Pixels of `bright` (season, y, x) do not count, unless too few others are left.
    A channel of one value becomes 0.5.
    """
    return stretched(images, percentile_limits(images, joint=joint, percentiles=percentiles, bright=bright))


def teaser_figure(sample: Sample, *, synthetic: bool, near_infrared: bool = True) -> Figure:
    """Draw one location: rows are sensors and levels, columns are seasons.

    `synthetic` must be told, because a sample does not know it: it is written into the picture.
    """
    rows = teaser_rows(tuple(sample.images), near_infrared=near_infrared)
    count = sample.num_seasons
    tile, gap, left, top, bottom = 2.05, 0.07, 1.35, 0.42, 0.24  # inch
    height, width = sample.shape
    tall = tile * height / width
    size = (left + count * (tile + gap), top + len(rows) * (tall + gap) + bottom)
    with styled():
        figure = new_figure(*size)
        for i, row in enumerate(rows):
            images = sample.images[row.modality]
            colors = _colors(row, images)
            y = size[1] - top - (i + 1) * tall - i * gap
            _row_title(figure, row, (left - 0.12) / size[0], (y + tall / 2) / size[1])
            for k, image in enumerate(images):
                box = ((left + k * (tile + gap)) / size[0], y / size[1], tile / size[0], tall / size[1])
                _tile(figure.add_axes(box), colors[k], image.time)
        for k in range(count):
            x = (left + k * (tile + gap) + tile / 2) / size[0]
            figure.text(x, 1 - 0.30 / size[1], _column_title(sample, k), ha="center", fontsize=10, fontweight="bold")
        origin = "synthetic pixels: no satellite saw them" if synthetic else "Contains Copernicus Sentinel data"
        note(figure, f"{place_words(sample.location, synthetic=synthetic)} \u00b7 {origin}")
    return figure


def _colors(row: TeaserRow, images: Sequence[Image]) -> NDArray[np.float32]:
    """Make the pictures of a row: (season, 3, y, x), 0 to 1."""
    values = np.stack([row.channels(image) for image in images])
    bright = np.stack([is_bright(image) for image in images])
    colors = stretch(values, joint=row.joint, percentiles=row.percentiles, bright=bright) ** row.gamma
    gray = colors.mean(axis=1, keepdims=True)
    return gray + row.saturation * (colors - gray)


def place_words(location: Location, *, synthetic: bool) -> str:
    """Name a location, with its coordinates if it is a place on Earth."""
    if synthetic or location.lon is None or location.lat is None:
        return f"location {location.id}"
    north, east = ("N" if location.lat >= 0 else "S"), ("E" if location.lon >= 0 else "W")
    return f"location {location.id} ({abs(location.lat):.2f} {north}, {abs(location.lon):.2f} {east})"


def _row_title(figure: Figure, row: TeaserRow, x: float, y: float) -> None:
    figure.text(x, y, row.title, ha="right", va="bottom", fontsize=9, fontweight="bold", color=INK)
    figure.text(x, y - 0.004, row.subtitle, ha="right", va="top", fontsize=8, color=MUTED)


def _tile(axes: Axes, colors: NDArray[np.float32], time: dt.datetime | None) -> None:
    axes.imshow(np.moveaxis(colors, 0, -1), interpolation="bilinear", aspect="auto")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color=RULE, linewidth=0.6)  # a tile of clouds must not melt into the page
    if time is not None:
        axes.text(
            0.035, 0.035, time.strftime("%Y-%m-%d"), transform=axes.transAxes, fontsize=7.5, color="white",
            path_effects=[withStroke(linewidth=1.8, foreground=(0, 0, 0, 0.65))],
        )  # fmt: skip


def _column_title(sample: Sample, season: int) -> str:
    """Name a season by the month of its optical image; by its number if no time is known."""
    names = sorted(sample.images, key=lambda name: (name == "S1GRD", name))
    for name in names:
        time = sample.images[name][season].time
        if time is not None:
            return f"{_MONTHS[time.month - 1]} {time.year}"
    return f"season {season}"


_MONTHS = ("January", "February", "March", "April", "May", "June",
           "July", "August", "September", "October", "November", "December")  # fmt: skip


def collect_sample(archive: Archive, location: str | None = None) -> Sample:
    """Read what the picture needs of one location; without an id, of the most varied one.

    Raises:
        LocationMissing: the archive holds no such location, or none at all.
    """
    ids = list(archive.ids)
    if location is None:
        if not ids:
            raise LocationMissing("an archive without locations", expected="one at least")
        location = most_varied(archive, ids)
    elif location not in ids:
        raise LocationMissing(
            f"the archive holds no location {location!r}",
            expected=f"one of its {len(ids)} ids",
            remedy="list them with `ssl4eo info`",
            location=location,
        )
    modalities = [name for name in _ORDER if name in archive.modalities]
    if not modalities:
        raise SampleInvalid(
            f"an archive of {', '.join(archive.modalities)}", expected=f"one of {', '.join(_ORDER)} to draw"
        )
    seasons = range(archive.num_seasons)
    images = {
        name: tuple(archive.read(name, location=location, season=season) for season in seasons) for name in modalities
    }
    return Sample(archive.location(location), images)


def most_varied(archive: Archive, ids: Sequence[str]) -> str:
    """Choose, of up to 12 evenly spaced locations, a clear one whose vegetation varies over the ground.

    Measure: interquartile range of NDVI over the pixels without cloud or snow, times their share.
    Without red and near infrared, the first.
    """
    optical = next((name for name in ("S2L2A", "S2L1C") if name in archive.modalities), None)
    if optical is None:
        return ids[0]
    picked = [ids[int(i)] for i in np.unique(np.linspace(0, len(ids) - 1, _NUM_CANDIDATES).round())]

    def variety(location: str) -> float:
        return _variety([archive.read(optical, location=location, season=s) for s in range(archive.num_seasons)])

    return max(picked, key=variety)


def _variety(images: Sequence[Image]) -> float:
    clear = ~np.stack([is_bright(image) for image in images])
    if not clear.any():
        return 0.0
    low, high = np.percentile(np.stack([_ndvi(image) for image in images])[clear], [25, 75])
    return float((high - low) * clear.mean())


def _ndvi(image: Image) -> NDArray[np.floating]:
    red, nir = (image.band(name).astype(np.float32) - image.offset for name in ("B04", "B08"))
    return (nir - red) / np.maximum(nir + red, 1.0)
