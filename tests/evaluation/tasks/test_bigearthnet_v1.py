# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import json
import logging
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from bigearthnet_folders import s1_name, s2_name, value, write_lists, write_v1

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.collection.geotiff_write import encode_geotiff
from ssl4eo.contract import network_input
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.evaluation.features import extract
from ssl4eo.evaluation.tasks import bigearthnet_labels, bigearthnet_lists
from ssl4eo.evaluation.tasks.bigearthnet_labels import CLASSES_19, CLASSES_43, MERGED
from ssl4eo.evaluation.tasks.fractions import take_fraction
from ssl4eo.evaluation.tasks.table import open_task

L2A, S1, BOTH = (network_input(name) for name in ("S2L2A", "S1GRD", "S2L2A+S1GRD"))
LABELS = [
    ["Pastures"],
    ["Peatbogs", "Inland marshes"],
    ["Airports"],
    ["Sea and ocean", "Beaches, dunes, sands"],
    ["Transitional woodland/shrub", "Water bodies"],
    ["Continuous urban fabric", "Discontinuous urban fabric", "Airports"],
    ["Vineyards"],
]
NINETEEN = [[4], [15], [], [14, 18], [13, 17], [0], [3]]
PACKAGE = importlib.util.find_spec("bigearthnet_common")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Labels are kept in a cache of the test's own."""
    monkeypatch.setenv("SSL4EO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Seven synthetic patches in the published folders with SeCo's lists: 0, 6, 1 and 2 train, 3 and 4 val, 5 test."""
    write_v1(tmp_path / "data", LABELS)
    write_lists(tmp_path / "data", train=[0, 6, 1, 2], val=[3, 4], test=[5])
    return tmp_path / "data"


def indices(labels: np.ndarray) -> list[list[int]]:
    """Give the labels that each item has."""
    return [np.flatnonzero(row).tolist() for row in labels]


def test_classes_are_those_of_the_authors() -> None:
    """43 in the alphabet's order, 19 of which 11 of the 43 have no part."""
    assert (len(CLASSES_43), CLASSES_43[0], CLASSES_43[-1]) == (43, "Agro-forestry areas", "Water courses")
    assert len(CLASSES_19) == 19
    assert sum(target is None for target in MERGED.values()) == 11
    assert {target for target in MERGED.values() if target} == set(CLASSES_19)


@pytest.mark.skipif(PACKAGE is None, reason="no bigearthnet-common")
def test_classes_and_mapping_agree_with_the_authors_package() -> None:
    """Word by word, read from its source without importing it."""
    source = (Path(PACKAGE.submodule_search_locations[0]) / "constants.py").read_text()
    names: dict = {}
    start = source.index("OLD2NEW_LABELS_DICT = {")
    exec(source[start : source.index("}", start) + 1], names)
    start = source.index('NEW_LABELS_ORIGINAL_ORDER = (\n    "Urban fabric"')
    exec(source[start : source.index(")\n", start) + 1], names)

    assert dict(MERGED) == names["OLD2NEW_LABELS_DICT"]
    assert names["NEW_LABELS_ORIGINAL_ORDER"] == CLASSES_19


def test_nineteen_labels_are_merged_and_a_patch_may_have_none(root: Path) -> None:
    """Two urban fabrics are one label, an airport is none."""
    task = open_task("bigearthnet_v1_s2", root, contract=L2A, split="seco")

    by_name = dict(zip(task.everything.ids, indices(task.everything.labels), strict=True))

    assert [by_name[s2_name(i)] for i in range(7)] == NINETEEN
    assert (task.kind, task.classes, task.version) == ("labels", CLASSES_19, "1.0")


def test_fortythree_labels_are_those_of_the_files(root: Path) -> None:
    """By name, in the alphabet's order."""
    task = open_task("bigearthnet_v1_s2_43", root, contract=L2A, split="seco")

    found = {
        i: [task.classes[k] for k in row]
        for i, row in zip(task.everything.ids, indices(task.everything.labels), strict=True)
    }

    assert [sorted(found[s2_name(i)]) for i in range(7)] == [sorted(names) for names in LABELS]
    assert task.classes == CLASSES_43


def test_reference_learns_from_secos_train_and_is_judged_on_its_val(root: Path) -> None:
    """The test list is not used, and validation is carved out of train; the order is that of the list."""
    task = open_task("bigearthnet_v1_s2", root, contract=L2A)

    assert set(task.part("test").ids) == {s2_name(3), s2_name(4)}
    assert task.everything.ids[:4] == tuple(s2_name(i) for i in (0, 6, 1, 2))
    assert task.carved
    assert len(task.part("validation")) == 1


def test_reference_needs_no_test_list(root: Path) -> None:
    """The published benchmark has none."""
    (root / "bigearthnet-test.txt").unlink()

    assert len(open_task("bigearthnet_v1_s2", root, contract=L2A).part("test")) == 2
    with pytest.raises(DataMissing, match=r"no bigearthnet-test\.txt or seco-test\.txt .*--only seco-splits"):
        open_task("bigearthnet_v1_s2", root, contract=L2A, split="seco")


def test_three_lists_are_three_parts(root: Path) -> None:
    """Nothing is carved."""
    task = open_task("bigearthnet_v1_s2", root, contract=L2A, split="seco")

    assert task.part("train").ids == tuple(s2_name(i) for i in (0, 6, 1, 2))
    assert task.part("validation").ids == (s2_name(3), s2_name(4))
    assert task.part("test").ids == (s2_name(5),)


def test_ones_own_official_lists_go_before_the_packages(root: Path) -> None:
    """Rows of two names, with carriage returns."""
    write_lists(root, train=[0, 1], val=[2], test=[3, 4], suffix="csv")

    task = open_task("bigearthnet_v1_s2", root, contract=L2A, split="official")

    assert task.part("train").ids == (s2_name(0), s2_name(1))
    assert task.part("test").ids == (s2_name(3), s2_name(4))


def test_snow_and_cloud_are_dropped(root: Path) -> None:
    """From every part, and the task says how many."""
    write_lists(root, train=[0, 6, 1, 2], val=[3, 4], test=[5], snow=[6, 4], cloud=[2])

    task = open_task("bigearthnet_v1_s2", root, contract=L2A, split="seco")

    assert task.everything.ids == tuple(s2_name(i) for i in (0, 1, 3, 5))
    assert task.notes[0] == "3 of 7 listed patches dropped: seasonal snow, cloud or shadow"


def test_the_published_fraction_counts_after_the_dropped_ones(root: Path) -> None:
    """Positions are those in the list without snow and cloud: here 0, 1, 2 of which half are drawn."""
    write_lists(root, train=[0, 6, 1, 2, 3], val=[4], snow=[6])
    task = open_task("bigearthnet_v1_s2", root, contract=L2A)

    few = take_fraction(task, 0.5, form="as_published")

    drawn = {*few.part("train").ids, *few.part("validation").ids}
    positions = np.random.default_rng(42).choice(range(4), 2)
    assert drawn == {[s2_name(i) for i in (0, 1, 2, 3)][p] for p in positions}


def test_bands_are_native_and_in_canonical_order(root: Path) -> None:
    """10 m: B02 B03 B04 B08; 20 m: B05 to B8A, B11, B12; 60 m: B01, B09."""
    part = open_task("bigearthnet_v1_s2", root, contract=L2A, split="seco").part("validation")

    pixels = part.source.pixels(int(part.items[1]), 0)

    channels = {10: [1, 2, 3, 7], 20: [4, 5, 6, 8, 10, 11], 60: [0, 9]}
    for resolution, expected in channels.items():
        size = 1200 // resolution
        assert pixels[resolution].shape == (len(expected), size, size)
        assert pixels[resolution].dtype == np.uint16
        assert pixels[resolution][:, 0, 0].tolist() == [value(4, channel) for channel in expected]


def test_only_the_wanted_resolutions_are_read(root: Path) -> None:
    """A network of 10 m bands opens four files."""
    part = open_task("bigearthnet_v1_s2", root, contract=L2A, split="seco").part("test")
    (root / "BigEarthNet-v1.0" / s2_name(5) / f"{s2_name(5)}_B01.tif").unlink()

    assert list(part.source.pixels(int(part.items[0]), 0, resolutions=[10])) == [10]


def test_radar_is_found_by_the_list_of_pairs_and_known_by_its_optical_name(root: Path) -> None:
    """In dB, VV before VH; equal places have equal hashes under every sensor."""
    task = open_task("bigearthnet_v1_s1", root, contract=S1, split="seco")
    part = task.part("test")

    pixels = part.source.pixels(int(part.items[0]), 0)

    np.testing.assert_allclose(pixels[10][:, 0, 0], [-value(5, 0) / 100, -value(5, 1) / 100], rtol=1e-6)
    assert pixels[10].dtype == np.float32
    assert part.ids == (s2_name(5),)
    assert part.source.id_of(int(part.items[0])) == s1_name(5)
    assert indices(part.labels) == [NINETEEN[5]]
    assert task.split_sha256 == open_task("bigearthnet_v1_s2", root, contract=L2A, split="seco").split_sha256


def test_both_sensors_come_together(root: Path) -> None:
    """The 10 m group has the optical bands, then the radar's."""
    part = open_task("bigearthnet_v1_s1s2", root, contract=BOTH, split="seco").part("test")

    pixels = part.source.pixels(int(part.items[0]), 0)

    assert pixels[10].shape == (6, 120, 120)
    np.testing.assert_allclose(pixels[10][:, 0, 0], [601, 602, 603, 607, -6.0, -6.01], rtol=1e-6)


def test_radar_alone_needs_no_optical_folder(root: Path) -> None:
    """Labels are in its own files."""
    (root / "BigEarthNet-v1.0").rename(root.parent / "elsewhere")

    assert len(open_task("bigearthnet_v1_s1", root, contract=S1).part("test")) == 2


def test_the_folder_of_patches_itself_may_be_named(root: Path) -> None:
    """Lists lie in it or above it."""
    task = open_task("bigearthnet_v1_s2", root / "BigEarthNet-v1.0", contract=L2A)

    assert set(task.part("test").ids) == {s2_name(3), s2_name(4)}


def test_a_network_of_thirteen_bands_sees_the_twelve(root: Path) -> None:
    """B10 is zero, and features are finite."""
    part = open_task("bigearthnet_v1_s2", root, contract=network_input("S2L1C"), split="seco").part("validation")
    network = Backbone("resnet18", network_input("S2L1C"), image_size=32, seed=0).eval()

    assert extract(network, part).shape == (2, 512)


def test_a_source_goes_to_another_process(root: Path) -> None:
    """And reads there what it reads here."""
    source = open_task("bigearthnet_v1_s1s2", root, contract=BOTH).everything.source

    there = pickle.loads(pickle.dumps(source))

    np.testing.assert_array_equal(there.pixels(2, 0)[20], source.pixels(2, 0)[20])
    assert there.identity == source.identity


def test_opening_reads_no_pixels(tmp_path: Path) -> None:
    """Folders and labels are enough."""
    write_v1(tmp_path, LABELS, pixels=False)
    write_lists(tmp_path, train=[0, 1], val=[2])

    task = open_task("bigearthnet_v1_s2", tmp_path, contract=L2A)

    with pytest.raises(SourceInvalid, match=rf"no file .*{s2_name(2)}_B02\.tif"):
        task.part("test").source.pixels(2, 0)


def test_labels_read_in_several_lots_are_in_order(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files come a few thousand at once."""
    monkeypatch.setattr(bigearthnet_labels, "_AT_ONCE", 2)

    task = open_task("bigearthnet_v1_s1", root, contract=S1, split="seco")

    assert indices(task.everything.labels) == [NINETEEN[i] for i in (0, 6, 1, 2, 3, 4, 5)]


def test_labels_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time no file is opened: times and sizes are as they were."""
    first = open_task("bigearthnet_v1_s2", root, contract=L2A)
    read: list[Path] = []
    original = bigearthnet_labels._read_file
    monkeypatch.setattr(bigearthnet_labels, "_read_file", lambda file: read.append(file) or original(file))

    second = open_task("bigearthnet_v1_s2", root, contract=L2A)

    np.testing.assert_array_equal(first.everything.labels, second.everything.labels)
    assert not read


def test_labels_that_have_changed_are_read_again(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The cache is not trusted blindly."""
    open_task("bigearthnet_v1_s2", root, contract=L2A)
    file = root / "BigEarthNet-v1.0" / s2_name(3) / f"{s2_name(3)}_labels_metadata.json"
    file.write_text(json.dumps({"labels": ["Vineyards"]}))

    task = open_task("bigearthnet_v1_s2", root, contract=L2A)

    assert indices(task.part("test").labels)[0] == [3]
    assert "have changed" in caplog.text


def test_a_damaged_or_unwritable_cache_costs_time_only(root: Path, own_cache: Path) -> None:
    """Labels come from the files then."""
    open_task("bigearthnet_v1_s2", root, contract=L2A)
    (kept,) = (own_cache / "tasks").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])

    assert indices(open_task("bigearthnet_v1_s2", root, contract=L2A).part("test").labels) == NINETEEN[3:5]
    kept.unlink()
    (own_cache / "tasks").rmdir()
    (own_cache / "tasks").write_text("in the way")
    assert indices(open_task("bigearthnet_v1_s2", root, contract=L2A).part("test").labels) == NINETEEN[3:5]


def spoil(root: Path, content: str) -> None:
    """Write something else into the labels of patch 3."""
    (root / "BigEarthNet-v1.0" / s2_name(3) / f"{s2_name(3)}_labels_metadata.json").write_text(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"labels": ["Lava"]}', "has the label 'Lava'; expected one of BigEarthNet's 43 classes"),
        ('{"labels": ["Urban fabric"]}', "has the label 'Urban fabric'"),
        ('{"labels": "Pastures"}', "has no list of labels"),
        ("[1, 2]", "has no list of labels"),
        ('{"labels": [', "cannot be read"),
    ],
)
def test_labels_of_another_scheme_are_refused_by_file(root: Path, content: str, message: str) -> None:
    """Whatever is in the file."""
    spoil(root, content)

    with pytest.raises(SourceInvalid, match=message) as caught:
        open_task("bigearthnet_v1_s2", root, contract=L2A)
    assert s2_name(3) in str(caught.value)


def test_a_radar_patch_of_another_place_is_refused(root: Path) -> None:
    """Its own file names its partner."""
    file = root / "BigEarthNet-S1-v1.0" / s1_name(3) / f"{s1_name(3)}_labels_metadata.json"
    file.write_text(json.dumps({"labels": ["Pastures"], "corresponding_s2_patch": s2_name(0)}))

    with pytest.raises(SourceInvalid, match=f"names the Sentinel-2 patch '{s2_name(0)}'; expected '{s2_name(3)}'"):
        open_task("bigearthnet_v1_s1", root, contract=S1)


def test_patches_of_the_split_that_are_not_there_are_told(root: Path) -> None:
    """How many, the first, and where."""
    write_lists(root, train=[0, 6, 1, 88, 99], val=[3])

    with pytest.raises(
        DataMissing, match=rf"2 of the split's 6 patches are not in .*v1\.0 \({s2_name(88)} is the first"
    ):
        open_task("bigearthnet_v1_s2", root, contract=L2A)


def test_absent_patches_are_left_out_on_request(root: Path) -> None:
    """Of both sensors, each patch counted once; the others keep parts and labels."""
    write_lists(root, train=[0, 6, 1, 88], val=[3, 4])
    shutil.rmtree(root / "BigEarthNet-S1-v1.0" / s1_name(3))
    (root / "s1_s2_name_country_season.csv").write_text(
        "".join(f"{s1_name(i)},{s2_name(i)},Austria,Fall\n" for i in (0, 1, 3, 4, 6, 88))
    )

    task = open_task("bigearthnet_v1_s1s2", root, contract=BOTH, skip_missing=True)

    assert [gap.items for gap in task.gaps] == [(s2_name(88),), (s2_name(88), s2_name(3))]
    assert (task.num_absent, task.part("test").ids) == (2, (s2_name(4),))
    assert indices(task.part("test").labels) == [NINETEEN[4]]
    assert any("left out: 1 of the split's 6 patches" in note for note in task.notes)


@pytest.mark.parametrize("lost", ["B05.tif", "labels_metadata.json"])
def test_patches_that_lack_a_file_are_absent_where_some_may_be(root: Path, lost: str) -> None:
    """As an interrupted unpacking leaves them."""
    (root / "BigEarthNet-v1.0" / s2_name(3) / f"{s2_name(3)}_{lost}").unlink()

    task = open_task("bigearthnet_v1_s2", root, contract=L2A, skip_missing=True)

    assert task.gaps[0].items == (s2_name(3),)
    assert "1 of the split's 6 patches are not complete in" in task.gaps[0].found
    assert task.part("test").ids == (s2_name(4),)


def test_nothing_left_of_a_part_names_what_was_left_out(root: Path) -> None:
    """Both patches that are judged are absent."""
    for number in (3, 4):
        shutil.rmtree(root / "BigEarthNet-v1.0" / s2_name(number))

    with pytest.raises(
        SourceInvalid, match=f"no items in the test part .*2 were left out: .*{s2_name(3)}.*unpack the whole"
    ):
        open_task("bigearthnet_v1_s2", root, contract=L2A, skip_missing=True)


def test_a_folder_of_patches_of_any_name_is_found(root: Path) -> None:
    """As the example of the authors' package unpacks."""
    (root / "BigEarthNet-v1.0").rename(root / "BigEarthNet-S2-Example")

    assert len(open_task("bigearthnet_v1_s2", root, contract=L2A).everything) == 6


def test_few_patches_are_not_the_whole_set(root: Path) -> None:
    """A note says so; no number of theirs stands beside a published one."""
    task = open_task("bigearthnet_v1_s2", root, contract=L2A)

    assert not task.is_whole
    assert any("6 of 400,000 patches of split reference" in note for note in task.notes)


def test_radar_patches_without_a_pair_are_told(root: Path) -> None:
    """The list of pairs must have them."""
    (root / "s1_s2_name_country_season.csv").write_text(f"{s1_name(0)},{s2_name(0)},Austria,Fall\n")

    with pytest.raises(SourceInvalid, match="no Sentinel-1 patch for 5 patches"):
        open_task("bigearthnet_v1_s1", root, contract=S1)


def test_a_patch_in_two_lists_is_refused(root: Path) -> None:
    """It would be learned from and judged on."""
    write_lists(root, train=[0, 6, 1], val=[3, 6])

    with pytest.raises(SourceInvalid, match=rf"1 patches more than once \({s2_name(6)}"):
        open_task("bigearthnet_v1_s2", root, contract=L2A)


def test_an_empty_list_is_refused(root: Path) -> None:
    """By its name."""
    (root / "bigearthnet-val.txt").write_text("\n")

    with pytest.raises(SourceInvalid, match=r"bigearthnet-val\.txt is empty"):
        open_task("bigearthnet_v1_s2", root, contract=L2A)


def test_missing_lists_name_the_package(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is an extra of ours."""
    (root / "patches_with_seasonal_snow.csv").unlink()
    monkeypatch.setattr(bigearthnet_lists, "_PACKAGE", "no_such_package_at_all")

    with pytest.raises(DataMissing, match=r"no patches_with_seasonal_snow\.csv .*pip install 'ssl4eo\[bigearthnet\]'"):
        open_task("bigearthnet_v1_s2", root, contract=L2A)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 60, 60), "u2", "1 band of 60 x 60 px, uint16; expected 1 band of 120 x 120 px, uint16"),
        ((3, 120, 120), "u2", "3 bands of 120 x 120 px"),
        ((1, 120, 120), "f4", "1 band of 120 x 120 px, float32"),
    ],
)
def test_a_file_of_another_kind_is_refused(root: Path, shape: tuple[int, ...], dtype: str, message: str) -> None:
    """By its name, when it is read."""
    part = open_task("bigearthnet_v1_s2", root, contract=L2A, split="seco").part("test")
    data = encode_geotiff(np.ones(shape, dtype), crs="EPSG:32633", transform=(10, 0, 0, 0, -10, 0), compress="deflate")
    (root / "BigEarthNet-v1.0" / s2_name(5) / f"{s2_name(5)}_B03.tif").write_bytes(data)

    with pytest.raises(SourceInvalid, match=rf"{s2_name(5)}_B03\.tif has {message}"):
        part.source.pixels(int(part.items[0]), 0)


def test_folders_without_patches_are_refused(tmp_path: Path) -> None:
    """With what is looked for."""
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(DataMissing, match=r"no patches of S2L2A in .*BigEarthNet-v1\.0"):
            open_task("bigearthnet_v1_s2", folder, contract=L2A)


def test_foreign_networks_and_splits_are_refused(root: Path) -> None:
    """At the door."""
    with pytest.raises(ContractMismatch, match="S2L2A cannot stand for S1GRD"):
        open_task("bigearthnet_v1_s2", root, contract=S1)
    with pytest.raises(
        UnknownName, match=r"no split of bigearthnet_v1_s2_43 is called 'oficial'.*did you mean official"
    ):
        open_task("bigearthnet_v1_s2_43", root, contract=L2A, split="oficial")


@pytest.mark.skipif(PACKAGE is None, reason="no bigearthnet-common")
def test_official_lists_come_from_the_package(tmp_path: Path) -> None:
    """Their sizes, and none of their patches is one of those with snow or cloud."""
    parts, note = bigearthnet_lists.list_patches("official", [tmp_path])

    assert {part: len(names) for part, names in parts.items()} == {
        "train": 269_695,
        "validation": 123_723,
        "test": 125_866,
    }
    assert note.startswith("0 of 519284")


REAL = {
    "S2A_MSIL2A_20170613T101031_87_48": [2, 6],
    "S2B_MSIL2A_20170924T93020_69_24": [9, 10, 13, 15, 17],
    "S2A_MSIL2A_20171221T112501_56_35": [5, 6, 8, 13],
    "S2A_MSIL2A_20170617T113321_4_55": [4],
    "S2B_MSIL2A_20180204T94161_57_38": [2, 9, 10],
    "S2A_MSIL2A_20170617T113321_36_85": [2, 4],
}
"""19 labels, read off the JSON files by hand."""
REAL_43 = {
    "S2A_MSIL2A_20170613T101031_87_48": [20, 25],
    "S2B_MSIL2A_20170924T93020_69_24": [9, 22, 28, 39, 41],
    "S2A_MSIL2A_20171221T112501_56_35": [5, 8, 20, 39],
    "S2A_MSIL2A_20170617T113321_4_55": [27],
    "S2B_MSIL2A_20180204T94161_57_38": [9, 22, 25],
    "S2A_MSIL2A_20170617T113321_36_85": [25, 27],
}


@pytest.fixture
def real_root(tmp_path: Path) -> Path:
    """The six pairs of real patches of bigearthnet-common, two a part; the one with snow is kept."""
    if PACKAGE is None:
        pytest.skip("no bigearthnet-common")
    root = tmp_path / "real"
    for sensor, folder in (("S2", "BigEarthNet-v1.0"), ("S1", "BigEarthNet-S1-v1.0")):
        with tarfile.open(
            Path(PACKAGE.submodule_search_locations[0]) / f"BigEarthNet-{sensor}-Example.tar.bz2"
        ) as archive:
            archive.extractall(root, filter="data")
        (root / f"BigEarthNet-{sensor}-Example").rename(root / folder)
    names = list(REAL)
    for number, part in enumerate(("train", "val", "test")):
        (root / f"bigearthnet-{part}.txt").write_text("\n".join(names[2 * number : 2 * number + 2]))
    (root / "patches_with_seasonal_snow.csv").write_text("")
    records = (root / "BigEarthNet-S1-v1.0").glob("*/*.json")
    pairs = (f"{file.parent.name},{json.loads(file.read_text())['corresponding_s2_patch']}" for file in records)
    (root / "s1_s2_name_country_season.csv").write_text("\n".join(pairs))
    return root


@pytest.mark.real
@pytest.mark.parametrize("sensors", ["s2", "s1", "s1s2"])
@pytest.mark.parametrize(("suffix", "expected"), [("", REAL), ("_43", REAL_43)])
def test_real_patches_have_their_labels(
    real_root: Path, sensors: str, suffix: str, expected: dict[str, list[int]]
) -> None:
    """All twelve, under both schemes."""
    contract = {"s2": L2A, "s1": S1, "s1s2": BOTH}[sensors]

    task = open_task(f"bigearthnet_v1_{sensors}{suffix}", real_root, contract=contract, split="seco")

    assert dict(zip(task.everything.ids, indices(task.everything.labels), strict=True)) == expected
    assert not task.synthetic


@pytest.mark.real
def test_real_patches_have_their_bands(real_root: Path) -> None:
    """Every pixel of all twelve is that of its file, at its place."""
    task = open_task("bigearthnet_v1_s1s2", real_root, contract=BOTH, split="seco")
    source = task.everything.source
    groups = dict(source.form.groups)

    for item in range(len(source)):
        pixels = source.pixels(item, 0)
        for resolution, bands in groups.items():
            for row, band in enumerate(bands):
                held = source.parts[band in ("VV", "VH")]
                with rasterio.open(held.path(held.names[item], f"{band}.tif")) as file:
                    np.testing.assert_array_equal(pixels[resolution][row], file.read(1))


@pytest.mark.real
def test_the_package_has_the_pairs_of_the_real_patches(real_root: Path) -> None:
    """The same that their files name; these are compared on the way."""
    ours = open_task("bigearthnet_v1_s1", real_root, contract=S1, split="seco")
    (real_root / "s1_s2_name_country_season.csv").unlink()

    packaged = open_task("bigearthnet_v1_s1", real_root, contract=S1, split="seco")

    assert packaged.everything.source.parts == ours.everything.source.parts


@pytest.mark.real
def test_the_real_patch_with_snow_is_dropped_by_the_packages_list(real_root: Path, caplog) -> None:
    """One of the six is on it."""
    (real_root / "patches_with_seasonal_snow.csv").unlink()

    with caplog.at_level(logging.INFO):
        task = open_task("bigearthnet_v1_s2", real_root, contract=L2A, split="seco")

    assert set(REAL) - set(task.everything.ids) == {"S2B_MSIL2A_20180204T94161_57_38"}
