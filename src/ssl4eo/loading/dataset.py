# SPDX-License-Identifier: Apache-2.0
"""An archive as a PyTorch data set: random access by location, season, modality and bands.

Reads only the chunks that it is asked for, one pread a grid. An item can be handed to any worker, forked or spawned:
the data set travels as a path and opens its own files. For pre-training there is batches.py, which renders views
from native resolution; this class is for everybody who has a loop and transforms of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ssl4eo.archive.id_list import match_ids, read_ids
from ssl4eo.archive.reader import open_archive
from ssl4eo.contract import Contract, Remap, plan_remap
from ssl4eo.errors import ConfigInvalid, UnknownName, unknown_name
from ssl4eo.grid import resize_bilinear, size_at
from ssl4eo.loading.replacing import read_or_replace
from ssl4eo.sensors import BANDS, canonical_band, modality

Item = dict[str, Any]
"""`location` (id), `index` (of the location), `season`, and by modality the pixels."""


class ArchiveDataset(Dataset[Item]):
    """Images of an archive, one item for each location and season.

    >>> dataset = ArchiveDataset("a.zarr", "S2L1C", bands=["B04", "B03", "B02"])        # doctest: +SKIP
    >>> dataset[0]["S2L1C"].shape, dataset.item("0000017", season=2)["location"]        # doctest: +SKIP
    (torch.Size([3, 264, 264]), '0000017')

    Pixels come in the stored type, uint16 of Sentinel-2, on which torch has no maximum, comparison or difference. Say
    what they shall mean and they are float32, as a network is fed; or turn them: `item["S2L1C"].to(torch.int32)`.

    >>> visible = network_input("S2L1C", ("B04", "B03", "B02"))                         # doctest: +SKIP
    >>> ArchiveDataset("a.zarr", "S2L1C", contract=visible)[0]["S2L1C"].max() <= 1      # doctest: +SKIP
    tensor(True)
    """

    def __init__(
        self,
        path: Path | str,
        modalities: str | Sequence[str] | None = None,
        *,
        bands: Sequence[str] | None = None,
        seasons: Sequence[int] | None = None,
        ids: Iterable[str] | Path | str | None = None,
        resolution: int | None = None,
        contract: Contract | None = None,
        ledger: Path | str | None = None,
    ) -> None:
        """Open an archive and say what an item holds.

        Args:
            path: of the archive.
            modalities: one or several, None for all.
            bands: of the one modality, in the order wanted, None for all in canonical order. Other spellings of
                Sentinel bands are translated (`B4` is B04). Grids without a wanted band are not read.
            seasons: which dates, None for all; items go location by location, season by season.
            ids: the locations wanted, or a file with one id a line (as `ssl4eo verify --drop` writes it), None for all.
            resolution: grid [m] that all bands are brought to, bilinear, float32; None keeps the archive's pixels: a
                tensor in the stored type where the wanted bands lie on one grid, else a dict by resolution [m].
            contract: what the values of the one modality shall mean: bands, offset and scaling are converted as
                `plan_remap` does, to float32. It needs one grid.
            ledger: file that broken chunks are noted in; another item is given instead, drawn from anywhere by the
                number of the one that cannot be read: the same one each time. None raises.

        Raises:
            DataMissing, ArchiveInvalid: no readable archive, or no file of ids.
            UnknownName: the archive has no such modality, band or resolution.
            LocationMissing: it has no such location or season.
            ConfigInvalid: options that do not go together.
            ContractMismatch: the values cannot be converted into `contract`.
        """
        self.archive = open_archive(path)
        wanted = self.archive.modalities if modalities is None else modalities
        self.modalities = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        self.resolution = resolution
        self._ledger = None if ledger is None else Path(ledger)
        self.seasons = tuple(range(self.archive.num_seasons)) if seasons is None else tuple(seasons)
        self._indices = self._positions(ids)
        self._check(bands, contract)
        self._bands = {name: self._bands_of(name, bands, contract) for name in self.modalities}
        self._remap = None if contract is None else self._plan(contract)

    def _positions(self, ids: Iterable[str] | Path | str | None) -> NDArray[np.int64]:
        if ids is None:
            return np.arange(len(self.archive))
        wanted = read_ids(Path(ids)) if isinstance(ids, Path | str) else ids
        matched = match_ids(wanted, frozenset(self.archive.ids))
        return np.array([self.archive.index_of(location) for location in matched], np.int64)

    def _check(self, bands: Sequence[str] | None, contract: Contract | None) -> None:
        for name in self.modalities:
            self.archive.form(name)
        for season in self.seasons:
            self.archive.check_season(season)
        if not self.modalities or not self.seasons or not len(self._indices):
            raise ConfigInvalid(
                f"{len(self.modalities)} modalities, {len(self.seasons)} seasons, {len(self._indices)} locations",
                expected="one of each at least",
            )
        if len(self.modalities) > 1 and (bands is not None or contract is not None):
            raise ConfigInvalid(
                f"bands or a contract for {', '.join(self.modalities)}",
                expected="one modality",
                remedy="make a data set for each",
            )
        if bands is not None and contract is not None:
            raise ConfigInvalid("bands and a contract", expected="one of them: a contract has bands")

    def _bands_of(self, name: str, bands: Sequence[str] | None, contract: Contract | None) -> tuple[str, ...]:
        held = self.archive.form(name).bands
        wanted = held if bands is None else tuple(_ours(name, band, held) for band in bands)
        if contract is not None:
            wanted = tuple(b for b in held if b in contract.bands) or held  # plan_remap refuses it
        for band in wanted:
            if band not in held:
                raise unknown_name(f"band of {name} in this archive", band, held)
        twice = sorted({band for band in wanted if wanted.count(band) > 1})
        if twice:
            raise ConfigInvalid(f"{name} band {' '.join(twice)} more than once", expected="each band once")
        if not wanted:
            raise ConfigInvalid("no bands", expected=f"some of {' '.join(held)}")
        return wanted

    def _plan(self, contract: Contract) -> Remap:
        name = self.modalities[0]
        if self.resolution is None and len(self.archive.form(name).resolutions_of(self._bands[name])) > 1:
            raise ConfigInvalid(
                f"a contract for bands of {name} on several grids",
                expected="one grid",
                remedy="give resolution=10, or bands of one resolution",
            )
        stored = self.archive.contract(name)
        picked = Contract(name, self._bands[name], stored.unit, stored.offset, stored.scaling)
        return plan_remap(picked, contract)

    def __len__(self) -> int:
        """Count locations times seasons."""
        return len(self._indices) * len(self.seasons)

    def __getitem__(self, number: int) -> Item:
        """Give an item by its number.

        Raises:
            IndexError: there is no such item.
            ShardCorrupt: a stored chunk is broken and there is no ledger, or nothing that was tried in its place can be
                read.
        """
        if not -len(self) <= number < len(self):
            raise IndexError(f"item {number} of {len(self)}")
        return read_or_replace(number % len(self), len(self), self._numbered, ledger=self._ledger)

    def _numbered(self, number: int) -> Item:
        place, season = divmod(number, len(self.seasons))
        return self._read(int(self._indices[place]), self.seasons[season])

    def item(self, location: str | int, *, season: int) -> Item:
        """Give the images of one location, by id or index in the archive, at one date.

        Raises:
            LocationMissing: the archive has no such location or season.
            ShardCorrupt: a stored chunk is broken.
        """
        return self._read(self.archive.index_of(location), season)

    def _read(self, index: int, season: int) -> Item:
        item: Item = {"location": self.archive.ids[index], "index": index, "season": season}
        return {**item, **{name: self._pixels(name, index, season) for name in self.modalities}}

    def _pixels(self, name: str, index: int, season: int) -> torch.Tensor | dict[int, torch.Tensor]:
        form, bands = self.archive.form(name), self._bands[name]
        grids = form.resolutions_of(bands)
        groups = self.archive.read_pixels(name, index=index, season=season, resolutions=grids)
        if self.resolution is None and len(grids) > 1:
            picks = {r: [form.bands_at(r).index(b) for b in bands if b in form.bands_at(r)] for r in grids}
            return {r: _tensor(groups[r] if len(picks[r]) == len(groups[r]) else groups[r][picks[r]]) for r in grids}
        if self.resolution is None:
            grid = next(iter(grids))
            order = [form.bands_at(grid).index(b) for b in bands]
            values = groups[grid] if order == list(range(len(groups[grid]))) else groups[grid][order]
        else:
            values = self._on_grid(groups, form.base, {r: form.bands_at(r) for r in grids}, bands)
        return _tensor(values if self._remap is None else self._remap(values))

    def _on_grid(
        self,
        groups: Mapping[int, NDArray[np.generic]],
        base: int,
        names: Mapping[int, Sequence[str]],
        bands: Sequence[str],
    ) -> NDArray[np.float32]:
        assert self.resolution is not None, "there is a grid to go to"
        height, width = (size_at(self.resolution, s, base) for s in self.archive.shape)
        out = np.empty((len(bands), height, width), np.float32)
        for resolution, held in names.items():
            rows = [bands.index(b) for b in held if b in bands]
            picks = [held.index(b) for b in held if b in bands]
            out[rows] = resize_bilinear(groups[resolution][picks], (height, width))
        return out


def _ours(modality_name: str, spelling: str, held: Sequence[str]) -> str:
    """Translate another spelling of a Sentinel band; Landsat bands are spelled as published, and B4 is another one."""
    if spelling in held or modality(modality_name).channels is not BANDS:
        return spelling
    try:
        return canonical_band(spelling)
    except UnknownName:  # the caller names the bands that there are
        return spelling


def _tensor(values: NDArray[np.generic]) -> torch.Tensor:
    return torch.from_numpy(values if values.flags.writeable else values.copy())
