# SPDX-License-Identifier: Apache-2.0
"""One zip file of SSL4EO-S12 v1.1: one modality of some locations, all seasons, on one 10 m grid.

Coordinates and names of all its locations are read and checked when it is opened, pixels location by location.
Seasons are put in order of time, with everything that belongs to them: the release has Sentinel-1 out of order.
Values are not changed; the +1000 DN that its Sentinel-2 numbers contain are recorded, not removed.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.zarr_zip import ZarrArray, ZarrZip
from ssl4eo.errors import UnknownName
from ssl4eo.form import Form
from ssl4eo.grid import BASE_RESOLUTION
from ssl4eo.sample import Image, Transform
from ssl4eo.sensors import OFFSET_DN, canonical_band, modality

_DTYPES: Mapping[str, Mapping[str, str]] = {
    "DN": {"int16": "uint16", "uint16": "uint16"},
    "dB": {"float16": "float16", "float32": "float32"},
    "uint8": {"uint8": "uint8"},
}
"""By unit the type in the file and ours."""
_UNITS = {
    "days": 86_400_000_000,
    "hours": 3_600_000_000,
    "minutes": 60_000_000,
    "seconds": 1_000_000,
    "milliseconds": 1000,
    "microseconds": 1,
    "nanoseconds": 0.001,
}
"""Microseconds of a unit."""
_SINCE = re.compile(r"(\w+) since (\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d:\d\d(?:\.\d{1,9})?))?\Z")
_CALENDARS = ("proleptic_gregorian", "standard", "gregorian")
_FIRST_TIME, _LAST_TIME = np.datetime64("2014-01-01", "us"), np.datetime64("2100-01-01", "us")


@dataclass(frozen=True)
class FileKind:
    """What all files of a modality have in common."""

    form: Form
    num_seasons: int
    shape: tuple[int, int]
    has_clouds: bool


class SeasonalFile:
    """One open file.

    Args:
        path: of the zip file.
        name: modality that it must be of.

    Raises:
        SourceInvalid: it is cut short, damaged, or not a file of the release.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.modality = name
        self._zip = ZarrZip(path)
        try:
            self._open()
        except BaseException:
            self._zip.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def _open(self) -> None:
        self._pixels = self._zip.array("bands", ("sample", "time", "band", "y", "x"))
        count, seasons, bands, height, width = self._pixels.shape
        if min(self._pixels.shape) < 1:
            raise self._zip.invalid(f"has pixels of shape {self._pixels.shape}", "some")
        self.ids = [str(name) for name in self._all("sample", (count,))]
        if len(set(self.ids)) != count:
            raise self._zip.invalid("holds a location twice", "each once")
        self._rows = {name: row for row, name in enumerate(self.ids)}
        self._order = self._band_order(bands)
        self.kind = FileKind(self._form(), seasons, (height, width), "cloud_mask" in self._zip)

    def _band_order(self, count: int) -> list[int]:
        """Find our bands in the file's; it may have them in another order."""
        spelled = [str(name) for name in self._all("band", (count,))]
        try:
            names = [canonical_band(name) for name in spelled]
        except UnknownName as error:
            raise self._zip.invalid(f"has bands {' '.join(spelled)}", f"those of {self.modality}") from error
        bands = modality(self.modality).bands
        if sorted(names) != sorted(bands):
            raise self._zip.invalid(f"has bands {' '.join(spelled)}", f"{' '.join(bands)} for {self.modality}")
        return [names.index(band) for band in bands]

    def _form(self) -> Form:
        dtypes = _DTYPES[modality(self.modality).unit]
        if self._pixels.dtype not in dtypes:
            raise self._zip.invalid(f"has {self.modality} of type {self._pixels.dtype}", " or ".join(dtypes))
        return Form.gridded(self.modality, resolution=BASE_RESOLUTION, dtype=dtypes[self._pixels.dtype])

    def _all(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Read a small array whose axes follow from its shape and name."""
        axes = {"sample": ("sample",), "band": ("band",), "x_": ("sample", "x"), "y_": ("sample", "y")}
        array = self._zip.array(name, axes.get(name, ("sample", "time")[: len(shape)]))
        if array.shape != shape:
            raise self._zip.invalid(f"has {name} of shape {array.shape}", f"{shape}, as its pixels have")
        return array.all()

    def images(self, location: str) -> tuple[Image, ...]:
        """Read all seasons of one location, first to last.

        Raises:
            SourceInvalid: the file does not hold it, or what it holds is damaged or no data of the release.
        """
        row = self._row(location)
        stored = self._pixels.row(row)[:, self._order]  # (season, band, y, x)
        if stored.dtype == np.int16 and (stored < 0).any():
            raise self._zip.invalid(f"has negative {self.modality} values at location {location}", "0 to 32767 DN")
        pixels = stored.astype(self.kind.form.dtype, copy=False)
        times, products = self._times[row], self._products[row]
        crs, transform = self._places[row]
        offset = OFFSET_DN if modality(self.modality).unit == "DN" else 0
        return tuple(
            Image(
                self.modality,
                {BASE_RESOLUTION: np.ascontiguousarray(pixels[season])},
                time=times[season].item().replace(tzinfo=dt.UTC),
                product=str(products[season]),
                crs=crs,
                transform=transform,
                offset=offset,
                kept=self.kind.form,
            )
            for season in self._seasons(row)
        )

    def clouds(self, location: str) -> NDArray[np.uint8]:
        """Read the cloud masks of one location: uint8 (season, y, x), in the order of its images.

        Raises:
            SourceInvalid: as `images`.
        """
        row = self._row(location)
        wanted = (len(self.ids), self.kind.num_seasons, *self.kind.shape)
        if self._clouds.shape != wanted or self._clouds.dtype != "uint8":
            found = f"has cloud masks {self._clouds.dtype} {self._clouds.shape}"
            raise self._zip.invalid(found, f"uint8 {wanted}, one for each image")
        return self._clouds.row(row, may_fill=True)[self._seasons(row)]

    def centre(self, location: str) -> tuple[float, float]:
        """Give longitude and latitude of a location [deg].

        Raises:
            SourceInvalid: as `images`.
        """
        lon, lat = self._centres
        row = self._row(location)
        return float(lon[row]), float(lat[row])

    def _row(self, location: str) -> int:
        if location not in self._rows:
            raise self._zip.invalid(f"does not hold location {location}", "the same locations in all modalities")
        return self._rows[location]

    def _seasons(self, row: int) -> NDArray[np.intp]:
        """Give the stored positions of the seasons in order of time."""
        return np.argsort(self._times[row], kind="stable")

    @cached_property
    def _clouds(self) -> ZarrArray:
        return self._zip.array("cloud_mask", ("sample", "time", "y", "x"))

    @cached_property
    def _times(self) -> NDArray[np.datetime64]:
        """Acquisition times [UTC]: datetime64[us] (sample, season)."""
        values = self._all("time_", (len(self.ids), self.kind.num_seasons))
        attributes = self._zip.array("time_", ("sample", "time")).attributes
        try:
            times = decode_times(values, attributes)
        except (ValueError, OverflowError) as error:
            raise self._zip.invalid(f"has times that cannot be read ({error})", "CF times") from error
        if not ((times >= _FIRST_TIME) & (times < _LAST_TIME)).all():
            raise self._zip.invalid("has images without a time, or of another century", "times from 2014 on")
        return times

    @cached_property
    def _products(self) -> NDArray[Any]:
        """Product ids (sample, season); where there are none, the ids of the images."""
        shape = (len(self.ids), self.kind.num_seasons)
        names = self._all("sample_id", shape) if "sample_id" in self._zip else None
        if names is not None:
            for name, row in zip(self.ids, names, strict=True):
                if any(str(text).rpartition("_")[0] != name for text in row):
                    raise self._zip.invalid(f"has images {', '.join(map(str, row))} at {name}", f"{name}_<season>")
        if "file_id" in self._zip or names is None:
            return self._all("file_id", shape)
        return names

    @cached_property
    def _centres(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._all("center_lon", (len(self.ids),)), self._all("center_lat", (len(self.ids),))

    @cached_property
    def _places(self) -> list[tuple[str, Transform]]:
        """Coordinate system and transform of each location."""
        count = len(self.ids)
        codes = self._all("crs", (count,))
        if codes.dtype.kind not in "iu" or not ((codes >= 1024) & (codes < 100_000)).all():
            raise self._zip.invalid("has coordinate systems that are no EPSG codes", "integers such as 32631")
        eastings, northings = self._all("x_", (count, self.kind.shape[1])), self._all("y_", (count, self.kind.shape[0]))
        rows = zip(codes, eastings, northings, strict=True)
        return [(f"EPSG:{code}", self._transform(x, y)) for code, x, y in rows]

    def _transform(self, x: NDArray[Any], y: NDArray[Any]) -> Transform:
        """Make the transform of pixels whose centres lie at `x` and `y` [m]."""
        step = float(BASE_RESOLUTION)
        for axis, values, sign in (("x_", x, 1), ("y_", y, -1)):
            line = float(values[0]) + sign * step * np.arange(len(values))
            if not np.abs(values - line).max() <= 1:  # [m]; float32 has no finer northings
                raise self._zip.invalid(f"has {axis} from {values[0]} to {values[-1]}", "steps of 10 m, north to south")
        return (step, 0.0, float(x[0]) - step / 2, 0.0, -step, float(y[0]) + step / 2)


def decode_times(values: NDArray[Any], attributes: Mapping[str, Any]) -> NDArray[np.datetime64]:
    """Turn stored times into datetime64[us], NaT where there is none. Source: CF conventions 1.11, section 4.4.

    Raises:
        ValueError: a unit or calendar that is not known.
        OverflowError: a time out of range.
    """
    if values.dtype.kind == "M":
        return values.astype("datetime64[us]")
    match = _SINCE.match(str(attributes.get("units")))
    calendar = attributes.get("calendar", _CALENDARS[0])
    if match is None or calendar not in _CALENDARS or values.dtype.kind not in "iuf":
        raise ValueError(f"{values.dtype} in {attributes.get('units')!r}, calendar {calendar!r}")
    start = np.datetime64(f"{match[2]}T{match[3] or '00:00:00'}", "us")
    factor = _UNITS.get(match[1])
    if factor is None:
        raise ValueError(f"times in {match[1]}")
    if not (np.abs(values.astype(np.float64)) * factor < 2.0**53).all():
        raise OverflowError("a time that is out of range, or none")
    return start + np.rint(values * factor).astype("timedelta64[us]")
