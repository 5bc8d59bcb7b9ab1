# SPDX-License-Identifier: Apache-2.0
"""Optimizers by name, with weight decay kept off biases and norms unless asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from ssl4eo.errors import ConfigInvalid


@dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer and its peak learning rate."""

    name: Literal["sgd", "adamw"]
    """sgd (with momentum) or adamw."""
    lr: float
    """Peak learning rate, absolute: not scaled by the batch size."""
    weight_decay: float
    """L2 decay (sgd) or decoupled decay (adamw)."""
    momentum: float = 0.9
    """Of sgd; adamw uses betas 0.9, 0.999."""
    decay_all: bool = False
    """Decay biases and norm weights too, as the reference's SGD recipes do."""

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        if self.lr <= 0 or self.weight_decay < 0 or not 0 <= self.momentum < 1:
            raise ConfigInvalid(f"optimizer is {self}", expected="lr > 0, weight_decay >= 0, momentum from 0 below 1")


def make_optimizer(config: OptimizerConfig, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """Build the optimizer over the trainable parameters of some modules."""
    parameters = [p for m in modules for p in m.parameters() if p.requires_grad]
    decayed = [p for p in parameters if config.decay_all or p.ndim > 1]
    plain = [p for p in parameters if not (config.decay_all or p.ndim > 1)]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": config.weight_decay}]
    if plain:
        groups.append({"params": plain, "weight_decay": 0.0})
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)  # one pass over the parameters
