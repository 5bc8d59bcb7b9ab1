# SPDX-License-Identifier: Apache-2.0
"""shards.json: what makes each shard file the one that it is, so that two that were swapped are found.

Checksums inside of a shard tell whether it is whole, not whether it is in its place. A shard's identity is its size,
the crc32c of its index, and the SHA-256 over that index and the crc32c of all its chunks: it covers every byte, yet
costs a few bytes a chunk to read. Only verify reads the list: opening an archive does not depend on its length.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive import codecs
from ssl4eo.archive.layout import SHARDS
from ssl4eo.files import write_json


@dataclass(frozen=True)
class Identity:
    """What makes a shard file the one that it is."""

    size: int
    """[bytes]."""
    index: str
    """crc32c of the index, as it ends the file; 8 hexadecimal digits of its bytes."""
    sha256: str
    """Over the index with its crc32c, then the crc32c of each chunk in order of their places."""


def identify(fd: int, slots: int) -> Identity:
    """Give the identity of an open shard whose index is whole.

    Raises:
        ShardCorrupt: the index is damaged, or a chunk lies outside of the file.
        OSError: the file cannot be read.
    """
    return identity_of(fd, codecs.read_index(fd, slots))


def identity_of(fd: int, index: NDArray[np.uint64]) -> Identity:
    """Give the identity of an open shard with its index as read.

    Raises:
        ShardCorrupt: a chunk lies outside of the file.
        OSError: the file cannot be read.
    """
    seen = hashlib.sha256(codecs.seal(index.tobytes()))
    for slot in np.flatnonzero(index[:, 0] != codecs.EMPTY).tolist():
        seen.update(codecs.read_seal(fd, index, slot))
    return Identity(os.fstat(fd).st_size, index_seal(index), seen.hexdigest())


def index_seal(index: NDArray[np.uint64]) -> str:
    """Give the crc32c of an index as `Identity.index` has it."""
    return codecs.seal(index.tobytes())[-codecs.CRC_BYTES :].hex()


def write(archive: Path, shards: Mapping[str, Mapping[str, Any]]) -> None:
    """Write shards.json: by path of each shard file below the archive the fields of its identity."""
    write_json(archive / SHARDS, {name: dict(shards[name]) for name in sorted(shards)})


def load(archive: Path) -> dict[str, Identity]:
    """Read shards.json; its checksum is the caller's matter.

    Raises:
        OSError, ValueError, TypeError: it cannot be read or holds something else.
    """
    rows = json.loads((archive / SHARDS).read_text(encoding="utf-8"))
    if not isinstance(rows, dict):
        raise TypeError(f"{SHARDS} holds a {type(rows).__name__}")
    return {str(name): Identity(**row) for name, row in rows.items()}
