# SPDX-License-Identifier: Apache-2.0
"""Make src/ssl4eo/locations/land.parquet from Natural Earth's land as the npm package world-atlas has it.

    npm pack world-atlas@2.0.2 && tar xzf world-atlas-2.0.2.tgz
    python benchmarks/make_land.py package/land-50m.json src/ssl4eo/locations/land.parquet

world-atlas keeps TopoJSON: arcs as steps between whole numbers, and polygons as lists of arcs, joined across the
antimeridian. Here they become plain polygons, cut at the antimeridian, one a row, as GeoParquet. Made once; nothing
needs this script to run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from ssl4eo.locations.antimeridian import cut

DIGITS = 4
"""Decimals kept [deg]: 11 m, finer than the 0.0036 degrees that world-atlas keeps."""


def rings_of(topology):
    """Decode all polygons: a list of rings each, (N, 2) [deg], the outer one first."""
    scale, origin = (np.array(topology["transform"][key]) for key in ("scale", "translate"))
    arcs = [np.cumsum(arc, axis=0) * scale + origin for arc in topology["arcs"]]

    def ring(numbers):
        pieces = [arcs[n] if n >= 0 else arcs[~n][::-1] for n in numbers]
        points = np.concatenate([pieces[0], *[piece[1:] for piece in pieces[1:]]])
        points[points[:, 0] >= 180, 0] -= 360  # one spelling of the antimeridian
        return points

    for geometry in topology["objects"]["land"]["geometries"]:
        for polygon in geometry["arcs"]:
            yield [ring(numbers) for numbers in polygon]


def main():
    source, target = map(Path, sys.argv[1:])
    parts = [cut(shapely.Polygon(outer, holes)) for outer, *holes in rings_of(json.loads(source.read_text()))]
    whole = shapely.make_valid(shapely.set_precision(shapely.union_all(parts), 10.0**-DIGITS))
    polygons = sorted(
        (p for p in shapely.get_parts(whole) if p.geom_type == "Polygon" and p.area), key=lambda p: p.bounds
    )
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Polygon"]}},
    }
    schema = pa.schema({"geometry": pa.binary()}, metadata={"geo": json.dumps(geo)})
    table = pa.table({"geometry": shapely.to_wkb(polygons)}, schema=schema)
    pq.write_table(table, target, compression="zstd", compression_level=19, use_dictionary=False)
    num_points = sum(map(shapely.get_num_coordinates, polygons))
    print(f"{len(polygons)} polygons, {num_points} points, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
