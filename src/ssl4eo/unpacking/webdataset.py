# SPDX-License-Identifier: Apache-2.0
"""WebDataset shards: `<out>/<modality or all>-%06d.tar`, native pixels as .npy, everything else as .json.

A location is `<id>.json`, `<id>.s2l1c_10m.npy` (season, band, y, x) for each grid and `<id>.mask_<name>.npy`. Values
and types are the archive's. The same archive gives the same bytes: no times, no owners, fixed order.
A shard appears under its name when it is whole.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl4eo.archive.reader import Archive
from ssl4eo.errors import ConfigInvalid
from ssl4eo.sample import Image
from ssl4eo.unpacking.work import BROKEN, Errors, Made, Place, Plan, Sink, Unit


@dataclass(frozen=True)
class WebDataset:
    """Writes tar shards."""

    unit_locations: int = 64
    ids: str = "no dot"

    def options(self, plan: Plan) -> Mapping[str, Any]:
        """What was chosen."""
        del plan
        return {"shard_locations": self.unit_locations}

    def check(self, plan: Plan) -> None:
        """Refuse shards of nothing.

        Raises:
            ConfigInvalid: fewer than one location a shard.
        """
        del plan
        if self.unit_locations < 1:
            raise ConfigInvalid(f"shards of {self.unit_locations} locations", expected="1 or more")

    def make(self, plan: Plan, unit: Unit, errors: Errors) -> Made:
        """Write the partial shard of a unit.

        Raises:
            ShardCorrupt, SampleInvalid, ContractMismatch: a location is broken and errors="raise".
            OSError: the disk is full or refuses.
        """
        parts: dict[str, str] = {}
        skipped: dict[str, str] = {}
        with _partial(plan, unit).open("wb") as stream:
            with tarfile.open(fileobj=stream, mode="w") as tar:
                for place in unit.places:
                    try:
                        members = _members(plan, place)
                    except BROKEN as error:
                        if errors == "raise":
                            raise
                        skipped[place.id] = str(error)
                        continue
                    for name in sorted(members):
                        _add(tar, f"{place.name}.{name}", members[name])
                    parts[place.name] = "written"
            stream.flush()
            os.fsync(stream.fileno())
        return Made(parts, skipped)

    @contextlib.contextmanager
    def sink(self, plan: Plan, places: Sequence[Place]) -> Generator[Sink]:
        """Open the parent's side."""
        del places
        yield _ShardSink(plan)


def _name(plan: Plan, unit: Unit) -> str:
    what = plan.modalities[0].lower() if len(plan.modalities) == 1 else "all"
    return f"{what}-{unit.number:06d}.tar"


def _partial(plan: Plan, unit: Unit) -> Path:
    return plan.out / f".{_name(plan, unit)}.partial"


@dataclass(frozen=True)
class _ShardSink:
    plan: Plan

    def missing(self, unit: Unit) -> tuple[Place, ...]:
        return () if (self.plan.out / _name(self.plan, unit)).is_file() else unit.places

    def keep(self, unit: Unit, made: Made) -> None:
        """Rename the shard; one without any location is no shard."""
        partial = _partial(self.plan, unit)
        if made.parts:
            partial.rename(self.plan.out / _name(self.plan, unit))
        else:
            partial.unlink()


def _members(plan: Plan, place: Place) -> dict[str, bytes]:
    """Encode the files of a location, by what follows its name and a dot."""
    images = plan.images(place)
    files: dict[str, bytes] = {}
    for name, row in images.items():
        for resolution in row[0].form.resolutions:
            stacked = np.stack([image.pixels[resolution] for image in row])  # (season, band, y, x)
            files[f"{name.lower()}_{resolution}m.npy"] = _npy(stacked)
    for name, seasonal in plan.archive.masks.items():
        seasons = plan.seasons if seasonal else (0,)
        masks = [plan.archive.mask(name, location=place.index, season=season) for season in seasons]
        files[f"mask_{name.lower()}.npy"] = _npy(np.stack(masks) if seasonal else masks[0])
    files["json"] = json.dumps(_about(plan, place, images), ensure_ascii=False, sort_keys=True).encode()
    return files


def _about(plan: Plan, place: Place, images: Mapping[str, Sequence[Image]]) -> dict[str, Any]:
    location = plan.archive.location(place.index)
    return {
        "id": place.id,
        "lon": location.lon,
        "lat": location.lat,
        "labels": _labels(plan.archive, place.index),
        "synthetic": plan.archive.provenance.synthetic,
        "licence": plan.archive.provenance.licence,
        "modalities": {name: _about_modality(row) for name, row in images.items()},
    }


def _labels(archive: Archive, index: int) -> dict[str, Any]:
    """Give the labels of a location as plain values; empty ones are left out."""
    row = archive.locations.iloc[index]
    cells = {name: row[name] for name in archive.columns}
    plain = {name: cell.item() if isinstance(cell, np.generic) else cell for name, cell in cells.items()}
    return {name: value for name, value in plain.items() if value is not None and value == value}  # noqa: PLR0124 - NaN


def _about_modality(images: Sequence[Image]) -> dict[str, Any]:
    form = images[0].form
    return {
        "form": form.to_json(),
        "contracts": [image.contract.to_json() for image in images],
        "seasons": [
            {
                "time": None if image.time is None else image.time.isoformat(),
                "product": image.product,
                "crs": image.crs,
                "transform": image.transform,
                "baseline": image.baseline,
                "offset": image.offset,
                "valid": image.valid,
            }
            for image in images
        ],
    }


def _npy(array: NDArray[np.generic]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # time, owner and mode are constants
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
