# SPDX-License-Identifier: Apache-2.0
"""Processes of their own that need not import torch anew: forked from a server that has done so and nothing else.

What is killed, signalled or counted in ranks is a real process; only the ten seconds of its imports are shared.
Tests of how a command starts still start it.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["ssl4eo.pretraining.loop", "timm", "torch._dynamo"])
LAUNCHER = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "RANK")
LONGEST_S = 1200
"""Bound of a run of seconds: half of what processes wait for one another, and room for a busy machine."""


@dataclass(frozen=True)
class Done:
    """How processes ended: the status of the first, and what all of them told."""

    returncode: int
    stderr: str


def clean_environment(**more: str) -> dict[str, str]:
    """Give an environment in which no launcher is running."""
    kept = {k: v for k, v in os.environ.items() if k not in LAUNCHER and not k.startswith("SLURM")}
    return kept | {"OMP_NUM_THREADS": "1"} | more


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run_forked(
    function: Callable[..., int | None], *args: Any, folder: Path, ranks: int = 1, environment: Mapping[str, str] = {}
) -> Done:
    """Call a function of a module in `ranks` processes that a launcher would have started, and wait for their end.

    The function's number, if it gives one, is the status of its process, as is the signal that killed it, negative.
    """
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks), "NODE_RANK": "0"}
    folder.mkdir(parents=True, exist_ok=True)
    processes, logs = [], []
    for rank in range(ranks):
        more = together | {"LOCAL_RANK": str(rank)} if ranks > 1 else {}
        logs.append(folder / f"stderr-{rank}.txt")
        told = (function, args, clean_environment(**more, **environment), logs[-1])
        processes.append(CONTEXT.Process(target=_call, args=told))
        processes[-1].start()
    for process in processes:
        process.join(LONGEST_S)
        if process.exitcode is None:
            process.kill()
    stderr = "".join(log.read_text(encoding="utf-8") for log in logs if log.exists())
    return Done(int(-9 if processes[0].exitcode is None else processes[0].exitcode), stderr)


def _call(function: Callable[..., int | None], args: tuple[Any, ...], environment: dict[str, str], log: Path) -> None:
    """Be the process: environment, standard error and threads of its own."""
    import torch

    with log.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.exit(function(*args))
