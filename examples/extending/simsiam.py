# SPDX-License-Identifier: Apache-2.0
"""A method of one's own: SimSiam, which pulls two views together without negatives and without an average.

Source: Chen and He 2020 (arXiv 2011.10566), Algorithm 1, written from the paper. Differs: batch statistics are over the
whole batch of all processes, as everywhere in ssl4eo.
Run it with: ssl4eo pretrain --recipe examples/extending/simsiam.py:TINY --data A.zarr --out RUN
Letters: B batch, D embedding.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.method import Method, MethodConfig, Moment, Setting, StepOutput
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.recipes.recipe import Recipe
from ssl4eo.recipes.table import recipe


@dataclass(frozen=True)
class SimSiamConfig(MethodConfig):
    """Options of SimSiam; published: 2048 and 512."""

    dim: int
    """Length of the embedding."""
    bottleneck: int
    """Width of the predictor's hidden layer."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.dim < 1 or self.bottleneck < 1:
            raise ConfigInvalid(f"method is {self}", expected="dim and bottleneck of 1 or more")

    def check(self, setting: Setting) -> None:
        """Raise unless there are two views."""
        if setting.num_views != 2:
            raise ConfigInvalid(f"{setting.num_views} views for SimSiam", expected="2")

    def build(self, backbone: Backbone, *, seed: int) -> SimSiam:
        """Build the method."""
        return SimSiam(self, backbone, seed=seed)

    def initial_loss(self, batch_size: int | None = None) -> float | None:
        """Two random directions have a cosine of about 0, and so has the loss."""
        del batch_size
        return 0.0


class SimSiam(Method):
    """Backbone, projector, predictor."""

    def __init__(self, config: SimSiamConfig, backbone: Backbone, *, seed: int) -> None:
        """Draw projector and predictor from the seed, whatever torch's own generator is at."""
        super().__init__()
        self.backbone = backbone
        width, dim = backbone.num_features, config.dim
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.projector = nn.Sequential(
                *(nn.Linear(width, dim, bias=False), nn.BatchNorm1d(dim), nn.ReLU()),
                *(nn.Linear(dim, dim, bias=False), nn.BatchNorm1d(dim, affine=False)),
            )
            self.predictor = nn.Sequential(
                *(nn.Linear(dim, config.bottleneck, bias=False), nn.BatchNorm1d(config.bottleneck), nn.ReLU()),
                nn.Linear(config.bottleneck, dim),
            )

    def forward(self, views: tuple[Tensor, ...], masks: Tensor | None, moment: Moment) -> StepOutput:
        """Predict each view's embedding from the other's; no gradient goes into what is predicted."""
        del masks, moment
        first, second = (self.projector(self.backbone(view)) for view in views)  # (B, D)
        loss = (self._distance(first, second) + self._distance(second, first)) / 2
        return StepOutput(loss, F.normalize(first, dim=1).detach(), {"cosine": -loss.detach()})

    def _distance(self, seen: Tensor, wanted: Tensor) -> Tensor:
        return -F.cosine_similarity(self.predictor(seen), wanted.detach(), dim=1).mean()


def tiny(backbone: str, modality: str, name: str) -> PretrainConfig:
    """Take views, optimizer and engine of the library's small MoCo v2, and this objective."""
    base = recipe("moco_v2.resnet18.s2l1c.tiny").build(backbone, modality, name)
    return dataclasses.replace(base, method=SimSiamConfig(dim=256, bottleneck=64))


TINY = Recipe("simsiam.resnet18.s2l1c.tiny", "resnet18", "S2L1C", tiny, promise="not yet run")
