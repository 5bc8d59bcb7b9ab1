# SPDX-License-Identifier: Apache-2.0
"""DINO: a student learns to say of every crop of an image what its own moving average says of the global ones.

Source: Caron et al. 2021 (arXiv 2104.14294): Algorithm 1, section 3.1 (loss, centering, sharpening), appendix A
(head, last layer, schedules). Crops of one size share a forward pass. The teacher is what is kept.

Deliberate differences:
* The teacher's temperature warms up at every step, where the published code moves it from epoch to epoch.
* The centre follows the mean over all processes and all accumulated parts of a batch, once a step.
* A network sees local crops with positions interpolated bicubic and antialiased to their exact grid
  (backbones/tokens.py); the published code interpolates without antialiasing by the factor (n + 0.1) / 14.
* Class token and positions are not decayed (training/optimizer.py); the published rule spares biases and norms only.
* The last norm of each block of a residual network starts at zero (`zero_init_last`); the published code starts it
  at one, and so do the recipes `as_published`.

What it does not do: judge collapse. The embedding it hands out is the student's bottleneck of the first global view.
Both collapses of the paper (one output wins, all outputs are equal) make the outputs of all images alike, and with a
last layer of fixed row length that needs bottlenecks that are alike; the backbone's features may still differ then.

Letters: B batch, V views (2 global ones first), D features, K outputs.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.architectures import BackboneOptions, patch_size
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.gather import mean_over_processes
from ssl4eo.methods.method import (
    Method,
    MethodConfig,
    Moment,
    Setting,
    StepOutput,
    check_least,
    check_temperatures,
    check_zero_init,
)
from ssl4eo.methods.parts import unmixed, update_average

NUM_GLOBAL = 2
"""Views that the teacher sees, the first ones."""


@dataclass(frozen=True)
class DINOConfig(MethodConfig):
    """Options of DINO; published: 65536, 0.996, 0.04, 1, 0.1 (transformers), and the defaults but for the last."""

    out_dim: int
    """K, outputs that student and teacher are compared in."""
    momentum: float
    """Of the teacher at the first step; reaches 1 along half a cosine."""
    teacher_temperature: float
    """Of the teacher's softmax, after its warm-up."""
    freeze_last_layer: float
    """Epochs in which the last layer does not learn."""
    drop_path: float
    """Largest probability that the student skips a block of a transformer; residual networks have none."""
    hidden: int = 2048
    """Width of the head."""
    bottleneck: int = 256
    """Length of the embedding before the last layer."""
    student_temperature: float = 0.1
    """Of the student's softmax."""
    warmup_temperature: float = 0.04
    """Of the teacher's softmax at the first step, where it warms up."""
    warmup_temperature_epochs: float = 0.0
    """Epochs from the warm-up temperature to the teacher's own, linear; 0 for none."""
    center_momentum: float = 0.9
    """Of the centre, per step."""
    zero_init_last: bool = True
    """Start the last norm of each block of a residual network at zero."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_least(self, out_dim=2, hidden=1, bottleneck=1)
        check_temperatures(self, "student_temperature", "teacher_temperature", "warmup_temperature")
        for name in ("freeze_last_layer", "warmup_temperature_epochs"):
            if getattr(self, name) < 0:
                raise ConfigInvalid(f"method.{name} is {getattr(self, name)}", expected="0 epochs or more")
        for name in ("momentum", "center_momentum", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigInvalid(f"method.{name} is {getattr(self, name)}", expected="0 up to, not including, 1")

    def build(self, backbone: Backbone, *, seed: int) -> DINO:
        """Build the method."""
        return DINO(self, backbone, seed=seed)

    def check(self, setting: Setting) -> None:
        """Raise unless there are two global views; whether the network can see the sizes is checked for all methods."""
        check_zero_init(self.zero_init_last, setting)
        if setting.num_views < NUM_GLOBAL:
            raise ConfigInvalid(
                f"{setting.num_views} view for DINO",
                expected="two global views, and as many local ones as wanted",
                remedy="use the views of a dino recipe",
            )

    def backbone_options(self, arch: str) -> BackboneOptions:
        """Ask for learned positions and drop path of a transformer, for the start of a residual network's branches."""
        if patch_size(arch) is None:
            return BackboneOptions(zero_init_last=self.zero_init_last)
        return BackboneOptions(init="dino", drop_path=self.drop_path)

    def initial_loss(self, batch_size: int | None = None) -> float:
        """Loss ln K of a student whose outputs are all equal, whatever the teacher says.

        An untrained student is near it: with last-layer rows in random directions of n dims its expectation is
        ln K + 1 / (2 n s^2) - cos / (n s t), with temperatures s and t of student and teacher and the cosine of
        their bottlenecks: the more alike images look to an untrained network, the lower.
        """
        del batch_size
        return math.log(self.out_dim)

    def momentum_at(self, moment: Moment) -> float:
        """Give the teacher's momentum of a step: half a cosine from `momentum` at the first step toward 1."""
        return 1 - (1 - self.momentum) * 0.5 * (1 + math.cos(math.pi * moment.share))

    def temperature_at(self, moment: Moment) -> float:
        """Give the teacher's temperature of a step: linear warm-up, then constant."""
        if moment.epoch >= self.warmup_temperature_epochs:
            return self.teacher_temperature
        share = moment.epoch / self.warmup_temperature_epochs
        return self.warmup_temperature + share * (self.teacher_temperature - self.warmup_temperature)


