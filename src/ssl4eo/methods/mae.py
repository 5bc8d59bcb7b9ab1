# SPDX-License-Identifier: Apache-2.0
"""MAE: encode the few patches that are seen, decode the pixels of those that are not.

Source: He et al. 2022 (arXiv 2111.06377), section 3 and appendix A.1.

Deliberate differences:
* Pixels of a target may be normalized band by band (`norm_pixels` "band"). The published code takes one mean and one
  variance over all bands of a patch ("patch"), so that differences between bands outweigh the texture within them.
* The decoder's last layer and the loss run on hidden patches only: the published code computes the others too and
  multiplies them by zero.
* Bands that are 0 over a whole view, as a lost sensor is (`sensor_drop`), are no targets: each image counts by its
  other bands, and "patch" takes mean and variance over these.
* `pooling` "mean" keeps the mean of the patch tokens, which is what the loss reaches. The class token, which
  published scores use ("cls"), is trained only as far as it helps the decoder.
* Class and mask token are not decayed (training/optimizer.py); the published runs decayed them.

Letters: B batch, L patches, M hidden patches, D dims, p side of a patch, C bands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.initialization import xavier_linear
from ssl4eo.backbones.positions import sincos_positions
from ssl4eo.backbones.tokens import embed_patches, run_blocks, with_class_token, with_positions
from ssl4eo.errors import ConfigInvalid, unknown_name
from ssl4eo.methods.masked import check_hidden, patch_grid, places, take
from ssl4eo.methods.method import Method, MethodConfig, Moment, Setting, StepOutput
from ssl4eo.views.masking import RandomMasking

NormPixels = Literal["none", "patch", "band"]
"""none: pixels as they are; patch: minus mean, over standard deviation, of all bands of a patch together (as
published); band: of each band of a patch on its own."""
MAEPooling = Literal["cls", "mean"]
"""What the loss reaches of the poolings of a transformer: a norm after the mean (mean_norm) would stay as it was drawn,
and class tokens of earlier blocks (cls_last_4) are not what the decoder sees."""
EPSILON = 1e-6
"""Added to a variance before its root is taken."""


@dataclass(frozen=True)
class MAEConfig(MethodConfig):
    """Options of MAE; the paper: 0.75, a decoder of 512, 8, 16; published on SSL4EO-S12: 0.7, "patch", "cls"."""

    mask_ratio: float
    """Share of patches that are hidden; int(L * (1 - ratio)) stay visible."""
    norm_pixels: NormPixels
    """How the pixels to predict are normalized."""
    pooling: MAEPooling
    """What the backbone gives once it is trained: cls or mean."""
    decoder_dim: int = 512
    """Length of a token in the decoder."""
    decoder_depth: int = 8
    """Blocks of the decoder."""
    decoder_heads: int = 16
    """Attention heads of the decoder."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not 0 < self.mask_ratio < 1:
            raise ConfigInvalid(
                f"method.mask_ratio is {self.mask_ratio}",
                expected="above 0, below 1",
                remedy="--method.mask_ratio 0.75, as in the paper: some patches must be seen and some predicted",
            )
        if self.norm_pixels not in get_args(NormPixels):
            raise unknown_name("norm_pixels", self.norm_pixels, get_args(NormPixels))
        if self.pooling not in get_args(MAEPooling):
            raise ConfigInvalid(
                f"method.pooling is {self.pooling!r}",
                expected="cls or mean: the loss of MAE trains no other",
                remedy="--method.pooling mean",
            )
        if self.decoder_depth < 1 or self.decoder_heads < 1:
            raise ConfigInvalid(f"decoder of {self.decoder_depth} blocks, {self.decoder_heads} heads", expected="1 up")
        if self.decoder_dim < 1 or self.decoder_dim % 4 or self.decoder_dim % self.decoder_heads:
            raise ConfigInvalid(
                f"method.decoder_dim is {self.decoder_dim}",
                expected=f"a multiple of 4 and of decoder_heads {self.decoder_heads}",
            )

    def build(self, backbone: Backbone, *, seed: int) -> MAE:
        """Build the method."""
        return MAE(self, backbone, seed=seed)

    def check(self, setting: Setting) -> None:
        """Raise unless there is one view, of patches of which some are hidden and some are not."""
        self.masking(setting)

    def backbone_options(self, arch: str) -> BackboneOptions:
        """Ask for fixed positions, columns first, and uniform Xavier weights."""
        del arch
        return BackboneOptions(pooling=self.pooling, position="sincos_columns", init="xavier")

    def masking(self, setting: Setting) -> RandomMasking:
        """Hide patches at random, the same number in each image."""
        grid = patch_grid(setting, method="MAE")
        num_patches = grid**2
        hidden = self.num_masked(num_patches)
        low, high = math.ceil(1000 / num_patches), math.floor(1000 * (1 - 1 / num_patches))  # thousandths
        remedy = f"--method.mask_ratio 0.75, for instance, of {low / 1000} to {high / 1000}"
        check_hidden(f"method.mask_ratio {self.mask_ratio}", hidden, grid, remedy=remedy)
        return RandomMasking(grid, hidden)

    def num_masked(self, num_patches: int) -> int:
        """Count the hidden ones of so many patches."""
        # 100 * (1 - 0.8) is a little less than 20 in binary numbers.
        return num_patches - int(num_patches * (1 - self.mask_ratio) + 1e-9)

    def initial_loss(self, batch_size: int | None = None) -> None:
        """Theory tells it only for given bands (tests/methods/test_mae.py)."""
        del batch_size


