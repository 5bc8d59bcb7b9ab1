# SPDX-License-Identifier: Apache-2.0
"""The parts of a recording: each becomes arrays of small pictures, or a reason why it is absent.

Shapes: N samples, G composites, S pixels, Q queries, k neighbors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl4eo.backbones.architectures import patch_size
from ssl4eo.backbones.backbone import Backbone
from ssl4eo.errors import ShardCorrupt, Ssl4eoError
from ssl4eo.insight.attention import class_attention
from ssl4eo.insight.composites import as_measured, composites, picture, stretch_of
from ssl4eo.insight.neighbors import NUM_NEIGHBORS, bank_places, features_of, nearest, query_rows
from ssl4eo.insight.reconstruct import hide, reconstruct
from ssl4eo.insight.seen import Seen, plain_views
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.methods.mae import MAE
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.pretraining.stored_config import METHODS

BATCH = 32
"""Images a forward pass."""

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""


@dataclass
class Book:
    """What is being recorded."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Part -> why it is not there."""
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    @contextlib.contextmanager
    def told(self, *parts: str) -> Generator[None]:
        """Turn an error into the reason why those of the parts that are not there yet are absent."""
        try:
            yield
        except Ssl4eoError as error:
            there = {name.split(".")[0] for name in self.arrays}
            self.absent |= {part: str(error) for part in parts if part not in there}


def tell_what_does_not_apply(book: Book, config: PretrainConfig) -> None:
    """Say of parts that this method or network cannot have why, whatever else was lacking."""
    method = METHODS[type(config.method)]
    if config.method.masking(config.setting) is None:
        book.absent["masks"] = f"does not apply: {method} hides nothing"
    if method != "MAE":
        does = "predicts features, not pixels" if method == "data2vec" else "compares features and predicts no pixels"
        book.absent["reconstruction"] = f"does not apply: {method} {does}"
    if patch_size(config.backbone) is None:
        book.absent["attention"] = f"does not apply: {config.backbone} is a residual network, without attention"


def _measured(config: PretrainConfig, images: Tensor) -> list[NDArray[np.float32]]:
    return [as_measured(config.contract, image.numpy()) for image in images]


def record_views(book: Book, config: PretrainConfig, seen: Seen, *, step: int) -> None:
    """Record `views.<v>` (N, G, S, S, 3) uint8, and masks (N, L)."""
    kinds = composites(config.contract)
    rows: list[list[NDArray[np.uint8]]] = [[] for _ in seen.views]
    for n in range(len(seen.items)):
        images = [as_measured(config.contract, view[n].numpy()) for view in seen.views]
        stretches = [stretch_of(kind, images) for kind in kinds]
        for v, image in enumerate(images):
            rows[v].append(np.stack([picture(k, image, s) for k, s in zip(kinds, stretches, strict=True)]))
    book.arrays |= {f"views.{v}": np.stack(row) for v, row in enumerate(rows)}
    book.arrays |= {"views.ids": np.array(seen.ids), "views.seasons": seen.seasons.numpy()}
    book.facts["views_step"] = step
    if seen.masks is not None:
        book.arrays["masks"] = seen.masks.numpy()


def record_reconstruction(book: Book, config: PretrainConfig, mae: MAE, seen: Seen) -> None:
    """Record original, hidden and predicted pictures (N, S, S, 3) with one stretch, and the error of each sample."""
    assert seen.masks is not None, "MAE has masks"
    images, kind = seen.views[0], composites(config.contract)[0]
    predicted = reconstruct(mae, images, seen.masks)
    forms = {"original": images, "hidden": hide(images, seen.masks, mae.patch), "predicted": predicted}
    stretches = [stretch_of(kind, [image]) for image in _measured(config, images)]
    for name, values in forms.items():
        book.arrays[f"reconstruction.{name}"] = np.stack(
            [picture(kind, image, s) for image, s in zip(_measured(config, values), stretches, strict=True)]
        )
    hidden = torch.isnan(forms["hidden"])
    errors = ((predicted - images).abs() * hidden).sum(dim=(1, 2, 3)) / hidden.sum(dim=(1, 2, 3)).clamp_min(1)
    book.arrays["reconstruction.errors"] = errors.numpy()
    book.facts["norm_pixels"] = mae.config.norm_pixels


def record_attention(book: Book, config: PretrainConfig, source: PixelSource, backbone: Backbone, seen: Seen) -> None:
    """Record pictures (N, S, S, 3) and maps (N, heads, g, g) float32, with what the class token keeps (N, heads)."""
    places = [(item, int(season)) for item, season in zip(seen.items, seen.seasons[:, 0], strict=True)]
    images, kind = plain_views(config, source, places), composites(config.contract)[0]
    weights = class_attention(backbone, images)  # (N, heads, 1 + L)
    side = round((weights.shape[2] - 1) ** 0.5)
    book.arrays |= {
        "attention.images": np.stack([picture(kind, i, stretch_of(kind, [i])) for i in _measured(config, images)]),
        "attention.maps": weights[:, :, 1:].unflatten(2, (side, side)).numpy(),
        "attention.own": weights[:, :, 0].numpy(),
        "attention.ids": np.array(seen.ids),
        "attention.seasons": seen.seasons[:, 0].numpy(),
    }


def _readable(config: PretrainConfig, source: PixelSource, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Leave out damaged images where the run did."""
    if config.engine.damaged != "replace":
        return places

    def is_whole(place: tuple[int, int]) -> bool:
        try:
            source.pixels(*place)
        except ShardCorrupt:
            return False
        return True

    return [place for place in places if is_whole(place)]


def record_neighbors(
    book: Book,
    config: PretrainConfig,
    source: PixelSource,
    backbone: Backbone,
    samples: int,
    progress: Progress | None,
) -> None:
    """Record pictures (Q, 1 + k, S, S, 3), the query first, with names (Q, 1 + k), seasons and cosines (Q, k)."""
    places = _readable(config, source, bank_places(len(source), source.num_seasons))
    rows = query_rows(len(places), samples)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(places), BATCH):
            yield plain_views(config, source, places[start : start + BATCH])

    step = None if progress is None else lambda done: progress(done, len(places))
    found, cosines = nearest(features_of(backbone, batches(), step), rows, NUM_NEIGHBORS)
    kind = composites(config.contract)[0]
    pictures: list[NDArray[np.uint8]] = []
    for row, others in zip(rows, found, strict=True):
        images = _measured(config, plain_views(config, source, [places[i] for i in (row, *others)]))
        stretch = stretch_of(kind, images)
        pictures.append(np.stack([picture(kind, image, stretch) for image in images]))
    table = np.concatenate([np.array(rows)[:, None], found], axis=1)
    book.arrays |= {
        "neighbors.pictures": np.stack(pictures),
        "neighbors.cosines": cosines,
        "neighbors.ids": np.array([[source.id_of(places[i][0]) for i in row] for row in table]),
        "neighbors.seasons": np.array([[places[i][1] for i in row] for row in table]),
    }
    book.facts["num_bank"] = len(places)
