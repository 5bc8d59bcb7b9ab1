# SPDX-License-Identifier: Apache-2.0
"""Whether weights are the bytes that were written: torch's zip files hold a CRC-32 of each part, which torch ignores.

Its old format and safetensors hold none, nor do files written under `torch.serialization.set_crc32_options(False)`.
A look at every byte of a network takes about half as long again as loading it, so `load_backbone` leaves it out; a run
that begins with a file, and whoever looks into one, does not.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ssl4eo.errors import CheckpointInvalid


def require_intact(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise unless tensors that torch read from a file are what was written there.

    Args:
        path: of the file; one without checksums passes.
        tensors: as they were read, by name: no copies, no casts.

    Raises:
        CheckpointInvalid: a part fails its CRC-32.
    """
    known = _written(path)
    if not known:
        return
    damaged: list[str] = []
    judged: dict[int, bool] = {}  # by where it lies: tensors may share a part
    for name, tensor in tensors.items():
        if tensor.is_meta or tensor.layout != torch.strided:
            continue
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place not in judged:
            content = cast("Any", torch.empty(0, dtype=torch.uint8).set_(storage).numpy())
            # Which part it was torch does not tell: the sum has to be that of one of this length.
            judged[place] = (content.nbytes, zlib.crc32(content)) in known
        if not judged[place]:
            damaged.append(name)
    if damaged:
        raise damaged_file(path, damaged)


def damaged_file(path: Path, names: Iterable[str]) -> CheckpointInvalid:
    """Make the error for parts of a file that fail their CRC-32."""
    rows = list(names)
    return CheckpointInvalid(
        f"{path}: {len(rows)} parts are not what was written ({', '.join(rows[:3])}{', ...' if len(rows) > 3 else ''})",
        expected="bytes of the CRC-32 that the file says",
        remedy="it was damaged on its way or on the disk: fetch or copy it again",
        path=str(path),
    )


def _written(path: Path) -> set[tuple[int, int]]:
    """List length and CRC-32 of the parts that hold tensors; empty where there are none, or none that can be used."""
    if not zipfile.is_zipfile(path):
        return set()
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if not has_checksums(parts) or not _of_this_order(archive, parts):
            return set()
    return {(part.file_size, part.CRC) for part in parts} | {(0, 0)}


def has_checksums(parts: Iterable[zipfile.ZipInfo]) -> bool:
    """Say whether a zip's list of parts has checksums; torch writes zeros where it was told to compute none."""
    return any(part.CRC for part in parts)


def _of_this_order(archive: zipfile.ZipFile, parts: Iterable[zipfile.ZipInfo]) -> bool:
    """Say whether numbers were written by a machine of this byte order; of another, torch turns them round."""
    note = next((part for part in parts if part.filename.endswith("/byteorder")), None)
    return note is None or archive.read(note).decode("ascii", "replace") == sys.byteorder
