# SPDX-License-Identifier: Apache-2.0
"""MoCo v2: momentum contrast with a queue of keys.

Source: He et al. 2020 (arXiv 1911.05722), Algorithm 1; Chen et al. 2020 (arXiv 2003.04297): MLP head,
stronger augmentation, cosine schedule. Seasonal pairs: Wang et al. 2023 (arXiv 2211.07044).

Deliberate differences:
* Batch statistics are over the whole batch of all processes (training/batch_norm.py), in place of shuffling samples
  between devices, so that the result does not depend on their number. The price: query and key of a pair are
  normalized in batches of the same images, the leak that shuffling closes; `contrast_accuracy` near 1 with a
  poor k-NN would show it.
* The key is also compared with the other keys of the batch, of all processes, when `batch_negatives` is on (off as
  published).
* `symmetric` computes the loss both ways, each view being query and key once (off as published).
* The last norm of each block of a residual network starts at zero (`zero_init_last`); the published code starts it
  at one, and so do the recipes `as_published`.

Letters: B batch, D embedding, K queue.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl4eo.backbones.architectures import BackboneOptions
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ConfigInvalid
from ssl4eo.methods.gather import gather_rows, rank
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
from ssl4eo.methods.parts import KeyQueue, projection_head, unmixed, update_average


@dataclass(frozen=True)
class MoCoV2Config(MethodConfig):
    """Options of MoCo v2; published: 128, 65536, 0.999, 0.2, and off."""

    dim: int
    """Length of the embedding."""
    queue_size: int
    """Keys kept as negatives; a multiple of the global batch."""
    momentum: float
    """Of the key network, per step."""
    temperature: float
    """Of the softmax."""
    symmetric: bool = False
    """Use each view as query and as key: two losses a step at twice the cost."""
    batch_negatives: bool = False
    """Compare with the other keys of the batch as well as with the queue."""
    zero_init_last: bool = True
    """Start the last norm of each block of a residual network at zero."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_least(self, dim=1, queue_size=1)
        check_temperatures(self, "temperature")
        if not 0 <= self.momentum < 1:
            raise ConfigInvalid(f"method.momentum is {self.momentum}", expected="0 up to, not including, 1")

    def build(self, backbone: Backbone, *, seed: int) -> MoCoV2:
        """Build the method."""
        return MoCoV2(self, backbone, seed=seed)

    def check(self, setting: Setting) -> None:
        """Raise unless the queue holds a whole number of batches, and there are two views and norms to start."""
        check_zero_init(self.zero_init_last, setting)
        if setting.num_views != 2:
            raise ConfigInvalid(f"{setting.num_views} views for MoCo v2", expected="2")
        if self.queue_size % setting.batch_size:
            lower = max(1, self.queue_size // setting.batch_size) * setting.batch_size
            raise ConfigInvalid(
                f"method.queue_size {self.queue_size} with batch_size {setting.batch_size}",
                expected="a multiple of the batch",
                remedy=f"for instance --method.queue_size {lower}",
            )

    def backbone_options(self, arch: str) -> BackboneOptions:
        """Ask for the start of a residual network's branches."""
        del arch
        return BackboneOptions(zero_init_last=self.zero_init_last)

    def warn_of_data(self, num_items: int) -> str | None:
        """Say what is wrong with a queue as long as the data, None if it is shorter."""
        if self.queue_size < num_items:
            return None
        return (
            f"method.queue_size {self.queue_size} is not shorter than the data ({num_items} items): it holds older "
            "keys of every image as its negatives, and the loss will rise; a quarter of the data is a good length"
        )

    def initial_loss(self, batch_size: int | None = None) -> float | None:
        """Loss where query and its key are as unrelated as all other keys are: all logits are equal in expectation.

        A network that was just drawn makes query and key alike from the start, as its key network is a copy: its first
        loss is lower, about ln(K E[e^(s/T)]) - 1/T with the cosines s to the keys of the queue and the temperature T.

        ln(K + 1); with `batch_negatives` ln(K + N), the own key being one of N, and None as long as N is not given.

        Args:
            batch_size: N, of one part of the batch (`engine.accumulate`) over all processes.
        """
        if not self.batch_negatives:
            return math.log(self.queue_size + 1)
        return None if batch_size is None else math.log(self.queue_size + batch_size)


class MoCoV2(Method):
    """Query network, key network, queue."""

    def __init__(self, config: MoCoV2Config, backbone: Backbone, *, seed: int) -> None:
        """Start the key network as a copy of the query network."""
        super().__init__()
        self.config = config
        self.backbone = backbone
        width = backbone.num_features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.head = projection_head(width, width, config.dim)
        self.key_backbone = copy.deepcopy(backbone).requires_grad_(requires_grad=False)
        self.key_head = copy.deepcopy(self.head).requires_grad_(requires_grad=False)
        self.queue = KeyQueue(config.queue_size, config.dim, seed=seed + 2)
        self._new_keys: list[Tensor] = []

    def before_step(self, moment: Moment) -> None:
        """Move the key network toward the query network."""
        del moment  # the momentum is constant
        update_average(self.key_backbone, self.backbone, momentum=self.config.momentum)
        update_average(self.key_head, self.head, momentum=self.config.momentum)

    def forward(self, views: tuple[Tensor, ...], masks: Tensor | None, moment: Moment) -> StepOutput:
        """Compare queries with keys; `after_step` pushes the keys."""
        del masks, moment
        first, second = views
        query, key = self._query(first), self._key(second)
        loss, hits = self._contrast(query, key)
        if self.config.symmetric:
            other_query, other_key = self._query(second), self._key(first)
            other_loss, other_hits = self._contrast(other_query, other_key)
            loss, hits = (loss + other_loss) / 2, (hits + other_hits) / 2
        self._new_keys.append(key)
        momentum = torch.full_like(loss.detach(), self.config.momentum)
        return StepOutput(loss, query.detach(), {"contrast_accuracy": hits, "ema_momentum": momentum})

    def after_step(self, moment: Moment) -> None:
        """Push the keys of the step, of all processes; before, the gradient still needs the old queue."""
        del moment
        for keys in self._new_keys:
            self.queue.push(gather_rows(keys))
        self._new_keys.clear()

    def _query(self, images: Tensor) -> Tensor:
        return F.normalize(self.head(self.backbone(images)).float(), dim=1)  # (B, D)

    @torch.no_grad()
    def _key(self, images: Tensor) -> Tensor:
        return F.normalize(self.key_head(self.key_backbone(images)).float(), dim=1)  # (B, D)

    def _contrast(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.batch_negatives:
            keys = gather_rows(key)
            with unmixed(query):
                logits = torch.cat([query @ keys.T, query @ self.queue.keys.T], dim=1)  # (B, P * B + K)
            target = rank() * len(query) + torch.arange(len(query), device=query.device)
        else:
            positive = (query * key).sum(dim=1, keepdim=True)  # (B, 1)
            with unmixed(query):
                logits = torch.cat([positive, query @ self.queue.keys.T], dim=1)  # (B, 1 + K)
            target = torch.zeros(len(query), dtype=torch.long, device=query.device)
        loss = F.cross_entropy(logits / self.config.temperature, target)
        hits = (logits.detach().argmax(dim=1) == target).float().mean()
        return loss, hits
