# SPDX-License-Identifier: Apache-2.0
"""What transfers: a timm network with the contract of its input.

Architectures are one explicit table. Weights are drawn from a seed given here, so that "untrained,
seed 3" is one network on every machine of a kind. Values enter `forward` already scaled;
`embed` takes values as stored, checks and converts them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.architectures import (
    LAST_BLOCKS,
    BackboneOptions,
    build_network,
    compute_buffers,
    on_meta,
    patch_size,
    put_weights,
    settle_buffers,
)
from ssl4eo.backbones.feeding import as_batch, require_finite, require_images, require_own_contract, tell_batch
from ssl4eo.backbones.modes import evaluating
from ssl4eo.backbones.tokens import class_tokens, encode
from ssl4eo.contract import FUSED_INPUTS, InputContract, catalog_name, network_input
from ssl4eo.errors import ContractMismatch, UnknownName, unknown_name
from ssl4eo.sample import Image
from ssl4eo.sensors import MODALITIES, RGB
from ssl4eo.views.compose import PLAIN, Renderer

log = logging.getLogger(__name__)


class Backbone(nn.Module):
    """A network from scaled images (B, C, H, W) to features (B, D), and what it wants to be fed."""

    def __init__(
        self,
        arch: str,
        contract: InputContract,
        *,
        image_size: int,
        seed: int | None,
        options: BackboneOptions | None = None,
        net: nn.Module | None = None,
    ) -> None:
        """Build a network with weights drawn from `seed`.

        Args:
            arch: a name of ARCHITECTURES.
            contract: of the values that enter `forward`.
            image_size: height and width it is trained on [px]; `embed` resizes to it.
            seed: of the initial weights; None for weights without memory, on the meta device.
            options: of a transformer, None for the defaults.
            net: what `seed` None would build, where it is there already.

        Raises:
            UnknownName: no such architecture.
            ConfigInvalid: a size or options that it cannot have.
        """
        super().__init__()
        self.arch, self.contract, self.image_size = arch, contract, image_size
        self.options = BackboneOptions() if options is None else options
        self.patch = patch_size(arch)
        """Side of a patch [px], None for a residual network."""
        if seed is None:
            if net is None:
                net = on_meta(arch, num_bands=contract.num_bands, image_size=image_size, options=self.options)
            self.net = net
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = build_network(arch, num_bands=contract.num_bands, image_size=image_size, options=self.options)

    @classmethod
    def from_weights(
        cls,
        arch: str,
        contract: InputContract,
        *,
        image_size: int,
        options: BackboneOptions,
        weights: Mapping[str, Tensor],
        net: nn.Module | None = None,
        taken: bool = False,
    ) -> Self:
        """Build a network around weights, without drawing any first.

        Args:
            arch: a name of ARCHITECTURES.
            contract: of the values that enter `forward`.
            image_size: height and width it is trained on [px].
            options: of a transformer.
            weights: all of them, under the names of the network; they are copied.
            net: of `on_meta` with the same arguments, where it is there already; it is used up.
            taken: do not copy weights whose memory is theirs alone; nobody else may use them then.

        Raises:
            RuntimeError: other keys or shapes than the network's; see `checkpoints.backbone_file.check_state`.
        """
        backbone = cls(arch, contract, image_size=image_size, seed=None, options=options, net=net)
        copies = _own_memory(weights) if taken else {name: value.detach().clone() for name, value in weights.items()}
        if compute_buffers(backbone.net):
            put_weights(backbone.net, copies)
            settle_buffers(backbone.net)
        else:
            backbone = cls(arch, contract, image_size=image_size, seed=0, options=options)
            backbone.net.load_state_dict(copies, strict=True)
        return backbone

    @property
    def num_features(self) -> int:
        """Length D of a feature."""
        width = int(self.net.num_features)  # pyright: ignore[reportArgumentType] - timm sets it on every network
        return LAST_BLOCKS * width if self.options.pooling == "cls_last_4" else width

    def forward(self, images: Tensor) -> Tensor:
        """Give pooled features (B, D) of scaled images (B, C, H, W).

        Raises:
            ContractMismatch: another number of channels than the contract's.
        """
        self.require_channels(images)
        if self.patch is None:
            return self.net(images)
        if self.options.pooling == "cls_last_4":
            return class_tokens(self.net, images, last=LAST_BLOCKS)
        tokens = encode(self.net, images)  # (B, 1 + L, D)
        if self.options.pooling == "cls":
            return tokens[:, 0]
        mean = tokens[:, 1:].mean(dim=1)
        return cast("Any", self.net).fc_norm(mean) if self.options.pooling == "mean_norm" else mean

    def require_channels(self, images: Tensor) -> None:
        """Raise unless these are images (B, C, H, W) with the channels of the contract.

        Raises:
            ContractMismatch: they are not.
        """
        if images.ndim != 4 or images.shape[1] != self.contract.num_bands:
            raise ContractMismatch(
                f"images {tuple(images.shape)}",
                expected=f"(batch, {self.contract.num_bands}, height, width): {self.contract}",
                remedy="embed(values, contract=...) converts values as stored",
            )

    @torch.no_grad()
    def embed(
        self,
        images: Image | Mapping[str, Image | None] | NDArray[np.generic] | Tensor,
        contract: InputContract | None = None,
    ) -> Tensor:
        """Give features of values as stored: one Image -> (D,), an array (B, C, H, W) -> (B, D).

        Checks the contract, converts what can be converted (logged), resizes to `image_size`, runs in
        evaluation mode and leaves the mode as it was.

        Args:
            images: an Image, rendered from native resolution as evaluation does; for a fused network one of each
                modality by name, of the same ground, None for a sensor that is absent: its channels are zero, as
                sensor drop trains it; or an array or tensor of real numbers, of any type, layout of memory and device.
            contract: what the values mean; an array must be told. An Image knows, but for what stands for bands that
                the network wants and it does not have: `dataclasses.replace(image.contract, fill="zero")`.

        Raises:
            ContractMismatch: no contract was given, or for an Image one that differs from its own in more than `fill`;
                it cannot be converted into this network's; the values are not real numbers, masked, sparse or no array
                at all.
            SampleInvalid: a value is not finite, or there is no pixel.
        """
        if isinstance(images, Image):
            own = require_own_contract(contract, images.contract)
            return self._evaluate(self._scale(images, self.contract, own))[0]
        if isinstance(images, Mapping):
            require_own_contract(contract, None)
            return self._evaluate(self._stack(images))[0]
        values, told = as_batch(images, contract, self.contract)
        scaled = self._convert(values, told, self.contract)
        if scaled.shape[-2:] != (self.image_size, self.image_size):
            scaled = F.interpolate(scaled, (self.image_size, self.image_size), mode="bilinear", antialias=True)
        return self._evaluate(scaled)

    def _render(self, image: Image) -> NDArray[np.generic]:
        return Renderer(image.contract, image.form)(image.pixels, self.image_size, PLAIN)

    def _stack(self, images: Mapping[str, Image | None]) -> Tensor:
        """Scale one image of each part of the contract and stack them: (1, C, S, S)."""
        given = require_images(images, self.contract)
        return torch.cat([self._scale(given[part.modality], part) for part in self.contract.parts], dim=1)

    def _scale(self, image: Image | None, wanted: InputContract, told: InputContract | None = None) -> Tensor:
        """Give scaled values (1, C, S, S) of one image, which is what it says or is told; zeros where there is none."""
        if image is None:
            device = next(self.parameters()).device
            return torch.zeros(1, wanted.num_bands, self.image_size, self.image_size, device=device)
        more = {} if image.valid else {"unobserved": "the image is marked as not observed, its features mean nothing"}
        values = torch.as_tensor(self._render(image)[None])
        return self._convert(values, told or image.contract, wanted, more=more)

    def _convert(
        self,
        values: Tensor,
        contract: InputContract,
        wanted: InputContract,
        *,
        more: Mapping[str, str] | None = None,
    ) -> Tensor:
        """Look at values (B, C, H, W), bring them to the network's device and scale them."""
        require_finite(values)
        tell_batch(values, contract, more=more)
        device = next(self.parameters()).device
        return Adapter(contract, wanted).to(device)(values.to(device))

    def _evaluate(self, scaled: Tensor) -> Tensor:
        """Run in evaluation mode and leave the mode as it was."""
        with evaluating(self):
            return self(scaled.to(next(self.parameters()).dtype))


