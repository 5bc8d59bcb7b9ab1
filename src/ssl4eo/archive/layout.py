# SPDX-License-Identifier: Apache-2.0
"""What lies where in an archive: its spec, its nodes and the zarr.json of every group.

With arrays.py the one description of format 2; writer, reader and verify all derive from it, docs/format.md tells it
in words. Each resolution is a group of its own so that xarray's dimension sizes agree. Reads and writes nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ssl4eo.archive.arrays import NO_TIME, PROFILES, ShardedArray, TimeArray
from ssl4eo.errors import ConfigInvalid, unknown_name
from ssl4eo.form import Form
from ssl4eo.grid import size_at
from ssl4eo.sample import Provenance

FORMAT = 2
"""Version of the layout on disk, in the root attributes."""

ROOT = "zarr.json"
CHECKSUMS = "checksums.json"
LOCATIONS = "locations.parquet"
SKIPPED = "skipped.jsonl"
SHARDS = "shards.json"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")


@dataclass(frozen=True)
class Spec:
    """What every sample of an archive has, and where it comes from."""

    forms: tuple[Form, ...]
    """One a modality; all with the same finest grid."""
    num_seasons: int
    shape: tuple[int, int]
    """Height and width on the finest grid [px]."""
    masks: Mapping[str, bool]
    """By name whether each season has its own."""
    provenance: Provenance
    profile: str = "default"
    """Name of a compression profile."""

    def __post_init__(self) -> None:
        """Refuse what cannot be laid out.

        Raises:
            ConfigInvalid: no or repeated modalities, several finest grids, no seasons, a mask name that is no folder
                name.
            UnknownName: a modality or profile we do not know.
            SampleInvalid: a size that leaves a coarse band without whole pixels.
        """
        self._check_forms()
        if self.num_seasons < 1:
            raise ConfigInvalid(f"an archive of {self.num_seasons} seasons", expected="1 or more")
        if self.profile not in PROFILES:
            raise unknown_name("compression profile", self.profile, PROFILES)
        for name in self.masks:
            if not _NAME.match(name):
                raise ConfigInvalid(f"mask name {name!r}", expected="letters, digits, '-', '_', a letter first")
        if min(self.shape) < 1:
            raise ConfigInvalid(f"patches of {self.shape} px", expected="positive sizes")
        for form in self.forms:
            for resolution in form.resolutions:
                [size_at(resolution, s, form.base) for s in self.shape]

    def _check_forms(self) -> None:
        names = self.modalities
        if len(set(names)) != len(names):
            raise ConfigInvalid(f"modalities {', '.join(names)}", expected="each name once")
        if not names:
            raise ConfigInvalid("an archive without modalities", expected="one or more")
        if len({form.base for form in self.forms}) != 1:
            grids = ", ".join(f"{form.modality} {form.base} m" for form in self.forms)
            raise ConfigInvalid(f"finest grids {grids}", expected="the same for all modalities of an archive")

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities."""
        return tuple(form.modality for form in self.forms)

    @property
    def base(self) -> int:
        """Resolution of the finest grid [m]."""
        return self.forms[0].base

    def form(self, modality: str) -> Form:
        """Give the form of one of the modalities."""
        return next(form for form in self.forms if form.modality == modality)

    def to_json(self) -> dict[str, Any]:
        """Give plain values for attributes; `from_json` reads them."""
        return {
            "num_seasons": self.num_seasons,
            "shape": list(self.shape),
            "modalities": [form.to_json() for form in self.forms],
            "masks": {name: "season" if seasonal else "location" for name, seasonal in self.masks.items()},
            "profile": self.profile,
            "provenance": {**vars(self.provenance), "details": dict(self.provenance.details)},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Spec:
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: something is missing or of the wrong kind.
        """
        height, width = (int(s) for s in data["shape"])
        kinds = {"season": True, "location": False}
        return cls(
            forms=tuple(Form.from_json(m) for m in data["modalities"]),
            num_seasons=int(data["num_seasons"]),
            shape=(height, width),
            masks={str(name): kinds[kind] for name, kind in data["masks"].items()},
            provenance=Provenance(**data["provenance"]),
            profile=str(data["profile"]),
        )


@dataclass(frozen=True)
class Layout:
    """All nodes of an archive of `num_locations` samples after a spec."""

    spec: Spec
    num_locations: int

    @cached_property
    def bands(self) -> Mapping[str, Mapping[int, ShardedArray]]:
        """The pixel arrays by modality and resolution [m]."""
        return {form.modality: {r: self._bands(form, r) for r in form.resolutions} for form in self.spec.forms}

    def _bands(self, form: Form, resolution: int) -> ShardedArray:
        names = form.bands_at(resolution)
        height, width = (size_at(resolution, s, form.base) for s in self.spec.shape)
        return ShardedArray(
            path=f"{form.modality}/{resolution}m/bands",
            num_locations=self.num_locations,
            chunk=(len(names), height, width),
            dtype=form.dtype,
            num_seasons=self.spec.num_seasons,
            bands=names,
            compression=PROFILES[self.spec.profile].of(form.dtype),
        )

    @cached_property
    def masks(self) -> Mapping[str, ShardedArray]:
        """The mask arrays by name."""
        return {
            name: ShardedArray(
                path=f"masks/{name}/mask",
                num_locations=self.num_locations,
                chunk=self.spec.shape,
                dtype="uint8",
                num_seasons=self.spec.num_seasons if seasonal else None,
                bands=None,
                compression=PROFILES[self.spec.profile].of("uint8"),
            )
            for name, seasonal in self.spec.masks.items()
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

    def documents(self, about: Mapping[str, Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
        """Make every zarr.json by path below the archive; the root also holds all others, consolidated.

        Args:
            about: by modality the attributes of its group: `contract`, what `Contract.to_json` gives, with offset
                None where images differ, and `statistics`, what `Statistics.to_json` gives or None.
            facts: further root attributes, such as the time of creation.
        """
        nodes: dict[str, Any] = {}
        for name, groups in self.bands.items():
            nodes[name] = _group(dict(about[name]))
            for resolution, array in groups.items():
                nodes[f"{name}/{resolution}m"] = _group({})
                nodes[array.path] = array.document()
            nodes[self.times[name].path] = self.times[name].document()
        if self.masks:
            nodes["masks"] = _group({})
        for name, array in self.masks.items():
            nodes[f"masks/{name}"] = _group({})
            nodes[array.path] = array.document()
        root = _group(
            {"ssl4eo": {"format": FORMAT, "num_locations": self.num_locations, **self.spec.to_json(), **facts}}
        )
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
