# SPDX-License-Identifier: Apache-2.0
"""A Zarr v2 group in a zip file, read directly: small arrays whole, large ones row by row along their first axis.

The format is simple and fixed, libraries that read it are not: zarr-python 3 has dropped what v2 files use before.
Knows what a reader of SSL4EO-S12 v1.1 needs (C order, fixed-size types and vlen-utf8 text; Blosc, Zstandard, zlib,
gzip or no compression) and refuses the rest by name. Sizes are held against the metadata before anything is
decompressed. Only one slab of chunks of an array is kept; the zip's own checksums are checked on every read.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.decompress import COMPRESSORS, decompress
from ssl4eo.errors import SourceInvalid

MAX_BYTES = 1 << 30
"""Size of a decoded chunk or slab at most; the largest of the release, whole, would be 464 MB."""
MAX_TEXT_BYTES = 1 << 24
"""Size of a decoded chunk of text at most."""

_DTYPE = re.compile(r"(?:[<>|][biufSU]\d+|[<>]M8\[(?:s|ms|us|ns)\]|\|O)\Z")
_CHUNK = re.compile(r"\d+(?:[./]\d+)*\Z")
_ROOT_NAMES = (".zgroup", ".zattrs", ".zmetadata")
_ARRAY_NAMES = (".zarray", ".zattrs")
_END = struct.Struct("<4s6xH10x")
"""End of a zip file: its magic and the number of entries, without what else stands there."""


class ZarrZip:
    """An open zip file with a Zarr v2 group at its root.

    Raises:
        SourceInvalid: it cannot be opened, is cut short, or holds no such group.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError, RuntimeError, struct.error) as error:
            raise self.invalid(f"cannot be opened ({error})", "a whole zip file") from error
        self._names = frozenset(self._zip.namelist())
        self._trusted: set[str] = set()
        try:
            self._check_directory()
        except BaseException:
            self.close()
            raise

    def _check_directory(self) -> None:
        """Refuse a damaged list of entries: it has no checksum, and an entry that it loses would be a lost chunk."""
        names = self._zip.namelist()
        with self.path.open("rb") as stream:
            stream.seek(-_END.size - len(self._zip.comment), os.SEEK_END)
            magic, count = _END.unpack(stream.read(_END.size))
        if magic != b"PK\5\6" or count not in (len(names), 0xFFFF):  # the latter where there are too many to say
            raise self.invalid(f"lists {len(names)} entries where it says {count}", "a whole zip file")
        if ".zgroup" not in self._names:
            raise self.invalid("has no .zgroup", "a Zarr v2 group at the root of the zip file")
        chunks: set[str] = set()
        for name in names:
            array, _, rest = name.partition("/")
            is_chunk = _CHUNK.match(rest) is not None and name not in chunks and array in self
            if not (is_chunk or name in _ROOT_NAMES or (array in self and rest in _ARRAY_NAMES) or name.endswith("/")):
                raise self.invalid(f"has an entry {name!r}", "Zarr metadata and chunks, each chunk once")
            chunks |= {name} if is_chunk else set()

    def require_names(self, array: str) -> None:
        """Hold the names of an array's entries against those that stand before their data.

        Raises:
            SourceInvalid: they differ, so a chunk that seems not to be there is.
        """
        if array in self._trusted:
            return
        for info in self._zip.infolist():
            if info.filename.startswith(f"{array}/"):
                with self._reading(info.filename):
                    self._zip.open(info).close()
        self._trusted.add(array)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __contains__(self, name: str) -> bool:
        """Say whether there is an array of this name."""
        return f"{name}/.zarray" in self._names

    def array(self, name: str, dimensions: tuple[str, ...]) -> ZarrArray:
        """Open an array whose axes must be these.

        Raises:
            SourceInvalid: it is not there, has other axes, or is kept in a way that is not known here.
        """
        if name not in self:
            raise self.invalid(f"has no array {name}", "all variables of the release")
        attributes = self._json(f"{name}/.zattrs") if f"{name}/.zattrs" in self._names else {}
        found = attributes.get("_ARRAY_DIMENSIONS")
        layout = _layout(self, name, self._json(f"{name}/.zarray"))
        if found != list(dimensions) or len(layout.shape) != len(dimensions):
            raise self.invalid(f"has {name} with axes {found} and shape {layout.shape}", f"axes {list(dimensions)}")
        if {"scale_factor", "add_offset"} & attributes.keys():
            raise self.invalid(f"has {name} with a scale factor or offset", "values as they are")
        return ZarrArray(self, name, layout, attributes)

    def _json(self, entry: str) -> dict[str, Any]:
        data = self.read(entry, MAX_TEXT_BYTES)
        try:
            document = json.loads(data or b"")
        except (ValueError, RecursionError) as error:
            raise self.invalid(f"has {entry} that cannot be read ({error})", "JSON") from error
        if not isinstance(document, dict):
            raise self.invalid(f"has {entry} that is a {type(document).__name__}", "a JSON object")
        return document

    def read(self, entry: str, limit: int) -> bytes | None:
        """Read an entry, its checksum checked; None where there is none.

        Raises:
            SourceInvalid: it is damaged, or larger than `limit` [bytes].
        """
        if entry not in self._names:
            return None
        with self._reading(entry):
            if self._zip.getinfo(entry).file_size > limit:
                raise self.invalid(f"has {entry} of {self._zip.getinfo(entry).file_size} bytes", f"{limit} at most")
            return self._zip.read(entry)

    @contextlib.contextmanager
    def _reading(self, entry: str) -> Generator[None]:
        """Turn what the zip library says of an entry into our error."""
        try:
            yield
        except SourceInvalid:
            raise
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, struct.error) as error:
            raise self.invalid(f"has {entry} that cannot be read ({error})", "whole entries") from error

    def invalid(self, found: str, expected: str) -> SourceInvalid:
        """Make the error that says what is wrong with the file."""
        return SourceInvalid(f"{self.path} {found}", expected=expected, remedy="fetch it again", path=str(self.path))


