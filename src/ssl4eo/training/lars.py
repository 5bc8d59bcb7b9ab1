# SPDX-License-Identifier: Apache-2.0
"""LARS: momentum SGD whose steps are as long, layer by layer, as the layer's weights allow.

Source: You et al. 2017 (arXiv 1708.03888), Algorithm 1: the local rate is eta ||w|| / (||g|| + beta ||w||), and the
velocity v <- m v + lr local (g + beta w) is subtracted from w.

Deliberate differences: vectors (biases, norms) take plain momentum SGD, as all self-supervised recipes with LARS do;
a layer whose weights or gradients are all zero has a local rate of 1 (the paper is silent), else it would never move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor

TRUST = 1e-3
"""eta of the paper: how far a step may go, as a share of the weights' length."""


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling; groups as those of SGD."""

    def __init__(
        self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float, weight_decay: float = 0.0
    ) -> None:
        """Start with no velocity."""
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride] - torch overloads it
        """Move the weights once."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in cast("list[Tensor]", group["params"]):
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        decay = group["weight_decay"]
        change = gradient.add(weight, alpha=decay)
        if weight.ndim > 1:
            change = change.mul(local_rate(weight, gradient, decay))
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        state["velocity"].mul_(group["momentum"]).add_(change, alpha=group["lr"])
        weight.sub_(state["velocity"])


def local_rate(weight: Tensor, gradient: Tensor, decay: float) -> Tensor:
    """Give eta ||w|| / (||g|| + beta ||w||), a scalar; 1 where either norm is 0."""
    length, slope = torch.linalg.vector_norm(weight), torch.linalg.vector_norm(gradient)
    rate = TRUST * length / (slope + decay * length)
    return torch.where((length > 0) & (slope > 0), rate, torch.ones_like(rate))
