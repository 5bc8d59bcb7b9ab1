# SPDX-License-Identifier: Apache-2.0
"""What does each method add to its untrained network, on EuroSAT RGB at 64 px, in minutes on two cores?

    python benchmarks/eurosat_rgb.py --root EuroSAT_RGB --out runs/eurosat \
        --recipes moco_v2.resnet18.s2rgb.tiny mae.vit_small_16.s2rgb.tiny --seeds 0 1 2

For each recipe and seed: `ssl4eo pretrain` on the training tiles of split `reference`, then k-NN and linear probe on
the test tiles, of the network before the first step and after the last. Prints the table with the wall seconds and
the processor seconds of `ssl4eo pretrain`; runs that are there already are gone on with. Options after `--` are
handed to `ssl4eo pretrain`.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path


def ssl4eo(*arguments):
    subprocess.run([sys.executable, "-m", "ssl4eo.cli", *map(str, arguments)], check=True)


def processor_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def one_seed(args, recipe, seed, overrides):
    run = args.out / recipe / f"seed-{seed}"
    timing = run / "seconds.json"
    if not timing.exists():
        wall, used = time.perf_counter(), processor_seconds()
        common = ["--recipe", recipe, "--data", args.root, "--out", run, "--engine.seed", seed]
        ssl4eo("pretrain", *common, "--resume", *overrides)
        timing.write_text(json.dumps([time.perf_counter() - wall, processor_seconds() - used]))
    if not (run / "scores.jsonl").exists():
        common = ["--checkpoint", run, "--task", "eurosat", "--root", args.root, "--out", run]
        ssl4eo("evaluate", "--untrained", *common)
        ssl4eo("evaluate", *common)
    scores = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    values = {(s["protocol"], s["pretrained"]): 100 * s["value"] for s in scores}
    commit = json.loads((run / "config.json").read_text())["environment"].get("commit")
    return values, json.loads(timing.read_text()), commit


def spread(values):
    text = f"{statistics.mean(values):.1f}"
    return f"{text} ± {statistics.stdev(values):.1f}" if len(values) > 1 else text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", default=["moco_v2.resnet18.s2rgb.tiny"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args, overrides = parser.parse_known_args()
    overrides = [o for o in overrides if o != "--"]
    head = (
        "recipe",
        "seeds",
        "k-NN untrained",
        "k-NN",
        "gain",
        "linear untrained",
        "linear",
        "gain",
        "wall s",
        "CPU s",
    )
    lines = []
    for recipe in args.recipes:
        results = [one_seed(args, recipe, seed, overrides) for seed in args.seeds]
        cells = [f"`{recipe}`", " ".join(map(str, args.seeds))]
        for protocol in ("knn", "linear"):
            before, after = ([values[protocol, trained] for values, *_ in results] for trained in (False, True))
            cells += [spread(before), spread(after), f"{statistics.mean(after) - statistics.mean(before):+.1f}"]
        cells += [" ".join(f"{seconds[i]:.0f}" for _, seconds, _ in results) for i in (0, 1)]
        lines.append(f"| {' | '.join(cells)} |")
        print(recipe, "commit", {commit for *_, commit in results}, flush=True)
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
