# SPDX-License-Identifier: Apache-2.0
"""Which networks there are and what may be chosen about each: names that say what they are, over timm.

A vision transformer has options that its method decides (position embedding, pooling, drop path, initialization);
they travel with the backbone, so that a checkpoint is rebuilt as it was trained. Nothing here trains.
timm is imported where a network is built: with torchvision, which it loads, it takes as long as torch itself, and
recipes are listed, and most mistakes told, without any network.
"""

from __future__ import annotations

import dataclasses
import numbers
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ssl4eo.backbones.initialization import init_beit, init_class_token, init_xavier
from ssl4eo.backbones.positions import MOST_RELATIVE_PATCHES, sincos_positions
from ssl4eo.errors import CheckpointInvalid, ConfigInvalid, UnknownName, unknown_name

Position = Literal["learned", "sincos_rows", "sincos_columns", "relative"]
"""learned: a table (DINO); sincos_rows, sincos_columns: fixed, first half of the dims for the row (MoCo v3) or the
column (MAE); relative: one bias table shared by all blocks, no table of positions (data2vec)."""
Initialization = Literal["timm", "dino", "xavier", "xavier_qkv", "beit"]
"""timm: truncated normal 0.02, class token 1e-6; dino: the class token 0.02 as well; xavier: uniform (MAE);
xavier_qkv: the same, query, key and value apart (MoCo v3); beit: truncated normal, later blocks smaller (data2vec)."""
Pooling = Literal["cls", "mean", "mean_norm", "cls_last_4"]
"""Of transformers only. cls: the class token; mean: the mean of the patch tokens; both after the last norm.
mean_norm: the mean of the patch tokens before the last norm, then a norm of its own (data2vec, as BEiT is fine-tuned);
cls_last_4: the class tokens of the last four blocks, each after the last norm, one after the other (DINO's probe)."""


