# SPDX-License-Identifier: Apache-2.0
"""The views that a network saw at one step of its run, made again by the run's own config: bit for bit the same.

A view is a function of (seed, epoch, sample), so nothing of it had to be kept. Letters: N samples, V views, C bands.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import narrowed
from ssl4eo.loading.batches import Batch, ViewDataset
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.loading.sampler import Item, Order
from ssl4eo.pretraining.config import PretrainConfig
from ssl4eo.training.journal import DAMAGED
from ssl4eo.views.compose import PLAIN, Renderer
from ssl4eo.views.photometric import apply_photometric_


@dataclass(frozen=True)
class Seen:
    """Some samples of one batch."""

    views: tuple[Tensor, ...]
    """V tensors (N, C, S, S) float32, scaled and changed in brightness: what enters the method."""
    masks: Tensor | None
    """(N, L) bool, True = hidden."""
    items: tuple[int, ...]
    """(N,) positions in the source."""
    ids: tuple[str, ...]
    seasons: Tensor
    """(N, V)."""


def items_of_step(config: PretrainConfig, source: PixelSource, step: int, count: int) -> list[Item]:
    """Name the first samples of the batch of a step, as (epoch, position).

    Raises:
        ConfigInvalid: the source has no item.
    """
    batch_size = min(config.engine.batch_size, len(source))  # of other images than the run's there may be fewer
    order = Order(len(source), batch_size, config.engine.seed)
    return next(order.batches(step, step + 1))[:count]


def seen_views(config: PretrainConfig, source: PixelSource, items: list[Item]) -> Seen:
    """Make the views of items again.

    Raises:
        ContractMismatch: the source's pixels cannot be fed to this network.
        SampleInvalid: a patch that shows nothing.
    """
    contract = narrowed(source.contract, config.contract)
    adapter = Adapter(contract, config.contract)
    with tempfile.TemporaryDirectory() as folder:  # the run has noted what is damaged
        dataset = ViewDataset(
            source,
            config.views,
            contract=contract,
            seed=config.engine.seed,
            masking=config.method.masking(config.setting),
            adapter=adapter,
            ledger=Path(folder) / DAMAGED if config.engine.damaged == "replace" else None,
        )
        batch: Batch = dataset.__getitems__(items)
    with torch.no_grad():
        views = tuple(
            apply_photometric_(adapter(view), rows) for view, rows in zip(batch.views, batch.photometric, strict=True)
        )
    positions = tuple(batch.index.tolist())  # of what took the place of damaged ones, too
    return Seen(views, batch.masks, positions, tuple(source.id_of(i) for i in positions), batch.seasons)


def plain_views(config: PretrainConfig, source: PixelSource, places: list[tuple[int, int]]) -> Tensor:
    """Render whole patches without any change, scaled, as evaluation does: (N, C, S, S) of (item, season)."""
    render, adapter = Renderer(source.contract, source.form), Adapter(source.contract, config.contract)
    rows = [
        torch.from_numpy(
            render(source.pixels(item, season, resolutions=render.resolutions), config.image_size, PLAIN)[None]
        )
        for item, season in places
    ]
    with torch.no_grad():
        return adapter(torch.cat(rows))
