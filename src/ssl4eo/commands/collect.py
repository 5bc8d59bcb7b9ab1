# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo collect`: images of places into an archive."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ssl4eo.commands.pack import show
from ssl4eo.packing.pack import pack as pack_source
from ssl4eo.progress import progress_bar


def run(
    *,
    out: Path,
    source: Literal["synthetic"] = "synthetic",
    num_locations: int = 256,
    seed: int = 0,
    num_seasons: int = 4,
    size: int = 264,
    modalities: tuple[Literal["S1GRD", "S2L1C", "S2L2A"], ...] = ("S1GRD", "S2L1C", "S2L2A"),
    json: bool = False,
) -> int:
    """Collect images into an archive; run again after an interruption and it goes on.

    Args:
        out: archive to make; it must not exist yet and appears when it is whole
        source: where images come from; synthetic is a small planet made by a formula, seen by no satellite
        num_locations: number of locations
        seed: of the synthetic planet; the same seed gives the same pixels
        num_seasons: dates a location
        size: width and height of a patch on the 10 m grid [px], a multiple of 6
        modalities: products to collect
        json: print the result as JSON

    Returns:
        Exit status 0.
    """
    from ssl4eo.collection.synthetic import SyntheticPlanet

    assert source == "synthetic", source
    planet = SyntheticPlanet(num_locations, seed=seed, num_seasons=num_seasons, size=size, modalities=modalities)
    with progress_bar(f"collecting from the {source} planet") as progress:
        report = pack_source(planet, out, errors="raise", progress=progress)
    show(report, json=json)
    return 0
