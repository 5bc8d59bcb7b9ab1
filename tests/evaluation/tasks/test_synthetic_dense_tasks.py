# SPDX-License-Identifier: Apache-2.0
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl4eo.archive.reader import open_archive
from ssl4eo.archive.writer import ArchiveWriter
from ssl4eo.collection.synthetic import LANDCOVER, SyntheticPlanet
from ssl4eo.contract import network_input
from ssl4eo.errors import ContractMismatch, SourceInvalid, UnknownName
from ssl4eo.evaluation.tasks.synthetic_dense import blobs, choose_donors
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.evaluation.tasks.task import PARTS, UNJUDGED

L1C = network_input("S2L1C")
BOTH = network_input("S2L1C+S1GRD")
NAMES = ("synthetic_segmentation", "synthetic_change")
PLANET = SyntheticPlanet(60, size=48, num_seasons=2, modalities=("S1GRD", "S2L1C"))


def write(path: Path, planet: SyntheticPlanet, *, masked: bool = True, **changes: object) -> Path:
    """Write a planet as an archive."""
    with ArchiveWriter(
        path,
        forms=planet.forms,
        num_seasons=planet.num_seasons,
        shape=planet.shape,
        provenance=replace(planet.provenance, **changes),
        masks=planet.masks if masked else {},
    ) as writer:
        for location in planet.ids():
            sample = planet.read(location)
            writer.append(sample if masked else replace(sample, masks={}))
        writer.finish()
    return path