@dataclass(frozen=True)
class BackboneOptions:
    """What a method decides about its network; all but the last are of transformers."""

    pooling: Pooling = "cls"
    """What `forward` gives."""
    position: Position = "learned"
    """How a token knows where it is."""
    init: Initialization = "timm"
    """How weights are drawn."""
    drop_path: float = 0.0
    """Largest probability that a block is skipped in training, reached linearly at the last block."""
    attention_drop: float = 0.0
    """Probability that an attention weight is zeroed in training."""
    layer_scale: float | None = None
    """Initial factor of each residual branch, None for none."""
    zero_init_last: bool = True
    """Start the last norm of each block of a residual network at zero: each branch adds nothing at first."""

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        for name, known in (("pooling", Pooling), ("position", Position), ("init", Initialization)):
            if getattr(self, name) not in get_args(known):
                raise unknown_name(f"backbone {name}", getattr(self, name), get_args(known))
        if not (0 <= self.drop_path < 1 and 0 <= self.attention_drop < 1):
            raise ConfigInvalid(f"backbone options {self}", expected="drop_path and attention_drop from 0 below 1")

    def to_json(self) -> dict[str, Any]:
        """Give plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BackboneOptions:
        """Read what `to_json` wrote.

        Raises:
            CheckpointInvalid: options that nobody knows.
        """
        foreign = sorted(data.keys() - {f.name for f in dataclasses.fields(cls)})
        if foreign:
            raise CheckpointInvalid(f"unknown backbone options {', '.join(foreign)}", expected="those of this version")
        return cls(**data)


@dataclass(frozen=True)
class ResNetShape:
    """A residual network of timm."""

    timm_name: str
    patch: None = None


@dataclass(frozen=True)
class ViTShape:
    """Size of a vision transformer."""

    patch: int
    """Side of a patch [px]."""
    dim: int
    depth: int
    heads: int


_VIT_SIZES: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "nano": (192, 6, 3),  # of the tiny recipes: half the depth of ViT-Ti
        "tiny": (192, 12, 3),
        "small": (384, 12, 6),
        "base": (768, 12, 12),
        "large": (1024, 24, 16),
        "huge": (1280, 32, 16),
    }
)
"""Width, blocks and heads by the name of a size (Dosovitskiy et al. 2021, table 1; Touvron et al. 2021, table 1)."""
_NUMBER = "[1-9][0-9]{0,3}"
_VIT_NAME = re.compile(
    rf"vit_(?:(?P<size>[a-z]+)|w(?P<dim>{_NUMBER})d(?P<depth>{_NUMBER})h(?P<heads>{_NUMBER}))_(?P<patch>{_NUMBER})"
)
_LARGEST_VIT = ViTShape(patch=64, dim=8192, depth=256, heads=128)
_MOST_WEIGHTS = 2_500_000_000
"""Weights of the blocks of a transformer; sizes beyond these are no network that anybody trained."""
_OWN_SIZE = (
    "vit_w<width>d<blocks>h<heads>_<patch> with heads that divide the width, a width that is a multiple of 4, and at "
    f"most {_LARGEST_VIT.dim} wide, {_LARGEST_VIT.depth} blocks, {_LARGEST_VIT.heads} heads, patches of "
    f"{_LARGEST_VIT.patch} px and {_MOST_WEIGHTS / 1e9:g} billion weights"
)
_LISTED_RESIDUAL = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_LISTED = (
    *_LISTED_RESIDUAL,
    *("vit_nano_8", "vit_tiny_16", "vit_small_16", "vit_base_16", "vit_large_16", "vit_huge_14"),
)
OTHERS = (
    "vit_<size>_<patch> such as vit_small_8, vit_w<width>d<blocks>h<heads>_<patch> such as vit_w256d8h4_8, or a "
    "residual network of timm such as wide_resnet50_2"
)
"""What else there is, in words."""


class Architectures(Mapping[str, ResNetShape | ViTShape]):
    """All networks by name: those listed, and those whose name says what they are, so that any file can name them.

    `vit_<size>_<patch>` with a size of the literature (nano, tiny, small, base, large, huge) or of one's own,
    `w<width>d<blocks>h<heads>`, and the names in timm's module of residual networks, but for pruned ones. Iterating
    gives those listed.

    >>> ARCHITECTURES["vit_small_8"], ARCHITECTURES["vit_w256d8h4_8"]
    (ViTShape(patch=8, dim=384, depth=12, heads=6), ViTShape(patch=8, dim=256, depth=8, heads=4))
    """

    def __getitem__(self, name: str) -> ResNetShape | ViTShape:
        """Give the shape of a network; KeyError for names that mean none."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - of files
            raise KeyError(name)
        is_residual = name in _LISTED_RESIDUAL or (not name.startswith("vit_") and name in _residual_names())
        shape = ResNetShape(name) if is_residual else _transformer_named(name)
        if shape is None:
            raise KeyError(name)
        return shape

    def __iter__(self) -> Iterator[str]:
        """Give the names that are listed."""
        return iter(_LISTED)

    def __len__(self) -> int:
        """Count those listed."""
        return len(_LISTED)


def _transformer_named(name: str) -> ViTShape | None:
    found = _VIT_NAME.fullmatch(name)
    if found is None:
        return None
    if found["size"] is not None:
        sizes = _VIT_SIZES.get(found["size"])
    else:
        sizes = int(found["dim"]), int(found["depth"]), int(found["heads"])
    if sizes is None:
        return None
    shape = ViTShape(int(found["patch"]), *sizes)
    values, largest = dataclasses.astuple(shape), dataclasses.astuple(_LARGEST_VIT)
    fits = all(value <= most for value, most in zip(values, largest, strict=True))
    fits = fits and 12 * shape.depth * shape.dim**2 <= _MOST_WEIGHTS
    # A quarter of the width for each of sine and cosine, of rows and columns.
    return shape if fits and shape.dim % shape.heads == 0 and shape.dim % 4 == 0 else None


@cache
def _residual_names() -> frozenset[str]:
    """Name all but those that were pruned, which timm builds in two steps, the second from a list of its own."""
    import timm

    return frozenset(name for name in timm.list_models(module="resnet") if not name.endswith("_pruned"))


def name_of_transformer(patch: int, dim: int, depth: int) -> str:
    """Name a vision transformer of a size of the literature; empty for others, whose heads nobody can tell.

    >>> name_of_transformer(8, 384, 12), name_of_transformer(16, 100, 12)
    ('vit_small_8', '')
    """
    sizes = (size for size, (width, blocks, _) in _VIT_SIZES.items() if (width, blocks) == (dim, depth))
    return next((name for size in sizes if (name := f"vit_{size}_{patch}") in ARCHITECTURES), "")


