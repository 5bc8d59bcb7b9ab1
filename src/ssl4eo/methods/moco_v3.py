# SPDX-License-Identifier: Apache-2.0
"""MoCo v3: momentum contrast without a queue; the negatives are the other samples of the batch.

Source: Chen, Xie and He 2021 (arXiv 2104.02057), Algorithm 1, section 4.1 (heads), section 5 (frozen patch embedding).

Deliberate differences:
* The patch embedding may be learned (`stop_grad_patch_embed`): the paper freezes a random one of 768 inputs (RGB);
  with 13 bands it has 3,328, of which a random projection to 384 keeps little.
* ViT-S has 6 heads, as the weights published for Sentinel-2; the paper's has 12.
* The batch is never computed in parts: each part would lack the other parts' negatives, which is another loss.
The momentum encoder moves after the step, as in Algorithm 1; the code behind the published weights moves it before the
next keys are computed, which is the same sequence with the momentum one step further along its schedule.

Letters: B batch of one process, P processes, D embedding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.architectures import BackboneOptions, patch_size
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.gather import gather_rows, rank
from ssl4eo.methods.method import Method, MethodConfig, Moment, Setting, StepOutput, check_least, check_temperatures
from ssl4eo.methods.parts import unmixed, update_average


@dataclass(frozen=True)
class MoCoV3Config(MethodConfig):
    """Options of MoCo v3; published: 256, 4096, 0.99, 0.2, on, 3."""

    dim: int
    """Length of the embedding."""
    hidden: int
    """Width of the hidden layers of both heads."""
    momentum: float
    """Of the momentum encoder at the first step; rises to 1 along half a cosine."""
    temperature: float
    """Of the softmax."""
    stop_grad_patch_embed: bool = False
    """Keep the patch embedding of a transformer as it was drawn."""
    patch_embed_bands: int | None = None
    """Bands that the range of the patch embedding's initial weights is computed for; None for the real number."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_least(self, dim=1, hidden=1)
        check_temperatures(self, "temperature")
        if not 0 <= self.momentum <= 1:
            raise ConfigInvalid(f"method.momentum is {self.momentum}", expected="0 to 1")
        if self.patch_embed_bands is not None and self.patch_embed_bands < 1:
            raise ConfigInvalid(f"method.patch_embed_bands is {self.patch_embed_bands}", expected="1 or more, or none")

    def build(self, backbone: Backbone, *, seed: int) -> MoCoV3:
        """Build the method."""
        return MoCoV3(self, backbone, seed=seed)

    def check(self, setting: Setting) -> None:
        """Raise unless there are two views, whole batches, and patches where an option speaks of them."""
        if setting.num_views != 2:
            raise ConfigInvalid(f"{setting.num_views} views for MoCo v3", expected="2")
        if setting.accumulate != 1:
            raise ConfigInvalid(
                f"engine.accumulate {setting.accumulate} for MoCo v3, whose negatives are the batch",
                expected="1",
                remedy="use more processes or a smaller batch_size",
            )
        if patch_size(setting.arch) is None and (self.stop_grad_patch_embed or self.patch_embed_bands is not None):
            raise ConfigInvalid(
                f"method.stop_grad_patch_embed {self.stop_grad_patch_embed} and patch_embed_bands "
                f"{self.patch_embed_bands} for {setting.arch}",
                expected="false and none: it has no patch embedding",
                remedy="leave both out, or choose a transformer",
            )

    def backbone_options(self, arch: str) -> BackboneOptions:
        """Ask for fixed sine-cosine positions, Xavier initialization and the class token (section 4.1)."""
        if patch_size(arch) is None:
            return BackboneOptions()
        return BackboneOptions(pooling="cls", position="sincos_rows", init="xavier_qkv")

    def initial_loss(self, batch_size: int | None = None) -> float | None:
        """Loss when all logits are equal: 2 T ln(N) for each of two directions; None as long as N is not given.

        Args:
            batch_size: N, of all processes.
        """
        return None if batch_size is None else 4 * self.temperature * math.log(batch_size)


