# SPDX-License-Identifier: Apache-2.0
"""How many synthetic locations a second does one core make?

Run: OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/bench_planet.py
Prints the time of a location for all modalities and for each alone: best and median over rounds of
10 locations (one of each scene), and locations a second at the median.
"""

from __future__ import annotations

import statistics
import sys
import time

from ssl4eo.collection.synthetic import SCENES, VERSION, SyntheticPlanet

ROUNDS = 5
ALL = ("S1GRD", "S2L1C", "S2L2A")


def seconds_a_location(modalities: tuple[str, ...]) -> list[float]:
    """Time rounds of one location of each scene; the first, which fills tables, is not counted."""
    planet = SyntheticPlanet(len(SCENES) * (ROUNDS + 1), modalities=modalities)
    ids = planet.ids()
    times: list[float] = []
    for first in range(0, len(ids), len(SCENES)):
        start = time.perf_counter()
        for location in ids[first : first + len(SCENES)]:
            planet.read(location)
        times.append((time.perf_counter() - start) / len(SCENES))
    return times[1:]


def main() -> None:
    print(f"synthetic planet version {VERSION}, 4 seasons, 264 px; {ROUNDS} rounds of {len(SCENES)} locations")
    print(f"{'modalities':<24}{'best [ms]':>12}{'median [ms]':>12}{'locations/s':>12}")
    for modalities in (ALL, *((name,) for name in ALL)):
        times = seconds_a_location(modalities)
        median = statistics.median(times)
        print(f"{' '.join(modalities):<24}{min(times) * 1e3:>12.1f}{median * 1e3:>12.1f}{1 / median:>12.1f}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
