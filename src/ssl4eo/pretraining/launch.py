# SPDX-License-Identifier: Apache-2.0
"""Starting the processes of a run: devices, precision, and how weights are shared, all through Lightning Fabric.

On one machine the command starts the other processes itself, by running once more; under torchrun and SLURM they are
there already, and Fabric reads their number and ranks from the environment. What cannot work is refused before.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssl4eo.errors import ConfigInvalid
from ssl4eo.evaluation.features import Precision
from ssl4eo.pretraining.config import EngineConfig, PretrainConfig
from ssl4eo.pretraining.fabric import (
    DDPStrategy,
    Fabric,
    MisconfigurationException,
    ModelParallelStrategy,
    SLURMEnvironment,
    rank_zero_only,
)
from ssl4eo.pretraining.together import TIMEOUT
from ssl4eo.training.sharding import shard

log = logging.getLogger(__name__)

LONGEST_FAREWELL_S = 30
"""How long a process has to tell that another one is gone, and to end."""


def settle(config: PretrainConfig) -> PretrainConfig:
    """Put what this machine decides in place of `auto`, so that the record says what was done.

    Raises:
        ConfigInvalid: 16-bit floats without a GPU.
    """
    engine = config.engine
    if engine.precision == "16-mixed" and not on_gpu(engine.accelerator):
        raise ConfigInvalid(
            "engine.precision 16-mixed without a GPU", expected="32-true or auto", remedy="--engine.precision 32-true"
        )
    precision = engine.precision
    if precision == "auto":
        precision = "bf16-mixed" if computes_in_bf16(engine.accelerator) else "32-true"
    engine = dataclasses.replace(engine, precision=precision, accelerator=_settled(engine.accelerator))
    return dataclasses.replace(config, engine=engine)


def reading_precision(config: PretrainConfig) -> Precision:
    """Say in what precision a run is judged in passing: its own, as this machine settles it."""
    return "32" if settle(config).engine.precision == "32-true" else "bf16"


def _settled(accelerator: str) -> str:
    """Name the device that `auto` means here, in Lightning's words; a GPU of Nvidia or AMD has one name."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    return "cpu" if accelerator == "auto" else accelerator


def on_gpu(accelerator: str) -> bool:
    """Say whether a run with this accelerator computes on a CUDA device."""
    return accelerator != "cpu" and torch.cuda.is_available()


