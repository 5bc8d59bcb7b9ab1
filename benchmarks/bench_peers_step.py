# SPDX-License-Identifier: Apache-2.0
"""How long is a MoCo v2 step of ours beside TorchGeo's MoCoTask and lightly's parts?

    python benchmarks/bench_peers_step.py [--backbone resnet50] [--batch 16] [--rounds 7]

Each form has a process of its own, since how freed memory is treated is a matter of the whole process; one computes at
a time, in turn. 13 bands, median over the rounds, one untimed step first.
As documented: TorchGeo takes float32 NCHW images and augments them with kornia inside its step; lightly takes views
that its transforms made before (not counted: they take RGB pictures only), runs float32 NCHW and has a bank of 4,096;
ours is the recipe as `ssl4eo pretrain` runs it here, from native pixels in memory: crops, flips and blur, which the
loader makes beside the step on the same cores, are made here before the step, on one core, and counted in full.
Equal: float32, channels_last, the same two ready views for all three, a queue of 65,536, freed memory kept by all.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import statistics
import time

import numpy as np
import timm
import torch

from bench_step import Step, random_batch
from peers import LightlyMoCo, TorchGeoMoCo
from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import stored
from ssl4eo.environment import environment
from ssl4eo.form import Form
from ssl4eo.loading.batches import ViewDataset
from ssl4eo.memory import keep_freed_memory
from ssl4eo.pretraining.launch import computes_in_bf16
from ssl4eo.recipes.table import recipe

QUEUE, SIZE, BANDS = 65_536, 224, 13
SIDE_M = 2640
"""Side of a patch [m]: 264 px at 10 m."""
STEP, STOP = "step", "stop"


class Noise:
    """Random digital numbers at native resolution in memory, as a source of pixels; synthetic."""

    title, synthetic, identity, num_seasons = "synthetic noise", True, "noise", 4
    contract, form = stored("S2L1C"), Form.native("S2L1C")

    def __init__(self, count):
        """Draw the seasons of one patch; all items have them."""
        rng, self.count = np.random.default_rng(0), count
        self.seasons = [
            {r: rng.integers(1, 5000, (len(b), SIDE_M // r, SIDE_M // r), np.uint16) for r, b in self.form.groups}
            for _ in range(self.num_seasons)
        ]

    def __len__(self):
        """Count the items."""
        return self.count

    def id_of(self, index):
        """Name an item."""
        return str(index)

    def pixels(self, index, season, *, resolutions=None):
        """Give a season."""
        return self.seasons[season]


def ours(args, *, equal):
    """Give a step of ours: from pixels, each time in other views, or from views that are ready."""
    name = f"moco_v2.{args.backbone}.s2l1c"
    precision = "bf16-mixed" if computes_in_bf16("cpu") and not equal else "32-true"
    config, step = recipe(name).config(), Step(name, args.batch, precision=precision, channels_last=True)
    if equal:
        batch = random_batch(config, args.batch)
        batch = dataclasses.replace(batch, views=ready_views(args, channels_last=True), finished=True)
        return lambda: step(batch)
    source, epochs = Noise(args.batch), itertools.count()
    adapter = Adapter(source.contract, config.contract)
    dataset = ViewDataset(source, config.views, contract=source.contract, seed=0, adapter=adapter)

    def from_pixels():
        epoch = next(epochs)
        step(dataset.__getitems__([(epoch, index) for index in range(args.batch)]))

    return from_pixels


def torchgeo(args, *, equal):
    """Give a step of TorchGeo's; it takes both views stacked along the bands where they are ready."""
    layout = {"arch": args.backbone, "bands": BANDS, "size": SIZE, "batch": args.batch}
    task = TorchGeoMoCo(**layout, channels_last=equal, augment=not equal)
    views = ready_views(args, channels_last=equal)
    images = torch.cat(views, dim=1).contiguous(memory_format=torch.channels_last) if equal else views[0]
    return lambda: task.step(images)


def lightly(args, *, equal):
    """Give a step of lightly's parts."""
    backbone = timm.create_model(args.backbone, in_chans=BANDS, num_classes=0)
    task = LightlyMoCo(backbone, backbone.num_features, **({"bank": QUEUE} if equal else {}))
    if equal:
        task.to(memory_format=torch.channels_last)
    first, second = ready_views(args, channels_last=equal)
    return lambda: task.step(first, second, 0.996)


CONTENDERS = {"ours": ours, "TorchGeo MoCoTask": torchgeo, "lightly's parts": lightly}


def ready_views(args, *, channels_last):
    """Make two views (B, 13, 224, 224) in 0..1."""
    images = torch.rand(args.batch, BANDS, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return tuple(view.contiguous(memory_format=layout) for view in (images, images.flip(0)))


def serve(pipe, name, args, equal):
    """Take a step at each request and send how long it took [s]."""
    if equal or name == "ours":
        keep_freed_memory()
    step = CONTENDERS[name](args, equal=equal)
    step()
    pipe.send(0.0)
    while pipe.recv() == STEP:
        started = time.perf_counter()
        step()
        pipe.send(time.perf_counter() - started)


def measure(args, *, equal):
    """Give images a second by contender, steps in turn."""
    context, seconds = multiprocessing.get_context("spawn"), {name: [] for name in CONTENDERS}
    with contextlib.ExitStack() as held:
        pipes = {}
        for name in CONTENDERS:
            pipes[name], far = context.Pipe()
            process = context.Process(target=serve, args=(far, name, args, equal), daemon=True)
            process.start()
            held.callback(process.join)
            held.callback(pipes[name].send, STOP)
            pipes[name].recv()
        for _ in range(args.rounds):
            for name, pipe in pipes.items():
                pipe.send(STEP)
                seconds[name].append(pipe.recv())
    return {name: args.batch / statistics.median(times) for name, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    print("| form | contender | images/s | ours / this |\n|---|---|---|---|")
    for form, equal in (("as documented", False), ("equal", True)):
        rates = measure(args, equal=equal)
        for name, rate in rates.items():
            print(f"| {form} | {name} | {rate:.2f} | {rates['ours'] / rate:.2f} |", flush=True)
    print(json.dumps({"arguments": vars(args), "environment": environment()}))


if __name__ == "__main__":
    main()
