# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input, plan_remap
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.evaluation.features import extract
from ssl4eo.evaluation.tasks import so2sat_files
from ssl4eo.evaluation.tasks.so2sat import CLASSES
from ssl4eo.evaluation.tasks.so2sat_files import S2_BANDS, So2SatPixels
from ssl4eo.evaluation.tasks.table import TASKS, open_task
from ssl4eo.sensors import statistics

L1C, L2A, S1, BOTH = (network_input(name) for name in ("S2L1C", "S2L2A", "S1GRD", "S2L1C+S1GRD"))


def write_file(path: Path, classes: list[int], *, dtype: str = "f8", **arrays: np.ndarray) -> None:
    """Write a synthetic file as published: band c of row r is (r + 1) / 100 + c / 1000; `arrays` replace or add."""
    count = len(classes)
    ramp = (np.arange(count) + 1)[:, None, None, None] / 100
    sen2 = np.broadcast_to(ramp + np.arange(10) / 1000, (count, 32, 32, 10))
    sen1 = np.broadcast_to(ramp * 10.0 ** -np.arange(8), (count, 32, 32, 8))
    held = {"label": np.eye(17)[classes], "sen1": sen1, "sen2": sen2, **arrays}
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in held.items():
            file.create_dataset(name, data=np.asarray(values, dtype))


def write_flat(root: Path) -> None:
    """Write version 2: two patches a class to learn from, one in each of the other files."""
    write_file(root / "training.h5", [*range(17), *range(17)])
    write_file(root / "validation.h5", list(range(17)))
    write_file(root / "testing.h5", list(reversed(range(17))))


@pytest.fixture(scope="session")
def version_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 2, not to be changed."""
    root = tmp_path_factory.mktemp("so2sat")
    write_flat(root)
    return root


@pytest.fixture(scope="session")
def version_3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 3 with two of its three folders, not to be changed."""
    root = tmp_path_factory.mktemp("so2sat3")
    for folder in ("random", "culture_10"):
        write_file(root / folder / "training.h5", [*range(17), *range(17)])
        write_file(root / folder / "testing.h5", list(range(17)))
    return root


@pytest.fixture
def copy(version_2: Path, tmp_path: Path) -> Path:
    """Version 2 as links, of which some may be replaced."""
    root = tmp_path / "data"
    root.mkdir()
    for file in version_2.iterdir():
        (root / file.name).hardlink_to(file)
    return root


def replace_file(root: Path, name: str, classes: list[int], **arrays: np.ndarray) -> None:
    """Write another file in place of a linked one."""
    (root / f"{name}.h5").unlink()
    write_file(root / f"{name}.h5", classes, **arrays)


def test_published_parts_are_the_three_files(version_2: Path) -> None:
    """Each row in its order, with its class."""
    task = open_task("so2sat_s2", version_2, contract=L1C, split="published")

    counts = [len(task.part(part)) for part in ("train", "validation", "test")]
    assert counts == [34, 17, 17]
    assert task.part("test").labels.tolist() == list(reversed(range(17)))
    assert task.part("test").ids[:2] == ("testing/0", "testing/1")
    assert (task.classes, task.version, task.kind, task.carved) == (CLASSES, "2", "class", False)


def test_reference_is_judged_on_the_validation_file(copy: Path) -> None:
    """Which needs no testing.h5, as the published benchmark."""
    (copy / "testing.h5").unlink()

    task = open_task("so2sat_s2", copy, contract=L1C)

    assert {name.split("/")[0] for name in task.part("test").ids} == {"validation"}
    assert len(task.part("validation")) == 17
    assert task.carved


@pytest.mark.parametrize("split", ["random", "culture_10"])
def test_folders_of_version_3_are_splits_without_validation(version_3: Path, split: str) -> None:
    """One is carved."""
    task = open_task("so2sat_s2", version_3, contract=L1C, split=split)

    assert (task.version, task.carved, len(task.part("test"))) == ("3", True, 17)


def test_places_of_patches_make_version_4(copy: Path) -> None:
    """Whose patches are those of version 2."""
    for name, count in (("training", 34), ("validation", 17), ("testing", 17)):
        with h5py.File(copy / f"{name}_geo.h5", "w") as file:
            file["tfw"], file["epsg"] = np.zeros((count, 6)), np.zeros((count, 1))

    task = open_task("so2sat_s2", copy, contract=L1C)

    assert task.version == "4"
    assert task.split_sha256 == open_task("so2sat_s2", copy, contract=L1C, split="reference").split_sha256


