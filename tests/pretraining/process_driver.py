# SPDX-License-Identifier: Apache-2.0
"""Runs in processes of their own: started as a script by tests, told by JSON, leaves what each rank saw.

Each argument is one run; several share the start of the processes, which costs more than they do.
Options: out, name (of METHODS), engine, resume, count, identical errors as the command line; `act` lists what happens
at a step: {"step": 5, "rank": 1, "signal": 9}; `die_saving` kills the process inside its n-th checkpoint write.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from test_loop import Noise, config

from ssl4eo.checkpoints import training_state
from ssl4eo.errors import RunStopped, Ssl4eoError
from ssl4eo.methods.data2vec import Data2VecConfig
from ssl4eo.methods.dino import DINOConfig
from ssl4eo.methods.mae import MAEConfig
from ssl4eo.methods.moco_v2 import MoCoV2Config
from ssl4eo.methods.moco_v3 import MoCoV3Config
from ssl4eo.pretraining import loop
from ssl4eo.pretraining.step import Stepper
from ssl4eo.training.optimizer import OptimizerConfig
from ssl4eo.views.config import MultiCrop, OneView

QUEUED = MoCoV2Config(dim=16, queue_size=16, momentum=0.9, temperature=0.2)
IN_BATCH = MoCoV3Config(dim=16, hidden=32, momentum=0.9, temperature=0.2)
CENTERED = DINOConfig(
    out_dim=32, momentum=0.9, teacher_temperature=0.04, freeze_last_layer=1, drop_path=0.0, hidden=32, bottleneck=16
)
MASKED = MAEConfig(
    mask_ratio=0.75, norm_pixels="band", pooling="mean", decoder_dim=16, decoder_depth=1, decoder_heads=2
)
TAUGHT = Data2VecConfig(
    num_masked=9,
    top_blocks=2,
    beta=2.0,
    ema_start=0.9,
    ema_end=0.99,
    ema_epochs=2,
    smallest_block=2,
    drop_path=0.0,
    attention_drop=0.0,
    layer_scale=0.1,
)
METHODS = {
    "moco_v2.resnet18": ("resnet18", QUEUED, 0.05),
    "moco_v2.vit_w48d2h3_8": ("vit_w48d2h3_8", dataclasses.replace(QUEUED, batch_negatives=True), 0.05),
    "moco_v3.vit_w48d2h3_8": ("vit_w48d2h3_8", IN_BATCH, 0.001),
    "dino.vit_w48d2h3_8": ("vit_w48d2h3_8", CENTERED, 1e-4),
    "mae.vit_w48d2h3_8": ("vit_w48d2h3_8", MASKED, 0.05),
    "data2vec.vit_w48d2h3_8": ("vit_w48d2h3_8", TAUGHT, 0.05),
    "data2vec_batch.vit_w48d2h3_8": ("vit_w48d2h3_8", dataclasses.replace(TAUGHT, target_norm="batch"), 0.05),
}
"""Name -> backbone, method, rate: a line here puts a method under every test of several processes and of resuming.

Nothing is dropped at random: that depends on the process, as it should.
"""


class Pictures(Noise):
    """Noise, each picture in a color of its own.

    What a network makes of plain noise is so alike that batch norm multiplies float rounding by thousands in a step.
    """

    def __init__(self, count=18, **options):
        """Draw the pictures."""
        super().__init__(count, **options)
        colors = np.random.default_rng(1).uniform(0, 1, (count, 1, 3, 1, 1))
        self.images = (self.images * colors).astype(np.uint8)


def views_of(method, view):
    """Arrange views of 32 px as the method wants them; DINO's local ones have 16 px."""
    if isinstance(method, DINOConfig):
        local = dataclasses.replace(view, size=16)
        return MultiCrop(pairing="random", first=view, second=view, local=local, num_local=2)
    if isinstance(method, MAEConfig | Data2VecConfig):
        return OneView(pairing="random", view=view)
    return config().views


def build(name, optimizer=None, **engine):
    """Make a run of 4 steps an epoch, by SGD if nothing else is said."""
    backbone, method, lr = METHODS[name]
    base = config()
    optimizer = optimizer or OptimizerConfig(name="sgd", lr=lr, weight_decay=1e-4)
    options = {"accelerator": "cpu", "precision": "32-true", "probe_every": 0} | engine
    parts = {"optimizer": optimizer, "engine": dataclasses.replace(base.engine, **options)}
    return dataclasses.replace(base, backbone=backbone, method=method, views=views_of(method, base.views.view), **parts)


TAKE_STEP = Stepper.__call__


def record(seen, acts):
    """Write down what every step of this process sees, and do what is to happen at some."""

    def step(self, batch, moment):
        for act in acts:
            if act["step"] == moment.step and act["rank"] == self._fabric.global_rank:
                os.kill(os.getpid(), act["signal"])
        report = TAKE_STEP(self, batch, moment)
        seen["steps"].append((moment.step, batch.index.tolist(), torch.initial_seed(), batch.photometric[0]))
        seen["buffers"] = {name: value.clone() for name, value in self._method.named_buffers()}
        return report

    Stepper.__call__ = step


def die_while_saving(number):
    """Kill this process when the n-th checkpoint is half on disk."""
    save, calls = torch.save, []

    def half(values, path):
        save(values, path)
        calls.append(path)
        if len(calls) == number:
            content = Path(path).read_bytes()
            Path(path).write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), 9)

    training_state.torch.save = half


def main(*runs):
    """Do one run after the other, and end as the command line does: with the first status that is not 0."""
    return next((status for status in map(drive, runs) if status), 0)


def drive(told):
    """Do one run."""
    seen = {"steps": []}
    record(seen, told.get("act", []))
    if "die_saving" in told:
        die_while_saving(told["die_saving"])
    optimizer = OptimizerConfig(**told["optimizer"]) if "optimizer" in told else None
    out = Path(told["out"])
    try:
        loop.pretrain(
            build(told["name"], optimizer, **told.get("engine", {})),
            Pictures(told.get("count", 18)),
            out,
            resume=told.get("resume", False),
            quiet=True,
        )
    except Ssl4eoError as error:
        if not error.told:
            sys.stderr.write(f"{error}\n")
        return 75 if isinstance(error, RunStopped) else 1
    finally:
        rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))  # torchrun sets both
        torch.save(seen, out.with_name(f"{out.name}-rank{rank}.pt"))
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(json.loads, sys.argv[1:])))
