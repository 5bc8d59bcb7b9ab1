# SPDX-License-Identifier: Apache-2.0
"""Does MoCo v2 of ours learn as much as TorchGeo's MoCoTask and lightly's parts, for equal images and equal time?

    python benchmarks/bench_peers_learning.py --root EuroSAT_RGB [--epochs 1] [--seeds 0 1 2]

ResNet-18 on the 8,000 training tiles of EuroSAT RGB at 64 px. Each contender has a process of its own; one computes at
a time, always the one that has worked least, so that what else the machine does falls on all alike.
The measure is ours after `--epochs`: its images and its seconds (augmentation counted, evaluation not). Every other
contender is judged when it has seen as many images, and when it has worked as many seconds.
Judge: weighted k-NN (k 20, T 0.07) of the 2,000 test tiles against the training tiles.
"ours' settings" are AdamW 1e-3 (warm-up and cosine as ours), a queue of 1,024, T 0.1, momentum 0.99, channels_last and
freed memory kept. As documented, the others run in NCHW and give freed memory back.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import statistics
import time
from pathlib import Path

import numpy as np
import timm
import torch
import torchvision
from lightly.transforms.moco_transform import MoCoV2Transform
from lightly.utils.scheduler import cosine_schedule
from PIL import Image
from torch import nn

from peers import LightlyMoCo, TorchGeoMoCo
from ssl4eo.backbones.adapter import Adapter
from ssl4eo.environment import environment
from ssl4eo.evaluation.protocols.knn import predict_knn
from ssl4eo.loading.batches import ViewDataset
from ssl4eo.loading.folder import FolderPixels, ImageFolder
from ssl4eo.loading.loader import make_loader
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.memory import keep_freed_memory
from ssl4eo.methods.method import Moment
from ssl4eo.pretraining.launch import make_fabric, settle
from ssl4eo.pretraining.step import Stepper, build_method
from ssl4eo.recipes.table import recipe
from ssl4eo.training.optimizer import make_optimizer

RECIPE = "moco_v2.resnet18.s2rgb.tiny"
TRAINING_TILES, BATCH = 8000, 128
OURS, STEP, JUDGE, STOP = "ours", "step", "judge", "stop"


class Tiles:
    """All tiles in memory, split as the reference does."""

    def __init__(self, root):
        self.folder = ImageFolder.scan(root)
        self.split = self.folder.split("reference")
        pixels = np.stack([self.folder.read(i) for i in range(len(self.folder.paths))])
        self.pixels, self.labels = torch.from_numpy(pixels), torch.from_numpy(self.folder.labels)

    @torch.no_grad()
    def judge(self, backbone, scale):
        """Give the accuracy on the test tiles of a backbone that is fed by `scale`."""
        was = backbone.training
        backbone.eval()
        features = torch.cat([backbone(scale(x)).flatten(start_dim=1) for x in self.pixels.split(250)])
        backbone.train(was)
        train, test = (torch.from_numpy(self.split[p]) for p in ("train", "test"))
        found, _ = predict_knn(features[train], self.labels[train], features[test], num_classes=10)
        return float((found == self.labels[test]).float().mean())

    def batches(self, size, generator):
        """Yield batches (B, 3, 64, 64) uint8 of the training tiles, epoch after epoch."""
        train = torch.from_numpy(self.split["train"])
        while True:
            order = train[torch.randperm(len(train), generator=generator)]
            for rows in order.split(size):
                if len(rows) == size:
                    yield self.pixels[rows]


def unit(x):
    """Scale to 0..1, as ours and TorchGeo's are fed."""
    return x.float() / 255


def imagenet(x):
    """Scale as lightly's transforms do."""
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (unit(x) - mean) / std


def run_ours(tiles, args, seed):
    """Run the tiny recipe through the loader and the step that `ssl4eo pretrain` uses.

    Like the other runs: first gives the backbone and 0, then after each step the backbone and the images it saw.
    """
    config = recipe(RECIPE).config()
    engine = dataclasses.replace(config.engine, epochs=args.epochs, seed=seed)
    config = settle(dataclasses.replace(config, engine=engine))
    source = FolderPixels(tiles.folder, indices=tiles.split["train"])
    source.load()
    order = Order(len(source), engine.batch_size, seed)
    steps = order.steps_per_epoch * args.epochs
    fabric = make_fabric(config.engine)
    method = build_method(config)
    method.to(memory_format=torch.channels_last)
    module, optimizer = fabric.setup(method, make_optimizer(config.optimizer, method.named_parameters()))
    module.train()
    adapter = Adapter(source.contract, config.contract)
    step = Stepper(fabric, config, method=method, module=module, optimizer=optimizer, adapter=adapter)
    views = ViewDataset(source, config.views, contract=source.contract, seed=seed)
    batches = make_loader(views, ResumableBatches(order, first_step=0, num_steps=steps), num_workers=0, pin=False)
    yield method.backbone, 0
    for number, batch in enumerate(batches):
        step(batch, Moment(number, steps, order.steps_per_epoch))
        yield method.backbone, engine.batch_size


def set_rate(optimizer, step, total, warmup):
    """Set the learning rate of our tiny recipe."""
    share = (step - warmup) / max(1, total - warmup)
    factor = (step + 1) / (warmup + 1) if step < warmup else 0.5 * (1 + np.cos(np.pi * min(1.0, share)))
    for group in optimizer.param_groups:
        group["lr"] = 1e-3 * factor


