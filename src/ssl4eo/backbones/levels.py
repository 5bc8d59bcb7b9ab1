# SPDX-License-Identifier: Apache-2.0
"""Maps of features at several resolutions, which decoders of dense tasks start from.

A residual network has them: after its stem (stride 2) and after each of its four stages (4 to 32). A transformer has
one resolution: the tokens after each quarter of its blocks are brought to strides of a quarter, a half, one and two
patches (a simple feature pyramid, Li et al. 2022, without its convolutions).
Letters: B batch, D channels, h and w the map.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.own import OwnBackbone
from ssl4eo.backbones.tokens import embed_patches, run_blocks, with_class_token, with_positions

_SCALES = (4.0, 2.0, 1.0, 0.5)
"""Of the maps of a transformer, to its grid of patches."""


def level_widths(backbone: Backbone) -> tuple[int, ...]:
    """Give the channels D of each level, finest first: what a decoder is built for.

    Args:
        backbone: any of ours, or one's own that gives maps.

    Raises:
        ConfigInvalid: a network of one's own that gives none.
    """
    if isinstance(backbone, OwnBackbone):
        return backbone.level_widths
    net = cast("Any", backbone.net)
    if backbone.patch is not None:
        return (int(net.embed_dim),) * len(_SCALES)
    return tuple(int(level["num_chs"]) for level in net.feature_info)


def level_maps(backbone: Backbone, images: Tensor) -> list[Tensor]:
    """Give maps (B, D, h, w) of scaled images (B, C, S, S), finest first: five of a residual network, else four.

    Gradients flow, unless the caller stops them; nothing is pooled, and the network is in the mode that the caller set.

    Args:
        backbone: any of ours, or one's own that gives maps.
        images: as the network is fed, that is after `Adapter(stored, backbone.contract)`; S of a transformer is its
            `image_size` (`adapt.with_image_size` changes it), of a residual network any.

    Raises:
        ConfigInvalid: a network of one's own that gives none.
        ContractMismatch: another number of channels than the contract's.
    """
    if isinstance(backbone, OwnBackbone):
        return backbone.level_maps(images)
    backbone.require_channels(images)
    return _of_stages(backbone.net, images) if backbone.patch is None else _of_blocks(backbone.net, images)


def _of_stages(net: nn.Module, images: Tensor) -> list[Tensor]:
    parts = cast("Any", net)
    maps: list[Tensor] = [parts.act1(parts.bn1(parts.conv1(images)))]
    values = parts.maxpool(maps[0])
    for stage in (parts.layer1, parts.layer2, parts.layer3, parts.layer4):
        values = stage(values)
        maps.append(values)
    return maps


def _of_blocks(net: nn.Module, images: Tensor) -> list[Tensor]:
    patches = with_positions(net, embed_patches(net, images))
    depth = len(cast("nn.Sequential", cast("Any", net).blocks))
    ends = [max(1, depth * quarter // 4) - 1 for quarter in (1, 2, 3, 4)]
    _, kept = run_blocks(net, with_class_token(net, patches), keep=frozenset(ends))
    after = dict(zip(sorted(set(ends)), map(cast("Any", net).norm, kept), strict=True))  # few blocks serve twice
    side = round((kept[0].shape[1] - 1) ** 0.5)
    grids = [after[end][:, 1:].transpose(1, 2).unflatten(2, (side, side)) for end in ends]
    return [_scaled(grid, scale) for grid, scale in zip(grids, _SCALES, strict=True)]


def _scaled(grid: Tensor, scale: float) -> Tensor:
    """Resize a grid of tokens (B, D, side, side); a single patch has no half, and stays."""
    if scale == 1 or grid.shape[-1] * scale < 1:
        return grid
    return F.interpolate(grid, scale_factor=scale, mode="bilinear", antialias=scale < 1)