class Decoder(nn.Module):
    """From tokens of visible patches to pixels of hidden ones."""

    positions: Tensor

    def __init__(self, config: MAEConfig, *, width: int, grid: int, num_values: int) -> None:
        """Draw weights from torch's generator.

        Args:
            config: its size.
            width: length of the encoder's tokens.
            grid: patches along each axis.
            num_values: p * p * C values of a patch.
        """
        from timm.models.vision_transformer import Block

        super().__init__()
        dim = config.decoder_dim
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.embed = nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("positions", sincos_positions(dim, grid, columns_first=True), persistent=False)
        self.blocks = nn.ModuleList(
            Block(dim, config.decoder_heads, qkv_bias=True, norm_layer=norm)  # pyright: ignore[reportArgumentType] - timm calls it
            for _ in range(config.decoder_depth)
        )
        self.norm = norm(dim)
        self.predict = nn.Linear(dim, num_values)
        xavier_linear(self)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tensor, visible: Tensor, hidden: Tensor) -> Tensor:
        """Predict (B, M, p * p * C) from tokens (B, 1 + L - M, D), the class token first, and their places."""
        seen = self.embed(tokens)
        num_patches = visible.shape[1] + hidden.shape[1]
        blank = self.mask_token.to(seen.dtype).expand(len(seen), num_patches, -1)
        patches = blank.scatter(1, visible[:, :, None].expand(-1, -1, seen.shape[2]), seen[:, 1:])  # (B, L, D)
        tokens = torch.cat([seen[:, :1], patches], dim=1) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        return self.predict(self.norm(take(tokens[:, 1:], hidden)))


