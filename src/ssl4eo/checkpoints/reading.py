# SPDX-License-Identifier: Apache-2.0
"""Files of weights that others wrote, opened without running anything that is in them.

A pickle is a program; torch's reader with `weights_only` runs none of it but what is on a list of harmless types. Two
kinds are added to its list: argparse.Namespace, in which published files keep the options of their run, and NumPy's
scalars. Everything else is refused by its name.
"""

from __future__ import annotations

import argparse
import pickle
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from ssl4eo.checkpoints.checksums import damaged_file, has_checksums
from ssl4eo.checkpoints.formats import START, cut_from_safetensors, is_safetensors, notice_in
from ssl4eo.checkpoints.pickles import asked_for
from ssl4eo.errors import CheckpointInvalid, DataMissing

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_NUMPY = (np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_)


def _harmless() -> list[Any]:
    """List what files may hold beside tensors and plain values, under the names of old and new NumPy."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in _NUMPY]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [argparse.Namespace, np.dtype, *dtypes, *names]


READ_WHOLE = 128 << 20
"""Largest file that is read and not mapped [bytes]: reading it costs less than copying what is wanted of it."""


def read_container(path: Path) -> dict[str, Any]:
    """Read a file of weights: the top level as it was saved; tensors of a large zip file are mapped.

    Args:
        path: torch's zip or old format, or safetensors.

    Raises:
        DataMissing: no such file.
        CheckpointInvalid: a web page or another notice, a file cut short, one that would run code, no mapping at the
            top; a zip whose pickle fails its CRC-32 (`checksums.require_intact` judges its tensors).
    """
    if not path.is_file():
        raise DataMissing(f"no file {path}", expected="a file of weights", path=str(path))
    if path.suffix.lower() == ".onnx":
        raise _refused(
            path,
            "is a graph for onnxruntime",
            "weights",
            "run it with onnxruntime, or load what it was exported from",
        )
    with path.open("rb") as stream:
        start = stream.read(START)
    if is_safetensors(start):  # first: the length that it begins with may look like a pickle
        return _load_safetensors(path)
    refuse_notice(path, start)
    if not start.startswith((_ZIP, _PICKLE)):
        raise _refused(
            path,
            f"is no file of weights (it begins with {start[:8]!r})" if start else "is empty",
            "torch's format or safetensors",
            "fetch it again; it may be cut short",
        )
    content = _load_torch(path, start)
    if not isinstance(content, Mapping):
        raise _refused(path, f"holds a {type(content).__name__}", "a mapping of names", "save a state dict")
    return dict(content)


def is_read_whole(path: Path) -> bool:
    """Say whether `read_container` reads the tensors of a file into memory of their own, and maps none.

    A tensor that is mapped must be copied before it is kept: the process dies when the file is cut short.
    """
    with path.open("rb") as stream:
        start = stream.read(START)
    return not is_safetensors(start) and path.stat().st_size <= READ_WHOLE


def refuse_notice(path: Path, start: bytes) -> None:
    """Raise if a file is what a server or a tool left in its place.

    Args:
        path: of the file.
        start: its first bytes.

    Raises:
        CheckpointInvalid: a web page, a message in XML or JSON, a pointer of Git LFS.
    """
    notice = notice_in(start)
    if notice is not None:
        raise _refused(path, notice.found, "weights", notice.remedy)


def tensors_in(container: Mapping[str, Any], prefix: str = "", depth: int = 3) -> dict[str, Tensor]:
    """Find tensors a few levels down, the optimizer's apart."""
    found: dict[str, Tensor] = {}
    for key, value in container.items():
        if isinstance(value, Tensor):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, Mapping) and depth and key != "optimizer":
            found |= tensors_in(value, f"{prefix}{key}.", depth - 1)
    return found


def _load_torch(path: Path, start: bytes) -> Any:
    as_is = start.startswith(_ZIP) and _as_is(path)
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what cannot be read is refused below
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=as_is and path.stat().st_size > READ_WHOLE
            )
    except Exception as error:  # damaged bytes may make its reader raise anything
        raise _unreadable(path, error) from error


def _as_is(path: Path) -> bool:
    """Look at the parts of a zip; says whether they are stored as they are, so that tensors can be mapped.

    Raises:
        CheckpointInvalid: no zip of torch's, one cut short, or one whose pickle is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            names = [part.filename for part in parts]
            pickled = next((name for name in names if name.endswith("data.pkl")), None)
            if pickled is None or any(name.endswith("constants.pkl") for name in names):
                raise _refused(
                    path,
                    "is a TorchScript program" if pickled else f"is a zip file of {', '.join(names[:3]) or 'nothing'}",
                    "weights as torch.save writes them",
                    "save the state dict of what is in it",
                )
            if has_checksums(parts):
                archive.read(pickled)
            return all(part.compress_type == zipfile.ZIP_STORED for part in parts)
    except zipfile.BadZipFile as error:
        if "CRC" in str(error):
            raise damaged_file(path, ["its list of tensors"]) from error
        raise _cut_short(path, "its list of parts is missing") from error  # it stands at the end
    except (OSError, EOFError, ValueError, NotImplementedError, zlib.error) as error:
        raise _cut_short(path, _short(error)) from error


def _unreadable(path: Path, error: Exception) -> CheckpointInvalid:
    """Say why torch could not read a file."""
    asked = asked_for(path)
    name = asked.strange(str(error))
    if name is not None:
        return _refused(
            path,
            f"holds a Python object, {name}, whose code opening it would run",
            "tensors and plain values",
            "ask its author for a state dict; if you trust it, write one yourself where its code is installed",
        )
    if asked.whole and (isinstance(error, pickle.UnpicklingError) or not asked.of_torch):
        return _refused(
            path,
            f"is a pickle (protocol {asked.protocol}) that torch did not write",
            "torch's format or safetensors",
            "write its state dict with torch.save; if it should be torch's, it is damaged: fetch it again",
        )
    return _cut_short(path, "its pickle does not end" if not asked.whole else _short(error) or type(error).__name__)


def _load_safetensors(path: Path) -> dict[str, Any]:
    cut = cut_from_safetensors(path)
    if cut:
        raise _cut_short(path, f"there are {cut}")
    try:
        return load_file(path)
    except (safetensors.SafetensorError, ValueError, OSError, KeyError) as error:
        raise _refused(
            path,
            f"is no safetensors file that can be read ({_short(error)})",
            "a whole one",
            "it is damaged: fetch it again",
        ) from error


def _cut_short(path: Path, why: str) -> CheckpointInvalid:
    return _refused(path, f"cannot be read to its end ({why})", "a whole file", "it is cut short: fetch it again")


def _refused(path: Path, found: str, expected: str, remedy: str) -> CheckpointInvalid:
    return CheckpointInvalid(f"{path} {found}", expected=expected, remedy=remedy, path=str(path))


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