@dataclass(frozen=True)
class _Layout:
    """What .zarray says."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    dtype: np.dtype[Any] | None
    """None for text of any length."""
    compressor: str | None
    fill: Any
    """Stored nowhere, stands for chunks that are left out; None where they may not be."""
    separator: str

    @property
    def chunk_bytes(self) -> int:
        """Size of a decoded chunk [bytes]; an estimate for text."""
        return math.prod(self.chunks) * (self.dtype.itemsize if self.dtype is not None else 4)


class ZarrArray:
    """One array of a group. Holds the slab of chunks that was read last."""

    def __init__(self, group: ZarrZip, name: str, layout: _Layout, attributes: Mapping[str, Any]) -> None:
        self.name = name
        self.shape = layout.shape
        self.attributes = attributes
        self._group = group
        self._layout = layout
        self._slab: tuple[int, NDArray[Any]] | None = None

    @property
    def dtype(self) -> str:
        """NumPy name of the values, `object` for text of any length."""
        return "object" if self._layout.dtype is None else self._layout.dtype.newbyteorder("=").name

    def all(self) -> NDArray[Any]:
        """Read everything.

        Raises:
            SourceInvalid: a chunk is missing, damaged or of another size.
        """
        step = self._layout.chunks[0]
        slabs = [self._read_slab(i, may_fill=False) for i in range(-(-self.shape[0] // step))]
        return np.concatenate(slabs) if slabs else np.empty(self.shape)

    def row(self, index: int, *, may_fill: bool = False) -> NDArray[Any]:
        """Read what stands at one position of the first axis.

        Args:
            index: the position.
            may_fill: take chunks that are not there for the fill value, as Zarr has it; otherwise they are an error.

        Raises:
            SourceInvalid: a chunk is missing, damaged or of another size.
        """
        number, within = divmod(index, self._layout.chunks[0])
        if self._slab is None or self._slab[0] != number:
            self._slab = None  # gone before the next one is made
            self._slab = (number, self._read_slab(number, may_fill=may_fill))
        return self._slab[1][within].copy()

    def _read_slab(self, number: int, *, may_fill: bool) -> NDArray[Any]:
        """Read all chunks at one chunk position of the first axis."""
        start = number * self._layout.chunks[0]
        rows = min(self._layout.chunks[0], self.shape[0] - start)
        dtype = self._layout.dtype
        shape = (rows, *self.shape[1:])
        if math.prod(shape) * (4 if dtype is None else dtype.itemsize) > MAX_BYTES:
            raise self._group.invalid(f"has {self.name} in slabs of {shape}", f"{MAX_BYTES} bytes at most")
        slab: NDArray[Any] = np.empty(shape, object if dtype is None else dtype.newbyteorder("="))
        for position in self._positions():
            chunk = self._chunk((number, *position), may_fill=may_fill)
            steps = zip(position, self._layout.chunks[1:], strict=True)
            places = (slice(0, rows), *(slice(i * step, (i + 1) * step) for i, step in steps))
            target = slab[places]
            target[...] = chunk if np.ndim(chunk) == 0 else chunk[tuple(slice(0, n) for n in target.shape)]
        return slab

    def _positions(self) -> Iterator[tuple[int, ...]]:
        pairs = zip(self.shape[1:], self._layout.chunks[1:], strict=True)
        return product(*(range(-(-size // step)) for size, step in pairs))

    def _chunk(self, position: tuple[int, ...], *, may_fill: bool) -> NDArray[Any]:
        entry = f"{self.name}/{self._layout.separator.join(map(str, position))}"
        limit = MAX_TEXT_BYTES if self._layout.dtype is None else self._layout.chunk_bytes
        data = self._group.read(entry, limit + limit // 8 + 4096)  # what does not compress grows a little
        if data is None and (self._layout.fill is None or not may_fill):
            raise self._group.invalid(f"has no chunk {entry}", "all chunks")
        try:
            if data is None:
                self._group.require_names(self.name)
                return np.array(self._layout.fill, self._layout.dtype)
            return _decode(decompress(data, self._layout.compressor, limit), self._layout)
        except (ValueError, TypeError, OverflowError, RuntimeError, zlib.error, struct.error, IndexError) as error:
            raise self._group.invalid(f"has chunk {entry} that cannot be decoded ({error})", "whole chunks") from error


def _layout(group: ZarrZip, name: str, document: Mapping[str, Any]) -> _Layout:
    """Read .zarray; refuse what is not known here."""
    try:
        shape, chunks = (tuple(int(n) for n in document[key]) for key in ("shape", "chunks"))
        spelling, filters = document["dtype"], document.get("filters") or []
        compressor = None if document["compressor"] is None else str(document["compressor"]["id"])
        separator = document.get("dimension_separator", ".")
        is_text = spelling == "|O" and [f.get("id") for f in filters] == ["vlen-utf8"]
        is_known_type = isinstance(spelling, str) and _DTYPE.match(spelling) is not None
        known = (
            document["zarr_format"] == 2
            and document["order"] == "C"
            and separator in (".", "/")
            and compressor in COMPRESSORS
            and is_known_type
            and (is_text or (spelling != "|O" and not filters))
            and len(shape) == len(chunks) >= 1
            and min(shape) >= 0
            and min(chunks) >= 1
        )
        dtype = np.dtype(spelling) if is_known_type and not is_text else None
        layout = _Layout(shape, chunks, dtype, compressor, document.get("fill_value"), separator)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise group.invalid(f"has {name}/.zarray without sense ({error!r})", "Zarr v2 metadata") from error
    if not known or layout.chunk_bytes > MAX_BYTES:
        raise group.invalid(
            f"has {name} of type {spelling}, chunks {chunks}, order {document['order']}, compressor {compressor}, "
            f"filters {filters}",
            "fixed-size or vlen-utf8 values in C order; blosc, zstd, zlib, gzip or no compressor",
        )
    return layout


def _decode(data: bytes, layout: _Layout) -> NDArray[Any]:
    if layout.dtype is None:
        texts = np.empty(math.prod(layout.chunks), object)
        texts[:] = _texts(data, len(texts))
        return texts.reshape(layout.chunks)
    if len(data) != layout.chunk_bytes:
        raise ValueError(f"{len(data)} bytes, expected {layout.chunk_bytes}")
    return np.frombuffer(data, layout.dtype).reshape(layout.chunks)


def _texts(data: bytes, count: int) -> list[str]:
    """Decode vlen-utf8: the number of texts, then each with its length before it."""
    (found,) = struct.unpack_from("<I", data)
    if found != count:
        raise ValueError(f"{found} texts, expected {count}")
    texts: list[str] = []
    at = 4
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, at)
        if at + 4 + length > len(data):
            raise ValueError("a text that is cut short")
        texts.append(data[at + 4 : at + 4 + length].decode("utf-8"))
        at += 4 + length
    return texts
