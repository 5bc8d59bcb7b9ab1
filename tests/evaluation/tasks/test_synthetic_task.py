# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.collection.synthetic import SCENES, SyntheticPlanet
from ssl4eo.contract import network_input
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.evaluation.tasks.task import PARTS

L1C = network_input("S2L1C")


def _write(path: Path, *, num_locations: int, labelled: bool = True) -> Path:
    planet = SyntheticPlanet(num_locations, size=24, num_seasons=2, modalities=("S2L1C",))
    with ArchiveWriter(
        path,
        forms=planet.forms,
        num_seasons=planet.num_seasons,
        shape=planet.shape,
        provenance=planet.provenance,
        masks=planet.masks,
    ) as writer:
        for location in planet.ids():
            sample = planet.read(location)
            writer.append(sample if labelled else replace(sample, labels={}))
        writer.finish()
    return path


@pytest.fixture(scope="session")
def planet_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 locations, 6 of each scene, 2 seasons, 24 x 24 px."""
    return _write(tmp_path_factory.mktemp("planet") / "a.zarr", num_locations=60)


def test_a_third_of_each_class_is_test(planet_archive: Path) -> None:
    """Of 6 locations a scene 2 are test, 1 is validation, 3 are train."""
    task = open_task("synthetic", planet_archive, contract=L1C)

    counts = {part: np.bincount(task.part(part).labels).tolist() for part in PARTS}

    assert task.classes == tuple(sorted(SCENES))
    assert counts == {"train": [3] * 10, "validation": [1] * 10, "test": [2] * 10}


def test_labels_are_those_of_the_location_table(planet_archive: Path) -> None:
    """Every item has the scene that its location has."""
    archive = open_archive(planet_archive)
    scenes = dict(zip(archive.ids, archive.labels("scene"), strict=True))

    task = open_task("synthetic", planet_archive, contract=L1C)

    for part in map(task.part, PARTS):
        assert [task.classes[label] for label in part.labels] == [scenes[i] for i in part.ids]


def test_each_location_is_in_one_part_with_one_season_of_its_own(planet_archive: Path) -> None:
    """Train and test hold all seasons, and no location twice."""
    task = open_task("synthetic", planet_archive, contract=L1C)

    for part in map(task.part, ("train", "test")):
        assert set(part.seasons.tolist()) == {0, 1}
    assert len({i for part in PARTS for i in task.part(part).ids}) == 60


def test_pixels_are_those_of_the_item_and_season(planet_archive: Path) -> None:
    """What the task reads is what the archive holds there."""
    archive = open_archive(planet_archive)

    part = open_task("synthetic", planet_archive, contract=L1C).part("test")

    for i in (0, 7):
        found = part.source.pixels(int(part.items[i]), int(part.seasons[i]))
        expected = archive.read("S2L1C", location=part.ids[i], season=int(part.seasons[i])).pixels
        for resolution, values in expected.items():
            np.testing.assert_array_equal(found[resolution], values)


def test_task_says_that_it_is_synthetic(planet_archive: Path) -> None:
    """No satellite saw these pixels, and the task knows."""
    assert open_task("synthetic", planet_archive, contract=L1C).synthetic


def test_archive_without_the_networks_modality_is_refused(planet_archive: Path) -> None:
    """A radar network on an optical archive: the remedy names what there is."""
    with pytest.raises(ContractMismatch, match=r"holds S2L1C, the network wants S1GRD.*trained on one of S2L1C"):
        open_task("synthetic", planet_archive, contract=network_input("S1GRD"))


def test_archive_without_scene_labels_is_refused(tmp_path: Path) -> None:
    """Pixels without labels are no task."""
    path = _write(tmp_path / "b.zarr", num_locations=10, labelled=False)

    with pytest.raises(SourceInvalid, match=r"label columns \(none\); expected a column 'scene'"):
        open_task("synthetic", path, contract=L1C)


def test_too_few_locations_of_a_class_are_refused(tmp_path: Path) -> None:
    """Twenty locations are two of each scene: too few for three parts."""
    path = _write(tmp_path / "c.zarr", num_locations=20)

    with pytest.raises(SourceInvalid, match="has 2 items, none of them in the train part"):
        open_task("synthetic", path, contract=L1C)


def test_missing_archive_and_unknown_split_are_refused(planet_archive: Path, tmp_path: Path) -> None:
    """What is not there is named."""
    with pytest.raises(DataMissing, match=r"absent\.zarr"):
        open_task("synthetic", tmp_path / "absent.zarr", contract=L1C)
    with pytest.raises(UnknownName, match="no split of synthetic is called 'random'"):
        open_task("synthetic", planet_archive, contract=L1C, split="random")
