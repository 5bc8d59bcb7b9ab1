# SPDX-License-Identifier: Apache-2.0
"""Does MoCo v2 of ours learn as much as TorchGeo's MoCoTask and lightly's parts, for equal images and equal time?

    python benchmarks/bench_peers_learning.py --root EuroSAT_RGB [--epochs 2] [--seed 0]

ResNet-18 on the 8,000 training tiles of EuroSAT RGB at 64 px, all contenders one after the other in one process.
Ours runs first, for `--epochs`: its images and its seconds (augmentation counted, evaluation not) are the measure.
Every other contender is judged when it has seen as many images, and when it has worked as many seconds.
Judge: weighted k-NN (k 20, T 0.07) of the 2,000 test tiles against the training tiles.
"ours' settings" are AdamW 1e-3 (warm-up and cosine as ours), a queue of 1,024, T 0.1, momentum 0.99.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
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
from ssl4eo.methods.method import Moment
from ssl4eo.pretraining.launch import make_fabric, settle
from ssl4eo.pretraining.step import Stepper, build_method
from ssl4eo.recipes.table import recipe
from ssl4eo.training.optimizer import make_optimizer

RECIPE = "moco_v2.resnet18.s2rgb.tiny"


class Clock:
    """Counts images and working seconds; judges when one of two marks is passed, and says when both are."""

    def __init__(self, judge, *, images=None, seconds=None):
        self.judge, self.images, self.seconds = judge, images, seconds
        self.seen, self.worked, self.scores = 0, 0.0, {}
        self.started = time.perf_counter()

    def tick(self, backbone, batch):
        """Count a step; True when nothing is left to judge."""
        self.worked += time.perf_counter() - self.started
        self.seen += batch
        for name, value, mark in (("images", self.seen, self.images), ("seconds", self.worked, self.seconds)):
            if mark is not None and name not in self.scores and value >= mark:
                self.scores[name] = self.judge(backbone)
        self.started = time.perf_counter()
        return len(self.scores) == (self.images is not None) + (self.seconds is not None)


class Tiles:
    """All tiles in memory, split as the reference does."""

    def __init__(self, root):
        self.folder = ImageFolder.scan(root)
        self.split = self.folder.split("reference")
        pixels = np.stack([self.folder.read(i) for i in range(len(self.folder.paths))])
        self.pixels, self.labels = torch.from_numpy(pixels), torch.from_numpy(self.folder.labels)

    def judge(self, scale):
        """Give a function that judges a backbone fed by `scale`."""

        @torch.no_grad()
        def accuracy(backbone):
            was = backbone.training
            backbone.eval()
            features = torch.cat([backbone(scale(x)).flatten(start_dim=1) for x in self.pixels.split(250)])
            backbone.train(was)
            train, test = (torch.from_numpy(self.split[p]) for p in ("train", "test"))
            found, _ = predict_knn(features[train], self.labels[train], features[test], num_classes=10)
            return float((found == self.labels[test]).float().mean())

        return accuracy

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


def run_ours(tiles, clock, args):
    """Run the tiny recipe through the loader and the step that `ssl4eo pretrain` uses."""
    config = recipe(RECIPE).config()
    engine = dataclasses.replace(config.engine, epochs=args.epochs, seed=args.seed)
    config = settle(dataclasses.replace(config, engine=engine))
    source = FolderPixels(tiles.folder, indices=tiles.split["train"])
    source.load()
    order = Order(len(source), engine.batch_size, args.seed)
    steps = order.steps_per_epoch * args.epochs
    fabric = make_fabric(config.engine)
    method = build_method(config)
    method.to(memory_format=torch.channels_last)
    module, optimizer = fabric.setup(method, make_optimizer(config.optimizer, method.named_parameters()))
    module.train()
    adapter = Adapter(source.contract, config.contract)
    step = Stepper(fabric, config, method=method, module=module, optimizer=optimizer, adapter=adapter)
    views = ViewDataset(source, config.views, contract=source.contract, seed=args.seed)
    batches = make_loader(views, ResumableBatches(order, first_step=0, num_steps=steps), num_workers=0, pin=False)
    clock.started = time.perf_counter()
    for number, batch in enumerate(batches):
        step(batch, Moment(number, steps, order.steps_per_epoch))
        clock.tick(method.backbone, engine.batch_size)
    clock.scores["images"] = clock.scores["seconds"] = clock.judge(method.backbone)


def rates(optimizer, step, total, warmup):
    """Set the learning rate of our tiny recipe."""
    share = (step - warmup) / max(1, total - warmup)
    factor = (step + 1) / (warmup + 1) if step < warmup else 0.5 * (1 + np.cos(np.pi * min(1.0, share)))
    for group in optimizer.param_groups:
        group["lr"] = 1e-3 * factor


def run_torchgeo(tiles, clock, args, *, ours):
    """Run MoCoTask until both marks are passed."""
    contender = TorchGeoMoCo(arch="resnet18", bands=3, size=64, batch=128, ours=ours)
    generator = torch.Generator().manual_seed(args.seed)
    total = args.epochs * (8000 // 128)
    for number, batch in enumerate(tiles.batches(128, generator)):
        if ours:
            rates(contender.optimizer, number, total, 62)
        contender.step(unit(batch))
        if clock.tick(contender.backbone, 128):
            return


def run_lightly(tiles, clock, args, *, ours):
    """Run lightly's example with its own transform, until both marks are passed."""
    transform = MoCoV2Transform(input_size=64)
    if ours:
        backbone = timm.create_model("resnet18", in_chans=3, num_classes=0)
    else:
        backbone = nn.Sequential(*list(torchvision.models.resnet18().children())[:-1])
    contender, size = LightlyMoCo(backbone, 512, ours=ours), 128 if ours else 256
    generator = torch.Generator().manual_seed(args.seed)
    per_epoch = 8000 // size
    for number, batch in enumerate(tiles.batches(size, generator)):
        pairs = [transform(Image.fromarray(tile.permute(1, 2, 0).numpy())) for tile in batch]
        first, second = (torch.stack([pair[v] for pair in pairs]) for v in range(2))
        if ours:
            rates(contender.optimizer, number, args.epochs * per_epoch, per_epoch)
        contender.step(first, second, 0.99 if ours else cosine_schedule(number // per_epoch, 10, 0.996, 1))
        if clock.tick(contender.backbone, size):
            return


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tiles = Tiles(args.root)
    torch.manual_seed(args.seed)
    ours = Clock(tiles.judge(unit))
    run_ours(tiles, ours, args)
    rows = {"ours": ours}
    for name, run, scale, settings in (
        ("TorchGeo MoCoTask, as documented", run_torchgeo, unit, False),
        ("TorchGeo MoCoTask, ours' settings", run_torchgeo, unit, True),
        ("lightly's parts, as documented", run_lightly, imagenet, False),
        ("lightly's parts, ours' settings", run_lightly, imagenet, True),
    ):
        torch.manual_seed(args.seed)
        rows[name] = Clock(tiles.judge(scale), images=ours.seen, seconds=ours.worked)
        run(tiles, rows[name], args, ours=settings)
    print(f"{ours.seen} images, {ours.worked:.0f} s\n")
    print("| contender | k-NN at equal images | at equal seconds | images/s |\n|---|---|---|---|")
    for name, clock in rows.items():
        at = (100 * clock.scores[k] for k in ("images", "seconds"))
        print("| {} | {:.1f} | {:.1f} | {:.1f} |".format(name, *at, clock.seen / clock.worked))
    print(json.dumps({"arguments": {k: str(v) for k, v in vars(args).items()}, "environment": environment()}))


if __name__ == "__main__":
    main()
