# SPDX-License-Identifier: Apache-2.0
"""A trained network for another input: other image size, other bands. Nothing is trained, everything is said.

Weights of the same band and place stay bit by bit.
"""

from __future__ import annotations

import logging
from typing import Literal, get_args

import torch
from torch import Tensor

from ssl4eo.backbones.architectures import FIRST_LAYERS, check_image_size, check_whole
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.own import OwnBackbone, require_built_by_name
from ssl4eo.backbones.positions import most_patches, resize_relative
from ssl4eo.contract import InputContract, is_contract
from ssl4eo.errors import ConfigInvalid, ContractMismatch, unknown_name

log = logging.getLogger(__name__)

POSITIONS, RELATIVE = "pos_embed", "rel_pos_bias.relative_position_bias_table"
NewBands = Literal["zero", "mean"]
"""Weights of a band that the network has not seen: zero, so that features stay, or the mean of the others."""


def with_image_size(backbone: Backbone, image_size: int) -> Backbone:
    """Give the network for images of another size [px]; itself where the size is its own.

    Tables of positions are interpolated (bicubic, antialiased), tables of relative ones on BEiT's geometric grid; class
    token entries stay. A residual network has nothing that depends on the size.

    Raises:
        ConfigInvalid: a size that the network cannot see.
    """
    check_whole(image_size)
    if image_size == backbone.image_size:
        return backbone
    if isinstance(backbone, OwnBackbone):
        return backbone.with_image_size(image_size)
    from timm.layers.pos_embed import resample_abs_pos_embed

    image_size = int(image_size)  # NumPy's whole numbers are no JSON
    check_image_size(backbone.arch, image_size, backbone.options)
    weights = dict(backbone.net.state_dict())
    if backbone.patch is not None:
        grid = image_size // backbone.patch
        if POSITIONS in weights:
            weights[POSITIONS] = resample_abs_pos_embed(weights[POSITIONS], new_size=[grid, grid], num_prefix_tokens=1)
        if RELATIVE in weights:
            _require_relative(backbone.image_size // backbone.patch, grid, backbone.patch)
            weights[RELATIVE] = resize_relative(weights[RELATIVE], grid)
    log.info("image size %d px -> %d px", backbone.image_size, image_size)
    return _rebuilt(backbone, backbone.contract, image_size, weights)


def with_contract(backbone: Backbone, contract: InputContract, *, new_bands: NewBands | None = None) -> Backbone:
    """Give the network for other bands of the same kind of values: selected, reordered, added.

    Args:
        backbone: to start from.
        contract: of the values that the new network wants.
        new_bands: weights of bands that the network has not seen; None refuses them.

    Raises:
        ContractMismatch: other modalities, units or scalings than the network's, or new bands without a rule.
        UnknownName: no such rule for new bands.
        ConfigInvalid: a module of one's own, whose first layer is not known.
    """
    require_built_by_name(
        backbone, "other bands for", remedy="wrap your module in one that gives it the bands it wants"
    )
    if new_bands not in (None, *get_args(NewBands)):
        raise unknown_name("rule for new bands", new_bands, get_args(NewBands))
    if not is_contract(contract):
        raise ContractMismatch(
            f"{contract!r} for a contract", expected="such as ssl4eo.contract.network_input('S2L1C')"
        )
    old, new = backbone.contract, contract
    known, wanted = _channels(old), _channels(new)
    added = [channel for channel in wanted if channel not in known]
    before, after = _values(old), _values(new)
    if not after.keys() <= before.keys() or any(before[name] != after[name] for name in after):
        raise ContractMismatch(
            f"a network of {old}", expected=str(new), remedy="choose bands of the same modality, unit and scaling"
        )
    if added and new_bands is None:
        raise ContractMismatch(
            f"the network has not seen {' '.join(band for _, band in added)}",
            expected="a rule for new bands",
            remedy="new_bands 'zero' leaves features as they are, 'mean' starts from the mean of the others",
        )
    weights = dict(backbone.net.state_dict())
    name = next(name for name in FIRST_LAYERS if name in weights)
    weights[name] = _columns(weights[name], [known.index(c) if c in known else None for c in wanted], new_bands)
    dropped = [channel[1] for channel in known if channel not in wanted]
    log.info(
        "bands: %d kept%s%s",
        len(wanted) - len(added),
        f", {' '.join(dropped)} left out" if dropped else "",
        f", {' '.join(band for _, band in added)} added ({new_bands})" if added else "",
    )
    return _rebuilt(backbone, new, backbone.image_size, weights)


def _require_relative(old: int, new: int, patch: int) -> None:
    """Refuse grids [patches a side] between which a table of relative positions cannot be interpolated.

    Raises:
        ConfigInvalid: there is only one offset on a side, or the old table is too small for so many new ones.
    """
    least, most = min(old, 2), most_patches(old)
    if not least <= new <= most:
        raise ConfigInvalid(
            f"image_size is {new * patch} for relative positions learned at {old * patch} px",
            expected=f"{least * patch} to {most * patch} px, for which they can be interpolated",
            remedy="resize the images, or train on images of that size",
        )


def _channels(contract: InputContract) -> list[tuple[str, str]]:
    return [(part.modality, band) for part in contract.parts for band in part.bands]


def _values(contract: InputContract) -> dict[str, tuple[str, int, str]]:
    return {part.modality: (part.unit, part.offset, part.scaling) for part in contract.parts}


def _columns(kernel: Tensor, index: list[int | None], new_bands: NewBands | None) -> Tensor:
    """Pick input channels of a kernel (D, C, k, k); None stands for a new one."""
    blank = kernel.mean(dim=1) if new_bands == "mean" else torch.zeros_like(kernel[:, 0])
    return torch.stack([blank if i is None else kernel[:, i] for i in index], dim=1)


def _rebuilt(backbone: Backbone, contract: InputContract, image_size: int, weights: dict[str, Tensor]) -> Backbone:
    made = Backbone.from_weights(
        backbone.arch, contract, image_size=image_size, options=backbone.options, weights=weights
    )
    return made.train(backbone.training)
