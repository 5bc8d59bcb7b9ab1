# SPDX-License-Identifier: Apache-2.0
"""Files of weights that others wrote, opened without running anything that is in them.

A pickle is a program; torch's reader with `weights_only` runs none of it but what is on a list of harmless types. Two
kinds are added to its list: argparse.Namespace, in which published files keep the options of their run, and NumPy's
scalars. Everything else is refused by its name.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file

from ssl4eo.errors import CheckpointInvalid, DataMissing

_PAGE = re.compile(rb"\s*(<!doctype\s+html|<html|<head)", re.IGNORECASE)
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_NUMPY = (np.float16, np.float32, np.float64, np.int8, np.int16, np.int32, np.int64, np.uint8, np.bool_)


def _harmless() -> list[Any]:
    """List what files may hold beside tensors and plain values, under the names of old and new NumPy."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in _NUMPY]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [argparse.Namespace, np.dtype, *dtypes, *names]


def read_container(path: Path) -> dict[str, Any]:
    """Read a file of weights: the top level as it was saved; tensors of a zip file are mapped, not read.

    Args:
        path: torch's zip or old format, or safetensors.

    Raises:
        DataMissing: no such file.
        CheckpointInvalid: a web page, a file cut short, one that would run code, or no mapping at the top.
    """
    if not path.is_file():
        raise DataMissing(f"no file {path}", expected="a file of weights", path=str(path))
    with path.open("rb") as stream:
        start = stream.read(1024)
    if _PAGE.match(start):
        raise _refused(
            path,
            "is a web page",
            "weights",
            "the server sent a notice (Google Drive does when a file was fetched too often): remove it and fetch again "
            "later, or save the file with a browser",
        )
    content = _load_torch(path, start) if start.startswith((_ZIP, _PICKLE)) else _load_safetensors(path)
    if not isinstance(content, Mapping):
        raise _refused(path, f"holds a {type(content).__name__}", "a mapping of names", "save a state dict")
    return dict(content)


def _load_torch(path: Path, start: bytes) -> Any:
    is_zip = start.startswith(_ZIP)
    if is_zip and not zipfile.is_zipfile(path):  # its list of parts stands at the end
        raise _cut_short(path, "its list of parts is missing")
    try:
        with torch.serialization.safe_globals(_harmless()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; what cannot be read is refused below
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        name = _forbidden(path, str(error), is_zip=is_zip)
        if name is None:
            raise _cut_short(path, "its pickle is not one that torch writes, or is damaged") from error
        raise _refused(
            path,
            f"holds a Python object, {name}, whose code opening it would run",
            "tensors and plain values",
            "ask its author for a state dict; if you trust it, write one yourself where its code is installed",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise _cut_short(path, _short(error) or type(error).__name__) from error


def _forbidden(path: Path, message: str, *, is_zip: bool) -> str | None:
    """Name the object that was refused, None if something else was wrong."""
    found = re.search(r"GLOBAL ([\w.]+\.[\w.]+)", message)
    if found is not None:
        return found[1]
    if not is_zip:
        return None
    with torch.serialization.safe_globals(_harmless()):
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return names[0] if names else None


def _load_safetensors(path: Path) -> dict[str, Any]:
    try:
        return load_file(path)
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise _refused(
            path,
            f"is no file of weights ({_short(error)})",
            "torch's format or safetensors",
            "fetch it again; it may be cut short",
        ) from error


def _cut_short(path: Path, why: str) -> CheckpointInvalid:
    return _refused(path, f"cannot be read to its end ({why})", "a whole file", "it is cut short: fetch it again")


def _refused(path: Path, found: str, expected: str, remedy: str) -> CheckpointInvalid:
    return CheckpointInvalid(f"{path} {found}", expected=expected, remedy=remedy, path=str(path))


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
