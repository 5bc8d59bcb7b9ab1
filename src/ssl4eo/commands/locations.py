# SPDX-License-Identifier: Apache-2.0
"""`ssl4eo locations draw|show`: each action is a function whose signature is its command line.

What does the work is loaded when it is called, so that every help answers at once.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from ssl4eo.commands.actions import Action, Actions


def draw_places(  # noqa: PLR0913 - the options of the command line
    *,
    out: Path,
    around: Literal["cities", "land", "sphere", "polygons", "strata", "matched"] = "cities",
    count: int | None = None,
    seed: int = 0,
    spares: int = 3,
    cities: int = 10000,
    city_table: str = "geonames",
    sigma_km: float = 50.0,
    polygons: Path | None = None,
    raster: Path | None = None,
    shares: tuple[str, ...] = (),
    points: Path | None = None,
    patch_m: float = 2640.0,
    spacing: Literal["no_overlap", "as_published", "none"] | float = "no_overlap",
    first: int = 0,
    most_draws: int = 1000,
    plan: bool = False,
    json: bool = False,
) -> int:
    """Draw places, or take them from a list, into a table; the same options give the same table.

    Args:
        out: table to make, GeoParquet (.parquet) or .csv; it must not exist yet.
        around: cities, land, the whole sphere, polygons of a file, strata of a raster, or matched with a list.
        count: number of places; a list has its own.
        seed: of everything that is drawn.
        spares: further points a place, tried where the first shows no suitable image.
        cities: how many of the largest cities points are drawn around.
        city_table: geonames, or a CSV with longitude, latitude and population, such as simplemaps' worldcities.csv.
        sigma_km: standard deviation of the distance from the city, east and north each [km].
        polygons: file of polygons, any that GDAL reads.
        raster: of classes, as whole numbers.
        shares: of each class as class=share; left out, all classes alike.
        points: list of points, CSV (id, lon, lat) or GeoParquet; ids are kept.
        patch_m: width of a patch on the ground [m].
        spacing: no_overlap (no two patches can overlap), as_published (1.5 half-widths in degrees), none, or meters.
        first: number of the first place; ids have 7 digits.
        most_draws: draws for one point before drawing gives up.
        plan: check and say what would be drawn, and draw nothing.
        json: print the result as JSON.
    """
    from ssl4eo.commands.locations_draw import Choice, run_draw
    from ssl4eo.locations.placing import Drawing

    choice = Choice(
        around=around,
        cities=cities,
        city_table=city_table,
        sigma_km=sigma_km,
        polygons=polygons,
        raster=raster,
        shares=shares,
        points=points,
    )
    drawing = None
    if count is not None:
        drawing = partial(Drawing, count, seed=seed, spares=spares, first=first, most_draws=most_draws)
    return run_draw(choice, out=out, drawing=drawing, patch_m=patch_m, spacing=spacing, plan=plan, json=json)


def show_places(path: Path, *, map: Path | None = None, geojson: Path | None = None, json: bool = False) -> int:  # noqa: A002 - the option's name
    """Show counts, extent, distances and latitudes of a table of places; draw a map of it.

    Args:
        path: table of places, as `draw` writes it, or a list of points.
        map: PNG file to make: first points and spare ones over the outlines of land.
        geojson: GeoJSON file to make of all points.
        json: print JSON for programs.
    """
    from ssl4eo.commands.locations_show import run_show

    return run_show(path, picture=map, geojson=geojson, json=json)


ACTIONS = Actions(
    "locations",
    "Places to collect: draw them or take them from a list, and look at them.",
    {
        "draw": Action(draw_places, "places into a table", "draw --out places.parquet --count 1000 --around cities"),
        "show": Action(show_places, "what is in a table, and a map", "show places.parquet --map map.png"),
    },
)
build_parser, run_parsed = ACTIONS.build_parser, ACTIONS.run_parsed
