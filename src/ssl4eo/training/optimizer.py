# SPDX-License-Identifier: Apache-2.0
"""Optimizers by name, learning rates by rule, and which parameters decay.

Weight decay is kept off biases, norms, class and mask tokens and positions unless asked for. A layer decay makes the
learning rate of a transformer's block smaller the nearer it is to the image.
"""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from ssl4eo.errors import ConfigInvalid, unknown_name
from ssl4eo.training.lars import LARS
from ssl4eo.training.schedule import cosine

OptimizerName = Literal["sgd", "adam", "adamw", "lars"]
RateRule = Literal["absolute", "per_256"]
Clip = Literal["none", "norm", "parameter"]


@dataclass(frozen=True)
class OptimizerConfig:
    """An optimizer and its peak learning rate."""

    name: OptimizerName
    """sgd and lars (with momentum), adam or adamw."""
    lr: float
    """Peak learning rate, see lr_rule."""
    weight_decay: float
    """L2 decay (sgd, lars, adam) or decoupled decay (adamw)."""
    lr_rule: RateRule = "absolute"
    """absolute: lr as it is; per_256: lr times the batch over all processes / 256."""
    weight_decay_end: float | None = None
    """Decay at the end of the run, reached along half a cosine; None keeps it constant."""
    momentum: float = 0.9
    """Of sgd and lars."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of adam and adamw."""
    nesterov: bool = False
    """Of sgd: look ahead along the momentum."""
    decay_all: bool = False
    """Decay biases, norm weights, tokens and positions too, as the reference's SGD recipes do."""
    layer_decay: float = 1.0
    """Factor of the learning rate from each block of a transformer to the one before; 1 for none. Heads and decoders
    learn at the full rate."""
    clip: Clip = "none"
    """Gradient clipping: norm bounds the norm of all gradients, parameter the norm of each."""
    clip_norm: float = 3.0
    """Bound of clip."""

    def __post_init__(self) -> None:
        """Refuse numbers that no optimizer takes."""
        for option, choices in (("name", OptimizerName), ("lr_rule", RateRule), ("clip", Clip)):
            if getattr(self, option) not in get_args(choices):
                raise unknown_name(f"optimizer.{option}", getattr(self, option), get_args(choices))
        # Written so that NaN, which compares false, is refused too.
        if not (0 < self.lr < math.inf and 0 <= self.weight_decay < math.inf and 0 <= self.momentum < 1):
            raise ConfigInvalid(f"optimizer is {self}", expected="lr > 0, weight_decay >= 0, momentum from 0 below 1")
        _check_betas(self.betas)
        if not (0 < self.layer_decay <= 1 and self.clip_norm > 0):
            raise ConfigInvalid(f"optimizer is {self}", expected="layer_decay above 0 to 1, clip_norm > 0")
        if self.nesterov and not (self.name == "sgd" and self.momentum > 0):
            raise ConfigInvalid(
                f"optimizer.nesterov with optimizer.name {self.name} and optimizer.momentum {self.momentum}",
                expected="sgd with a momentum above 0: nothing else looks ahead",
                remedy="--optimizer.nesterov false, or --optimizer.name sgd --optimizer.momentum 0.9",
            )
        if self.weight_decay_end is not None and not 0 <= self.weight_decay_end < math.inf:
            raise ConfigInvalid(f"optimizer.weight_decay_end is {self.weight_decay_end}", expected="0 or more")

    def peak(self, batch_size: int) -> float:
        """Give the peak learning rate for a batch over all processes."""
        return self.lr * (batch_size / 256 if self.lr_rule == "per_256" else 1.0)

    def decay(self, share: float) -> float:
        """Give the weight decay when a share of the run is done."""
        end = self.weight_decay if self.weight_decay_end is None else self.weight_decay_end
        return cosine(self.weight_decay, end, share)


def _check_betas(betas: Any) -> None:
    """Raise ConfigInvalid unless these are two numbers that Adam can average with."""
    pair = tuple[Any, ...](betas) if isinstance(betas, Sequence) else ()
    if len(pair) != 2 or not all(isinstance(b, numbers.Real) and 0 <= float(b) < 1 for b in pair):
        raise ConfigInvalid(f"optimizer.betas is {betas!r}", expected="two numbers from 0 below 1")


def make_optimizer(
    config: OptimizerConfig, parameters: Iterable[tuple[str, nn.Parameter]], *, fused: bool = True
) -> torch.optim.Optimizer:
    """Build the optimizer over named parameters; those that need no gradient are left out.

    Groups carry `scale` (of the learning rate) and `decays`, which `set_rates` reads.

    Args:
        config: what to build.
        parameters: of the method, by name.
        fused: let AdamW take one pass over the parameters. Under a gradient scaler it may not: a fused optimizer
            unscales inside its step, when clipping has already looked at scaled gradients.
    """
    chosen = {name: p for name, p in parameters if p.requires_grad}
    layers = _layers(chosen) if config.layer_decay < 1 else dict.fromkeys(chosen, 0)
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in chosen.items():
        groups.setdefault((layers[name], config.decay_all or _decays(name, parameter)), []).append(parameter)
    rows: list[dict[str, Any]] = [
        {
            "params": members,
            "scale": config.layer_decay**layer,
            "decays": decays,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (layer, decays), members in groups.items()
    ]
    if config.name == "sgd":
        return torch.optim.SGD(rows, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
    if config.name == "adam":
        return torch.optim.Adam(rows, lr=config.lr, betas=config.betas, fused=fused)
    if config.name == "lars":
        return LARS(rows, lr=config.lr, momentum=config.momentum)
    return torch.optim.AdamW(rows, lr=config.lr, betas=config.betas, fused=fused)


def set_rates(optimizer: torch.optim.Optimizer, *, lr: float, weight_decay: float) -> None:
    """Give each group its learning rate and weight decay for the coming step."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
        group["weight_decay"] = weight_decay if group["decays"] else 0.0


def _decays(name: str, parameter: nn.Parameter) -> bool:
    spared = ("pos_embed", "cls_token", "mask_token", "relative_position_bias_table")
    return parameter.ndim > 1 and not name.endswith(spared)


def _layers(parameters: Mapping[str, nn.Parameter]) -> dict[str, int]:
    """Count for each parameter the steps from the encoder's output.

    0 for heads, decoders and the last norm, depth + 1 for the embedding. The encoder is the `net` of a Backbone,
    whatever the method calls that: MAE's decoder has blocks of its own.
    """
    blocks = {name: int(m.group(1)) for name in parameters if (m := re.search(r"\.net\.blocks\.(\d+)\.", name))}
    depth = 1 + max(blocks.values(), default=-1)
    embedding = re.compile(r"\.net\.(patch_embed|pos_embed|cls_token|rel_pos_bias)")
    return {
        name: depth - blocks[name] if name in blocks else depth + 1 if depth and embedding.search(name) else 0
        for name in parameters
    }