class DINO(Method):
    """Student, teacher, centre."""

    center: Tensor

    def __init__(self, config: DINOConfig, backbone: Backbone, *, seed: int) -> None:
        """Start the teacher as a copy of the student, without drop path."""
        super().__init__()
        self.config = config
        self.student = backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.student_head = DINOHead(backbone.num_features, config.hidden, config.bottleneck, config.out_dim)
        self.backbone = without_drop_path(backbone).requires_grad_(requires_grad=False)
        self.teacher_head = copy.deepcopy(self.student_head).requires_grad_(requires_grad=False)
        self.register_buffer("center", torch.zeros(config.out_dim))  # (K,)
        self._means: list[Tensor] = []

    def forward(self, views: tuple[Tensor, ...], masks: Tensor | None, moment: Moment) -> StepOutput:
        """Compare the student on all views with the teacher on the global ones; `after_step` moves the centre."""
        del masks
        targets = self._teach(views[:NUM_GLOBAL], moment)  # (2, B, K)
        bottleneck = self.student_head.project(encode_crops(self.student, views))  # (V * B, bottleneck)
        logits = self.student_head.last_layer(bottleneck).unflatten(0, (len(views), -1))  # (V, B, K)
        loss = cross_entropy_of_pairs(logits / self.config.student_temperature, targets)
        entropy = torch.special.entr(targets).sum(dim=2).mean()
        metrics = {
            "teacher_entropy": entropy,
            "teacher_student_kl": loss.detach() - entropy,
            "ema_momentum": torch.full_like(loss.detach(), self.config.momentum_at(moment)),
        }
        return StepOutput(loss, bottleneck[: len(views[0])].detach(), metrics)

    def before_update(self, moment: Moment) -> None:
        """Drop the gradients of the last layer while it is frozen."""
        if moment.epoch < self.config.freeze_last_layer:
            for parameter in self.student_head.last_layer.parameters():
                parameter.grad = None  # not zero: decay and momentum of the optimizer would move it

    def after_step(self, moment: Moment) -> None:
        """Move the teacher toward the student, and the centre toward the teacher's mean output."""
        momentum = self.config.momentum_at(moment)
        update_average(self.backbone, self.student, momentum=momentum)
        update_average(self.teacher_head, self.student_head, momentum=momentum)
        mean = mean_over_processes(torch.stack(self._means).mean(dim=0))  # (K,), parts are of equal size
        self.center.lerp_(mean, 1 - self.config.center_momentum)
        self._means.clear()

    @torch.no_grad()
    def _teach(self, views: tuple[Tensor, ...], moment: Moment) -> Tensor:
        """Give the teacher's probabilities (2, B, K) and remember its mean output for the centre."""
        outputs = self.teacher_head(encode_crops(self.backbone, views))  # (2 * B, K)
        self._means.append(outputs.mean(dim=0))
        scaled = (outputs - self.center) / self.config.temperature_at(moment)
        return scaled.softmax(dim=1).unflatten(0, (len(views), -1))


