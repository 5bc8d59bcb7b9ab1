# SPDX-License-Identifier: Apache-2.0
"""A source of tiny images of two modalities and a mask, of which one location is broken: helper of the fault tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssl4eo.archive.reader import open_archive
from ssl4eo.errors import SourceInvalid
from ssl4eo.form import Form
from ssl4eo.sample import Image, Location, Provenance, Sample

FORMS = (Form.native("S1GRD"), Form.native("S2L1C", bands=("B02", "B11")))
BROKEN = "0000005"


@dataclass(frozen=True)
class TinySource:
    """Pixels depend on the id only."""

    num_locations: int = 70
    size: int = 6
    num_seasons: int = 2
    forms: tuple[Form, ...] = FORMS

    @property
    def provenance(self) -> Provenance:
        """Nobody's pixels."""
        return Provenance("tiny", synthetic=True, licence="CC0-1.0")

    @property
    def masks(self) -> Mapping[str, bool]:
        """One of every season."""
        return {"cloud": True}

    @property
    def shape(self) -> tuple[int, int]:
        """Of the finest grid."""
        return self.size, self.size

    def ids(self) -> Sequence[str]:
        """List the ids."""
        return [f"{i:07d}" for i in range(self.num_locations)]

    def read(self, location: str) -> Sample:
        """Make a sample."""
        if location == BROKEN:
            raise SourceInvalid(f"location {location}: no file", expected="one", location=location)
        rng = np.random.default_rng(int(location))
        n = self.size
        images: dict[str, list[Image]] = {"S1GRD": [], "S2L1C": []}
        for _ in range(self.num_seasons):
            images["S1GRD"].append(Image("S1GRD", {10: rng.normal(-15, 4, (2, n, n)).astype("f4")}))
            optical = {r: rng.integers(1, 9000, (1, m, m)).astype("u2") for r, m in ((10, n), (20, n // 2))}
            images["S2L1C"].append(Image("S2L1C", optical, kept=self.forms[1]))
        masks = {"cloud": rng.integers(0, 3, (self.num_seasons, n, n)).astype("u1")}
        return Sample(Location(location), {k: tuple(v) for k, v in images.items()}, masks=masks)


def tree(archive: Path) -> dict[str, bytes]:
    """All bytes of an archive but the time it was made at, which is in two files."""
    found = {str(p.relative_to(archive)): p.read_bytes() for p in archive.rglob("*") if p.is_file()}
    created = open_archive(archive).facts["created"].encode()
    found["zarr.json"] = found["zarr.json"].replace(created, b"")
    del found["checksums.json"]
    return found
