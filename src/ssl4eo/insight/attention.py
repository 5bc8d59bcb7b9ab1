# SPDX-License-Identifier: Apache-2.0
"""Where the class token of a transformer looks: the last block's attention, head by head.

Source: Caron et al. 2021 (arXiv 2104.14294), figure 1. Letters: B batch, L patches on a grid of g x g.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.modes import evaluating
from ssl4eo.backbones.tokens import encode


def class_attention(backbone: Backbone, images: Tensor) -> Tensor:
    """Give the attention (B, heads, 1 + L) of the class token of scaled images (B, C, S, S); rows sum to one.

    Column 0 is what the token keeps for itself, the others are the patches row by row. It is what the network itself
    computes: the fused kernel, which never forms these numbers, is put aside for the last block of this one call.
    """
    assert backbone.patch is not None, "a residual network has no attention"
    last = cast("Any", backbone.net).blocks[-1].attn
    caught: list[Tensor] = []
    handle = last.attn_drop.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0][:, :, 0]))
    fused, last.fused_attn = last.fused_attn, False
    try:
        with evaluating(backbone), torch.inference_mode():
            encode(backbone.net, images)
    finally:
        handle.remove()
        last.fused_attn = fused
    return caught[0].float().clone()