class DINOHead(nn.Module):
    """Three layers with GELU and no batch norm, unit length, then the weight-normalized last layer."""

    def __init__(self, num_features: int, hidden: int, bottleneck: int, out_dim: int) -> None:
        """Draw the weights of the three layers from a normal of standard deviation 0.02, biases zero."""
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(num_features, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = UnitRowLinear(bottleneck, out_dim)

    def project(self, features: Tensor) -> Tensor:
        """Map features (N, D) to float32 bottlenecks (N, bottleneck) of unit length."""
        return F.normalize(self.mlp(features).float(), dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, D) to outputs (N, K), cosines from -1 to 1."""
        return self.last_layer(self.project(features))


class UnitRowLinear(nn.Module):
    """A weight-normalized linear layer without bias: w = g v / |v| for each output, g fixed at 1.

    Source: Salimans and Kingma 2016 (arXiv 1602.07868), eq. 2. `weight_g` is kept as in published files.
    """

    def __init__(self, num_in: int, num_out: int) -> None:
        """Draw the directions.

        They are about 0.58 long, as torch draws a linear layer and the authors of DINO left it: output depends on the
        directions alone, but the longer the vectors, the less a step of Adam turns them.
        """
        super().__init__()
        bound = num_in**-0.5
        self.weight_g = nn.Parameter(torch.ones(num_out, 1), requires_grad=False)
        self.weight_v = nn.Parameter(nn.init.uniform_(torch.empty(num_out, num_in), -bound, bound))

    def forward(self, rows: Tensor) -> Tensor:
        """Map float32 (N, num_in) to float32 (N, num_out), also under mixed precision.

        The teacher divides these cosines by 0.04: bfloat16 (2^-8) would change its probabilities by 5 %.
        """
        with unmixed(rows):
            return F.linear(rows, self.weight_g * F.normalize(self.weight_v, dim=1))


def encode_crops(network: nn.Module, crops: Sequence[Tensor]) -> Tensor:
    """Give features (V * B, D) of crops, each (B, C, S, S), view by view; neighbors of one size share a forward."""
    sizes = itertools.groupby(crops, key=lambda crop: crop.shape[-1])
    return torch.cat([network(torch.cat(list(group))) for _, group in sizes])


def cross_entropy_of_pairs(logits: Tensor, targets: Tensor) -> Tensor:
    """Average the cross entropy over the pairs of a global view of the teacher and another view of the student.

    The cross entropy of a pair is logsumexp(s) - <p, s>, as p sums to 1. Both targets of a local view have the same
    s, so p is added up before the product: V softmaxes instead of 2 (V - 1).
    Source: Caron et al. 2021, eq. 3.

    Args:
        logits: (V, B, K) of the student, divided by its temperature, the two global views first.
        targets: (2, B, K) probabilities of the teacher.
    """
    num_views, batch, _ = logits.shape
    own, local = logits.split([NUM_GLOBAL, num_views - NUM_GLOBAL])
    agreement = (targets.flip(0) * own).sum() + (targets.sum(dim=0) * local.sum(dim=0)).sum()
    norms = own.logsumexp(dim=2).sum() + NUM_GLOBAL * local.logsumexp(dim=2).sum()
    return (norms - agreement) / (NUM_GLOBAL * (num_views - 1) * batch)


def without_drop_path(backbone: Backbone) -> Backbone:
    """Copy a network that never skips a block."""
    from timm.layers.drop import DropPath

    twin = copy.deepcopy(backbone)
    for module in twin.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    twin.options = replace(twin.options, drop_path=0.0)
    return twin
