# SPDX-License-Identifier: Apache-2.0
"""The loop: samples to batches to views to a loss to weights, watched and kept, on one page.

Everything random is a function of (seed, step), and a checkpoint holds all state, so a run that was
killed continues at the very next sample with bit-identical weights (same machine, same number
of processes). Lightning Fabric supplies devices, precision and processes; nothing here knows a method.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.checkpoints.load import BACKBONE_FILE, save_backbone
from ssl4eo.checkpoints.training_state import save_state
from ssl4eo.environment import environment
from ssl4eo.errors import ConfigInvalid
from ssl4eo.loading.batches import ViewDataset, make_loader, telling_lost_workers
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.methods.method import Moment
from ssl4eo.pretraining.config import EngineConfig, PretrainConfig
from ssl4eo.pretraining.run_folder import RunFolder
from ssl4eo.pretraining.step import Stepper, build_method
from ssl4eo.pretraining.watch import Probe, Watch
from ssl4eo.training.journal import Journal
from ssl4eo.training.optimizer import make_optimizer

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
        SampleInvalid: a view that shows nothing but zeros.
        WorkerLost: a loading process died.
        TrainingDiverged: the loss is not finite; the last checkpoint stays.
    """
    # --- what there is to do
    config = settle(config)
    engine = config.engine
    order = Order(len(source), engine.batch_size, engine.seed)
    num_steps = engine.epochs * order.steps_per_epoch
    if warning := config.method.warn_of_data(len(source)):
        log.warning(warning)
    adapter = Adapter(source.contract, config.contract)
    masking = config.method.masking(config.setting)
    fabric = make_fabric(engine)
    with RunFolder(out, config, source, resume=resume) as run:
        # --- who does it
        method = build_method(config)
        optimizer = make_optimizer(config.optimizer, method.named_parameters())
        step = run.restore(method, optimizer)
        if engine.channels_last:
            method.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - missing in torch's overloads
        module, optimizer = fabric.setup(method, optimizer)
        take_step = Stepper(
            fabric, config, method=method, module=module, optimizer=optimizer, adapter=adapter.to(fabric.device)
        )
        dataset = ViewDataset(
            source,
            config.views,
            contract=source.contract,
            seed=engine.seed,
            masking=masking,
            adapter=Adapter(source.contract, config.contract),  # its own: the other lives on the device
            finish=engine.photometrics == "worker",
        )
        batches = make_loader(
            dataset,
            ResumableBatches(
                order, first_step=step, num_steps=num_steps, rank=fabric.global_rank, world_size=fabric.world_size
            ),
            num_workers=engine.num_workers,
            pin=fabric.device.type == "cuda",
        )
        with (
            Journal(out, first_step=step, num_steps=num_steps, batch_size=engine.batch_size, quiet=quiet) as journal,
            telling_lost_workers(dataset),
        ):
            watch = Watch(engine, order.steps_per_epoch, num_steps, journal, probe, last_loss=run.last_loss)
            watch.start(step, method)
            module.train()
            # --- the loop
            for batch in batches:
                report = take_step(batch, Moment(step, num_steps, order.steps_per_epoch))
                step += 1
                # --- watch it, keep it
                watch.step(step, report, batch, method=method)
                if watch.saves(step) and fabric.is_global_zero:
                    save_state(out, run.state(step, method, optimizer))
        # --- leave the backbone
        path = out / BACKBONE_FILE
        if fabric.is_global_zero:
            save_backbone(method.backbone, path, training=training_record(config, step))
        return Result(path, step, watch.last_loss, tuple(journal.alarms))


def settle(config: PretrainConfig) -> PretrainConfig:
    """Put what this machine decides in place of `auto`, so that the record says what was done."""
    if config.engine.precision != "auto":
        return config
    precision = "bf16-mixed" if computes_in_bf16(config.engine.accelerator) else "32-true"
    return dataclasses.replace(config, engine=dataclasses.replace(config.engine, precision=precision))


def computes_in_bf16(accelerator: str) -> bool:
    """Say whether bf16 is computed in hardware: else it is emulated, many times slower than float32."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the only place that tells


def make_fabric(engine: EngineConfig) -> Fabric:
    """Start Lightning Fabric.

    Raises:
        ConfigInvalid: no such accelerator, or none on this machine.
    """
    try:
        fabric = Fabric(
            accelerator=engine.accelerator,
            devices=engine.devices,
            num_nodes=engine.num_nodes,
            precision=engine.precision,  # pyright: ignore[reportArgumentType] - settled, no longer auto
        )
    except (ValueError, RuntimeError) as error:
        raise ConfigInvalid(
            f"engine.accelerator {engine.accelerator!r} cannot be used ({' '.join(str(error).split())})",
            expected="auto, cpu, or what this machine has",
            remedy="leave it at auto",
        ) from error
    fabric.launch()
    return fabric


def training_record(config: PretrainConfig, steps: int) -> dict[str, Any]:
    """Say how a backbone came about, for its header."""
    return {
        "recipe": config.recipe,
        "seed": config.engine.seed,
        "steps": steps,
        "epochs": config.engine.epochs,
        "commit": environment().get("commit"),
    }