def test_version_4_is_whole_or_refused(copy: Path) -> None:
    """Some places only, or of other patches."""
    for name in ("training", "validation"):
        with h5py.File(copy / f"{name}_geo.h5", "w") as file:
            file["tfw"] = np.zeros((34, 6))

    with pytest.raises(SourceInvalid, match="has the places of training, validation only"):
        open_task("so2sat_s2", copy, contract=L1C)
    with h5py.File(copy / "testing_geo.h5", "w") as file:
        file["tfw"] = np.zeros((17, 6))
    with pytest.raises(SourceInvalid, match=r"validation_geo\.h5 has 34 rows, validation\.h5 has 17"):
        open_task("so2sat_s2", copy, contract=L1C)


def test_reflectance_is_dn_in_canonical_order(version_2: Path) -> None:
    """B02 to B8A, B11, B12: row r, channel c of the ramp, times 10,000."""
    part = open_task("so2sat_s2", version_2, contract=L1C, split="published").part("test")

    pixels = part.source.pixels(int(part.items[3]), 0)

    assert list(pixels) == [10]
    assert (pixels[10].shape, pixels[10].dtype) == ((10, 32, 32), np.uint16)
    assert pixels[10][:, 5, 6].tolist() == [400 + 10 * c for c in range(10)]
    assert part.source.contract.bands == S2_BANDS


def test_reflectance_is_rounded_and_never_wraps(copy: Path) -> None:
    """To the nearest DN; below zero and above 6.5 it stays at the ends."""
    values = np.full((17, 32, 32, 10), 0.12344)
    values[0, 0, :4, 0] = (0.123451, -0.01, 7.0, 1.2)
    replace_file(copy, "validation", list(range(17)), sen2=values)

    part = open_task("so2sat_s2", copy, contract=L1C).part("test")

    assert part.source.pixels(int(part.items[0]), 0)[10][0, 0, :5].tolist() == [1235, 0, 65535, 12000, 1234]


def test_pixels_keep_rows_and_columns(copy: Path) -> None:
    """Rows are y."""
    values = np.zeros((17, 32, 32, 10))
    values[0, 3, 7, 2] = 0.5
    replace_file(copy, "validation", list(range(17)), sen2=values)

    part = open_task("so2sat_s2", copy, contract=L1C).part("test")

    assert np.argwhere(part.source.pixels(int(part.items[0]), 0)[10]).tolist() == [[2, 3, 7]]


def test_radar_is_the_filtered_intensity_in_decibels_vv_first(copy: Path) -> None:
    """Channels 5 and 4 of the file, counted from 0: 0.1 is -10 dB, 0.01 is -20; no intensity is -50."""
    values = np.full((17, 32, 32, 8), 0.5)
    values[..., 4], values[..., 5] = 0.01, 0.1
    values[0, 0, 0, 5] = 0
    replace_file(copy, "validation", list(range(17)), sen1=values)

    part = open_task("so2sat_s1", copy, contract=S1).part("test")

    pixels = part.source.pixels(int(part.items[0]), 0)[10]
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels[:, 1, 1], [-10, -20], rtol=1e-6)
    assert pixels[0, 0, 0] == -50


def test_both_sensors_come_together(version_2: Path) -> None:
    """Ten optical channels, then two of radar."""
    part = open_task("so2sat_s1s2", version_2, contract=BOTH).part("test")

    pixels = part.source.pixels(int(part.items[0]), 0)[10]

    assert (pixels.shape, pixels.dtype) == ((12, 32, 32), np.float32)
    assert pixels[0, 0, 0] == 100


