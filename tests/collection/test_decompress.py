# SPDX-License-Identifier: Apache-2.0
"""Decompression within a limit: what compressors write comes back, what lies is refused before memory is taken."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import Blosc, GZip, Zlib, Zstd

from ssl4eo.collection.decompress import decompress, zstd_size

WRITERS = {
    "blosc": Blosc(cname="zstd", shuffle=Blosc.BITSHUFFLE),
    "zstd": Zstd(level=3),
    "zlib": Zlib(1),
    "gzip": GZip(1),
}
REFUSALS = (ValueError, RuntimeError, zlib.error, struct.error, IndexError)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("size", [1, 255, 256, 300, 65_791, 65_792, 300_000])
def test_what_a_compressor_writes_comes_back(name: str, size: int) -> None:
    """All classes of size fields, compressible and not."""
    for data in (bytes(size), np.random.default_rng(size).bytes(size)):
        packed = bytes(WRITERS[name].encode(data))

        assert decompress(packed, name, size) == data
        with pytest.raises(ValueError, match="at most"):
            decompress(packed, name, size - 1)


@pytest.mark.parametrize("name", WRITERS)
def test_every_truncation_is_refused(name: str) -> None:
    """Whatever the place it is cut at; a longer one too."""
    packed = bytes(WRITERS[name].encode(bytes(range(256)) * 4))

    for length in range(len(packed)):
        with pytest.raises(REFUSALS):
            decompress(packed[:length], name, 1024)
    if name != "zstd":
        with pytest.raises(REFUSALS):
            decompress(packed + b"x", name, 1024)


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=50)
@given(data=st.binary(max_size=100))
def test_random_bytes_are_refused(name: str, data: bytes) -> None:
    """With nothing but the errors that are told."""
    with pytest.raises(REFUSALS):
        decompress(data, name, 1024)


def test_a_small_file_cannot_ask_for_much_memory() -> None:
    """A gigabyte of zeros in a megabyte, and headers that promise it."""
    bomb = zlib.compress(bytes(10_000_000))
    blosc = bytearray(Blosc().encode(bytes(1000)))
    blosc[4:8] = struct.pack("<I", 2**31 - 17)

    for data, name in ((bomb, "zlib"), (bytes(blosc), "blosc")):
        with pytest.raises(ValueError, match="at most"):
            decompress(data, name, 1000)


def test_the_size_of_a_zstandard_frame_is_read_or_asked_for() -> None:
    """Worked by hand: one byte, two (plus 256), four; none is refused."""
    magic = b"\x28\xb5\x2f\xfd"

    assert zstd_size(magic + b"\x20\x07") == 7
    assert zstd_size(magic + b"\x60\x00\x01") == 512
    assert zstd_size(magic + b"\x80\x00" + struct.pack("<I", 70_000)) == 70_000
    with pytest.raises(ValueError, match="does not say"):
        zstd_size(magic + b"\x00\x00\x00")
    with pytest.raises(ValueError, match="no Zstandard"):
        zstd_size(b"hello")
