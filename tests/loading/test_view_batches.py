# SPDX-License-Identifier: Apache-2.0
"""Batches for a loop of one's own: ready for a network, the same as pre-training's, resumable; errors in words."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ssl4eo.archive.reader import open_archive
from ssl4eo.backbones.adapter import Adapter
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import network_input, stored
from ssl4eo.errors import ConfigInvalid, ContractMismatch
from ssl4eo.loading.batches import ViewDataset
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.loading.views import ViewBatches
from ssl4eo.packing.pack import pack
from ssl4eo.recipes.views import small_view
from ssl4eo.views.config import PairConfig
from ssl4eo.views.photometric import apply_photometric_

PAIRS = PairConfig("augment", small_view(24))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven places, two dates, optical and radar."""
    path = tmp_path_factory.mktemp("views") / "a.zarr"
    pack(SyntheticPlanet(7, seed=2, num_seasons=2, size=48, modalities=("S2L1C", "S1GRD")), path, statistics=False)
    return path


def batches(data: Path | ArchivePixels, **changes) -> ViewBatches:
    options = {"contract": network_input("S2L1C"), "batch_size": 3} | changes
    return ViewBatches(data, options.pop("views", PAIRS), **options)


def test_views_are_ready_for_a_network_and_say_what_they_show(archive: Path) -> None:
    """float32 within the network's range; ids, positions and seasons belong together."""
    made = batches(archive, epochs=2)
    rows = list(made)

    assert (len(made), made.steps_per_epoch, len(rows)) == (4, 2, 4)
    assert [(row.step, row.epoch) for row in rows] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    for row in rows:
        assert [tuple(view.shape) for view in row.views] == [(3, 13, 24, 24)] * 2
        assert {view.dtype for view in row.views} == {torch.float32}
        assert row.ids == tuple(open_archive(archive).ids[i] for i in row.index)
        assert row.seasons.shape == (3, 2)
        assert 0 < row.views[0].mean() < 1
    assert rows[0].index.tolist() != rows[2].index.tolist()


def test_they_are_the_views_of_pre_training(archive: Path) -> None:
    """As a run that scales and changes on the device sees them, to float32 rounding."""
    first = next(iter(batches(archive, seed=5)))
    source, contract = ArchivePixels(archive, "S2L1C"), network_input("S2L1C")
    late = ViewDataset(source, PAIRS, contract=source.contract, seed=5)
    batch = late.__getitems__([(0, int(i)) for i in first.index])

    adapter = Adapter(source.contract, contract)
    for view, rows, ours in zip(batch.views, batch.photometric, first.views, strict=True):
        torch.testing.assert_close(ours, apply_photometric_(adapter(view), rows), rtol=1e-5, atol=1e-6)


def test_a_loop_goes_on_at_any_step_as_if_it_had_never_ended(archive: Path) -> None:
    """And begins again at each iteration."""
    whole, rest = batches(archive, epochs=2), batches(archive, epochs=2, first_step=3)

    assert len(rest) == 1
    (last,) = rest
    for expected in (list(whole)[3], list(whole)[3]):
        assert (last.step, last.ids) == (expected.step, expected.ids)
        assert all(map(torch.equal, last.views, expected.views))


def test_workers_change_nothing_and_end_with_the_loop(archive: Path) -> None:
    """Also with one that is left early."""
    alone = next(iter(batches(archive)))
    shared = next(itertools.islice(batches(archive, num_workers=1), 1))

    assert all(map(torch.equal, alone.views, shared.views))


def test_bands_and_places_are_chosen(archive: Path) -> None:
    """By the contract, and by the source."""
    visible = network_input("S2L1C", ("B04", "B03", "B02"))
    some = ArchivePixels(archive, "S2L1C", indices=np.array([1, 4]))

    (batch,) = batches(some, contract=visible, batch_size=2)

    assert batch.views[0].shape == (2, 3, 24, 24)
    assert set(batch.ids) == {open_archive(archive).ids[i] for i in (1, 4)}


def test_the_only_modality_needs_no_contract(tmp_path: Path, archive: Path) -> None:
    """Of several one is named."""
    pack(SyntheticPlanet(2, seed=2, num_seasons=1, size=24, modalities=("S1GRD",)), tmp_path / "b.zarr")
    views = PairConfig("fixed", small_view(16))

    (batch,) = ViewBatches(str(tmp_path / "b.zarr"), views, batch_size=2)

    assert batch.views[0].shape == (2, 2, 16, 16)
    with pytest.raises(ContractMismatch, match=r"holds S2L1C, S1GRD|holds S1GRD, S2L1C"):
        batches(archive, contract=None)
    with pytest.raises(ContractMismatch, match="no contract for a source"):
        batches(ArchivePixels(archive, "S2L1C"), contract=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 8}, "a batch of 8 from 7 items"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"first_step": -1}, "first_step is -1"),
        ({"first_step": 3}, "first_step 3 of a run of 2 steps"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"num_workers": -1}, "num_workers is -1"),
        ({"views": small_view(24)}, "a ViewConfig for the views.*PairConfig"),
        ({"contract": "S2L1C"}, "'S2L1C' for a contract"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(archive: Path, changes, words) -> None:
    """None of the messages names an option of the command line."""
    with pytest.raises((ConfigInvalid, ContractMismatch), match=words) as raised:
        batches(archive, **changes)
    assert "--" not in str(raised.value)


def test_the_data_set_says_how_it_is_used(archive: Path) -> None:
    """It was an AssertionError, and TypeErrors."""
    source = ArchivePixels(archive, "S2L1C")
    data = ViewDataset(source, PAIRS, contract=stored("S2L1C"), seed=0)

    assert len(data) == 7
    for act in (lambda: data[0], lambda: next(iter(DataLoader(data, batch_size=2)))):
        with pytest.raises(ConfigInvalid, match=r"expected \(epoch, index\).*ViewBatches"):
            act()
    with pytest.raises(ConfigInvalid, match=r"finish=True without an adapter.*adapter="):
        ViewDataset(source, PAIRS, contract=stored("S2L1C"), seed=0, finish=True)
