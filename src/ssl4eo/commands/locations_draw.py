# SPDX-License-Identifier: Apache-2.0
"""What `ssl4eo locations draw` does: settle the options, check them, draw, write."""

from __future__ import annotations

import json as json_text
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from ssl4eo.errors import ConfigInvalid
from ssl4eo.locations.cities import AroundCities, largest
from ssl4eo.locations.placing import Drawing, draw, record_of, room_for
from ssl4eo.locations.polygons import in_polygons, on_land
from ssl4eo.locations.reading import read_table_of
from ssl4eo.locations.sampler import Sampler
from ssl4eo.locations.spacing import Spacing, as_published, nearest, no_overlap
from ssl4eo.locations.sphere import OnSphere
from ssl4eo.locations.strata import ByStratum, parse_shares
from ssl4eo.locations.table import require_writable_name, write_table
from ssl4eo.progress import progress_bar


@dataclass(frozen=True)
class Choice:
    """Where points may lie, as the command line has it."""

    around: str
    cities: int
    city_table: str
    sigma_km: float
    polygons: Path | None
    raster: Path | None
    shares: tuple[str, ...]
    points: Path | None

    def file(self, option: str) -> Path:
        """Give the file of an option that the choice needs."""
        path = getattr(self, option)
        if path is None:
            raise ConfigInvalid(f"--around {self.around} without a file", expected=f"--{option} FILE")
        return path


_SAMPLERS: dict[str, Callable[[Choice], Sampler]] = {
    "cities": lambda c: AroundCities(largest(c.city_table, c.cities), sigma_km=c.sigma_km),
    "land": lambda _: on_land(),
    "sphere": lambda _: OnSphere(),
    "polygons": lambda c: in_polygons(c.file("polygons")),
    "strata": lambda c: ByStratum(c.file("raster"), shares=parse_shares(c.shares)),
}
"""By the word after --around."""
_BELONGS: Mapping[str, str] = MappingProxyType(
    {"polygons": "polygons", "raster": "strata", "shares": "strata", "points": "matched"}
)
"""Options that only one choice of --around reads."""


def run_draw(
    choice: Choice,
    *,
    out: Path,
    drawing: Callable[[Spacing], Drawing] | None,
    patch_m: float,
    spacing: str | float,
    plan: bool,
    json: bool,
) -> int:
    """Draw places, or say what would be drawn.

    Args:
        choice: where.
        out: table to make.
        drawing: makes what is drawn of its spacing; None where no count was given.
        patch_m: width of a patch [m].
        spacing: no_overlap, as_published, none, or meters.
        plan: draw nothing.
        json: print JSON.
    """
    require_writable_name(out)
    for option, owner in _BELONGS.items():
        if getattr(choice, option) and choice.around != owner:
            raise ConfigInvalid(
                f"--{option} with --around {choice.around}",
                expected=f"--around {owner}",
                remedy=f"leave out --{option}",
            )
    apart = _spacing(spacing, patch_m)
    if choice.around == "matched":
        if drawing is not None:
            raise ConfigInvalid("--count with --around matched", expected="none: the list has its own")
        return _run_matched(choice, out, patch_m=patch_m, plan=plan, json=json)
    if drawing is None:
        raise ConfigInvalid(f"--around {choice.around} without a count", expected="--count PLACES")
    settled = drawing(apart)  # before files are read
    return _run_drawn(_SAMPLERS[choice.around](choice), settled, out, patch_m=patch_m, plan=plan, json=json)


def _run_drawn(sampler: Sampler, drawing: Drawing, out: Path, *, patch_m: float, plan: bool, json: bool) -> int:
    record = {**record_of(sampler.options, drawing), "patch_m": patch_m}
    room = room_for(sampler, drawing.spacing)
    facts = {**record, "points": drawing.num_points, "room_for": room, "path": str(out), "written": not plan}
    if not plan:
        with progress_bar("drawing places") as progress:
            table = draw(sampler, drawing, progress=progress)
        write_table(out, replace(table, record=record))
    rows = {
        "places": f"{drawing.count} and {drawing.spares} spare points each: {drawing.num_points} points",
        "sampler": told(sampler.options),
        "seed": str(drawing.seed),
        "apart": f"{drawing.spacing.meters:.0f} m, {drawing.spacing.metric}, for patches of {patch_m:g} m",
        "room": "" if room is None else f"for about {room} points" + (", TOO FEW" if room < drawing.num_points else ""),
        "planned" if plan else "written": str(out),
    }
    _print(rows, facts, json=json)
    return 0


def _run_matched(choice: Choice, out: Path, *, patch_m: float, plan: bool, json: bool) -> int:
    """Take places from a list as they are, and tell how many of their patches may overlap."""
    table = read_table_of(choice.file("points"))
    distances, _ = nearest(table.lons, table.lats)
    near = int(np.count_nonzero(distances < no_overlap(patch_m).meters))
    record = {**table.record, "patch_m": patch_m}
    num_places = int(table.is_first.sum())
    if not plan:
        write_table(out, replace(table, record=record))
    rows = {
        "places": f"{num_places}, {len(table)} points",
        "near": f"{near} points lie so near to another that patches of {patch_m:g} m may overlap" if near else "",
        "planned" if plan else "written": str(out),
    }
    facts = {**record, "count": num_places, "points": len(table), "near": near, "path": str(out), "written": not plan}
    _print(rows, facts, json=json)
    return 0


def told(options: Mapping[str, Any]) -> str:
    """Tell the options of a sampler, its name first.

    >>> told({"sampler": "cities", "sigma_km": 50.0})
    'cities, sigma_km 50.0'
    """
    return ", ".join(str(value) if name == "sampler" else f"{name} {value}" for name, value in options.items())


def _spacing(rule: str | float, patch_m: float) -> Spacing:
    if isinstance(rule, str):
        return {"no_overlap": no_overlap, "as_published": as_published, "none": lambda _: Spacing(0.0)}[rule](patch_m)
    return Spacing(float(rule))


def _print(rows: Mapping[str, str], facts: Mapping[str, Any], *, json: bool) -> None:
    if json:
        sys.stdout.write(json_text.dumps(facts, indent=2, ensure_ascii=False) + "\n")
        return
    console = Console(soft_wrap=True)
    for name, value in rows.items():
        if value:
            console.print(f"{name:<9}{escape(value)}", highlight=False)
