# SPDX-License-Identifier: Apache-2.0
"""The same network in the form that a processor computes fastest. What it computes stays, up to rounding."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn


def fit_to_processor(module: nn.Module, *, channels_last: bool, precision: str, device: torch.device) -> None:
    """Change in place how a network computes.

    Args:
        module: a network, or several below one.
        channels_last: lay images and kernels out pixel by pixel.
        precision: in Fabric's words.
        device: where it will run.
    """
    if channels_last:
        module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - missing in torch's overloads
    if device.type == "cpu" and precision == "bf16-mixed" and not _multiplies_tiles():
        _open_attention(module)


def _multiplies_tiles() -> bool:
    """Say whether the processor has AMX, where torch's fused attention is fast in bf16."""
    return torch.cpu._is_amx_tile_supported()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the only place that tells


def _open_attention(module: nn.Module) -> None:
    """Compute attention as two products and a softmax.

    torch's fused kernel for processors is slower in bf16 than in float32 without AMX; the products are twice as fast.
    Logits are rounded to bf16 then, as everywhere before there was a fused kernel.
    """
    for part in module.modules():
        if isinstance(getattr(part, "fused_attn", None), bool):
            cast("Any", part).fused_attn = False
