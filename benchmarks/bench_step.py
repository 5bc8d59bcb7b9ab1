# SPDX-License-Identifier: Apache-2.0
"""How much faster is a MoCo v2 step as we run it than the same step in plain float32 NCHW?

    python benchmarks/bench_step.py [--backbone resnet50] [--size 224] [--batch 16] [--rounds 3]

One process, both forms in turn, the same batch of random 13-band views; prints images a second (median) and the ratio.
A step is what the loop does: scale, photometrics, forward of both networks, backward, SGD, key network, queue.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time

import torch
from lightning_fabric import Fabric

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import stored
from ssl4eo.environment import environment
from ssl4eo.loading.batches import Batch
from ssl4eo.methods.method import Moment
from ssl4eo.methods.moco_v2 import MoCoV2Config
from ssl4eo.pretraining.step import Stepper, build_method
from ssl4eo.recipes.table import recipe
from ssl4eo.training.optimizer import make_optimizer


class Step:
    """One form of the step, built once."""

    def __init__(self, args, *, precision, channels_last):
        config = recipe(f"moco_v2.{args.backbone}.s2l1c").config()
        view = dataclasses.replace(config.views.view, size=args.size)
        config = dataclasses.replace(
            config,
            method=MoCoV2Config(dim=128, queue_size=65_536, momentum=0.999, temperature=0.2),
            views=dataclasses.replace(config.views, view=view),
            engine=dataclasses.replace(config.engine, batch_size=args.batch, channels_last=channels_last),
        )
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
        method = build_method(config)
        if channels_last:
            method.to(memory_format=torch.channels_last)
        module, optimizer = fabric.setup(method, make_optimizer(config.optimizer, method.named_parameters()))
        module.train()
        adapter = Adapter(stored("S2L1C"), config.contract)
        self.step = Stepper(fabric, config, method=method, module=module, optimizer=optimizer, adapter=adapter)

    def __call__(self, batch):
        """Do one step."""
        self.step(batch, Moment(step=0, num_steps=100, steps_per_epoch=10))


def random_batch(args):
    generator = torch.Generator().manual_seed(0)
    views = tuple(
        torch.randint(0, 5000, (args.batch, 13, args.size, args.size), generator=generator).to(torch.uint16)
        for _ in range(2)
    )
    rows = torch.ones((args.batch, 15))
    rows[:, 1] = 0
    return Batch(views, (rows, rows), torch.arange(args.batch), torch.zeros((args.batch, 2), dtype=torch.long))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    batch = random_batch(args)
    forms = {
        "float32, NCHW": Step(args, precision="32-true", channels_last=False),
        "bf16, channels_last": Step(args, precision="bf16-mixed", channels_last=True),
    }
    seconds = {name: [] for name in forms}
    for number in range(args.rounds + 1):
        for name, step in forms.items():
            started = time.perf_counter()
            step(batch)
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    rate = {name: args.batch / statistics.median(times) for name, times in seconds.items()}
    first, second = rate.values()
    for name, value in rate.items():
        print(f"{name:<22} {value:6.2f} images/s")
    print(f"ratio {second / first:.2f}")
    print(json.dumps({"rates": rate, "ratio": second / first, "arguments": vars(args), "environment": environment()}))


if __name__ == "__main__":
    main()
