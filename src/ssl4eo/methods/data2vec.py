# SPDX-License-Identifier: Apache-2.0
"""data2vec for images: a student that sees a masked image predicts what its teacher makes of the whole one.

Source: Baevski et al. 2022 (arXiv 2202.03555), section 3; the network, its masks and their blocks are those of
BEiT, Bao et al. 2022 (arXiv 2106.08254), section 2.

Deliberate differences:
* The teacher is an average of the backbone alone: mask token and regression head are of no use to it.
* The teacher is part of the method's state, so a resumed run goes on with it; the published code began anew.
* The teacher computes in the precision of the run, in place of float32 always; targets are made in float32.
* Targets may be normed over the batch (`target_norm`), one of the norms that section 3.3 of the paper weighs against
  collapse. With layer norm and a small network on inputs whose mean is not removed, what all patches share makes up
  nearly all of the target (benchmarks/results/LOG.md). The batch is that of all processes, but of each accumulated
  part alone: another `engine.accumulate` is another target.
* The student is kept, as published scores did, with its last norm, which those left out.
* Mask token and table of relative positions are not decayed (training/optimizer.py), as class token and norms; the
  published runs decayed these two.

Letters: B batch, L patches, M hidden patches, D dims, K top blocks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.architectures import ARCHITECTURES, BackboneOptions, ViTShape
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.initialization import beit_normal
from ssl4eo.backbones.tokens import embed_patches, run_blocks, with_class_token, with_positions
from ssl4eo.errors import ConfigInvalid, unknown_name
from ssl4eo.methods.gather import gather_rows, mean_over_processes
from ssl4eo.methods.masked import check_hidden, patch_grid, places, take
from ssl4eo.methods.method import Method, MethodConfig, Moment, Setting, StepOutput
from ssl4eo.methods.parts import update_average
from ssl4eo.views.masking import BlockMasking

TargetNorm = Literal["layer", "batch"]
"""layer: each token over its dims (as published); batch: each dim over all tokens of all processes' batches."""
EPSILON = 1e-5
"""Added to a variance before its root is taken."""
PUBLISHED_SHARE = 120 / 196
"""Of all patches, how many are hidden in the published runs."""


