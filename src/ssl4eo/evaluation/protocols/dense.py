# SPDX-License-Identifier: Apache-2.0
"""Whole images with maps, for protocols that say something of every pixel: training pairs, and predicted maps.

An image is shown whole, turned and mirrored in training together with its map, resized only where a transformer's
patches do not fit. Letters: B batch, C channels, S side of the network's input, y and x those of the map.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssl4eo.backbones.adapt import with_image_size
from ssl4eo.backbones.adapter import Adapter
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.backbones.own import OwnBackbone
from ssl4eo.errors import SampleInvalid
from ssl4eo.evaluation.metrics import Measured, map_confusion
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
from ssl4eo.views.compose import PLAIN, Geometry, Renderer
from ssl4eo.views.resample import one_blas_thread
from ssl4eo.views.rng import sample_rng

Predict = Callable[[nn.Module, tuple[Tensor, ...]], Tensor]
"""(model, scaled images each (B, C, S, S)) -> logits (B, K, h, w) of any resolution."""


def network_for(trial: Trial) -> Backbone:
    """Copy the trial's network, for images of the size of its maps."""
    backbone, side = trial.backbone, map_side(trial.train)
    if backbone.patch is None:
        return copy.deepcopy(backbone)
    side = max(1, round(side / backbone.patch)) * backbone.patch
    resized = with_image_size(backbone, side)
    return copy.deepcopy(backbone) if resized is backbone else resized.to(next(backbone.parameters()).device)


def map_side(part: LabelledPixels) -> int:
    """Give the side of the maps of a part [px], by the first.

    Raises:
        SampleInvalid: it is not square.
    """
    assert part.maps is not None, "dense tasks have maps"
    shape = part.maps(int(part.items[0])).shape
    if shape[0] != shape[1]:
        raise SampleInvalid(f"a map {shape} of {part.ids[0]}", expected="a square")
    return shape[0]


