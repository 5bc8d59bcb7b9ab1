# SPDX-License-Identifier: Apache-2.0
"""A run in processes of its own: started as a script by tests, told by one JSON argument, leaves what each rank saw.

Options: out, name (of METHODS), engine, resume, count, identical errors as the command line; `act` lists what happens
at a step: {"step": 5, "rank": 1, "signal": 9}; `die_saving` kills the process inside its n-th checkpoint write.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import torch
from test_loop import Noise, config

from ssl4eo.checkpoints import training_state
from ssl4eo.errors import RunStopped, Ssl4eoError
from ssl4eo.methods.moco_v2 import MoCoV2Config
from ssl4eo.pretraining import loop
from ssl4eo.pretraining.step import Stepper
from ssl4eo.training.optimizer import OptimizerConfig

QUEUED = MoCoV2Config(dim=16, queue_size=16, momentum=0.9, temperature=0.2)
METHODS = {
    "moco_v2.resnet18": ("resnet18", QUEUED),
    "moco_v2.vit_nano_8": ("vit_nano_8", dataclasses.replace(QUEUED, batch_negatives=True)),
}
"""Name -> backbone and method: a line here puts a method under every test of several processes."""
SGD = OptimizerConfig(name="sgd", lr=0.05, weight_decay=1e-4)


def build(name, optimizer=SGD, **engine):
    """Make a run of 4 steps an epoch."""
    backbone, method = METHODS[name]
    base = config()
    options = {"accelerator": "cpu", "precision": "32-true", "probe_every": 0} | engine
    parts = {"optimizer": optimizer, "engine": dataclasses.replace(base.engine, **options)}
    return dataclasses.replace(base, backbone=backbone, method=method, **parts)


def record(seen, acts):
    """Write down what every step of this process sees, and do what is to happen at some."""
    take = Stepper.__call__

    def step(self, batch, moment):
        for act in acts:
            if act["step"] == moment.step and act["rank"] == self._fabric.global_rank:
                os.kill(os.getpid(), act["signal"])
        report = take(self, batch, moment)
        seen["steps"].append((moment.step, batch.index.tolist(), torch.initial_seed(), batch.photometric[0]))
        seen["queue"] = self._method.queue.keys.clone()
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


def main(told):
    """Run, and end as the command line does."""
    seen = {"steps": []}
    record(seen, told.get("act", []))
    if "die_saving" in told:
        die_while_saving(told["die_saving"])
    optimizer = OptimizerConfig(**told["optimizer"]) if "optimizer" in told else SGD
    out = Path(told["out"])
    try:
        loop.pretrain(
            build(told["name"], optimizer, **told.get("engine", {})),
            Noise(told.get("count", 18)),
            out,
            resume=told.get("resume", False),
            quiet=True,
        )
    except Ssl4eoError as error:
        if not error.told:
            sys.stderr.write(f"{error}\n")
        return 75 if isinstance(error, RunStopped) else 1
    finally:
        rank = int(os.environ.get("LOCAL_RANK", "0"))
        torch.save(seen, out.with_name(f"{out.name}-rank{rank}.pt"))
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