class MAE(Method):
    """Encoder (kept) and decoder (thrown away)."""

    def __init__(self, config: MAEConfig, backbone: Backbone, *, seed: int) -> None:
        """Put a decoder behind the backbone."""
        super().__init__()
        assert backbone.patch is not None, "check refuses residual networks"
        self.config = config
        self.backbone = backbone
        self.patch = backbone.patch
        grid = backbone.image_size // self.patch
        self.num_masked = config.num_masked(grid**2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.decoder = Decoder(
                config,
                width=backbone.num_features,
                grid=grid,
                num_values=self.patch**2 * backbone.contract.num_bands,
            )

    def forward(self, views: tuple[Tensor, ...], masks: Tensor | None, moment: Moment) -> StepOutput:
        """Predict the hidden patches of one view and compare."""
        del moment
        assert masks is not None, "the config asks for masks"
        (images,) = views
        visible, hidden = places(masks, self.num_masked)
        tokens = self.encode(images, visible)  # (B, 1 + L - M, D)
        predicted = self.decoder(tokens, visible, hidden)  # (B, M, p * p * C)
        kept = (images != 0).flatten(2).any(dim=2)  # (B, C)
        target = take(patchify(images.float(), self.patch), hidden)
        target = normalize(target, self.config.norm_pixels, self.patch**2, kept)
        loss = mean_over_kept((predicted.float() - target).square(), kept)
        latent = tokens[:, 1:].detach().float().mean(dim=1)  # (B, D)
        # Without what all images share: it is large here and no collapse, which targets of pixels do not allow.
        return StepOutput(loss, latent - latent.mean(dim=0), {})

    def encode(self, images: Tensor, visible: Tensor) -> Tensor:
        """Give normed tokens (B, 1 + N, D) of the patches at places (B, N): the only ones that the blocks see."""
        net = self.backbone.net
        patches = take(with_positions(net, embed_patches(net, images)), visible)
        tokens, _ = run_blocks(net, with_class_token(net, patches))
        return net.get_submodule("norm")(tokens)


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images (B, C, H, W) into patches (B, L, p * p * C): row by row; within one by row, column, band."""
    bands = images.shape[1]
    cut = images.unflatten(3, (-1, patch)).unflatten(2, (-1, patch))  # (B, C, H/p, p, W/p, p)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(len(images), -1, patch**2 * bands)


def unpatchify(patches: Tensor, patch: int) -> Tensor:
    """Put patches (B, L, p * p * C) of a square grid back together: (B, C, H, W)."""
    grid = round(patches.shape[1] ** 0.5)
    assert grid * grid == patches.shape[1], f"{patches.shape[1]} patches are a square"
    cut = patches.reshape(len(patches), grid, grid, patch, patch, -1)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(len(patches), -1, grid * patch, grid * patch)


def normalize(target: Tensor, how: NormPixels, num_pixels: int, kept: Tensor | None = None) -> Tensor:
    """Normalize patches (B, M, num_pixels * C), bands fastest: minus mean, over root of unbiased variance + 1e-6.

    Args:
        target: the patches.
        how: what mean and variance are of.
        num_pixels: of a patch.
        kept: (B, C) bool, the bands that "patch" takes mean and variance over; None for all.
    """
    if how == "none":
        return target
    mean, scale = _moments(target, how, num_pixels, kept)
    return ((target.unflatten(2, (num_pixels, -1)) - mean) / scale).flatten(2)


def denormalize(
    predicted: Tensor, target: Tensor, how: NormPixels, num_pixels: int, kept: Tensor | None = None
) -> Tensor:
    """Undo `normalize` of predicted patches (B, M, num_pixels * C) by mean and deviation of the patches they stand for.

    The network does not know the two numbers of a hidden patch: a picture made so shows what it knows of the texture,
    and the brightness of a patch is given.
    """
    if how == "none":
        return predicted
    mean, scale = _moments(target, how, num_pixels, kept)
    return (predicted.unflatten(2, (num_pixels, -1)) * scale + mean).flatten(2)


def _moments(target: Tensor, how: NormPixels, num_pixels: int, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give mean and deviation of patches, each to be broadcast over (B, M, num_pixels, C)."""
    parts = target.unflatten(2, (num_pixels, -1))  # (B, M, pixels, C)
    if how == "band":
        mean, variance = parts.mean(dim=2, keepdim=True), parts.var(dim=2, keepdim=True)
    else:
        weight = torch.ones_like(parts) if kept is None else kept[:, None, None].expand_as(parts).to(parts)
        count = weight.sum(dim=(2, 3), keepdim=True)
        mean = (parts * weight).sum(dim=(2, 3), keepdim=True) / count.clamp_min(1)
        variance = ((parts - mean).square() * weight).sum(dim=(2, 3), keepdim=True) / (count - 1).clamp_min(1)
    return mean, (variance + EPSILON).sqrt()


def mean_over_kept(errors: Tensor, kept: Tensor) -> Tensor:
    """Average errors (B, M, p * p * C), bands fastest, over the kept bands (B, C) of each image, then over images."""
    bands = errors.unflatten(2, (-1, kept.shape[1])).mean(dim=(1, 2))  # (B, C)
    return ((bands * kept).sum(dim=1) / kept.sum(dim=1).clamp_min(1)).mean()