ARCHITECTURES = Architectures()
"""The networks there are."""


FIRST_LAYERS = ("patch_embed.proj.weight", "conv1.weight", "conv1.0.weight")
"""Of a transformer, of a residual network, of one whose stem has several layers."""
LAST_BLOCKS = 4
"""Blocks whose class tokens the pooling cls_last_4 gives."""
LARGEST_IMAGE = 8192
"""Height and width [px] beyond which tables of positions and activations fit no machine: asked for by mistake."""


def patch_size(arch: str) -> int | None:
    """Give the side of a patch [px], None for a residual network.

    Raises:
        UnknownName: no such architecture.
    """
    if arch not in ARCHITECTURES:
        if str(arch).startswith("vit_w"):
            raise UnknownName(f"no backbone is called {arch!r}", expected=_OWN_SIZE)
        raise unknown_name("backbone", arch, ARCHITECTURES, others=OTHERS)
    return ARCHITECTURES[arch].patch


def check_image_size(arch: str, image_size: int, options: BackboneOptions | None = None) -> None:
    """Raise ConfigInvalid unless the network can see images of this height and width [px].

    Args:
        arch: of the network.
        image_size: height and width [px].
        options: of the network; relative positions cannot be many. None: not asked yet.
    """
    patch = patch_size(arch)
    check_whole(image_size)
    if image_size > LARGEST_IMAGE:
        raise ConfigInvalid(f"image_size is {image_size}", expected=f"at most {LARGEST_IMAGE} px", remedy="cut tiles")
    if patch is None and image_size < 32:
        raise ConfigInvalid(f"image_size is {image_size}", expected="32 px or more for a network that halves 5 times")
    if patch is not None and (image_size % patch or image_size < patch):
        near = max(patch, round(image_size / patch) * patch)
        raise ConfigInvalid(
            f"image_size is {image_size}", expected=f"a multiple of the patches of {patch} px", remedy=f"try {near}"
        )
    if patch is not None and options is not None and options.position == "relative":
        check_relative(image_size, patch)


def check_whole(image_size: object) -> None:
    """Raise ConfigInvalid unless a size is a whole number: text and fractions would fail much later."""
    if isinstance(image_size, bool) or not isinstance(image_size, numbers.Integral):
        raise ConfigInvalid(f"image_size is {image_size!r}", expected="a whole number of pixels, such as 224")


def check_relative(image_size: int, patch: int) -> None:
    """Raise ConfigInvalid if a network with relative positions would have too many: one for each pair of patches."""
    most = MOST_RELATIVE_PATCHES * patch
    if image_size > most:
        raise ConfigInvalid(
            f"image_size is {image_size} for relative positions, which grow with its fourth power",
            expected=f"at most {most} px with patches of {patch} px",
            remedy="cut tiles",
        )


def build_network(arch: str, *, num_bands: int, image_size: int, options: BackboneOptions) -> nn.Module:
    """Build a network that gives pooled features, with weights from torch's generator.

    Raises:
        UnknownName: no such architecture.
        ConfigInvalid: an image size that it cannot see, options of a transformer for a residual network.
    """
    check_image_size(arch, image_size, options)
    shape = ARCHITECTURES[arch]
    if isinstance(shape, ViTShape):
        return _transformer(shape, num_bands, image_size, options)
    if options != BackboneOptions(zero_init_last=options.zero_init_last):
        raise ConfigInvalid(f"{options} for {arch}", expected="no options but zero_init_last: they are of transformers")
    # Residual branches start at zero (Goyal et al. 2017, section 5.1) unless a method asks for the published form: an
    # untrained network is then a stronger baseline, and training starts sooner (benchmarks/results/LOG.md).
    import timm

    return timm.create_model(
        shape.timm_name,
        in_chans=num_bands,
        num_classes=0,
        pretrained=False,
        zero_init_last=options.zero_init_last,
    )