class MoCoV3(Method):
    """Base encoder (backbone, projector, predictor) and momentum encoder (backbone, projector)."""

    def __init__(self, config: MoCoV3Config, backbone: Backbone, *, seed: int) -> None:
        """Draw the heads from `seed`; start the momentum encoder as a copy of the base encoder."""
        super().__init__()
        self.config = config
        self.backbone = backbone
        if config.patch_embed_bands is not None:
            set_patch_embed_range(backbone, num_bands=config.patch_embed_bands)
        if config.stop_grad_patch_embed:
            backbone.net.get_submodule("patch_embed").requires_grad_(requires_grad=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.projector, self.predictor = make_heads(config, backbone)
        self.momentum_backbone = copy.deepcopy(backbone).requires_grad_(requires_grad=False)
        self.momentum_projector = copy.deepcopy(self.projector).requires_grad_(requires_grad=False)

    def forward(self, views: tuple[Tensor, ...], masks: Tensor | None, moment: Moment) -> StepOutput:
        """Compare each view's queries with the other view's keys: ctr(q1, k2) + ctr(q2, k1)."""
        del masks
        first, second = views
        query1, query2 = self._query(first), self._query(second)
        key1, key2 = self._key(first), self._key(second)
        loss12, hits12 = contrast(query1, key2, temperature=self.config.temperature)
        loss21, hits21 = contrast(query2, key1, temperature=self.config.temperature)
        loss = loss12 + loss21
        metrics = {
            "contrast_accuracy": (hits12 + hits21) / 2,
            "loss_1_to_2": loss12.detach(),
            "loss_2_to_1": loss21.detach(),
            "ema_momentum": torch.full_like(loss.detach(), momentum_at(moment.share, start=self.config.momentum)),
        }
        return StepOutput(loss, query1.detach(), metrics)

    def after_step(self, moment: Moment) -> None:
        """Move the momentum encoder toward the base encoder."""
        momentum = momentum_at(moment.share, start=self.config.momentum)
        update_average(self.momentum_backbone, self.backbone, momentum=momentum)
        update_average(self.momentum_projector, self.projector, momentum=momentum)

    def _query(self, images: Tensor) -> Tensor:
        return F.normalize(self.predictor(self.projector(self.backbone(images))).float(), dim=1)  # (B, D)

    @torch.no_grad()
    def _key(self, images: Tensor) -> Tensor:
        return F.normalize(self.momentum_projector(self.momentum_backbone(images)).float(), dim=1)  # (B, D)


def contrast(query: Tensor, key: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Compute ctr of Algorithm 1: 2 T times the cross entropy of finding each query's own key among all keys.

    Args:
        query: (B, D) of unit length.
        key: (B, D) of unit length, row by row of the same samples; those of other processes are gathered here.
        temperature: T; the factor 2 T keeps the size of the gradient when T changes.

    Returns:
        The loss, a scalar, and the share of queries whose nearest key is their own.
    """
    keys = gather_rows(key)  # (P * B, D)
    with unmixed(query):
        logits = query @ keys.T / temperature  # (B, P * B)
    target = rank() * len(query) + torch.arange(len(query), device=query.device)
    hits = (logits.detach().argmax(dim=1) == target).float().mean()
    return 2 * temperature * F.cross_entropy(logits, target), hits


def momentum_at(share: float, *, start: float) -> float:
    """Give the momentum when a share of the run is done: `start` at 0, 1 at 1, along half a cosine (section 4.1)."""
    return 1 - (1 - start) * 0.5 * (1 + math.cos(math.pi * share))


def make_heads(config: MoCoV3Config, backbone: Backbone) -> tuple[nn.Sequential, nn.Sequential]:
    """Make projector and predictor.

    A transformer has a projector of three layers; a residual network one of two, and a predictor that ends without
    batch norm, as the published code has them.
    """
    is_transformer = backbone.patch is not None
    widths = [backbone.num_features, config.hidden, *[config.hidden] * is_transformer, config.dim]
    projector = mlp_head(widths, last_norm=True)
    return projector, mlp_head([config.dim, config.hidden, config.dim], last_norm=is_transformer)


def mlp_head(widths: Sequence[int], *, last_norm: bool) -> nn.Sequential:
    """Make linear layers without biases, each hidden one followed by batch norm and ReLU.

    Args:
        widths: of the input, of each hidden layer, of the output.
        last_norm: end with a batch norm without scale and shift.
    """
    layers: list[nn.Module] = []
    for width, hidden in pairwise(widths[:-1]):
        layers += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=False))
    if last_norm:
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)


@torch.no_grad()
def set_patch_embed_range(backbone: Backbone, *, num_bands: int) -> None:
    """Scale the weights of the patch embedding to the range they would have with `num_bands` bands.

    They are uniform in +- sqrt(6 / (C p^2 + D)) for C bands, patches of p pixels and D dims. The published runs on 13
    bands have the range for 3.
    """
    weight = backbone.net.get_parameter("patch_embed.proj.weight")  # (D, C, p, p)
    dim, real_bands, height, width = weight.shape
    area = height * width
    weight.mul_(math.sqrt((real_bands * area + dim) / (num_bands * area + dim)))
