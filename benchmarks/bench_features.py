# SPDX-License-Identifier: Apache-2.0
"""How much of the bare forward pass does feature extraction reach?

    python benchmarks/bench_features.py --root EuroSAT_RGB [--backbone resnet50] [--size 224] [--rounds 5]

`extract` reads, decodes, resizes, converts and scales the tiles of EuroSAT RGB and passes them through an untrained
network; bare: the same network over batches that are scaled already and lie in memory. One process, in turn; the
ratio of the medians of images per second. Both use all cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from ssl4eo.environment import environment
from ssl4eo.evaluation.features import evaluating, extract
from ssl4eo.evaluation.network import load_network
from ssl4eo.evaluation.tasks.table import open_task

BATCH = 64


def bare(backbone, count, precision):
    contract, size = backbone.contract, backbone.image_size
    images = torch.rand(BATCH, contract.num_bands, size, size).contiguous(memory_format=torch.channels_last)
    with evaluating(backbone), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, precision == "bf16"):
        begin = time.perf_counter()
        for _ in range(count // BATCH):
            backbone(images).float()
        return count // BATCH * BATCH / (time.perf_counter() - begin)


def extracted(backbone, part, precision):
    begin = time.perf_counter()
    extract(backbone, part, batch_size=BATCH, precision=precision)
    return len(part) / (time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["32", "bf16"], default="32")
    args = parser.parse_args()
    network = load_network(f"random.{args.backbone}.s2rgb", image_size=args.size)
    everything = open_task("eurosat", args.root, contract=network.backbone.contract).everything
    part = everything.take(np.arange(0, len(everything), len(everything) // args.count)[: args.count])
    print(json.dumps(environment(), default=str))
    bare(network.backbone, BATCH, args.precision)
    rows = []
    for number in range(args.rounds):
        pair = [
            lambda: bare(network.backbone, len(part), args.precision),
            lambda: extracted(network.backbone, part, args.precision),
        ]
        values = [act() for act in pair] if number % 2 == 0 else [act() for act in reversed(pair)][::-1]
        rows.append(values)
    ours = [value for _, value in rows]
    plain = [value for value, _ in rows]
    print(
        f"{args.backbone} at {args.size} px, precision {args.precision}: bare {statistics.median(plain):.1f} images/s, "
        f"extraction {statistics.median(ours):.1f}, ratio {statistics.median(ours) / statistics.median(plain):.3f}; "
        f"by round {', '.join(f'{b / a:.3f}' for a, b in rows)}"
    )


if __name__ == "__main__":
    main()
