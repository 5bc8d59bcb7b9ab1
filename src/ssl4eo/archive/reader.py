# SPDX-License-Identifier: Apache-2.0
"""Reading an archive: one season of one modality is one pread a resolution, checked and decoded directly.

`open_archive` reads the metadata (a few JSON files) and the ids, and refuses what contradicts itself; the rest of the
tables is read when first asked for. An `Archive` holds no lock and no shared file position: it may be forked, pickled
and used by threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive import checksums, codecs
from ssl4eo.archive.arrays import ShardedArray
from ssl4eo.archive.layout import LOCATIONS, SKIPPED, from_seconds, images_table
from ssl4eo.archive.metadata import Metadata, load_metadata
from ssl4eo.archive.records import RESERVED
from ssl4eo.archive.shards import Shards
from ssl4eo.archive.statistics import Statistics
from ssl4eo.contract import Contract
from ssl4eo.errors import ArchiveInvalid, ContractMismatch, LocationMissing, ShardCorrupt, shown, unknown_name
from ssl4eo.files import read_jsonl
from ssl4eo.form import Form
from ssl4eo.sample import Image, Location, Provenance, Sample

if TYPE_CHECKING:
    import geopandas as gpd
    import pyarrow as pa

    from ssl4eo.archive.tables import ImageTable


class Archive:
    """An archive on disk, opened by `open_archive`."""

    def __init__(self, path: Path, metadata: Metadata) -> None:
        self.path = path
        self._metadata = metadata
        self._layout = metadata.layout
        self._shards = Shards(path)
        self._table = lru_cache(maxsize=None)(self._checked_table)
        self._seconds = lru_cache(maxsize=None)(self._read_times)
        self._image_tables: dict[str, ImageTable] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as a path: it opens its own files; ids that were checked are not checked again."""
        return _reopen, (self.path,)

    def __len__(self) -> int:
        """Number of locations."""
        return self._layout.num_locations

    def __repr__(self) -> str:
        """Say what is in it."""
        return (
            f"<Archive {self.path}: {len(self)} locations x {self.num_seasons} seasons, {', '.join(self.modalities)}>"
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that every location has."""
        return self._layout.spec.modalities

    @property
    def num_seasons(self) -> int:
        """Number of dates that every location has."""
        return self._layout.spec.num_seasons

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every patch on the finest grid [px]."""
        return self._layout.spec.shape

    @property
    def masks(self) -> Mapping[str, bool]:
        """By name the masks that every location has: True where each season has its own."""
        return self._layout.spec.masks

    @property
    def profile(self) -> str:
        """Name of the compression profile."""
        return self._layout.spec.profile

    def form(self, modality: str) -> Form:
        """Give grids, type and 8-bit rule of a modality's pixels.

        Raises:
            UnknownName: the archive has no such modality.
        """
        return self._layout.spec.form(self._known(modality))

    def statistics(self, modality: str) -> Statistics | None:
        """Give the figures of all pixels as measured when the archive was written, None where they were not.

        Raises:
            UnknownName: the archive has no such modality.
        """
        return self._metadata.statistics[self._known(modality)]

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from."""
        return self._layout.spec.provenance

    @property
    def facts(self) -> Mapping[str, str]:
        """When (`created`) and by what (`software`) the archive was written."""
        return self._metadata.facts

    def contract(self, modality: str) -> Contract:
        """Say what the stored values of a modality mean.

        Raises:
            UnknownName: the archive has no such modality.
            ContractMismatch: its images contain different offsets.
        """
        contract = self._metadata.contracts[self._known(modality)]
        if contract is None:
            raise ContractMismatch(
                f"the {modality} images of {self.path} contain different offsets",
                expected="one contract for all",
                remedy="use read(...).contract or offsets(...), which tell each image's",
            )
        return contract

    def offsets(self, modality: str) -> NDArray[np.int32]:
        """Give the offset contained in each image [DN]: int32 (location, season)."""
        from ssl4eo.archive.tables import read_column

        column = read_column(self._table(images_table(self._known(modality))), "offset")
        return column.to_numpy().astype(np.int32).reshape(len(self), self.num_seasons)

    def times(self, modality: str) -> NDArray[np.datetime64]:
        """Give the start of each acquisition [UTC]: datetime64[s] (location, season), NaT where unknown."""
        return self._seconds(self._known(modality)).astype("datetime64[s]")

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """All location ids, in the order of the index."""
        from ssl4eo.archive.location_ids import read_location_ids

        return read_location_ids(self.path, self._table(LOCATIONS), len(self))

    def check_ids(self) -> None:
        """Raise if the location table was written with ids that cannot be; one that is damaged is told when it is used.

        Raises:
            ArchiveInvalid: an id is missing, comes twice or breaks the rule, or there are more or fewer than locations.
        """
        with contextlib.suppress(ShardCorrupt):  # pixels can be read without it
            _ = self.ids

    @cached_property
    def locations(self) -> gpd.GeoDataFrame:
        """The location table: id, geometry (point or None), label columns; a row for each index."""
        import geopandas as gpd

        return gpd.read_parquet(self._table(LOCATIONS))

    @cached_property
    def skipped(self) -> tuple[Mapping[str, str], ...]:
        """Locations of the source that were left out, each with `location` and `reason`."""
        return tuple(read_jsonl(self._table(SKIPPED)))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the label columns of the location table."""
        from ssl4eo.archive.tables import column_names

        return tuple(name for name in column_names(self._table(LOCATIONS)) if name not in RESERVED)

    def bytes_per_image(self, modality: str) -> int:
        """Size of the decoded pixels of one image [bytes]."""
        return sum(array.chunk_bytes for array in self._layout.bands[self._known(modality)].values())

    def labels(self, column: str) -> NDArray[Any]:
        """Give one column of the location table as an array (location,).

        Raises:
            UnknownName: there is no such column.
        """
        from ssl4eo.archive.tables import read_column

        if column not in self.columns:
            raise unknown_name("label", column, self.columns)
        return read_column(self._table(LOCATIONS), column).to_numpy()

    def labels_of(self, location: str | int) -> dict[str, int | float | str]:
        """Give the labels of one location, without columns that it has no value in.

        Raises:
            LocationMissing: the archive holds no such location.
        """
        index = self.index_of(location)
        values = {name: column[index].as_py() for name, column in self._label_columns.items()}
        return {name: value for name, value in values.items() if value is not None}

    @cached_property
    def _label_columns(self) -> dict[str, pa.ChunkedArray]:
        from ssl4eo.archive.tables import read_column

        return {name: read_column(self._table(LOCATIONS), name) for name in self.columns}

    def index_of(self, location: str | int) -> int:
        """Give the index of a location id, or check an index.

        Raises:
            LocationMissing: the archive holds no such location.
        """
        if isinstance(location, str):
            if location not in self._index:
                raise LocationMissing(
                    f"{self.path} has no location {shown(location)}",
                    expected=f"one of {len(self)} ids, {self.ids[0]} to {self.ids[-1]}",
                    location=location,
                )
            return self._index[location]
        self._check_range("location", location, len(self))
        return int(location)

    def read(self, modality: str, *, location: str | int, season: int) -> Image:
        """Read one image with all its metadata.

        Args:
            modality: one of `modalities`.
            location: id or index.
            season: 0 for the first date.

        Raises:
            UnknownName: the archive has no such modality.
            LocationMissing: it has no such location or season.
            ShardCorrupt: stored bytes are missing or fail their checksum.
        """
        index = self.index_of(location)
        pixels = self.read_pixels(modality, index=index, season=season)
        row = self._images(modality).row(index * self.num_seasons + int(season))
        transform = row["transform"]
        return Image(
            modality,
            pixels,
            time=from_seconds(int(self._seconds(modality)[index, season])),
            product=row["product"],
            crs=row["crs"],
            transform=None if transform is None else tuple(transform),
            baseline=row["baseline"],
            offset=row["offset"],
            kept=self.form(modality),
            valid=row["valid"],
        )

    def image_facts(self, modality: str, *, location: str | int, season: int) -> dict[str, Any]:
        """Tell what is known of one image without reading its pixels.

        Returns:
            `time` (UTC or None), `product`, `baseline`, `offset` [DN], `crs`, `transform`, `valid`, as in `Image`.

        Raises:
            UnknownName: the archive has no such modality.
            LocationMissing: it has no such location or season.
        """
        index = self.index_of(location)
        self._check_range("season", season, self.num_seasons)
        row = self._images(self._known(modality)).row(index * self.num_seasons + int(season))
        names = ("product", "baseline", "offset", "crs", "transform", "valid")
        time = from_seconds(int(self._seconds(modality)[index, season]))
        return {"time": time, **{name: row[name] for name in names}}

    def read_pixels(
        self, modality: str, *, index: int, season: int, resolutions: Sequence[int] | None = None
    ) -> dict[int, NDArray[np.generic]]:
        """Read the pixels of one image and nothing else: by resolution [m] an array (band, y, x).

        Args:
            modality: one of `modalities`.
            index: of the location.
            season: 0 for the first date.
            resolutions: those wanted [m], None for all.

        Raises:
            UnknownName: the archive has no such modality or resolution.
            LocationMissing: it has no such location or season.
            ShardCorrupt: stored bytes are missing or fail their checksum.
        """
        arrays = self._layout.bands[self._known(modality)]
        self._check_range("location", index, len(self))
        self._check_range("season", season, self.num_seasons)
        wanted = arrays if resolutions is None else resolutions
        for resolution in wanted:
            if resolution not in arrays:
                raise unknown_name(f"{modality} resolution", resolution, [str(r) for r in arrays])
        return {r: self._chunk(arrays[r], modality, index, season) for r in wanted}

    def flagged(self, modality: str) -> list[tuple[int, int]]:
        """List the images, as location and season, that packing marked as not valid: nodata in some or all pixels.

        Raises:
            UnknownName: the archive has no such modality.
        """
        from ssl4eo.archive.tables import read_column

        valid = read_column(self._table(images_table(self._known(modality))), "valid").to_pylist()
        rows = np.flatnonzero([value is False for value in valid])
        return [(int(row) // self.num_seasons, int(row) % self.num_seasons) for row in rows]

    def mask(self, name: str, *, location: str | int, season: int = 0) -> NDArray[np.uint8]:
        """Read one mask: uint8 (y, x) on the finest grid.

        Args:
            name: one of `masks`.
            location: id or index.
            season: whose mask, where each season has its own.

        Raises:
            UnknownName: the archive has no such mask.
            LocationMissing: it has no such location or season.
            ShardCorrupt: stored bytes are missing or fail their checksum.
        """
        if name not in self._layout.masks:
            raise unknown_name("mask", name, self.masks)
        array = self._layout.masks[name]
        self._check_range("season of this mask", season, array.chunks_per_location)
        return self._chunk(array, f"mask {name}", self.index_of(location), season).astype(np.uint8, copy=False)

    def sample(self, location: str | int) -> Sample:
        """Read all that the archive holds of one location.

        Raises:
            LocationMissing: the archive holds no such location.
            ShardCorrupt: stored bytes are missing or fail their checksum.
        """
        index = self.index_of(location)
        seasons = range(self.num_seasons)
        masks = {
            name: np.stack([self.mask(name, location=index, season=s) for s in seasons])
            if seasonal
            else self.mask(name, location=index)
            for name, seasonal in self.masks.items()
        }
        return Sample(
            self.location(index),
            {m: tuple(self.read(m, location=index, season=s) for s in seasons) for m in self.modalities},
            labels=self.labels_of(index),
            masks=masks,
        )

    def location(self, location: str | int) -> Location:
        """Give one location with its coordinates."""
        row = self.locations.iloc[self.index_of(location)]
        point = row["geometry"]
        return Location(str(row["id"])) if point is None else Location(str(row["id"]), point.x, point.y)

    def _chunk(self, array: ShardedArray, what: str, index: int, season: int) -> NDArray[np.generic]:
        try:
            return self._shards.read(array, index, season)
        except (ShardCorrupt, OSError) as error:
            raise self._corrupt(error, array, what, index, season) from error

    def _corrupt(self, error: OSError, array: ShardedArray, what: str, index: int, season: int) -> ShardCorrupt:
        reason = error.found if isinstance(error, ShardCorrupt) else error.strerror
        path = self.path / array.file(array.place(index, season)[0])
        try:
            location = self.ids[index]
        except (OSError, ArchiveInvalid):  # the table is damaged too: the number must do
            location = f"number {index}"
        return ShardCorrupt(
            f"{what} of location {location}, season {season}, cannot be read from {path}: {reason}",
            expected="the bytes that were written",
            remedy=f"run `ssl4eo verify {self.path}` to see all damage, then copy the file again or pack anew",
            archive=str(self.path),
            what=what,
            location=location,
            season=season,
        )

    def _known(self, modality: str) -> str:
        if modality not in self._layout.bands:
            raise unknown_name("modality of this archive", modality, self.modalities)
        return modality

    def check_season(self, season: int) -> None:
        """Raise unless there is such a season.

        Raises:
            LocationMissing: there is none.
        """
        self._check_range("season", season, self.num_seasons)

    def _check_range(self, what: str, value: object, size: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise LocationMissing(
                f"{what} {value!r} is a {type(value).__name__}", expected=f"an integer, 0 to {size - 1}", index=value
            )
        if not 0 <= value < size:
            raise LocationMissing(f"{self.path} has no {what} {value}", expected=f"0 to {size - 1}", index=value)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.ids)}

    def _images(self, modality: str) -> ImageTable:
        from ssl4eo.archive.tables import ImageTable

        if modality not in self._image_tables:
            self._image_tables[modality] = ImageTable(self._table(images_table(modality)), self.num_seasons)
        return self._image_tables[modality]

    def _checked_table(self, name: str) -> Path:
        return checksums.require(self.path, name, self._metadata.files)

    def _read_times(self, modality: str) -> NDArray[np.int64]:
        array = self._layout.times[modality]
        parts = [codecs.decode_chunk(self._table(name).read_bytes(), array.chunk, "int64") for name in array.files]
        return np.concatenate(parts)[: len(self)].astype(np.int64, copy=False)


def open_archive(path: Path | str) -> Archive:
    """Open an archive for reading.

    Raises:
        DataMissing: there is nothing at `path`.
        ArchiveInvalid: it is no archive, of another version, or its metadata is damaged or contradicts itself, or the
            ids of its locations cannot be.
    """
    archive = _reopen(Path(path).absolute())
    archive.check_ids()
    return archive


def _reopen(path: Path) -> Archive:
    return Archive(path, load_metadata(path))
