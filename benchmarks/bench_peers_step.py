# SPDX-License-Identifier: Apache-2.0
"""How long is a MoCo v2 step of ours beside TorchGeo's MoCoTask and lightly's parts?

    python benchmarks/bench_peers_step.py [--backbone resnet50] [--batch 16] [--rounds 5]

One process, all forms in turn, 13 bands, median over the rounds.
As documented: TorchGeo takes float32 NCHW images and augments them with kornia inside its step; lightly takes views
that its transforms made before (not counted: they take RGB pictures only) and runs float32 NCHW; ours is the recipe
as `ssl4eo pretrain` runs it here, its photometric changes counted, its crops not (they are made by the loader).
Equal: float32, channels_last, the same two ready views for all three, a queue of 65,536.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import timm
import torch

from bench_step import Step, random_batch
from peers import LightlyMoCo, TorchGeoMoCo
from ssl4eo.environment import environment
from ssl4eo.pretraining.launch import computes_in_bf16
from ssl4eo.recipes.table import recipe

QUEUE, SIZE = 65_536, 224


def forms(args):
    """Give by name what is timed, each a function without arguments, with the name it is compared with."""
    name = f"moco_v2.{args.backbone}.s2l1c"
    batch = random_batch(recipe(name).config(), args.batch)
    images = torch.rand(args.batch, 13, SIZE, SIZE)
    both = torch.cat([images, images.flip(0)], dim=1)
    last = both.contiguous(memory_format=torch.channels_last)
    layout = {"arch": args.backbone, "bands": 13, "size": SIZE, "batch": args.batch}
    precision = "bf16-mixed" if computes_in_bf16("cpu") else "32-true"
    ours, equal = (Step(name, args.batch, precision=p, channels_last=True) for p in (precision, "32-true"))
    geo = TorchGeoMoCo(**layout)
    geo_equal = TorchGeoMoCo(**layout, channels_last=True, augment=False)
    light, light_equal = (_lightly(args) for _ in range(2))
    light_equal.to(memory_format=torch.channels_last)
    first, second = (v.contiguous(memory_format=torch.channels_last) for v in (images, images.flip(0)))
    return {
        f"ours, as documented ({precision}, channels_last)": lambda: ours(batch),
        "TorchGeo MoCoTask, as documented": lambda: geo.step(images),
        "lightly's parts, as documented": lambda: light.step(images, images.flip(0), 0.996),
        "ours, float32, channels_last": lambda: equal(batch),
        "TorchGeo MoCoTask, float32, channels_last, no augmentation": lambda: geo_equal.step(last),
        "lightly's parts, float32, channels_last": lambda: light_equal.step(first, second, 0.996),
    }


def _lightly(args):
    backbone = timm.create_model(args.backbone, in_chans=13, num_classes=0)
    return LightlyMoCo(backbone, backbone.num_features, bank=QUEUE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    runs = forms(args)
    seconds = {name: [] for name in runs}
    for number in range(args.rounds + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    rate = {name: args.batch / statistics.median(times) for name, times in seconds.items()}
    names = list(rate)
    print("| form | images/s | ours / this |\n|---|---|---|")
    for group in (names[:3], names[3:]):
        for name in group:
            print(f"| {name} | {rate[name]:.2f} | {rate[group[0]] / rate[name]:.2f} |")
    print(json.dumps({"rates": rate, "arguments": vars(args), "environment": environment()}))


if __name__ == "__main__":
    main()
