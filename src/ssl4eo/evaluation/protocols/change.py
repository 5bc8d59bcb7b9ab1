# SPDX-License-Identifier: Apache-2.0
"""What changed between two dates: the difference of features of one network, through the decoder of a U-Net.

Both dates go through the same frozen network; at each level stands the absolute difference. From the deepest: upsampled
twice, a 3x3 convolution to the width of the next level, that level beside it, a 3x3 convolution, batch norm, ReLU,
dropout 0.3; last one 1x1 convolution. The published setting is Adam 1e-3, decay 1e-4, times 0.95 after each epoch, 100
epochs of batches of 8.
`change` is this with a frozen network that is frozen, and epoch and threshold chosen on validation: so little changes
that a threshold of 0.5 may find nothing for a long time. `change_as_published` has the published defects: statistics of
batch norm move, the last epoch is judged, and a pixel is changed from 0.5 on.
Source: src/benchmark/transfer_change_detection of zhu-xlab/SSL4EO-S12; Daudt et al. 2018 for the siamese difference.
Two differences: a transformer's levels come from backbones.levels, and weights are drawn from the seed.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.levels import level_maps, level_widths
from ssl4eo.evaluation.metrics import measure_change
from ssl4eo.evaluation.protocols.dense import Scenes, map_side, network_for, side_for, train_and_predict
from ssl4eo.evaluation.protocols.protocol import Prediction, Trial
from ssl4eo.evaluation.protocols.tuning import TuneConfig
from ssl4eo.evaluation.tasks.task import UNJUDGED
from ssl4eo.training.optimizer import OptimizerConfig

CORRECTED = TuneConfig(
    epochs=100,
    batch_size=8,
    optimizer=OptimizerConfig("adam", lr=1e-3, weight_decay=1e-4, decay_all=True),
    schedule="exponential",
    frozen=True,
)
AS_PUBLISHED = dataclasses.replace(CORRECTED, statistics_move=True, choose="last")
DATES = (0, 1)
LEVELS = 256
"""Steps of the share of change that thresholds are chosen from."""


class Up(nn.Module):
    """From one level to the next finer one."""

    def __init__(self, width: int, skip: int) -> None:
        """Make the convolutions from `width` channels to the `skip` of the next level."""
        super().__init__()
        self.narrow = nn.Conv2d(width, skip, 3, padding=1)
        self.block = nn.Sequential(
            nn.Conv2d(2 * skip, skip, 3, padding=1, bias=False), nn.BatchNorm2d(skip), nn.ReLU(), nn.Dropout2d(0.3)
        )

    def forward(self, values: Tensor, skip: Tensor) -> Tensor:
        """Join (B, D, h, w) with the finer level (B, D', 2h, 2w)."""
        values = self.narrow(F.interpolate(values, skip.shape[-2:], mode="nearest"))
        return self.block(torch.cat([values, skip], dim=1))


class DifferenceNet(nn.Module):
    """A siamese network with a decoder on the differences of its levels."""

    def __init__(self, backbone: Backbone, *, seed: int) -> None:
        """Put a decoder on a network; its weights are drawn from `seed`."""
        super().__init__()
        self.backbone = backbone
        widths = level_widths(backbone)[::-1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.ups = nn.ModuleList(Up(a, b) for a, b in itertools.pairwise(widths))
            self.last = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Give logits of change (B, 1, h, w) at the finest level."""
        pairs = zip(*(level_maps(self.backbone, images) for images in (before, after)), strict=True)
        first, *others = [(a - b).abs() for a, b in pairs][::-1]
        values = first
        for up, skip in zip(self.ups, others, strict=True):
            values = cast("Up", up)(values, skip)
        return self.last(values)


def change(trial: Trial) -> Prediction:
    """Train the decoder on a frozen network, the epoch chosen on validation."""
    return _run(trial, CORRECTED)


def change_as_published(trial: Trial) -> Prediction:
    """Train the decoder as the published script does, with its defects."""
    return _run(trial, AS_PUBLISHED)


def _run(trial: Trial, config: TuneConfig) -> Prediction:
    config = config.shortened(trial.epochs)
    network = network_for(trial)
    model = DifferenceNet(network, seed=trial.seed).to(next(network.parameters()).device)
    cut = Cut()
    scenes = RareScenes(
        trial,
        config,
        cut=cut,
        chooses_cut=config.choose == "best",
        predict=lambda net, images: net(*images),
        loss_of=_binary_cross_entropy,
        decide=lambda logits: logits[:, 0].sigmoid() > cut.share,
        judge=measure_change,
        side=side_for(network, trial),
        dates=DATES,
    )
    return train_and_predict(model, scenes, lambda: {"threshold": cut.share})


@dataclass
class Cut:
    """From which share on a pixel counts as changed."""

    share: float = 0.5


@dataclass(frozen=True, eq=False)
class RareScenes(Scenes):
    """Scenes of which little changes: the cut that gives the best F1 on validation is part of what is chosen there."""

    cut: Cut = field(kw_only=True)
    chooses_cut: bool = field(kw_only=True)

    def validate(self, model: nn.Module) -> float:
        """Give the best F1 on the whole validation part, and set the cut that gives it."""
        if not self.chooses_cut:
            return super().validate(model)
        part = self.trial.validation
        assert part.maps is not None, "dense tasks have maps"
        counts = np.zeros((2, LEVELS), np.int64)  # unchanged and changed pixels by predicted level
        predicted = self.maps(model, part, map_side(part), decide=lambda x: (x[:, 0].sigmoid() * (LEVELS - 1)).round())
        for item, levels in zip(part.items, predicted, strict=True):
            truth = part.maps(int(item))
            for value in (0, 1):
                counts[value] += np.bincount(levels[truth == value], minlength=LEVELS)
        level, best = best_cut(counts)
        self.cut.share = (level - 0.5) / (LEVELS - 1)
        return best


def best_cut(counts: NDArray[np.int64]) -> tuple[int, float]:
    """Find the lowest level that counts as changed, and the F1 that it gives, of equals the highest level.

    Args:
        counts: (2, L) pixels that did not change and that did, by predicted level.

    >>> best_cut(np.array([[5, 1, 0], [0, 1, 2]]))
    (1, 0.8571428571428571)
    """
    alarms, hits = (counts[value, ::-1].cumsum() for value in (0, 1))  # from the highest level down
    total = int(counts[1].sum())
    f1 = 2 * hits / np.maximum(hits + alarms + total, 1)
    place = int(np.argmax(f1))
    return counts.shape[1] - 1 - place, float(f1[place])


def _binary_cross_entropy(logits: Tensor, maps: Tensor) -> Tensor:
    """Give the mean over the judged pixels, 0 where there are none."""
    judged = maps != UNJUDGED
    losses = F.binary_cross_entropy_with_logits(logits[:, 0], (maps == 1).float(), reduction="none")
    return (losses * judged).sum() / judged.sum().clamp_min(1)
