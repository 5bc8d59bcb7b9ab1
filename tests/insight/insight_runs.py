# SPDX-License-Identifier: Apache-2.0
"""Tiny runs on a folder of random pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.data import WHOLE, open_pixels
from ssl4eo.pretraining.loop import pretrain
from ssl4eo.recipes.table import recipe

SIZE = 32
BATCH = 4


def write_pictures(folder: Path, *, seed: int = 0) -> Path:
    """Write two class folders of five random pictures each."""
    random = np.random.default_rng(seed)
    for name in ("field", "town"):
        (folder / name).mkdir(parents=True)
        for n in range(5):
            values = random.integers(1, 255, (SIZE, SIZE, 3)).astype(np.uint8)
            Image.fromarray(values).save(folder / name / f"{n}.png")
    return folder


def tiny(name: str, **engine: object) -> PretrainConfig:
    """Make a run of two steps on small views."""
    base = recipe(name).config()
    method, views = base.method, base.views
    names = {field.name for field in dataclasses.fields(method)}
    if "queue_size" in names:
        method = dataclasses.replace(method, queue_size=2 * BATCH)
    if "num_masked" in names:
        method = dataclasses.replace(method, num_masked=9)
    if hasattr(views, "local"):
        views = dataclasses.replace(views, num_local=1)
    parts = [part for part in ("view", "first", "second") if hasattr(views, part)]
    views = dataclasses.replace(views, **{part: dataclasses.replace(getattr(views, part), size=SIZE) for part in parts})
    options = {"epochs": 1, "batch_size": BATCH, "precision": "32-true", "probe_every": 0, "log_every": 1, **engine}
    return dataclasses.replace(base, method=method, views=views, engine=dataclasses.replace(base.engine, **options))


def train(config: PretrainConfig, pictures: Path, out: Path) -> Path:
    """Train on all pictures."""
    pretrain(config, open_pixels(pictures, contract=config.contract, split=WHOLE), out, quiet=True)
    return out
