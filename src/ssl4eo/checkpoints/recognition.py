# SPDX-License-Identifier: Apache-2.0
"""Which network an encoder is, by the shapes of its tensors; of one that we do not have, what it looks like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor

from ssl4eo.backbones.architectures import ARCHITECTURES, FIRST_LAYERS, OTHERS, ViTShape, name_of_transformer, on_meta
from ssl4eo.errors import CheckpointInvalid

RESNET_SIZE = 224
"""Image size of residual networks, whose weights do not tell it [px]: all published ones saw this."""
INDEX = "rel_pos_bias.relative_position_index"
TABLE = "rel_pos_bias.relative_position_bias_table"

_RESIDUAL: Mapping[tuple[bool, tuple[int, ...]], str] = MappingProxyType(
    {
        (False, (2, 2, 2, 2)): "resnet18",
        (False, (3, 4, 6, 3)): "resnet34",
        (True, (3, 4, 6, 3)): "resnet50",
        (True, (3, 4, 23, 3)): "resnet101",
        (True, (3, 8, 36, 3)): "resnet152",
    }
)
"""Whether blocks have three convolutions, blocks of each stage -> name in the literature."""
_RESIDUAL_WIDTH = 64
"""Channels inside the first block, in one group."""


@dataclass(frozen=True)
class Found:
    """What the shapes of an encoder tell."""

    arch: str
    num_bands: int
    image_size: int


class _Transformer(NamedTuple):
    patch: int
    """Side of a patch [px]."""
    dim: int
    depth: int

    def __str__(self) -> str:
        return f"patches of {self.patch} px, width {self.dim}, {self.depth} blocks"


def recognize(weights: Mapping[str, Tensor], path: object, *, arch: str | None = None) -> Found:
    """Tell architecture, bands and image size by shapes.

    Args:
        weights: of an encoder.
        path: of the file, for messages.
        arch: taken where it has these shapes: heads of a transformer and poolings of a residual network leave no trace
            in them, and not every residual network is recognized.

    Raises:
        CheckpointInvalid: no architecture of ours, or positions of no square grid.
    """
    if arch is not None and (told := _as_told(weights, arch, path)) is not None:
        return told
    if "conv1.weight" in weights:
        name = _residual(weights)
        if name in ARCHITECTURES:
            return Found(name, weights["conv1.weight"].shape[1], RESNET_SIZE)
        raise _unknown(weights, f"a network like {name}" if name else "an unknown network", path)
    vit = _transformer(weights)
    name = "" if vit is None else name_of_transformer(*vit)
    if vit is not None and name:
        return Found(name, weights["patch_embed.proj.weight"].shape[1], vit.patch * _grid(weights, path))
    raise _unknown(weights, "an unknown network" if vit is None else f"an unknown vision transformer ({vit})", path)


def require_arch(path: object, found: str, arch: str | None, *, by: str) -> None:
    """Refuse a file that holds another network than is told; None: nothing is told.

    Raises:
        CheckpointInvalid: other shapes, whatever the name.
    """
    if arch is not None and ARCHITECTURES[arch] != ARCHITECTURES[found]:
        raise CheckpointInvalid(
            f"{path} holds a {found}",
            expected=f"{arch}, as {by}",
            remedy="it is another file under this name: rename it to load it as it is",
            path=str(path),
        )


def _residual(weights: Mapping[str, Tensor]) -> str:
    """Name a residual network; empty if it has stages of no known depth."""
    blocks = tuple(len({k.split(".")[1] for k in weights if k.startswith(f"layer{n}.")}) for n in range(1, 5))
    name = _RESIDUAL.get(("layer1.0.conv3.weight" in weights, blocks), "")
    inner = weights.get("layer1.0.conv2.weight")
    if not name or inner is None or inner.ndim != 4 or 0 in inner.shape or weights["conv1.weight"].ndim != 4:
        return ""
    width, groups = inner.shape[0], inner.shape[0] // inner.shape[1]
    if groups > 1:
        return f"{name.replace('resnet', 'resnext')}_{groups}x{inner.shape[1]}d"
    if width == 2 * _RESIDUAL_WIDTH:
        return f"wide_{name}_2"
    return name if width == _RESIDUAL_WIDTH else f"{name} with {width} channels in place of {_RESIDUAL_WIDTH}"


def _transformer(weights: Mapping[str, Tensor]) -> _Transformer | None:
    """Measure a vision transformer; None if it has no square patches."""
    patches = weights.get("patch_embed.proj.weight")
    if patches is None or patches.ndim != 4 or patches.shape[2] != patches.shape[3]:
        return None
    depth = len({key.split(".")[1] for key in weights if key.startswith("blocks.")})
    return _Transformer(patches.shape[2], patches.shape[0], depth)


def _as_told(weights: Mapping[str, Tensor], arch: str, path: object) -> Found | None:
    """Take an encoder for what it is told to be, if it has all its weights in their shapes."""
    shape = ARCHITECTURES[arch]
    first = next((weights[name] for name in FIRST_LAYERS if name in weights), None)
    if first is None or first.ndim != 4:
        return None
    if isinstance(shape, ViTShape):
        vit = (shape.patch, shape.dim, shape.depth)
        fits = vit == _transformer(weights)
        return Found(arch, first.shape[1], shape.patch * _grid(weights, path)) if fits else None
    expected = on_meta(arch, num_bands=first.shape[1], image_size=RESNET_SIZE).state_dict()
    fits = all(name in weights and weights[name].shape == value.shape for name, value in expected.items())
    return Found(arch, first.shape[1], RESNET_SIZE) if fits else None


def _unknown(weights: Mapping[str, Tensor], looks: str, path: object) -> CheckpointInvalid:
    """Make the error for a network that we do not have."""
    first = next((f"{k} {tuple(v.shape)}" for k, v in weights.items() if v.ndim >= 4), "no convolution")
    ours = (
        f"{a} ({_Transformer(s.patch, s.dim, s.depth)})" if isinstance(s, ViTShape) else a
        for a, s in ARCHITECTURES.items()
    )
    return CheckpointInvalid(
        f"{path} has {len(weights)} tensors of {looks} (first layer {first})",
        expected=f"one of {', '.join(ours)}, {OTHERS}",
        remedy="take weights of one of these, or load the file with the library that wrote it; where you know "
        "which network of these it is, say so: load_backbone(..., arch='vit_w<width>d<blocks>h<heads>_<patch>'), since "
        "weights do not tell heads; `ssl4eo checkpoints inspect` shows shapes",
        path=str(path),
    )


def _grid(weights: Mapping[str, Tensor], path: object) -> int:
    """Give the number of patches along a side, from the positions or the table of relative ones."""
    if "pos_embed" in weights:
        shape = weights["pos_embed"].shape
        count = shape[1] - 1 if len(shape) == 3 else -1  # without the class token
        side = math.isqrt(max(count, 0))
        fits = count > 0 and side * side == count
    elif TABLE in weights:  # (2 w - 1) squared, and three of the class token
        shape = weights[TABLE].shape
        count = shape[0] - 3 if len(shape) == 2 else -1
        wide = math.isqrt(max(count, 0))
        side, fits = (wide + 1) // 2, wide * wide == count and wide % 2 == 1
    else:
        raise CheckpointInvalid(f"{path} has no positions", expected=f"pos_embed or {TABLE}", path=str(path))
    if not fits:
        raise CheckpointInvalid(f"{path}: its positions are of no square grid", expected="one", path=str(path))
    return side
