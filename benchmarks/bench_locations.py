# SPDX-License-Identifier: Apache-2.0
"""How long does it take to draw 250,000 places, all apart?

    python benchmarks/bench_locations.py [--count 250000] [--spares 0 3] [--around cities sphere land]

One process, one thread: GeoNames' 10,000 largest cities with 50 km, the whole sphere, the land that ships with the
package; patches of 2640 m that cannot overlap. Prints seconds of drawing (wall and of this process; the sampler's
tables are read before), draws a point, and the largest resident memory of a process that does nothing else; then
CPU seconds to write the table, to read it, and to make the list of places. Each row runs in a process of its own.
It checks the least distance of all points by a search tree. The floor is 250,000 draws in 60 s.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from ssl4eo.environment import environment
from ssl4eo.locations.cities import AroundCities, largest
from ssl4eo.locations.placing import Drawing, draw
from ssl4eo.locations.polygons import on_land
from ssl4eo.locations.reading import read_table_of
from ssl4eo.locations.spacing import nearest, no_overlap
from ssl4eo.locations.sphere import OnSphere
from ssl4eo.locations.table import write_table

HEAD = (
    "| around | points | draw [s] | CPU [s] | draws a point | peak [GiB] | "
    "write [s] | MB | read [s] | list [s] | least [m] |"
)

SAMPLERS = {
    "cities": lambda: AroundCities(largest("geonames", 10_000), sigma_km=50),
    "sphere": OnSphere,
    "land": on_land,
}


def timed(act):
    wall, cpu = time.perf_counter(), time.process_time()
    result = act()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def measure(around, count, spares):
    sampler, spacing = SAMPLERS[around](), no_overlap(2640)
    table, wall, cpu = timed(lambda: draw(sampler, Drawing(count, spacing, spares=spares)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "places.parquet"
        _, _, written = timed(lambda: write_table(path, table))
        size = path.stat().st_size / 1e6
        again, _, read = timed(lambda: read_table_of(path))
        places, _, listed = timed(again.places)
    assert len(places) == count
    least = nearest(table.lons, table.lats)[0].min()
    assert least >= spacing.meters
    draws = (table.draws[table.attempts == spares] + 1).sum() / len(table)
    print(
        f"| {around} | {len(table)} | {wall:.1f} | {cpu:.1f} | {draws:.3f} | {peak:.2f} | {written:.1f} | {size:.1f} | "
        f"{read:.2f} | {listed:.1f} | {least:.1f} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=250_000)
    parser.add_argument("--spares", type=int, nargs="+", default=[0, 3])
    parser.add_argument("--around", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    args = parser.parse_args()
    print(json.dumps(environment(), default=str))
    print(HEAD)
    print("|---" * HEAD.count(" | ") + "|---|")
    context = multiprocessing.get_context("spawn")
    for around in args.around:
        for spares in args.spares:
            process = context.Process(target=measure, args=(around, args.count, spares))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
