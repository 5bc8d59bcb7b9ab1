# SPDX-License-Identifier: Apache-2.0
"""Do other programs read from an archive what we read? Value by value, type and axes included.

A reader that is not installed is told as such and passes: its absence says nothing about the archive.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive import codecs
from ssl4eo.archive.arrays import ShardedArray
from ssl4eo.archive.conformance import Subject, refuse, require_equal

_Look = Callable[[Subject, str], Any]
"""Opens an array by its path below the archive; what comes out can be indexed by a tuple."""


def zarr_python(subject: Subject) -> str:
    """zarr-python reads the same values."""
    return _compare(subject, "zarr", _by_zarr)


def xarray(subject: Subject) -> str:
    """Xarray reads the same values, group by group, with the axes' names."""
    return _compare(subject, "xarray", _by_xarray)


def tensorstore(subject: Subject) -> str:
    """Tensorstore reads the same values."""
    return _compare(subject, "tensorstore", _by_tensorstore)


def _by_zarr(subject: Subject, array: str) -> Any:
    import zarr

    return zarr.open_array(subject.path / array, mode="r")


def _by_xarray(subject: Subject, array: str) -> Any:
    import xarray as xr

    group, _, name = array.rpartition("/")
    found = xr.open_zarr(subject.path, group=group, chunks=None, decode_times=False)[name]
    require_equal(f"the axes of {array}", list(found.dims), subject.document(f"{array}/zarr.json")["dimension_names"])
    return found


def _by_tensorstore(subject: Subject, array: str) -> Any:
    ts = importlib.import_module("tensorstore")
    place = str(subject.path / array) + "/"
    return ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": place}}, open=True).result()


def _compare(subject: Subject, package: str, look: _Look) -> str:
    try:
        version = importlib.import_module(package).__dict__.get("__version__", "")
    except ImportError:
        return f"{package} is not installed: nothing compared"
    number = 0
    for array in subject.layout.sharded:
        other = look(subject, array.path)
        for index, season in subject.chunks(array):
            _require_same(
                _values(other, array, index, season), subject.shards.read(array, index, season), array.path, index
            )
            number += 1
    for array in subject.layout.times.values():
        parts = [codecs.decode_chunk((subject.path / n).read_bytes(), array.chunk, "int64") for n in array.files]
        _require_times(look(subject, array.path), np.concatenate(parts)[: array.num_locations], array.path)
    return f"{number} chunks and all times, {package} {version}".rstrip()


def _values(other: Any, array: ShardedArray, index: int, season: int) -> NDArray[np.generic]:
    place = (index,) if array.num_seasons is None else (index, season)
    return np.asarray(other[place])


def _require_same(found: NDArray[np.generic], wanted: NDArray[np.generic], path: str, index: int) -> None:
    require_equal(f"the type of {path}", (found.dtype.name, found.shape), (wanted.dtype.name, wanted.shape))
    if found.tobytes() != wanted.tobytes():  # bytes, so that NaN equals itself
        raise refuse(f"{path} of location number {index} has other values")


def _require_times(found: Any, wanted: NDArray[np.generic], path: str) -> None:
    values = np.asarray(found[...])
    # xarray turns an integer array with a fill value into floats where times are not decoded
    known = wanted != np.iinfo(np.int64).min
    require_equal(f"the shape of {path}", values.shape, wanted.shape)
    if not np.array_equal(values[known].astype(np.int64), wanted[known]):
        raise refuse(f"{path} has other values")


CHECKS: tuple[Callable[[Subject], str], ...] = (zarr_python, xarray, tensorstore)