def _transformer(shape: ViTShape, num_bands: int, image_size: int, options: BackboneOptions) -> nn.Module:
    if options.pooling == "cls_last_4" and shape.depth < LAST_BLOCKS:
        raise ConfigInvalid(
            f"class tokens of the last {LAST_BLOCKS} blocks of a transformer of {shape.depth}",
            expected=f"{LAST_BLOCKS} blocks or more, or another pooling",
        )
    common: dict[str, Any] = {
        "img_size": image_size,
        "patch_size": shape.patch,
        "in_chans": num_bands,
        "num_classes": 0,
        "embed_dim": shape.dim,
        "depth": shape.depth,
        "num_heads": shape.heads,
        "drop_path_rate": options.drop_path,
        "attn_drop_rate": options.attention_drop,
        "init_values": options.layer_scale,
    }
    from timm.models.beit import Beit
    from timm.models.vision_transformer import VisionTransformer

    common["global_pool"] = "avg" if options.pooling == "mean_norm" else "token"
    if options.position == "relative":
        net: nn.Module = Beit(**common, use_abs_pos_emb=False, use_shared_rel_pos_bias=True)
    else:
        net = VisionTransformer(**common, dynamic_img_size=True)
        if options.position != "learned":
            table = sincos_positions(
                shape.dim, image_size // shape.patch, columns_first=options.position == "sincos_columns"
            )
            net.pos_embed = nn.Parameter(table[None], requires_grad=False)
    if options.init == "beit":
        init_beit(net)
    elif options.init == "dino":
        init_class_token(net)
    elif options.init != "timm":
        init_xavier(net, split_qkv=options.init == "xavier_qkv")
    return net


def on_meta(arch: str, *, num_bands: int, image_size: int = 224, options: BackboneOptions | None = None) -> nn.Module:
    """Build a network without memory for its weights, to count, list or replace them."""
    with torch.device("meta"), _WithoutDrawing():
        return build_network(arch, num_bands=num_bands, image_size=image_size, options=options or BackboneOptions())


def compute_buffers(net: nn.Module) -> bool:
    """Compute what a network of `on_meta` has beside its weights, such as the index of relative positions.

    False if there is some that the network's library cannot compute by itself (old releases of timm): then it is to be
    built anew.
    """
    weights = net.state_dict().keys()
    lacking = [name for name, value in net.named_buffers() if value.is_meta and name not in weights]
    owners = {name.rpartition(".")[0] for name in lacking}
    for owner in owners:
        module = net.get_submodule(owner)
        if not hasattr(module, "init_non_persistent_buffers"):
            return False
        for name, value in list(module.named_buffers(recurse=False)):
            if f"{owner}.{name}" in lacking:
                module.register_buffer(name, torch.empty_like(value, device="cpu"), persistent=False)
        cast("Any", module).init_non_persistent_buffers()
    return True


def settle_buffers(net: nn.Module) -> None:
    """Bring what a network has beside its weights to their device, and its fractions to their type."""
    weight = next(net.parameters())
    weights = net.state_dict().keys()
    for name, value in list(net.named_buffers()):
        if name not in weights:
            owner, _, own = name.rpartition(".")
            dtype = weight.dtype if value.is_floating_point() else value.dtype
            net.get_submodule(owner).register_buffer(own, value.to(weight.device, dtype), persistent=False)


def put_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put tensors in the place of a network's own, without copying; four times as fast as `load_state_dict`.

    Raises:
        RuntimeError: other keys or shapes than the network's.
    """
    left = dict(weights)
    for owner, module in net.named_modules():
        prefix = f"{owner}." if owner else ""
        for name, old in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if name in module._non_persistent_buffers_set:  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - torch has no other way to ask
                continue
            new = left.pop(prefix + name, None)
            if new is None or new.shape != old.shape:
                raise RuntimeError(f"{prefix}{name} is {None if new is None else tuple(new.shape)}, not {old.shape}")
            is_weight = isinstance(old, nn.Parameter)
            setattr(module, name, nn.Parameter(new, requires_grad=old.requires_grad) if is_weight else new)
    if left:
        raise RuntimeError(f"{', '.join(left)} are no weights of this network")


class _WithoutDrawing(TorchFunctionMode):
    """Leaves out the drawing of weights: on the meta device it gives nothing and takes most of the time."""

    DRAWS = frozenset({"normal_", "uniform_", "kaiming_uniform_", "constant_", "erfinv_", "zero_", "fill_"})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call everything but what draws or fills in place."""
        if getattr(func, "__name__", "") in self.DRAWS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))
