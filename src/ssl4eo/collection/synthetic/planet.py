# SPDX-License-Identifier: Apache-2.0
"""A planet that does not exist: a source of synthetic samples with labels that are true by construction.

Reading is stateless: pixels depend on the seed, the location's number, the size and VERSION only, not on how many
locations there are nor on which modalities are asked for. It is no substitute for real imagery: it makes the
whole way run offline in minutes, and gives tests something true to predict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssl4eo.collection.source import Provenance
from ssl4eo.collection.synthetic import optical, radar
from ssl4eo.collection.synthetic.chance import Stream
from ssl4eo.collection.synthetic.ground import Ground, lasting
from ssl4eo.collection.synthetic.place import Place, Visit, place, visits
from ssl4eo.collection.synthetic.scenes import SCENES, landscape
from ssl4eo.errors import ConfigInvalid, LocationMissing
from ssl4eo.form import Form
from ssl4eo.sample import Image, Location, Sample
from ssl4eo.sensors import modality

VERSION = 1
"""Number of the generator; raised whenever a pixel changes."""

_ALL = ("S1GRD", "S2L1C", "S2L2A")
_PLACE, _LAYOUT, _TEXTURE, _SCENE = 0, 1, 2, 3
_SEASON, _OPTICAL, _RADAR = 256, 512, 768
# Streams of random numbers: one for each purpose, plus the season for the last three.
_MOST_SEASONS = 64
_BASELINE = 301


@dataclass(frozen=True)
class SyntheticPlanet:
    """Synthetic locations with Sentinel-like images, a scene label and a land-cover map.

    >>> planet = SyntheticPlanet(20, size=48, modalities=("S2L2A",))
    >>> sample = planet.read("0000003")
    >>> sample.num_seasons, sample.images["S2L2A"][0].pixels[10].shape, planet.provenance.synthetic
    (4, (4, 48, 48), True)
    """

    num_locations: int
    seed: int = 0
    num_seasons: int = 4
    """Dates a location, about 91 days apart."""
    size: int = 264
    """Width and height on the 10 m grid [px], a multiple of 6."""
    modalities: tuple[str, ...] = _ALL

    def __post_init__(self) -> None:
        """Refuse planets that cannot be made."""
        _check("num_locations", self.num_locations, 1, 10_000_000)
        _check("seed", self.seed, 0, 2**63)
        _check("num_seasons", self.num_seasons, 1, _MOST_SEASONS)
        _check("size", self.size, 24, 2640)
        if self.size % 6:
            raise ConfigInvalid(f"size {self.size} px", expected="a multiple of 6, so that 60 m bands stay whole")
        if not self.modalities or len(set(self.modalities)) != len(self.modalities):
            raise ConfigInvalid(f"modalities {self.modalities}", expected="one or more, each once")
        for name in self.modalities:
            if modality(name).name not in _ALL:
                raise ConfigInvalid(f"modality {name} of a synthetic planet", expected=f"some of {', '.join(_ALL)}")

    @property
    def provenance(self) -> Provenance:
        """Say that no satellite saw these pixels, and what makes them again."""
        details = {"seed": self.seed, "version": VERSION, "size": self.size, "num_seasons": self.num_seasons}
        return Provenance("ssl4eo synthetic planet", synthetic=True, licence="CC0-1.0", details=details)

    @property
    def forms(self) -> tuple[Form, ...]:
        """The native form of each modality."""
        return tuple(Form.native(name) for name in self.modalities)

    @property
    def masks(self) -> Mapping[str, bool]:
        """The land cover, the same at all dates."""
        return {"landcover": False}

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of every patch on the 10 m grid [px]."""
        return self.size, self.size

    def ids(self) -> Sequence[str]:
        """List the location ids, 7 digits each."""
        return [f"{i:07d}" for i in range(self.num_locations)]

    def read(self, location: str) -> Sample:
        """Make one sample: images of all dates, label `scene`, mask `landcover` (see LANDCOVER).

        Raises:
            LocationMissing: no such id.
        """
        index = self._index(location)
        where = place(Stream(self.seed, index, _PLACE), self.size)
        scene = self._scene(index)
        canvas = landscape(Stream(self.seed, index, _LAYOUT), scene, self.size)
        ground = lasting(canvas, Stream(self.seed, index, _TEXTURE))
        habits = Stream(self.seed, index, _SEASON)
        cloudy, from_east = optical.cloudiness(habits), habits.happens(0.5)
        days = visits(habits, where, self.num_seasons, rising=not from_east)
        images: dict[str, list[Image]] = {name: [] for name in self.modalities}
        for season, day in enumerate(days):
            seen = self._see(index, season, ground=ground, where=where, day=day, cloudy=cloudy, from_east=from_east)
            for name, pixels in seen.items():
                images[name].append(_image(name, pixels, where, day))
        return Sample(
            location=Location(location, lon=where.lon, lat=where.lat),
            images={name: tuple(row) for name, row in images.items()},
            labels={"scene": scene},
            masks={"landcover": ground.cover},
        )

    def _see(
        self, index: int, season: int, *, ground: Ground, where: Place, day: Visit, cloudy: float, from_east: bool
    ) -> dict[str, dict[int, NDArray[np.generic]]]:
        """Make the pixels of one date by modality; streams are separate, so leaving one out changes no other."""
        colors = optical.scene_palette(Stream(self.seed, index, _SEASON + 1 + season), ground, where, day)
        out: dict[str, dict[int, NDArray[np.generic]]] = {}
        if "S1GRD" in self.modalities:
            chance = Stream(self.seed, index, _RADAR + season)
            out["S1GRD"] = {**radar.backscatter(chance, ground, colors, from_east=from_east)}
        if out.keys() == set(self.modalities):
            return out
        chance = Stream(self.seed, index, _OPTICAL + season)
        air = optical.sky(chance, ground, where, day, cloudy)
        snow = optical.snow_cover(chance, ground, where, day)
        lit = optical.surface_reflectance(ground, colors, air, snow)
        if "S2L1C" in self.modalities:
            out["S2L1C"] = {**optical.level_1c(lit, air)}
        if "S2L2A" in self.modalities:
            out["S2L2A"] = {**optical.level_2a(lit, air, chance)}
        return {name: out[name] for name in self.modalities}

    def _index(self, location: str) -> int:
        known = len(location) == 7 and location.isascii() and location.isdigit() and int(location) < self.num_locations
        if not known:
            raise LocationMissing(
                f"the synthetic planet has no location {location!r}",
                expected=f"0000000 to {self.num_locations - 1:07d}",
                location=location,
            )
        return int(location)

    def _scene(self, index: int) -> str:
        """Deal the scenes like cards: each run of len(SCENES) locations holds each scene once."""
        round_, turn = divmod(index, len(SCENES))
        return Stream(self.seed, round_, _SCENE).shuffled(SCENES)[turn]


def _image(name: str, pixels: dict[int, NDArray[np.generic]], where: Place, day: Visit) -> Image:
    is_radar = name == "S1GRD"
    return Image(
        name,
        pixels,
        time=day.radar if is_radar else day.optical,
        product=day.radar_product if is_radar else day.optical_product,
        crs=where.crs,
        transform=where.transform,
        baseline=None if is_radar else _BASELINE,
    )


def _check(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigInvalid(f"{name} {value}", expected=f"{low} to {high}")