@pytest.mark.parametrize("name", ["so2sat_s2", "so2sat_s2_mean"])
def test_absent_bands_are_filled_as_the_tasks_name_says(version_2: Path, name: str) -> None:
    """B01, B09 and B10: zero after scaling, or their published means."""
    source = open_task(name, version_2, contract=L1C).everything.source

    fed = plan_remap(source.contract, L1C)(source.pixels(0, 0)[10])[:, 0, 0]

    mean = statistics("S2L1C", "published_50k").mean
    expected = [mean[b] / 10_000 for b in ("B01", "B09", "B10")] if name.endswith("mean") else [0, 0, 0]
    np.testing.assert_allclose(fed[[0, 9, 10]], expected, rtol=1e-6)
    np.testing.assert_allclose(fed[[1, 8, 11]], [0.01, 0.017, 0.018], rtol=1e-6)


@pytest.mark.parametrize(("name", "contract"), [("so2sat_s2", L2A), ("so2sat_s1", S1), ("so2sat_s1s2_mean", BOTH)])
def test_networks_are_fed(version_2: Path, name: str, contract) -> None:
    """Of twelve bands, of radar, of both."""
    part = open_task(name, version_2, contract=contract).part("test")
    network = Backbone("resnet18", contract, image_size=32, seed=0).eval()

    assert extract(network, part).shape == (17, 512)


def test_a_source_that_has_read_goes_to_another_process(version_2: Path) -> None:
    """Without its open files."""
    source = open_task("so2sat_s2", version_2, contract=L1C).everything.source
    here = source.pixels(20, 0)[10]

    there = pickle.loads(pickle.dumps(source))

    assert there._open == {}
    np.testing.assert_array_equal(there.pixels(20, 0)[10], here)


