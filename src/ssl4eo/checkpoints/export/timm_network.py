# SPDX-License-Identifier: Apache-2.0
"""How timm builds a backbone of ours by name: the name, and every argument that differs from its defaults.

timm has no name for most sizes of transformers that ours have names for, nor for shared relative positions: they are
another network of timm with other sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ssl4eo.backbones.architectures import ARCHITECTURES, ResNetShape
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid

TIMM_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "vit_small_16": "vit_small_patch16_224",
        "vit_base_16": "vit_base_patch16_224",
        "vit_large_16": "vit_large_patch16_224",
        "vit_huge_14": "vit_huge_patch14_224",
    }
)
"""Transformers of ours that timm has under a name, with absolute positions."""
_ANY_TRANSFORMER = "vit_small_patch16_224"
_ANY_BEIT = "beit_base_patch16_224"


@dataclass(frozen=True)
class TimmNetwork:
    """A call of `timm.create_model`."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def call(self) -> str:
        """The call as code."""
        return f"timm.create_model({self.name!r}, {', '.join(f'{k}={v!r}' for k, v in self.arguments.items())})"


def timm_network(backbone: Backbone) -> TimmNetwork:
    """Say how timm builds this network, so that its state loads strictly and its features are equal.

    Raises:
        ConfigInvalid: timm has no such way to a feature.
    """
    shape, options = ARCHITECTURES[backbone.arch], backbone.options
    common: dict[str, Any] = {"in_chans": backbone.contract.num_bands, "num_classes": 0}
    if isinstance(shape, ResNetShape):
        return TimmNetwork(shape.timm_name, common)
    if options.pooling == "cls_last_4":
        raise ConfigInvalid(
            "class tokens of the last four blocks in the form of timm",
            expected="a feature that timm's networks give: the class token or the mean of the patches",
            remedy="load the network without pooling='cls_last_4'; timm's forward_intermediates gives those tokens",
        )
    common["img_size"] = backbone.image_size
    size = {"patch_size": shape.patch, "embed_dim": shape.dim, "depth": shape.depth, "num_heads": shape.heads}
    # `mean` is of normed tokens; timm's own choice is to norm after pooling, with other keys: that is `mean_norm`.
    if options.position == "relative":
        pooling = {"global_pool": "token"}
        if options.pooling != "cls":
            pooling = {"global_pool": "avg", "use_fc_norm": options.pooling == "mean_norm"}
        return TimmNetwork(
            _ANY_BEIT,
            common
            | size
            | {"init_values": options.layer_scale, "use_abs_pos_emb": False}
            | {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True}
            | pooling,
        )
    pooling = {} if options.pooling == "cls" else {"global_pool": "avg", "fc_norm": options.pooling == "mean_norm"}
    scale = {} if options.layer_scale is None else {"init_values": options.layer_scale}
    known = TIMM_NAMES.get(backbone.arch)
    return TimmNetwork(known or _ANY_TRANSFORMER, common | ({} if known else size) | pooling | scale)


def beit_arguments(backbone: Backbone) -> dict[str, Any]:
    """Give the arguments of `timm.models.beit.Beit` for a network with relative positions."""
    arguments = dict(timm_network(backbone).arguments)
    del arguments["use_rel_pos_bias"]  # the class has it off
    return arguments
