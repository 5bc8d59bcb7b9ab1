# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning, and linear probes by gradient descent: a head on the network, trained on random crops.

`finetune` is the form that we stand for: AdamW, layer-wise decay for transformers, warm-up, flips and quarter turns,
the epoch chosen on validation. `linear_as_published` and `finetune_as_published` take optimizer, schedule, epochs,
batch and head from the released scripts of each method (published.py), one loop for all of them.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.architectures import Pooling
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.evaluation.metrics import THRESHOLD, weighted_precision
from ssl4eo.evaluation.protocols.protocol import Prediction, Trial
from ssl4eo.evaluation.protocols.tuning import (
    Examples,
    Lesson,
    TuneConfig,
    batches_of,
    judged_epoch,
    order_of,
    tune,
)
from ssl4eo.evaluation.tasks.task import LabelledPixels
from ssl4eo.loading.prefetch import prefetched
from ssl4eo.training.optimizer import OptimizerConfig
from ssl4eo.views.compose import Geometry, Renderer, draw_geometry
from ssl4eo.views.config import ViewConfig
from ssl4eo.views.crop import Window
from ssl4eo.views.photometric import PhotometricConfig
from ssl4eo.views.resample import one_blas_thread
from ssl4eo.views.rng import sample_rng

HeadName = Literal["linear", "batch_norm", "layer_norm"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A protocol's training, head and views."""

    tuning: TuneConfig
    head: HeadName = "linear"
    """What stands between features and the linear layer: nothing, or a norm without weights of its own."""
    head_std: float = 0.01
    """Of the linear layer's first weights."""
    crop: tuple[float, float] = (0.2, 1.0)
    """Smallest and largest area of a training crop."""
    pooling: Pooling | None = None
    """Another way to a transformer's feature than its own."""
    vertical_flip: float = 0.5
    rotation: float = 0.5
    seen: float = 1.0
    """Side of the central window that is shown when judging, as a share of the patch."""
    deviations: tuple[str, ...] = ()
    """Where this is not what was published, and defects that are."""


CORRECTED = Recipe(
    TuneConfig(
        epochs=50,
        batch_size=64,
        optimizer=OptimizerConfig("adamw", lr=5e-4, weight_decay=0.05, layer_decay=0.75),
        warmup_epochs=5,
    )
)


class Classifier(nn.Module):
    """A network with a linear layer on its features."""

    def __init__(self, backbone: Backbone, num_classes: int, *, head: HeadName, std: float, seed: int) -> None:
        """Put a new head on a network; its weights are drawn from `seed`."""
        super().__init__()
        self.backbone = backbone
        norms: dict[str, nn.Module] = {
            "linear": nn.Identity(),
            "batch_norm": nn.BatchNorm1d(backbone.num_features, affine=False, eps=1e-6),
            "layer_norm": nn.LayerNorm(backbone.num_features, elementwise_affine=False),
        }
        self.norm, self.head = norms[head], nn.Linear(backbone.num_features, num_classes)
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.head.weight, std=std, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Give logits (B, K) of scaled images (B, C, S, S)."""
        return self.head(self.norm(self.backbone(images)))


def finetune(trial: Trial) -> Prediction:
    """Train everything, chosen on validation."""
    return run_recipe(trial, CORRECTED)


def run_recipe(trial: Trial, recipe: Recipe) -> Prediction:
    """Train a head, and the network unless it is frozen, as a recipe says, and predict the test part.

    Raises:
        ContractMismatch: the pixels cannot be fed to the network.
        SampleInvalid: the loss is not finite.
    """
    config = recipe.tuning.shortened(trial.epochs)
    backbone = copy.deepcopy(trial.backbone)
    if recipe.pooling is not None and backbone.patch is not None:
        backbone.options = dataclasses.replace(backbone.options, pooling=recipe.pooling)
    model = Classifier(
        backbone,
        trial.num_classes,
        head=recipe.head,
        std=recipe.head_std,
        seed=trial.seed,
    ).to(next(trial.backbone.parameters()).device)
    crops = Crops(trial, recipe, config)
    curve = tune(
        Lesson(
            model,
            batches=crops.epoch,
            steps_per_epoch=crops.steps_per_epoch,
            loss=crops.loss,
            validate=crops.validate,
        ),
        config,
        trial,
    )
    scores = crops.score(model, trial.test)
    predicted = scores.argmax(dim=1) if trial.kind == "class" else (scores >= THRESHOLD).long()
    settings: dict[str, Any] = {**dataclasses.asdict(recipe), "tuning": dataclasses.asdict(config)}
    settings["judged_epoch"] = judged_epoch(curve, config)
    return Prediction(predicted, scores, settings, curve=curve)


class Crops:
    """Random crops of the training part, plain views of the others, and what is made of their logits."""

    def __init__(self, trial: Trial, recipe: Recipe, config: TuneConfig) -> None:
        """Plan how the source's pixels reach the network."""
        self._trial, self._config = trial, config
        device = next(trial.backbone.parameters()).device
        source = trial.train.source
        self._render = Renderer(source.contract, source.form)
        self._adapter = Adapter(source.contract, trial.backbone.contract).to(device)
        self._device, self._size = device, trial.backbone.image_size
        self._view = ViewConfig(
            size=self._size,
            scale=recipe.crop,
            blur_probability=0.0,
            blur_sigma=(0.1, 0.1),
            horizontal_flip=0.5,
            vertical_flip=recipe.vertical_flip,
            rotation=recipe.rotation,
            photometric=PhotometricConfig(0.0, 0.0, 0.0, 0.0),
        )
        edge = (1 - recipe.seen) / 2
        self._plain = Geometry(Window(edge, edge, recipe.seen, recipe.seen), 0.0)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return len(batches_of(np.arange(len(self._trial.train)), self._config.batch_size))

    def epoch(self, epoch: int) -> Iterator[Examples]:
        """Make the batches of an epoch: random crops, in the source's unit."""
        part, seed = self._trial.train, self._trial.seed
        order = order_of(len(part), seed=seed, epoch=epoch)
        for rows in batches_of(order, self._config.batch_size):
            geometries = [draw_geometry(sample_rng(seed, epoch=epoch, index=int(row)), self._view) for row in rows]
            yield Examples((self._images(part, rows, geometries),), torch.from_numpy(part.labels[rows]))

    def _images(self, part: LabelledPixels, rows: NDArray[np.int64], geometries: list[Geometry]) -> Tensor:
        with one_blas_thread():
            views = [
                self._render(
                    part.source.pixels(int(part.items[i]), int(part.seasons[i]), resolutions=self._render.resolutions),
                    self._size,
                    geometry,
                )
                for i, geometry in zip(rows, geometries, strict=True)
            ]
        return torch.from_numpy(np.stack(views))

    def loss(self, model: nn.Module, batch: Examples) -> Tensor:
        """Give the cross-entropy; of labels the mean over them of the binary one (MultiLabelSoftMarginLoss)."""
        logits, targets = self._logits(model, batch.images[0]), batch.targets.to(self._device)
        if self._trial.kind == "class":
            return F.cross_entropy(logits, targets)
        return F.multilabel_soft_margin_loss(logits, targets.float())

    def _logits(self, model: nn.Module, images: Tensor) -> Tensor:
        scaled = self._adapter(images.to(self._device)).contiguous(memory_format=torch.channels_last)
        return model(scaled).float()

    @torch.no_grad()
    def score(self, model: nn.Module, part: LabelledPixels) -> Tensor:
        """Give the scores (N, K) float64 of a part, in evaluation mode: shares of classes, or of each label."""
        model.eval()
        rows = batches_of(np.arange(len(part)), self._config.batch_size)
        batches = (self._images(part, some, [self._plain] * len(some)) for some in rows)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._trial.precision == "bf16"):
            logits = torch.cat([self._logits(model, images).double().cpu() for images in prefetched(batches)])
        return logits.softmax(dim=1) if self._trial.kind == "class" else logits.sigmoid()

    def validate(self, model: nn.Module) -> float:
        """Give accuracy, or the micro average precision of labels, on the whole validation part."""
        part = self._trial.validation
        scores = self.score(model, part).numpy()
        if self._trial.kind == "class":
            return float((scores.argmax(axis=1) == part.labels).mean())
        return weighted_precision(part.labels.ravel(), scores.ravel()) if part.labels.any() else 0.0
