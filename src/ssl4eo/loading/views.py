# SPDX-License-Identifier: Apache-2.0
"""Batches of views for a training loop of one's own: float32, scaled and changed, ready for a network.

The same parts as in pre-training (`Order`, `ViewDataset`, `make_loader`), put together: the order and the views are a
function of the seed, whatever the number of loading processes, and a loop goes on at any step as if it had never ended.
Letters: B batch, V views of a sample, C channels, S side of a view [px].
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from ssl4eo.archive.reader import open_archive
from ssl4eo.backbones.adapter import Adapter
from ssl4eo.contract import InputContract, is_contract, narrowed, network_input
from ssl4eo.errors import ConfigInvalid, ContractMismatch
from ssl4eo.loading.batches import Batch, ViewDataset
from ssl4eo.loading.loader import make_loader
from ssl4eo.loading.pixels import ArchivePixels, PixelSource
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.views.config import Views


@dataclass(frozen=True)
class ViewBatch:
    """Views of B samples."""

    step: int
    """Of the whole run, from 0."""
    epoch: int
    """From 0."""
    views: tuple[Tensor, ...]
    """Each (B, C, S, S) float32, as the network is fed."""
    ids: tuple[str, ...]
    """Of the samples, as their owner knows them: of an archive the locations."""
    index: Tensor
    """(B,) int64, items of the source."""
    seasons: Tensor
    """(B, V) int64, the date that each view shows."""


class ViewBatches:
    """The batches of a training run; `iter` begins at `first_step`, `len` counts the steps that are left.

    >>> from ssl4eo.recipes.views import small_view
    >>> from ssl4eo.views.config import PairConfig
    >>> pairs = PairConfig("augment", small_view(64))
    >>> for batch in ViewBatches("a.zarr", pairs, batch_size=64, epochs=10):    # doctest: +SKIP
    ...     first, second = batch.views                                         # doctest: +SKIP
    """

    def __init__(  # noqa: PLR0913 - each is a choice of the loop
        self,
        data: Path | str | PixelSource,
        views: Views,
        *,
        batch_size: int,
        contract: InputContract | None = None,
        epochs: int = 1,
        first_step: int = 0,
        seed: int = 0,
        num_workers: int = 0,
        ledger: Path | str | None = None,
    ) -> None:
        """Settle what will be seen in which order, and refuse what cannot be made.

        Args:
            data: an archive, or any source of pixels: of some locations `ArchivePixels(path, "S2L1C", indices=...)`.
            views: the views of a sample and the seasons that they show, such as
                `PairConfig("augment", recipes.views.small_view(64))`.
            batch_size: samples of a batch; a last one that is not full is left out, its samples wait for the next
                epoch, which has another order.
            contract: what the network is fed; decides what is read of an archive: a modality, some bands of it, several
                that are joined. None: the scaled input of the only modality.
            epochs: passes over the data, all in one iteration.
            first_step: step to begin with, to go on after an interruption: what comes is what would have come.
            seed: of the order, the seasons and the views.
            num_workers: processes that make batches ahead; 0 makes them where they are asked for.
            ledger: file that damaged images are noted in; another takes the place. None raises.

        Raises:
            DataMissing, ArchiveInvalid: no readable archive.
            UnknownName: the archive lacks the modality.
            ContractMismatch: the pixels cannot be converted into `contract`, or none was given and there are several
                modalities.
            ConfigInvalid: views that these bands cannot have, a batch that no epoch fills, or steps that are none.
        """
        _require_counts(
            batch_size=(batch_size, 1),
            epochs=(epochs, 1),
            first_step=(first_step, 0),
            num_workers=(num_workers, 0),
            seed=(seed, 0),
        )
        if not all(hasattr(views, name) for name in ("pairing", "views", "season_groups")):
            raise ConfigInvalid(
                f"a {type(views).__name__} for the views of a sample",
                expected="an arrangement of ssl4eo.views.config",
                remedy="OneView, PairConfig, TwoViews or MultiCrop say how many views of which seasons there are",
            )
        if isinstance(data, Path | str):
            contract = _only_input(Path(data)) if contract is None else contract
            data = ArchivePixels(Path(data), _require_contract(contract).modality)
        elif contract is None:
            raise ContractMismatch("no contract for a source of pixels", expected="that of what the network is fed",
                                   remedy="give contract=network_input(...)")  # fmt: skip
        self.source: PixelSource = data
        self.contract = _require_contract(contract)
        if batch_size > len(self.source):
            raise ConfigInvalid(
                f"a batch of {batch_size} from {len(self.source)} items",
                expected="1 to the number of items",
                remedy="give a smaller batch_size, or more data",
            )
        self._order = Order(len(self.source), batch_size, seed)
        self._first, self._workers = first_step, num_workers
        self.num_steps = epochs * self._order.steps_per_epoch
        """Of the whole run."""
        seen = narrowed(self.source.contract, self.contract)
        if first_step > self.num_steps:
            raise ConfigInvalid(
                f"first_step {first_step} of a run of {self.num_steps} steps", expected="at most as many",
                remedy="give more epochs, or another first_step",
            )  # fmt: skip
        self._dataset = ViewDataset(
            self.source,
            views,
            contract=seen,
            seed=seed,
            adapter=Adapter(seen, self.contract),
            finish=True,
            ledger=None if ledger is None else Path(ledger),
        )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of an epoch."""
        return self._order.steps_per_epoch

    def __len__(self) -> int:
        """Count the steps from `first_step` on."""
        return max(0, self.num_steps - self._first)

    def __iter__(self) -> Iterator[ViewBatch]:
        """Make the batches; loading processes end with the iteration, also where it is left early.

        Raises:
            SampleInvalid: an image without any data, or a source that fails; names the location.
            ShardCorrupt: an image cannot be read, and there is no ledger, or nothing that was tried can replace it.
            WorkerLost: a loading process was killed.
            OutOfMemory: there is no shared memory for the batches of loading processes.
        """
        batches = ResumableBatches(self._order, first_step=self._first, num_steps=self.num_steps)
        loader = make_loader(
            self._dataset, batches, num_workers=self._workers, pin=self._workers > 0 and torch.cuda.is_available()
        )
        with contextlib.closing(loader):
            for step, batch in enumerate(loader, self._first):
                yield self._named(step, batch)

    def _named(self, step: int, batch: Batch) -> ViewBatch:
        ids = tuple(self.source.id_of(int(i)) for i in batch.index)
        views = cast("tuple[Tensor, ...]", batch.views)  # finished, of one type
        return ViewBatch(step, step // self.steps_per_epoch, views, ids, batch.index, batch.seasons)


def _require_counts(**counts: tuple[object, int]) -> None:
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigInvalid(f"{name} is {value!r}", expected=f"a whole number from {least}")


def _require_contract(contract: InputContract) -> InputContract:
    if not is_contract(contract):
        raise ContractMismatch(
            f"{contract!r} for a contract", expected="such as ssl4eo.contract.network_input('S2L1C')"
        )
    return contract


def _only_input(path: Path) -> InputContract:
    modalities = open_archive(path).modalities
    if len(modalities) != 1:
        raise ContractMismatch(
            f"no contract for {path}, which holds {', '.join(modalities)}",
            expected="what the network is fed",
            remedy="give contract=ssl4eo.contract.network_input(...) of one of them",
        )
    (modality,) = modalities
    return network_input(modality)
