# SPDX-License-Identifier: Apache-2.0
"""What a pre-training run is: one value with everything that decides its weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from ssl4eo.backbones.architectures import check_image_size
from ssl4eo.contract import Contract, network_input
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.method import MethodConfig, Setting
from ssl4eo.training.optimizer import OptimizerConfig
from ssl4eo.training.schedule import ScheduleConfig
from ssl4eo.views.config import Views


@dataclass(frozen=True)
class EngineConfig:
    """How long and on what."""

    epochs: int
    """Passes over the data."""
    batch_size: int
    """Samples a step, over all processes."""
    seed: int = 0
    """Of weights, order and views."""
    precision: Literal["auto", "bf16-mixed", "16-mixed", "32-true"] = "auto"
    """Of the forward and backward pass; weights stay float32. auto: bf16-mixed where the device computes in bf16."""
    channels_last: bool = True
    """Keep images as (B, H, W, C) in memory: the same numbers to rounding (benchmarks/bench_step.py for speed)."""
    accelerator: str = "auto"
    """cpu, gpu, or auto."""
    devices: int = 1
    """Processes on each machine."""
    num_nodes: int = 1
    """Machines."""
    accumulate: int = 1
    """Parts that the batch of a process is computed in, one after the other, before the weights move."""
    num_workers: int = 0
    """Processes that read and crop ahead; 0 does it between the steps."""
    photometrics: Literal["device", "worker"] = "device"
    """Where views are scaled and changed in brightness: on the device (8 or 16 bits travel) or before."""
    log_every: int = 10
    """Steps between lines of the log."""
    probe_every: int = 1
    """Epochs between online k-NN readings; 0 for none."""
    save_every: int = 1
    """Epochs between checkpoints."""
    save_minutes: float = 10.0
    """Longest time between checkpoints [min], inside an epoch too; 0 saves every step."""

    def __post_init__(self) -> None:
        """Refuse numbers below their least."""
        least = {"epochs": 1, "batch_size": 2, "seed": 0, "devices": 1, "num_nodes": 1, "accumulate": 1}
        if self.seed >= 2**32:
            raise ConfigInvalid(f"engine.seed is {self.seed}", expected="0 to 4294967295")
        if self.save_minutes < 0:
            raise ConfigInvalid(f"engine.save_minutes is {self.save_minutes}", expected="0 or more")
        for name, value in (least | {"num_workers": 0, "log_every": 1, "probe_every": 0, "save_every": 1}).items():
            if getattr(self, name) < value:
                raise ConfigInvalid(f"engine.{name} is {getattr(self, name)}", expected=f"{value} or more")
        if self.batch_size % (self.devices * self.num_nodes * self.accumulate):
            raise ConfigInvalid(
                f"engine.batch_size {self.batch_size} over {self.devices * self.num_nodes} processes "
                f"in {self.accumulate} parts",
                expected="a multiple of processes times parts",
            )


FREE_ON_RESUME = (
    "engine.num_workers",
    "engine.log_every",
    "engine.probe_every",
    "engine.save_every",
    "engine.save_minutes",
)
"""Options that a resumed run may change: they do not touch the weights."""


@dataclass(frozen=True)
class PretrainConfig:
    """A complete pre-training experiment, data apart."""

    recipe: str
    """Name it was made from."""
    modality: str
    """What is read from the data."""
    backbone: str
    """Architecture."""
    method: MethodConfig
    """Objective."""
    views: Views
    """What the network sees."""
    optimizer: OptimizerConfig
    """Optimizer and peak learning rate."""
    schedule: ScheduleConfig
    """Learning rate over time."""
    engine: EngineConfig
    """How long and on what."""

    def __post_init__(self) -> None:
        """Refuse parts that do not fit together."""
        check_image_size(self.backbone, self.image_size)
        self.method.check(self.setting)

    @property
    def image_size(self) -> int:
        """Height and width that the network is trained for [px]: of the first view."""
        return self.views.views[0].size

    @property
    def setting(self) -> Setting:
        """What the method is checked against."""
        return Setting(
            arch=self.backbone,
            image_size=self.image_size,
            num_views=len(self.views.views),
            batch_size=self.engine.batch_size,
            num_processes=self.engine.devices * self.engine.num_nodes,
            accumulate=self.engine.accumulate,
        )

    @property
    def contract(self) -> Contract:
        """What enters the network."""
        return network_input(self.modality)

    def to_json(self) -> dict[str, Any]:
        """Give plain nested values."""
        return dataclasses.asdict(self)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested values into dotted names; tuples become lists, as JSON has them.

    >>> flatten({"a": {"b": 1}, "c": (2, 3)})
    {'a.b': 1, 'c': [2, 3]}
    """
    rows: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            rows |= flatten(value, f"{prefix}{name}.")
        else:
            rows[prefix + name] = list(value) if isinstance(value, tuple) else value
    return rows
