# SPDX-License-Identifier: Apache-2.0
"""k-NN and linear probe on 400 hand-labelled Sentinel-2 L2A tiles of 12 bands, in five folds.

    python benchmarks/hand_labelled.py --tiles s2l2a_hand_labelled_400.npz --out runs/hand \
        --checkpoints random.resnet18.s2l2a runs/mine --image_size 64

Writes the tiles as a folder of class folders of GeoTIFFs with a contract.json (L2A, offset 0: the lowest hundredth of
B02 is 82 DN), judges each network by `ssl4eo evaluate --task folder` on fold_1 to fold_5, and adds up: each tile is
judged once, by a probe that did not see it. The interval is 95 %, from 10,000 resamplings of the 400 tiles. Beside
the networks stand the means and standard deviations of the bands, 24 numbers a tile, through the same two protocols.
`--without B01 B09 --fill zero` (or mean) leaves bands out of the files, as So2Sat does, and names what stands for them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ssl4eo.collection.geotiff_write import encode_geotiff
from ssl4eo.contract import network_input, stored
from ssl4eo.evaluation.protocols.protocol import Supervision
from ssl4eo.evaluation.protocols.table import PROTOCOLS
from ssl4eo.evaluation.tasks.folder import FOLDS
from ssl4eo.evaluation.tasks.table import open_task

ON_FEATURES = ("knn", "linear")


def write_folder(tiles, folder, without, fill):
    content = np.load(tiles, allow_pickle=False)
    kept = [n for n, band in enumerate(content["bands"]) if band not in without]
    bands = [str(content["bands"][n]) for n in kept]
    for image, label, name in zip(content["images"], content["labels"], content["names"], strict=True):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        (folder / str(label) / f"{Path(str(name)).stem}.tif").write_bytes(
            encode_geotiff(image[kept], crs="", transform=None, compress="deflate")
        )
    contract = replace(stored("S2L2A", offset=0, bands=bands), fill=fill)
    (folder / "contract.json").write_text(json.dumps(contract.to_json()))


def judge(checkpoint, folder, out, image_size, seeds):
    drawn = ["--seeds", *seeds] if checkpoint.startswith("random.") else []
    for fold in FOLDS:
        command = ["evaluate", "--checkpoint", checkpoint, "--task", "folder", "--root", folder, "--split", fold]
        command += ["--out", out, "--image_size", image_size, "--protocol", *ON_FEATURES, *drawn]
        subprocess.run([sys.executable, "-m", "ssl4eo.cli", *map(str, command)], check=True)
    rows = [json.loads(line) for line in (out / "scores.jsonl").read_text().splitlines()]
    counts = {}
    for row in rows:  # of a measurement that was made twice, the last counts
        counts[row["protocol"], row["seed"], row["split"]] = np.trace(row["confusion"]), np.sum(row["confusion"])
    return {
        (protocol, seed): sum(right for (p, s, _), (right, _) in counts.items() if (p, s) == (protocol, seed))
        for protocol, seed, _ in counts
    }


def statistics_alone(folder):
    right = dict.fromkeys(ON_FEATURES, 0)
    for fold in FOLDS:
        task = open_task("folder", folder, contract=network_input("S2L2A"), split=fold)
        parts = {name: task.part(name) for name in ("train", "validation", "test")}
        features = {}
        for name, part in parts.items():
            pixels = [part.source.pixels(int(item), 0) for item in part.items]
            planes = [np.concatenate([p.reshape(len(p), -1) for p in one.values()]) for one in pixels]
            features[name] = torch.tensor(np.array([np.r_[p.mean(axis=1), p.std(axis=1)] for p in planes]))
        mean, std = features["train"].mean(dim=0), features["train"].std(dim=0)
        features = {name: ((values - mean) / std).float() for name, values in features.items()}
        seen = Supervision(
            features["train"],
            torch.from_numpy(parts["train"].labels),
            features["validation"],
            torch.from_numpy(parts["validation"].labels),
            task.num_classes,
        )
        for name in ON_FEATURES:
            predicted = PROTOCOLS[name].on_features(seen, features["test"]).labels.numpy()
            right[name] += int((predicted == parts["test"].labels).sum())
    return {(name, 0): count for name, count in right.items()}


def interval(right, total):
    drawn = np.random.default_rng(0).binomial(total, right / total, 10_000) / total
    return np.quantile(drawn, [0.025, 0.975])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoints", nargs="+", required=True)
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--without", nargs="*", default=[])
    parser.add_argument("--fill", choices=["none", "zero", "mean"], default="none")
    args = parser.parse_args()
    folder = args.out / "tiles"
    if not folder.exists():
        write_folder(args.tiles, folder, args.without, args.fill)
    total = len(list(folder.glob("*/*.tif")))
    found = {} if args.without else {"means and deviations of the bands": statistics_alone(folder)}
    for number, checkpoint in enumerate(args.checkpoints):
        found[checkpoint] = judge(checkpoint, folder, args.out / f"network-{number}", args.image_size, args.seeds)
    print(f"| network | protocol | seed | accuracy [%] of {total} tiles | 95 % interval |\n|---|---|---|---|---|")
    for name, counts in found.items():
        for (protocol, seed), right in sorted(counts.items()):
            low, high = interval(right, total)
            print(
                f"| `{name}` | {protocol} | {seed} | {100 * right / total:.1f} | {100 * low:.1f} to {100 * high:.1f} |"
            )


if __name__ == "__main__":
    main()
