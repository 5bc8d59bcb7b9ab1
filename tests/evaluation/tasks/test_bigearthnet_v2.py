# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from bigearthnet_folders import v2_names, value, write_v2

from ssl4eo.contract import network_input
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.evaluation.tasks.table import open_task

L2A, S1, BOTH = (network_input(name) for name in ("S2L2A", "S1GRD", "S2L2A+S1GRD"))
LABELS = [["Pastures"], ["Transitional woodland, shrub", "Marine waters"], ["Urban fabric"], ["Inland waters"]]
PARTS = ["train", "test", "validation", "train"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four synthetic patches in the published folders."""
    write_v2(tmp_path / "data", LABELS, PARTS)
    return tmp_path / "data"


def test_parts_and_labels_are_those_of_the_table(root: Path) -> None:
    """By the name of the patch; nothing is carved."""
    task = open_task("bigearthnet_v2_s2", root, contract=L2A)

    assert task.part("train").ids == (v2_names(0)[0], v2_names(3)[0])
    assert task.part("validation").ids == (v2_names(2)[0],)
    assert task.part("test").ids == (v2_names(1)[0],)
    assert np.flatnonzero(task.part("test").labels[0]).tolist() == [13, 18]
    assert np.flatnonzero(task.part("train").labels[1]).tolist() == [17]
    assert (task.kind, task.version, task.carved) == ("labels", "2.0", False)
    assert task.notes == ("4 of 480,038 patches of BigEarthNet v2: not the score of the whole set",)


def test_bands_lie_below_their_scenes(root: Path) -> None:
    """Native sizes, canonical order, both sensors of one place."""
    part = open_task("bigearthnet_v2_s1s2", root, contract=BOTH).part("test")

    pixels = part.source.pixels(int(part.items[0]), 0)

    assert {r: p.shape for r, p in pixels.items()} == {10: (6, 120, 120), 20: (6, 60, 60), 60: (2, 20, 20)}
    np.testing.assert_allclose(
        pixels[10][:, 0, 0], [*(value(1, c) for c in (1, 2, 3, 7)), -value(1, 0) / 100, -value(1, 1) / 100], rtol=1e-6
    )
    assert pixels[60][:, 0, 0].tolist() == [value(1, 0), value(1, 9)]


def test_radar_alone_is_known_by_its_optical_name(root: Path) -> None:
    """Equal places have equal hashes."""
    radar = open_task("bigearthnet_v2_s1", root, contract=S1)

    assert radar.split_sha256 == open_task("bigearthnet_v2_s2", root, contract=L2A).split_sha256
    assert radar.everything.source.pixels(0, 0)[10].dtype == np.float32


def test_flagged_patches_are_dropped(tmp_path: Path) -> None:
    """The table of all 549,488 has some."""
    write_v2(
        tmp_path,
        [*LABELS, ["Pastures"]],
        [*PARTS, "train"],
        contains_seasonal_snow=[True, False, False, False, False],
        contains_cloud_or_shadow=[True, False, False, False, False],
    )

    task = open_task("bigearthnet_v2_s2", tmp_path, contract=L2A)

    assert task.part("train").ids == (v2_names(3)[0], v2_names(4)[0])
    assert task.notes[0] == "1 of 5 patches dropped: seasonal snow, cloud or shadow"


def test_a_table_without_flags_is_read(tmp_path: Path) -> None:
    """They are not needed."""
    write_v2(tmp_path, LABELS, PARTS, contains_seasonal_snow=[], contains_cloud_or_shadow=[])

    assert len(open_task("bigearthnet_v2_s2", tmp_path, contract=L2A).everything) == 4


def test_a_part_of_the_data_set_is_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its scores are not those of all."""
    with caplog.at_level(logging.WARNING):
        open_task("bigearthnet_v2_s2", root, contract=L2A)

    assert "4 of 480,038 patches of BigEarthNet v2" in caplog.text


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"labels": [["Lava"], *LABELS[1:]]}, "has the label 'Lava'; expected one of BigEarthNet's 19"),
        ({"labels": [["Transitional woodland/shrub"], *LABELS[1:]]}, "has the label 'Transitional woodland/shrub'"),
        ({"split": ["train", "val", "test", "train"]}, "has the split 'val'; expected train, validation, test"),
        ({"s1_name": []}, "expected patch_id, labels, split, s1_name"),
        ({"s1_name": ["a", None, "b", "c"]}, "no value missing"),
        ({"patch_id": [v2_names(0)[0]] * 4}, "4 rows of 1 patches"),
    ],
)
def test_another_table_is_refused(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    """With its path."""
    write_v2(tmp_path, LABELS, PARTS, **columns)

    with pytest.raises(SourceInvalid, match=message):
        open_task("bigearthnet_v2_s2", tmp_path, contract=L2A)


def test_a_table_that_is_missing_or_cut_short_is_refused(root: Path) -> None:
    """With the way to get it."""
    (root / "metadata.parquet").write_bytes((root / "metadata.parquet").read_bytes()[:200])

    with pytest.raises(SourceInvalid, match=r"metadata\.parquet cannot be read"):
        open_task("bigearthnet_v2_s2", root, contract=L2A)
    (root / "metadata.parquet").unlink()
    with pytest.raises(DataMissing, match="ssl4eo download bigearthnet-v2 --only metadata"):
        open_task("bigearthnet_v2_s2", root, contract=L2A)


def test_patches_that_are_not_there_are_told(root: Path) -> None:
    """One of them, or a whole folder."""
    scene = root / "BigEarthNet-S2" / "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    (scene / v2_names(2)[0]).rename(root / "elsewhere")

    with pytest.raises(DataMissing, match=rf"1 of 4 patches .* are not in .*S2 \({v2_names(2)[0]}"):
        open_task("bigearthnet_v2_s2", root, contract=L2A)
    (root / "BigEarthNet-S1").rename(root / "gone")
    with pytest.raises(DataMissing, match="4 of 4 patches"):
        open_task("bigearthnet_v2_s1", root, contract=S1)


def test_absent_patches_are_left_out_on_request(tmp_path: Path) -> None:
    """What is left is read as before."""
    root = tmp_path / "more"
    write_v2(root, [*LABELS, ["Pastures"]], [*PARTS, "train"])
    (root / "BigEarthNet-S1" / v2_names(4)[1].rsplit("_", 3)[0] / v2_names(4)[1]).rename(root / "elsewhere")

    task = open_task("bigearthnet_v2_s1s2", root, contract=BOTH, skip_missing=True)

    assert (task.num_absent, len(task.everything)) == (1, 4)
    assert task.gaps[0].items == (v2_names(4)[1],)
    assert task.part("train").ids == (v2_names(0)[0], v2_names(3)[0])
    pixels = task.part("test").source.pixels(int(task.part("test").items[0]), 0)
    assert pixels[60][:, 0, 0].tolist() == [value(1, 0), value(1, 9)]


def test_foreign_networks_and_splits_are_refused(root: Path) -> None:
    """At the door."""
    with pytest.raises(ContractMismatch, match="S1GRD cannot stand for S2L2A"):
        open_task("bigearthnet_v2_s1", root, contract=L2A)
    with pytest.raises(UnknownName, match="no split of bigearthnet_v2_s2 is called 'seco'"):
        open_task("bigearthnet_v2_s2", root, contract=L2A, split="seco")
