# SPDX-License-Identifier: Apache-2.0
"""Damaged images: they end a run, or another takes the place, the same one whoever reads."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from ssl4eo.archive import codecs
from ssl4eo.archive.reader import open_archive
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import stored
from ssl4eo.errors import ShardCorrupt
from ssl4eo.loading.batches import ViewDataset
from ssl4eo.loading.dataset import ArchiveDataset
from ssl4eo.loading.loader import make_loader
from ssl4eo.loading.pixels import ArchivePixels
from ssl4eo.loading.sampler import Order, ResumableBatches
from ssl4eo.loading.views import ViewBatches
from ssl4eo.packing.pack import pack
from ssl4eo.recipes.views import published_view
from ssl4eo.views.config import PairConfig

VIEWS = PairConfig("fixed", published_view(16))
RADAR = stored("S1GRD")
BROKEN, COUNT = 2, 12


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Pack small places."""
    path = tmp_path_factory.mktemp("planet") / "a.zarr"
    pack(SyntheticPlanet(COUNT, size=24, num_seasons=1, modalities=("S1GRD",)), path)
    return path


def damaged(whole, path, indices):
    """Copy an archive and flip a byte in some of its images."""
    shutil.copytree(whole, path)
    (array,) = open_archive(path)._layout.bands["S1GRD"].values()
    for index in indices:
        number, slot = array.place(index, 0)
        shard = path / array.file(number)
        fd = os.open(shard, os.O_RDWR)
        offset, length = (int(n) for n in codecs.read_index(fd, array.slots)[slot])
        middle = offset + length // 2
        os.pwrite(fd, bytes([os.pread(fd, 1, middle)[0] ^ 1]), middle)
        os.close(fd)
    return path


def dataset(path, ledger=None, seed=3):
    """Make pairs of views of an archive."""
    return ViewDataset(ArchivePixels(path, "S1GRD"), VIEWS, contract=RADAR, seed=seed, ledger=ledger)


def load(path, ledger, *, workers=0, first=0):
    """Make the batches of two epochs."""
    order = ResumableBatches(Order(COUNT, 4, 3), first_step=first, num_steps=6)
    return list(make_loader(dataset(path, ledger), order, num_workers=workers, pin=False))


def rows(ledger):
    """Read what was noted."""
    return [json.loads(line) for line in ledger.read_text().splitlines()]


def test_damage_ends_the_run_where_nothing_replaces_it(whole, tmp_path):
    """The image is named."""
    path = damaged(whole, tmp_path / "b.zarr", [BROKEN])

    with pytest.raises(ShardCorrupt, match=f"location {BROKEN:07}, season 0"):
        dataset(path).__getitems__([(0, 1), (0, BROKEN)])


def test_another_image_takes_the_place_and_the_others_are_as_they_were(whole, tmp_path):
    """Its views are its own of that epoch; the ledger names what is damaged once for each time it was met."""
    ledger = tmp_path / "damaged.jsonl"
    path = damaged(whole, tmp_path / "b.zarr", [BROKEN])
    items = [(1, index) for index in range(COUNT)]

    batch, wanted = dataset(path, ledger).__getitems__(items), dataset(whole).__getitems__(items)

    other = int(batch.index[BROKEN])
    assert batch.num_replaced == 1
    assert other != BROKEN
    assert batch.index.tolist() == [other if index == BROKEN else index for index in range(COUNT)]
    for found, expected in zip((*batch.views, *batch.photometric), (*wanted.views, *wanted.photometric), strict=True):
        for place in range(COUNT):
            assert torch.equal(found[place], expected[other if place == BROKEN else place])
    assert [(row["location"], row["season"], row["archive"]) for row in rows(ledger)] == [
        (f"{BROKEN:07}", 0, str(path))
    ]


def test_epochs_draw_other_images(whole, tmp_path):
    """One neighbour that always steps in would be seen twice as often as the others."""
    data = dataset(damaged(whole, tmp_path / "b.zarr", [BROKEN]), tmp_path / "damaged.jsonl")

    assert len({int(data.__getitems__([(epoch, BROKEN)]).index[0]) for epoch in range(20)}) > 5


