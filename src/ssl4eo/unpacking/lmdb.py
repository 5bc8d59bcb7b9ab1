# SPDX-License-Identifier: Apache-2.0
"""An LMDB that the reference's loader reads: key str(i), value a pickled tuple of bytes and shape.

`<out>` is the database's folder, with ids.csv beside: every location once, in order, unlike the reference's writer,
which draws with replacement and keeps no ids. All bands lie on the finest grid, upsampled as the reference does, so
it is larger than the archive. A unit is one transaction: a killed run goes on at the entry count.
"""

from __future__ import annotations

import contextlib
import csv
import os
import pickle  # written, never read
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.eightbit import require_rule
from ssl4eo.errors import ConfigInvalid, DataMissing, SourceInvalid, WriteFailed
from ssl4eo.files import write_text
from ssl4eo.sample import Image
from ssl4eo.sensors import modality
from ssl4eo.unpacking.values import in_band_order, rule_of, rules_of, to_eight_bits, upsample_exact, without_offset
from ssl4eo.unpacking.work import BROKEN, Errors, Made, Place, Plan, Sink, Unit

THREE = ("S1GRD", "S2L2A", "S2L1C")
"""The only several modalities that the reference's loader knows, in its order."""

IDS = "ids.csv"
_PAGE = 4096


@dataclass(frozen=True)
class Lmdb:
    """Writes the database."""

    rule: str | None = None
    """8-bit rule, `none` for int16 (float32 for decibels); None for the usual one: uint8_10k of one modality, `none`
    of three, where the reference's loader takes nothing else."""
    unit_locations: int = 16
    ids: str = "any"

    def options(self, plan: Plan) -> Mapping[str, Any]:
        """The rule that each modality gets."""
        if self._rule(plan) == "none":
            return {"rules": dict.fromkeys(plan.modalities, "none")}
        return {"rules": rules_of(plan, self.rule)}

    def check(self, plan: Plan) -> None:
        """Refuse what the reference's loader cannot read.

        Raises:
            ConfigInvalid: two modalities, three in 8 bits, or 8-bit pixels as 16 bits.
            UnknownName, ContractMismatch: no such rule, or pixels already stored by another one.
            DataMissing: LMDB is not installed.
        """
        _lmdb()
        if self.rule is not None:
            require_rule(self.rule, "none")
        several = len(plan.modalities) > 1
        if several and set(plan.modalities) != set(THREE):
            raise ConfigInvalid(
                f"modalities {', '.join(plan.modalities)}",
                expected=f"one, or exactly {', '.join(THREE)}",
                remedy="choose with --modalities",
            )
        if several and self._rule(plan) != "none":
            raise ConfigInvalid(
                f"three modalities by {self.rule}",
                expected="none: of three, the reference's loader takes int16 and float32 only",
                remedy="give --rule none, or one modality",
            )
        for name in plan.modalities:
            form = plan.archive.form(name)
            if self._rule(plan) != "none":
                rule_of(form, self.rule)
            elif form.dtype == "uint8" and modality(name).unit != "uint8":
                raise ConfigInvalid(
                    f"{name} of {plan.archive.path} is kept in 8 bits",
                    expected="16 bits for --rule none",
                    remedy=f"give --rule {form.scaling} --modalities {name}",
                )
            if form.dtype != "uint16" and len(form.groups) > 1:
                raise ConfigInvalid(
                    f"{name} of {plan.archive.path} is kept as {form.dtype} on {len(form.groups)} grids",
                    expected="uint16, or one grid: the reference upsamples before it makes 8 bits",
                    remedy="choose --layout uint8-geotiff or webdataset",
                )

    def _value_bytes(self, plan: Plan, name: str) -> int:
        form = plan.archive.form(name)
        height, width = plan.archive.shape
        is_wide = self._rule(plan) == "none" and form.dtype != "uint8"
        item = {"DN": 2, "dB": 4, "uint8": 1}[modality(name).unit] if is_wide else 1
        return len(plan.seasons) * len(form.bands) * height * width * item + 256  # the pickle around it

    def _rule(self, plan: Plan) -> str:
        if self.rule is not None:
            return self.rule
        return "none" if len(plan.modalities) > 1 else "uint8_10k"

    def make(self, plan: Plan, unit: Unit, errors: Errors) -> Made:
        """Encode the values of a unit.

        Raises:
            ShardCorrupt, SampleInvalid, ContractMismatch: a location is broken and errors="raise".
        """
        order = tuple(name for name in (*THREE, *plan.modalities) if name in plan.modalities)
        parts: dict[str, bytes] = {}
        skipped: dict[str, str] = {}
        for place in unit.places:
            try:
                images = plan.images(place)
            except BROKEN as error:
                if errors == "raise":
                    raise
                skipped[place.id] = str(error)
                continue
            row: list[Any] = []
            for name in dict.fromkeys(order):
                array = np.stack([to_plane(image, self._rule(plan), self.rule) for image in images[name]])
                row += [array.tobytes(), array.shape]  # (season, band, y, x)
            parts[place.name] = pickle.dumps(tuple(row))
        return Made(parts, skipped)

    @contextlib.contextmanager
    def sink(self, plan: Plan, places: Sequence[Place]) -> Generator[Sink]:
        """Open the database and hold ids.csv against it.

        Raises:
            SourceInvalid: ids.csv knows fewer entries than the database holds.
            WriteFailed: the database cannot be opened or written.
        """
        size = sum(self._value_bytes(plan, name) for name in plan.modalities)
        with lmdb_told(plan.out), _lmdb().open(str(plan.out), map_size=map_size(len(places), size)) as base:
            yield _LmdbSink(base, plan.out, _known_ids(plan.out / IDS, base.stat()["entries"]))