def run_torchgeo(tiles, args, seed, *, ours):
    """Run MoCoTask for as long as it is asked to."""
    contender = TorchGeoMoCo(arch="resnet18", bands=3, size=64, batch=BATCH, ours=ours, channels_last=ours)
    per_epoch = TRAINING_TILES // BATCH
    yield contender.backbone, 0
    for number, batch in enumerate(tiles.batches(BATCH, torch.Generator().manual_seed(seed))):
        images = unit(batch)
        if ours:
            set_rate(contender.optimizer, number, args.epochs * per_epoch, per_epoch)
            images = images.contiguous(memory_format=torch.channels_last)
        contender.step(images)
        yield contender.backbone, BATCH


def run_lightly(tiles, args, seed, *, ours):
    """Run lightly's example with its own transform for as long as it is asked to."""
    transform = MoCoV2Transform(input_size=64)
    if ours:
        backbone = timm.create_model("resnet18", in_chans=3, num_classes=0)
    else:
        backbone = nn.Sequential(*list(torchvision.models.resnet18().children())[:-1])
    contender, size = LightlyMoCo(backbone, 512, ours=ours), BATCH if ours else 256
    layout = torch.channels_last if ours else torch.contiguous_format
    contender.to(memory_format=layout)
    per_epoch = TRAINING_TILES // size
    yield contender.backbone, 0
    for number, batch in enumerate(tiles.batches(size, torch.Generator().manual_seed(seed))):
        pairs = [transform(Image.fromarray(tile.permute(1, 2, 0).numpy())) for tile in batch]
        first, second = (torch.stack([p[v] for p in pairs]).contiguous(memory_format=layout) for v in range(2))
        if ours:
            set_rate(contender.optimizer, number, args.epochs * per_epoch, per_epoch)
        contender.step(first, second, 0.99 if ours else cosine_schedule(number // per_epoch, 10, 0.996, 1))
        yield contender.backbone, size


# Name: how it runs, how its backbone is fed, with which settings.
CONTENDERS = {
    OURS: (run_ours, unit, {}),
    "TorchGeo MoCoTask, as documented": (run_torchgeo, unit, {"ours": False}),
    "TorchGeo MoCoTask, ours' settings": (run_torchgeo, unit, {"ours": True}),
    "lightly's parts, as documented": (run_lightly, imagenet, {"ours": False}),
    "lightly's parts, ours' settings": (run_lightly, imagenet, {"ours": True}),
}


def serve(pipe, name, args, seed):
    """Take a step at each request and send the images and the seconds of all; or judge what was learned."""
    run, scale, settings = CONTENDERS[name]
    if name == OURS or settings["ours"]:
        keep_freed_memory()
    torch.manual_seed(seed)
    tiles = Tiles(args.root)
    steps = run(tiles, args, seed, **settings)
    backbone, seen = next(steps)
    worked = 0.0
    pipe.send((seen, worked))
    while (request := pipe.recv()) != STOP:
        if request == JUDGE:
            pipe.send(tiles.judge(backbone, scale))
            continue
        started = time.perf_counter()
        backbone, images = next(steps)
        worked, seen = worked + time.perf_counter() - started, seen + images
        pipe.send((seen, worked))


class Contender:
    """A process that runs one form, what it has seen and worked, and its scores at the two marks."""

    def __init__(self, name, args, seed):
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=serve, args=(far, name, args, seed), daemon=True)
        self.process.start()
        self.seen, self.worked = self.pipe.recv()
        self.scores = {}

    def step(self, marks):
        """Take a step, and judge where it passes a mark that is known by now."""
        self.pipe.send(STEP)
        self.seen, self.worked = self.pipe.recv()
        for mark, value in (("images", self.seen), ("seconds", self.worked)):
            if mark in marks and mark not in self.scores and value >= marks[mark]:
                self.scores[mark] = self.judge()

    def judge(self):
        """Give the accuracy of what it has learned so far."""
        self.pipe.send(JUDGE)
        return self.pipe.recv()

    def end(self):
        """End the process."""
        self.pipe.send(STOP)
        self.process.join()


def compete(args, seed):
    """Run all contenders of one seed, the one that has worked least first; give their rows."""
    marks = {"images": TRAINING_TILES // BATCH * BATCH * args.epochs}
    with contextlib.ExitStack() as held:
        all_of_them = {}
        for name in CONTENDERS:
            all_of_them[name] = Contender(name, args, seed)
            held.callback(all_of_them[name].end)
        ours, waiting = all_of_them[OURS], set(CONTENDERS)
        while waiting:
            name = min(waiting, key=lambda n: all_of_them[n].worked)
            all_of_them[name].step(marks)
            if ours.seen >= marks["images"] and "seconds" not in marks:
                marks["seconds"], ours.scores["seconds"] = ours.worked, ours.scores["images"]
            waiting = {n for n in waiting if len(all_of_them[n].scores) < 2}
        return {name: (c.scores, c.seen / c.worked) for name, c in all_of_them.items()}, marks


def spread(values):
    text = f"{statistics.mean(values):.1f}"
    return f"{text} ± {statistics.stdev(values):.1f}" if len(values) > 1 else text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    results = []
    for seed in args.seeds:
        rows, marks = compete(args, seed)
        results.append(rows)
        print(json.dumps({"seed": seed, "marks": marks, "rows": rows}), flush=True)
    print("| contender | k-NN at equal images | at equal seconds | images/s |\n|---|---|---|---|")
    for name in CONTENDERS:
        at = [spread([100 * rows[name][0][mark] for rows in results]) for mark in ("images", "seconds")]
        print(f"| {name} | {' | '.join(at)} | {spread([rows[name][1] for rows in results])} |")
    print(json.dumps({"arguments": {k: str(v) for k, v in vars(args).items()}, "environment": environment()}))


if __name__ == "__main__":
    main()
