# SPDX-License-Identifier: Apache-2.0
"""A map of places: points over the outlines of land, longitude and latitude on equal scales."""

from __future__ import annotations

import numpy as np
import shapely
from matplotlib.collections import PolyCollection

from ssl4eo.locations.polygons import land_parts
from ssl4eo.locations.table import PlaceTable
from ssl4eo.report.style import BLUE, ORANGE, RULE, new_figure, note, png, styled

_SEA, _SHORE = "#f6f8fa", "#b8c2cc"
_MARGIN = 0.08
"""Around the points, of their extent."""
_WHOLE = (-180.0, 180.0, -90.0, 90.0)
_LARGE = 120.0
"""Points that span more degrees of longitude are shown on the whole Earth."""


def draw_map(table: PlaceTable, *, title: str = "") -> bytes:
    """Draw the first points of all places, spare ones small below them, as PNG bytes.

    Args:
        table: places.
        title: above the map.
    """
    west, east, south, north = _extent(table)
    height = min(9.0, max(3.0, 10 * (north - south) / (east - west)))
    figure = new_figure(10, height + 0.8)
    with styled():
        axes = figure.add_axes((0.06, 0.09, 0.92, 0.82))
        axes.set_facecolor(_SEA)
        land = land_parts()
        lakes = [hole for part in land for hole in part.interiors]
        for rings, color in (([part.exterior for part in land], RULE), (lakes, _SEA)):
            outlines = [shapely.get_coordinates(ring) for ring in rings]
            axes.add_collection(PolyCollection(outlines, facecolors=color, edgecolors=_SHORE, linewidths=0.3))
        first = table.is_first
        size = float(np.clip(4000 / max(1, int(first.sum())), 0.3, 12))
        if not first.all():
            axes.scatter(
                table.lons[~first], table.lats[~first], s=size / 3, c=ORANGE, linewidths=0, label="spare points"
            )
        axes.scatter(table.lons[first], table.lats[first], s=size, c=BLUE, linewidths=0, label="first points")
        axes.set_xlim(west, east)
        axes.set_ylim(south, north)
        axes.set_aspect("equal")
        axes.set_xlabel("longitude [deg]")
        axes.set_ylabel("latitude [deg]")
        if (west, east, south, north) == _WHOLE:
            axes.set_xticks(range(-180, 181, 30))
            axes.set_yticks(range(-90, 91, 30))
        if title:
            axes.set_title(title)
        if not first.all():
            legend = axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, fontsize=8)
            for handle in legend.legend_handles:
                handle.set_sizes([12])  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        note(figure, "land: Natural Earth 1:50 million")
        return png(figure)


def _extent(table: PlaceTable) -> tuple[float, float, float, float]:
    """Give west, east, south and north of the map [deg]."""
    west, east, south, north = table.lons.min(), table.lons.max(), table.lats.min(), table.lats.max()
    if east - west > _LARGE:
        return _WHOLE
    margin = max(0.5, _MARGIN * max(east - west, north - south))
    return (
        max(-180.0, float(west - margin)),
        min(180.0, float(east + margin)),
        max(-90.0, float(south - margin)),
        min(90.0, float(north + margin)),
    )