@dataclass(frozen=True)
class Data2VecConfig(MethodConfig):
    """Options of data2vec; published on SSL4EO-S12: 120 of 196, 6, 2.0, 0.9998 throughout."""

    num_masked: int
    """Patches that are hidden of each image."""
    top_blocks: int
    """K: the last blocks whose outputs the target is made of."""
    beta: float
    """Error at which the smooth L1 loss turns from a parabola to a line."""
    ema_start: float
    """Momentum of the teacher at the first step."""
    ema_end: float
    """Momentum from the end of the ramp on."""
    ema_epochs: float
    """Length of the linear ramp between them; 0 for ema_end throughout."""
    smallest_block: int = 16
    """Least area of a hidden block [patches]."""
    drop_path: float = 0.25
    """Largest probability that a block of the student is skipped."""
    attention_drop: float = 0.05
    """Probability that an attention weight of the student is zeroed."""
    layer_scale: float = 1e-4
    """Initial factor of each residual branch."""
    target_norm: TargetNorm = "layer"
    """How each layer of the teacher is normed before they are averaged: layer or batch."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.top_blocks < 1:
            raise ConfigInvalid(f"method.top_blocks is {self.top_blocks}", expected="1 or more")
        for name in ("beta", "layer_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigInvalid(f"method.{name} is {getattr(self, name)}", expected="above 0, and finite")
        for name in ("drop_path", "attention_drop"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigInvalid(f"method.{name} is {getattr(self, name)}", expected="0 up to, not including, 1")
        if self.target_norm not in get_args(TargetNorm):
            raise unknown_name("target_norm", self.target_norm, get_args(TargetNorm))
        for name in ("ema_start", "ema_end"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigInvalid(f"method.{name} is {getattr(self, name)}", expected="0 to 1")
        if not self.ema_epochs >= 0:
            raise ConfigInvalid(f"method.ema_epochs is {self.ema_epochs}", expected="0 or more")

    def build(self, backbone: Backbone, *, seed: int) -> Data2Vec:
        """Build the method."""
        return Data2Vec(self, backbone, seed=seed)

    def check(self, setting: Setting) -> None:
        """Raise unless there is one view, some patches are hidden, and the network has the blocks."""
        self.masking(setting)
        shape = ARCHITECTURES[setting.arch]
        assert isinstance(shape, ViTShape), "masking refuses the others"
        if self.top_blocks > shape.depth:
            raise ConfigInvalid(
                f"method.top_blocks {self.top_blocks} of {setting.arch}", expected=f"at most its {shape.depth} blocks"
            )

    def backbone_options(self, arch: str) -> BackboneOptions:
        """Ask for BEiT: relative positions shared by all blocks, scaled branches, mean of the patches."""
        del arch
        return BackboneOptions(
            pooling="mean",
            position="relative",
            init="beit",
            drop_path=self.drop_path,
            attention_drop=self.attention_drop,
            layer_scale=self.layer_scale,
        )

    def masking(self, setting: Setting) -> BlockMasking:
        """Hide blocks of patches."""
        grid = patch_grid(setting, method="data2vec")
        remedy = f"--method.num_masked {round(PUBLISHED_SHARE * grid**2)}, for instance"
        check_hidden(f"method.num_masked {self.num_masked}", self.num_masked, grid, remedy=remedy)
        return BlockMasking(grid, self.num_masked, smallest=self.smallest_block)

    def warn_of_parts(self, accumulate: int) -> str | None:
        """Say that statistics of targets are those of a part, None where there are none or the part is the batch."""
        if accumulate == 1 or self.target_norm != "batch":
            return None
        return (
            f"engine.accumulate {accumulate} with method.target_norm batch: targets are normed over each part of the "
            "batch alone, so that another engine.accumulate is another loss"
        )

    def momentum(self, epoch: float) -> float:
        """Give the momentum of the teacher when so many epochs are done."""
        share = 1.0 if self.ema_epochs == 0 else min(1.0, epoch / self.ema_epochs)
        return self.ema_start + (self.ema_end - self.ema_start) * share

    def initial_loss(self, batch_size: int | None = None) -> None:
        """Theory does not tell: it depends on the images."""
        del batch_size


class Data2Vec(Method):
    """Student (kept) with its head, and teacher."""

    def __init__(self, config: Data2VecConfig, backbone: Backbone, *, seed: int) -> None:
        """Start the teacher as a copy of the student."""
        super().__init__()
        self.config = config
        self.backbone = backbone
        width = backbone.num_features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.mask_token = nn.Parameter(torch.empty(1, 1, width))
            self.head = nn.Linear(width, width)
            beit_normal(self.mask_token)
            beit_normal(self.head.weight)
            nn.init.zeros_(self.head.bias)
        self.teacher = copy.deepcopy(backbone).requires_grad_(requires_grad=False).eval()

    def train(self, mode: bool = True) -> Self:
        """Change the mode of the student; the teacher skips and drops nothing, ever."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, views: tuple[Tensor, ...], masks: Tensor | None, moment: Moment) -> StepOutput:
        """Predict the teacher's features of hidden patches."""
        assert masks is not None, "the config asks for masks"
        (images,) = views
        _, hidden = places(masks, self.config.num_masked)
        target = self.target(images, hidden)  # (B, M, D)
        predicted = self.predict(images, masks, hidden)
        loss = F.smooth_l1_loss(predicted, target, beta=self.config.beta)
        metrics = {
            "target_std": spread(target),
            "prediction_std": spread(predicted),
            "ema_momentum": torch.full_like(loss.detach(), self.config.momentum(moment.epoch)),
        }
        return StepOutput(loss, target[:, 0], metrics)

    def after_step(self, moment: Moment) -> None:
        """Move the teacher toward the student that the step has made."""
        update_average(self.teacher, self.backbone, momentum=self.config.momentum(moment.epoch))

    def predict(self, images: Tensor, masks: Tensor, hidden: Tensor) -> Tensor:
        """Let the student guess the features (B, M, D), float32, of patches that it does not see."""
        net = self.backbone.net
        patches = embed_patches(net, images)
        patches = torch.where(masks[:, :, None], self.mask_token.to(patches.dtype), patches)
        tokens, _ = run_blocks(net, with_class_token(net, with_positions(net, patches)))
        return self.head(net.get_submodule("norm")(take(tokens[:, 1:], hidden))).float()

    @torch.no_grad()
    def target(self, images: Tensor, hidden: Tensor) -> Tensor:
        """Let the teacher see all: mean of its last K blocks, each normed, normed again, (B, M, D) float32.

        Norms over the batch are of all patches, hidden or not, so that they do not depend on the masks.
        """
        net = self.teacher.net
        depth = len(net.get_submodule("blocks"))  # pyright: ignore[reportArgumentType] - a list of blocks
        patches = with_positions(net, embed_patches(net, images))
        _, kept = run_blocks(
            net, with_class_token(net, patches), keep=frozenset(range(depth - self.config.top_blocks, depth))
        )
        layers = [tokens[:, 1:].float() for tokens in kept]
        if self.config.target_norm == "batch":
            return take(average_normed([batch_norm(layer) for layer in layers], norm=batch_norm), hidden)
        return average_normed([layer_norm(take(layer, hidden)) for layer in layers], norm=layer_norm)


def average_normed(layers: list[Tensor], *, norm: Callable[[Tensor], Tensor]) -> Tensor:
    """Average normed layers (B, M, D) and norm the average (section 3.3 of the paper)."""
    return norm(torch.stack(layers).mean(dim=0))


def layer_norm(tokens: Tensor) -> Tensor:
    """Norm each token of (B, M, D) over its dims, without weights."""
    return F.layer_norm(tokens, tokens.shape[-1:])


def batch_norm(tokens: Tensor) -> Tensor:
    """Norm each dim of (B, M, D) over all tokens of all processes, without weights: what all share is gone.

    The mean first, then the variance about it: the difference of the mean square and the squared mean would lose all
    digits where what tokens share is large beside what tells them apart.
    """
    centered = tokens - mean_over_processes(tokens.mean(dim=(0, 1)))
    return centered / mean_over_processes(centered.square().mean(dim=(0, 1))).add(EPSILON).sqrt()


def spread(tokens: Tensor) -> Tensor:
    """Root of the variance over all tokens (B, M, D) of all processes, mean over D, without gradient.

    0 when every patch gets the same features. Processes have equally many tokens, so the variance over all of them is
    the mean of their variances and the variance of their means: one exchange, and no difference of large squares.
    """
    flat = tokens.detach().flatten(0, 1)
    moments = torch.stack([flat.mean(dim=0), flat.var(dim=0, correction=0)])  # (2, D)
    means, variances = gather_rows(moments[None]).unbind(dim=1)  # (P, D) each
    return (variances.mean(dim=0) + means.var(dim=0, correction=0)).mean().sqrt()