def to_plane(image: Image, rule: str, asked: str | None) -> NDArray[np.generic]:
    """Give all bands of an image on the finest grid (band, y, x), in the type and scaling of the database."""
    form = image.form
    grids: dict[int, NDArray[np.generic]] = {}
    for resolution, bands in form.groups:
        values = without_offset(image, resolution)
        factor = resolution // form.base
        if factor > 1:
            assert values.dtype == np.uint16, "only Sentinel-2 DN come on several grids"
            values = upsample_exact(values.astype(np.uint16, copy=False), factor)
        if rule != "none":
            values = to_eight_bits(values, form=form, bands=bands, rule=rule_of(form, asked))
        elif values.dtype == np.uint16:
            values = np.minimum(values, np.iinfo(np.int16).max).astype(np.int16)  # the reference's cast turns negative
        elif values.dtype == np.float16:
            values = values.astype(np.float32)
        grids[resolution] = values
    return in_band_order(form, grids)


def map_size(count: int, value_bytes: int) -> int:
    """Give room for `count` values: whole pages each, the tree above them, and what transactions copy [bytes].

    LMDB only reserves it: the file is as large as what is in it.
    """
    pages = -(-(value_bytes + 64) // _PAGE)
    return (count * (pages * _PAGE + 256) * 11 // 10 + (64 << 20)) // _PAGE * _PAGE


class _LmdbSink:
    def __init__(self, base: Any, out: Path, known: list[str]) -> None:
        self._base, self._out, self._known, self._count = base, out, set(known), len(known)

    def missing(self, unit: Unit) -> tuple[Place, ...]:
        return tuple(place for place in unit.places if place.id not in self._known)

    def keep(self, unit: Unit, made: Made) -> None:
        """Note the ids, then commit: ids.csv may know more than the database after a crash, never less."""
        fresh = [place for place in unit.places if place.name in made.parts]
        with (self._out / IDS).open("a", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([self._count + i, place.id] for i, place in enumerate(fresh))
            stream.flush()
            os.fsync(stream.fileno())
        with lmdb_told(self._out), self._base.begin(write=True) as transaction:
            for i, place in enumerate(fresh):
                transaction.put(str(self._count + i).encode(), made.parts[place.name], overwrite=False)
        self._count += len(fresh)
        self._known |= {place.id for place in fresh}


def _known_ids(path: Path, count: int) -> list[str]:
    """Give the ids of the entries and cut ids.csv back to them."""
    rows: list[list[str]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))[1 : count + 1]
    if [row[:1] for row in rows] != [[str(i)] for i in range(count)]:
        raise SourceInvalid(
            f"{path} does not list the {count} entries of the database",
            expected="one line each, as it was written with it",
            remedy="remove the folder and run again",
            path=str(path),
        )
    write_text(path, "index,id\r\n" + "".join(f"{i},{name}\r\n" for i, name in rows))
    return [name for _, name in rows]


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise DataMissing("LMDB is not installed", expected="it", remedy="pip install lmdb") from error
    return lmdb


@contextlib.contextmanager
def lmdb_told(out: Path) -> Generator[None]:
    """Turn what LMDB says of a failed write into an error with a remedy."""
    try:
        yield
    except _lmdb().Error as error:
        raise WriteFailed(
            f"{out} cannot be written ({error})",
            expected="room on the disk and the right to write there",
            remedy="free some space and run the same command again: it goes on after the last whole transaction",
            path=str(out),
        ) from error
