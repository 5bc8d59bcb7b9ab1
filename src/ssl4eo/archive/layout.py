# SPDX-License-Identifier: Apache-2.0
"""What lies where in an archive: its spec, its nodes and the zarr.json of every group.

With arrays.py the one description of format 1; writer, reader and verify all derive from it, docs/format.md tells it
in words. Each resolution is a group of its own so that xarray's dimension sizes agree. Reads and writes nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ssl4eo.archive.arrays import NO_TIME, ShardedArray, TimeArray
from ssl4eo.errors import ConfigInvalid
from ssl4eo.grid import size_at
from ssl4eo.sample import Provenance
from ssl4eo.sensors import modality

FORMAT = 1
"""Version of the layout on disk, in the root attributes."""

ROOT = "zarr.json"
CHECKSUMS = "checksums.json"
LOCATIONS = "locations.parquet"
SKIPPED = "skipped.jsonl"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")


@dataclass(frozen=True)
class Spec:
    """What every sample of an archive has, and where it comes from."""

    modalities: tuple[str, ...]
    num_seasons: int
    shape: tuple[int, int]
    """Height and width on the 10 m grid [px]."""
    masks: tuple[str, ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        """Refuse what cannot be laid out.

        Raises:
            ConfigInvalid: no or repeated modalities, no seasons, a mask name that is no folder name.
            UnknownName: a modality we do not know.
            SampleInvalid: a size that leaves a coarse band without whole pixels.
        """
        for what, names in (("modalities", self.modalities), ("masks", self.masks)):
            if len(set(names)) != len(names):
                raise ConfigInvalid(f"{what} {', '.join(names)}", expected="each name once")
        if not self.modalities:
            raise ConfigInvalid("an archive without modalities", expected="one or more")
        if self.num_seasons < 1:
            raise ConfigInvalid(f"an archive of {self.num_seasons} seasons", expected="1 or more")
        for name in self.masks:
            if not _NAME.match(name):
                raise ConfigInvalid(f"mask name {name!r}", expected="letters, digits, '-', '_', a letter first")
        if min(self.shape) < 1:
            raise ConfigInvalid(f"patches of {self.shape} px", expected="positive sizes")
        for name in self.modalities:
            for resolution in modality(name).groups:
                [size_at(resolution, s) for s in self.shape]

    def to_json(self) -> dict[str, Any]:
        """Give plain values for attributes; `from_json` reads them."""
        return {
            "num_seasons": self.num_seasons,
            "shape": list(self.shape),
            "modalities": list(self.modalities),
            "masks": list(self.masks),
            "provenance": {**vars(self.provenance), "details": dict(self.provenance.details)},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Spec:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: something is missing or of the wrong kind.
        """
        height, width = (int(s) for s in data["shape"])
        return cls(
            modalities=tuple(str(m) for m in data["modalities"]),
            num_seasons=int(data["num_seasons"]),
            shape=(height, width),
            masks=tuple(str(m) for m in data["masks"]),
            provenance=Provenance(**data["provenance"]),
        )


@dataclass(frozen=True)
class Layout:
    """All nodes of an archive of `num_locations` samples after a spec."""

    spec: Spec
    num_locations: int

    @cached_property
    def bands(self) -> Mapping[str, Mapping[int, ShardedArray]]:
        """The pixel arrays by modality and resolution [m]."""
        return {name: {r: self._bands(name, r) for r in modality(name).groups} for name in self.spec.modalities}

    def _bands(self, name: str, resolution: int) -> ShardedArray:
        names = modality(name).groups[resolution]
        height, width = (size_at(resolution, s) for s in self.spec.shape)
        return ShardedArray(
            path=f"{name}/{resolution}m/bands",
            num_locations=self.num_locations,
            chunk=(len(names), height, width),
            dtype=modality(name).dtype,
            num_seasons=self.spec.num_seasons,
            bands=names,
        )

    @cached_property
    def masks(self) -> Mapping[str, ShardedArray]:
        """The mask arrays by name."""
        return {
            name: ShardedArray(f"masks/{name}/mask", self.num_locations, self.spec.shape, "uint8", None, None)
            for name in self.spec.masks
        }

    @cached_property
    def times(self) -> Mapping[str, TimeArray]:
        """The time arrays by modality."""
        return {n: TimeArray(f"{n}/time", self.num_locations, self.spec.num_seasons) for n in self.spec.modalities}

    @property
    def sharded(self) -> list[ShardedArray]:
        """Every sharded array, pixels first."""
        return [array for groups in self.bands.values() for array in groups.values()] + list(self.masks.values())

    @property
    def tables(self) -> list[str]:
        """Paths of the Parquet tables below the archive."""
        return [LOCATIONS, *(images_table(name) for name in self.spec.modalities)]

    def documents(self, contracts: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
        """Make every zarr.json by path below the archive; the root also holds all others, consolidated.

        Args:
            contracts: by modality what `Contract.to_json` gives; offset None where images differ.
            facts: further root attributes, such as the time of creation.
        """
        nodes: dict[str, Any] = {}
        for name, groups in self.bands.items():
            nodes[name] = _group({"contract": dict(contracts[name])})
            for resolution, array in groups.items():
                nodes[f"{name}/{resolution}m"] = _group({})
                nodes[array.path] = array.document()
            nodes[self.times[name].path] = self.times[name].document()
        if self.masks:
            nodes["masks"] = _group({})
        for name, array in self.masks.items():
            nodes[f"masks/{name}"] = _group({})
            nodes[array.path] = array.document()
        about = {"format": FORMAT, "num_locations": self.num_locations, **self.spec.to_json(), **facts}
        root = _group({"ssl4eo": about})
        root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": nodes}
        return {ROOT: root, **{f"{path}/zarr.json": node for path, node in nodes.items()}}


def _group(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def images_table(modality_name: str) -> str:
    """Give the path of a modality's image table below the archive."""
    return f"{modality_name}/images.parquet"


def to_seconds(time: dt.datetime | None) -> int:
    """Turn a UTC time into whole seconds since 1970, rounded down; None into NO_TIME."""
    return NO_TIME if time is None else int(time.timestamp() // 1)


def from_seconds(seconds: int) -> dt.datetime | None:
    """Turn stored seconds into a UTC time, NO_TIME into None."""
    return None if seconds == NO_TIME else dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
