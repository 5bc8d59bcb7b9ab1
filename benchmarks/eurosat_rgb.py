# SPDX-License-Identifier: Apache-2.0
"""MoCo v2, ResNet-18, on EuroSAT RGB at 64 px: what does pre-training add to the untrained network?

    python benchmarks/eurosat_rgb.py --root EuroSAT_RGB --out runs/eurosat --seeds 0 1 2

For each seed: `ssl4eo pretrain` on the training tiles of split `reference`, then k-NN and linear probe on the test
tiles, pre-trained and untrained. Prints the table and seconds; runs that are there already are gone on with.
Further options are handed to `ssl4eo pretrain`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

RECIPE = "moco_v2.resnet18.s2rgb.tiny"


def ssl4eo(*arguments):
    subprocess.run([sys.executable, "-m", "ssl4eo.cli", *map(str, arguments)], check=True)


def one_seed(args, seed, overrides):
    run = args.out / f"seed-{seed}"
    timing = run / "seconds.json"
    if not timing.exists():
        started = time.perf_counter()
        common = ["--recipe", RECIPE, "--data", args.root, "--out", run, "--engine.seed", seed]
        ssl4eo("pretrain", *common, "--resume", *overrides)
        timing.write_text(json.dumps(time.perf_counter() - started))
    if not (run / "scores.jsonl").exists():
        common = ["--task", "eurosat", "--root", args.root, "--out", run, "--save_features"]
        untrained = ["--checkpoint", f"random.{RECIPE.split('.')[1]}.s2rgb", "--image_size", 64, "--seeds", seed]
        ssl4eo("evaluate", *untrained, *common)
        ssl4eo("evaluate", "--checkpoint", run, *common)
    scores = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    return scores, json.loads(timing.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args, overrides = parser.parse_known_args()
    results = [one_seed(args, seed, overrides) for seed in args.seeds]
    print("| protocol | untrained | pre-trained | difference |\n|---|---|---|---|")
    for protocol in ("knn", "linear"):
        rows = [r for scores, _ in results for r in scores if r["protocol"] == protocol]
        values = {t: [100 * r["value"] for r in rows if r["pretrained"] is t] for t in (False, True)}
        cells = [f"{statistics.mean(v):.1f} ± {statistics.stdev(v) if len(v) > 1 else 0:.1f}" for v in values.values()]
        gain = statistics.mean(values[True]) - statistics.mean(values[False])
        print(f"| {protocol} | {cells[0]} | {cells[1]} | {gain:+.1f} |")
    print("seconds of `ssl4eo pretrain` by seed:", [round(seconds) for _, seconds in results])


if __name__ == "__main__":
    main()
