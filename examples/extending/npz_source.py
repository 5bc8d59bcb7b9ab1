# SPDX-License-Identifier: Apache-2.0
"""A source of one's own: a folder of NumPy files, one a location, as an archive.

`<id>.npz` holds `rgb_nir` uint16 (season, 4, y, x) of B02 B03 B04 B08 [DN], `times` (season,) as datetime64, `lon` and
`lat` [deg]. Run it with: ssl4eo pack FOLDER OUT.zarr --layout examples/extending/npz_source.py:NpzFolder
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ssl4eo.errors import LocationMissing, SourceInvalid
from ssl4eo.form import Form
from ssl4eo.sample import Image, Location, Provenance, Sample

FORM = Form.native("S2L2A", bands=("B02", "B03", "B04", "B08"))
"""What is kept: four bands of L2A, uint16 DN on the 10 m grid."""


class NpzFolder:
    """Locations of a folder, read one by one; it is pickled to worker processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        first = self._load(self.ids()[0])
        self._num_seasons, _, height, width = first["rgb_nir"].shape
        self._shape = (height, width)

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from; kept in the archive."""
        return Provenance(f"NumPy files in {self._folder.name}", synthetic=False, licence="unknown")

    @property
    def forms(self) -> tuple[Form, ...]:
        """One modality."""
        return (FORM,)

    @property
    def masks(self) -> Mapping[str, bool]:
        """None."""
        return {}

    @property
    def num_seasons(self) -> int:
        """As many as the first file has."""
        return self._num_seasons

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width [px], as the first file has."""
        return self._shape

    def ids(self) -> Sequence[str]:
        """Names of the files, sorted: an order that does not change."""
        found = sorted(path.stem for path in self._folder.glob("*.npz"))
        if not found:
            raise SourceInvalid(f"no NumPy files in {self._folder}", expected="<id>.npz", path=str(self._folder))
        return found

    def read(self, location: str) -> Sample:
        """Read one file; whatever is wrong with it leaves this location out and no other."""
        values = self._load(location)
        images = [
            Image("S2L2A", {10: pixels}, time=_utc(time), kept=FORM)
            for pixels, time in zip(values["rgb_nir"], values["times"], strict=True)
        ]
        return Sample(Location(location, float(values["lon"]), float(values["lat"])), {"S2L2A": tuple(images)})

    def _load(self, location: str) -> dict[str, np.ndarray]:
        path = self._folder / f"{location}.npz"
        if not path.is_file():
            raise LocationMissing(f"no {path}", expected="one of ids()", location=location)
        try:
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in ("rgb_nir", "times", "lon", "lat")}
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise SourceInvalid(f"{path} cannot be read ({error})", expected="a whole file", path=str(path)) from error


def _utc(time: np.datetime64) -> datetime:
    return datetime.fromtimestamp(int(time.astype("datetime64[s]").astype(np.int64)), tz=UTC)