def computes_in_bf16(accelerator: str) -> bool:
    """Say whether bf16 is computed in hardware: else it is emulated, many times slower than float32."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the only place that tells


def speak_once() -> None:
    """Let only the first process log, as far as the environment tells which one it is."""
    if getattr(rank_zero_only, "rank", 0):
        logging.getLogger("ssl4eo").setLevel(logging.ERROR)


def make_fabric(engine: EngineConfig) -> Fabric:
    """Start Lightning Fabric, and with it the other processes.

    Raises:
        ConfigInvalid: no such accelerator, fewer devices than asked for, a number of processes that is not the one
            that torchrun or SLURM started, or several machines without either.
    """
    _require_launched(engine)
    try:
        fabric = Fabric(
            accelerator=engine.accelerator,
            devices=engine.devices,
            num_nodes=engine.num_nodes,
            precision=engine.precision,  # pyright: ignore[reportArgumentType] - settled, no longer auto
            strategy=_strategy(engine),
        )
    except (ValueError, RuntimeError, ImportError, MisconfigurationException) as error:
        raise ConfigInvalid(
            f"engine.accelerator {engine.accelerator!r} with {engine.devices} devices cannot be used "
            f"({' '.join(str(error).split())})",
            expected="auto, cpu, or what this machine has",
            remedy="leave it at auto, and engine.devices at what there is",
        ) from error
    _launch(fabric, engine)
    speak_once()
    return fabric


def _require_launched(engine: EngineConfig) -> None:
    """Refuse a launcher of another number of processes: each would train a run of its own and not notice the others.

    Raises:
        ConfigInvalid: torchrun or SLURM started another number than the options say.
    """
    launched = {"torchrun": os.environ.get("WORLD_SIZE")}
    if SLURMEnvironment.detect():
        launched["SLURM"] = os.environ.get("SLURM_NTASKS")
    for launcher, number in launched.items():
        if number is not None and number != str(engine.num_processes):
            raise ConfigInvalid(
                f"engine.devices {engine.devices} on engine.num_nodes {engine.num_nodes} where {launcher} started "
                f"{number} processes",
                expected="as many processes as the launcher started",
                remedy="give both places the same numbers (WORLD_SIZE and SLURM_NTASKS are the launcher's)",
            )


def _launch(fabric: Fabric, engine: EngineConfig) -> None:
    launcher: Any = fabric.strategy.launcher
    environment = getattr(launcher, "cluster_environment", None)
    if environment is not None and not environment.creates_processes_externally:
        _require_address(engine)
        _require_script(engine)
    if environment is not None:
        try:
            environment.validate_settings(num_devices=engine.devices, num_nodes=engine.num_nodes)
        except ValueError as error:
            raise ConfigInvalid(
                f"engine.devices {engine.devices} on engine.num_nodes {engine.num_nodes} "
                f"({' '.join(str(error).split())})",
                expected="as many processes as torchrun or SLURM started",
                remedy="give both places the same numbers",
            ) from error
    fabric.launch()
    _let_errors_be_told()


def _let_errors_be_told() -> None:
    """Make Lightning wait before it kills this process for the death of another, which it looks for every 5 s.

    This process mostly knows by then and is about to say so: its message and its status would be lost. One that hangs
    in what the dead one does not answer is killed all the same, a little later.
    """
    for thread in threading.enumerate():
        if thread.name == "child-process-observer":  # it has no public name
            _kill_later(thread)


def _kill_later(observer: Any) -> None:
    kill = observer._terminate_all  # noqa: SLF001

    def farewell() -> None:
        time.sleep(LONGEST_FAREWELL_S)  # in a thread that ends with this process
        kill()

    observer._terminate_all = farewell  # noqa: SLF001


def _require_address(engine: EngineConfig) -> None:
    """Refuse several machines that do not know of each other: each would wait half an hour, on a port of its own.

    Lightning's variables, given to one command on each machine, do without a launcher.
    """
    if engine.num_nodes == 1:
        return
    given = os.environ
    if "MASTER_ADDR" in given and "MASTER_PORT" in given and ("NODE_RANK" in given or "GROUP_RANK" in given):
        place = f"{given['MASTER_ADDR']}:{given['MASTER_PORT']}"
        log.warning("engine.num_nodes %d: waits for %d more at %s", engine.num_nodes, engine.num_nodes - 1, place)
        return
    nodes, processes = engine.num_nodes, engine.devices
    raise ConfigInvalid(
        f"engine.num_nodes {nodes} without a launcher",
        expected="one that starts the processes of all machines and tells them where to meet",
        remedy=f"on each machine `torchrun --nnodes {nodes} --nproc-per-node {processes} --node-rank N --master-addr "
        f"FIRST --master-port 29500 --no-python ssl4eo pretrain ...`, or in a SLURM job `srun --nodes {nodes} "
        f"--ntasks-per-node {processes} ssl4eo pretrain ...` (docs/training.md)",
    )


def _require_script(engine: EngineConfig) -> None:
    """Refuse what cannot be run a second time."""
    if not Path(sys.argv[0]).is_file():
        raise ConfigInvalid(
            f"engine.devices {engine.devices} from {sys.argv[0] or 'an interactive session'!r}",
            expected="a command or a script: the other processes run it too",
            remedy="use `ssl4eo pretrain`, a script file, or torchrun",
        )


def _strategy(engine: EngineConfig) -> Any:
    """Say how processes share the work: weights that are equal everywhere, or cut."""
    if engine.strategy == "fsdp":
        return ModelParallelStrategy(
            _shard, data_parallel_size=engine.num_processes, tensor_parallel_size=1, timeout=TIMEOUT
        )
    if engine.strategy == "auto" and engine.num_processes == 1:
        return "auto"
    # Buffers need no broadcast: statistics, queues and centres are computed from what all processes gathered.
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # until torch 2.13
    options: dict[str, Any] = {"find_unused_parameters": False, buffers: False}
    return DDPStrategy(timeout=TIMEOUT, **options)


def _shard(module: nn.Module, mesh: Any) -> nn.Module:
    return shard(module, mesh["data_parallel"])
