# SPDX-License-Identifier: Apache-2.0
"""The loop: samples to batches to views to a loss to weights, watched and kept, on one page.

Everything random is a function of (seed, step), and a checkpoint holds all state, so a run that was
killed continues at the very next sample with bit-identical weights (same machine, same number
of processes). Lightning Fabric supplies devices, precision and processes; nothing here knows a method.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.checkpoints.load import BACKBONE_FILE, save_backbone
from ssl4eo.checkpoints.training_state import save_state
from ssl4eo.environment import environment
from ssl4eo.errors import ConfigInvalid
from ssl4eo.loading.batches import Batch, ViewDataset, make_loader
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.methods.method import Method, StepOutput
from ssl4eo.methods.moco_v2 import MoCoV2
from ssl4eo.pretraining.config import EngineConfig, PretrainConfig
from ssl4eo.pretraining.run_folder import RunFolder
from ssl4eo.pretraining.watch import Probe, Watch
from ssl4eo.training.journal import Journal
from ssl4eo.training.optimizer import make_optimizer
from ssl4eo.views.photometric import apply_photometric

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a finished run leaves."""

    backbone: Path
    steps: int
    last_loss: float
    alarms: tuple[str, ...]


def pretrain(
    config: PretrainConfig,
    source: PixelSource,
    out: Path,
    *,
    probe: Probe | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> Result:
    """Train a backbone and keep it in `out`.

    Args:
        config: everything that decides the weights.
        source: pixels; its contract must be convertible into the config's.
        out: folder of the run: config.json, log.jsonl, checkpoints/, backbone.safetensors.
        probe: called every `engine.probe_every` epochs.
        resume: continue the run in `out` after its last checkpoint; start it if it has none.
        quiet: draw no progress bar.

    Raises:
        TargetExists: `out` holds a run and `resume` is false.
        Busy: another process is training there.
        CheckpointInvalid: the run in `out` is of another config or other data.
        ConfigInvalid, ContractMismatch: options or data that cannot work, before the first step.
        TrainingDiverged: the loss is not finite; the last checkpoint stays.
    """
    # --- what there is to do
    engine = config.engine
    order = Order(len(source), engine.batch_size, engine.seed)
    num_steps = engine.epochs * order.steps_per_epoch
    if warning := config.method.warn_of_data(len(source)):
        log.warning(warning)
    adapter = Adapter(source.contract, config.contract)
    fabric = make_fabric(engine)
    with RunFolder(out, config, source, resume=resume) as run:
        # --- who does it
        method = build_method(config)
        optimizer = make_optimizer(config.optimizer, method.trainable())
        step = run.restore(method, optimizer)
        if engine.channels_last:
            method.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - missing in torch's overloads
        module, optimizer = fabric.setup(method, optimizer)
        adapter = adapter.to(fabric.device)
        batches = make_loader(
            ViewDataset(
                source, config.views.views, pairing=config.views.pairing, contract=source.contract, seed=engine.seed
            ),
            ResumableBatches(
                order, first_step=step, num_steps=num_steps, rank=fabric.global_rank, world_size=fabric.world_size
            ),
            num_workers=engine.num_workers,
            pin=fabric.device.type == "cuda",
        )
        with Journal(out, first_step=step, num_steps=num_steps, batch_size=engine.batch_size, quiet=quiet) as journal:
            watch = Watch(engine, order.steps_per_epoch, num_steps, journal, probe, last_loss=run.last_loss)
            watch.start(step, method)
            module.train()
            # --- the loop
            for batch in batches:
                lr = config.optimizer.lr * config.schedule.factor(
                    step, num_steps=num_steps, steps_per_epoch=order.steps_per_epoch
                )
                for group in optimizer.param_groups:
                    group["lr"] = lr
                views = prepare(fabric, adapter, batch, channels_last=engine.channels_last)
                output: StepOutput = module(views, step / num_steps)
                fabric.backward(output.loss)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                method.after_step()
                step += 1
                # --- watch it, keep it
                watch.step(step, output, batch, lr=lr, method=method)
                if watch.saves(step) and fabric.is_global_zero:
                    save_state(out, run.state(step, method, optimizer))
        # --- leave the backbone
        path = out / BACKBONE_FILE
        if fabric.is_global_zero:
            save_backbone(method.backbone, path, training=training_record(config, step))
        return Result(path, step, watch.last_loss, tuple(journal.alarms))


def make_fabric(engine: EngineConfig) -> Fabric:
    """Start Lightning Fabric.

    Raises:
        ConfigInvalid: no such accelerator, or none on this machine.
    """
    try:
        fabric = Fabric(accelerator=engine.accelerator, devices=engine.devices, precision=engine.precision)
    except (ValueError, RuntimeError) as error:
        raise ConfigInvalid(
            f"engine.accelerator {engine.accelerator!r} cannot be used ({' '.join(str(error).split())})",
            expected="auto, cpu, or what this machine has",
            remedy="leave it at auto",
        ) from error
    fabric.launch()
    return fabric


def build_method(config: PretrainConfig) -> Method:
    """Build the network and its objective with weights drawn from the run's seed."""
    size = config.views.view.size
    backbone = Backbone(config.backbone, config.contract, image_size=size, seed=config.engine.seed)
    return MoCoV2(config.method, backbone, seed=config.engine.seed)


def prepare(fabric: Fabric, adapter: Adapter, batch: Batch, *, channels_last: bool) -> tuple[Tensor, ...]:
    """Move a batch to the device, scale it, change its brightness: views as the method takes them."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    views: list[Tensor] = []
    with torch.no_grad():
        for stored, rows in zip(batch.views, batch.photometric, strict=True):
            scaled = adapter(fabric.to_device(stored))
            views.append(apply_photometric(scaled, fabric.to_device(rows)).contiguous(memory_format=layout))
    return tuple(views)


def training_record(config: PretrainConfig, steps: int) -> dict[str, Any]:
    """Say how a backbone came about, for its header."""
    return {
        "recipe": config.recipe,
        "seed": config.engine.seed,
        "steps": steps,
        "epochs": config.engine.epochs,
        "commit": environment().get("commit"),
    }
