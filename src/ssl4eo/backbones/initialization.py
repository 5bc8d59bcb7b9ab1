# SPDX-License-Identifier: Apache-2.0
"""How the weights of a transformer are drawn, where the paper differs from timm."""

from __future__ import annotations

import math

import torch
from torch import nn


@torch.no_grad()
def init_class_token(net: nn.Module) -> None:
    """Draw the class token as everything else, truncated normal 0.02; timm draws it at 1e-6.

    Source: the authors' code of Caron et al. 2021 (DINO).
    """
    nn.init.trunc_normal_(net.get_parameter("cls_token"), std=0.02)


@torch.no_grad()
def init_xavier(net: nn.Module, *, split_qkv: bool) -> None:
    """Draw every linear layer Xavier-uniform, biases zero; the patch embedding as a linear layer over its patch.

    Source: He et al. 2022 (MAE), section A.1; Chen et al. 2021 (MoCo v3), with query, key and value as three
    matrices (`split_qkv`), so that the range is that of a square one. Class token: standard deviation 0.02 (MAE)
    or 1e-6 (MoCo v3). Unlike the published code the range of the patch embedding counts the real number of bands.
    """
    xavier_linear(net, split_qkv=split_qkv)
    patch = net.get_submodule("patch_embed.proj")
    assert isinstance(patch, nn.Conv2d)
    nn.init.xavier_uniform_(patch.weight.view(len(patch.weight), -1))
    _zero_bias(patch)
    nn.init.normal_(net.get_parameter("cls_token"), std=1e-6 if split_qkv else 0.02)


@torch.no_grad()
def xavier_linear(module: nn.Module, *, split_qkv: bool = False) -> None:
    """Draw all linear layers Xavier-uniform, biases zero; `split_qkv` takes those called qkv as three matrices."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            if split_qkv and name.endswith("qkv"):
                bound = math.sqrt(6 / (layer.in_features + layer.out_features // 3))
                layer.weight.uniform_(-bound, bound)
            else:
                nn.init.xavier_uniform_(layer.weight)
            _zero_bias(layer)


@torch.no_grad()
def init_beit(net: nn.Module) -> None:
    """Draw weights normal, cut at one standard deviation; divide the last layer of each branch by sqrt(2 block).

    Source: Bao et al. 2022 (BEiT), appendix; blocks count from 1.
    """
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            beit_normal(module.weight)
            _zero_bias(module)
    beit_normal(net.get_parameter("cls_token"))
    blocks = net.get_submodule("blocks")
    assert isinstance(blocks, nn.ModuleList | nn.Sequential)
    for number, block in enumerate(blocks, start=1):
        for name in ("attn.proj", "mlp.fc2"):
            block.get_submodule(name).get_parameter("weight").div_(math.sqrt(2 * number))


def beit_normal(weight: torch.Tensor, *, std: float = 0.02) -> None:
    """Draw a weight normal, cut at one standard deviation."""
    nn.init.trunc_normal_(weight, std=std, a=-std, b=std)


def _zero_bias(module: nn.Linear | nn.Conv2d) -> None:
    bias: torch.Tensor | None = module.bias
    if bias is not None:
        bias.zero_()
