# SPDX-License-Identifier: Apache-2.0
"""Which scenes are tried for a season, in which order: pure rules over what a search has found.

Products of one instrument (L1C and L2A of Sentinel-2) are taken from one acquisition, so that they show the same
ground at the same moment; those of other instruments are chosen for themselves within the same window.
Clouds of a whole scene only order and pre-select: what counts is the patch, after it has been read (collected.py).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ssl4eo.collection.remote.service import Scene
from ssl4eo.errors import ConfigInvalid
from ssl4eo.locations.window import Range, Window

Order = Literal["clearest", "latest", "nearest"]
"""Least cloudy scene first; most recent first, as published; nearest to the wanted date first."""
_TOLERANCE = dt.timedelta(seconds=90)
"""Products of one acquisition may tell its start so far apart."""
_TILE = re.compile(r"T\d{2}[A-Z]{3}")
INSTRUMENTS: Mapping[str, str] = {"S2L1C": "Sentinel-2", "S2L2A": "Sentinel-2", "S2RGB": "Sentinel-2"}
"""Modalities that share acquisitions; any other is an instrument of its own."""


@dataclass(frozen=True)
class Choice:
    """How a season's scene is chosen."""

    order: Order = "clearest"
    max_scene_cloud: float = 0.2
    """Scenes with this cloud share or more are not tried [0 to 1]; published: 0.2."""
    max_patch_cloud: float | None = None
    """Patches with a larger cloud share by their pixel mask are refused [0 to 1]; None: only the scene's share counts,
    as published."""
    min_observed: float = 1.0
    """Patches that a scene covers less of are refused [0 to 1]."""
    tries: int = 4
    """Acquisitions that are read for a season, of each range of its window, before the point is given up."""

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        shares = (self.max_scene_cloud, self.max_patch_cloud or 0.0, self.min_observed)
        if not all(0 <= share <= 1 for share in shares) or self.tries < 1:
            raise ConfigInvalid(f"{self}", expected="shares from 0 to 1 and one try at least")


@dataclass(frozen=True)
class Acquisition:
    """One pass of an instrument with all its products that are wanted."""

    scenes: Mapping[str, Scene]
    """By modality."""

    @property
    def first(self) -> Scene:
        """The scene that stands for it."""
        return next(iter(self.scenes.values()))

    @property
    def cloud(self) -> float:
        """Largest scene-level cloud share [0 to 1]; 0 where there is none."""
        return max((scene.cloud or 0.0) for scene in self.scenes.values())


def group_modalities(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Put modalities of one instrument together.

    >>> group_modalities(["S1GRD", "S2L1C", "S2L2A"])
    [('S1GRD',), ('S2L1C', 'S2L2A')]
    """
    groups: dict[str, list[str]] = {}
    for name in modalities:
        groups.setdefault(INSTRUMENTS.get(name, name), []).append(name)
    return [tuple(names) for names in groups.values()]


def acquisitions(found: Mapping[str, Sequence[Scene]], modalities: Sequence[str]) -> list[Acquisition]:
    """Join the scenes of one instrument that show the same tile at the same moment; those without a partner go."""
    first, *others = modalities
    out: list[Acquisition] = []
    for scene in found[first]:
        partners = {name: _partner(scene, found[name]) for name in others}
        if all(partner is not None for partner in partners.values()):
            out.append(Acquisition({first: scene, **{n: p for n, p in partners.items() if p is not None}}))
    return out


def _partner(scene: Scene, others: Sequence[Scene]) -> Scene | None:
    near = [s for s in others if abs(s.time - scene.time) <= _TOLERANCE and s.crs == scene.crs]
    same_tile = [s for s in near if _tile(s) == _tile(scene)]
    return min(same_tile, key=lambda s: (abs(s.time - scene.time), s.product), default=None)


def _tile(scene: Scene) -> str:
    match = _TILE.search(scene.product)
    return match[0] if match else ""


def candidates(window: Window, found: Sequence[Acquisition], choice: Choice) -> list[list[Acquisition]]:
    """For each range of a window, in order of preference, the acquisitions that a season may take, best first.

    Equal ones are ordered by time and product id, so that the choice never depends on the order of an answer.
    """
    by_range: list[list[Acquisition]] = [[] for _ in window.ranges]
    for acquisition in found:
        number = window.range_of(acquisition.first.time)
        if number is not None and (acquisition.cloud < choice.max_scene_cloud or acquisition.cloud == 0):
            by_range[number].append(acquisition)
    return [
        sorted(inside, key=lambda a, r=r: (_rank(a, r, choice.order), a.first.time, a.first.product))
        for r, inside in zip(window.ranges, by_range, strict=True)
    ]


def _rank(acquisition: Acquisition, wanted: Range, order: Order) -> float:
    """Give a number that is least for what is to be tried first."""
    time = acquisition.first.time
    if order == "clearest":
        return round(acquisition.cloud, 4)
    return -time.timestamp() if order == "latest" else abs(time - wanted.target).total_seconds()