@pytest.fixture(scope="session")
def planet_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 locations of 48 x 48 px, 6 of each scene, 2 seasons, radar and optical."""
    return write(tmp_path_factory.mktemp("planet") / "a.zarr", PLANET)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_those_of_the_scene_task(planet_archive, name):
    """All synthetic tasks judge the same locations."""
    scenes = open_task("synthetic", planet_archive, contract=L1C)

    task = open_task(name, planet_archive, contract=L1C)

    for part in PARTS:
        assert task.part(part).ids == scenes.part(part).ids
    assert task.split_sha256 == scenes.split_sha256
    assert task.synthetic
    assert any("no satellite" in note for note in task.notes)


def test_land_cover_is_that_of_the_planet(planet_archive):
    """The maps are what the planet itself says of the location, and nothing is unjudged."""
    task = open_task("synthetic_segmentation", planet_archive, contract=L1C)

    part = task.part("test")

    assert (task.kind, task.classes) == ("segmentation", tuple(LANDCOVER.values()))
    for item, identifier in zip(part.items[:4], part.ids[:4], strict=True):
        np.testing.assert_array_equal(part.maps(int(item)), PLANET.read(identifier).masks["landcover"])


def donors_of(task):
    """Give the location that each takes its patch from."""
    return task.everything.source._donors


def test_first_date_is_untouched_and_second_is_pasted_where_the_map_says(planet_archive):
    """Every grid: outside the patch the location at its next season, inside the donor at that season."""
    task = open_task("synthetic_change", planet_archive, contract=BOTH)
    archive, source = open_archive(planet_archive), task.everything.source
    scenes = open_task("synthetic", planet_archive, contract=L1C).everything

    for item in range(12):
        first, donor = int(scenes.seasons[item]), int(donors_of(task)[item])
        cells = blobs(archive.ids[item], 8, 8) if donor >= 0 else np.zeros((8, 8), bool)
        before, after = source.pixels(item, 0), source.pixels(item, 1)
        for resolution, values in source._source.pixels(item, first).items():
            pasted = np.kron(cells, np.ones((60 // resolution,) * 2)).astype(bool)
            own = source._source.pixels(item, (first + 1) % 2)[resolution]
            other = source._source.pixels(donor, (first + 1) % 2)[resolution]
            np.testing.assert_array_equal(before[resolution], values)
            np.testing.assert_array_equal(after[resolution][:, ~pasted], own[:, ~pasted])
            np.testing.assert_array_equal(after[resolution][:, pasted], other[:, pasted])
            assert after[resolution].dtype == own.dtype


def test_changed_is_what_has_another_land_cover_than_before(planet_archive):
    """Pasted and other: 1; pasted and the same: not judged; the rest: 0."""
    task = open_task("synthetic_change", planet_archive, contract=L1C)
    archive = open_archive(planet_archive)

    counts = np.zeros(256, int)
    for item, donor in enumerate(donors_of(task)):
        found = task.everything.maps(item)
        counts += np.bincount(found.ravel(), minlength=256)
        cover = archive.mask("landcover", location=item)
        cells = blobs(archive.ids[item], 8, 8) if donor >= 0 else np.zeros((8, 8), bool)
        pasted = np.kron(cells, np.ones((6, 6))).astype(bool)
        other = cover != archive.mask("landcover", location=max(int(donor), 0))
        np.testing.assert_array_equal(found == 1, pasted & other)
        np.testing.assert_array_equal(found == UNJUDGED, pasted & ~other)
    assert task.classes == ("no change", "change")
    assert 0.03 < counts[1] / counts.sum() < 0.3
    assert counts[[0, 1, UNJUDGED]].sum() == counts.sum()


def test_every_part_has_changes_and_takes_them_from_its_own_locations(planet_archive):
    """No test pixel is pasted into training; some locations are left as they are."""
    task = open_task("synthetic_change", planet_archive, contract=L1C)
    donors = donors_of(task)

    for part in PARTS:
        mine = task.positions[part]
        pasted = donors[mine]
        assert set(pasted.tolist()) <= {-1, *mine.tolist()}
        assert any((task.everything.maps(int(i)) == 1).any() for i in mine)
    assert 0.05 < (donors < 0).mean() < 0.4


def test_donors_do_not_depend_on_the_order_of_the_locations():
    """A table that is sorted otherwise pastes the same."""
    ids = [f"{i:07d}" for i in range(40)]
    part, scene = np.arange(40) % 3, np.arange(40) // 3 % 5
    order = np.random.default_rng(0).permutation(40)

    plain = choose_donors(ids, part, scene)
    shuffled = choose_donors([ids[i] for i in order], part[order], scene[order])

    names = {ids[i]: ids[d] if d >= 0 else "" for i, d in enumerate(plain)}
    assert {ids[order[i]]: ids[order[d]] if d >= 0 else "" for i, d in enumerate(shuffled)} == names
    taken = plain >= 0
    assert (part[plain[taken]] == part[taken]).all()
    assert (scene[plain[taken]] != scene[taken]).all()


def test_a_part_of_one_scene_has_no_donors():
    """There is nothing else to paste."""
    assert (choose_donors(["a", "b", "c"], np.zeros(3, int), np.zeros(3, int)) == -1).all()


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=9), st.integers(2, 60), st.integers(2, 60))
def test_a_patch_is_some_but_not_all_of_the_ground(location, height, width):
    """One cell at least, and the same again for the same id."""
    cells = blobs(location, height, width)

    assert 1 <= cells.sum() < cells.size
    np.testing.assert_array_equal(cells, blobs(location, height, width))


def test_radar_and_optical_networks_are_judged_on_the_same_maps(planet_archive):
    """The changes follow from the ids, whatever is read."""
    tasks = [open_task("synthetic_change", planet_archive, contract=c) for c in (L1C, network_input("S1GRD"))]

    for item in range(10):
        np.testing.assert_array_equal(*(task.everything.maps(item) for task in tasks))
    assert len({task.everything.source.identity for task in tasks}) == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_worker_reads_the_same(planet_archive, name):
    """Source and maps go through pickle."""
    everything = open_task(name, planet_archive, contract=L1C).everything

    again = pickle.loads(pickle.dumps(everything))

    np.testing.assert_array_equal(again.maps(5), everything.maps(5))
    for resolution, values in everything.source.pixels(5, 1).items():
        np.testing.assert_array_equal(again.source.pixels(5, 1)[resolution], values)
    assert again.source.identity == everything.source.identity


def test_only_wanted_grids_are_read(planet_archive):
    """As an archive does."""
    source = open_task("synthetic_change", planet_archive, contract=L1C).everything.source
    pasted = int(np.flatnonzero(donors_of(open_task("synthetic_change", planet_archive, contract=L1C)) >= 0)[0])

    assert list(source.pixels(pasted, 1, resolutions=[20])) == [20]


@pytest.mark.parametrize("name", NAMES)
def test_other_archives_are_refused(tmp_path, name):
    """Without the mask; or real: whatever its mask means, it is not the planet's."""
    planet = SyntheticPlanet(10, size=24, num_seasons=2, modalities=("S2L1C",))
    bare = write(tmp_path / "b.zarr", planet, masked=False)
    real = write(tmp_path / "c.zarr", planet, synthetic=False, title="a real place")

    with pytest.raises(SourceInvalid, match=r"has the masks \(none\); expected .*'landcover'"):
        open_task(name, bare, contract=L1C)
    with pytest.raises(SourceInvalid, match=r"a real place.*expected an archive of the synthetic planet"):
        open_task(name, real, contract=L1C)


def test_one_season_is_no_change(tmp_path):
    """Two dates of one image would show nothing but the paste."""
    planet = SyntheticPlanet(10, size=24, num_seasons=1, modalities=("S2L1C",))

    with pytest.raises(SourceInvalid, match=r"has 1 seasons .*expected two or more seasons"):
        open_task("synthetic_change", write(tmp_path / "b.zarr", planet), contract=L1C)


@pytest.mark.parametrize("name", NAMES)
def test_other_networks_and_splits_are_refused(planet_archive, name):
    """As the scene task does."""
    with pytest.raises(ContractMismatch, match="holds S1GRD, S2L1C, the network wants S2L2A"):
        open_task(name, planet_archive, contract=network_input("S2L2A"))
    with pytest.raises(UnknownName, match=f"no split of {name} is called 'random'"):
        open_task(name, planet_archive, contract=L1C, split="random")


@pytest.mark.parametrize("name", NAMES)
def test_too_few_locations_are_refused(tmp_path, name):
    """Ten locations are one of each scene: all are test."""
    planet = SyntheticPlanet(10, size=24, num_seasons=2, modalities=("S2L1C",))

    with pytest.raises(SourceInvalid, match=f"no items in the train part of {name}"):
        open_task(name, write(tmp_path / "b.zarr", planet), contract=L1C)