def _own_memory(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights that are a part of a larger memory, or share it with another; the others are given as they are."""
    seen, own = set[int](), dict[str, Tensor]()
    for name, value in weights.items():
        storage = value.untyped_storage()
        alone = value.is_contiguous() and storage.nbytes() == value.nbytes and storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        own[name] = value.detach() if alone else value.detach().clone()
    return own


VISIBLE, SPECTRAL = "_rgb", ("s2l1c", "s2l2a")
"""An input ending so is red, green and blue of the product: reflectance, not the pictures of S2RGB."""
INPUTS: Mapping[str, str] = MappingProxyType({catalog_name(name): name for name in (*MODALITIES, *FUSED_INPUTS)})
"""Last part of a catalog name -> modality."""


def untrained(name: str, *, seed: int = 0, image_size: int = 224) -> Backbone:
    """Build the baseline of every table from a name such as `random.resnet18.s2l1c`.

    Raises:
        UnknownName: not of the form random.<backbone>.<input>, or a part is unknown.
    """
    parts = name.split(".")
    if len(parts) != 3 or parts[0] != "random":
        raise UnknownName(
            f"{name!r} names no untrained network",
            expected="random.<backbone>.<input>",
            remedy="for instance random.resnet18.s2l1c",
        )
    name = parts[2].removesuffix(VISIBLE)
    if name not in INPUTS or (name != parts[2] and name not in SPECTRAL):
        raise unknown_name("input", parts[2], (*INPUTS, *(f"{spectral}{VISIBLE}" for spectral in SPECTRAL)))
    contract = network_input(INPUTS[name], RGB if name != parts[2] else None)
    return Backbone(parts[1], contract, image_size=image_size, seed=seed)
