# SPDX-License-Identifier: Apache-2.0
"""Is the strong linear probe faster, and as good, as 100 epochs of SGD through the frozen network?

    python benchmarks/bench_probe.py --root EuroSAT_RGB --checkpoint runs/eurosat --out runs/probe [--epochs 100]

One network on EuroSAT RGB, split `reference`. Strong (`linear`): features of the training and the validation part
computed once, ten fits of L-BFGS on the training part, the best on validation. SGD (`linear_as_published` of the
network's method): random crops through the frozen network at every step, a look at validation after each epoch, the
best of all epochs counts. One process, one after the other; SGD may be interrupted and goes on, its seconds add up.
A smaller `--image_size` makes SGD, and only that, cheaper: the ratio is then a lower bound.
`--epochs` below 100 shortens its schedule and scales its seconds to 100 epochs, which the table says.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from ssl4eo.environment import environment
from ssl4eo.evaluation.features import extract
from ssl4eo.evaluation.network import load_network
from ssl4eo.evaluation.protocols.linear import choose_strength
from ssl4eo.evaluation.protocols.protocol import Trial
from ssl4eo.evaluation.protocols.table import PROTOCOLS
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.evaluation.tasks.task import PARTS

PUBLISHED = 100


def strong(network, parts):
    begin = time.perf_counter()
    features = {name: extract(network.backbone, parts[name]).double() for name in ("train", "validation")}
    extracted = time.perf_counter()
    labels = {name: torch.from_numpy(parts[name].labels) for name in features}
    choice = choose_strength(features["train"], labels["train"], features["validation"], labels["validation"])
    return max(choice.values), extracted - begin, time.perf_counter() - extracted


def sgd(network, task, parts, epochs, out):
    """Train and give the best value on validation and the seconds of all calls."""
    clock, before = out / "seconds.json", 0.0
    if clock.exists():
        before = json.loads(clock.read_text())
    begin = time.perf_counter()

    def keep(*_):
        clock.write_text(json.dumps(before + time.perf_counter() - begin))

    prediction = PROTOCOLS["linear_as_published"].on_pixels(
        Trial(
            backbone=network.backbone,
            method=network.method,
            task=task.name,
            kind=task.kind,
            num_classes=task.num_classes,
            train=parts["train"],
            validation=parts["validation"],
            test=parts["validation"].take(np.arange(1)).without_answers(),  # nobody looks at it
            seed=0,
            precision="32",
            epochs=epochs,
            folder=out / "training",
            progress=keep,
        )
    )
    return max(row["validation"] for row in prediction.curve), json.loads(clock.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=PUBLISHED)
    parser.add_argument("--image_size", type=int, default=None)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    network = load_network(args.checkpoint, image_size=args.image_size)
    task = open_task("eurosat", args.root, contract=network.backbone.contract)
    parts = {name: task.part(name) for name in PARTS}
    print(json.dumps(environment(), default=str))
    print(f"{len(parts['train'])} training and {len(parts['validation'])} validation tiles", flush=True)
    value, extraction, fits = strong(network, parts)
    print(f"strong: validation accuracy {value:.4f}; features {extraction:.1f} s, fits {fits:.1f} s", flush=True)
    best, seconds = sgd(network, task, parts, args.epochs, args.out)
    whole = seconds * PUBLISHED / args.epochs
    told = "" if args.epochs == PUBLISHED else f", scaled from {args.epochs} epochs"
    print(f"SGD: best validation accuracy {best:.4f}; {PUBLISHED} epochs {whole:.0f} s{told}")
    print(f"on features: {whole / fits:.0f} x; with their extraction: {whole / (extraction + fits):.0f} x")


if __name__ == "__main__":
    main()
