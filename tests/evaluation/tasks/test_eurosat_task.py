# SPDX-License-Identifier: Apache-2.0
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

from ssl4eo.backbones.backbone import Backbone
from ssl4eo.contract import network_input
from ssl4eo.errors import ContractMismatch, DataMissing, SourceInvalid, UnknownName
from ssl4eo.evaluation.network import Network
from ssl4eo.evaluation.run import evaluate
from ssl4eo.evaluation.tasks.eurosat import CLASSES
from ssl4eo.evaluation.tasks.table import open_task
from ssl4eo.evaluation.tasks.task import PARTS

RGB = network_input("S2RGB")
ZIP = Path(__file__).parents[4] / "shared" / "data" / "EuroSAT_RGB.zip"


@pytest.fixture(scope="session")
def eurosat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like EuroSAT's with 10 small pictures of one color a class."""
    root = tmp_path_factory.mktemp("data") / "EuroSAT_RGB"
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(1, 11):
            Image.new("RGB", (8, 8), (20 * label, 10 * i, 5)).save(root / name / f"{name}_{i}.jpg")
    return root


def test_reference_split_is_that_of_scikit_learn_over_sorted_paths(eurosat_folder: Path) -> None:
    """80/20, stratified, seed 42, paths sorted as text: recomputed here independently."""
    paths = sorted(p.relative_to(eurosat_folder).as_posix() for p in eurosat_folder.rglob("*.jpg"))
    labels = [sorted(CLASSES).index(p.split("/")[0]) for p in paths]
    _, expected = train_test_split(np.arange(100), train_size=0.8, stratify=labels, random_state=42)

    task = open_task("eurosat", eurosat_folder, contract=RGB)

    assert set(task.part("test").ids) == {paths[i] for i in expected}


def test_parts_are_stratified_and_disjoint(eurosat_folder: Path) -> None:
    """Of 10 pictures a class 2 are test, 1 is validation, 7 are train."""
    task = open_task("eurosat", eurosat_folder, contract=RGB)

    counts = {part: np.bincount(task.part(part).labels).tolist() for part in PARTS}

    assert counts == {"train": [7] * 10, "validation": [1] * 10, "test": [2] * 10}
    assert len({i for part in PARTS for i in task.part(part).ids}) == 100


def test_opening_twice_gives_the_same_parts(eurosat_folder: Path) -> None:
    """Nothing about the split is random."""
    first, second = (open_task("eurosat", eurosat_folder, contract=RGB) for _ in range(2))

    assert first.split_sha256 == second.split_sha256
    assert first.part("validation").ids == second.part("validation").ids


def test_labels_follow_the_alphabet_and_pictures_are_not_synthetic(eurosat_folder: Path) -> None:
    """AnnualCrop is 0, SeaLake is 9, and a satellite saw them."""
    task = open_task("eurosat", eurosat_folder, contract=RGB)

    part = task.part("test")

    assert not task.synthetic
    assert task.classes == CLASSES
    for identifier, label in zip(part.ids, part.labels, strict=True):
        assert identifier.startswith(f"{CLASSES[label]}/")


def test_incomplete_data_set_is_told(eurosat_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Scores of a part of EuroSAT are not those of EuroSAT, and the log says so."""
    with caplog.at_level(logging.WARNING):
        open_task("eurosat", eurosat_folder, contract=RGB)

    assert "100 of 27,000 pictures of EuroSAT" in caplog.text


def test_network_of_other_bands_is_refused_at_the_door(eurosat_folder: Path) -> None:
    """A 13-band network cannot be fed RGB pictures."""
    with pytest.raises(ContractMismatch, match="S2RGB cannot stand for S2L1C"):
        open_task("eurosat", eurosat_folder, contract=network_input("S2L1C"))


def test_folder_above_the_classes_is_refused_with_the_right_one(eurosat_folder: Path) -> None:
    """Naming the parent folder is the common slip."""
    with pytest.raises(DataMissing, match=r"did you mean .*EuroSAT_RGB"):
        open_task("eurosat", eurosat_folder.parent, contract=RGB)


def test_missing_root_is_refused(tmp_path: Path) -> None:
    """A path that does not exist is named."""
    with pytest.raises(DataMissing, match=r"no folder .*absent"):
        open_task("eurosat", tmp_path / "absent", contract=RGB)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    """Cats and dogs are no EuroSAT, however many pictures there are."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "1.png")

    with pytest.raises(SourceInvalid, match="class folders cat, dog"):
        open_task("eurosat", tmp_path, contract=RGB)


def test_unknown_split_and_task_are_refused(eurosat_folder: Path) -> None:
    """Names that are in no table are told apart."""
    with pytest.raises(UnknownName, match=r"no split of eurosat is called 'referense'.*did you mean reference"):
        open_task("eurosat", eurosat_folder, contract=RGB, split="referense")
    with pytest.raises(UnknownName, match=r"no task is called 'eurosatt'.*did you mean eurosat"):
        open_task("eurosatt", eurosat_folder, contract=RGB)


@pytest.mark.real
@pytest.mark.skipif(not ZIP.is_file(), reason="no real EuroSAT beside the checkout")
def test_real_eurosat_is_judged_above_chance_by_an_untrained_network(tmp_path: Path) -> None:
    """Colors alone tell seas from fields: 20 real pictures a class, chance is 0.1."""
    with zipfile.ZipFile(ZIP) as archive:
        for name in CLASSES:
            members = sorted(m for m in archive.namelist() if f"/{name}/" in m and m.endswith(".jpg"))[:20]
            archive.extractall(tmp_path, members)
    task = open_task("eurosat", tmp_path / "EuroSAT_RGB", contract=RGB)
    network = Network("random.resnet18.s2rgb", Backbone("resnet18", RGB, image_size=64, seed=0).eval(), None, 0)

    scores = evaluate(network, task, ["knn", "linear"], out=tmp_path / "run")

    assert [score.num_test for score in scores] == [40, 40]
    assert all(score.value > 0.2 for score in scores)
    assert not scores[0].synthetic