def test_a_forked_process_opens_files_of_its_own(version_2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the handles of its parent, too, and must not read through them."""
    source = open_task("so2sat_s2", version_2, contract=L1C).everything.source
    here = source.pixels(20, 0)[10]
    monkeypatch.setattr(so2sat_files.os, "getpid", lambda: -1)

    np.testing.assert_array_equal(source.pixels(20, 0)[10], here)

    assert [pid == -1 for pid, _ in source._open] == [False, True]


def test_identity_changes_with_the_files(version_2: Path) -> None:
    """And with the modality."""
    identities = {
        open_task(name, version_2, contract=contract, split=split).everything.source.identity
        for name, contract, split in (
            ("so2sat_s2", L1C, "reference"),
            ("so2sat_s2", L1C, "published"),
            ("so2sat_s1", S1, "reference"),
        )
    }

    assert len(identities) == 3


def test_opening_reads_no_pixels(version_2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels only."""
    monkeypatch.setattr(So2SatPixels, "_row", lambda *_: pytest.fail("read"))

    open_task("so2sat_s2", version_2, contract=L1C)


def test_files_that_are_not_whole_are_told(version_2: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Their scores are not those of the data set."""
    with caplog.at_level(logging.WARNING):
        open_task("so2sat_s2", version_2, contract=L1C)

    assert "51 of 376,485 patches of So2Sat-LCZ42" in caplog.text


def test_version_3s_test_file_under_version_2s_name_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the validation part, too."""
    monkeypatch.setattr("ssl4eo.evaluation.tasks.so2sat.ROWS", {**so2sat_files.ROWS, "culture_10/testing": 17})

    with pytest.raises(SourceInvalid, match=r"as culture_10/testing\.h5 of version 3"):
        open_task("so2sat_s2", copy, contract=L1C, split="published")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"sen2": np.zeros((17, 32, 32, 13))}, r"sen2 \(17, 32, 32, 13\) float64"),
        ({"sen1": np.zeros((17, 32, 32, 2))}, r"sen1 \(17, 32, 32, 2\)"),
        ({"sen2": np.zeros((16, 32, 32, 10))}, r"sen2 \(16, 32, 32, 10\)"),
        ({"label": np.zeros((17, 10))}, r"label \(17, 10\)"),
        ({"city": np.zeros(17)}, r"city \(17,\)"),
        ({"label": np.zeros((0, 17))}, r"label \(0, 17\)"),
    ],
)
def test_files_of_an_unknown_version_are_refused(copy: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    """Other arrays, shapes and numbers of rows; the message says what is held."""
    replace_file(copy, "validation", list(range(17)), **arrays)

    with pytest.raises(SourceInvalid, match=rf"validation\.h5 holds .*{message}.*only versions 2, 3 and 4"):
        open_task("so2sat_s2", copy, contract=L1C)


def test_files_of_another_type_are_refused(copy: Path) -> None:
    """Published values are float64."""
    (copy / "validation.h5").unlink()
    write_file(copy / "validation.h5", list(range(17)), dtype="f4")

    with pytest.raises(SourceInvalid, match="float32"):
        open_task("so2sat_s2", copy, contract=L1C)


@pytest.mark.parametrize("spoil", [lambda row: row * 0, lambda row: row * 0 + 1, lambda row: row / 2])
def test_labels_that_are_no_single_class_are_refused(copy: Path, spoil: Callable[[np.ndarray], np.ndarray]) -> None:
    """None, all, half."""
    label = np.eye(17)
    label[4] = spoil(label[4])
    replace_file(copy, "validation", list(range(17)), label=label)

    with pytest.raises(SourceInvalid, match=r"1 labels of .*validation\.h5 are not a single class \(row 4"):
        open_task("so2sat_s2", copy, contract=L1C)


def test_strange_pixels_are_refused_by_row(copy: Path) -> None:
    """NaN, and intensities below zero."""
    sen1, sen2 = np.full((17, 32, 32, 8), 0.1), np.full((17, 32, 32, 10), 0.1)
    sen1[2, 0, 0, 5], sen2[2, 0, 0, 0] = -0.1, np.nan
    replace_file(copy, "validation", list(range(17)), sen1=sen1, sen2=sen2)
    optical, radar = (open_task(n, copy, contract=c).part("test") for n, c in (("so2sat_s2", L1C), ("so2sat_s1", S1)))

    with pytest.raises(SourceInvalid, match="sen2, row 2 has values that are not finite"):
        optical.source.pixels(int(optical.items[2]), 0)
    with pytest.raises(SourceInvalid, match="sen1, row 2 has negative intensities"):
        radar.source.pixels(int(radar.items[2]), 0)


def test_files_cut_short_are_refused(copy: Path) -> None:
    """A download that ended early."""
    whole = (copy / "validation.h5").read_bytes()
    (copy / "validation.h5").unlink()
    (copy / "validation.h5").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(SourceInvalid, match=r"validation\.h5 cannot be read"):
        open_task("so2sat_s2", copy, contract=L1C)


@pytest.mark.parametrize(
    ("which", "split", "message"),
    [
        ("2", "random", r"no random/training\.h5 and random/testing\.h5 .*version 2 or 4: take split reference"),
        ("3", "reference", "that is version 3: take split random or culture_10"),
        ("3", "block", r"no block/training\.h5 .*ssl4eo download so2sat-v3"),
        ("3/culture_10", "culture_10", "name the folder above"),
        ("3/culture_10", "reference", "name .* and split culture_10"),
        ("absent", "reference", "which is no folder"),
    ],
)
def test_files_of_another_version_are_told(
    version_2: Path, version_3: Path, tmp_path: Path, which: str, split: str, message: str
) -> None:
    """What there is, and what to do."""
    root = {"2": version_2, "3": version_3, "3/culture_10": version_3 / "culture_10"}.get(which, tmp_path / "absent")

    with pytest.raises(DataMissing, match=message):
        open_task("so2sat_s2", root, contract=L1C, split=split)


def test_packed_files_and_files_of_others_are_told(tmp_path: Path) -> None:
    """Version 4 comes as .gz; others have cut their own."""
    (tmp_path / "train-new.h5").touch()
    with pytest.raises(DataMissing, match=r"which has train-new\.h5"):
        open_task("so2sat_s2", tmp_path, contract=L1C)
    (tmp_path / "training.h5.gz").touch()
    with pytest.raises(DataMissing, match="gunzip"):
        open_task("so2sat_s2", tmp_path, contract=L1C)


def test_foreign_networks_and_splits_are_refused(version_2: Path) -> None:
    """At the door."""
    with pytest.raises(ContractMismatch, match="S1GRD cannot stand for S2L1C"):
        open_task("so2sat_s1", version_2, contract=L1C)
    with pytest.raises(UnknownName, match=r"no split of so2sat_s2_mean is called 'culture10'.*did you mean culture_10"):
        open_task("so2sat_s2_mean", version_2, contract=L1C, split="culture10")


def test_every_task_has_a_reference_split_or_names_its_own() -> None:
    """`reference` is what is opened without a name."""
    assert all("reference" in entry.splits for entry in TASKS.values())
