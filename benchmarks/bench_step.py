# SPDX-License-Identifier: Apache-2.0
"""How much faster is a step as we run it than the same step in plain float32 NCHW, and what memory does it take?

    python benchmarks/bench_step.py [--recipes moco_v2.resnet50.s2l1c ...] [--batch 16] [--rounds 3] [--memory] [--keep]

One process, both forms in turn, the same batch of random views; prints images a second (median) and the ratio.
A step is what the loop does: scale, photometrics, forward of all networks, backward, update, teacher, queue.
As we run it: channels_last, and bf16 where the processor computes in it. With `--memory` each form takes two steps in
a process of its own, and the largest resident memory above what was there before the network was built is printed.
With `--keep` freed memory is kept, as `ssl4eo pretrain` does, for both forms, in these processes too: run with and
without to see what it is worth.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import statistics
import time
from pathlib import Path

import torch

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import stored
from ssl4eo.environment import environment
from ssl4eo.loading.batches import Batch
from ssl4eo.memory import keep_freed_memory
from ssl4eo.methods.method import Moment
from ssl4eo.pretraining.fabric import Fabric
from ssl4eo.pretraining.launch import computes_in_bf16
from ssl4eo.pretraining.step import Stepper, build_method
from ssl4eo.recipes.table import recipe
from ssl4eo.training.optimizer import make_optimizer
from ssl4eo.training.processor import fit_to_processor

RECIPES = ("moco_v2.resnet50.s2l1c", "moco_v3.vit_small_16.s2l1c", "mae.vit_small_16.s2l1c")
NOW = Moment(step=100, num_steps=1000, steps_per_epoch=100)


def forms():
    """Give by name precision and memory format."""
    fast = "bf16-mixed" if computes_in_bf16("cpu") else "32-true"
    return {"float32, NCHW": ("32-true", False), f"{fast}, channels_last": (fast, True)}


class Step:
    """One form of a recipe's step, built once."""

    def __init__(self, name, batch_size, *, precision, channels_last):
        config = recipe(name).config()
        engine = dataclasses.replace(config.engine, batch_size=batch_size, channels_last=channels_last)
        self.config = dataclasses.replace(config, engine=engine)
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
        method = build_method(self.config)
        fit_to_processor(method, channels_last=channels_last, precision=precision, device=fabric.device)
        module, optimizer = fabric.setup(method, make_optimizer(config.optimizer, method.named_parameters()))
        module.train()
        adapter = Adapter(stored(config.modality), config.contract)
        self.step = Stepper(fabric, self.config, method=method, module=module, optimizer=optimizer, adapter=adapter)

    def __call__(self, batch):
        """Do one step."""
        self.step(batch, NOW)


def random_batch(config, batch_size):
    """Make random views of a config, with photometric rows that change nothing by chance alone."""
    import numpy as np

    rng, bands = np.random.default_rng(0), config.contract.num_bands
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch_size, bands, v.size, v.size) for v in config.views.views]
    rows = tuple(
        torch.from_numpy(np.stack([v.photometric.draw(rng, (0,) * bands) for _ in range(batch_size)]))
        for v in config.views.views
    )
    masking = config.method.masking(config.setting)
    masks = None
    if masking is not None:
        masks = torch.from_numpy(np.stack([masking.draw(rng) for _ in range(batch_size)]))
    views = tuple(torch.randint(0, 5000, shape, generator=generator).to(torch.uint16) for shape in shapes)
    seasons = torch.zeros((batch_size, len(shapes)), dtype=torch.long)
    return Batch(views, rows, torch.arange(batch_size), seasons, masks)


def measure_memory(name, batch_size, precision, channels_last, *, keep):
    """Give the resident memory [MiB] that two steps add to a fresh process, which keeps what is freed if asked to."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, initializer=keep_freed_memory if keep else None) as pool:
        return pool.apply(_memory_of, (name, batch_size, precision, channels_last))


def _memory_of(name, batch_size, precision, channels_last):
    batch = random_batch(recipe(name).config(), batch_size)
    before = resident_peak()
    step = Step(name, batch_size, precision=precision, channels_last=channels_last)
    for _ in range(2):
        step(batch)
    return resident_peak() - before


def resident_peak():
    """Give the largest resident memory [MiB] of this program: getrusage's would count that of its parent too."""
    (line,) = (row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def measure_rates(name, batch_size, rounds):
    """Give images a second of each form."""
    steps = {f: Step(name, batch_size, precision=p, channels_last=c) for f, (p, c) in forms().items()}
    batch = random_batch(recipe(name).config(), batch_size)
    seconds = {form: [] for form in steps}
    for number in range(rounds + 1):
        for form, step in steps.items():
            started = time.perf_counter()
            step(batch)
            if number:  # the first round warms up
                seconds[form].append(time.perf_counter() - started)
    return {form: batch_size / statistics.median(times) for form, times in seconds.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    if args.keep:
        keep_freed_memory()
    print("| recipe | form | images/s | ratio | memory [MiB] |\n|---|---|---|---|---|")
    for name in args.recipes:
        rates = measure_rates(name, args.batch, args.rounds)
        first = next(iter(rates.values()))
        for form, (precision, channels_last) in forms().items():
            memory = ""
            if args.memory:
                memory = f"{measure_memory(name, args.batch, precision, channels_last, keep=args.keep):.0f}"
            print(f"| `{name}` | {form} | {rates[form]:.2f} | {rates[form] / first:.2f} | {memory} |", flush=True)
    print(json.dumps({"arguments": vars(args), "environment": environment()}))


if __name__ == "__main__":
    main()
