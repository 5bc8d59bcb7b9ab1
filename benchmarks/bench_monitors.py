# SPDX-License-Identifier: Apache-2.0
"""What share of a step do the moving average, the queue and the monitors take? The bound is 5 %.

    python benchmarks/bench_monitors.py [--backbone resnet18] [--size 64] [--batch 64] [--rounds 5] [--threads 1]

One process: whole MoCo v2 steps in float32, and each part alone on the same network, in turn; medians. What comes at
every step counts in full (averages of both networks, queue push, the norm of the gradients, which this recipe takes to
watch it alone, loss and embeddings kept, float of the loss); what comes with a line of the log is divided by log_every
(spread, both ranks, metrics, the line itself). What comes once an epoch or with a checkpoint is not counted: the online
k-NN and probe, and the check of all weights. Times are of the processor, not of the wall, on one thread unless told
otherwise, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import stored
from ssl4eo.environment import environment
from ssl4eo.loading.batches import Batch
from ssl4eo.methods.method import Moment
from ssl4eo.methods.moco_v2 import MoCoV2Config
from ssl4eo.methods.parts import update_average
from ssl4eo.pretraining.fabric import Fabric
from ssl4eo.pretraining.step import Stepper, build_method
from ssl4eo.pretraining.watch import Watch
from ssl4eo.recipes.table import recipe
from ssl4eo.training.journal import Journal
from ssl4eo.training.optimizer import make_optimizer


class NoSource:
    """Stands where a source would be; nothing diverges here."""

    def id_of(self, index):
        """Name an item."""
        return str(index)


def make_config(args):
    config = recipe(f"moco_v2.{args.backbone}.s2l1c").config()
    view = dataclasses.replace(config.views.view, size=args.size)
    return dataclasses.replace(
        config,
        method=MoCoV2Config(dim=128, queue_size=65_536, momentum=0.999, temperature=0.2),
        views=dataclasses.replace(config.views, view=view),
        engine=dataclasses.replace(config.engine, batch_size=args.batch, precision="32-true"),
    )


def random_batch(args):
    generator = torch.Generator().manual_seed(0)
    shape = (args.batch, 13, args.size, args.size)
    views = tuple(torch.randint(0, 5000, shape, generator=generator).to(torch.uint16) for _ in range(2))
    rows = torch.ones((args.batch, 15))
    rows[:, 1] = 0
    return Batch(views, (rows, rows), torch.arange(args.batch), torch.zeros((args.batch, 2), dtype=torch.long))


def timed(work, *given, **options):
    started = time.process_time()
    result = work(*given, **options)
    return time.process_time() - started, result


def make_step(config):
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    method = build_method(config)
    method.to(memory_format=torch.channels_last)
    module, optimizer = fabric.setup(method, make_optimizer(config.optimizer, method.named_parameters()))
    module.train()
    adapter = Adapter(stored("S2L1C"), config.contract)
    return method, Stepper(fabric, config, method=method, module=module, optimizer=optimizer, adapter=adapter)


def move_keys(method):
    """Move both key networks, as the method does before each step."""
    update_average(method.key_backbone, method.backbone, momentum=0.999)
    update_average(method.key_head, method.head, momentum=0.999)


def with_gradients(method):
    """Give the weights that learn, with gradients where the step has taken them away."""
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    for weight in weights:
        weight.grad = torch.full_like(weight, 1e-3) if weight.grad is None else weight.grad
    return weights


def measure(args, run):
    config = make_config(args)
    method, step = make_step(config)
    batch, moment = random_batch(args), Moment(step=0, num_steps=10_000, steps_per_epoch=1_000)
    every = config.engine.log_every
    journal = Journal(run, first_step=0, num_steps=10_000, batch_size=args.batch, quiet=True)
    watch = Watch(config.engine, 1_000, 10_000, journal, None, NoSource(), torch.device("cpu"))
    seconds = {name: [] for name in ("step", "average", "queue", "norm", "watch")}
    for number in range(args.rounds + 1):
        whole, report = timed(step, batch, moment)
        average, _ = timed(move_keys, method)
        queue, _ = timed(method.queue.push, report.embedding)
        norm, _ = timed(torch.nn.utils.clip_grad_norm_, with_gradients(method), float("inf"))
        watched = 0.0
        for late in range(1, every + 1):  # one line of the log and the steps before it, with a full memory
            next(watch.timed(iter([batch])))
            watched += timed(watch.step, number * every + late, report, batch, method=method)[0] / every
        if number:  # the first round warms up
            for name, value in zip(seconds, (whole, average, queue, norm, watched), strict=True):
                seconds[name].append(value)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(args, Path(folder))
    extra = {name: value for name, value in seconds.items() if name != "step"}
    whole = seconds["step"] + seconds["watch"]  # averages, queue and norm are in the step already
    for name, value in extra.items():
        print(f"{name:<8} {1000 * value:8.2f} ms a step, {100 * value / whole:5.2f} %")
    share = sum(extra.values()) / whole
    print(f"together {1000 * sum(extra.values()):8.2f} ms of {1000 * whole:.1f} ms, {100 * share:.2f} %")
    print(json.dumps({"seconds": seconds, "share": share, "arguments": vars(args), "environment": environment()}))


if __name__ == "__main__":
    main()
