# SPDX-License-Identifier: Apache-2.0
"""From pixels to batches of views.

The worker reads only the seasons it needs, renders crops in the source's own dtype (uint16 or uint8
travels, not float32) and draws photometric strengths; scaling and photometrics run later on the
device. A batch is asked for and made in one call.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssl4eo.contract import InputContract, sensor_groups
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.loading.sampler import Item, ResumableBatches
from ssl4eo.views.compose import Renderer, draw_geometry
from ssl4eo.views.config import ViewConfig, Views
from ssl4eo.views.masking import Masking
from ssl4eo.views.resample import one_blas_thread
from ssl4eo.views.rng import sample_rng
from ssl4eo.views.seasonal import Pairing, draw_seasons
from ssl4eo.views.speckle import draw_speckle, units_per_decibel

Pixels = dict[int, dict[int, NDArray[np.generic]]]
"""Of one item: season -> resolution [m] -> (band, y, x)."""

MASK_STREAM = 255
"""Stream of random numbers that masks are drawn from; views use 1 and the following."""


@dataclass(frozen=True)
class Batch:
    """Views of some samples, not yet scaled."""

    views: tuple[Tensor, ...]
    """Each (B, C, S, S) in the source's dtype."""
    photometric: tuple[Tensor, ...]
    """Each (B, 4 + 2 C) float32: see Strengths in views/photometric.py."""
    index: Tensor
    """(B,) int64, item of the source."""
    seasons: Tensor
    """(B, V) int64."""
    masks: Tensor | None = None
    """(B, L) bool, True = hidden, for methods that hide patches."""
    seconds: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    """(2,) float64 [s]: what it cost to read the pixels, and to make views of them; 0 in parts of a batch."""

    def pin_memory(self) -> Batch:
        """Pin for a fast copy to a device (called by DataLoader)."""
        return Batch(
            tuple(v.pin_memory() for v in self.views),
            tuple(p.pin_memory() for p in self.photometric),
            self.index,
            self.seasons,
            None if self.masks is None else self.masks.pin_memory(),
            self.seconds,
        )

    def split(self, num_parts: int) -> Iterator[Batch]:
        """Yield the batch in `num_parts` equal parts, in order."""
        size = len(self.index) // num_parts
        for start in range(0, size * num_parts, size):
            rows = slice(start, start + size)
            yield Batch(
                tuple(v[rows] for v in self.views),
                tuple(p[rows] for p in self.photometric),
                self.index[rows],
                self.seasons[rows],
                None if self.masks is None else self.masks[rows],
            )


class ViewDataset(Dataset[Batch]):
    """Views of a source; an item is (epoch, index) and always looks the same for a seed."""

    def __init__(
        self,
        source: PixelSource,
        views: Views,
        *,
        contract: InputContract,
        seed: int,
        masking: Masking | None = None,
    ) -> None:
        """Describe the views.

        Args:
            source: where pixels come from.
            views: the views of a sample and the seasons they show.
            contract: bands wanted, in order; a subset of the source's.
            seed: of the run.
            masking: what is hidden of each sample, None for nothing.

        Raises:
            ConfigInvalid: the views ask for what these bands cannot have.
        """
        self._source, self._views, self._seed = source, views.views, seed
        self._pairing: Pairing = views.pairing
        self._groups = views.season_groups
        self._sensors = sensor_groups(contract)
        self._decibels = units_per_decibel(contract)
        for view in self._views:
            view.photometric.check_bands(self._sensors, num_radar=sum(unit > 0 for unit in self._decibels))
        self._masking = masking
        self._render = Renderer(contract, source.form)

    def __getitems__(self, items: list[Item]) -> Batch:
        """Make one batch in one call."""
        views: list[list[np.ndarray]] = [[] for _ in self._views]
        rows: list[list[np.ndarray]] = [[] for _ in self._views]
        started, read = time.perf_counter(), 0.0
        seasons: list[tuple[int, ...]] = []
        with one_blas_thread():
            for item in items:
                drawn = self._draw_seasons(item)
                before = time.perf_counter()
                pixels = self._read(item, drawn)
                read += time.perf_counter() - before
                self._render_views(item, drawn, pixels, views, rows)
                seasons.append(drawn)
        stacked = [torch.from_numpy(np.stack(v)) for v in views]
        strengths = [torch.from_numpy(np.stack(r)) for r in rows]
        masks = self._masks(items)
        seconds = torch.tensor([read, time.perf_counter() - started - read], dtype=torch.float64)
        index = torch.tensor([index for _, index in items])
        return Batch(tuple(stacked), tuple(strengths), index, torch.tensor(seasons), masks, seconds)

    def _masks(self, items: list[Item]) -> Tensor | None:
        if self._masking is None:
            return None
        draws = [
            self._masking.draw(sample_rng(self._seed, epoch=epoch, index=index, stream=MASK_STREAM))
            for epoch, index in items
        ]
        return torch.from_numpy(np.stack(draws))

    def __getitem__(self, item: Item) -> Batch:
        """Make a batch of one."""
        return self.__getitems__([item])

    def _draw_seasons(self, item: Item) -> tuple[int, ...]:
        """Draw the season of each view."""
        epoch, index = item
        rng = sample_rng(self._seed, epoch=epoch, index=index)
        draws = draw_seasons(
            rng, pairing=self._pairing, num_views=max(self._groups) + 1, num_seasons=self._source.num_seasons
        )
        return tuple(draws[group] for group in self._groups)

    def _read(self, item: Item, seasons: tuple[int, ...]) -> Pixels:
        return {s: self._source.pixels(item[1], s, resolutions=self._render.resolutions) for s in set(seasons)}

    def _render_views(
        self,
        item: Item,
        seasons: tuple[int, ...],
        pixels: Pixels,
        views: list[list[np.ndarray]],
        rows: list[list[np.ndarray]],
    ) -> None:
        """Append each view of an item, and its photometric strengths."""
        epoch, index = item
        for number, (config, season) in enumerate(zip(self._views, seasons, strict=True)):
            view_rng = sample_rng(self._seed, epoch=epoch, index=index, stream=1 + number)
            geometry = draw_geometry(view_rng, config)
            rows[number].append(config.photometric.draw(view_rng, self._sensors))
            noise = self._noise(view_rng, config)
            views[number].append(self._render(pixels[season], config.size, geometry, noise=noise))

    def _noise(self, rng: np.random.Generator, config: ViewConfig) -> NDArray[np.float32] | None:
        strength = config.photometric.speckle
        if not strength:
            return None
        return draw_speckle(rng, size=config.size, strength=strength, units=self._decibels)


def _identity(batch: Batch) -> Batch:
    return batch


def make_loader(dataset: ViewDataset, batches: ResumableBatches, *, num_workers: int, pin: bool) -> Generator[Batch]:
    """Yield batches in the sampler's order, read ahead by `num_workers` processes (0: in this one)."""
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_identity,  # pyright: ignore[reportArgumentType] - torch types it for lists; __getitems__ gives a batch
        pin_memory=pin,
        prefetch_factor=2 if num_workers else None,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the global generator
    )
    yield from loader
