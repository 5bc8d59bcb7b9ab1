# SPDX-License-Identifier: Apache-2.0
"""The data set gives what the archive holds, in any worker, and reads nothing else."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ssl4eo.archive.reader import Archive, open_archive
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.collection.synthetic import SyntheticPlanet
from ssl4eo.contract import network_input, stored
from ssl4eo.errors import (
    ConfigInvalid,
    ContractMismatch,
    DataMissing,
    LocationMissing,
    ShardCorrupt,
    UnknownName,
)
from ssl4eo.loading.dataset import ArchiveDataset
from ssl4eo.packing.pack import pack
from ssl4eo.sample import Image, Location, Provenance, Sample


@pytest.fixture(scope="module")
def planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 5 synthetic locations, 3 dates, radar and L1C, 24 px."""
    path = tmp_path_factory.mktemp("dataset") / "a.zarr"
    pack(SyntheticPlanet(5, size=24, num_seasons=3, modalities=("S1GRD", "S2L1C")), path)
    return path


def test_items_go_location_by_location_and_season_by_season(planet: Path) -> None:
    """The number tells both, from either end; past the end there is nothing."""
    dataset = ArchiveDataset(planet, "S1GRD")

    rows = [(dataset[i]["location"], dataset[i]["season"]) for i in range(len(dataset))]

    assert rows == [(f"{i:07d}", s) for i in range(5) for s in range(3)]
    assert (dataset[-1]["location"], dataset[-1]["season"]) == ("0000004", 2)
    for number in (15, -16):
        with pytest.raises(IndexError):
            dataset[number]


def test_pixels_are_those_of_the_archive(planet: Path) -> None:
    """Every modality, native grids, stored type."""
    archive, dataset = open_archive(planet), ArchiveDataset(planet)

    item = dataset[4]

    for name in ("S1GRD", "S2L1C"):
        expected = archive.read_pixels(name, index=1, season=1)
        groups = item[name] if isinstance(item[name], dict) else {10: item[name]}
        assert set(groups) == set(expected)
        for resolution, values in groups.items():
            assert np.array_equal(values.numpy(), expected[resolution])
    assert item["S2L1C"][20].dtype == torch.uint16


def test_bands_come_in_the_order_asked_for(planet: Path) -> None:
    """On one grid as a tensor; on several by grid; on a common grid as the archive's own resampling gives them."""
    image = open_archive(planet).read("S2L1C", location=2, season=0)

    rgb = ArchiveDataset(planet, "S2L1C", bands=["B04", "B03", "B02"]).item(2, season=0)["S2L1C"]
    mixed = ArchiveDataset(planet, "S2L1C", bands=["B11", "B02", "B05"]).item(2, season=0)["S2L1C"]
    grid = ArchiveDataset(planet, "S2L1C", bands=["B11", "B02"], resolution=10).item(2, season=0)["S2L1C"]

    assert np.array_equal(rgb.numpy(), np.stack([image.band(b) for b in ("B04", "B03", "B02")]))
    assert np.array_equal(mixed[20].numpy(), np.stack([image.band("B11"), image.band("B05")]))
    assert np.array_equal(mixed[10].numpy(), image.band("B02")[None])
    names = image.form.bands
    expected = image.to_grid(10)[[names.index("B11"), names.index("B02")]]
    assert grid.dtype == torch.float32
    assert np.array_equal(grid.numpy(), expected)


def test_other_spellings_of_bands_are_translated(planet: Path) -> None:
    """As `pack --bands` does; an unknown one is told with the bands that there are."""
    ours = ArchiveDataset(planet, "S2L1C", bands=["B04", "B02"])[3]["S2L1C"]

    assert torch.equal(ArchiveDataset(planet, "S2L1C", bands=["B4", "blue"])[3]["S2L1C"], ours)
    with pytest.raises(UnknownName, match="band of S2L1C in this archive is called 'B99'"):
        ArchiveDataset(planet, "S2L1C", bands=["B99"])


def test_landsat_bands_keep_their_spelling(tmp_path: Path) -> None:
    """B4 of Landsat is another band than B04."""
    sample = Sample(
        Location("a"), {"L5TOA": (Image("L5TOA", {30: np.arange(7 * 4, dtype=np.uint8).reshape(7, 2, 2)}),)}
    )
    spec = {
        "forms": sample.forms,
        "num_seasons": 1,
        "shape": (2, 2),
        "provenance": Provenance("t", synthetic=True, licence="CC0-1.0"),
    }
    with ArchiveWriter(tmp_path / "l.zarr", **spec) as writer:
        writer.append(sample)
        writer.finish()

    item = ArchiveDataset(tmp_path / "l.zarr", "L5TOA", bands=["B4"])[0]["L5TOA"]

    assert item.flatten().tolist() == [12, 13, 14, 15]
    with pytest.raises(UnknownName):
        ArchiveDataset(tmp_path / "l.zarr", "L5TOA", bands=["B04"])


