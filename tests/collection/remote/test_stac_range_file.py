# SPDX-License-Identifier: Apache-2.0
"""A remote file gives the bytes that are there, with few requests, and keeps what went wrong."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from ssl4eo.collection.remote.stac.range_file import BLOCK, GAP, HEAD, RangeFile
from ssl4eo.collection.remote.stac.store import Asset, Piece
from ssl4eo.errors import ServiceFailed, SourceInvalid

DATA = np.random.default_rng(0).bytes(5_000_000)
ASSET = Asset("product", "B02", "https://there/B02.tif", "collection")


class Memory:
    """A store of one file that lists what it was asked for."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []
        self.error: Exception | None = None

    def fetch(self, asset: Asset, first: int, size: int) -> Piece:
        """Give a range."""
        self.asked.append((first, size))
        if self.error is not None:
            raise self.error
        return Piece(self.data[first : first + size], len(self.data), "etag")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Have threads for ranges."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


def make(store: Memory, pool: ThreadPoolExecutor) -> RangeFile:
    """Open a file of a store."""
    return RangeFile(store, ASSET, pool)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
def test_any_sequence_of_reads_gives_the_bytes_of_the_file(pool: ThreadPoolExecutor, seed: int) -> None:
    """Seeks from all three origins, reads, several ranges at once; a file in memory is the oracle."""
    rng = np.random.default_rng(seed)
    size = int(rng.choice([10, HEAD, HEAD + 1, 200_000, len(DATA)]))
    store = Memory(DATA[:size])
    file, oracle = make(store, pool), io.BytesIO(DATA[:size])
    for _ in range(60):
        kind = rng.integers(0, 4)
        at = int(rng.integers(0, size + 20))
        if kind == 0:
            assert file.seek(at) == oracle.seek(at)
        elif kind == 1:
            back = -int(rng.integers(0, size + 1))
            assert file.seek(back, io.SEEK_END) == oracle.seek(back, io.SEEK_END)
        elif kind == 2:
            starts = sorted({int(v) for v in rng.integers(0, size, 4)})
            sizes = [min(int(rng.integers(1, 70_000)), size - start) for start in starts]
            parts = file.get_byte_ranges(starts, sizes)
            assert parts == [DATA[a : a + n] for a, n in zip(starts, sizes, strict=True)]
        else:
            most = int(rng.integers(0, 70_000))
            assert file.read(most) == oracle.read(most)
        assert file.tell() == oracle.tell()
    assert file.error is None
    assert file.num_requests == len(store.asked)


def test_the_header_costs_one_request(pool: ThreadPoolExecutor) -> None:
    """Small reads of what is here ask for nothing."""
    store = Memory()
    file = make(store, pool)

    for at in range(0, HEAD, 997):
        file.seek(at)
        file.read(4)

    assert store.asked == [(0, HEAD)]


def test_near_ranges_are_merged_and_far_ones_are_not(pool: ThreadPoolExecutor) -> None:
    """What lies less than the gap apart is one request."""
    store = Memory()
    file = make(store, pool)

    file.get_byte_ranges([1_000_000, 1_000_000 + 5000 + GAP, 3_000_000], [5000, 5000, 5000])

    assert sorted(store.asked[1:]) == [(1_000_000, 10_000 + GAP), (3_000_000, 5000)]


def test_reading_on_fetches_more_each_time(pool: ThreadPoolExecutor) -> None:
    """A megabyte in sequence by 4 KB takes few requests."""
    store = Memory()
    file = make(store, pool)
    file.seek(1_000_000)

    data = b"".join(file.read(4096) for _ in range(256))

    assert data == DATA[1_000_000 : 1_000_000 + (1 << 20)]
    assert len(store.asked) <= 9
    assert store.asked[1] == (1_000_000, BLOCK)


def test_the_first_error_is_kept_and_nothing_more_is_asked(pool: ThreadPoolExecutor) -> None:
    """GDAL sees an end of the file; who reads sees the reason."""
    store = Memory()
    file = make(store, pool)
    store.error = ServiceFailed("gone fishing", expected="bytes")
    file.seek(1_000_000)

    assert file.read(10) == b""
    assert file.get_byte_ranges([2_000_000], [3]) == [b"\0\0\0"]

    assert len(store.asked) == 2
    with pytest.raises(ServiceFailed, match="gone fishing"):
        file.raise_error()


def test_an_error_of_ours_is_no_end_of_the_file(pool: ThreadPoolExecutor) -> None:
    """Anything unexpected becomes an error that is told, as rasterio drops what is raised."""
    store = Memory()
    file = make(store, pool)
    store.error = ZeroDivisionError("bug")
    file.seek(1_000_000)

    assert file.read(10) == b""

    with pytest.raises(ServiceFailed, match="bug"):
        file.raise_error()


@pytest.mark.parametrize("change", [{"total": 7}, {"etag": "other"}])
def test_a_file_that_changes_is_refused(pool: ThreadPoolExecutor, change: dict[str, Any]) -> None:
    """By its size or its ETag."""
    store = Memory()
    file = make(store, pool)
    fetch = store.fetch

    def other(asset: Asset, first: int, size: int) -> Piece:
        piece = fetch(asset, first, size)
        return Piece(**{**vars(piece), **change})

    store.fetch = other  # type: ignore[method-assign]
    file.seek(1_000_000)
    file.read(10)

    with pytest.raises(SourceInvalid, match="changed while it was read"):
        file.raise_error()


def test_misses_while_opening_are_noted_and_not_fetched(pool: ThreadPoolExecutor) -> None:
    """Nobody waits for a network while the lock of opening is held."""
    store = Memory()
    file = make(store, pool)
    file.is_opening = True
    file.seek(500_000)

    assert file.read(100) == b""
    assert (file.missed, file.error, len(store.asked)) == ((500_000, 500_100), None, 1)
    file.is_opening = False
    file.fetch_missed()
    file.seek(500_000)

    assert file.read(100) == DATA[500_000:500_100]
    assert len(store.asked) == 2
