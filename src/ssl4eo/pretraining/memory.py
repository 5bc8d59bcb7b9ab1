# SPDX-License-Identifier: Apache-2.0
"""How much memory a piece of work takes, on the device where it is done, and which options take less.

Linux tells how much; other systems tell less. On a GPU only what torch holds is counted, not the driver's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from ssl4eo.errors import ConfigInvalid
from ssl4eo.pretraining.config import PretrainConfig

_STATUS, _MACHINE = Path("/proc/self/status"), Path("/proc/meminfo")


class Meter:
    """Measures how far memory grows between `start` and `peak`."""

    def __init__(self, device: torch.device) -> None:
        """Measure on this device."""
        self._on_gpu = device.type == "cuda"
        self._start = 0

    def start(self) -> None:
        """Forget earlier peaks."""
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
            self._start = torch.cuda.memory_allocated()
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
            self._start = _field(_STATUS, "VmRSS") or _largest_ever()

    @property
    def peak(self) -> int:
        """Most memory since `start` [bytes]; where the system cannot forget, since the process began."""
        if self._on_gpu:
            return torch.cuda.max_memory_allocated()
        return _field(_STATUS, "VmHWM") or _largest_ever()

    @property
    def grown(self) -> int:
        """How far it grew above the start [bytes]."""
        return max(0, self.peak - self._start)

    def free(self) -> float:
        """Memory that could still be taken [bytes]; infinite where nobody tells."""
        if self._on_gpu:
            return float(torch.cuda.mem_get_info()[0])
        return float(_field(_MACHINE, "MemAvailable") or float("inf"))


def _field(path: Path, name: str) -> int | None:
    """Read a line such as `VmHWM:  1234 kB` [bytes], None where there is none."""
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return 1024 * int(line.split()[1])
    return None


def _largest_ever() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def less_memory(config: PretrainConfig) -> str:
    """Say which options of a config would take less memory, those that a run may be gone on with first.

    Only what the config can be changed to is named: MoCo v3 takes no parts, a queue is divisible by the batch.
    """
    engine = config.engine
    parts = _first(config, "accumulate", range(engine.accumulate + 1, engine.batch_size + 1))
    batch = _first(config, "batch_size", range(engine.batch_size // 2, 1, -1))
    again = [
        *([f"--engine.accumulate {parts} (the same batch in {parts} parts)"] if parts else []),
        *(["--engine.activation_checkpointing true"] if _checkpoints(config) else []),
    ]
    anew = [*([f"--engine.batch_size {batch}"] if batch else []), "a smaller --backbone or smaller views"]
    going_on = f"the same command with --resume and {' or '.join(again)}; or " if again else ""
    return f"{going_on}a new run with {' or '.join(anew)}"


def _checkpoints(config: PretrainConfig) -> bool:
    return not config.engine.activation_checkpointing and _fits(config, activation_checkpointing=True)


def _first(config: PretrainConfig, option: str, values: range) -> int | None:
    return next((value for value in values if _fits(config, **{option: value})), None)


def _fits(config: PretrainConfig, **options: Any) -> bool:
    try:
        dataclasses.replace(config, engine=dataclasses.replace(config.engine, **options))
    except ConfigInvalid:
        return False
    return True
