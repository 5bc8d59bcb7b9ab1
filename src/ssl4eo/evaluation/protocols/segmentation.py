# SPDX-License-Identifier: Apache-2.0
"""The class of each pixel: a linear map of frozen features, or a decoder that is trained with the network.

`segmentation_linear`: a 1x1 convolution of normed features at every level, upsampled and summed, which is one linear
map of all levels together. `segmentation`: a feature pyramid (Lin et al. 2017), its levels summed at the finest
(Kirillov et al. 2019, section 3.1), trained with the whole network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.levels import level_maps, level_widths
from ssl4eo.evaluation.metrics import measure_maps
from ssl4eo.evaluation.protocols.dense import Scenes, network_for, side_for, train_and_predict
from ssl4eo.evaluation.protocols.protocol import Prediction, Trial
from ssl4eo.evaluation.protocols.tuning import TuneConfig
from ssl4eo.evaluation.tasks.task import UNJUDGED
from ssl4eo.training.optimizer import OptimizerConfig

WIDTH = 128
"""Channels of the pyramid."""
LINEAR = TuneConfig(
    epochs=30, batch_size=16, optimizer=OptimizerConfig("adamw", lr=1e-3, weight_decay=1e-4), frozen=True
)
TUNED = TuneConfig(
    epochs=50,
    batch_size=16,
    optimizer=OptimizerConfig("adamw", lr=3e-4, weight_decay=0.05, layer_decay=0.75),
    warmup_epochs=2,
)


class LinearHead(nn.Module):
    """One linear map of the features of all levels: (B, K, h, w) at the finest."""

    def __init__(self, widths: tuple[int, ...], num_classes: int) -> None:
        """Make a norm without weights and a 1x1 convolution for each level."""
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for width in widths)
        self.maps = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for width in widths)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Map and sum levels, finest first."""
        size = levels[0].shape[-2:]
        parts = [head(norm(level)) for norm, head, level in zip(self.norms, self.maps, levels, strict=True)]
        return torch.stack([F.interpolate(part, size, mode="bilinear") for part in parts]).sum(dim=0)


class Pyramid(nn.Module):
    """A feature pyramid whose levels are summed at the finest: (B, K, h, w)."""

    def __init__(self, widths: tuple[int, ...], num_classes: int) -> None:
        """Make the convolutions of each level."""
        super().__init__()
        self.sides = nn.ModuleList(nn.Conv2d(width, WIDTH, 1) for width in widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU())
            for _ in widths
        )
        self.drop, self.last = nn.Dropout2d(0.1), nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Go from the coarsest level to the finest, then sum all there."""
        rows = [side(level) for side, level in zip(self.sides, levels, strict=True)]
        for n in range(len(rows) - 2, -1, -1):
            rows[n] = rows[n] + F.interpolate(rows[n + 1], rows[n].shape[-2:], mode="nearest")
        made = [block(row) for block, row in zip(self.blocks, rows, strict=True)]
        size = made[0].shape[-2:]
        return self.last(self.drop(torch.stack([F.interpolate(m, size, mode="bilinear") for m in made]).sum(dim=0)))


class Segmenter(nn.Module):
    """A network with a head on its levels."""

    def __init__(self, backbone: Backbone, head: type[LinearHead | Pyramid], num_classes: int, *, seed: int) -> None:
        """Put a head on a network; its weights are drawn from `seed`."""
        super().__init__()
        self.backbone = backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = head(level_widths(backbone)[-4:], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits (B, K, h, w) of scaled images (B, C, S, S), at the finest of the last four levels."""
        return self.head(level_maps(self.backbone, images)[-4:])


def segmentation_linear(trial: Trial) -> Prediction:
    """Train a linear map of frozen features."""
    return _run(trial, LINEAR, LinearHead)


def segmentation(trial: Trial) -> Prediction:
    """Train a pyramid and the network."""
    return _run(trial, TUNED, Pyramid)


def _run(trial: Trial, config: TuneConfig, head: type[LinearHead | Pyramid]) -> Prediction:
    config = config.shortened(trial.epochs)
    network = network_for(trial)
    model = Segmenter(network, head, trial.num_classes, seed=trial.seed).to(next(network.parameters()).device)
    scenes = Scenes(
        trial,
        config,
        predict=lambda net, images: net(*images),
        loss_of=_cross_entropy,
        decide=lambda logits: logits.argmax(dim=1),
        judge=measure_maps,
        side=side_for(network, trial),
    )
    return train_and_predict(model, scenes, lambda: {"head": head.__name__})


def _cross_entropy(logits: Tensor, maps: Tensor) -> Tensor:
    """Give the mean over the judged pixels, 0 where there are none."""
    judged = (maps != UNJUDGED).sum().clamp_min(1)
    return F.cross_entropy(logits, maps, ignore_index=UNJUDGED, reduction="sum") / judged
