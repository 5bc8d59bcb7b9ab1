# SPDX-License-Identifier: Apache-2.0
"""What share of a step do the moving average, the queue and the monitors take? The bound is 5 %.

    python benchmarks/bench_monitors.py [--recipe moco_v2.resnet18.s2l1c] [--size 64] [--batch 64] [--rounds 5]
        [--threads 1] [--events] [--bar]

One process: whole steps of a recipe in float32 with views of --size px (local crops in proportion); medians.
Counted in full, as they come at every step: the moving averages, what else a method does before and after a step (its
queue or centre), and means of loss and metrics over parts and processes, all three timed where the step calls them; the
metrics that a method tells (contrast_accuracy among all keys, entropy, spread) and the norm of the gradients, timed
alone on tensors of the same shapes. Recipes that clip by that norm would take it without watching, too.
What comes with a line of the log is divided by log_every: spread, both ranks, the line itself, with --events that for
TensorBoard. Loss and embeddings are kept, and the loss is looked at, in every step. --bar draws the bar where stderr is
a terminal, else it prints a line every half minute; a thread draws the bar, whose time falls on whatever is timed then.
What comes once an epoch or with a checkpoint is not counted: the online k-NN and probe, and the check of all weights.
Times are of the processor, not of the wall, on one thread unless told otherwise, so that other work on the machine does
not count.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from bench_step import random_batch
from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import stored
from ssl4eo.environment import environment
from ssl4eo.methods.data2vec import Data2VecConfig, spread
from ssl4eo.methods.dino import DINOConfig
from ssl4eo.methods.method import Moment
from ssl4eo.methods.moco_v2 import MoCoV2Config
from ssl4eo.methods.moco_v3 import MoCoV3Config
from ssl4eo.pretraining import step as step_module
from ssl4eo.pretraining.fabric import Fabric
from ssl4eo.pretraining.step import Stepper, build_method
from ssl4eo.pretraining.watch import Watch
from ssl4eo.recipes.table import recipe
from ssl4eo.training.journal import Journal
from ssl4eo.training.optimizer import make_optimizer
from ssl4eo.views.config import ViewConfig

PARTS = ("average", "queue", "means", "metrics", "norm", "watch")


class NoSource:
    """Stands where a source would be; nothing diverges here."""

    def id_of(self, index):
        """Name an item."""
        return str(index)


class Clock:
    """Adds up the processor time [s] of functions where they are called, by the name of a part."""

    def __init__(self):
        """Start with none."""
        self.seconds = collections.Counter()

    def wrap(self, owner, name, part):
        """Time a function from now on, under the name by which its callers find it."""
        work = getattr(owner, name)

        def timed_work(*given, **options):
            seconds, result = timed(work, *given, **options)
            self.seconds[part] += seconds
            return result

        setattr(owner, name, timed_work)


def make_config(args):
    """Give the recipe with smaller views, local crops in proportion, all of whole patches of 16 px."""
    config = recipe(args.recipe).config()
    views = {f.name: getattr(config.views, f.name) for f in dataclasses.fields(config.views)}
    sized = {
        name: dataclasses.replace(view, size=16 * round(args.size * view.size / config.image_size / 16))
        for name, view in views.items()
        if isinstance(view, ViewConfig)
    }
    return dataclasses.replace(
        config,
        views=dataclasses.replace(config.views, **sized),
        engine=dataclasses.replace(config.engine, batch_size=args.batch, precision="32-true"),
    )


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
    adapter = Adapter(stored(config.modality), config.contract)
    return method, Stepper(fabric, config, method=method, module=module, optimizer=optimizer, adapter=adapter)


def wrapped(method):
    """Time what a step calls of this method."""
    clock, module = Clock(), sys.modules[type(method).__module__]
    clock.wrap(method, "before_step", "hooks")
    clock.wrap(method, "after_step", "hooks")
    clock.wrap(step_module, "_averages", "means")
    if hasattr(module, "update_average"):
        clock.wrap(module, "update_average", "average")
    return clock


def telling(config, method):
    """Give what computes the metrics of a step and nothing else, on random tensors of their shapes."""
    options, batch = config.method, config.engine.batch_size
    if isinstance(options, DINOConfig):
        targets = torch.rand(2, batch, options.out_dim).softmax(dim=2)
        return lambda: torch.special.entr(targets).sum(dim=2).mean()
    if isinstance(options, Data2VecConfig):
        tokens = torch.rand(batch, options.num_masked, method.backbone.num_features)
        return lambda: [spread(tokens) for _ in range(2)]
    if not isinstance(options, MoCoV2Config | MoCoV3Config):
        return lambda: None
    is_queued = isinstance(options, MoCoV2Config)
    logits, target = torch.rand(batch, 1 + options.queue_size if is_queued else batch), torch.arange(batch)
    return lambda: [(logits.argmax(dim=1) == target).float().mean() for _ in range(1 if is_queued else 2)]


def with_gradients(method):
    """Give the weights that learn, with gradients where the step has taken them away."""
    weights = [weight for weight in method.parameters() if weight.requires_grad]
    for weight in weights:
        weight.grad = torch.full_like(weight, 1e-3) if weight.grad is None else weight.grad
    return weights


def measure(args, run):
    config = make_config(args)
    method, step = make_step(config)
    clock, tell = wrapped(method), telling(config, method)
    batch, moment = random_batch(config, args.batch), Moment(step=0, num_steps=10_000, steps_per_epoch=1_000)
    every = config.engine.log_every
    shown = {"quiet": not args.bar, "tensorboard": args.events}
    seconds = {name: [] for name in ("step", *PARTS)}
    with Journal(run, first_step=0, num_steps=10_000, batch_size=args.batch, **shown) as journal:
        watch = Watch(config.engine, 1_000, 10_000, journal, None, NoSource(), torch.device("cpu"))
        for number in range(args.rounds + 1):
            clock.seconds.clear()
            whole, report = timed(step, batch, moment)
            average, means = clock.seconds["average"], clock.seconds["means"]
            queue = clock.seconds["hooks"] - average
            metrics, _ = timed(tell)
            norm, _ = timed(torch.nn.utils.clip_grad_norm_, with_gradients(method), float("inf"))
            watched = 0.0
            for late in range(1, every + 1):  # one line of the log and the steps before it, with a full memory
                next(watch.timed(iter([batch])))
                watched += timed(watch.step, number * every + late, report, batch, method=method)[0] / every
            if number:  # the first round warms up
                for name, value in zip(seconds, (whole, average, queue, means, metrics, norm, watched), strict=True):
                    seconds[name].append(value)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="moco_v2.resnet18.s2l1c")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--events", action="store_true", help="write events for TensorBoard")
    parser.add_argument("--bar", action="store_true", help="draw the bar")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(args, Path(folder))
    extra = {name: value for name, value in seconds.items() if name != "step"}
    whole = seconds["step"] + seconds["watch"]  # the other parts are in the step already
    for name, value in extra.items():
        print(f"{name:<8} {1000 * value:8.2f} ms a step, {100 * value / whole:5.2f} %")
    share = sum(extra.values()) / whole
    print(f"together {1000 * sum(extra.values()):8.2f} ms of {1000 * whole:.1f} ms, {100 * share:.2f} %")
    print(json.dumps({"seconds": seconds, "share": share, "arguments": vars(args), "environment": environment()}))


if __name__ == "__main__":
    main()
