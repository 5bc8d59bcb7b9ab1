# SPDX-License-Identifier: Apache-2.0
"""The nouns that travel: Location, Season, Image, Sample and Provenance, each valid by construction.

Collection yields Samples and the archive stores Samples, so neither knows the other.
Pixels stay at native resolution and in the unit of the product; nothing here scales them.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.contract import Contract
from ssl4eo.errors import SampleInvalid, shown
from ssl4eo.form import Form
from ssl4eo.grid import resize_bilinear, size_at

Transform = tuple[float, float, float, float, float, float]
"""Affine (a, b, c, d, e, f): x = a*col + b*row + c, y = d*col + e*row + f, as rasterio's first six."""

ID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
"""A location id: a file name on any disk, and a part of an address."""
ID_RULE = "1 to 128 letters, digits, '.', '-', '_', starting with a letter or digit"
"""The same in words."""
_ID = re.compile(rf"{ID_PATTERN}\Z")


@dataclass(frozen=True)
class Location:
    """A point on Earth with an id."""

    id: str
    """Letters, digits, dot, dash and underscore; published ids are 7 digits."""
    lon: float | None = None
    """Longitude of the centre [deg, WGS 84], None where the source does not tell."""
    lat: float | None = None
    """Latitude of the centre [deg, WGS 84], None where the source does not tell."""

    def __post_init__(self) -> None:
        """Refuse ids that cannot be file names and points that are not on Earth."""
        if not _ID.match(self.id):
            raise SampleInvalid(f"location id {shown(self.id)}", expected=ID_RULE)
        if (self.lon is None) != (self.lat is None):
            raise SampleInvalid(f"location {self.id} has only one coordinate", expected="both or neither")
        for name, value, limit in (("longitude", self.lon, 180), ("latitude", self.lat, 90)):
            if value is not None and not (math.isfinite(value) and abs(value) <= limit):
                raise SampleInvalid(f"location {self.id} has {name} {value}", expected=f"-{limit} to {limit} degrees")


@dataclass(frozen=True, order=True)
class Season:
    """One of the dates of a location: position in time, first to last, not a time of year."""

    index: int
    time: dt.datetime | None = None
    """Start of the acquisition [UTC], None where the source does not tell."""

    def __post_init__(self) -> None:
        """Refuse negative positions and times without a zone."""
        if self.index < 0:
            raise SampleInvalid(f"season {self.index}", expected="0 or more")
        require_utc(self.time)


def require_utc(time: dt.datetime | None) -> None:
    """Raise unless a time is None or says that it is UTC."""
    if time is not None and time.utcoffset() != dt.timedelta(0):
        raise SampleInvalid(
            f"time {time.isoformat()}", expected="a UTC time", remedy="use datetime(..., tzinfo=timezone.utc)"
        )


