# SPDX-License-Identifier: Apache-2.0
"""How many samples a second become pairs of views, against a per-sample OpenCV pipeline, on one core?

    python benchmarks/bench_views.py RAW WORK [--rounds 9] [--batch 8]

RAW is a folder in the raw layout with `s2c`: two dates a location are enough. WORK takes what is made of it and is used
again by the next run: an archive in each profile, and an LMDB of pickled uint8 with four seasons at 264 px.
Both sides make the two views of MoCo v2 at 224 px, 13 bands, from seasons drawn independently, and collate a batch. The
per-sample pipeline was written from a description of the published one: LMDB record, unpickle, bands last, crop and
resize with OpenCV, brightness and contrast in float64 with casts, gray, GaussianBlur, flip, float32. Ours: all of it on
the worker, or crops only, when 16 bits travel and the rest is the device's.
Everything is read warm, pinned to one core with one thread; the pipelines take turns in each round, a ratio is the
median over rounds. Told in processor time, system calls included: what other programs take of a shared machine does
not count, and a warm read waits for nothing.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import pickle
import random
import statistics
import time
import warnings
from pathlib import Path

import cv2
import lmdb
import numpy as np
import torch

import bench_read
from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import network_input
from ssl4eo.environment import environment
from ssl4eo.loading.batches import ViewDataset
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.packing.layouts import open_source
from ssl4eo.recipes.views import published_view
from ssl4eo.views.config import PairConfig

SIZE = 224
SEASONS = 4
FLOORS = {"all on the worker": 1.5, "crops on the worker": 2.5}


class PerSample:
    """The pipeline to compare with: one sample at a time, uint8, OpenCV and NumPy."""

    def __init__(self, path):
        """Open the LMDB."""
        self.env = lmdb.open(str(path), readonly=True, lock=False, readahead=False, meminit=False)

    def __call__(self, indices, _epoch):
        """Make a batch: two float32 tensors (B, 13, S, S)."""
        pairs = [self.sample(index) for index in indices]
        return torch.stack([a for a, _ in pairs]), torch.stack([b for _, b in pairs])

    def sample(self, index):
        """Read a record and make two views of two seasons."""
        with self.env.begin(write=False) as txn:
            data = txn.get(str(index).encode())
        values, shape = pickle.loads(data)
        seasons = np.frombuffer(values, np.uint8).reshape(shape)
        picks = (np.random.randint(SEASONS), np.random.randint(SEASONS))  # noqa: NPY002 - as such pipelines do
        return tuple(self.view(seasons[s].transpose(1, 2, 0)) for s in picks)

    def view(self, x):
        """Change one image (y, x, band) uint8 at random."""
        x = resized_crop(x)
        if random.random() <= 0.8:
            x = (x * np.random.uniform(0.6, 1.4)).astype(np.uint8)  # noqa: NPY002
            mean = x.mean(axis=(0, 1))
            x = ((x - mean) * np.random.uniform(0.6, 1.4) + mean).astype(np.uint8)  # noqa: NPY002
        if random.random() <= 0.2:
            x = np.tile(x.mean(axis=-1), (x.shape[-1], 1, 1)).transpose(1, 2, 0).astype(np.uint8)
        if random.random() <= 0.5:
            x = cv2.GaussianBlur(x, (0, 0), random.uniform(0.1, 2.0))
        if random.random() <= 0.5:
            x = x[:, ::-1].copy()
        return torch.from_numpy(x.transpose(2, 0, 1)).float().div(255)


def resized_crop(x):
    """Cut a random window, 20 to 100 % of the area, aspect 3/4 to 4/3, and resize it."""
    height, width = x.shape[:2]
    for _ in range(10):
        area, aspect = random.uniform(0.2, 1) * height * width, random.uniform(3 / 4, 4 / 3)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if random.random() < 0.5:
            w, h = h, w
        if w <= width and h <= height:
            top, left = random.randint(0, height - h), random.randint(0, width - w)
            break
    else:
        w = h = min(height, width)
        top, left = (height - h) // 2, (width - w) // 2
    return cv2.resize(x[top : top + h, left : left + w].copy(), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)


class Ours:
    """Views from an archive."""

    def __init__(self, path, *, finish):
        """Open the archive; `finish` does all on the worker."""
        source = ArchivePixels(path, bench_read.MODALITY)
        self.dataset = ViewDataset(
            source,
            PairConfig("augment", published_view(SIZE)),
            contract=source.contract,
            seed=0,
            adapter=Adapter(source.contract, network_input(bench_read.MODALITY)),
            finish=finish,
        )

    def __call__(self, indices, epoch):
        """Make a batch."""
        return self.dataset.__getitems__([(epoch, i) for i in indices])


def made(work, name, make):
    """Make a thing once."""
    path = work / name
    if not path.exists():
        make(path)
    return path


def race(pipelines, num_items, args):
    """Let all take turns on the same items; give samples a second, a list of rounds for each."""
    rates = {name: [] for name in pipelines}
    for number in range(args.rounds + 1):
        indices = [(number * args.batch + i) % num_items for i in range(args.batch)]
        for name, make in pipelines.items():
            started = time.process_time()
            make(indices, number)
            rates[name].append(len(indices) / (time.process_time() - started))
    return {name: values[1:] for name, values in rates.items()}  # the first round warms up


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    bench_read.one_core()
    args.work.mkdir(parents=True, exist_ok=True)
    ids = list(open_source(args.raw).ids())
    folders = [sorted((args.raw / "s2c" / i).iterdir()) for i in ids]
    records = made(args.work, "uint8.lmdb", functools.partial(bench_read.make_lmdb, folders))
    pipelines = {"per sample, OpenCV": PerSample(records)}
    for profile in ("default", "fast"):
        path = made(args.work, f"{profile}.zarr", lambda p, k=profile: bench_read.make_archive(args.raw, p, profile=k))
        pipelines[f"all on the worker, {profile}"] = Ours(path, finish=True)
        pipelines[f"crops on the worker, {profile}"] = Ours(path, finish=False)
    bench_read.warm(args.work)
    rates = race(pipelines, len(ids), args)
    base = rates["per sample, OpenCV"]
    rows = []
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(values, base, strict=True))
        floor = FLOORS.get(name.partition(",")[0], 1.0)
        rows.append({"pipeline": name, "samples/s": statistics.median(values), "ratio": ratio, "floor": floor})
        verdict = "PASS" if ratio >= floor else "FAIL"
        print(f"{name:<32}{rows[-1]['samples/s']:8.1f} samples/s{ratio:8.2f}   floor {floor:<5}{verdict}")
    print(json.dumps({"rows": rows, "rounds": args.rounds, "batch": args.batch, "environment": environment()}))


if __name__ == "__main__":
    main()
