# SPDX-License-Identifier: Apache-2.0
"""Parts that several papers share: the projection head, the moving average of a network, the queue of keys."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def unmixed(tensor: Tensor) -> torch.autocast:
    """Leave automatic mixed precision: products are computed in the type of their inputs.

    Cosines of embeddings that are nearly alike, as they are early in training, differ by less than bfloat16 can tell
    (2^-8 next to 1): logits would be ties, and their gradients noise. A product of embeddings costs next to nothing.
    """
    return torch.autocast(tensor.device.type, enabled=False)


def projection_head(num_features: int, hidden: int, dim: int) -> nn.Sequential:
    """Make the two-layer head of MoCo v2: Linear - ReLU - Linear, both with bias."""
    return nn.Sequential(nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, dim))


@torch.no_grad()
def update_average(average: nn.Module, online: nn.Module, *, momentum: float) -> None:
    """Move parameters of `average` toward `online`: a <- m a + (1 - m) o.

    Buffers (running means and variances) are not touched: `average` keeps its own, from its own forward passes.
    """
    averages = [_own(p) for p in average.parameters()]
    onlines = [_own(p) for p in online.parameters()]
    torch._foreach_lerp_(averages, onlines, 1.0 - momentum)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage] - one fused pass


def _own(parameter: Tensor) -> Tensor:
    """Give the values of a parameter that this process holds: all, or its share where weights are cut (FSDP)."""
    cut: Any = parameter  # asked by attribute: importing DTensor costs seconds
    return cut.to_local() if hasattr(cut, "to_local") else parameter.data


class KeyQueue(nn.Module):
    """The last K keys, as rows of unit length, overwritten first in, first out."""

    keys: Tensor
    pointer: Tensor

    def __init__(self, size: int, dim: int, *, seed: int) -> None:
        """Start with random directions."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("keys", F.normalize(torch.randn(size, dim, generator=generator), dim=1))  # (K, D)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Overwrite the oldest rows by `keys` (B, D), B a divisor of K; wraps around."""
        start = int(self.pointer)
        self.keys[start : start + len(keys)] = keys.to(self.keys.dtype)
        self.pointer.fill_((start + len(keys)) % len(self.keys))
