# SPDX-License-Identifier: Apache-2.0
"""From pixels to batches of views.

The worker reads only the seasons it needs, renders crops in the source's own dtypes (uint16 or uint8
travels, float32 of radar alone) and draws photometric strengths; scaling and photometrics run later on the
device, or here, by the same code, where the device is the slower place. A batch is asked for and made in one call.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import InputContract, sensor_groups
from ssl4eo.errors import ConfigInvalid, OutOfMemory, SampleInvalid, Ssl4eoError
from ssl4eo.loading.pixels import PixelSource
from ssl4eo.loading.promises import other_pixels, require_items
from ssl4eo.loading.reading_now import ReadingNow
from ssl4eo.loading.replacing import read_or_replace
from ssl4eo.loading.room import empty
from ssl4eo.loading.sampler import Item
from ssl4eo.memory import is_shortage, shortage
from ssl4eo.views.compose import Geometry, Renderer, draw_geometry
from ssl4eo.views.config import ViewConfig, Views, option_of
from ssl4eo.views.crop import WHOLE
from ssl4eo.views.masking import Masking
from ssl4eo.views.mixed import MixedViews, make_whole_, put_apart
from ssl4eo.views.photometric import Strengths, apply_photometric_
from ssl4eo.views.resample import one_blas_thread
from ssl4eo.views.rng import sample_rng
from ssl4eo.views.seasonal import Pairing, draw_seasons
from ssl4eo.views.speckle import draw_speckle, units_per_decibel

Pixels = dict[int, dict[int, NDArray[np.generic]]]
"""Of one item: season -> resolution [m] -> (band, y, x)."""

LEAVE_OUT = (
    "leave the image out (of an archive: `ssl4eo info ARCHIVE --ids observed > ids.txt` lists the others, for "
    "--ids ids.txt)"
)
"""What to do about an image without data."""

MASK_STREAM = 255
"""Stream of random numbers that masks are drawn from; views use 1 and the following, replacing.py the one before."""

NUM_WINDOWS = 10
"""Further windows that are tried where the first one shows only nodata, before the whole patch."""


@dataclass(frozen=True)
class Batch:
    """Views of some samples, not yet scaled, or finished."""

    views: tuple[Tensor | MixedViews, ...]
    """Each (B, C, S, S) in the source's dtype, or in those of its sensors; finished: float32, as the network is fed."""
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
    finished: bool = False
    """Whether the views are scaled and photometrically changed already."""
    num_replaced: int = 0
    """Samples that stand in for damaged ones; 0 in parts of a batch."""

    def pin_memory(self) -> Batch:
        """Pin for a fast copy to a device (called by DataLoader)."""
        return replace(
            self,
            views=tuple(v.pin_memory() for v in self.views),
            photometric=tuple(p.pin_memory() for p in self.photometric),
            masks=None if self.masks is None else self.masks.pin_memory(),
        )

    def split(self, num_parts: int) -> Iterator[Batch]:
        """Yield the batch in `num_parts` equal parts, in order."""
        size = len(self.index) // num_parts
        for start in range(0, size * num_parts, size):
            rows = slice(start, start + size)
            yield replace(
                self,
                views=tuple(v[rows] for v in self.views),
                photometric=tuple(p[rows] for p in self.photometric),
                index=self.index[rows],
                seasons=self.seasons[rows],
                masks=None if self.masks is None else self.masks[rows],
                seconds=torch.zeros(2, dtype=torch.float64),
                num_replaced=0,
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
        adapter: Adapter | None = None,
        finish: bool = False,
        ledger: Path | None = None,
    ) -> None:
        """Describe the views.

        Args:
            source: where pixels come from.
            views: the views of a sample and the seasons they show.
            contract: bands wanted, in order; a subset of the source's.
            seed: of the run.
            masking: what is hidden of each sample, None for nothing.
            adapter: from `contract` to what the network is fed, None where that has the same bands.
            finish: scale and change the views here, on the worker; else the device does. It needs the adapter.
            ledger: file that damaged images are noted in: another item, drawn for it, takes the place. None raises.

        Raises:
            ConfigInvalid: the views ask for what these bands cannot have, or are to be finished without an adapter.
        """
        self.source, self._views, self._seed = source, views.views, seed
        self._pairing: Pairing = views.pairing
        self._contract = contract
        self._groups = views.season_groups
        self._stored_sensors = sensor_groups(contract)
        self._sensors = self._stored_sensors if adapter is None else sensor_groups(adapter.remap.target)
        self._decibels = units_per_decibel(contract)
        for view in self._views:
            try:
                view.photometric.check_bands(self._sensors, num_radar=sum(unit > 0 for unit in self._decibels))
            except ConfigInvalid as error:
                raise option_of(views, view, error) from None
        self._masking = masking
        self._render = Renderer(contract, source.form)
        if adapter is None and finish:
            raise ConfigInvalid(
                "finish=True without an adapter",
                expected="what a finished view is",
                remedy="give adapter=Adapter(contract, network_input(...)), or use ssl4eo.loading.views.ViewBatches",
            )
        self._finish = adapter if finish else None
        self._between = self._render.dtype if self._finish is None else np.dtype(np.float32)
        """Type that a view is rendered in where it is not rendered in its place."""
        self.reading = ReadingNow()
        self._ledger = ledger

    def __len__(self) -> int:
        """Count the samples of an epoch."""
        return len(self.source)

    def __getitems__(self, items: list[Item]) -> Batch:
        """Make one batch in one call.

        Raises:
            ConfigInvalid: an item is no pair of epoch and index, as samplers other than ours give it.
            ShardCorrupt: a stored image is damaged, and nothing is to replace it, or nothing that was tried can.
            SampleInvalid: a patch shows nothing but zeros, or no window with anything else was found for a view; or the
                source, or a view of somebody's own, failed at it in a way of its own.
            OutOfMemory: a loading process has no shared memory for the batch.
        """
        require_items(items)
        types = [(np.dtype(np.float32), len(self._sensors))] if self._finish is not None else self._render.types
        whole = [[empty((len(items), n, v.size, v.size), dtype) for dtype, n in types] for v in self._views]
        views = [[tensor.numpy() for tensor in parts] for parts in whole]
        rows: list[list[NDArray[np.float32]]] = [[] for _ in self._views]
        seasons: list[tuple[int, ...]] = []
        taken: list[Item] = []
        started, read = time.perf_counter(), 0.0
        with one_blas_thread(), torch.no_grad():
            for place, wanted in enumerate(items):
                before = time.perf_counter()
                item, drawn, pixels = self._read_whole(wanted)
                read += time.perf_counter() - before
                try:
                    self._render_views(item, drawn, pixels, [[part[place] for part in v] for v in views], rows)
                except Ssl4eoError:
                    raise
                except Exception as error:  # not ours: somebody's view, which knows no locations
                    raise self._failed(item, drawn, error) from error
                seasons.append(drawn)
                taken.append(item)
            self.reading.note(None)
        return Batch(
            tuple(parts[0] if len(parts) == 1 else MixedViews(tuple(parts)) for parts in whole),
            tuple(torch.from_numpy(np.stack(r)) for r in rows),
            torch.tensor([index for _, index in taken]),
            torch.tensor(seasons),
            self._masks(taken),
            torch.tensor([read, time.perf_counter() - started - read], dtype=torch.float64),
            finished=self._finish is not None,
            num_replaced=sum(item != wanted for item, wanted in zip(taken, items, strict=True)),
        )

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
        rng = sample_rng(self._seed, epoch=item[0], index=item[1])
        draws = draw_seasons(
            rng, pairing=self._pairing, num_views=max(self._groups) + 1, num_seasons=self.source.num_seasons
        )
        return tuple(draws[group] for group in self._groups)

    def _read_whole(self, wanted: Item) -> tuple[Item, tuple[int, ...], Pixels]:
        """Read an item, or what replaces it."""
        epoch, index = wanted
        return read_or_replace(
            index,
            len(self),
            lambda other: self._read_seasons((epoch, other)),
            ledger=self._ledger,
            seed=self._seed,
            epoch=epoch,
        )

    def _read_seasons(self, item: Item) -> tuple[Item, tuple[int, ...], Pixels]:
        self.reading.note(item)
        seasons = self._draw_seasons(item)
        try:
            return item, seasons, self._read(item, seasons)
        except Ssl4eoError:
            raise
        except Exception as error:  # not ours: somebody's source, which knows no locations
            raise self._failed(item, seasons, error) from error

    def _read(self, item: Item, seasons: tuple[int, ...]) -> Pixels:
        found = {s: self.source.pixels(item[1], s, resolutions=self._render.resolutions) for s in set(seasons)}
        form = self.source.form
        for season, groups in found.items():
            for resolution, bands in form.groups:
                if resolution not in self._render.resolutions:
                    continue
                wrong = other_pixels(groups, resolution, len(bands), np.dtype(form.dtype))
                if wrong:
                    location = self.source.id_of(item[1])
                    raise SampleInvalid(
                        f"{location} at season {season} has {wrong} at {resolution} m",
                        expected=f"({len(bands)}, y, x) of {', '.join(bands)}, finite and square, in {form.dtype}, as "
                        "the source's form tells",
                        remedy="mend the source",
                        location=location,
                    )
        return found

    def _render_views(
        self,
        item: Item,
        seasons: tuple[int, ...],
        pixels: Pixels,
        views: list[list[NDArray[np.generic]]],
        rows: list[list[NDArray[np.float32]]],
    ) -> None:
        """Make each view of an item in its places, one for each type, and append its photometric strengths.

        A view that shows only the nodata of a patch is drawn again, from the same generator after all its other
        draws: a function of (seed, epoch, index) still, and views that show something are what they always were.
        """
        epoch, index = item
        for number, (config, season) in enumerate(zip(self._views, seasons, strict=True)):
            rng = sample_rng(self._seed, epoch=epoch, index=index, stream=1 + number)
            geometry = draw_geometry(rng, config)
            row = config.photometric.draw(rng, self._sensors)
            noise = self._noise(rng, config)
            rows[number].append(row)
            size, places = config.size, views[number]
            out, is_own = places[0], type(config).alter is not ViewConfig.alter
            if self._finish is not None or len(places) > 1 or is_own:
                between = np.dtype(np.float32) if is_own else self._between
                out = np.empty((len(self._decibels), size, size), between)
            self._render(pixels[season], size, geometry, noise=noise, out=out)
            if self._is_blank(out, noise) and not self._render_again(rng, config, pixels[season], noise, out):
                raise self._blank(index, season, geometry)
            if config.photometric.sensor_drop:
                self._keep_what_shows(row, out, noise)
            if is_own:
                self._alter(config, rng, out, index, season)
            if self._finish is None and out is not places[0]:
                put_apart(out, places)
            if self._finish is not None:
                finished = torch.from_numpy(places[0])[None]
                self._finish(torch.from_numpy(out)[None], out=finished)
                apply_photometric_(finished, torch.from_numpy(row)[None])

    def _alter(
        self, config: ViewConfig, rng: np.random.Generator, out: NDArray[np.generic], index: int, season: int
    ) -> None:
        """Let a view of somebody's own change its values; whole numbers stay such, wherever the rest is done."""
        values = cast("NDArray[np.float32]", out)
        config.alter(rng, values, self._contract)
        if not np.isfinite(values).all():
            location = self.source.id_of(index)
            raise SampleInvalid(
                f"{location} at season {season}: alter of {type(config).__name__} left values that are NaN or infinite",
                expected="finite values",
                remedy="mend the view",
                location=location,
            )
        make_whole_(values, self._render.types)

    def _render_again(
        self,
        rng: np.random.Generator,
        config: ViewConfig,
        pixels: dict[int, NDArray[np.generic]],
        noise: NDArray[np.float32] | None,
        out: NDArray[np.generic],
    ) -> bool:
        """Try other geometries for a view that is blank, some times; say whether one shows something."""
        if not any(group.any() for group in pixels.values()):
            return False
        geometries = [draw_geometry(rng, config) for _ in range(NUM_WINDOWS)]
        geometries.append(replace(geometries[-1], window=WHOLE))  # of a patch that is mostly nodata
        for geometry in geometries:
            self._render(pixels, config.size, geometry, noise=noise, out=out)
            if not self._is_blank(out, noise):
                return True
        return False

    def _is_blank(self, view: NDArray[np.generic], noise: NDArray[np.float32] | None) -> bool:
        if noise is not None:
            return np.array_equal(view, self._render.of_nothing(noise))
        middle = view[:, view.shape[1] // 2]  # nearly always enough, and a hundredth of the pixels
        return not middle.any() and not view.any()

    def _keep_what_shows(
        self, row: NDArray[np.float32], view: NDArray[np.generic], noise: NDArray[np.float32] | None
    ) -> None:
        """Keep what shows something where the drawn loss of a sensor would leave nothing: the other is absent there."""
        keep = Strengths[NDArray[np.float32]].of(row).keep
        sensors, left = np.array(self._sensors), {s for s, k in zip(self._sensors, keep, strict=True) if k}
        if left == set(self._sensors):
            return
        stored = np.array(self._stored_sensors)
        nothing = np.zeros_like(view) if noise is None else self._render.of_nothing(noise)
        shows = {s for s in set(self._sensors) if not np.array_equal(view[stored == s], nothing[stored == s])}
        if not left & shows:
            keep[np.isin(sensors, list(shows))] = 1

    def _blank(self, index: int, season: int, geometry: Geometry) -> SampleInvalid:
        location, w = self.source.id_of(index), geometry.window
        window = f"{w.height:.2f} x {w.width:.2f} of the patch from {w.top:.2f}, {w.left:.2f}"
        return SampleInvalid(
            f"{location} at season {season}: a view ({window}) shows nothing but zeros in every band",
            expected="pixels to learn from",
            remedy=f"there is no data: {LEAVE_OUT}",
            location=location,
            season=season,
        )

    def _failed(self, item: Item, seasons: tuple[int, ...], error: Exception) -> SampleInvalid | OutOfMemory:
        """Name what was being made, and where the error came from: from a worker its traceback does not come along."""
        location, at = self.source.id_of(item[1]), traceback.extract_tb(error.__traceback__)[-1]
        what = f"{location} at season {', '.join(map(str, dict.fromkeys(seasons)))}"
        where = f"(in {at.name}, {at.filename}:{at.lineno})"
        if is_shortage(error):
            return OutOfMemory(
                f"no memory for {what}: {shortage(error)} {where}",
                expected="room for the pixels and views of a batch in every loading process",
                remedy="use fewer --engine.num_workers or a smaller --engine.batch_size",
                location=location,
            )
        return SampleInvalid(
            f"{what}: {type(error).__name__}: {' '.join(str(error).split())} {where}",
            expected="pixels of the form that the source tells, and views of them",
            remedy="mend the source or the view",
            location=location,
        )

    def _noise(self, rng: np.random.Generator, config: ViewConfig) -> NDArray[np.float32] | None:
        strength = config.photometric.speckle
        if not strength:
            return None
        return draw_speckle(rng, size=config.size, strength=strength, units=self._decibels)
