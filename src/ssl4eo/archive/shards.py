# SPDX-License-Identifier: Apache-2.0
"""The hot path: from a place in an array to decoded pixels, with few open files and no shared state.

Reads go by pread, so a forked process may go on with its parent's open files; a file closes when the last thread
that reads from it lets go, not when the cache does.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive import codecs
from ssl4eo.archive.arrays import ShardedArray

OPEN_SHARDS = 256
"""Shards whose file and index are kept at hand; the least recently used goes first."""


class _Shard:
    """An open shard file and its index."""

    def __init__(self, path: Path, slots: int) -> None:
        self.fd = -1  # what __del__ sees when opening fails
        self.fd = os.open(path, os.O_RDONLY)
        self.index = codecs.read_index(self.fd, slots)

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Shards:
    """The shard files of an archive, opened when first read from."""

    def __init__(self, archive: Path) -> None:
        def open_shard(file: str, slots: int) -> _Shard:
            return _Shard(archive / file, slots)

        self._open = lru_cache(maxsize=OPEN_SHARDS)(open_shard)

    def read(self, array: ShardedArray, index: int, season: int) -> NDArray[np.generic]:
        """Read, check and decode one chunk.

        Raises:
            ShardCorrupt: its bytes are missing or fail their checksum.
            OSError: the file is missing or cannot be read.
        """
        number, slot = array.place(index, season)
        shard = self._open(array.file(number), array.slots)
        return codecs.decode_chunk(codecs.read_chunk(shard.fd, shard.index, slot), array.chunk, array.dtype)
