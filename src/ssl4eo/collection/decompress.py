# SPDX-License-Identifier: Apache-2.0
"""Compressed bytes of foreign files, decompressed within a limit that is known beforehand.

The libraries take the size from the data and some read as far as the data says: what they are told is checked first.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

from numcodecs import blosc, zstd  # pyright: ignore[reportAttributeAccessIssue]  # compiled modules

_BLOSC_HEADER = struct.Struct("<BBBBIII")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def decompress(data: bytes, compressor: str | None, limit: int) -> bytes:
    """Decompress a chunk by the name of its compressor.

    Raises:
        ValueError, RuntimeError, zlib.error, struct.error, IndexError: it is damaged, or would give more than `limit`
            bytes.
    """
    return COMPRESSORS[compressor](data, limit)


def _from_none(data: bytes, limit: int) -> bytes:
    _require_size(len(data), limit)
    return data


def _from_blosc(data: bytes, limit: int) -> bytes:
    """Decompress a Blosc buffer whose header tells the truth about its length: the library reads as far as it says."""
    *_, unpacked, _block, packed = _BLOSC_HEADER.unpack_from(data)
    if packed != len(data):
        raise ValueError(f"{len(data)} bytes of Blosc data that says {packed}")
    _require_size(unpacked, limit)
    return bytes(blosc.decompress(data)) if unpacked else b""


def _from_zstd(data: bytes, limit: int) -> bytes:
    _require_size(zstd_size(data), limit)
    return bytes(zstd.decompress(data))


def zstd_size(data: bytes) -> int:
    """Give the decompressed size that a Zstandard frame says [bytes]. Source: RFC 8878, section 3.1.1.1.

    Raises:
        ValueError: it is no such frame or does not say.
        IndexError: it is cut short.
    """
    if data[:4] != _ZSTD_MAGIC:
        raise ValueError("no Zstandard frame")
    flags = data[4]
    is_single = bool(flags & 0x20)
    width = (1 if is_single else 0, 2, 4, 8)[flags >> 6]
    start = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[flags & 3]
    field = data[start : start + width]
    if not width or len(field) != width:
        raise ValueError("a Zstandard frame that does not say its size")
    return int.from_bytes(field, "little") + (256 if width == 2 else 0)


def _from_zlib(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj(wbits=47)  # 15 bits of window; zlib and gzip are told apart by their headers
    out = stream.decompress(data, limit + 1)
    _require_size(len(out), limit)
    if not stream.eof or stream.unused_data:
        raise ValueError("zlib data that is cut short or goes on")
    return out


def _require_size(size: int, limit: int) -> None:
    if size > limit:
        raise ValueError(f"{size} bytes, expected {limit} at most")


COMPRESSORS: Mapping[str | None, Callable[[bytes, int], bytes]] = {
    None: _from_none,
    "blosc": _from_blosc,
    "zstd": _from_zstd,
    "zlib": _from_zlib,
    "gzip": _from_zlib,
}
"""Those that are known, by their names in Zarr v2 metadata."""
