# SPDX-License-Identifier: Apache-2.0
"""A transformer step by step: patches to tokens, tokens through blocks, for methods that hide some of them.

Works on timm's VisionTransformer and Beit alike. Letters: B batch, L patches, D dims.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def embed_patches(net: nn.Module, images: Tensor) -> Tensor:
    """Turn images (B, C, H, W) into tokens (B, L, D), row by row, without position."""
    tokens: Tensor = cast("Any", net).patch_embed(images)
    return tokens.flatten(1, 2) if tokens.ndim == 4 else tokens


def positions(net: nn.Module, num_patches: int) -> Tensor | None:
    """Give the embedding (1, 1 + L, D) of a square grid of L patches, None for a network with relative positions.

    Another grid than the network's own is interpolated (bicubic, antialiased).
    """
    table = cast("Tensor | None", net.pos_embed)
    if table is None or table.shape[1] == num_patches + 1:
        return table
    side = round(num_patches**0.5)
    assert side * side == num_patches, f"{num_patches} patches are a square"
    from timm.layers.pos_embed import resample_abs_pos_embed  # here, as everywhere: see architectures.py

    return resample_abs_pos_embed(table, new_size=[side, side], num_prefix_tokens=1)


def with_positions(net: nn.Module, patches: Tensor) -> Tensor:
    """Add to tokens (B, L, D) their positions."""
    table = positions(net, patches.shape[1])
    return patches if table is None else patches + table[:, 1:]


def with_class_token(net: nn.Module, patches: Tensor) -> Tensor:
    """Put the class token and its position before tokens (B, L, D): (B, 1 + L, D)."""
    token = cast("Tensor", net.cls_token)
    table = cast("Tensor | None", net.pos_embed)
    if table is not None:
        token = token + table[:, :1]
    # shape[0], not len: a traced graph (checkpoints/export/onnx.py) would keep the batch of its example
    return torch.cat([token.expand(patches.shape[0], -1, -1).to(patches.dtype), patches], dim=1)


def run_blocks(net: nn.Module, tokens: Tensor, *, keep: frozenset[int] = frozenset()) -> tuple[Tensor, list[Tensor]]:
    """Pass tokens (B, 1 + L, D) through all blocks; gives the last ones, not normed, and those after blocks `keep`.

    Blocks count from 0.
    """
    shared = cast("Any", net).rel_pos_bias() if getattr(net, "rel_pos_bias", None) is not None else None
    extra: dict[str, Any] = {} if shared is None else {"shared_rel_pos_bias": shared}
    kept: list[Tensor] = []
    for number, block in enumerate(cast("nn.Sequential", net.blocks)):
        if cast("Any", net).grad_checkpointing and torch.is_grad_enabled():
            tokens = cast("Tensor", checkpoint(block, tokens, use_reentrant=False, **extra))
        else:
            tokens = block(tokens, **extra)
        if number in keep:
            kept.append(tokens)
    return tokens, kept


def encode(net: nn.Module, images: Tensor) -> Tensor:
    """Give the normed tokens (B, 1 + L, D) of whole images (B, C, H, W), the class token first."""
    patches = with_positions(net, embed_patches(net, images))
    tokens, _ = run_blocks(net, with_class_token(net, patches))
    return cast("Any", net).norm(tokens)


def class_tokens(net: nn.Module, images: Tensor, *, last: int) -> Tensor:
    """Give the normed class tokens (B, last * D) after each of the last blocks, the earliest first."""
    patches = with_positions(net, embed_patches(net, images))
    depth = len(cast("nn.Sequential", net.blocks))
    _, kept = run_blocks(net, with_class_token(net, patches), keep=frozenset(range(depth - last, depth)))
    return torch.cat([cast("Any", net).norm(tokens)[:, 0] for tokens in kept], dim=1)