@dataclass(frozen=True, eq=False)
class Image:
    """One acquisition of one modality over one location."""

    modality: str
    pixels: Mapping[int, NDArray[np.generic]]
    """By resolution [m] an array (band, y, x), bands as in `form`."""
    time: dt.datetime | None = None
    """Start of the acquisition [UTC]."""
    product: str = ""
    """Product id, as the source spells it."""
    crs: str = ""
    """Coordinate reference system: an EPSG code such as `EPSG:32631`, or WKT; empty where unknown."""
    transform: Transform | None = None
    """Of the finest grid, in units of `crs`."""
    baseline: int | None = None
    """ESA processing baseline, 301 for 03.01; None where unknown."""
    offset: int = 0
    """Constant contained in the values [DN]."""
    kept: Form | None = None
    """Grids, type and 8-bit rule of the pixels; None for the native form of the modality."""
    valid: bool = True
    """False where pixels are known not to have been observed: filled, outside the swath."""

    def __post_init__(self) -> None:
        """Check groups, shapes and dtype against the form."""
        form = self.form
        if form.modality != self.modality:
            raise SampleInvalid(f"{self._name} in a form of {form.modality}", expected=f"one of {self.modality}")
        if set(self.pixels) != set(form.resolutions):
            raise SampleInvalid(
                f"{self._name} has groups {sorted(self.pixels)} m",
                expected=f"{sorted(form.resolutions)} m for {self.modality}",
            )
        require_utc(self.time)
        if self.transform is not None and not all(math.isfinite(v) for v in self.transform):
            raise SampleInvalid(f"{self._name} has transform {self.transform}", expected="six finite numbers")
        for resolution, bands in form.groups:
            self._check_group(resolution, bands, form)

    def _check_group(self, resolution: int, bands: tuple[str, ...], form: Form) -> None:
        array = self.pixels[resolution]
        height, width = (size_at(resolution, s, form.base) for s in self.shape)
        if array.shape != (len(bands), height, width):
            raise SampleInvalid(
                f"{self._name} has {resolution} m pixels of shape {array.shape}",
                expected=f"({len(bands)}, {height}, {width}) for bands {' '.join(bands)}",
            )
        if array.dtype != np.dtype(form.dtype):
            raise SampleInvalid(f"{self._name} has {resolution} m pixels of type {array.dtype}", expected=form.dtype)

    @property
    def form(self) -> Form:
        """Grids, type and 8-bit rule of the pixels."""
        return self.kept if self.kept is not None else Form.native(self.modality)

    @property
    def _name(self) -> str:
        return f"{self.modality} image {self.product}".rstrip()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width on the finest grid [px]."""
        base = self.form.base
        array = self.pixels.get(base)
        if array is None or array.ndim != 3:
            raise SampleInvalid(f"{self._name} has no (band, y, x) pixels at {base} m", expected="some")
        return array.shape[1], array.shape[2]

    @property
    def contract(self) -> Contract:
        """What the pixels mean: all bands in canonical order, scaled by nothing but an 8-bit rule."""
        return self.form.contract(self.offset)

    def band(self, name: str) -> NDArray[np.generic]:
        """Give one band (y, x) as it is kept.

        Raises:
            SampleInvalid: the image has no such band.
        """
        for resolution, bands in self.form.groups:
            if name in bands:
                return self.pixels[resolution][bands.index(name)]
        raise SampleInvalid(f"{self.modality} has no band {name!r}", expected=" ".join(self.form.bands))

    def plot(self, composite: str | None = None, *, stretch: str = "own", axes: Any = None) -> Any:
        """Draw the image on matplotlib axes, new ones where none are given; give the axes.

        Args:
            composite: `true-color`, `false-color`, `swir`, `vegetation`, `ndvi`, `vv-vh-ratio` or `band:B11`; None
                for the first that the bands allow.
            stretch: `own` (percentiles of this image) or `fixed` (physical ranges, the same for all images).
            axes: to draw on.

        Raises:
            UnknownName: no such composite of these bands, or no such stretch.
        """
        from ssl4eo.pictures.plot import plot

        return plot(self, composite, stretch=stretch, axes=axes)

    def to_grid(self, resolution: int) -> NDArray[np.float32]:
        """Put all bands on one grid: float32 (band, y, x), canonical order, bilinear, values not scaled."""
        form = self.form
        height, width = (size_at(resolution, s, form.base) for s in self.shape)
        return np.concatenate([resize_bilinear(self.band(name)[None], (height, width)) for name in form.bands])


@dataclass(frozen=True, eq=False)
class Sample:
    """All images of one location: the same number of seasons in every modality."""

    location: Location
    images: Mapping[str, tuple[Image, ...]]
    """By modality the images in order of time."""
    labels: Mapping[str, int | float | str] = field(default_factory=dict[str, int | float | str])
    """Scene-level facts: columns of the location table."""
    masks: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict[str, NDArray[np.uint8]])
    """Pixel labels on the finest grid by name: (y, x), or (season, y, x) where each date has its own."""

    def __post_init__(self) -> None:
        """Check that all images agree in number, size and order of time."""
        if not self.images or not all(self.images.values()):
            raise SampleInvalid(
                f"sample {self.location.id} has no images", expected="one modality and one season at least"
            )
        counts = {name: len(images) for name, images in self.images.items()}
        if len(set(counts.values())) != 1:
            raise SampleInvalid(
                f"sample {self.location.id} has seasons {counts}", expected="the same number in every modality"
            )
        for name, images in self.images.items():
            self._check_modality(name, images)
        for name, mask in self.masks.items():
            shapes = (self.shape, (self.num_seasons, *self.shape))
            if mask.shape not in shapes or mask.dtype != np.uint8:
                raise SampleInvalid(
                    f"sample {self.location.id} has mask {name} {mask.dtype} {mask.shape}",
                    expected=f"uint8 {shapes[0]} or {shapes[1]}",
                )

    def _check_modality(self, name: str, images: tuple[Image, ...]) -> None:
        base = next(iter(self.images.values()))[0].form.base
        for image in images:
            if image.form != images[0].form or image.form.base != base:
                raise SampleInvalid(
                    f"sample {self.location.id} keeps {name} images in several forms",
                    expected="one form a modality, and one finest grid for all",
                )
            if image.modality != name or image.shape != self.shape:
                raise SampleInvalid(
                    f"sample {self.location.id} keeps a {image.modality} image of {image.shape} px under {name}",
                    expected=f"{name} images of {self.shape} px",
                )
        times = [image.time for image in images if image.time is not None]
        if times != sorted(times):
            raise SampleInvalid(
                f"sample {self.location.id} has {name} seasons out of order: {', '.join(t.isoformat() for t in times)}",
                expected="first to last by acquisition time",
                remedy="sort the images by time, not by folder name",
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width on the finest grid [px]."""
        return next(iter(self.images.values()))[0].shape

    @property
    def forms(self) -> tuple[Form, ...]:
        """The form of each modality."""
        return tuple(images[0].form for images in self.images.values())

    @property
    def num_seasons(self) -> int:
        """Number of dates."""
        return len(next(iter(self.images.values())))

    def seasons(self, modality_name: str) -> tuple[Season, ...]:
        """Give the dates of one modality."""
        return tuple(Season(i, image.time) for i, image in enumerate(self.images[modality_name]))


@dataclass(frozen=True)
class Provenance:
    """Where the pixels come from: kept in the archive and shown wherever they are shown."""

    title: str
    synthetic: bool
    """True for pixels that no satellite saw."""
    licence: str
    details: Mapping[str, str | int | float | bool] = field(default_factory=dict[str, str | int | float | bool])
    """Whatever reproduces or cites the data: seed, version, path, DOI."""
