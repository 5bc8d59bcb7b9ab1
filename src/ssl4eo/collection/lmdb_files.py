# SPDX-License-Identifier: Apache-2.0
"""The LMDB files of the reference as a source: all variants that its writer makes, one or three modalities.

An entry is a pickled tuple of bytes and shapes, which `plain_pickle` takes apart without running it; all bands lie on
one 10 m grid. The type follows from the sizes, but bytes do not say by which 8-bit rule they were made: the published
one is taken unless `rule` says otherwise, and is told in the provenance. Where an entry lies on Earth and when it was
seen is not in the file. A damaged B-tree is LMDB's own affair; only files cut short are caught here.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.plain_pickle import Plain, read_plain
from ssl4eo.collection.source import Provenance
from ssl4eo.errors import ConfigInvalid, LocationMissing, SourceInvalid, unknown_name
from ssl4eo.form import Form
from ssl4eo.grid import BASE_RESOLUTION
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import MODALITIES, modality

log = logging.getLogger(__name__)

RULES = ("uint8_10k_wrapped", "uint8_sigma2:published_50k")
"""8-bit rules of Sentinel-2 in these files: as published, and as the reference writes with --normalize."""
SIGMA2 = "uint8_sigma2:published_50k"
"""8-bit rule of Sentinel-1 in these files."""

_KEY = re.compile(rb"(?:0|[1-9][0-9]{0,17})\Z")
_SINGLE = {2: "S1GRD", 12: "S2L2A", 13: "S2L1C"}
_TRIPLE = ("S1GRD", "S2L2A", "S2L1C")
"""Order in an entry of three modalities."""
_CHANNELS = {name: count for count, name in _SINGLE.items()}
_DTYPES = {("dB", 1): "uint8", ("dB", 4): "float32", ("DN", 1): "uint8", ("DN", 2): "uint16"}
"""By unit and bytes a value. int16 in the reference is uint16 cast: the bits are the same."""

Result = TypeVar("Result")


def is_lmdb(path: Path) -> bool:
    """Say whether a path is named like an LMDB: a folder with data.mdb, or a file *.lmdb or *.mdb."""
    return (path / "data.mdb").is_file() or (path.is_file() and path.suffix in (".lmdb", ".mdb"))


@dataclass(frozen=True, eq=False)
class _Part:
    """One modality of an entry: a view of its bytes."""

    modality: str
    data: memoryview
    shape: tuple[int, int, int, int]
    """(season, band, y, x)."""
    dtype: str


class LmdbFile:
    """The entries of an LMDB of the reference, in order of their number.

    Args:
        path: the folder that holds data.mdb, or the file.
        rule: 8-bit rule of Sentinel-2 values, one of RULES; None for the published one.
        modalities: those to read, None for all there are.

    Raises:
        SourceInvalid: it cannot be opened, is empty, or its first entry is not what the reference writes.
        UnknownName: a rule or modality that it cannot have.
        ConfigInvalid: a rule for values that are not 8-bit Sentinel-2.
    """

    def __init__(self, path: Path | str, *, rule: str | None = None, modalities: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        if rule is not None and rule not in RULES:
            raise unknown_name("8-bit rule of these files", rule, RULES)
        first = self._run(_first)
        if first is None:
            raise self._invalid("no entry", "one or more")
        key, entry = first
        parts = self._explain(key, lambda: [(p.modality, p.shape, p.dtype) for p in _parts(entry)])
        present = [name for name, _, _ in parts]
        for name in modalities or ():
            if name not in present:
                raise unknown_name("modality of this LMDB", name, present)
        chosen = present if modalities is None else modalities
        self._rule = rule or RULES[0]
        forms = {name: self._form(name, dtype) for name, _, dtype in parts if name in chosen}
        self.forms = tuple(forms[name] for name in MODALITIES if name in forms)
        self._is_ambiguous = any(f.dtype == "uint8" and modality(f.modality).unit == "DN" for f in self.forms)
        if not self.forms or (rule is not None and not self._is_ambiguous):
            what = "no modality to read" if not self.forms else f"rule {rule} for values that are not 8-bit Sentinel-2"
            raise ConfigInvalid(f"{what} ({self.path})", expected="options that fit the file")
        (_, (self.num_seasons, _, height, width), _), *_ = parts
        self.shape = (height, width)
        if self._is_ambiguous:
            log.info("%s: 8-bit Sentinel-2 values are taken as made by %s", self.path, self._rule)

    def _form(self, name: str, dtype: str) -> Form:
        scaling = "none" if dtype != "uint8" else SIGMA2 if modality(name).unit == "dB" else self._rule
        return Form.gridded(name, resolution=BASE_RESOLUTION, dtype=dtype, scaling=scaling)

    @property
    def masks(self) -> Mapping[str, bool]:
        """None."""
        return {}

    @property
    def provenance(self) -> Provenance:
        """Where the pixels come from, as far as the file tells."""
        details: dict[str, str | int | float | bool] = {
            "root": self.path.absolute().name,
            "entries": "the reference draws them with replacement and keeps no ids: some may be there several times, "
            "and their places and dates are unknown",
        }
        if self._is_ambiguous:
            details["rule"] = f"{self._rule}, taken as such: the file does not tell"
        return Provenance(
            title="LMDB of SSL4EO-S12 v1",
            synthetic=False,
            licence="that of the source: CC-BY-4.0 for SSL4EO-S12 as published; contains Copernicus Sentinel data",
            details=details,
        )

    @cached_property
    def _keys(self) -> dict[str, bytes]:
        keys = self._run(_all_keys)
        odd = [key for key in keys if not _KEY.match(key)]
        if odd:
            raise self._invalid(f"key {bytes(odd[0][:40])!r}", "decimal numbers without leading zeros")
        return {f"{number:07d}": str(number).encode() for number in sorted(int(key) for key in keys)}

    def ids(self) -> Sequence[str]:
        """List the numbers of the entries, ascending, as 7 digits."""
        return list(self._keys)

    def read(self, location: str) -> Sample:
        """Read one entry.

        Raises:
            LocationMissing: there is no such entry.
            SourceInvalid: it is not what the reference writes, or of another kind than the first one.
        """
        key = self._keys.get(location)
        if key is None:
            raise LocationMissing(
                f"{self.path} has no entry {location}", expected="an id out of ids()", location=location
            )
        images = self._run(lambda cursor: self._images(cursor, key))
        return Sample(Location(location), images, labels={"lmdb_key": key.decode()})

    def _images(self, cursor: Any, key: bytes) -> dict[str, tuple[Image, ...]]:
        """Copy the pixels of an entry out of the file while it is mapped."""
        entry = cursor.get(key)
        if entry is None:
            raise self._invalid(f"no entry {key.decode()}", "that of its key")
        parts = {part.modality: part for part in self._explain(key, lambda: _parts(entry))}
        images: dict[str, tuple[Image, ...]] = {}
        for form in self.forms:
            part = parts.get(form.modality)
            wanted = (self.num_seasons, len(form.bands), *self.shape)
            if part is None or part.shape != wanted or part.dtype != form.dtype:
                found = "no " + form.modality if part is None else f"{form.modality} {part.dtype} {part.shape}"
                raise self._invalid(f"entry {key.decode()} with {found}", f"{form.dtype} {wanted}, as the first entry")
            pixels = _pixels(part)
            images[form.modality] = tuple(Image(form.modality, {form.base: p}, kept=form) for p in pixels)
        return images

    def _run(self, action: Callable[[Any], Result]) -> Result:
        """Do something with a cursor over the file; what the reader finds wrong with it is told with its path."""
        try:
            file = self.path / "data.mdb" if self.path.is_dir() else self.path
            environment = _environment(file.absolute(), os.getpid())
            with environment.begin(buffers=True) as transaction, transaction.cursor() as cursor:
                return action(cursor)
        except lmdb.Error as error:
            raise self._invalid(f"LMDB data that cannot be read ({error})", "a whole LMDB") from error

    def _explain(self, key: bytes, action: Callable[[], Result]) -> Result:
        """Do something with an entry; add to errors which one it was."""
        try:
            return action()
        except SourceInvalid as error:
            found = f"entry {key.decode(errors='replace')} of {self.path} holds {error.found}"
            raise SourceInvalid(found, expected=error.expected, remedy=error.remedy, **error.where) from error

    def _invalid(self, found: str, expected: str) -> SourceInvalid:
        return SourceInvalid(f"{self.path} holds {found}", expected=expected, remedy="fetch it again, or rebuild it")


@functools.lru_cache(maxsize=4)
def _environment(file: Path, process: int) -> lmdb.Environment:
    """Open an LMDB; LMDB allows one environment a file and process."""
    assert process == os.getpid(), "environments do not survive a fork"
    environment = lmdb.open(str(file), subdir=False, readonly=True, lock=False, create=False)
    needed, size = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"], file.stat().st_size
    if size < needed:  # reading past the end of a mapped file would kill the process
        environment.close()
        raise SourceInvalid(
            f"{file} has {size} bytes",
            expected=f"{needed}, as its header says",
            remedy="fetch it again",
            path=str(file),
        )
    return environment


def _first(cursor: Any) -> tuple[bytes, bytes] | None:
    return (bytes(cursor.key()), bytes(cursor.value())) if cursor.first() else None


def _all_keys(cursor: Any) -> list[bytes]:
    return [bytes(key) for key in cursor.iternext(keys=True, values=False)]


def _parts(entry: memoryview | bytes) -> list[_Part]:
    """Take an entry apart.

    Raises:
        SourceInvalid: it is not what the reference writes.
    """
    values = read_plain(entry)
    pairs = list(zip(values[::2], values[1::2], strict=False))
    if len(values) not in (2, 6):
        raise SourceInvalid(f"a tuple of {len(values)}", expected="(bytes, shape), or that of s1, s2a and s2c in turn")
    parts = [_part(data, shape, None if len(values) == 2 else _TRIPLE[i]) for i, (data, shape) in enumerate(pairs)]
    if len({(p.shape[0], *p.shape[2:]) for p in parts}) != 1:
        raise SourceInvalid(f"shapes {[p.shape for p in parts]}", expected="the same seasons and sizes in all")
    return parts


def _part(data: Plain, shape: Plain, wanted: str | None) -> _Part:
    if not isinstance(data, memoryview) or not isinstance(shape, tuple):
        raise SourceInvalid("other things than bytes and a shape", expected="bytes, then a shape")
    sizes = [size for size in shape if isinstance(size, int) and 0 < size < 2**24]
    name = _SINGLE.get(sizes[1]) if len(shape) == len(sizes) == 4 else None
    if name is None or wanted not in (None, name):
        channels = "2, 12 or 13" if wanted is None else f"{_CHANNELS[wanted]}"
        raise SourceInvalid(f"shape {shape!r}", expected=f"(seasons, {channels}, height, width)")
    itemsize, rest = divmod(len(data), math.prod(sizes))
    dtype = _DTYPES.get((modality(name).unit, itemsize))
    if rest or dtype is None:
        raise SourceInvalid(
            f"{len(data)} bytes for {name} of shape {tuple(sizes)}",
            expected=f"1 or {4 if name == 'S1GRD' else 2} bytes a value",
        )
    seasons, bands, height, width = sizes
    return _Part(name, data, (seasons, bands, height, width), dtype)


def _pixels(part: _Part) -> NDArray[np.generic]:
    """Copy the pixels (season, band, y, x) of a part."""
    stored = np.dtype(part.dtype).newbyteorder("<")
    return np.frombuffer(part.data, stored).reshape(part.shape).astype(part.dtype, copy=True)
