# SPDX-License-Identifier: Apache-2.0
"""What `ssl4eo locations show` does: figures of a table of places, a map, GeoJSON."""

from __future__ import annotations

import json as json_text
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssl4eo.commands.locations_draw import told
from ssl4eo.errors import ConfigInvalid
from ssl4eo.files import require_absent, whole_or_told
from ssl4eo.locations.geojson import write_geojson
from ssl4eo.locations.reading import read_table_of
from ssl4eo.locations.spacing import nearest
from ssl4eo.locations.table import PlaceTable

BANDS = (90, 60, 30, 0, -30, -60, -90)
"""Edges of the bands of latitude [deg]; a point on an edge counts north of it."""
_MOST_FACTS = 5


def run_show(path: Path, *, picture: Path | None, geojson: Path | None, json: bool) -> int:
    """Show figures of a table, and write what is asked for."""
    for target, suffixes in ((picture, (".png",)), (geojson, (".geojson", ".json"))):
        if target is not None:
            _require_name(target, suffixes)
    table = read_table_of(path)
    facts = describe(table)
    if picture is not None:
        from ssl4eo.report.place_map import draw_map

        with whole_or_told(picture) as partial:
            partial.write_bytes(draw_map(table, title=f"{facts['places']} places"))
    if geojson is not None:
        write_geojson(geojson, table)
    if json:
        sys.stdout.write(json_text.dumps({"path": str(path), **facts}, indent=2, ensure_ascii=False) + "\n")
    else:
        _show(path, facts, [str(target) for target in (picture, geojson) if target is not None])
    return 0


def _require_name(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise ConfigInvalid(f"a file called {path.name}", expected=f"a name that ends in {' or '.join(suffixes)}")
    require_absent(path, "file")


def describe(table: PlaceTable) -> dict[str, Any]:
    """Gather what `show` tells, as plain values: of first points alone where not said otherwise."""
    first = table.is_first
    lons, lats = table.lons[first], table.lats[first]
    distances, others = nearest(table.lons, table.lats)
    closest = int(np.argmin(distances))
    pair = None if len(table) < 2 else [table.ids[closest], table.ids[int(others[closest])]]
    return {
        "places": int(first.sum()),
        "points": len(table),
        "extent": [float(v) for v in (lons.min(), lats.min(), lons.max(), lats.max())],
        "latitudes": _by_latitude(lats),
        "nearest_m": _quantiles(nearest(lons, lats)[0]),
        "nearest_of_all_points_m": _quantiles(distances),
        "closest_pair": pair,
        "facts": {
            name: _counts([c for c, f in zip(column, first, strict=True) if f]) for name, column in table.facts.items()
        },
        "record": dict(table.record),
    }


def _by_latitude(lats: NDArray[np.float64]) -> dict[str, int]:
    north = [BANDS[0] + 1, *BANDS[1:-1]]  # the pole itself belongs to the northernmost band
    return {
        f"{low} to {high}": int(np.count_nonzero((lats >= low) & (lats < edge)))
        for high, edge, low in zip(BANDS[:-1], north, BANDS[1:], strict=True)
    }


def _quantiles(distances: NDArray[np.float64]) -> dict[str, float] | None:
    if len(distances) < 2:
        return None
    names = {"least": 0.0, "median": 0.5, "most": 1.0}
    return {name: round(float(np.quantile(distances, share)), 1) for name, share in names.items()}


def _counts(column: list[Any]) -> dict[str, int]:
    """Count the values of a fact, the most frequent first."""
    return {str(value): number for value, number in Counter(column).most_common()}


def _show(path: Path, facts: dict[str, Any], written: list[str]) -> None:
    console = Console(soft_wrap=True)
    west, south, east, north = facts["extent"]
    options = facts["record"].get("options", {})
    rows = {
        "table": str(path),
        "places": f"{facts['places']}, {facts['points']} points",
        "drawn": told(options),
        "seed": str(facts["record"].get("seed", "")),
        "extent": f"{west:.4f} to {east:.4f} east, {south:.4f} to {north:.4f} north",
        "nearest": _distances(facts["nearest_m"]),
        "of all": _distances(facts["nearest_of_all_points_m"]) if facts["points"] > facts["places"] else "",
        **{name: _few(counts) for name, counts in facts["facts"].items()},
        "written": ", ".join(written),
    }
    for name, value in rows.items():
        if value:
            console.print(f"{name:<9}{escape(value)}", highlight=False)
    table = Table("latitude [deg]", "places")
    for name, number in facts["latitudes"].items():
        table.add_row(name, str(number))
    console.print(table)


def _distances(values: dict[str, float] | None) -> str:
    return "" if values is None else ", ".join(f"{name} {value / 1000:.2f} km" for name, value in values.items())


def _few(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{name} {number}" for name, number in list(counts.items())[:_MOST_FACTS])
    return shown + (f", and {len(counts) - _MOST_FACTS} others" if len(counts) > _MOST_FACTS else "")