@dataclass(frozen=True, eq=False)
class Scenes:
    """How images and maps of a trial reach a network."""

    trial: Trial
    config: TuneConfig
    predict: Predict
    loss_of: Callable[[Tensor, Tensor], Tensor]
    """(logits (B, K, y, x), maps (B, y, x) int64) -> scalar."""
    decide: Callable[[Tensor], Tensor]
    """logits (B, K, y, x) -> classes (B, y, x)."""
    judge: Callable[[NDArray[np.int64]], Measured]
    """Confusions (N, K, K) -> measures; the main one chooses the epoch."""
    side: int
    """S [px]."""
    dates: tuple[int, ...] | None = None
    """Of each image of an item; None: the item's own."""

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return next(self.trial.backbone.parameters()).device

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return len(batches_of(np.arange(len(self.trial.train)), self.config.batch_size))

    def epoch(self, epoch: int) -> Iterator[Examples]:
        """Make the batches of an epoch, in the source's unit, each item turned and mirrored at random."""
        part, seed = self.trial.train, self.trial.seed
        order = order_of(len(part), seed=seed, epoch=epoch)
        for rows in batches_of(order, self.config.batch_size):
            drawn = [_positions(sample_rng(seed, epoch=epoch, index=int(row))) for row in rows]
            yield Examples(self._images(part, rows, drawn), torch.from_numpy(self._maps(part, rows, drawn)))

    def _images(self, part: LabelledPixels, rows: NDArray[np.int64], drawn: list[Geometry]) -> tuple[Tensor, ...]:
        render = Renderer(part.source.contract, part.source.form)
        views: list[list[NDArray[np.generic]]] = []
        with one_blas_thread():
            for i, geometry in zip(rows, drawn, strict=True):
                dates = (int(part.seasons[i]),) if self.dates is None else self.dates
                reads = (part.source.pixels(int(part.items[i]), date, resolutions=render.resolutions) for date in dates)
                views.append([render(read, self.side, geometry) for read in reads])
        return tuple(torch.from_numpy(np.stack(column)) for column in zip(*views, strict=True))

    def _maps(self, part: LabelledPixels, rows: NDArray[np.int64], drawn: list[Geometry]) -> NDArray[np.int64]:
        assert part.maps is not None, "dense tasks have maps"
        maps = [turned(part.maps(int(part.items[i])), geometry) for i, geometry in zip(rows, drawn, strict=True)]
        if len({m.shape for m in maps}) > 1:
            raise SampleInvalid(
                f"maps of {', '.join(str(m.shape) for m in maps[:4])}", expected="one size for all items of a task"
            )
        return np.stack(maps).astype(np.int64)

    def _logits(self, model: nn.Module, images: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
        adapter = Adapter(self.trial.train.source.contract, self.trial.backbone.contract).to(self.device)
        scaled = tuple(adapter(i.to(self.device)).contiguous(memory_format=torch.channels_last) for i in images)
        logits = self.predict(model, scaled)
        return F.interpolate(logits.float(), shape, mode="bilinear")

    def loss(self, model: nn.Module, batch: Examples) -> Tensor:
        """Give the loss of a batch."""
        logits = self._logits(model, batch.images, tuple(batch.targets.shape[1:]))
        return self.loss_of(logits, batch.targets.to(self.device))

    @torch.no_grad()
    def maps(
        self, model: nn.Module, part: LabelledPixels, side: int, *, decide: Callable[[Tensor], Tensor] | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Predict the maps (y, x) of a part one after the other, in evaluation mode.

        Args:
            model: that is trained.
            part: of the task; its maps are not looked at.
            side: of the maps [px].
            decide: in place of the scenes' own: logits (B, K, y, x) -> (B, y, x) of 0 to 255.
        """
        model.eval()
        rows = batches_of(np.arange(len(part)), self.config.batch_size)
        batches = (self._images(part, some, [PLAIN] * len(some)) for some in rows)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.trial.precision == "bf16"):
            for images in prefetched(batches):
                logits = self._logits(model, images, (side, side))
                yield from (decide or self.decide)(logits).to(torch.uint8).cpu().numpy()

    def validate(self, model: nn.Module) -> float:
        """Give the main measure on the whole validation part."""
        part = self.trial.validation
        assert part.maps is not None, "dense tasks have maps"
        predicted = self.maps(model, part, map_side(part))
        rows = [
            map_confusion(part.maps(int(item)), found, num_classes=self.trial.num_classes)
            for item, found in zip(part.items, predicted, strict=True)
        ]
        measured = self.judge(np.stack(rows))
        return measured.measures[measured.main].value


def train_and_predict(model: nn.Module, scenes: Scenes, settings: Callable[[], Mapping[str, Any]]) -> Prediction:
    """Train a model, then predict the maps of the test part; `settings` are told beside those of the training."""
    trial, config = scenes.trial, scenes.config
    curve = tune(Lesson(model, scenes.epoch, scenes.steps_per_epoch, scenes.loss, scenes.validate), config, trial)
    scenes.validate(model)  # what is chosen on validation is chosen for the weights that are judged
    maps = list(scenes.maps(model, trial.test, map_side(trial.train)))
    told = {
        **settings(),
        "tuning": dataclasses.asdict(config),
        "judged_epoch": judged_epoch(curve, config),
        "seen_px": scenes.side,
    }
    nothing = torch.zeros(len(maps), 0)
    return Prediction(nothing.long(), nothing.double(), told, maps=maps, curve=curve)


def side_for(network: Backbone, trial: Trial) -> int:
    """Give the side of the images that a network of `network_for` is shown [px]."""
    takes_any = network.patch is None and not isinstance(network, OwnBackbone)
    return map_side(trial.train) if takes_any else network.image_size


def turned(values: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Turn and mirror a map (y, x) as the renderer does an image of the same geometry."""
    values = values[::-1] if geometry.upside_down else values
    values = values[:, ::-1] if geometry.mirrored else values
    return np.ascontiguousarray(values.T if geometry.turned else values)


def _positions(rng: np.random.Generator) -> Geometry:
    """Draw one of the eight positions of a square."""
    mirrored, upside_down, is_turned = rng.random(3) < 0.5
    return replace(PLAIN, mirrored=bool(mirrored), upside_down=bool(upside_down), turned=bool(is_turned))
