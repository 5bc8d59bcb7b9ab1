# SPDX-License-Identifier: Apache-2.0
"""How long does an exact search by likeness take, beside brute force in NumPy?

    python benchmarks/bench_likeness.py [--rows 1000000] [--dimensions 384] [--queries 15]

Synthetic vectors whose directions fade as 1 / i, or (--flat) do not fade at all, the worst case. Prints, of single
queries one after the other, the median of the time that passes and of the time that processors compute (all threads; on
a machine that others use, only the second is ours), for `Scan` of all values, of sketches first, and for the product of
NumPy with a partition; and whether all give the same rows. Then, with --plane N, the plane of N of the places.
"""

from __future__ import annotations

import argparse
import json
import os
import time

import numpy as np

from ssl4eo.environment import environment
from ssl4eo.likeness.embeddings import unit_rows
from ssl4eo.likeness.plane import plane
from ssl4eo.likeness.search import Scan

K = 10


def vectors_of(rows, dimensions, *, flat):
    rng = np.random.default_rng(0)
    fade = 1 if flat else 1 / np.arange(1, dimensions + 1, dtype=np.float32)
    out = np.empty((rows, dimensions), np.float32)
    for start in range(0, rows, 50_000):
        stop = min(start + 50_000, rows)
        out[start:stop] = unit_rows(0.05 + fade * rng.standard_normal((stop - start, dimensions), dtype=np.float32))
    return out


def brute(vectors, query):
    products = vectors @ query
    best = np.argpartition(-products, K)[:K]
    return best[np.argsort(-products[best])]


def timed(search, queries):
    passed, computed, found = [], [], []
    for query in queries:
        start, begin = time.perf_counter(), time.process_time()
        found.append(search(query))
        passed.append(time.perf_counter() - start)
        computed.append(time.process_time() - begin)
    return {"ms": round(1e3 * float(np.median(passed)), 1), "cpu_ms": round(1e3 * float(np.median(computed)), 1)}, found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--queries", type=int, default=15)
    parser.add_argument("--flat", action="store_true", help="vectors without main directions")
    parser.add_argument("--plane", type=int, default=0, help="places to lay out in the plane")
    args = parser.parse_args()
    vectors = vectors_of(args.rows, args.dimensions, flat=args.flat)
    queries = vectors[np.random.default_rng(1).choice(args.rows, args.queries, replace=False)]
    rows = {}
    rows["numpy"], truth = timed(lambda query: brute(vectors, query), queries)
    for name, sketched in (("all values", False), ("sketches first", True)):
        start = time.perf_counter()
        scan = Scan(vectors, sketched=sketched)
        built = time.perf_counter() - start
        rows[name], found = timed(lambda query, scan=scan: scan.search(query, K)[0], queries)
        same = sum(set(a.tolist()) == set(b.tolist()) for a, b in zip(found, truth, strict=True))
        ratio = rows["numpy"]["cpu_ms"] / rows[name]["cpu_ms"]
        rows[name] |= {
            "build_s": round(built, 1),
            "same_rows": f"{same} of {len(truth)}",
            "numpy/this, cpu": round(ratio, 2),
        }
        del scan
    if args.plane:
        start, begin = time.perf_counter(), time.process_time()
        plane(vectors[: args.plane])
        rows["plane"] = {"places": args.plane, "s": round(time.perf_counter() - start, 1)}
        rows["plane"]["cpu_s"] = round(time.process_time() - begin, 1)
    print(
        json.dumps(
            {"rows": args.rows, "dimensions": args.dimensions, "flat": args.flat, "load": os.getloadavg(), **rows},
            indent=2,
        )
    )
    print(json.dumps(environment()))


if __name__ == "__main__":
    main()
