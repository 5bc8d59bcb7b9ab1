# SPDX-License-Identifier: Apache-2.0
"""The arrays of an archive: shapes, chunks, codecs, file names, and the zarr.json of each.

A shard holds 64 locations with all their seasons: few large files for the file system, while one season of one
location stays one contiguous read. Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

SHARD_LOCATIONS = 64
"""Locations in a shard file."""
TIME_CHUNK = 65_536
"""Locations in a chunk of a time array, at most."""
NO_TIME = -(2**63)
"""Stored where the source does not tell a time; NumPy's NaT has the same bits."""


@dataclass(frozen=True)
class Compression:
    """Parameters of Blosc; lossless whatever they are."""

    cname: str
    clevel: int
    shuffle: str
    """shuffle (bytes) or bitshuffle."""
    blocksize: int = 1 << 20
    """[bytes]: a chunk of a published patch is one block, which is smaller and decodes faster than several."""


@dataclass(frozen=True)
class Profile:
    """How the chunks of an archive are compressed; measured in benchmarks/results/codecs.md."""

    integers: Compression
    """Also for float16, whose decibels are as coarse as integers."""
    floats: Compression

    def of(self, dtype: str) -> Compression:
        """Give the compression of one type."""
        return self.floats if dtype == "float32" else self.integers


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "fast": Profile(Compression("lz4", 9, "bitshuffle"), Compression("lz4", 9, "bitshuffle")),
        "default": Profile(Compression("zstd", 2, "shuffle"), Compression("zstd", 1, "bitshuffle")),
        "compact": Profile(Compression("zstd", 9, "shuffle"), Compression("zstd", 9, "bitshuffle")),
    }
)
"""By name."""

TIME_COMPRESSION = PROFILES["default"].integers
"""Of the time arrays, whatever the pixels use."""

_CRC = {"name": "crc32c"}
_ITEMSIZE = {"uint8": 1, "uint16": 2, "float16": 2, "float32": 4, "int64": 8}


def _bytes_codec(dtype: str) -> dict[str, Any]:
    return {"name": "bytes"} if dtype == "uint8" else {"name": "bytes", "configuration": {"endian": "little"}}


def _chunk_codecs(dtype: str, compression: Compression) -> list[dict[str, Any]]:
    blosc = {
        "typesize": _ITEMSIZE[dtype],
        "cname": compression.cname,
        "clevel": compression.clevel,
        "shuffle": compression.shuffle,
        "blocksize": compression.blocksize,
    }
    return [_bytes_codec(dtype), {"name": "blosc", "configuration": blosc}, _CRC]


@dataclass(frozen=True)
class ShardedArray:
    """A Zarr array in shards of 64 locations: `bands` of one resolution, or a mask."""

    path: str
    """Below the archive, for instance `S2L1C/10m/bands`."""
    num_locations: int
    chunk: tuple[int, ...]
    """Shape of what is compressed together, without its leading location (and season) axis."""
    dtype: str
    num_seasons: int | None
    """None for an array without a season axis."""
    bands: tuple[str, ...] | None
    """Names along the band axis, None where there is none."""
    compression: Compression

    @property
    def chunks_per_location(self) -> int:
        """Number of chunks that one location has."""
        return self.num_seasons or 1

    @property
    def num_shards(self) -> int:
        """Number of shard files."""
        return -(-self.num_locations // SHARD_LOCATIONS)

    @property
    def slots(self) -> int:
        """Number of entries in the index of a shard; those past the last location are empty."""
        return SHARD_LOCATIONS * self.chunks_per_location

    @property
    def chunk_bytes(self) -> int:
        """Size of a decoded chunk [bytes]."""
        size = _ITEMSIZE[self.dtype]
        for length in self.chunk:
            size *= length
        return size

    def locations_in(self, shard: int) -> range:
        """Give the location indices that a shard holds."""
        return range(shard * SHARD_LOCATIONS, min((shard + 1) * SHARD_LOCATIONS, self.num_locations))

    def place(self, index: int, season: int) -> tuple[int, int]:
        """Give the shard that holds a chunk and the chunk's slot in its index."""
        shard, row = divmod(index, SHARD_LOCATIONS)
        return shard, row * self.chunks_per_location + season

    def file(self, shard: int) -> str:
        """Give the path of a shard file below the archive."""
        ndim = len(self.chunk) + (1 if self.num_seasons is None else 2)
        return f"{self.path}/c.{shard}" + ".0" * (ndim - 1)

    def document(self) -> dict[str, Any]:
        """Make the array's zarr.json."""
        seasons = () if self.num_seasons is None else (self.num_seasons,)
        names = ("location", *(("season",) if seasons else ()), *(("band",) if self.bands else ()), "y", "x")
        inner = (1, *(1 for _ in seasons), *self.chunk)
        sharding = {
            "chunk_shape": list(inner),
            "codecs": _chunk_codecs(self.dtype, self.compression),
            "index_codecs": [_bytes_codec("int64"), _CRC],
            "index_location": "end",
        }
        return _array_document(
            shape=(self.num_locations, *seasons, *self.chunk),
            chunk=(SHARD_LOCATIONS, *seasons, *self.chunk),
            dtype=self.dtype,
            codecs=[{"name": "sharding_indexed", "configuration": sharding}],
            fill_value=0,
            names=names,
            attributes={"band_names": list(self.bands)} if self.bands else {},
        )


@dataclass(frozen=True)
class TimeArray:
    """The acquisition times of one modality: int64 (location, season), CF seconds since 1970."""

    path: str
    num_locations: int
    num_seasons: int

    @property
    def chunk(self) -> tuple[int, int]:
        """Shape of a stored chunk."""
        return min(self.num_locations, TIME_CHUNK), self.num_seasons

    @property
    def files(self) -> list[str]:
        """Paths of the chunk files below the archive, in order of location."""
        return [f"{self.path}/c.{i}.0" for i in range(-(-self.num_locations // self.chunk[0]))]

    def document(self) -> dict[str, Any]:
        """Make the array's zarr.json; xarray decodes it to datetime64."""
        return _array_document(
            shape=(self.num_locations, self.num_seasons),
            chunk=self.chunk,
            dtype="int64",
            codecs=_chunk_codecs("int64", TIME_COMPRESSION),
            fill_value=NO_TIME,
            names=("location", "season"),
            attributes={
                "standard_name": "time",
                "units": "seconds since 1970-01-01",
                "calendar": "proleptic_gregorian",
                "_FillValue": NO_TIME,
            },
        )


def _array_document(
    *,
    shape: tuple[int, ...],
    chunk: tuple[int, ...],
    dtype: str,
    codecs: list[dict[str, Any]],
    fill_value: int,
    names: tuple[str, ...],
    attributes: dict[str, Any],
) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": float(fill_value) if dtype.startswith("float") else fill_value,
        "codecs": codecs,
        "dimension_names": list(names),
        "attributes": attributes,
        "storage_transformers": [],
    }