def test_grids_without_a_wanted_band_are_not_read(planet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four 10 m bands cost one chunk."""
    asked = []
    real = Archive.read_pixels

    def spy(self: Archive, *args: object, **keywords: object) -> object:
        asked.append(tuple(keywords["resolutions"]))
        return real(self, *args, **keywords)

    monkeypatch.setattr(Archive, "read_pixels", spy)
    ArchiveDataset(planet, "S2L1C", bands=["B08", "B02"])[0]

    assert asked == [(10,)]


def test_a_contract_is_met_or_refused(planet: Path) -> None:
    """Reflectance of all bands, zeros for nothing; radar cannot stand for it."""
    image = open_archive(planet).read("S2L1C", location=0, season=0)

    item = ArchiveDataset(planet, "S2L1C", resolution=10, contract=network_input("S2L1C"))[0]["S2L1C"]

    assert np.allclose(item.numpy(), np.clip(image.to_grid(10) / 10_000, 0, 1), atol=1e-6)
    with pytest.raises(ContractMismatch):
        ArchiveDataset(planet, "S1GRD", contract=network_input("S2L1C"))
    with pytest.raises(ConfigInvalid, match="several grids"):
        ArchiveDataset(planet, "S2L1C", contract=network_input("S2L1C"))


def test_locations_and_seasons_can_be_chosen(planet: Path, tmp_path: Path) -> None:
    """By ids, by a file of ids, by position in time."""
    (tmp_path / "valid.txt").write_text("0000003\n\n0000001\n")

    by_file = ArchiveDataset(planet, "S1GRD", ids=tmp_path / "valid.txt", seasons=[2])
    by_list = ArchiveDataset(planet, "S1GRD", ids=["0000003", "0000001"], seasons=[2])

    for dataset in (by_file, by_list):
        assert [(dataset[i]["location"], dataset[i]["season"]) for i in range(len(dataset))] == [
            ("0000003", 2),
            ("0000001", 2),
        ]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"modalities": "S2L2A"}, UnknownName),
        ({"modalities": "S2L1C", "bands": ["B13"]}, UnknownName),
        ({"modalities": "S2L1C", "bands": []}, ConfigInvalid),
        ({"bands": ["B02"]}, ConfigInvalid),
        ({"modalities": "S2L1C", "bands": ["B04", "B04"]}, ConfigInvalid),
        ({"modalities": "S2L1C", "bands": ["B04", "red"]}, ConfigInvalid),
        ({"modalities": "S2L1C", "bands": ["VV"]}, UnknownName),
        ({"seasons": [3]}, LocationMissing),
        ({"seasons": []}, ConfigInvalid),
        ({"ids": ["9999999"]}, LocationMissing),
        ({"ids": []}, ConfigInvalid),
        ({"ids": Path("nowhere.txt")}, DataMissing),
        ({"modalities": "S2L1C", "bands": ["B02"], "contract": stored("S2L1C")}, ConfigInvalid),
    ],
)
def test_what_the_archive_does_not_hold_is_refused_when_it_is_asked_for(
    planet: Path, options: dict, error: type
) -> None:
    """Not at the first item of an epoch."""
    with pytest.raises(error):
        ArchiveDataset(planet, **options)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_change_nothing(planet: Path, context: str) -> None:
    """Batches of two workers equal those of this process, also after this process has open files."""
    dataset = ArchiveDataset(planet, "S2L1C", bands=["B04", "B03", "B02"])
    alone = list(DataLoader(dataset, batch_size=4))

    several = list(DataLoader(dataset, batch_size=4, num_workers=2, multiprocessing_context=context))

    for left, right in zip(alone, several, strict=True):
        assert left["location"] == right["location"]
        assert torch.equal(left["S2L1C"].int(), right["S2L1C"].int())
        assert left["S2L1C"].dtype == torch.uint16


def test_it_travels_as_a_path(planet: Path) -> None:
    """Pickled, it holds no pixels and no files."""
    dataset = ArchiveDataset(planet, "S1GRD")
    dataset[0]

    data = pickle.dumps(dataset)

    assert len(data) < 5_000
    assert torch.equal(pickle.loads(data)[7]["S1GRD"], dataset[7]["S1GRD"])


def test_a_broken_chunk_is_raised_or_skipped_with_a_line_in_the_ledger(tmp_path: Path) -> None:
    """Another item stands in; the ledger says archive, what, location and season."""
    path = tmp_path / "a.zarr"
    pack(SyntheticPlanet(3, size=24, num_seasons=2, modalities=("S1GRD",)), path)
    shard = path / "S1GRD/10m/bands/c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[20] ^= 1  # in the first chunk
    shard.write_bytes(data)

    with pytest.raises(ShardCorrupt, match="location 0000000, season 0"):
        ArchiveDataset(path, "S1GRD")[0]
    dataset = ArchiveDataset(path, "S1GRD", ledger=tmp_path / "ledger.jsonl")

    item = dataset[0]

    assert (item["location"], item["season"]) != ("0000000", 0)
    (line,) = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert (line["location"], line["season"], line["what"]) == ("0000000", 0, "S1GRD")
    assert line["archive"] == str(path)
    with pytest.raises(ShardCorrupt):
        ArchiveDataset(path, "S1GRD", ids=["0000000"], seasons=[0], ledger=tmp_path / "ledger.jsonl")[0]


def test_unpadded_numbers_are_ids_and_doubles_come_once(planet: Path, tmp_path: Path) -> None:
    """As the published list of 50,000 ids has them; a file may be named as text."""
    (tmp_path / "ids.csv").write_text("3\n1\n3\n")

    dataset = ArchiveDataset(planet, "S1GRD", ids=str(tmp_path / "ids.csv"), seasons=[0])

    assert [dataset[i]["location"] for i in range(len(dataset))] == ["0000003", "0000001"]