def test_whoever_reads_and_whenever_it_is_the_same(whole, tmp_path):
    """With workers, and after an interruption."""
    path = damaged(whole, tmp_path / "b.zarr", [BROKEN, 5, 6])
    alone = load(path, tmp_path / "a.jsonl")

    shared, late = load(path, tmp_path / "b.jsonl", workers=2), load(path, tmp_path / "c.jsonl", first=2)

    assert sum(batch.num_replaced for batch in alone) == 6  # three in each epoch
    for other, same in ((shared, alone), (late, alone[2:])):
        for a, b in zip(other, same, strict=True):
            assert torch.equal(a.index, b.index)
            assert all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))
    assert len(rows(tmp_path / "a.jsonl")) == len(rows(tmp_path / "b.jsonl")) >= 6


def test_what_is_drawn_may_be_damaged_too_but_not_ten_times(whole, tmp_path):
    """An archive of which nothing can be read is no archive with damage."""
    ledger = tmp_path / "damaged.jsonl"
    most = damaged(whole, tmp_path / "most.zarr", range(6))
    everything = damaged(whole, tmp_path / "all.zarr", range(COUNT))

    found = dataset(most, ledger).__getitems__([(0, 0), (0, 1), (0, 2)]).index

    assert set(found.tolist()) <= set(range(6, COUNT))
    with pytest.raises(ShardCorrupt, match=r"location 0000007.*nor can 10 items that were drawn to replace it"):
        dataset(everything, ledger).__getitems__([(0, 7)])


def test_parts_of_a_batch_count_nothing_twice(whole, tmp_path):
    """A batch is cut for accumulation; the watch has counted it whole."""
    path = damaged(whole, tmp_path / "b.zarr", [BROKEN])
    batch = dataset(path, tmp_path / "l.jsonl").__getitems__([(0, i) for i in range(4)])

    assert batch.num_replaced == 1
    assert [part.num_replaced for part in batch.split(2)] == [0, 0]


def test_loops_of_ones_own_can_do_the_same(whole, tmp_path):
    """By the same argument as the data set of plain images."""
    path = damaged(whole, tmp_path / "b.zarr", [BROKEN])
    with pytest.raises(ShardCorrupt):
        list(ViewBatches(path, VIEWS, batch_size=4))

    seen = [
        name for batch in ViewBatches(path, VIEWS, batch_size=4, ledger=str(tmp_path / "l.jsonl")) for name in batch.ids
    ]

    assert len(seen) == COUNT
    assert f"{BROKEN:07}" not in seen
    assert len(rows(tmp_path / "l.jsonl")) == 1


def test_plain_images_are_replaced_by_the_same_rule(whole, tmp_path):
    """The next one that can be read would stand in for all of a lost shard, and each would try all before it."""
    path = damaged(whole, tmp_path / "b.zarr", range(6))
    images = ArchiveDataset(path, "S1GRD", ledger=tmp_path / "l.jsonl")

    found = [images[index]["index"] for index in range(COUNT)]

    assert found[6:] == list(range(6, COUNT))
    assert set(found[:6]) <= set(range(6, COUNT))
    assert len(set(found[:6])) > 2
    assert found == [images[index - COUNT]["index"] for index in range(COUNT)]


def test_plain_images_are_not_looked_for_in_all_of_a_lost_archive(whole, tmp_path):
    """Ten are tried; the ledger does not grow by all items each time. An archive of one image has no other."""
    ledger = tmp_path / "l.jsonl"
    path = damaged(whole, tmp_path / "b.zarr", range(COUNT))

    with pytest.raises(ShardCorrupt, match=r"location 0000007.*nor can 10 items that were drawn to replace it"):
        ArchiveDataset(path, "S1GRD", ledger=ledger)[7]
    assert len(rows(ledger)) == 11
    with pytest.raises(ShardCorrupt, match="location 0000007, season 0, cannot") as told:
        ArchiveDataset(path, "S1GRD", ids=["7"], ledger=ledger)[0]
    assert "nor can" not in str(told.value)
